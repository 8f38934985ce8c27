"""What inference of several components of variance asks of V, whichever way it is treated."""

from abc import ABC, abstractmethod
from functools import cached_property

from jaxtyping import Float, Float64
from numpy import ndarray


class Solved(ABC):
    """V at given variances theta, the residual last. V_j is ZKZ' of a component, the identity for the residual."""

    @cached_property
    @abstractmethod
    def log_dets(self) -> float:
        """The determinants log|V| + log|X'V^-1X|."""

    @cached_property
    @abstractmethod
    def quad(self) -> float:
        """The quadratic form y'Py."""

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
        """The quadratic forms y'PV_jPy, shape (k + 1,)."""

    @cached_property
    @abstractmethod
    def traces(self) -> Float64[ndarray, " k"]:
        """The traces tr(PV_j), shape (k + 1,)."""

    @cached_property
    @abstractmethod
    def average(self) -> Float64[ndarray, "k k"]:
        """Average information, y'PV_iPV_jPy / 2."""

    @cached_property
    @abstractmethod
    def expected(self) -> Float64[ndarray, "k k"]:
        """Expected information, tr(PV_iPV_j) / 2."""

    @abstractmethod
    def between(self, component: int) -> Float64[ndarray, "q q"]:
        """Return L'Z'PZL of a component with K = LL': its eigenvalues are those of PZKZ' that are not 0."""

    @cached_property
    @abstractmethod
    def effects(self) -> tuple[Float64[ndarray, " _"], ...]:
        """K_jZ_j'Py of each component: its best linear unbiased prediction, divided by its variance."""


class ComponentSolver(ABC):
    """A way to treat V."""

    @abstractmethod
    def at(self, theta: Float[ndarray, " k"]) -> Solved:
        """Return V at variances in units of the data, the residual last and above 0, the others not below 0."""
