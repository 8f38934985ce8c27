"""The posterior density of one number along a line."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.interpolate import BSpline, make_interp_spline
from scipy.optimize import brentq


@dataclass(frozen=True)
class Marginal:
    """The posterior of one number, known on a regular grid of a transformed coordinate z.

    Attributes:
        z: the grid, shape (m,).
        density: of z, shape (m,), integrates to 1.
        to_value: z -> the number, increasing.
        slope: d value / d z at z.
        mean, sd: posterior mean and standard deviation.
    """

    z: Float64[ndarray, " m"]
    density: Float64[ndarray, " m"]
    to_value: Callable[[ndarray], ndarray]
    slope: Callable[[ndarray], ndarray]
    mean: float
    sd: float

    def quantile(self, probability: float) -> float:
        """Return the value below which the posterior has this probability."""
        cdf = self._cdf
        z = brentq(lambda z: float(cdf(z)) - probability, self.z[0], self.z[-1], xtol=1e-13, rtol=1e-13)
        return float(self.to_value(np.array([z]))[0])

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval."""
        return self.quantile((1 - level) / 2), self.quantile((1 + level) / 2)

    def curve(self) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
        """Return values and their density per unit of the value, for a plot, without those that round to a bound."""
        slope = self.slope(self.z)
        return self.to_value(self.z)[slope > 0], self.density[slope > 0] / slope[slope > 0]

    @cached_property
    def _cdf(self) -> BSpline:
        # The trapezoid rule is exponentially accurate for the whole line only: partial sums need the spline.
        cdf = make_interp_spline(self.z, self.density, k=5).antiderivative()
        return BSpline(cdf.t, cdf.c / cdf(self.z[-1]), cdf.k)
