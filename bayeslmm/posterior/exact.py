"""The oracle: the posterior of one trait by quadrature, to more digits than any sampler.

Given a flat prior on the fixed effects, all that the data say is in two smooth functions of the share of the genetic
variance: the restricted log-likelihood and its quadratic form at total variance 1 (`likelihood.at_unit_scale`). The
joint posterior of the share and of the total variance is then known in closed form at each point. Both are mapped from
the support of their prior to the real line, where the trapezoid rule on a regular grid converges exponentially for such
analytic, decaying densities (Trefethen and Weideman 2014, doi:10.1137/130932132); grids are refined until it has.
The priors are those of the NumPyro program.

Everything is computed in units of the trait and on the scale where K has a mean diagonal of 1 (`Whitened`): the unit of
neither matters. The results are on the user's scales.
"""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from scipy.interpolate import make_interp_spline
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp, ndtr

from bayeslmm.base.checks import AnalysisError, InputWarning
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import Gls, UnitScale, at_unit_scale, gls, log_reml, rescale
from bayeslmm.likelihood.priors import OnLine, VariancePrior
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import OneTrait, Whitened, whitened
from bayeslmm.posterior.marginal import Marginal

_NODES = 400
_MOST_NODES = 25_600
_BATCH = 50
# Of the share. Beyond the last one the likelihood does not change (or is 0 long before), and has no digits.
_LOGITS = np.concatenate([-np.geomspace(5000, 30, 100), np.linspace(-30, 30, 602)[1:-1], np.geomspace(30, 5000, 100)])
_LAST_LOGIT = 36.0
_TAIL = 36.0  # densities below exp(-36) of the peak are left out: 2e-16
_CONVERGED = 1e-9
_AREA, _WRONG = 1e-8, 1e-6
_PANEL_NODES, _CONVERGED_DENSITY = (64, 128, 256, 512), 1e-8


