"""The oracle: the posterior of one trait by quadrature, to more digits than any sampler.

Given a flat prior on the fixed effects, all that the data say is in two smooth functions of h2: the restricted
log-likelihood and its quadratic form at total variance 1 (`likelihood.at_unit_scale`). The joint posterior of
x = logit h2 and w = log sigma2_p is then known in closed form at each point, and the trapezoid rule on a regular
grid converges exponentially for such analytic, decaying densities (Trefethen and Weideman 2014,
doi:10.1137/130932132). The priors are those of the NumPyro program, but for the flat one on the fixed effects.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, ScalarLike
from numpy import ndarray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.optimize import brentq
from scipy.special import expit, log_expit, logsumexp, ndtr

from bayeslmm.estimators.variance_ratio import whitened
from bayeslmm.likelihood import Gls, UnitScale, at_unit_scale, gls, log_reml, rescale
from bayeslmm.precision import in_float64
from bayeslmm.priors import VariancePrior, residual_variance
from bayeslmm.spectrum import RotatedData

_NODES = 400
_BATCH = 50
# Of h2. Where sigma2_e is below 1e-16 sigma2_u and K is singular, the digits of X'V^-1 X are used up.
_LOGITS = (-500.0, 36.0)
_TAIL = 36.0  # densities below exp(-36) of the peak are left out: 2e-16


@dataclass(frozen=True)
class Marginal:
    """The posterior of one number, known on a regular grid of a transformed coordinate z.

    Attributes:
        z: the grid, shape (m,).
        density: of z, shape (m,), integrates to 1.
        to_value: z -> the number, increasing (`expit` for shares, `exp` for variances).
        slope: d value / d z at z.
    """

    z: Float64[ndarray, " m"]
    density: Float64[ndarray, " m"]
    to_value: Callable[[ndarray], ndarray]
    slope: Callable[[ndarray], ndarray]

    @cached_property
    def mean(self) -> float:
        """Posterior mean."""
        return float(self._weights @ self.to_value(self.z))

    @cached_property
    def sd(self) -> float:
        """Posterior standard deviation."""
        return float(np.sqrt(self._weights @ (self.to_value(self.z) - self.mean) ** 2))

    def quantile(self, probability: float) -> float:
        """Return the value below which the posterior has this probability."""
        cdf = self._cdf
        z = brentq(lambda z: float(cdf(z)) - probability, self.z[0], self.z[-1], xtol=1e-13, rtol=1e-13)
        return float(self.to_value(np.asarray(z)))

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def curve(self) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
        """Return values and their density per unit of the value, for a plot."""
        return self.to_value(self.z), self.density / self.slope(self.z)

    @property
    def _weights(self) -> ndarray:
        return self.density * (self.z[1] - self.z[0])

    @cached_property
    def _cdf(self) -> BSpline:
        # The trapezoid rule is exponentially accurate for the whole line only: partial sums need the spline.
        cdf = make_interp_spline(self.z, self.density, k=5).antiderivative()
        return BSpline(cdf.t, cdf.c / cdf(self.z[-1]), cdf.k)


@dataclass(frozen=True)
class ExactPosterior:
    """The posterior of one trait.

    Attributes:
        h2, pve, sigma2_u, sigma2_e, sigma2_p: marginals.
        log_evidence: log of the integral of restricted likelihood times prior.
        log_bayes_factor: of h2 > 0 against h2 = 0, natural logarithm: evidence over that of h2 = 0 with the same prior
            of sigma2_p. It equals the ratio of prior to posterior density at h2 = 0 (Dickey 1971,
            doi:10.1214/aoms/1177693507), and favours h2 = 0 the more, the more the prior of h2 spreads.
        beta, se_beta: posterior means and standard deviations of the fixed effects, shape (c,).
    """

    h2: Marginal
    pve: Marginal
    sigma2_u: Marginal
    sigma2_e: Marginal
    sigma2_p: Marginal
    log_evidence: float
    log_bayes_factor: float
    beta: Float64[ndarray, " c"]
    se_beta: Float64[ndarray, " c"]
    _mixture: tuple[ndarray, ndarray, ndarray] = field(repr=False)
    _joint: tuple[ndarray, ndarray, ndarray] = field(repr=False)  # logit h2, log sigma2_p, probability of each pair

    def draws(self, m: int, rng: np.random.Generator) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
        """Draw h2 and sigma2_p from their joint posterior, to within a cell of the grid.

        One draw comes from each of the m parts of equal probability into which h2 falls, in random order: each by
        itself has the posterior for its distribution, and a mode with 1/m of the probability is not left out.

        Args:
            m: how many.
            rng: of the draws.

        Returns:
            Values of h2 and of sigma2_p, shapes (m,), none of them on a bound.
        """
        x, w, p = self._joint
        below, u = np.cumsum(p.sum(axis=1)), (rng.permutation(m) + rng.uniform(size=m)) / m
        rows = np.minimum(np.searchsorted(below, u * below[-1]), len(x) - 1)
        columns = [rng.choice(len(w), p=p[row] / p[row].sum()) for row in rows]
        return np.clip(expit(x[rows]), np.finfo(float).tiny, 1 - np.finfo(float).epsneg), np.exp(w[columns])

    def beta_interval(self, j: int, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval of one fixed effect, from its mixture of normals."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        far = self.beta[j] - 40 * self.se_beta[j], self.beta[j] + 40 * self.se_beta[j]
        lower, upper = (
            brentq(lambda value, p=p: float(weight @ ndtr((value - mean) / sd)) - p, *far, xtol=1e-14)
            for p in ((1 - level) / 2, (1 + level) / 2)
        )
        return lower, upper

    def beta_positive(self, j: int) -> float:
        """Return the probability that one fixed effect is above 0."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        return float(weight @ ndtr(mean / sd))


