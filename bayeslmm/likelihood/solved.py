"""What inference of several components of variance asks of V, whichever way it is treated.

V is a sum of known symmetric matrices V_j, each with a coefficient theta_j.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray


class Solved(ABC):
    """V at given theta. For one trait V_j is ZKZ' of a component, the identity for the residual, which is the last."""

    @cached_property
    @abstractmethod
    def log_dets(self) -> float:
        """The determinants log|V| + log|X'V^-1X|."""

    @cached_property
    @abstractmethod
    def quad(self) -> float:
        """The quadratic form y'Py."""

    @property
    def deviance(self) -> float:
        """Minus twice the restricted log-likelihood, but for a constant."""
        return self.log_dets + self.quad

    @cached_property
    @abstractmethod
    def beta(self) -> Float64[ndarray, " c"]:
        """Fixed effects by generalised least squares."""

    @cached_property
    @abstractmethod
    def cov_beta(self) -> Float64[ndarray, "c c"]:
        """Their covariance, (X'V^-1X)^-1."""

    @cached_property
    @abstractmethod
    def quads(self) -> Float64[ndarray, " k"]:
        """The quadratic forms y'PV_jPy, shape (k,)."""

    @cached_property
    @abstractmethod
    def traces(self) -> Float64[ndarray, " k"]:
        """The traces tr(PV_j), shape (k,)."""

    @cached_property
    @abstractmethod
    def average(self) -> Float64[ndarray, "k k"]:
        """Average information, y'PV_iPV_jPy / 2."""

    @cached_property
    @abstractmethod
    def expected(self) -> Float64[ndarray, "k k"]:
        """Expected information, tr(PV_iPV_j) / 2."""


class SolvedComponents(Solved):
    """V of one trait: what is known about the levels of its components."""

    @abstractmethod
    def between(self, component: int) -> Float64[ndarray, "q q"]:
        """Return L'Z'PZL of a component with K = LL': its eigenvalues are those of PZKZ' that are not 0."""

    @cached_property
    @abstractmethod
    def effects(self) -> tuple[Float64[ndarray, " _"], ...]:
        """K_jZ_j'Py of each component: its best linear unbiased prediction, divided by its variance."""

    @cached_property
    @abstractmethod
    def reductions(self) -> tuple[Float64[ndarray, " _"], ...]:
        """Diagonal of K_jZ_j'PZ_jK_j of each component: the variance of its predictions, divided by its own squared."""


class ComponentSolver(ABC):
    """A way to treat V of one trait."""

    @abstractmethod
    def at(self, theta: Float[ndarray, " k"]) -> SolvedComponents:
        """Return V at variances in units of the data, the residual last and above 0, the others not below 0."""

    def at_each(
        self, theta: Float[ndarray, "draws k"], pool: Executor, done: Callable[[int], object]
    ) -> tuple[Float64[ndarray, " draws"], Float64[ndarray, " draws"]]:
        """Return log_dets and quad at many variances; infinity and 1 where rounding makes V indefinite.

        Args:
            theta: as in `at`, all above 0.
            pool: whose workers share the draws; results do not depend on their number.
            done: is told how many more draws are done.
        """

        def one(variances: Float[ndarray, " k"]) -> tuple[float, float]:
            try:
                solved = self.at(variances)
                return solved.log_dets, solved.quad
            except np.linalg.LinAlgError:
                return np.inf, 1.0

        found = np.empty((len(theta), 2))
        for number, both in enumerate(pool.map(one, theta)):
            found[number] = both
            done(1)
        return found[:, 0], found[:, 1]
