r"""Exact inference about h2 where large-sample theory fails: near 0, near 1, and in small samples.

REML sees y only through n - c error contrasts. In the eigenbasis of A'KA, A an orthonormal basis of what X leaves,
they are independent, :math:`w_i \sim N(0, \sigma_p^2 d_i)` with :math:`d_i = h^2 \mu_i + 1 - h^2`, and the estimate of
h2 does not depend on their scale: whatever the covariates, its distribution and that of its likelihood ratio are
functions of the eigenvalues mu and the true h2 alone. Both follow from

:math:`f_h(w) = m \log \frac{\sum w_i^2}{\sum w_i^2 / d_i} - \sum \log d_i`, twice the profile log-likelihood of h over
that of 0. It is also twice the log density of the direction of w where h is true over that where 0 is, so one set of
draws, weighted, serves every true h2.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from scipy.stats import chi2, norm

from bayeslmm.base.checks import InputError
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.rotation import RotatedData, check_rows

_GRID = 320
_BATCH = 1000


@dataclass(frozen=True)
class RemlDistribution:
    """REML of h2 in repeated samples, as weighted draws (see `reml_distribution`).

    Attributes:
        h2: true values at which the distribution is known, 0 first, ascending, shape (grid,).
        estimate: REML of each draw, exactly 0 or 1 on the boundary, shape (draws,).
        statistic: its restricted likelihood ratio against h2 = 0, twice the gain of the log-likelihood, shape (draws,).
        log_weight: log density of each draw where h2 is true over that which it was drawn from, shape (draws, grid).
    """

    h2: Float64[ndarray, " grid"]
    estimate: Float64[ndarray, " draws"]
    statistic: Float64[ndarray, " draws"]
    log_weight: Float[ndarray, "draws grid"]

    def p_value(self, statistic: float) -> float:
        """Return the probability, if h2 = 0, of a statistic at least as large; 1 for 0."""
        return float(self.p_values(np.array([statistic]))[0])

    def p_values(self, statistics: Float[ndarray, " t"]) -> Float64[ndarray, " t"]:
        """Return `p_value` of each of many statistics."""
        order = np.argsort(-self.statistic)
        tail = np.cumsum(self._under_null(np.ones(len(order), dtype=bool))[order])
        count = np.searchsorted(-self.statistic[order], -statistics, side="right")
        found = np.where(count > 0, tail[np.maximum(count - 1, 0)], 0.0) / len(order)
        return np.where(statistics <= 0, 1.0, found)

    def p_value_error(self, statistic: float) -> float:
        """Return the Monte Carlo standard error of `p_value`."""
        terms = self._under_null(self.statistic >= statistic)
        largest = max(float(terms.max()), np.finfo(float).tiny)
        return 0.0 if statistic <= 0 else float((terms / largest).std(ddof=1) / np.sqrt(len(terms)) * largest)

    def probability_of_zero(self) -> float:
        """Return the probability, if h2 = 0, of an estimate of 0."""
        return float(self._under_null(self.statistic == 0).mean())

    def mixture_size(self, nominal: float = 0.05) -> float:
        """Return how often the 50:50 mixture of 0 and chi2_1 rejects a true h2 = 0 at a nominal size below 0.5."""
        return self.p_value(float(chi2.isf(2 * nominal, 1)))

    def confidence_interval(self, estimate: float, *, level: float = 0.95) -> tuple[float, float]:
        """Return the h2 that a test of size 1 - level does not reject given a REML estimate: valid at both bounds.

        The test of each h2 accepts estimates from 0 to a quantile where an estimate of 0 is not rare (not below half
        of 1 - level), from a quantile to 1 where an estimate of 1 is not, and the middle part otherwise; if both are
        common on the way from 0 to 1, the change is half way. The h2 that are not rejected then form an interval.
        Monte Carlo moves its ends by about a twentieth of the standard error of the estimate (40,000 draws).

        Args:
            estimate: REML of h2; where its search ends (sigma2_e = 1e-5 sigma2_u if K has a mean diagonal of 1) counts
                as 1.
            level: the coverage, between 0 and 1.

        Raises:
            InputError: if the estimate or the level lies outside 0 to 1.

        Source: Schweiger et al. (2016), doi:10.1016/j.ajhg.2016.04.016 (ALBI).
        """
        if not 0 <= estimate <= 1 or not 0 < level < 1:
            raise InputError(f"estimate and level must lie between 0 and 1, but {estimate} and {level} were given")
        alpha = 1 - level
        estimate = 1.0 if 1 - estimate <= 2 * (1 - self.h2[-1]) else estimate
        zero, one = self._probability(self.estimate <= 0), self._probability(self.estimate >= 1)
        at_least, at_most = self._probability(self.estimate >= estimate), self._probability(self.estimate <= estimate)
        # zero and at_most fall as h2 rises, one and at_least rise.
        first, last = self._falls_below(zero, alpha / 2), self._rises_to(one, alpha / 2)
        if first > last:
            first = last = (self._rises_to(one, alpha) + self._falls_below(zero, alpha)) / 2
        lower = self._rises_to(at_least, alpha)
        if lower > first:
            lower = min(max(first, self._rises_to(at_least, alpha / 2)), last)
        upper = self._falls_below(at_most, alpha)
        if upper < last:
            upper = max(min(last, self._falls_below(at_most, alpha / 2)), first)
        return lower, upper

    def _under_null(self, event: Bool[ndarray, " draws"]) -> Float64[ndarray, " draws"]:
        return event * np.exp(self.log_weight[:, 0].astype(np.float64))

    def _probability(self, event: Bool[ndarray, " draws"]) -> Float64[ndarray, " grid"]:
        """Return the probability of an event at each true h2."""
        return np.exp(self.log_weight[event]).sum(axis=0, dtype=np.float64) / len(event)

    def _rises_to(self, probability: Float64[ndarray, " grid"], value: float) -> float:
        """Return the first h2 where a rising probability reaches a value, 1 if none."""
        return self._crossing(np.maximum.accumulate(probability), value)

    def _falls_below(self, probability: Float64[ndarray, " grid"], value: float) -> float:
        """Return the first h2 where a falling probability goes below a value, 1 if none."""
        return self._crossing(-np.minimum.accumulate(probability), -value)

    def _crossing(self, rising: Float64[ndarray, " grid"], value: float) -> float:
        j = int(np.searchsorted(rising, value))
        if j in (0, len(rising)):
            return 0.0 if j == 0 else 1.0
        # Between neighbours the normal quantile of a probability is nearly straight.
        low, middle, high = (
            np.sign(p) * norm.ppf(np.clip(abs(p), 1e-12, 1 - 1e-12)) for p in (rising[j - 1], value, rising[j])
        )
        share = (middle - low) / (high - low) if high > low else 1.0
        return float(self.h2[j - 1] + share * (self.h2[j] - self.h2[j - 1]))


def contrast_eigenvalues(data: RotatedData) -> Float64[ndarray, " m"]:
    """Return mu, the n - c eigenvalues of A'KA, ascending; O(n^3), as eigenvalues without vectors cost.

    Raises:
        InputError: for a summary, which does not have a row for each individual.
    """
    check_rows(data, what="the exact distribution of REML")
    Q, _ = orthonormal(data.X)
    SQ = data.s[:, None] * Q
    MSM = np.diag(data.s) - Q @ SQ.T - SQ @ Q.T + Q @ (Q.T @ SQ) @ Q.T
    # Along X it is 0, and no eigenvalue is smaller.
    return np.maximum(scipy.linalg.eigvalsh(MSM, overwrite_a=True, check_finite=False)[Q.shape[1] :], 0.0)


def reml_distribution(mu: Float[ndarray, " m"], *, seed: int, draws: int = 40_000) -> RemlDistribution:
    """Draw the exact finite-sample distribution of REML of h2 and of the restricted likelihood ratio of h2 = 0.

    Half the draws are from h2 = 0, the others from every h2 of a grid in turn, so that small p-values and intervals
    anywhere have small relative errors.

    Args:
        mu: of `contrast_eigenvalues`.
        seed: of the draws.
        draws: how many, at least 1,000.

    Raises:
        InputError: if there are too few draws.

    Source: Crainiceanu and Ruppert (2004), doi:10.1111/j.1467-9868.2004.00438.x, equation 9, for the statistic.
    """
    if draws < 1000:
        raise InputError(f"at least 1000 draws are needed, but {draws} was given")
    ratio = np.geomspace(1e-3 / mu.max(), 1 / (DELTA_MIN * mu.mean()), _GRID)  # sigma2_u / sigma2_e
    h2 = np.concatenate([[0.0], ratio / (1 + ratio)])
    d = h2[:, None] * mu + (1 - h2)[:, None]
    log_det, inverse = np.log(d).sum(axis=1), 1 / d
    source = np.where(np.arange(draws) % 2, 1 + np.arange(draws) // 2 % _GRID, 0)
    log_share = np.log(np.bincount(source, minlength=_GRID + 1) / draws)
    rng = np.random.default_rng(seed)
    estimate, statistic, log_weight = np.empty(draws), np.empty(draws), np.empty((draws, _GRID + 1), np.float32)
    for start in range(0, draws, _BATCH):
        these = slice(start, min(start + _BATCH, draws))
        w2 = d[source[these]] * rng.standard_normal((these.stop - start, len(mu))) ** 2
        f = len(mu) * np.log(w2.sum(axis=1)[:, None] / (w2 @ inverse.T)) - log_det
        estimate[these], statistic[these] = _maximum(np.log(ratio), f[:, 1:])
        log_weight[these] = f / 2 - np.logaddexp.reduce(f / 2 + log_share, axis=1)[:, None]
    return RemlDistribution(h2, estimate, statistic, log_weight)


def mixture_p_value(statistic: float) -> float:
    """Return the p-value of the mixture 1/2 chi2_0 + 1/2 chi2_1 (GCTA, ASReml users): 1 for 0, else below 0.5.

    Source: Self and Liang (1987), doi:10.1080/01621459.1987.10478472, case 5.
    """
    return 1.0 if statistic <= 0 else float(chi2.sf(statistic, 1) / 2)


def _maximum(
    log_ratio: Float64[ndarray, " grid"], f: Float64[ndarray, "draws grid"]
) -> tuple[Float64[ndarray, " draws"], Float64[ndarray, " draws"]]:
    """Return where each row is largest, as h2, and its value: the vertex of the parabola through the best three."""
    best = np.argmax(f, axis=1)
    at = best.clip(1, f.shape[1] - 2)
    low, middle, high = (np.take_along_axis(f, (at + k)[:, None], axis=1)[:, 0] for k in (-1, 0, 1))
    slope, bend = (high - low) / 2, np.minimum(low - 2 * middle + high, -1e-300)
    step = np.where(best == at, np.clip(-slope / bend, -1, 1), best - at)
    value = middle + slope * step + bend * step**2 / 2
    ratio = np.exp(log_ratio[at] + step * (log_ratio[1] - log_ratio[0]))
    estimate = np.where(best == f.shape[1] - 1, 1.0, ratio / (1 + ratio))
    zero = value <= 0
    return np.where(zero, 0.0, estimate), np.where(zero, 0.0, value)