@in_float64
def posterior(data: RotatedData, prior: VariancePrior | None = None) -> ExactPosterior:
    """Compute the posterior of one trait by quadrature.

    Moments and equal-tailed intervals have at least 6 digits (tests compare them with Gauss-Legendre panels).

    Args:
        data: one trait in the eigenbasis.
        prior: of h2 and sigma2_p; its prior of the fixed effects is taken as flat.

    Raises:
        InputError: if Y has more than one column.
    """
    white, R, b = whitened(data)
    n, c = data.X.shape
    v = float(residual_variance(data.Y, data.X)[0])
    prior = prior or VariancePrior()
    joint = partial(_log_density, prior, n - c, v)

    x, w = _grid(joint, white, n - c)
    fits = _fits(white, x)
    log_p = np.asarray(joint(fits.unit, x, w))
    cell = _step(x) * _step(w)
    log_evidence = float(logsumexp(log_p) + np.log(cell))
    p = np.exp(log_p - log_evidence)

    def variance(log_share: Callable[[ndarray], ndarray]) -> Marginal:
        """Marginal of sigma2_p times a share that depends on h2: the joint density along w = z - log_share(x)."""
        # The grid of w spans some 17 standard deviations of it: a step of a 60th is 0.3 of one.
        fine, unit = _refined(x, fits.unit, _step(w) * _NODES / 60)
        share = log_share(fine)

        def along(z: ndarray) -> ndarray:
            log_joint = joint(unit, fine, z[None, :] - share[:, None])
            return logsumexp(log_joint, axis=0) + np.log(_step(fine)) - log_evidence

        z = _support(along, w[0] + share.min(), w[-1] + share.max())
        return Marginal(z, np.exp(along(z)), np.exp, np.exp)

    density = p.sum(axis=1) * _step(w)
    beta, se_beta, mixture = _fixed_effects(fits, w, p * cell, R, b)
    return ExactPosterior(
        h2=Marginal(x, density, expit, _expit_slope),
        pve=Marginal(x + np.log(data.k_scale), density, expit, _expit_slope),
        sigma2_u=variance(log_expit),
        sigma2_e=variance(lambda x: log_expit(-x)),
        sigma2_p=Marginal(w, p.sum(axis=0) * _step(x), np.exp, np.exp),
        log_evidence=log_evidence,
        log_bayes_factor=log_evidence - _log_evidence_null(prior, white, n - c, v),
        beta=beta,
        se_beta=se_beta,
        _mixture=mixture,
        _joint=(x, w, p * cell),
    )


def _log_evidence_null(prior: VariancePrior, data: RotatedData, k: int, v: float) -> float:
    """Return the log evidence of h2 = 0, where only sigma2_p is left to integrate; k as in `rescale`."""
    unit = at_unit_scale(log_reml, data, 0.0, 1.0)

    def log_density(w: ndarray) -> ndarray:
        return np.asarray(rescale(unit, k, np.exp(w)) + _log_prior_of_scale(prior, v, jnp.asarray(w)))

    middle = float(np.log(unit.quad / k))
    w = _support(log_density, middle - 20, middle + 20)
    return float(logsumexp(log_density(w)) + np.log(_step(w)))


def _log_prior_of_scale(prior: VariancePrior, v: ScalarLike, w: Float[Array, "..."]) -> Float[Array, "..."]:
    """Log prior density of w = log sigma2_p."""
    return jnp.asarray(prior.sigma2_p.log_prob(jnp.exp(w) / v)) + w - jnp.log(v)


class _Fits(NamedTuple):
    """What the data say at each h2 of a grid: leading axis m."""

    unit: UnitScale
    gls: Gls


