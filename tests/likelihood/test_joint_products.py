from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import block_diag

from bayeslmm.likelihood import joint_products
from bayeslmm.likelihood.joint_products import MOST_RATIO, JointProducts, effects_of
from bayeslmm.likelihood.joint_whitened import joint_whitened


def matrices(t, rng, *, residual=1.0):
    """Return two covariance matrices in units of the data; a small residual one, full of correlations."""
    A, B = rng.standard_normal((2, t, t))
    return A @ A.T + 0.1 * np.eye(t), (B @ B.T + 0.1 * np.eye(t)) * residual


def dense_log_reml(dense, Gamma_u, Gamma_e):
    """The restricted log-likelihood of the records: no column for a missing value, no eigenvectors."""
    V, X, y = dense.V(Gamma_u, Gamma_e), dense.stacked, dense.y
    inverse = np.linalg.inv(V)
    XVX = X.T @ inverse @ X
    residual = y - X @ np.linalg.solve(XVX, X.T @ inverse @ y)
    dets = sum(np.linalg.slogdet(matrix)[1] for matrix in (V, XVX)) - np.linalg.slogdet(X.T @ X)[1]
    return -((len(y) - X.shape[1]) * np.log(2 * np.pi) + dets + residual @ inverse @ residual) / 2


@pytest.mark.parametrize("t", [2, 3])
@pytest.mark.parametrize("residual", [1.0, 1e-4, 1e-7])
def test_equals_the_dense_formula_of_the_records(dense_traits, rng, t, residual):
    """To 1e-8: where the nodes serve, and beyond them, where rows are summed."""
    dense = dense_traits(t)
    white = joint_whitened(dense.data)
    Gamma_u, Gamma_e = matrices(t, rng, residual=residual)
    ratios = np.linalg.eigvals(np.linalg.solve(Gamma_e, Gamma_u)).real
    assert (ratios.max() > MOST_RATIO) == (residual == 1e-7)
    found = white.products.at(Gamma_u[None], Gamma_e[None])
    expected = dense_log_reml(dense, Gamma_u * white.unit_u, Gamma_e * white.unit_e)
    assert_allclose(found.loglik[0] - white.log_units, expected, rtol=1e-8)


def test_effects_are_those_of_generalised_least_squares_of_the_records(dense_traits, rng):
    dense = dense_traits(2)
    white = joint_whitened(dense.data)
    Gamma_u, Gamma_e = matrices(2, rng)
    b, root = effects_of(white.products.at(Gamma_u[None], Gamma_e[None]).root[0], 2)
    sizes = [R.shape[1] for R in white.R]
    scale = np.diag(np.repeat(white.sd, sizes)) @ np.linalg.inv(block_diag(*white.R)).T
    beta = scale.T @ b + np.linalg.solve(block_diag(*white.R), np.concatenate(white.b))
    inverse = np.linalg.inv(dense.V(Gamma_u * white.unit_u, Gamma_e * white.unit_e))
    XVX = dense.stacked.T @ inverse @ dense.stacked
    assert_allclose(beta, np.linalg.solve(XVX, dense.stacked.T @ inverse @ dense.y), rtol=1e-8)
    assert_allclose(scale.T @ np.linalg.inv(root @ root.T) @ scale, np.linalg.inv(XVX), rtol=1e-8)


@pytest.mark.parametrize("residual", [1.0, 1e-4])
def test_slopes_are_differences(dense_traits, rng, residual):
    """Central differences along random directions, to 1e-6 of the slope."""
    products = joint_whitened(dense_traits(3).data).products
    Gamma_u, Gamma_e = matrices(3, rng, residual=residual)
    loglik, along_u, along_e = products.with_slopes(Gamma_u, Gamma_e)
    assert_allclose(loglik, products.at(Gamma_u[None], Gamma_e[None]).loglik[0], rtol=1e-12)
    for _ in range(3):
        A = rng.standard_normal((3, 3))
        step = 1e-5 * (A + A.T) * residual
        for slope, du, de in ((along_u, step, 0 * step), (along_e, 0 * step, step)):
            moved = np.array([1, -1])[:, None, None]
            ends = products.at(Gamma_u + moved * du, Gamma_e + moved * de).loglik
            assert_allclose((ends[0] - ends[1]) / 2, (slope * step).sum(), rtol=1e-6, atol=1e-9)


def test_numbers_do_not_depend_on_workers_or_chunks(dense_traits, rng, monkeypatch):
    data = joint_whitened(dense_traits(2).data).data
    pairs = [np.array(of) for of in zip(*(matrices(2, rng) for _ in range(7)), strict=True)]
    whole, done = JointProducts.of(data).at(*pairs), []
    monkeypatch.setattr(joint_products, "_ROOM", 300)
    monkeypatch.setattr(joint_products, "_CHUNK", 2)
    with ThreadPoolExecutor(2) as pool:
        found = JointProducts.of(data).at_each(*pairs, pool, done.append)
    assert sum(done) == 7
    assert len(done) > 1
    assert_allclose(found.loglik, whole.loglik, rtol=1e-12)
    with ThreadPoolExecutor(1) as pool:
        assert_array_equal(JointProducts.of(data).at_each(*pairs, pool, done.append).loglik, found.loglik)


def test_matrices_that_are_none_have_no_likelihood(dense_traits):
    products = joint_whitened(dense_traits(2).data).products
    negative = np.array([[1.0, 2.0], [2.0, 1.0]])
    assert products.at(negative[None], negative[None]).loglik[0] == -np.inf
    assert np.isnan(products.with_slopes(negative, negative)[0])
