"""The posterior of one trait on a grid of its two variance parameters: the share that is genetic, and the total.

Given a flat prior on the fixed effects, all that the data say is in two smooth functions of the share of the genetic
variance: the restricted log-likelihood and its quadratic form at total variance 1 (`likelihood.at_unit_scale`). The
joint posterior of the share and of the total variance is then known in closed form at each point. Both are mapped from
the support of their prior to the real line, where the trapezoid rule on a regular grid converges exponentially for such
analytic, decaying densities (Trefethen and Weideman 2014, doi:10.1137/130932132); grids are refined until it has.

Everything is in units of the trait and on the scale where K has a mean diagonal of 1 (`Whitened`).
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from scipy.special import expit, log_expit, logsumexp

from bayeslmm.base.checks import AnalysisError, InputWarning
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import Gls, UnitScale, at_unit_scale, gls, log_reml, rescale
from bayeslmm.likelihood.priors import OnLine, VariancePrior
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import Whitened

NODES = 400
INACCURATE = 1e-6
"""A relative error of the quadrature above which a warning is given."""
_MOST_NODES = 25_600
_BATCH = 50
# Of the share. Beyond the last one the likelihood does not change (or is 0 long before), and has no digits.
_LOGITS = np.concatenate([-np.geomspace(5000, 30, 100), np.linspace(-30, 30, 602)[1:-1], np.geomspace(30, 5000, 100)])
_LAST_LOGIT = 36.0
_TAIL = 36.0  # densities below exp(-36) of the peak are left out: 2e-16
_CONVERGED = 1e-9


class Shares(NamedTuple):
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

    def explained(self, x: ndarray, k_scale: float | ndarray) -> ndarray:
        """Share that K explains on a scale."""
        return quantities.pve(self.genetic(x), self.residual(x), k_scale)

    def slope(self, x: ndarray, k_scale: float) -> ndarray:
        """Derivative of `explained`."""
        slope = (self.prior.high - self.prior.low) * expit(x) * expit(-x)
        return k_scale * slope / (k_scale * self.genetic(x) + self.residual(x)) ** 2


class Fits(NamedTuple):
    """What the data say at each share of a grid: leading axis m."""

    unit: UnitScale
    gls: Gls


@dataclass(frozen=True)
class Grid:
    """The joint posterior of the share and the total variance, in units of `Whitened`, on a grid of two lines.

    Attributes:
        x, t: regular grids, shapes (m,) and (l,).
        share: the share as a function of x, with its prior.
        total: the total variance as a function of t, with its prior.
        fits: what the data say at each x.
        mass: of each cell, shape (m, l), sums to 1.
        log_evidence: of the whitened data.
        k: as in `rescale`.
    """

    x: Float64[ndarray, " m"]
    t: Float64[ndarray, " l"]
    share: Shares
    total: OnLine
    fits: Fits
    mass: Float64[ndarray, "m l"]
    log_evidence: float
    k: int

    def log_evidence_null(self, white: Whitened) -> float:
        """Return the log evidence of h2 = 0, where only the total variance is left to integrate."""
        unit = UnitScale(*(float(np.asarray(value)) for value in at_unit_scale(log_reml, white.data, 0.0, 1.0)))

        def log_density(t: ndarray) -> ndarray:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                value = rescale(unit, self.k, self.total.to_value(t)) + self.total.log_density(t)
            return np.where(np.isnan(value), -np.inf, value)

        (middle,) = self.total.from_value(np.array([unit.quad / self.k]))
        t = covering_grid(log_density, np.linspace(middle - 20, middle + 20, NODES))
        return float(logsumexp(log_density(t)) + np.log(spacing(t)))


def grid_of(white: Whitened, prior: VariancePrior) -> Grid:
    """Return the joint posterior on a grid that is wide and fine enough.

    Raises:
        InputError: if a prior lies outside its range.
        AnalysisError: if nothing of the posterior lies in the support of the prior, but for rounding.
    """
    k = white.data.n - white.data.X.shape[1]
    share = Shares(OnLine.of(prior.h2, "h2", within=(0.0, 1.0)))
    total = OnLine.of(prior.sigma2_p, "sigma2_p", within=(0.0, np.inf))

    def log_joint(fits: Fits, x: ndarray, t: ndarray) -> ndarray:
        """Log density of x and t, shape (m, l); t of shape (l,) or (m, l)."""
        unit = UnitScale(fits.unit.log_dets[:, None], fits.unit.quad[:, None])
        values = np.atleast_2d(total.to_value(t))
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            log_p = (
                rescale(unit, k, values)
                + share.prior.log_density(x)[:, None]
                + total.log_density(t).reshape(values.shape)
            )
        return np.where(np.isnan(log_p), -np.inf, log_p)

    def ridge(fits: Fits) -> ndarray:
        """Where the likelihood is highest along t, inside the support."""
        return total.from_value(fits.unit.quad / k)

    def along_ridge(x: ndarray) -> ndarray:
        fits = _fits(white.data, share, x)
        return log_joint(fits, x, ridge(fits)[:, None])[:, 0]

    def along_t(x: ndarray) -> ndarray:
        fits = _fits(white.data, share, x)
        at = ridge(fits)
        around = np.linspace(at.min() - 20, at.max() + 20, NODES)
        return covering_grid(lambda t: logsumexp(log_joint(fits, x, t), axis=0), around)

    def along_x(t: ndarray) -> ndarray:
        return covering_grid(lambda x: logsumexp(log_joint(_fits(white.data, share, x), x, t), axis=1), _LOGITS)

    # The ridge finds the place; the marginals, each given the other grid, then set the limits.
    x = along_x(along_t(covering_grid(along_ridge, _LOGITS)))
    t = along_t(x)
    x = along_x(t)

    while True:
        fits = _fits(white.data, share, x)
        log_p = log_joint(fits, x, t)
        peak = log_p.max()
        if not np.isfinite(peak):
            raise AnalysisError("the posterior is 0 wherever it was computed: look at the prior, and at outliers")
        p = np.exp(log_p - peak)
        halves = {"x": _changes(p.sum(axis=1), share.genetic(x)), "t": _changes(p.sum(axis=0), t)}
        if max(halves.values()) < _CONVERGED:
            break
        if len(x) * len(t) > _MOST_NODES * NODES:
            if (error := max(halves.values())) > INACCURATE:
                text = (
                    f"the quadrature has {-np.log10(error):.0f} digits only: the prior or the likelihood is not smooth"
                )
                warnings.warn(text, InputWarning, stacklevel=4)
            break
        if halves["x"] >= halves["t"]:
            x = np.linspace(x[0], x[-1], 2 * len(x) - 1)
        else:
            t = np.linspace(t[0], t[-1], 2 * len(t) - 1)
    log_evidence = float(np.log(p.sum()) + peak + np.log(spacing(x) * spacing(t)))
    return Grid(x, t, share, total, fits, p / p.sum(), log_evidence, k)


def _fits(data: RotatedData, share: Shares, x: Float[ndarray, " m"]) -> Fits:
    seen = np.minimum(x, _LAST_LOGIT)
    # Always of one length, so that it is compiled once.
    padded = np.pad(seen, (0, -len(x) % NODES), mode="edge").reshape(-1, NODES)
    parts = [_compiled_fits(data, share.genetic(part), share.residual(part)) for part in padded]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays)[: len(x)], *parts)


@jax.jit
def _compiled_fits(data: RotatedData, share_u: jax.Array, share_e: jax.Array) -> Fits:
    def at(shares: tuple[jax.Array, jax.Array]) -> Fits:
        return Fits(at_unit_scale(log_reml, data, *shares), gls(data, *shares))

    # In batches: memory stays O(n) times the batch, not times the grid.
    return jax.lax.map(at, (share_u, share_e), batch_size=_BATCH)


def _changes(density: ndarray, values: ndarray) -> float:
    """Return how much the integral of a density and its mean change with every other node: the error of those."""
    half, mean = density[::2].sum() * 2, density @ values / density.sum()
    spread = np.sqrt(density @ (values - mean) ** 2 / density.sum())
    half_mean = density[::2] @ values[::2] / density[::2].sum()
    return float(max(abs(half / density.sum() - 1), abs(half_mean - mean) / max(spread, np.finfo(float).tiny)))


def covering_grid(log_density: Callable[[ndarray], ndarray], z: Float[ndarray, " _"]) -> Float64[ndarray, " m"]:
    """Return a regular grid over the part of a line that holds all but a negligible share of a density.

    Args:
        log_density: of points on the line.
        z: the line, ascending, so dense that no mode is between its points.
    """
    return covering_grids(lambda z: log_density(z[0])[None], z[None])[0]


def covering_grids(
    log_density: Callable[[ndarray], ndarray], z: Float[ndarray, "r _"], nodes: int = NODES
) -> Float64[ndarray, "r m"]:
    """Return the same for many densities, one in each row.

    Args:
        log_density: of points, a row of them for each density.
        z: lines.
        nodes: of each grid.
    """
    regular = False
    while True:
        values = log_density(z)
        inside = values > np.nanmax(values, axis=1, keepdims=True) - _TAIL
        m = z.shape[1]
        first = np.maximum(inside.argmax(axis=1) - 1, 0)
        last = np.minimum(m - inside[:, ::-1].argmax(axis=1), m - 1)
        done = regular & (last - first > 0.8 * m)
        if done.all():
            return z
        rows = np.arange(len(z))
        narrower = np.linspace(z[rows, first], z[rows, last], nodes, axis=1)
        z, regular = np.where(done[:, None], z, narrower) if regular else narrower, True


def spacing(z: Float[ndarray, " m"]) -> float:
    """Return the distance between the points of a regular grid."""
    return float(z[1] - z[0])