@jax.jit
def _fits(data: RotatedData, x: jax.Array) -> _Fits:
    def at(x: jax.Array) -> _Fits:
        share_u, share_e = jax.nn.sigmoid(x), jax.nn.sigmoid(-x)
        return _Fits(at_unit_scale(log_reml, data, share_u, share_e), gls(data, share_u, share_e))

    # In batches: memory stays O(n) times the batch, not times the grid.
    return jax.lax.map(at, x, batch_size=_BATCH)


@partial(jax.jit, static_argnums=1)
def _log_density(
    prior: VariancePrior, k: int, v: ScalarLike, unit: UnitScale, x: Float[Array, " m"], w: Float[Array, "..."]
) -> Float[Array, "m l"]:
    """Log joint density of x = logit h2 and w = log sigma2_p, w of shape (l,) or (m, l), at the fits at x."""
    x = x[:, None]
    unit = UnitScale(unit.log_dets[:, None], unit.quad[:, None])
    log_h2 = prior.h2.log_prob(jax.nn.sigmoid(x)) + jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x)
    return rescale(unit, k, jnp.exp(w)) + log_h2 + _log_prior_of_scale(prior, v, w)


def _grid(
    joint: Callable[..., Array], data: RotatedData, k: int
) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
    """Return regular grids of x and w that cover the posterior; k as in `rescale`."""

    def best_w(x: ndarray) -> tuple[UnitScale, ndarray]:
        unit = _fits(data, jnp.asarray(x)).unit
        return unit, np.log(np.asarray(unit.quad) / k)

    def along_ridge(x: ndarray) -> ndarray:
        unit, w = best_w(x)
        return np.asarray(joint(unit, x, w[:, None]))[:, 0]

    x = _support(along_ridge, *_LOGITS)
    _, w = best_w(x)
    # The ridge finds the place; the marginals, each given the other grid, then set the limits.
    for _ in range(2):
        unit, ridge = best_w(x)
        w = _support(lambda w, unit=unit, x=x: logsumexp(joint(unit, x, w), axis=0), ridge.min() - 20, ridge.max() + 20)
        x = _support(lambda x, w=w: logsumexp(joint(best_w(x)[0], x, w), axis=1), *_LOGITS)
    return x, w


def _support(log_density: Callable[[ndarray], ndarray], lower: float, upper: float) -> Float64[ndarray, " m"]:
    """Return a regular grid over the part of a line that holds all but a negligible share of a density."""
    while True:
        z = np.linspace(lower, upper, _NODES)
        values = log_density(z)
        inside = np.flatnonzero(values > np.nanmax(values) - _TAIL)
        first, last = max(inside[0] - 1, 0), min(inside[-1] + 1, _NODES - 1)
        if last - first > 0.8 * _NODES:
            return z
        lower, upper = float(z[first]), float(z[last])


def _refined(x: ndarray, unit: UnitScale, step: float) -> tuple[ndarray, UnitScale]:
    """Return the fits on a grid of x with at most this step, by splines of the smooth functions that they are.

    Along a line of constant sigma2_u the density is as narrow in x as sigma2_p is known, which near h2 = 0 and
    h2 = 1 is far narrower than the posterior of x.
    """
    # Doubled until it is fine enough: each length is compiled once, and there are few.
    m = len(x) * 2 ** max(0, int(np.ceil(np.log2((x[-1] - x[0]) / step / len(x)))))
    fine = np.linspace(x[0], x[-1], m)
    return fine, UnitScale(*(jnp.asarray(make_interp_spline(x, np.asarray(values), k=5)(fine)) for values in unit))


def _fixed_effects(
    fits: _Fits, w: ndarray, mass: ndarray, R: ndarray, b: ndarray
) -> tuple[ndarray, ndarray, tuple[ndarray, ndarray, ndarray]]:
    """Return means and sds of the fixed effects, and the mixture of normals that they are."""
    # The trapezoid rule needs far fewer nodes than the splines of the marginals do.
    coarse, coarser = slice(None, None, 4), slice(None, None, 8)
    inverse = np.linalg.inv(R)
    means = (np.asarray(fits.gls.beta)[coarse] + b) @ inverse.T
    variances = np.einsum("ij,mjk,ik->mi", inverse, np.asarray(fits.gls.cov)[coarse], inverse)
    weight = mass[coarse, coarser] / mass[coarse, coarser].sum()
    shape = (*weight.shape, len(b))
    mean = np.broadcast_to(means[:, None, :], shape).reshape(-1, len(b))
    sd = np.sqrt(variances[:, None, :] * np.exp(w[coarser])[None, :, None]).reshape(-1, len(b))
    weight = weight.ravel()
    beta = weight @ mean
    return beta, np.sqrt(weight @ (sd**2 + (mean - beta) ** 2)), (weight, mean, sd)


def _expit_slope(z: ndarray) -> ndarray:
    return expit(z) * expit(-z)


def _step(z: ndarray) -> float:
    return float(z[1] - z[0])
