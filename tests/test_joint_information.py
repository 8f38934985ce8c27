import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.stats import chi2, kstest

import bayeslmm as bl
from bayeslmm import parameters
from bayeslmm.estimators.joint_moments import elements
from bayeslmm.information import profile_interval, standard_errors
from bayeslmm.joint_information import (
    correlation_tests,
    joint_fisher,
    joint_standard_errors,
    likelihood_interval,
    matrices,
    profile_loglik,
)
from bayeslmm.precision import in_float64


@in_float64
def test_matrices_are_the_inverse_of_elements(rng):
    A, B = rng.standard_normal((2, 3, 3))
    Gamma_u, Gamma_e = A + A.T, B + B.T
    found = matrices(jnp.asarray(elements(Gamma_u, Gamma_e)))
    assert_allclose(found[0], Gamma_u)
    assert_allclose(found[1], Gamma_e)


@pytest.mark.parametrize("missing", [False, True])
def test_expected_and_average_equal_dense_traces(dense_traits, missing):
    """1/2 tr(P V_a P V_b) and 1/2 y'P V_a P V_b P y with P of the records, as n t x n t matrices."""
    dense = dense_traits(2, n=60, missing=missing)
    fit = bl.joint_reml(dense.data)
    assert not fit.boundary
    V, X, y = dense.V(fit.Gamma_u, fit.Gamma_e), dense.stacked, dense.y
    inverse = np.linalg.inv(V)
    P = inverse - inverse @ X @ np.linalg.solve(X.T @ inverse @ X, X.T @ inverse)
    zero = np.zeros((2, 2))
    directions = []
    for a in range(6):
        E = np.zeros(3)
        E[a % 3] = 1
        G = np.array([[E[0], E[1]], [E[1], E[2]]])
        directions.append(dense.V(G, zero) if a < 3 else dense.V(zero, G))
    expected = [[np.trace(P @ A @ P @ B) / 2 for B in directions] for A in directions]
    average = [[y @ P @ A @ P @ B @ P @ y / 2 for B in directions] for A in directions]
    assert_allclose(joint_fisher(fit, dense.data, kind="expected"), expected, rtol=1e-6, atol=1e-7)
    assert_allclose(joint_fisher(fit, dense.data, kind="average"), average, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("kind", "name"), [("average", "AI"), ("expected", "EI"), ("observed", "OI")])
def test_standard_errors_equal_the_pedigree_reference(gryphon_pair, gryphon_reference, kind, name):
    fit = bl.joint_reml(gryphon_pair)
    reference = gryphon_reference["own_reml"]["fits"]["biv"]
    information = joint_fisher(fit, gryphon_pair, kind=kind)
    assert_allclose(np.sqrt(np.diag(np.linalg.inv(information))), reference[f"se_{name}"], rtol=1e-5)
    se = joint_standard_errors(fit, gryphon_pair, kind=kind)
    assert_allclose(se["rho_u"][0, 1], reference[f"rA_{name}"][1], rtol=1e-5)
    assert_allclose(se["rho_e"][0, 1], reference[f"rE_{name}"][1], rtol=1e-5)
    assert_allclose(se["h2"], [reference[f"h2_bwt_{name}"][1], reference[f"h2_tarsus_{name}"][1]], rtol=1e-5)


@pytest.mark.parametrize(("kind", "name"), [("average", "AI"), ("expected", "EI"), ("observed", "OI")])
def test_standard_errors_equal_the_reference_of_all_mice(mouse_pair, mouse_reference, kind, name):
    data = mouse_pair(complete_only=False)
    (reference,) = mouse_reference["bivariate_all_records"]
    se = joint_standard_errors(bl.joint_reml(data), data, kind=kind)
    assert_allclose(se["rho_u"][0, 1], reference[f"rho_g_{name}"][1], rtol=1e-5)
    assert_allclose(se["rho_e"][0, 1], reference[f"rho_e_{name}"][1], rtol=1e-5)


def test_one_trait_has_the_standard_errors_of_one_trait(small_data):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    joint = joint_standard_errors(bl.joint_reml(data), data)
    one = standard_errors(bl.reml(small_data), small_data)
    assert_allclose(
        [joint[name][0] for name in ("sigma2_u", "sigma2_e", "h2")],
        [one["sigma2_u"], one["sigma2_e"], one["h2"]],
        rtol=1e-4,
    )


