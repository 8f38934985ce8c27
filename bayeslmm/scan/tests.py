"""Tests of markers under the mixed model, whole blocks of them at a time.

A block is Z: k arrays of rotated markers, one for each place in b sets of k (k = 1: single markers). `gains`
says what sets add to a model at given variance ratios, which is all that `FixedScan` needs. `ExactScan` finds the best
ratio of each set: it takes the gains at Chebyshev points of the ratio, and all that follows is on smooth functions of
one variable.

Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, for the exact tests; Kang et al. (2010), doi:10.1038/ng.548, and
Lippert et al. (2011), doi:10.1038/nmeth.1681, for a ratio fixed at the null.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, override

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from scipy.special import chdtrc, fdtrc

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.reml import reml
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.one_trait import UnitScale
from bayeslmm.likelihood.ratio_grid import RatioGrid
from bayeslmm.likelihood.rotation import RotatedData, check_rows
from bayeslmm.likelihood.whitened import Whitened, whitened
from bayeslmm.scan.gains import (
    Gains,
    Model,
    Sets,
    Weights,
    clear_of,
    gains_of,
    profile_ml,
    profile_reml,
    schur_factor,
    sets_by_rank,
    weights_and_model,
)

_EXPLAINED = 1e-12
"""A marker that leaves less than this share of a trait is not tested: nothing is left to estimate variances from."""


class Tests(NamedTuple):
    """Tests of b sets of k markers for one trait. NaN where a set adds nothing to the covariates, or leaves nothing.

    Attributes:
        beta: effects, in units of the trait for one unit of the marker, shape (b, k); those of least length where
            markers of a set depend on each other.
        se: their standard errors, shape (b, k); NaN for those that the data do not determine.
        p_wald: F test of each effect, at the ratio of the restricted likelihood, shape (b, k).
        p_lrt: likelihood-ratio test of the whole set by maximum likelihood, chi-square, shape (b,).
        p_score: score test of the whole set at the ratio of the fit without it by maximum likelihood, F, shape (b,).
            Its scale is that of n - c degrees of freedom, where GEMMA takes n.
        sd: standard deviation of the trait given the covariates and the set, at the ratio of beta and se, shape (b,).
        delta: sigma2_e / sigma2_u of beta and se, shape (b,).
        loglik: the log-likelihood with the set, behind p_lrt, shape (b,); that without it where it adds nothing.
        df: rank of the set given the covariates, shape (b,).
    """

    beta: Float64[ndarray, "b k"]
    se: Float64[ndarray, "b k"]
    p_wald: Float64[ndarray, "b k"]
    p_lrt: Float64[ndarray, " b"]
    p_score: Float64[ndarray, " b"]
    sd: Float64[ndarray, " b"]
    delta: Float64[ndarray, " b"]
    loglik: Float64[ndarray, " b"]
    df: Int64[ndarray, " b"]


class Units(NamedTuple):
    """Units in which the numbers of a trait are near 1, and how to leave them; see `Whitened`.

    Attributes:
        sd: of the trait given its covariates.
        k: by which s was divided.
        log_units: what a log-likelihood has more than that of the user's data.
    """

    sd: float
    k: float
    log_units: float

    def to_users(self, tests: Tests) -> Tests:
        """Return tests in the units of the trait and on the scale of K."""
        return tests._replace(
            beta=tests.beta * self.sd,
            se=tests.se * self.sd,
            sd=tests.sd * self.sd,
            delta=tests.delta * self.k,
            loglik=tests.loglik - self.log_units,
        )


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
        k_clear: mean variance that K gives once X is projected out, see `_mean_clear`, in the same units.
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
        return _by_rank(self.X, Z, self.logliks, self.units, self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        r = len(sets.columns)
        L = schur_factor(self.weights, sets)
        tests = []
        for model, at_null, alone in zip(self.models, self.nulls, self.logliks, strict=True):
            gains, usable = _usable(model, gains_of(model, sets, L))
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
            fitted = _Fitted(beta, se, sd, delta, loglik, loglik - alone, share)
            tests.append(_to_tests(fitted, usable, sets, n, c))
        return tests


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
        return _by_rank(self.X, Z, alone.tolist(), self.units, self._test)

    def _test(self, sets: Sets) -> list[Tests]:
        n, c = self.X.shape
        model, r = self.model, len(sets.columns)
        gains, usable = _usable(model, gains_of(model, sets, self.factor(sets)))
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
            fitted = _Fitted(beta, se, sd, delta, loglik[:, others], gain[:, others], share[:, others])
            tests.append(_to_tests(fitted, usable, sets, n, c))
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


def added(whole: Tests, part: Tests) -> Float64[ndarray, " b"]:
    """Return p-values of the likelihood ratio of sets against parts of them; NaN where a set has no more rank.

    Args:
        whole: tests of the sets.
        part: tests, by the same scan, of some of their columns.
    """
    df = whole.df - part.df
    ratio = np.maximum(2 * (whole.loglik - part.loglik), 0.0)
    return np.where(df > 0, chdtrc(np.maximum(df, 1), ratio), np.nan)


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
    k_clear = _mean_clear(np.asarray(traits[0].data.s), Q)
    return ExactScan(Q, grid, weights, models, list(nulls), _rows(nulls, profiles).tolist(), units, k_clear)


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
    k_clear = _mean_clear(np.asarray(clear[0].data.s), Q)
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


def _mean_clear(s: Float[ndarray, " n"], Q: Float[ndarray, "n c"]) -> float:
    """Return tr(MK) / (n - c), of which h2 makes h2 tr(MK) / (n - c) + 1 - h2: the variance of a trait given X."""
    n, c = Q.shape
    return float(s @ (1 - (Q**2).sum(axis=1)) / (n - c))


def _by_rank(
    X: Float[ndarray, "n c"],
    Z: Sequence[Float[ndarray, "n b"]],
    logliks: Sequence[float],
    units: Sequence[Units],
    test: Callable[[Sets], list[Tests]],
) -> list[Tests]:
    """Test the sets of each rank together, and put the results of each trait in order and in the user's units.

    Args:
        X: orthonormal covariates.
        Z: as for `ExactScan.test`.
        logliks: of each trait without markers, in its `units`.
        units: of each trait.
        test: for sets of one rank.
    """
    (n, c), k, b = X.shape, len(Z), Z[0].shape[1]
    if n <= c + k:
        raise InputError(
            f"{n} individuals are too few to test {k} effects at once beside {c} covariates: at least {c + k + 1} are "
            "needed"
        )

    def untested(loglik: float) -> Tests:
        beta, se, p_wald = (np.full((b, k), np.nan) for _ in range(3))
        p_lrt, p_score, sd, delta = (np.full(b, np.nan) for _ in range(4))
        return Tests(beta, se, p_wald, p_lrt, p_score, sd, delta, np.full(b, loglik), np.zeros(b, dtype=np.int64))

    results = [untested(loglik) for loglik in logliks]
    for sets in sets_by_rank(X, Z):
        for whole, part in zip(results, test(sets), strict=True):
            for values, new in zip(whole, part, strict=True):
                values[sets.members] = new
    return [of.to_users(tests) for of, tests in zip(units, results, strict=True)]


def _usable(model: Model, gains: Gains) -> tuple[Gains, Bool[ndarray, " b"]]:
    """Return which sets leave something of each trait, and gains without what the others would add."""
    usable = (gains.quad < (1 - _EXPLAINED) * model.reml.quad).all(axis=1)
    return gains if usable.all() else gains._replace(quad=np.where(usable[:, None], gains.quad, 0.0)), usable


class _Fitted(NamedTuple):
    """Models with b sets of r independent columns, for one trait.

    Attributes:
        beta, se: effects and their standard errors, shape (b, k).
        sd, delta, loglik: as in `Tests`, shape (b,).
        gain: of the log-likelihood over the model without the set, shape (b,).
        share: of the quadratic form without the set that it explains, at the ratio of the score test, shape (b,).
    """

    beta: Float64[ndarray, "b k"]
    se: Float64[ndarray, "b k"]
    sd: Float64[ndarray, " b"]
    delta: Float64[ndarray, " b"]
    loglik: Float64[ndarray, " b"]
    gain: Float64[ndarray, " b"]
    share: Float64[ndarray, " b"]


def _to_tests(fitted: _Fitted, usable: Bool[ndarray, " b"], sets: Sets, n: int, c: int) -> Tests:
    r = len(sets.columns)
    unless = np.where(usable, 1.0, np.nan)
    fitted = _Fitted(*((values.T * unless).T for values in fitted))
    se = np.where(sets.determined, fitted.se, np.nan)
    return Tests(
        beta=fitted.beta,
        se=se,
        p_wald=fdtrc(1, n - c - r, (fitted.beta / se) ** 2),
        p_lrt=chdtrc(r, np.maximum(2 * fitted.gain, 0.0)),  # below 0 by rounding only
        p_score=fdtrc(r, n - c - r, (n - c) * fitted.share / r),
        sd=fitted.sd,
        delta=fitted.delta,
        loglik=fitted.loglik,
        df=np.full(len(se), r),
    )


def _rows(weights: Float[ndarray, "b m"], values: Float[ndarray, "b m"]) -> Float[ndarray, " b"]:
    return np.einsum("bm,bm->b", weights, values)
