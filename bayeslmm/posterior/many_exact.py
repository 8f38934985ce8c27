"""The posterior of many traits at once by quadrature: that of `exact`, without a grid of the total variance for each.

Given the share of the genetic variance, the total variance is integrated out by `Totals`. What is left is one line for
each trait, and all lines are computed together, on interpolants of their likelihoods.
"""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.interpolate import make_interp_spline
from scipy.special import logsumexp, ndtri

from bayeslmm.base.checks import AnalysisError
from bayeslmm.likelihood.many_traits import ManyTraits
from bayeslmm.likelihood.priors import OnLine, VariancePrior
from bayeslmm.likelihood.ratio_lines import RatioLines
from bayeslmm.posterior.grid import Shares, covering_grids
from bayeslmm.posterior.totals import Totals

_BLOCK = 512
_COARSE = np.concatenate([-np.geomspace(5000, 36, 40), np.linspace(-36, 36, 481)[1:-1], np.geomspace(36, 5000, 40)])
_LAST_LOGIT = 36.0
_NODES, _MOST = 128, 8192
_CONVERGED = 1e-8
_SHARP = 1.0  # spacing of nodes in standard deviations of the total variance
_HALVINGS, _STEPS = 50, 40
_LIGHT = 1e-13


class Summary(NamedTuple):
    """Posterior means, standard deviations and equal-tailed intervals of one quantity of t traits, shapes (t,)."""

    mean: Float64[ndarray, " t"]
    sd: Float64[ndarray, " t"]
    lower: Float64[ndarray, " t"]
    upper: Float64[ndarray, " t"]


class ManyPosteriors(NamedTuple):
    """Posteriors of t traits, each as `ExactPosterior` has it.

    Attributes:
        h2, pve, sigma2_u, sigma2_e: summaries.
        log_evidence, log_bayes_factor: shape (t,).
    """

    h2: Summary
    pve: Summary
    sigma2_u: Summary
    sigma2_e: Summary
    log_evidence: Float64[ndarray, " t"]
    log_bayes_factor: Float64[ndarray, " t"]


def many_posteriors(
    traits: ManyTraits, lines: RatioLines, prior: VariancePrior | None = None, *, level: float = 0.95
) -> ManyPosteriors:
    """Compute the posteriors of many traits by quadrature.

    Args:
        traits: in units of their own.
        lines: their likelihoods.
        prior: of h2 and sigma2_p, as for `exact.posterior`.
        level: of the intervals.

    Raises:
        InputError: if a prior lies outside its range.
        AnalysisError: if nothing of a posterior lies in the support of the prior, but for rounding.
    """
    prior = prior or VariancePrior()
    share = Shares(OnLine.of(prior.h2, "h2", within=(0.0, 1.0)))
    total = OnLine.of(prior.sigma2_p, "sigma2_p", within=(0.0, np.inf))
    t = len(traits.sd)
    found = np.empty((t, 18))
    for free in np.unique(lines.free):
        those = np.flatnonzero(lines.free == free)
        for start in range(0, len(those), _BLOCK):
            block = those[start : start + _BLOCK]
            found[block] = _block(traits.take(block), lines.take(block), share, total, level)
    h2, pve, sigma2_u, sigma2_e = (Summary(*found[:, 4 * j : 4 * j + 4].T) for j in range(4))
    return ManyPosteriors(h2, pve, sigma2_u, sigma2_e, found[:, 16], found[:, 17])


class _OnLines(NamedTuple):
    """Log densities along lines of x, and the logarithms of the quadratic forms there, shapes (t, m)."""

    log_p: Float64[ndarray, "t m"]
    log_q: Float64[ndarray, "t m"]


