"""Restricted maximum likelihood of many traits at once, on interpolants of their likelihoods."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.many_traits import ManyTraits
from bayeslmm.likelihood.ratio_lines import RatioLines

_FINER = 4
_HALVINGS = 50


class ManyEstimates(NamedTuple):
    """REML of t traits, each as `Estimate` has it.

    Attributes:
        sigma2_u, sigma2_e: variance components, in squared units of each trait, shape (t,).
        h2, pve: heritability, and variance explained among the individuals who have the trait, shape (t,).
        loglik, loglik_null: the restricted log-likelihood at the estimate and at h2 = 0, shape (t,).
        at_zero, at_one: whether an estimate sits on that end of its range, shape (t,).
        modes: how many maxima the likelihood has, shape (t,).
    """

    sigma2_u: Float64[ndarray, " t"]
    sigma2_e: Float64[ndarray, " t"]
    h2: Float64[ndarray, " t"]
    pve: Float64[ndarray, " t"]
    loglik: Float64[ndarray, " t"]
    loglik_null: Float64[ndarray, " t"]
    at_zero: Bool[ndarray, " t"]
    at_one: Bool[ndarray, " t"]
    modes: Int64[ndarray, " t"]

    @property
    def likelihood_ratio(self) -> Float64[ndarray, " t"]:
        """Twice the gain of the log-likelihood over h2 = 0, 0 where rounding would make it negative."""
        return np.maximum(2 * (self.loglik - self.loglik_null), 0.0)


def many_reml(traits: ManyTraits, lines: RatioLines) -> ManyEstimates:
    """Estimate the variance components of each of many traits, as `reml` does of one.

    The score is looked at on a grid over the whole line, each of its roots is bisected, and the best of them and of
    the ends of the line is taken.

    Args:
        traits: in units of their own.
        lines: their likelihoods.
    """
    grid, t = lines.near, len(traits.sd)
    profile = lines.profile()
    score = grid.slope(profile)
    end = grid.at_ratio(1 / (DELTA_MIN * lines.k))
    fine = np.linspace(0.0, 1.0, _FINER * len(grid.x)) * grid.x[-1]
    x = np.minimum(fine, end[:, None])
    rises = grid.evaluate(score, x) > 0
    rows, columns = np.nonzero(rises[:, :-1] & ~rises[:, 1:])
    inside = _roots(lambda at: grid.evaluate(score[:, rows], at[:, None])[:, 0], x[rows, columns], x[rows, columns + 1])
    # One row for each candidate: roots of the score, and the ends where the likelihood falls away from them.
    low, high = np.flatnonzero(~rises[:, 0]), np.flatnonzero(rises[:, -1])
    of = np.concatenate([rows, low, high])
    places = np.concatenate([inside, np.zeros(len(low)), end[high]])
    values = grid.evaluate(profile[:, of], places[:, None])[:, 0]
    order = np.lexsort([-values, of])
    best = order[np.unique(of[order], return_index=True)[1]]
    at, loglik = places[best], values[best]

    of_residual = grid.ratio(at) * lines.k  # K of the people of each trait with a mean diagonal of 1
    genetic, residual = of_residual / (1 + of_residual), 1 / (1 + of_residual)
    unit = lines.at(genetic[:, None], residual[:, None])
    sigma2_p = unit.quad[:, 0] / lines.free
    white_u, white_e = genetic * sigma2_p, residual * sigma2_p
    sigma2_u, sigma2_e = white_u * traits.sd**2 / traits.k, white_e * traits.sd**2
    log_units = lines.free * np.log(traits.sd)
    return ManyEstimates(
        sigma2_u,
        sigma2_e,
        quantities.h2(sigma2_u, sigma2_e),
        quantities.pve(white_u, white_e, traits.k_scale / traits.k),
        loglik - log_units,
        grid.evaluate(profile, np.zeros((t, 1)))[:, 0] - log_units,
        at == 0,
        at == end,
        np.bincount(of, minlength=t),
    )


def _roots(score, low: ndarray, high: ndarray) -> Float64[ndarray, " b"]:
    """Return where many functions fall through 0, each between bounds of its own."""
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rises = score(middle) > 0
        low, high = np.where(rises, middle, low), np.where(rises, high, middle)
    return (low + high) / 2
