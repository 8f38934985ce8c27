"""What tests of markers find, one row for each set of markers, and what all scans share.

A block is Z: k arrays of markers, one for each place in b sets of k (k = 1: single markers). `gains` says what sets add
to a model at given variance ratios; `exact` and `fixed` choose the ratios.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray
from scipy.special import chdtrc, fdtrc

from bayeslmm.base.checks import InputError
from bayeslmm.scan.gains import Gains, Model, Sets, sets_by_rank

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


def added(whole: Tests, part: Tests) -> Float64[ndarray, " b"]:
    """Return p-values of the likelihood ratio of sets against parts of them; NaN where a set has no more rank.

    Args:
        whole: tests of the sets.
        part: tests, by the same scan, of some of their columns.
    """
    df = whole.df - part.df
    ratio = np.maximum(2 * (whole.loglik - part.loglik), 0.0)
    return np.where(df > 0, chdtrc(np.maximum(df, 1), ratio), np.nan)


def mean_clear(s: Float[ndarray, " n"], Q: Float[ndarray, "n c"]) -> float:
    """Return tr(MK) / (n - c), of which h2 makes h2 tr(MK) / (n - c) + 1 - h2: the variance of a trait given X."""
    n, c = Q.shape
    return float(s @ (1 - (Q**2).sum(axis=1)) / (n - c))


def by_rank(
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


def usable_sets(model: Model, gains: Gains) -> tuple[Gains, Bool[ndarray, " b"]]:
    """Return which sets leave something of each trait, and gains without what the others would add."""
    usable = (gains.quad < (1 - _EXPLAINED) * model.reml.quad).all(axis=1)
    return gains if usable.all() else gains._replace(quad=np.where(usable[:, None], gains.quad, 0.0)), usable


class Fitted(NamedTuple):
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


def to_tests(fitted: Fitted, usable: Bool[ndarray, " b"], sets: Sets, n: int, c: int) -> Tests:
    """Return the tests of fitted models, NaN where a set leaves nothing of a trait.

    Args:
        fitted: models with the sets.
        usable: which sets leave something, by `usable_sets`.
        sets: of markers.
        n: individuals.
        c: covariates.
    """
    r = len(sets.columns)
    unless = np.where(usable, 1.0, np.nan)
    fitted = Fitted(*((values.T * unless).T for values in fitted))
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
