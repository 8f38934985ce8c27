"""Weighted draws of a posterior: means, intervals and their Monte Carlo errors."""

from dataclasses import dataclass

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float, Float64, Int
from numpy import ndarray
from scipy.special import logsumexp

from bayeslmm.base.checks import AnalysisError

MAX_PARETO_K = 0.7
"""Above it the largest weights decide, and neither means nor their errors can be trusted."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Weighted:
    """What all sets of weighted draws have.

    Attributes:
        weights: Pareto-smoothed, of sum 1, shape (draws,).
        pareto_k: shape of the tail of the raw weights.
    """

    weights: Float64[ndarray, " draws"]
    pareto_k: float

    @property
    def ess(self) -> float:
        """Effective number of draws.

        Source: Kong (1992), University of Chicago, Department of Statistics, technical report 348.
        """
        return float(1 / np.square(self.weights).sum())

    def mean(self, values: Float[ndarray, " draws"]) -> float:
        """Return the posterior mean of a function of the draws."""
        return float(self.weights @ values)

    def sd(self, values: Float[ndarray, " draws"]) -> float:
        """Return its posterior standard deviation."""
        return float(np.sqrt(self.weights @ np.square(values - self.mean(values))))

    def error(self, values: Float[ndarray, " draws"]) -> float:
        """Return the Monte Carlo standard error of its mean, as if draws were independent.

        Source: Owen (2013), Monte Carlo theory, methods and examples, equation 9.9.
        """
        return float(np.linalg.norm(self.weights * (values - self.mean(values))))

    def quantile(self, values: Float[ndarray, " draws"], probability: float) -> float:
        """Return the value below which the posterior has this probability, linear between draws."""
        order = np.argsort(values)
        cumulated = np.cumsum(self.weights[order]) - self.weights[order] / 2
        return float(np.interp(probability, cumulated, values[order]))

    def interval(self, values: Float[ndarray, " draws"], *, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval."""
        return self.quantile(values, (1 - level) / 2), self.quantile(values, (1 + level) / 2)

    def places(self, m: int, *, seed: int) -> Int[ndarray, " m"]:
        """Return which draws m of equal weight are, by systematic resampling in random order."""
        rng = np.random.default_rng(seed)
        at = np.searchsorted(np.cumsum(self.weights), (np.arange(m) + rng.uniform()) / m)
        return rng.permutation(np.minimum(at, len(self.weights) - 1))


def smoothed(log_weights: Float64[ndarray, " draws"], of: str) -> tuple[Float64[ndarray, " draws"], float]:
    """Return Pareto-smoothed weights of sum 1, and k.

    Args:
        log_weights: raw ones.
        of: what is sampled, for the message.

    Raises:
        AnalysisError: if k is above 0.7.

    Source: Vehtari et al. (2024), JMLR 25(72).
    """
    found, pareto_k = array_stats.psislw(-log_weights)
    if not pareto_k <= MAX_PARETO_K:
        raise AnalysisError(
            f"importance sampling of {of} failed: the Pareto k of its weights is {pareto_k:.2f}, "
            f"and must not be above {MAX_PARETO_K}: its numbers would depend on a few draws, use more draws, or NUTS"
        )
    return np.exp(found - logsumexp(found)), float(pareto_k)
