"""Tests at variance ratios that do not depend on the marker: those of the model without markers, or a given h2.

Source: Kang et al. (2010), doi:10.1038/ng.548, and Lippert et al. (2011), doi:10.1038/nmeth.1681, for a ratio fixed at
the null.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import override

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.one_trait import UnitScale
from bayeslmm.likelihood.rotation import RotatedData, check_rows
from bayeslmm.likelihood.whitened import Whitened, whitened
from bayeslmm.scan.gains import Model, Sets, Weights, clear_of, gains_of, profile_ml, schur_factor, weights_and_model
from bayeslmm.scan.tests import Fitted, Tests, Units, by_rank, mean_clear, to_tests, usable_sets


@dataclass(frozen=True)
class AtFixedRatios(ABC):
    """Tests at variance ratios that do not depend on the marker.

    Each trait has two ratios, one after the other: for effects with Wald tests, and for the two other tests.

    Attributes:
        X: covariates, orthonormal, shape (n, c).
        model: the traits at their ratios.
        delta: of each trait, for effects, in its `units`.
        units: of each trait.
        variance: of each trait given X, at total variance 1 and the ratio for effects, in its `units`.
    """

    X: Float64[ndarray, "n c"]
    model: Model
    delta: list[float]
    units: list[Units]
    variance: list[float]

    @abstractmethod
    def factor(self, sets: Sets) -> list[list[ndarray]]:
        """Return the Cholesky factor of Z'PZ, as `schur_factor` does."""

    def test(self, Z: Sequence[Float[ndarray, "n b"]]) -> list[Tests]:
        """Test b sets of markers, for each trait; arguments as for `ExactScan.test`."""
        n = len(self.X)
        alone = profile_ml(self.model, np.zeros(len(self.model.ml.quad)), n)[1::2]
        return by_rank(self.X, Z, alone.tolist(), self.units, self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        model, r = self.model, len(sets.columns)
        gains, usable = usable_sets(model, gains_of(model, sets, self.factor(sets)))
        sigma2_p = (model.reml.quad - gains.quad) / (n - c - r)
        loglik = profile_ml(model, gains.quad, n)
        gain = loglik - profile_ml(model, np.zeros(len(model.ml.quad)), n)
        share = gains.quad / model.ml.quad
        tests = []
        for j in range(len(self.delta)):
            effects, others = 2 * j, 2 * j + 1
            beta = np.column_stack([values[:, effects] for values in gains.beta])
            variance = np.column_stack([values[:, effects] for values in gains.variance])
            se = np.sqrt(sigma2_p[:, [effects]] * variance)
            sd = np.sqrt(sigma2_p[:, effects] * self.variance[j])
            delta = np.full(len(beta), self.delta[j])
            fitted = Fitted(beta, se, sd, delta, loglik[:, others], gain[:, others], share[:, others])
            tests.append(to_tests(fitted, usable, sets, n, c))
        return tests


@dataclass(frozen=True)
class FixedScan(AtFixedRatios):
    """Tests in an eigenbasis at fixed ratios; made by `null_scan` and `fixed_scan`.

    Attributes:
        back: from coefficients on X to those on the user's covariates, shape (user's c, c).
        offset: X'y of each trait, shape (c, t).
        weights: at the 2 t ratios.
    """

    back: Float64[ndarray, "user c"]
    offset: Float64[ndarray, "c t"]
    weights: Weights

    @override
    def factor(self, sets: Sets) -> list[list[ndarray]]:
        """Return the Cholesky factor of Z'PZ."""
        return schur_factor(self.weights, sets)

    def covariate_effects(self, z: Float[ndarray, "n b"], beta: Float[ndarray, "b t"]) -> list[Float64[ndarray, "b _"]]:
        """Return the effects of the covariates in the model with each marker, for each trait, shape (b, user's c).

        Args:
            z: rotated markers.
            beta: their effects on each trait, as tested.
        """
        overlap = self.X.T @ z
        left = clear_of(self.X, z)
        effects = []
        for j in range(len(self.delta)):
            A, w, Py = self.weights.A[:, 2 * j], self.weights.W[:, 2 * j], self.model.Py[:, 2 * j] * self.units[j].sd
            # With X'X = I: R = (A'X)^-1, so that R A' = (X'V^-1X)^-1 X'V^-1.
            shift = np.linalg.solve(A.T @ self.X, A.T @ left) + overlap
            alone = self.offset[:, j] - self.X.T @ (Py / w)
            effects.append((alone - shift.T * beta[:, [j]]) @ self.back.T)
        return effects


def null_scan(data: RotatedData) -> FixedScan:
    """Prepare tests of markers at the variance ratio of the model without markers.

    The ratio is that of the restricted likelihood for effects and Wald tests, that of maximum likelihood for the
    other two.

    Args:
        data: one or more traits of the same individuals; X may be of deficient rank.

    Raises:
        InputError: if h2 is not identified.
    """
    return _fixed(data, lambda trait: (reml(trait).h2, ml(trait).h2))


def fixed_scan(data: RotatedData, h2: float) -> FixedScan:
    """Prepare tests of markers at a given h2; at 0 they are ordinary least squares, as if individuals were unrelated.

    Args:
        data: one or more traits of the same individuals; X may be of deficient rank.
        h2: at least 0 and below 1.

    Raises:
        InputError: if h2 is out of range.
    """
    if not 0 <= h2 < 1:
        raise InputError(f"h2 must be at least 0 and below 1, but {h2} was given")
    return _fixed(data, lambda _: (h2, h2))


@in_float64
def _fixed(data: RotatedData, h2_of: Callable[[Whitened], tuple[float, float]]) -> FixedScan:
    check_rows(data, what="a scan")
    basis, back = independent(np.asarray(data.X))
    clear = [whitened(data._replace(Y=y[:, None], X=basis)) for y in data.Y.T]
    # Shares where K has a mean diagonal of 1.
    ratios = [quantities.pve(h2, 1 - h2, of.k) for of, h2 in zip(clear, map(np.array, map(h2_of, clear)), strict=True)]
    found = [weights_and_model(of.data, share, 1 - share) for of, share in zip(clear, ratios, strict=True)]
    weights = Weights(*(np.concatenate(parts, axis=1) for parts in zip(*(weight for weight, _ in found), strict=True)))
    models = [model for _, model in found]
    ml, reml = (
        UnitScale(*(np.concatenate(parts) for parts in zip(*units, strict=True)))
        for units in ([model.ml for model in models], [model.reml for model in models])
    )
    Q = np.asarray(clear[0].data.X)
    k_clear = mean_clear(np.asarray(clear[0].data.s), Q)
    return FixedScan(
        X=Q,
        model=Model(np.concatenate([model.Py for model in models], axis=1), ml, reml),
        delta=[float((1 - share) / share) if share else np.inf for share, _ in ratios],
        units=[Units(of.sd, of.k, of.log_unit * len(data.s)) for of in clear],
        variance=[float(share * k_clear + 1 - share) for share, _ in ratios],
        back=back @ np.linalg.inv(clear[0].R),
        offset=np.column_stack([of.b for of in clear]),
        weights=weights,
    )