@dataclass(frozen=True)
class ExactPosterior:
    """The posterior of one trait.

    Attributes:
        h2, pve: marginals.
        share: the marginal of the share of the genetic variance where K has a mean diagonal of 1, which has the prior.
        log_evidence: log of the integral of restricted likelihood times prior.
        log_bayes_factor: of h2 > 0 against h2 = 0, natural logarithm: evidence over that of h2 = 0 with the same prior
            of the total variance. It equals the ratio of prior to posterior density at h2 = 0 (Dickey 1971,
            doi:10.1214/aoms/1177693507), and favours h2 = 0 the more, the more the prior of h2 spreads.
        beta, se_beta: posterior means and standard deviations of the fixed effects, shape (c,).
    """

    h2: Marginal
    pve: Marginal
    share: Marginal
    log_evidence: float
    log_bayes_factor: float
    beta: Float64[ndarray, " c"]
    se_beta: Float64[ndarray, " c"]
    _joint: "_Joint" = field(repr=False)
    _of: Whitened = field(repr=False)
    _mixture: tuple[ndarray, ndarray, ndarray] = field(repr=False)

    def draws(self, m: int, rng: np.random.Generator) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
        """Draw h2 and sigma2_p, on the scale of their priors, from their joint posterior, to within a cell of the grid.

        One draw comes from each of the m parts of equal probability into which h2 falls, in random order: each by
        itself has the posterior for its distribution, and a mode with 1/m of the probability is not left out.

        Args:
            m: how many.
            rng: of the draws.

        Returns:
            Values of h2 where K has a mean diagonal of 1, and of sigma2_p there in units of the variance of the trait
            given its covariates; shapes (m,), none of them on a bound.
        """
        joint = self._joint
        below, u = np.cumsum(joint.mass.sum(axis=1)), (rng.permutation(m) + rng.uniform(size=m)) / m
        rows = np.minimum(np.searchsorted(below, u * below[-1]), len(joint.x) - 1)
        columns = [rng.choice(len(joint.t), p=joint.mass[row] / joint.mass[row].sum()) for row in rows]
        return joint.share.inside(joint.x[rows]), joint.total.inside(joint.t[columns])

    @cached_property
    def sigma2_u(self) -> Marginal:
        """The genetic variance."""
        shares = _Shares(self._joint.share)
        return _variance(self._joint, shares.genetic, shares.log_genetic, self._of.unit_u)

    @cached_property
    def sigma2_e(self) -> Marginal:
        """The residual variance."""
        shares = _Shares(self._joint.share)
        return _variance(self._joint, shares.residual, shares.log_residual, self._of.unit_e)

    @cached_property
    def sigma2_p(self) -> Marginal:
        """Their sum."""
        shares = _Shares(self._joint.share)

        def both(x: ndarray) -> ndarray:
            return shares.genetic(x) / self._of.k + shares.residual(x)

        return _variance(self._joint, both, lambda x: np.log(both(x)), self._of.unit_e)

    def beta_interval(self, j: int, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval of one fixed effect, from its mixture of normals."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        far = self.beta[j] - 40 * self.se_beta[j], self.beta[j] + 40 * self.se_beta[j]
        lower, upper = (
            brentq(lambda value, p=p: float(weight @ ndtr((value - mean) / sd)) - p, *far, xtol=1e-14 * self.se_beta[j])
            for p in ((1 - level) / 2, (1 + level) / 2)
        )
        return lower, upper

    def beta_positive(self, j: int) -> float:
        """Return the probability that one fixed effect is above 0."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        return float(weight @ ndtr(mean / sd))


@in_float64
def posterior(data: OneTrait, prior: VariancePrior | None = None) -> ExactPosterior:
    """Compute the posterior of one trait by quadrature.

    Moments and equal-tailed intervals have at least 6 digits (tests compare them with Gauss-Legendre panels). A warning
    says where a prior is so rough (a mixture with jumps) that they have fewer.

    Args:
        data: one trait in the eigenbasis.
        prior: of h2 and sigma2_p; its prior of the fixed effects is taken as flat.

    Raises:
        InputError: if Y has more than one column, h2 is not identified, or a prior lies outside its range.
        AnalysisError: if nothing of the posterior lies in the support of the prior, but for rounding.
    """
    of = whitened(data)
    prior = prior or VariancePrior()
    joint = _joint(of, prior)
    share = _Shares(joint.share)
    of_x = joint.mass.sum(axis=1)

    def of_share(k_scale: float) -> Marginal:
        """Share of variance that K explains on some scale, of which the density in x is the same."""
        values = share.explained(joint.x, k_scale)
        mean = float(of_x @ values)
        return Marginal(
            joint.x,
            of_x / _step(joint.x),
            lambda x: share.explained(x, k_scale),
            lambda x: share.slope(x, k_scale),
            mean,
            float(np.sqrt(of_x @ (values - mean) ** 2)),
        )

    beta, se_beta, mixture = _fixed_effects(joint, of)
    log_units = (len(of.data.s) - of.data.X.shape[1]) * of.log_unit
    return ExactPosterior(
        h2=of_share(1 / of.k),
        pve=of_share(of.data.k_scale),
        share=of_share(1.0),
        log_evidence=joint.log_evidence - log_units,
        log_bayes_factor=joint.log_evidence - _log_evidence_null(joint, of),
        beta=beta,
        se_beta=se_beta,
        _joint=joint,
        _of=of,
        _mixture=mixture,
    )


class _Shares(NamedTuple):
    """Shares of the variance as functions of x, with all digits at both ends: low + (high - low) expit(x)."""

    prior: OnLine

    def genetic(self, x: ndarray) -> ndarray:
        """Share of the genetic variance."""
        return self.prior.to_value(x)

    def residual(self, x: ndarray) -> ndarray:
        """Share of the residual variance."""
        return (1 - self.prior.high) + (self.prior.high - self.prior.low) * expit(-x)

    def log_genetic(self, x: ndarray) -> ndarray:
        """Logarithm of the first; where it is a logistic function, without underflow."""
        return log_expit(x) + np.log(self.prior.high) if self.prior.low == 0 else np.log(self.genetic(x))

    def log_residual(self, x: ndarray) -> ndarray:
        """Logarithm of the second."""
        return log_expit(-x) + np.log1p(-self.prior.low) if self.prior.high == 1 else np.log(self.residual(x))

    def explained(self, x: ndarray, k_scale: float) -> ndarray:
        """Share that K explains on a scale."""
        return quantities.pve(self.genetic(x), self.residual(x), k_scale)

    def slope(self, x: ndarray, k_scale: float) -> ndarray:
        """Derivative of `explained`."""
        slope = (self.prior.high - self.prior.low) * expit(x) * expit(-x)
        return k_scale * slope / (k_scale * self.genetic(x) + self.residual(x)) ** 2


@dataclass(frozen=True)
class _Joint:
    """The joint posterior of the share and the total variance, in units of `Whitened`, on a grid of two lines.

    Attributes:
        x, t: regular grids, shapes (m,) and (l,).
        share, total: what they are the logit and the logarithm of, with their priors.
        fits: what the data say at each x.
        mass: of each cell, shape (m, l), sums to 1.
        log_evidence: of the whitened data.
        k: as in `rescale`.
    """

    x: Float64[ndarray, " m"]
    t: Float64[ndarray, " l"]
    share: OnLine
    total: OnLine
    fits: "_Fits"
    mass: Float64[ndarray, "m l"]
    log_evidence: float
    k: int


class _Fits(NamedTuple):
    """What the data say at each share of a grid: leading axis m."""

    unit: UnitScale
    gls: Gls


def _fits(data: RotatedData, share: _Shares, x: Float[ndarray, " m"]) -> _Fits:
    seen = np.minimum(x, _LAST_LOGIT)
    # Always of one length, so that it is compiled once.
    padded = np.pad(seen, (0, -len(x) % _NODES), mode="edge").reshape(-1, _NODES)
    parts = [_compiled_fits(data, share.genetic(part), share.residual(part)) for part in padded]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(x)], *parts)


@jax.jit
def _compiled_fits(data: RotatedData, share_u: jax.Array, share_e: jax.Array) -> _Fits:
    def at(shares: tuple[jax.Array, jax.Array]) -> _Fits:
        return _Fits(at_unit_scale(log_reml, data, *shares), gls(data, *shares))

    # In batches: memory stays O(n) times the batch, not times the grid.
    return jax.lax.map(at, (share_u, share_e), batch_size=_BATCH)


def _joint(of: Whitened, prior: VariancePrior) -> _Joint:
    n, c = of.data.X.shape
    k = n - c
    on_share = OnLine.of(prior.h2, "h2", within=(0.0, 1.0))
    on_total = OnLine.of(prior.sigma2_p, "sigma2_p", within=(0.0, np.inf))
    share = _Shares(on_share)

    def log_joint(fits: _Fits, x: ndarray, t: ndarray) -> ndarray:
        """Log density of x and t, shape (m, l); t of shape (l,) or (m, l)."""
        unit = UnitScale(fits.unit.log_dets[:, None], fits.unit.quad[:, None])
        total = np.atleast_2d(on_total.to_value(t))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = (
                rescale(unit, k, total)
                + on_share.log_density(x)[:, None]
                + on_total.log_density(t).reshape(total.shape)
            )
        return np.where(np.isnan(value), -np.inf, value)

    def ridge(fits: _Fits) -> ndarray:
        """Where the likelihood is highest along t, inside the support."""
        return on_total.from_value(fits.unit.quad / k)

    def along_ridge(x: ndarray) -> ndarray:
        fits = _fits(of.data, share, x)
        return log_joint(fits, x, ridge(fits)[:, None])[:, 0]

    def along_t(x: ndarray) -> ndarray:
        fits = _fits(of.data, share, x)
        at = ridge(fits)
        around = np.linspace(at.min() - 20, at.max() + 20, _NODES)
        return _support(lambda t: logsumexp(log_joint(fits, x, t), axis=0), around)

    def along_x(t: ndarray) -> ndarray:
        return _support(lambda x: logsumexp(log_joint(_fits(of.data, share, x), x, t), axis=1), _LOGITS)

    # The ridge finds the place; the marginals, each given the other grid, then set the limits.
    x = along_x(along_t(_support(along_ridge, _LOGITS)))
    t = along_t(x)
    x = along_x(t)

    while True:
        fits = _fits(of.data, share, x)
        log_p = log_joint(fits, x, t)
        peak = log_p.max()
        if not np.isfinite(peak):
            raise AnalysisError("the posterior is 0 wherever it was computed: look at the prior, and at outliers")
        p = np.exp(log_p - peak)
        halves = {"x": _changes(p.sum(axis=1), share.genetic(x)), "t": _changes(p.sum(axis=0), t)}
        if max(halves.values()) < _CONVERGED:
            break
        if len(x) * len(t) > _MOST_NODES * _NODES:
            if (error := max(halves.values())) > _WRONG:
                text = (
                    f"the quadrature has {-np.log10(error):.0f} digits only: the prior or the likelihood is not smooth"
                )
                warnings.warn(text, InputWarning, stacklevel=4)
            break
        if halves["x"] >= halves["t"]:
            x = np.linspace(x[0], x[-1], 2 * len(x) - 1)
        else:
            t = np.linspace(t[0], t[-1], 2 * len(t) - 1)
    log_evidence = float(np.log(p.sum()) + peak + np.log(_step(x) * _step(t)))
    return _Joint(x, t, on_share, on_total, fits, p / p.sum(), log_evidence, k)


def _changes(density: ndarray, values: ndarray) -> float:
    """Return how much the integral of a density and its mean change with every other node: the error of those."""
    half, mean = density[::2].sum() * 2, density @ values / density.sum()
    spread = np.sqrt(density @ (values - mean) ** 2 / density.sum())
    of_half = density[::2] @ values[::2] / density[::2].sum()
    return float(max(abs(half / density.sum() - 1), abs(of_half - mean) / max(spread, np.finfo(float).tiny)))


def _log_evidence_null(joint: _Joint, of: Whitened) -> float:
    """Return the log evidence of h2 = 0, where only the total variance is left to integrate."""
    unit = UnitScale(*(float(np.asarray(value)) for value in at_unit_scale(log_reml, of.data, 0.0, 1.0)))

    def log_density(t: ndarray) -> ndarray:
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            value = rescale(unit, joint.k, joint.total.to_value(t)) + joint.total.log_density(t)
        return np.where(np.isnan(value), -np.inf, value)

    (middle,) = joint.total.from_value(np.array([unit.quad / joint.k]))
    t = _support(log_density, np.linspace(middle - 20, middle + 20, _NODES))
    return float(logsumexp(log_density(t)) + np.log(_step(t)))


def _support(log_density: Callable[[ndarray], ndarray], z: Float[ndarray, " _"]) -> Float64[ndarray, " m"]:
    """Return a regular grid over the part of a line that holds all but a negligible share of a density.

    Args:
        log_density: of points on the line.
        z: the line, ascending, so dense that no mode is between its points.
    """
    regular = False
    while True:
        values = log_density(z)
        inside = np.flatnonzero(values > np.nanmax(values) - _TAIL)
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, len(z) - 1)
        if regular and last - first > 0.8 * len(z):
            return z
        z, regular = np.linspace(z[first], z[last], _NODES), True


def _variance(
    joint: _Joint, share: Callable[[ndarray], ndarray], log_share: Callable[[ndarray], ndarray], unit: float
) -> Marginal:
    r"""Return the marginal of the total variance times a share that is a monotone function of x.

    Its logarithm :math:`\zeta` has the density :math:`\int p(x, \log v - \log s(x)) dx`. Along such a line the joint
    density is as narrow as the total variance is known, which is found out by Gauss-Legendre panels on the part of the
    line that lies in the grid. Below the total variance the density of zeta falls as slowly as the share does, above
    it as fast as the total variance is known: the grid is regular in a coordinate that is zeta below, and spreads
    there out.
    """
    v = joint.total.to_value(joint.t)
    on_grid = share(joint.x)[:, None] * v
    mean = float((joint.mass * on_grid).sum())
    sd = float(np.sqrt((joint.mass * (on_grid - mean) ** 2).sum()))
    log_first, log_last = np.log(v[0]), np.log(v[-1])
    data = joint.fits.unit
    log_unit = make_interp_spline(joint.x, np.column_stack([data.log_dets, np.log(data.quad)]), k=5)
    knots = np.linspace(joint.x[0], joint.x[-1], max(2001, len(joint.x)))
    shares = log_share(knots)
    rising, largest = shares[-1] >= shares[0], float(shares.max())
    warp = _warp(joint, v, float(shares.min()), largest)

    slope = make_interp_spline(knots, shares, k=5).derivative()

    def x_at(log_value: ndarray) -> ndarray:
        """Where the logarithm of the share is so much, inside the grid: densities may jump there."""
        ordered = (shares, knots) if rising else (shares[::-1], knots[::-1])
        x = np.interp(log_value, *ordered)
        for _ in range(3):  # Newton, where the share is not flat
            with np.errstate(divide="ignore", invalid="ignore"):
                step = np.nan_to_num((log_share(x) - log_value) / slope(x), posinf=0.0, neginf=0.0)
            x = np.clip(x - np.clip(step, -knots[1] + knots[0], knots[1] - knots[0]), knots[0], knots[-1])
        return x

    def density(z: ndarray, nodes: int) -> ndarray:
        points, weights = _legendre(nodes)
        zeta = warp.back(z)
        ends = np.sort([x_at(zeta - log_last), x_at(zeta - log_first)], axis=0)
        half = (ends[1] - ends[0]) / 2
        x = ends.mean(axis=0)[:, None] + half[:, None] * points
        log_v = np.clip(zeta[:, None] - log_share(x), log_first, log_last)
        t = joint.total.from_value(np.exp(log_v))
        # From the density of t to that of log v, and from that of zeta to that of z.
        log_dets, log_quad = np.moveaxis(log_unit(x), -1, 0)
        log_p = rescale(UnitScale(log_dets, np.exp(log_quad)), joint.k, np.exp(log_v))
        log_p += joint.share.log_density(x) + joint.total.log_density(t) - joint.total.log_slope(t) + log_v
        return (np.exp(log_p - joint.log_evidence) * weights).sum(axis=1) * half / warp.slope(z)

    lowest, highest = warp.forth(np.array([log_first + shares.min(), log_last + largest]))
    with np.errstate(divide="ignore"):
        z = _support(lambda z: np.log(density(z, _PANEL_NODES[0])), np.linspace(lowest, highest, _NODES))
    while True:
        values = density(z, _PANEL_NODES[0])
        for nodes in _PANEL_NODES[1:]:
            coarser, values = values, density(z, nodes)
            if np.abs(values - coarser).max() < _CONVERGED_DENSITY * values.max():
                break
        area = values.sum() * _step(z)
        if abs(area - 1) < _AREA:
            break
        if len(z) > 4 * _NODES:
            if abs(area - 1) > _WRONG:
                text = f"a density of the quadrature integrates to {area:.6f}, not to 1: the prior is not smooth"
                warnings.warn(text, InputWarning, stacklevel=4)
            break
        z = np.linspace(z[0], z[-1], 2 * len(z) - 1)
    return Marginal(
        z,
        values,
        lambda z: np.exp(warp.back(z)) * unit,
        lambda z: np.exp(warp.back(z)) * unit / warp.slope(z),
        mean * unit,
        sd * unit,
    )


@functools.lru_cache
def _legendre(nodes: int) -> tuple[ndarray, ndarray]:
    return np.polynomial.legendre.leggauss(nodes)


class _Warp(NamedTuple):
    r"""A coordinate z of the line of :math:`\zeta`, between bounds at which densities may jump.

    The bounds l and u are sent to infinity, :math:`e^y = (e^\zeta - e^l) / (1 - e^{\zeta - u})`; without any y is zeta.
    Then :math:`z = y + a \log(1 + e^{y - b})` is regular far below b, and spread by 1 + a above.

    Attributes:
        a, b: of the spread.
        low, high: bounds of zeta, perhaps infinite.
    """

    a: float
    b: float
    low: float
    high: float

    def unbounded(self, zeta: ndarray) -> ndarray:
        """Return y."""
        below = np.log(np.maximum(-np.expm1(self.low - zeta), 1e-16)) if np.isfinite(self.low) else 0.0
        above = np.log(np.maximum(-np.expm1(zeta - self.high), 1e-16)) if np.isfinite(self.high) else 0.0
        return zeta + below - above

    def forth(self, zeta: ndarray) -> ndarray:
        """Return z."""
        y = self.unbounded(zeta)
        return y + self.a * np.logaddexp(0.0, y - self.b)

    def back(self, z: ndarray) -> ndarray:
        """Return zeta."""
        y = self._y(z)
        return np.logaddexp(y, self.low) - np.logaddexp(0.0, y - self.high)

    def slope(self, z: ndarray) -> ndarray:
        """Return dz / d zeta at z."""
        y = self._y(z)
        d_zeta = expit(y - self.low) * expit(self.high - y) * -np.expm1(self.low - self.high)
        return (1 + self.a * expit(y - self.b)) / d_zeta

    def _y(self, z: ndarray) -> ndarray:
        """Solve for y, by Newton steps from above on a convex function."""
        y = np.minimum(z, (z + self.a * self.b) / (1 + self.a))
        for _ in range(60):
            step = (y + self.a * np.logaddexp(0.0, y - self.b) - z) / (1 + self.a * expit(y - self.b))
            y = y - step
            if np.abs(step).max(initial=0.0) < 1e-14 * (1 + np.abs(y).max(initial=0.0)):
                break
        return y


def _warp(joint: _Joint, v: ndarray, smallest: float, largest: float) -> _Warp:
    """Return the coordinate for the total variance v times a share between two, given as logarithms."""
    low = np.log(joint.total.low) + smallest if joint.total.low > 0 else -np.inf
    high = np.log(joint.total.high) + largest
    bounded = _Warp(0.0, 0.0, low if smallest > -30 else -np.inf, high)
    y, of_t = bounded.unbounded(np.log(v) + largest), joint.mass.sum(axis=0)
    centre = float(of_t @ y)
    spread = float(np.sqrt(of_t @ (y - centre) ** 2))
    return bounded._replace(a=1 / (2 * max(spread, 1e-12)), b=centre)


def _fixed_effects(joint: _Joint, of: Whitened) -> tuple[ndarray, ndarray, tuple[ndarray, ndarray, ndarray]]:
    """Return means and sds of the fixed effects, and the mixture of normals that they are, in the user's units."""
    # The trapezoid rule needs far fewer nodes than the splines of the marginals do.
    coarse, coarser = slice(None, None, max(1, len(joint.x) // 100)), slice(None, None, max(1, len(joint.t) // 50))
    inverse = np.linalg.inv(of.R)
    b = of.b
    means = (joint.fits.gls.beta[coarse] * of.sd + b) @ inverse.T
    variances = np.einsum("ij,mjk,ik->mi", inverse, joint.fits.gls.cov[coarse], inverse) * of.sd**2
    weight = joint.mass[coarse, coarser] / joint.mass[coarse, coarser].sum()
    shape = (*weight.shape, len(b))
    mean = np.broadcast_to(means[:, None, :], shape).reshape(-1, len(b))
    total = joint.total.to_value(joint.t[coarser])
    sd = np.sqrt(variances[:, None, :] * total[None, :, None]).reshape(-1, len(b))
    weight = weight.ravel()
    beta = weight @ mean
    return beta, np.sqrt(weight @ (sd**2 + (mean - beta) ** 2)), (weight, mean, sd)


def _step(z: ndarray) -> float:
    return float(z[1] - z[0])
