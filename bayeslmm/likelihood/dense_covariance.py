"""Several components of variance by a Cholesky factor of V: O(n^3), whatever the components are."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import override

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.cohort.records import Component
from bayeslmm.likelihood.mixed_model_equations import factor
from bayeslmm.likelihood.solved import ComponentSolver, Solved, SolvedComponents


class Dense(ABC):
    """Records, and V as a sum of matrices V_j with coefficients theta.

    Attributes:
        y: records, shape (n,).
        X: covariates, shape (n, c).
    """

    y: Float64[ndarray, " n"]
    X: Float64[ndarray, "n c"]

    @abstractmethod
    def covariance(self, theta: Float64[ndarray, " k"]) -> Float64[ndarray, "n n"]:
        """Return the lower triangle of V, in a matrix in the order of Fortran."""

    @abstractmethod
    def products(self, v: Float64[ndarray, " n"]) -> Float64[ndarray, "n k"]:
        """Return all V_jv."""

    @abstractmethod
    def traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, " k"]:
        """Return all tr(PV_j), of a symmetric P."""

    @abstractmethod
    def paired_traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, "k k"]:
        """Return all tr(PV_iPV_j), of a symmetric P."""


@dataclass(frozen=True, eq=False)
class AtCoefficients(Solved):
    """V at given coefficients: likelihood and derivatives, each computed when it is asked for.

    Source: Harville (1977), doi:10.1080/01621459.1977.10480998, section 5.
    """

    dense: Dense
    theta: Float64[ndarray, " k"]

    @cached_property
    def _L(self) -> Float64[ndarray, "n n"]:
        V = self.dense.covariance(self.theta)
        # NumPy's lets other threads compute meanwhile, SciPy's does not. Its upper factor is in rows, so L in columns.
        return np.linalg.cholesky(V.T, upper=True).T

    @cached_property
    def _half(self) -> Float64[ndarray, "n m"]:
        columns = np.column_stack([self.dense.X, self.dense.y])
        return scipy.linalg.solve_triangular(self._L, columns, lower=True, check_finite=False)

    @cached_property
    def _L_X(self) -> Float64[ndarray, "c c"]:
        return np.linalg.cholesky(self._half[:, :-1].T @ self._half[:, :-1])

    @cached_property
    @override
    def log_dets(self) -> float:
        return float(2 * np.log(np.diag(self._L)).sum() + 2 * np.log(np.diag(self._L_X)).sum())

    @cached_property
    @override
    def quad(self) -> float:
        residual = self._half[:, -1] - self._half[:, :-1] @ self.beta
        return float(residual @ residual)

    @cached_property
    @override
    def beta(self) -> Float64[ndarray, " c"]:
        return self.cov_beta @ (self._half[:, :-1].T @ self._half[:, -1])

    @cached_property
    @override
    def cov_beta(self) -> Float64[ndarray, "c c"]:
        return np.linalg.inv(self._L_X @ self._L_X.T)

    @cached_property
    def P(self) -> Float64[ndarray, "n n"]:
        """V^-1 less its projection on X."""
        inverse = scipy.linalg.lapack.dpotri(self._L, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        VX = inverse @ self.dense.X
        return inverse - VX @ self.cov_beta @ VX.T

    @cached_property
    def Py(self) -> Float64[ndarray, " n"]:
        """P times the records."""
        return self.P @ self.dense.y

    @cached_property
    def _VPy(self) -> Float64[ndarray, "n k"]:
        return self.dense.products(self.Py)

    @cached_property
    @override
    def quads(self) -> Float64[ndarray, " k"]:
        return self._VPy.T @ self.Py

    @cached_property
    @override
    def average(self) -> Float64[ndarray, "k k"]:
        return self._VPy.T @ self.P @ self._VPy / 2

    @cached_property
    @override
    def traces(self) -> Float64[ndarray, " k"]:
        return self.dense.traces(self.P)

    @cached_property
    @override
    def expected(self) -> Float64[ndarray, "k k"]:
        return self.dense.paired_traces(self.P) / 2


@dataclass(frozen=True, eq=False)
class DenseCovariance(ComponentSolver, Dense):
    """V of one trait: ZKZ' of each component, and the identity.

    Attributes:
        y, X: trait and covariates, shapes (n,) and (n, c).
        components: which effects there are.
    """

    y: Float64[ndarray, " n"]
    X: Float64[ndarray, "n c"]
    components: Sequence[Component]

    @cached_property
    def parts(self) -> list[Float64[ndarray, "n n"]]:
        """ZKZ' of each component."""
        return [np.ascontiguousarray(one.covariance()) for one in self.components]

    @override
    def at(self, theta: Float[ndarray, " k"]) -> "AtVariances":
        return AtVariances(self, np.asarray(theta, dtype=float), self.components)

    @override
    def covariance(self, theta: Float64[ndarray, " k"]) -> Float64[ndarray, "n n"]:
        V = theta[0] * self.parts[0]
        for variance, part in zip(theta[1:-1], self.parts[1:], strict=True):
            scipy.linalg.blas.daxpy(part.reshape(-1), V.reshape(-1), a=variance)  # in place, without another matrix
        V.flat[:: len(V) + 1] += theta[-1]
        return V.T

    @override
    def products(self, v: Float64[ndarray, " n"]) -> Float64[ndarray, "n k"]:
        return np.column_stack([*(part @ v for part in self.parts), v])

    @override
    def traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, " k"]:
        return np.array([*(np.vdot(P, part) for part in self.parts), np.trace(P)])

    @override
    def paired_traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, "k k"]:
        products = [*(P @ part for part in self.parts), P]
        return np.array([[np.vdot(A, B.T) for B in products] for A in products])


@dataclass(frozen=True, eq=False)
class AtVariances(AtCoefficients, SolvedComponents):
    """V of one trait at given variances."""

    components: Sequence[Component]

    def _between_levels(self, one: Component) -> Float64[ndarray, "q q"]:
        """Return Z'PZ."""
        return one.Z.T @ (one.Z.T @ self.P).T

    @override
    def between(self, component: int) -> Float64[ndarray, "q q"]:
        one = self.components[component]
        Z_PZ, L = self._between_levels(one), factor(one)
        return Z_PZ if L is None else L.T @ Z_PZ @ L

    @cached_property
    @override
    def effects(self) -> tuple[Float64[ndarray, " _"], ...]:
        sums = [(one, one.Z.T @ self.Py) for one in self.components]
        return tuple(Z_Py if one.K is None else one.K @ Z_Py for one, Z_Py in sums)

    @cached_property
    @override
    def reductions(self) -> tuple[Float64[ndarray, " _"], ...]:
        return tuple(
            np.diag(Z_PZ) if one.K is None else np.einsum("ij,ij->i", one.K @ Z_PZ, one.K)
            for one in self.components
            for Z_PZ in [self._between_levels(one)]
        )
