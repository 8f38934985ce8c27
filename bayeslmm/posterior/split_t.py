"""A Student t that is wider to one side than to the other: what importance sampling draws from."""

from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.stats
from jaxtyping import Float64
from numpy import ndarray

_DF = 5  # of the Student t: its tails must reach where that of a component at 0 is still exponential


class SplitT(NamedTuple):
    """A Student t, wider to one side along each axis than to the other.

    With root R, a draw is centre + R z, z_i of scale ``left`` below 0 and ``right`` above, with a continuous density.

    Source: Geweke (1989), doi:10.2307/1913710, section 4 (split t).
    """

    centre: Float64[ndarray, " k"]
    root: Float64[ndarray, "k k"]
    left: Float64[ndarray, " k"]
    right: Float64[ndarray, " k"]

    @classmethod
    def of(cls, centre: Float64[ndarray, " k"], covariance: Float64[ndarray, "k k"]) -> "SplitT":
        """Return the one that is as wide to both sides."""
        even = np.ones(len(centre))
        return cls(centre, scipy.linalg.cholesky(covariance, lower=True), even, even)

    @classmethod
    def about(cls, u: Float64[ndarray, "m k"], weights: Float64[ndarray, " m"]) -> "SplitT":
        """Return that about the mean of weighted draws, with their covariance, and their spread to each side."""
        weights = weights / weights.sum()
        centre = weights @ u
        even = cls.of(centre, (u - centre).T @ (weights[:, None] * (u - centre)))
        z = scipy.linalg.solve_triangular(even.root, (u - centre).T, lower=True).T
        left, right = (np.sqrt(weights @ (z**2 * side) / (weights @ side)) for side in (z < 0, z >= 0))
        return even._replace(left=left, right=right)

    def draw(self, m: int, rng: np.random.Generator) -> tuple[Float64[ndarray, "m k"], Float64[ndarray, " m"]]:
        """Return draws at points of a scrambled Sobol sequence, and their log density."""
        k, both = len(self.centre), self.left + self.right
        uniform = scipy.stats.qmc.Sobol(k + 1, rng=rng).random_base2(int(np.ceil(np.log2(m))))[:m]
        below = uniform[:, :-1] * both < self.left
        # Each side has the probability of its width; within it, the quantiles of half a normal.
        half = np.where(below, uniform[:, :-1] * both / self.left, (1 - uniform[:, :-1]) * both / self.right) / 2
        z = np.where(below, 1, -1) * scipy.stats.norm.ppf(half)
        z /= np.sqrt(scipy.stats.chi2.ppf(uniform[:, -1:], _DF) / _DF)
        log_density = scipy.stats.multivariate_t(shape=np.eye(k), df=_DF).logpdf(z).reshape(-1)
        log_density -= np.log(np.diag(self.root)).sum() + np.log(both / 2).sum()
        return self.centre + (z * np.where(below, self.left, self.right)) @ self.root.T, log_density
