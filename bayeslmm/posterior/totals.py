r"""The total variance given its quadratic form: all that the share of the genetic variance tells about it.

At one share the data depend on the total variance by the quadratic form q alone, :math:`q^0 v^{-k/2} e^{-q/2v}`. With a
prior of v, its integral, the moments of v and its distribution are functions of :math:`\log q` (and k) that serve all
shares of all traits with the same k.
"""

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from scipy.interpolate import make_interp_spline
from scipy.ndimage import map_coordinates, spline_filter
from scipy.special import logsumexp, ndtr, ndtri

from bayeslmm.likelihood.one_trait import UnitScale, rescale
from bayeslmm.likelihood.priors import OnLine
from bayeslmm.posterior.grid import covering_grids

_STEP, _MOST = 0.1, 3201
_AGREE = 1e-9
_NODES = 200
_SCORES = np.linspace(-8.5, 8.5, 401)  # standard deviations of the total variance, as t


class Totals:
    """The total variance given log q, for log q in a range.

    Args:
        total: its prior.
        k: values less covariates.
        low, high: the range of log q.
    """

    def __init__(self, total: OnLine, k: float, low: float, high: float) -> None:
        self._total, self._k = total, k
        points = 17 + int((high - low) / _STEP)
        while True:
            self._log_q = np.linspace(low - 1e-6, high + 1e-6, points)
            self._t, self._p, self._known = self._at(self._log_q)
            self._splines = make_interp_spline(self._log_q, self._known, k=5)
            between = (self._log_q[1:] + self._log_q[:-1]) / 2
            if points > _MOST or np.abs(self._at(between)[2] - self._splines(between)).max() < _AGREE:
                break
            points = 2 * points - 1
        mean = (self._p * self._t).sum(axis=1)
        sd = np.sqrt((self._p * np.square(self._t - mean[:, None])).sum(axis=1))
        self._place = make_interp_spline(self._log_q, np.column_stack([mean, np.log(sd)]), k=5)
        self._scores = spline_filter(self._table(mean, sd), order=3, mode="mirror")

    def _at(self, log_q: ndarray) -> tuple[ndarray, ndarray, ndarray]:
        """Return nodes, their probabilities, and logarithms of the integral and of two moments."""
        quads = np.exp(log_q)[:, None]

        def log_density(t: ndarray) -> ndarray:
            with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
                log_p = rescale(UnitScale(0.0, quads), self._k, self._total.to_value(t)) + self._total.log_density(t)
            return np.where(np.isnan(log_p), -np.inf, log_p)

        ridge = self._total.from_value(np.exp(log_q) / self._k)
        t = covering_grids(log_density, ridge[:, None] + np.linspace(-20, 20, _NODES + 1), _NODES)
        log_p = log_density(t)
        log_integral = logsumexp(log_p, axis=1)
        p = np.exp(log_p - log_integral[:, None])
        v = self._total.to_value(t)
        moments = np.log((p * v).sum(axis=1)), np.log((p * np.square(v)).sum(axis=1))
        return t, p, np.column_stack([log_integral + np.log(t[:, 1] - t[:, 0]), *moments])

    def _table(self, mean: ndarray, sd: ndarray) -> Float64[ndarray, "q 401"]:
        """Return normal scores of the distribution function at standardised t, which are nearly straight lines."""
        index = np.arange(self._t.shape[1])
        spacing = self._t[:, 1] - self._t[:, 0]
        cdf = make_interp_spline(index, self._p.T, k=5).antiderivative()
        found = np.empty((len(mean), len(_SCORES)))
        at = (mean[:, None] + sd[:, None] * _SCORES - self._t[:, :1]) / spacing[:, None]
        for row in range(len(mean)):
            one = make_interp_spline(index, cdf(index)[:, row], k=5)
            found[row] = one(np.clip(at[row], 0, index[-1])) / one(index[-1])
        return ndtri(np.clip(found, 1e-15, 1 - 1e-15))

    def log_integral(self, log_q: Float[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """Return the logarithm of the integral over the total variance."""
        return self._splines(log_q)[..., 0]

    def moments(self, log_q: Float[ndarray, "..."]) -> tuple[Float64[ndarray, "..."], Float64[ndarray, "..."]]:
        """Return the means of the total variance and of its square."""
        found = np.exp(self._splines(log_q)[..., 1:])
        return found[..., 0], found[..., 1]

    def spread(self, log_q: Float[ndarray, "..."]) -> tuple[Float64[ndarray, "..."], Float64[ndarray, "..."]]:
        """Return mean and standard deviation of t."""
        found = self._place(log_q)
        return found[..., 0], np.exp(found[..., 1])

    def log_value(self, t: Float[ndarray, "..."]) -> Float64[ndarray, "..."]:
        """Return the logarithm of the total variance at t."""
        return np.log(self._total.to_value(t))

    def below(
        self, log_v: Float[ndarray, " b"], log_q: Float[ndarray, " b"], spread: tuple[ndarray, ndarray]
    ) -> tuple[Float64[ndarray, " b"], Float64[ndarray, " b"]]:
        """Return probabilities that the logarithm of the total variance is below points, and about their slopes.

        Args:
            log_v: the points.
            log_q: what is given.
            spread: `spread` there.
        """
        v = np.exp(log_v)
        t = self._total.from_value(v)
        mean, sd = spread
        z = (t - mean) / sd
        score = np.clip(z, _SCORES[0], _SCORES[-1])
        near = np.abs(z) < _SCORES[-1]
        places = [
            (log_q[near] - self._log_q[0]) / (self._log_q[1] - self._log_q[0]),
            (z[near] - _SCORES[0]) / (_SCORES[1] - _SCORES[0]),
        ]
        score[near] = map_coordinates(self._scores, places, order=3, mode="mirror", prefilter=False)
        density = np.exp(-np.square(score) / 2) / np.sqrt(2 * np.pi) / sd
        return ndtr(score), density * v * np.exp(-self._total.log_slope(t))
