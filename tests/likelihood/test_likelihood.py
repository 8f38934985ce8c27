import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.one_trait import at_unit_scale, gls, log_ml, log_reml, rescale, univariate
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.several_traits import joint_gls, joint_log_reml, multivariate

SIGMA2_U, SIGMA2_E = 0.7, 0.3


def V_of(K):
    return SIGMA2_U * K + SIGMA2_E * np.eye(len(K))


@in_float64
def test_univariate_equals_dense_normal(dense):
    K, X, y, spectrum = dense
    mean = X @ [0.3, -1.0, 0.2]
    rotated = univariate(spectrum.s, spectrum.U.T @ mean, SIGMA2_U, SIGMA2_E)
    expected = scipy.stats.multivariate_normal(mean, V_of(K)).logpdf(y)
    assert_allclose(rotated.log_prob(spectrum.U.T @ y), expected, rtol=1e-10)


@in_float64
def test_gls_equals_the_dense_formula(dense, small_data):
    K, X, y, _ = dense
    V_inverse = np.linalg.inv(V_of(K))
    cov = np.linalg.inv(X.T @ V_inverse @ X)
    beta = cov @ X.T @ V_inverse @ y
    fit = gls(small_data, SIGMA2_U, SIGMA2_E)
    assert_allclose(fit.beta, beta, rtol=1e-9)
    assert_allclose(fit.cov, cov, rtol=1e-9)
    assert_allclose(fit.log_det, np.linalg.slogdet(X.T @ V_inverse @ X)[1], rtol=1e-9)
    assert_allclose(fit.quad, (y - X @ beta) @ V_inverse @ (y - X @ beta), rtol=1e-9)


