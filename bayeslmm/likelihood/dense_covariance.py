"""Several components of variance by a Cholesky factor of V: O(n^3), whatever the components are."""

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
from bayeslmm.likelihood.solved import ComponentSolver, Solved


@dataclass(frozen=True, eq=False)
class DenseCovariance(ComponentSolver):
    """V as a matrix.

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
        return [one.covariance() for one in self.components]

    @override
    def at(self, theta: Float[ndarray, " k"]) -> "AtVariances":
        return AtVariances(self, np.asarray(theta, dtype=float))


@dataclass(frozen=True, eq=False)
class AtVariances(Solved):
    """V at given variances: likelihood and derivatives, each computed when it is asked for.

    Source: Harville (1977), doi:10.1080/01621459.1977.10480998, section 5.
    """

    dense: DenseCovariance
    theta: Float64[ndarray, " k"]

    @cached_property
    def _L(self) -> Float64[ndarray, "n n"]:
        V = self.theta[0] * self.dense.parts[0]
        for variance, part in zip(self.theta[1:-1], self.dense.parts[1:], strict=True):
            V += variance * part
        V.flat[:: len(V) + 1] += self.theta[-1]
        return scipy.linalg.cholesky(V.T, lower=True, overwrite_a=True, check_finite=False)

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
    def _P(self) -> Float64[ndarray, "n n"]:
        inverse = scipy.linalg.lapack.dpotri(self._L, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        VX = inverse @ self.dense.X
        return inverse - VX @ self.cov_beta @ VX.T

    @cached_property
    def _Py(self) -> Float64[ndarray, " n"]:
        return self._P @ self.dense.y

    @cached_property
    def _VPy(self) -> Float64[ndarray, "n k"]:
        return np.column_stack([*(part @ self._Py for part in self.dense.parts), self._Py])

    @cached_property
    @override
    def quads(self) -> Float64[ndarray, " k"]:
        return self._VPy.T @ self._Py

    @cached_property
    @override
    def average(self) -> Float64[ndarray, "k k"]:
        return self._VPy.T @ self._P @ self._VPy / 2

    @cached_property
    @override
    def traces(self) -> Float64[ndarray, " k"]:
        return np.array([*(np.vdot(self._P, part) for part in self.dense.parts), np.trace(self._P)])

    @cached_property
    @override
    def expected(self) -> Float64[ndarray, "k k"]:
        products = [*(self._P @ part for part in self.dense.parts), self._P]
        return np.array([[np.vdot(A, B.T) for B in products] for A in products]) / 2

    @override
    def between(self, component: int) -> Float64[ndarray, "q q"]:
        one = self.dense.components[component]
        Z_PZ = one.Z.T @ (one.Z.T @ self._P).T
        L = factor(one)
        return Z_PZ if L is None else L.T @ Z_PZ @ L

    @cached_property
    @override
    def effects(self) -> tuple[Float64[ndarray, " _"], ...]:
        sums = [(one, one.Z.T @ self._Py) for one in self.dense.components]
        return tuple(Z_Py if one.K is None else one.K @ Z_Py for one, Z_Py in sums)