def _block(
    traits: ManyTraits, lines: RatioLines, share: Shares, total: OnLine, level: float
) -> Float64[ndarray, "t 18"]:
    """Return results of traits with the same number of values, a row for each."""
    t, k = len(traits.sd), float(lines.free[0])
    x = np.broadcast_to(_COARSE, (t, len(_COARSE)))
    coarse = _likelihood(lines, share, x)
    totals = Totals(total, k, float(coarse[1].min()), float(coarse[1].max()))

    def along(lines: RatioLines, x: ndarray) -> _OnLines:
        log_dets, log_q = _likelihood(lines, share, x)
        return _OnLines(log_dets + totals.log_integral(log_q) + share.prior.log_density(x), log_q)

    x = covering_grids(lambda x: along(lines, x).log_p, x, _NODES)
    widest = totals.spread(coarse[1].min(axis=1))[1]
    needed = np.ceil((x[:, -1] - x[:, 0]) / (_SHARP * widest) / _NODES)
    nodes = _NODES * 2 ** np.ceil(np.log2(np.maximum(needed, 1))).astype(int)
    found = np.empty((t, 18))
    left = np.arange(t)
    while left.size:
        again: list[ndarray] = []
        for m in np.unique(nodes[left]):
            rows = left[nodes[left] == m]
            grid = np.linspace(x[rows, 0], x[rows, -1], m + 1, axis=1)
            on = along(lines.take(rows), grid)
            peak = on.log_p.max(axis=1)
            if not np.isfinite(peak).all():
                raise AnalysisError("the posterior is 0 wherever it was computed: look at the prior, and at outliers")
            p = np.exp(on.log_p - peak[:, None])
            rough = (_changes(p, grid) > _CONVERGED) & (m < _MOST)
            again.append(rows[rough])
            good = ~rough
            if good.any():
                those = rows[good]
                found[those] = _summaries(
                    traits.take(those),
                    lines.take(those),
                    share,
                    totals,
                    grid[good],
                    _OnLines(*(a[good] for a in on)),
                    level,
                )
        left = np.concatenate(again)
        nodes[left] *= 2
    return found


def _likelihood(lines: RatioLines, share: Shares, x: ndarray) -> tuple[ndarray, ndarray]:
    seen = np.minimum(x, _LAST_LOGIT)
    unit = lines.at(share.genetic(seen), share.residual(seen))
    return unit.log_dets, np.log(unit.quad)


def _changes(p: ndarray, x: ndarray) -> ndarray:
    """Return how much the integral of each density and its mean change with every other node."""
    whole = p.sum(axis=1)
    mean = (p * x).sum(axis=1) / whole
    spread = np.sqrt((p * np.square(x - mean[:, None])).sum(axis=1) / whole)
    half = p[:, ::2]
    half_mean = (half * x[:, ::2]).sum(axis=1) / half.sum(axis=1)
    return np.maximum(abs(2 * half.sum(axis=1) / whole - 1), abs(half_mean - mean) / spread)


def _summaries(
    traits: ManyTraits, lines: RatioLines, share: Shares, totals: Totals, x: ndarray, on: _OnLines, level: float
) -> Float64[ndarray, "t 18"]:
    log_sum = logsumexp(on.log_p, axis=1)
    mass = np.exp(on.log_p - log_sum[:, None])
    spacing = x[:, 1] - x[:, 0]
    log_evidence = log_sum + np.log(spacing)
    zero = np.zeros((len(x), 1))
    null = lines.at(zero, zero + 1)
    log_null = (null.log_dets + totals.log_integral(np.log(null.quad)))[:, 0]
    ends = (1 - level) / 2, (1 + level) / 2
    quantiles = _quantiles(x, mass, ends)
    columns: list[ndarray] = []
    for k_scale in ((1 / traits.k)[:, None], (traits.k_scale / traits.k)[:, None]):
        values = share.explained(x, k_scale)
        mean = (mass * values).sum(axis=1)
        sd = np.sqrt((mass * np.square(values - mean[:, None])).sum(axis=1))
        columns += [mean, sd, *share.explained(quantiles, k_scale).T]
    first, second = totals.moments(on.log_q)
    units = traits.sd**2 / traits.k, traits.sd**2
    parts = (share.genetic, share.log_genetic), (share.residual, share.log_residual)
    for (of, log_of), unit in zip(parts, units, strict=True):
        values = of(x)
        mean = (mass * values * first).sum(axis=1)
        sd = np.sqrt(np.maximum((mass * np.square(values) * second).sum(axis=1) - mean**2, 0))
        bounds = (np.exp(_log_quantile(totals, mass, log_of(x), on.log_q, end)) for end in ends)
        columns += [each * unit for each in (mean, sd, *bounds)]
    columns += [log_evidence - lines.free * np.log(traits.sd), log_evidence - log_null]
    return np.column_stack(columns)