def test_likelihood_interval_is_the_root_of_the_profile(mouse_pair):
    """Constrained optima against the profile over rho_u, found by another parametrisation, and its roots."""
    data = mouse_pair(complete_only=True)
    fit = bl.joint_reml(data)

    def drop(rho_u):
        return profile_loglik(fit, data, (0, 1), rho_u) - fit.loglik + 1.920729410347062

    roots = brentq(drop, -0.6, fit.rho_u[0, 1], xtol=1e-8), brentq(drop, fit.rho_u[0, 1], 0.6, xtol=1e-8)
    found = likelihood_interval(fit, data, lambda Gamma_u, Gamma_e: parameters.correlation(Gamma_u)[0, 1])
    assert_allclose(found, roots, atol=1e-6)


def test_likelihood_interval_of_one_trait_is_its_profile_interval(small_data):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    found = likelihood_interval(bl.joint_reml(data), data, lambda u, e: parameters.h2(u[0, 0], e[0, 0]))
    assert_allclose(found, profile_interval(bl.reml(small_data), small_data, "h2"), atol=2e-5)


def test_likelihood_ratio_of_no_correlation_equals_dense_search(gryphon_pair):
    """rho_u = 0 by its own parametrisation against Gamma_u with an element at 0 on a grid of the rest: never higher."""
    fit = bl.joint_reml(gryphon_pair)
    tests = correlation_tests(fit, gryphon_pair, (0, 1))
    constrained = fit.loglik - tests.ratio_zero / 2
    rng = np.random.default_rng(1)
    from bayeslmm.likelihood import joint_log_reml

    highest = -np.inf
    for _ in range(40):
        Gamma_u = np.diag(np.diag(fit.Gamma_u) * np.exp(rng.normal(0, 0.1, 2)))
        Gamma_e = (
            fit.Gamma_e * np.exp(rng.normal(0, 0.05))
            + np.diag(rng.normal(0, 0.1, 2))
            + rng.normal(1.7, 0.3) * (1 - np.eye(2))
        )
        highest = max(highest, float(in_float64(joint_log_reml)(gryphon_pair, Gamma_u, Gamma_e)))
    assert highest < constrained
    assert highest > constrained - 5
    assert 0.01 < tests.p_zero < 0.05
    assert tests.p_one < 1e-5


def test_ratio_of_no_correlation_is_uniform_where_there_is_none(rng):
    """200 pairs without genetic correlation: the statistic follows chi2 with one degree of freedom."""
    s = np.sort(rng.gamma(1.0, 1.0, 200)) * 2
    ratios = []
    for _ in range(200):
        data = bl.simulate.rotated_traits(s, np.diag([1.0, 1.0]), np.array([[0.5, 0.2], [0.2, 0.5]]), rng=rng)
        ratios.append(correlation_tests(bl.joint_reml(data), data, (0, 1)).ratio_zero)
    assert kstest(ratios, chi2(1).cdf).pvalue > 0.001


def test_on_the_boundary_there_is_no_standard_error(mouse_pair):
    Gamma_u, Gamma_e = np.full((2, 2), 0.5), np.array([[0.5, -0.1], [-0.1, 0.5]])
    data = bl.simulate.rotated_traits(mouse_pair(complete_only=True).s, Gamma_u, Gamma_e, rng=np.random.default_rng(0))
    fit = bl.joint_reml(data)
    with pytest.raises(bl.InputError, match="rho_u = 1 of trait 1 and trait 2"):
        joint_standard_errors(fit, data)
    lower, upper = likelihood_interval(fit, data, lambda Gamma_u, Gamma_e: parameters.correlation(Gamma_u)[0, 1])
    assert_allclose(upper, 1, atol=1e-6)
    assert_allclose(profile_loglik(fit, data, (0, 1), lower), fit.loglik - 1.920729410347062, atol=1e-4)
    tests = correlation_tests(fit, data, (0, 1))
    assert (tests.ratio_one, tests.p_one) == (0.0, 1.0)
    assert tests.p_zero < 1e-10


def test_what_no_record_informs_has_no_standard_error(dense_traits):
    dense = dense_traits(2, n=120, missing=False)
    Y = dense.Y.copy()
    Y[:60, 0] = np.nan
    Y[60:, 1] = np.nan
    data = bl.decompose(dense.K).rotate_jointly(Y, dense.X)
    fit = bl.joint_reml(data)
    assert not fit.boundary
    se = joint_standard_errors(fit, data)
    assert np.isnan(se["rho_e"][0, 1])
    assert np.isfinite(se["h2"]).all()
    assert np.isfinite(se["rho_u"][0, 1])
