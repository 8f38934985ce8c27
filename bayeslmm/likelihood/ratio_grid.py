r"""Functions of the variance ratio as Chebyshev interpolants, for many markers or many traits at once.

The coordinate is :math:`x = \log(1 + s_{max} / \delta)`, 0 where h2 = 0. A weighted sum such as :math:`g'V^{-1}g`
is then a sum of functions that are analytic but for poles at :math:`\mathrm{Im}\, x = \pm\pi`. So are its Schur
complements and their logarithms, since a Stieltjes function has its zeros between its poles: interpolation converges
geometrically, at a rate that depends on nothing but the length of the interval.

Source: Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2.
"""

from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from numpy.polynomial import chebyshev

_FINER = 4
_STEPS = 8


class RatioGrid:
    """Chebyshev points of x between two values of delta, both of them among the points.

    Attributes:
        x: the points, ascending, shape (m,).

    Args:
        s: eigenvalues of K.
        last: delta where the grid ends.
        first: delta where it begins; by default infinite, at h2 = 0.
        accuracy: to which interpolation has converged.
    """

    def __init__(self, s: Float[ndarray, " n"], last: float, *, first: float = np.inf, accuracy: float = 1e-10) -> None:
        self._s_max = float(s.max())
        self._start, self._end = (float(np.log1p(self._s_max / delta)) for delta in (first, last))
        # The largest ellipse around the interval that reaches to the poles has this sum of half-axes.
        height = np.pi / ((self._end - self._start) / 2)
        m = 1 + int(np.ceil(-np.log(accuracy) / np.log(height + np.hypot(1, height))))
        self.x = self._from_unit(chebyshev.chebpts2(m))

    def shares(self, x: Float[ndarray, "..."]) -> tuple[Float64[ndarray, "..."], Float64[ndarray, "..."]]:
        """Return h2 and 1 - h2 at x, both with all their digits."""
        return np.expm1(x) / (np.expm1(x) + self._s_max), self._s_max / (np.expm1(x) + self._s_max)

    def basis(self, x: Float[ndarray, " b"]) -> Float64[ndarray, "b m"]:
        """Return weights of the values at the points: their sum is the interpolant at x."""
        return chebyshev.chebvander(self._to_unit(x), len(self.x) - 1) @ self._coefficients

    def at_ratio(self, ratio: Float[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """Return x where sigma2_u is so many times sigma2_e."""
        return np.log1p(self._s_max * ratio)

    def ratio(self, x: Float[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """Return sigma2_u / sigma2_e at x."""
        return np.expm1(x) / self._s_max

    def coefficients(self, values: Float[ndarray, "t m"]) -> Float64[ndarray, "m t"]:
        """Return t functions, given at the points, as sums of Chebyshev polynomials."""
        return self._coefficients @ values.T

    def evaluate(self, coefficients: Float[ndarray, "m t"], x: Float[ndarray, "t q"]) -> Float64[ndarray, "t q"]:
        """Return each of t functions at points of its own, inside the grid."""
        return chebyshev.chebval(self._to_unit(x), coefficients[:, :, None], tensor=False)

    def slope(self, coefficients: Float[ndarray, "m t"]) -> Float64[ndarray, "_ t"]:
        """Return the derivatives by x of t functions, as coefficients."""
        return chebyshev.chebder(coefficients) * 2 / (self._end - self._start)

    def argmax(self, values: Float[ndarray, "b m"]) -> Float64[ndarray, " b"]:
        """Return where each of many functions, given at the points, has its largest value over the whole interval."""
        fine, at_fine = self._fine
        best = (values @ at_fine).argmax(axis=1)
        lower, upper = fine[np.maximum(best - 1, 0)], fine[np.minimum(best + 1, len(fine) - 1)]
        slope = chebyshev.chebder(self._coefficients @ values.T)
        curvature = chebyshev.chebder(slope)
        u = fine[best]
        for _ in range(_STEPS):  # Newton, kept between the neighbours of the best point
            rise, bend = (chebyshev.chebval(u, c, tensor=False) for c in (slope, curvature))
            u = np.clip(u - rise / np.where(bend < 0, bend, -np.inf), lower, upper)
        return self._from_unit(u)

    @cached_property
    def _coefficients(self) -> Float64[ndarray, "m m"]:
        m = len(self.x)
        return np.linalg.inv(chebyshev.chebvander(chebyshev.chebpts2(m), m - 1))

    @cached_property
    def _fine(self) -> tuple[ndarray, ndarray]:
        m = len(self.x)
        fine = chebyshev.chebpts2(_FINER * m)
        return fine, (chebyshev.chebvander(fine, m - 1) @ self._coefficients).T

    def _from_unit(self, u: ndarray) -> ndarray:
        return self._start + (u + 1) / 2 * (self._end - self._start)

    def _to_unit(self, x: ndarray) -> ndarray:
        return 2 * (x - self._start) / (self._end - self._start) - 1
