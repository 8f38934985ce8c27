"""Tests with the variance ratio estimated anew with each set of markers.

The gains of a set are taken at Chebyshev points of the ratio, and all that follows is on smooth functions of one
variable.

Source: Zhou and Stephens (2012), doi:10.1038/ng.2310.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.ratio_grid import RatioGrid
from bayeslmm.likelihood.rotation import RotatedData, check_rows
from bayeslmm.likelihood.whitened import whitened
from bayeslmm.scan.gains import (
    Model,
    Sets,
    Weights,
    gains_of,
    profile_ml,
    profile_reml,
    schur_factor,
    weights_and_model,
)
from bayeslmm.scan.tests import Fitted, Tests, Units, by_rank, mean_clear, to_tests, usable_sets


@dataclass(frozen=True)
class ExactScan:
    """Tests with the variance ratio estimated anew with each set of markers; made by `exact_scan`.

    Attributes:
        X: covariates, orthonormal, shape (n, c).
        grid: Chebyshev points of the ratio.
        weights: at these points.
        models: of each trait, at these points.
        nulls: of each trait, the weights of the points at its ratio by maximum likelihood without markers, shape (m,).
        logliks: of each trait, the log-likelihood without markers, in its `units`.
        units: of each trait.
        k_clear: mean variance that K gives once X is projected out, see `mean_clear`, in the same units.
    """

    X: Float64[ndarray, "n c"]
    grid: RatioGrid
    weights: Weights
    models: list[Model]
    nulls: list[Float64[ndarray, " m"]]
    logliks: list[float]
    units: list[Units]
    k_clear: float

    def test(self, Z: Sequence[Float[ndarray, "n b"]]) -> list[Tests]:
        """Test b sets of markers, for each trait.

        Args:
            Z: rotated markers, one array for each place in the sets: ``[U'G]`` for single markers.

        Raises:
            InputError: if individuals are too few for so many effects.
        """
        return by_rank(self.X, Z, self.logliks, self.units, self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        r = len(sets.columns)
        L = schur_factor(self.weights, sets)
        tests = []
        for model, at_null, alone in zip(self.models, self.nulls, self.logliks, strict=True):
            gains, usable = usable_sets(model, gains_of(model, sets, L))
            x = self.grid.argmax(profile_reml(model, gains, sets, n - c - r))
            at_best = self.grid.basis(x)
            sigma2_p = np.exp(_rows(at_best, np.log(model.reml.quad - gains.quad))) / (n - c - r)
            # Logarithms are what is smooth: variances run over many orders of magnitude along the grid.
            beta = np.column_stack([_rows(at_best, values) for values in gains.beta])
            with np.errstate(divide="ignore", invalid="ignore"):  # 0 for a marker that the covariates determine
                variance = np.column_stack([np.exp(_rows(at_best, np.log(values))) for values in gains.variance])
            profile = profile_ml(model, gains.quad, n)
            loglik = _rows(self.grid.basis(self.grid.argmax(profile)), profile)
            share = (gains.quad / model.ml.quad) @ at_null
            h2, e2 = self.grid.shares(x)
            with np.errstate(divide="ignore"):  # delta is infinite where h2 is 0
                delta = e2 / h2
            se = np.sqrt(sigma2_p[:, None] * variance)
            sd = np.sqrt(sigma2_p * (h2 * self.k_clear + e2))
            fitted = Fitted(beta, se, sd, delta, loglik, loglik - alone, share)
            tests.append(to_tests(fitted, usable, sets, n, c))
        return tests


@in_float64
def exact_scan(data: RotatedData) -> ExactScan:
    """Prepare tests of markers that estimate the variance ratio anew with each marker.

    Args:
        data: one or more traits of the same individuals; X may be of deficient rank.

    Raises:
        InputError: if h2 is not identified.
    """
    check_rows(data, what="a scan")
    X, _ = independent(np.asarray(data.X))
    traits = [whitened(data._replace(Y=y[:, None], X=X)) for y in data.Y.T]
    grid = RatioGrid(np.asarray(traits[0].data.s), DELTA_MIN)
    found = [weights_and_model(of.data, *grid.shares(grid.x)) for of in traits]
    weights, models = found[0][0], [model for _, model in found]  # weights do not depend on the trait
    profiles = np.array([profile_ml(model, np.zeros(len(grid.x)), len(data.s)) for model in models])
    nulls = grid.basis(grid.argmax(profiles))
    units = [Units(of.sd, of.k, of.log_unit * len(data.s)) for of in traits]
    Q = np.asarray(traits[0].data.X)
    k_clear = mean_clear(np.asarray(traits[0].data.s), Q)
    return ExactScan(Q, grid, weights, models, list(nulls), _rows(nulls, profiles).tolist(), units, k_clear)


def _rows(weights: Float[ndarray, "b m"], values: Float[ndarray, "b m"]) -> Float[ndarray, " b"]:
    return np.einsum("bm,bm->b", weights, values)