def _quantiles(x: ndarray, mass: ndarray, probabilities: tuple[float, ...]) -> Float64[ndarray, "t q"]:
    """Return where each distribution, on a regular grid of its own, reaches some probabilities."""
    # The trapezoid rule is exponentially accurate for the whole line only: partial sums need the spline.
    cdf = make_interp_spline(np.arange(x.shape[1]), mass.T, k=5).antiderivative()
    breaks = np.unique(cdf.t)
    terms = np.array([cdf.derivative(m)(breaks) / math.factorial(m) if m else cdf(breaks) for m in range(cdf.k + 1)])
    rows = np.arange(len(x))
    found: list[ndarray] = []
    for probability in probabilities:
        target = probability * terms[0, -1]
        j = np.clip((terms[0] <= target).sum(axis=0) - 1, 0, len(breaks) - 2)
        low, high = np.zeros(len(x)), breaks[j + 1] - breaks[j]
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            below = np.polynomial.polynomial.polyval(middle, terms[:, j, rows], tensor=False) < target
            low, high = np.where(below, middle, low), np.where(below, high, middle)
        found.append(x[:, 0] + (breaks[j] + low) * (x[:, 1] - x[:, 0]))
    return np.column_stack(found)


def _log_quantile(totals: Totals, mass: ndarray, log_share: ndarray, log_q: ndarray, probability: float) -> ndarray:
    """Return the logarithm of a quantile of the total variance times a share, by Newton steps within bounds.

    Given the share its distribution function is that of the total variance, and the mean of these over the share is a
    smooth function of the point.
    """
    heavy = mass > _LIGHT * mass.max(axis=1, keepdims=True)
    count = heavy.sum(axis=1)
    starts = np.concatenate([[0], np.cumsum(count)[:-1]])
    row = np.repeat(np.arange(len(mass)), count)
    weight, ls, lq = mass[heavy], log_share[heavy], log_q[heavy]
    given = totals.spread(lq)
    centre = totals.log_value(given[0]) + ls
    low, high = np.minimum.reduceat(centre, starts) - 3, np.maximum.reduceat(centre, starts) + 3
    whole = np.add.reduceat(weight, starts)
    target = ndtri(probability)
    mid = np.add.reduceat(weight * centre, starts) / whole
    spread = np.sqrt(np.add.reduceat(weight * np.square(centre - mid[row]), starts) / whole + 1e-3)
    point = np.clip(mid + target * spread, low, high)
    for _ in range(_STEPS):
        below, slope = totals.below(point[row] - ls, lq, given)
        probability_there = np.clip(np.add.reduceat(weight * below, starts) / whole, 1e-300, 1 - 1e-16)
        slope_there = np.add.reduceat(weight * slope, starts) / whole
        score = ndtri(probability_there)
        low, high = np.where(score < target, point, low), np.where(score < target, high, point)
        rise = slope_there * np.sqrt(2 * np.pi) * np.exp(np.square(score) / 2)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            newton = point - (score - target) / rise
        step = np.where((newton > low) & (newton < high), newton, (low + high) / 2) - point
        point = point + step
        if np.abs(step).max() < 1e-9:
            break
    return point
