import jax
import numpy as np
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose

from bayeslmm.likelihood import at_unit_scale, gls, log_ml, log_reml, rescale, univariate
from bayeslmm.precision import in_float64

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
        assert_allclose(rescale(unit, k, 5.0), loglik(small_data, 3.5, 1.5), rtol=1e-10)
        best = float(unit.quad / k)
        assert_allclose(jax.grad(lambda v, unit=unit, k=k: rescale(unit, k, v))(best), 0, atol=1e-10)


@in_float64
def test_a_model_without_covariates_has_a_likelihood(small_data, dense):
    K, _, y, _ = dense
    bare = small_data._replace(X=small_data.X[:, :0])
    expected = scipy.stats.multivariate_normal(cov=V_of(K)).logpdf(y)
    assert_allclose(log_ml(bare, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)
    assert_allclose(log_reml(bare, SIGMA2_U, SIGMA2_E), expected, rtol=1e-10)