@in_float64
def test_ml_is_the_normal_density_at_gls(dense, small_data):
    K, X, y, _ = dense
    V_inverse = np.linalg.inv(V_of(K))
    beta = np.linalg.solve(X.T @ V_inverse @ X, X.T @ V_inverse @ y)
    expected = scipy.stats.multivariate_normal(X @ beta, V_of(K)).logpdf(y)
    assert_allclose(log_ml(small_data, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)


@in_float64
def test_reml_is_the_density_of_error_contrasts(dense, small_data):
    """With A'A = I and A'X = 0, A'y ~ N(0, A'VA): the definition of REML, no |X'X| in it (Harville 1974)."""
    K, X, y, _ = dense
    A = scipy.linalg.null_space(X.T)
    expected = scipy.stats.multivariate_normal(cov=A.T @ V_of(K) @ A).logpdf(A.T @ y)
    assert_allclose(log_reml(small_data, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)


@in_float64
def test_reml_does_not_depend_on_the_units_of_x(small_data):
    other = small_data._replace(X=small_data.X @ np.array([[2.0, 0, 1], [0, 1e3, 0], [0, 0, 1e-2]]))
    assert_allclose(log_reml(other, SIGMA2_U, SIGMA2_E), log_reml(small_data, SIGMA2_U, SIGMA2_E), rtol=1e-10)


@in_float64
def test_rescale_moves_the_total_variance(small_data):
    n, c = small_data.X.shape
    for loglik, k in ((log_ml, n), (log_reml, n - c)):
        unit = at_unit_scale(loglik, small_data, 0.7, 0.3)
        assert_allclose(rescale(unit, k, jnp.array(5.0)), loglik(small_data, 3.5, 1.5), rtol=1e-10)
        best = float(unit.quad / k)
        assert_allclose(jax.grad(lambda v, unit=unit, k=k: rescale(unit, k, v))(best), 0, atol=1e-10)


@in_float64
def test_a_model_without_covariates_has_a_likelihood(small_data, dense):
    K, _, y, _ = dense
    bare = small_data._replace(X=small_data.X[:, :0])
    expected = scipy.stats.multivariate_normal(cov=V_of(K)).logpdf(y)
    assert_allclose(log_ml(bare, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)
    assert_allclose(log_reml(bare, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)


def gammas(t, rng):
    A, B = rng.standard_normal((2, t, t + 1))
    return A @ A.T / t, B @ B.T / t


@pytest.mark.parametrize("t", [1, 2, 4])
@in_float64
def test_multivariate_equals_dense_normal(dense_traits, rng, t):
    """Rows in the eigenbasis against one normal of n t dimensions."""
    dense = dense_traits(t, missing=False)
    Gamma_u, Gamma_e = gammas(t, rng)
    mean = rng.standard_normal(dense.Y.shape)
    rotated = bl.decompose(dense.K)
    found = multivariate(rotated.s, rotated.U.T @ mean, Gamma_u, Gamma_e).log_prob(rotated.U.T @ dense.Y)
    expected = multivariate_normal(mean.T.ravel(), dense.V(Gamma_u, Gamma_e)).logpdf(dense.y)
    assert_allclose(found, expected, rtol=1e-10)


@in_float64
def test_multivariate_of_one_trait_is_univariate(small_data):
    one = univariate(small_data.s, small_data.X[:, 0], 0.3, 0.8).log_prob(small_data.Y[:, 0])
    Gamma_u, Gamma_e = np.array([[0.3]]), np.array([[0.8]])
    many = multivariate(small_data.s, small_data.X[:, [0]], Gamma_u, Gamma_e).log_prob(small_data.Y)
    assert_allclose(many, one, rtol=1e-12)


@in_float64
def test_multivariate_draws_have_its_covariance(rng):
    Gamma_u, Gamma_e = gammas(2, rng)
    draws = np.asarray(
        multivariate(np.array([0.0, 2.0]), np.zeros((2, 2)), Gamma_u, Gamma_e).sample(jax.random.key(1), (20_000,))
    )
    for i, s in enumerate([0.0, 2.0]):
        V = s * Gamma_u + Gamma_e
        error = np.sqrt((V**2 + np.outer(np.diag(V), np.diag(V))) / 20_000)
        assert (np.abs(np.cov(draws[:, i].T) - V) < 4 * error).all()


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("t", [1, 2, 3])
@in_float64
def test_joint_log_reml_equals_dense_formula_of_the_records(dense_traits, rng, t, missing):
    """Harville's formula with the covariance matrix of the records that are there, and each trait its covariates."""
    dense = dense_traits(t, missing=missing and t > 1)
    Gamma_u, Gamma_e = gammas(t, rng)
    V, X, y = dense.V(Gamma_u, Gamma_e), dense.stacked, dense.y
    A = X.T @ np.linalg.solve(V, X)
    beta = np.linalg.solve(A, X.T @ np.linalg.solve(V, y))
    quad = (y - X @ beta) @ np.linalg.solve(V, y - X @ beta)
    log_dets = [np.linalg.slogdet(matrix)[1] for matrix in (V, A, X.T @ X)]
    N, c = X.shape
    expected = -((N - c) * np.log(2 * np.pi) + log_dets[0] + log_dets[1] - log_dets[2] + quad) / 2
    assert_allclose(joint_log_reml(dense.data, Gamma_u, Gamma_e), expected, rtol=1e-10)
    fit = joint_gls(dense.data, Gamma_u, Gamma_e)
    parts = zip(dense.data.X, dense.data.E, strict=True)
    fixed = np.concatenate([np.repeat([True, False], [X.shape[1], E.shape[1]]) for X, E in parts])
    assert_allclose(np.asarray(fit.coefficients)[fixed], beta, rtol=1e-8)
    cov = np.linalg.inv(np.asarray(fit.root @ fit.root.T))[np.ix_(fixed, fixed)]
    assert_allclose(cov, np.linalg.inv(A), rtol=1e-8, atol=1e-12)
    assert_allclose(fit.quad, quad, rtol=1e-8)


@in_float64
def test_joint_log_reml_of_one_trait_is_log_reml(small_data):
    one = JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    joint = joint_log_reml(one, np.array([[0.3]]), np.array([[0.8]]))
    assert_allclose(joint, log_reml(small_data, 0.3, 0.8), rtol=1e-12)
