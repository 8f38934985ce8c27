"""Likelihoods are written against `Solver`: a Cholesky factor of V, without any eigenbasis, gives the same ones."""

from typing import NamedTuple

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.information import expected_ml, expected_reml
from bayeslmm.likelihood.one_trait import gls, log_ml, log_reml
from bayeslmm.likelihood.solver import Spectral


class Cholesky:
    def __init__(self, K, V):
        self.K, self.V, self.L = K, V, np.linalg.cholesky(V)

    def log_density(self, r):
        z = np.linalg.solve(self.L, r)
        return -(z @ z + len(r) * np.log(2 * np.pi)) / 2 - np.log(np.diag(self.L)).sum()

    def solve(self, B):
        return np.linalg.solve(self.L.T, np.linalg.solve(self.L, B))

    def cross(self, B, C):
        return B.T @ self.solve(C)

    def squares(self, B):
        return np.square(np.linalg.solve(self.L, B)).sum(axis=0)

    def multiply(self, B):
        return self.K @ B

    def traces(self):
        products = self.solve(self.K), self.solve(np.eye(len(self.K)))
        return np.array([[np.trace(A @ B) for B in products] for A in products])


class Dense(NamedTuple):
    K: np.ndarray
    Y: np.ndarray
    X: np.ndarray

    def solver(self, sigma2_u, sigma2_e):
        return Cholesky(self.K, sigma2_u * self.K + sigma2_e * np.eye(len(self.K)))


@pytest.mark.parametrize("variances", [(0.7, 0.3), (0.0, 2.0), (5.0, 0.01)])
@in_float64
def test_a_cholesky_factor_gives_the_same_likelihoods(dense, small_data, variances):
    K, X, y, _ = dense
    other = Dense(K, y[:, None], X)
    for name, value in gls(small_data, *variances)._asdict().items():
        assert_allclose(getattr(gls(other, *variances), name), value, rtol=1e-10, err_msg=name)
    for function in (log_ml, log_reml, expected_ml, expected_reml):
        assert_allclose(function(other, *variances), function(small_data, *variances), rtol=1e-10)


@pytest.mark.parametrize("k", [3, 40])
def test_products_of_few_and_of_many_columns(rng, k):
    s, B, C = rng.uniform(0, 3, 50), rng.standard_normal((50, k)), rng.standard_normal((50, 7))
    V = Spectral(s, 0.6 * s + 0.4)
    assert_allclose(V.cross(B, C), B.T @ np.linalg.solve(np.diag(V.d), C), rtol=1e-12, atol=1e-12)
    assert_allclose(V.squares(C), np.diag(C.T @ np.linalg.solve(np.diag(V.d), C)), rtol=1e-12)
