"""The marginal of a variance: the total variance times a share, along lines through the grid of both."""

import functools
import warnings
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from scipy.interpolate import make_interp_spline
from scipy.special import expit

from bayeslmm.base.checks import InputWarning
from bayeslmm.likelihood.one_trait import UnitScale, rescale
from bayeslmm.posterior.grid import INACCURATE, NODES, Grid, covering_grid, spacing
from bayeslmm.posterior.marginal import Marginal

_AREA = 1e-8
_PANEL_NODES, _CONVERGED_DENSITY = (64, 128, 256, 512), 1e-8


def variance_marginal(
    grid: Grid, share: Callable[[ndarray], ndarray], log_share: Callable[[ndarray], ndarray], unit: float
) -> Marginal:
    r"""Return the marginal of the total variance times a share that is a monotone function of x.

    Its logarithm :math:`\zeta` has the density :math:`\int p(x, \log v - \log s(x)) dx`. Along such a line the joint
    density is as narrow as the total variance is known, which is integrated by Gauss-Legendre panels on the part of the
    line that lies in the grid. Below the total variance the density of zeta falls as slowly as the share does, above
    it as fast as the total variance is known: the grid is regular in a coordinate that is zeta below, and spreads
    there out.
    """
    v = grid.total.to_value(grid.t)
    on_grid = share(grid.x)[:, None] * v
    mean = float((grid.mass * on_grid).sum())
    sd = float(np.sqrt((grid.mass * (on_grid - mean) ** 2).sum()))
    log_first, log_last = np.log(v[0]), np.log(v[-1])
    data = grid.fits.unit
    log_unit = make_interp_spline(grid.x, np.column_stack([data.log_dets, np.log(data.quad)]), k=5)
    knots = np.linspace(grid.x[0], grid.x[-1], max(2001, len(grid.x)))
    shares = log_share(knots)
    rising, largest = shares[-1] >= shares[0], float(shares.max())
    warp = _warp(grid, v, float(shares.min()), largest)

    slope = make_interp_spline(knots, shares, k=5).derivative()

    def x_at(log_value: ndarray) -> ndarray:
        """Where the logarithm of the share is so much, inside the grid: densities may jump there."""
        ordered = (shares, knots) if rising else (shares[::-1], knots[::-1])
        x = np.interp(log_value, *ordered)
        for _ in range(3):  # Newton, where the share is not flat
            with np.errstate(divide="ignore", invalid="ignore"):
                newton = np.nan_to_num((log_share(x) - log_value) / slope(x), posinf=0.0, neginf=0.0)
            x = np.clip(x - np.clip(newton, -knots[1] + knots[0], knots[1] - knots[0]), knots[0], knots[-1])
        return x

    def density(z: ndarray, nodes: int) -> ndarray:
        points, weights = _legendre(nodes)
        zeta = warp.back(z)
        ends = np.sort([x_at(zeta - log_last), x_at(zeta - log_first)], axis=0)
        half = (ends[1] - ends[0]) / 2
        x = ends.mean(axis=0)[:, None] + half[:, None] * points
        log_v = np.clip(zeta[:, None] - log_share(x), log_first, log_last)
        t = grid.total.from_value(np.exp(log_v))
        # From the density of t to that of log v, and from that of zeta to that of z.
        log_dets, log_quad = np.moveaxis(log_unit(x), -1, 0)
        log_p = rescale(UnitScale(log_dets, np.exp(log_quad)), grid.k, np.exp(log_v))
        log_p += grid.share.prior.log_density(x) + grid.total.log_density(t) - grid.total.log_slope(t) + log_v
        return (np.exp(log_p - grid.log_evidence) * weights).sum(axis=1) * half / warp.slope(z)

    lowest, highest = warp.forth(np.array([log_first + shares.min(), log_last + largest]))
    with np.errstate(divide="ignore"):
        z = covering_grid(lambda z: np.log(density(z, _PANEL_NODES[0])), np.linspace(lowest, highest, NODES))
    while True:
        values = density(z, _PANEL_NODES[0])
        for nodes in _PANEL_NODES[1:]:
            coarser, values = values, density(z, nodes)
            if np.abs(values - coarser).max() < _CONVERGED_DENSITY * values.max():
                break
        area = values.sum() * spacing(z)
        if abs(area - 1) < _AREA:
            break
        if len(z) > 4 * NODES:
            if abs(area - 1) > INACCURATE:
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


def _warp(grid: Grid, v: ndarray, smallest: float, largest: float) -> _Warp:
    """Return the coordinate for the total variance v times a share between two, given as logarithms."""
    low = np.log(grid.total.low) + smallest if grid.total.low > 0 else -np.inf
    high = np.log(grid.total.high) + largest
    bounded = _Warp(0.0, 0.0, low if smallest > -30 else -np.inf, high)
    y, mass = bounded.unbounded(np.log(v) + largest), grid.mass.sum(axis=0)
    centre = float(mass @ y)
    spread = float(np.sqrt(mass @ (y - centre) ** 2))
    return bounded._replace(a=1 / (2 * max(spread, 1e-12)), b=centre)


@functools.lru_cache
def _legendre(nodes: int) -> tuple[ndarray, ndarray]:
    return np.polynomial.legendre.leggauss(nodes)
