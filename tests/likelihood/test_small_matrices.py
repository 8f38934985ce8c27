import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.small_matrices import cholesky, inverse, solve_lower


@pytest.mark.parametrize("t", [1, 2, 3, 5])
@in_float64
def test_equals_lapack_matrix_by_matrix(rng, t):
    A = rng.standard_normal((7, t, t + 2))
    V, r = A @ A.transpose(0, 2, 1), rng.standard_normal((7, t))
    L = cholesky([[V[:, i, j] for j in range(t)] for i in range(t)])
    W, z = inverse(L), solve_lower(L, list(r.T))
    for m in range(7):
        root = np.linalg.cholesky(V[m])
        assert_allclose(
            [[L[i][j][m] if j <= i else 0 for j in range(t)] for i in range(t)], root, rtol=1e-10, atol=1e-12
        )
        assert_allclose([[W[i][j][m] for j in range(t)] for i in range(t)], np.linalg.inv(V[m]), rtol=1e-8, atol=1e-10)
        assert_allclose([part[m] for part in z], np.linalg.solve(root, r[m]), rtol=1e-10)
