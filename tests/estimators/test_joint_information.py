import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import brentq, minimize
from scipy.stats import chi2, kstest

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.information import profile_interval, standard_errors
from bayeslmm.estimators.joint_information import (
    correlation_tests,
    joint_fisher,
    joint_standard_errors,
    likelihood_interval,
    matrices,
    profile_loglik,
)
from bayeslmm.estimators.joint_moments import elements
from bayeslmm.estimators.joint_search import SearchError

HALF_CHI2 = 1.920729410347062
"""Half the 95% quantile of chi2 with one degree of freedom."""


@in_float64
def test_matrices_are_the_inverse_of_elements(rng):
    A, B = rng.standard_normal((2, 3, 3))
    Gamma_u, Gamma_e = A + A.T, B + B.T
    found = matrices(jnp.asarray(elements(Gamma_u, Gamma_e)))
    assert_allclose(found[0], Gamma_u)
    assert_allclose(found[1], Gamma_e)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("average", "AI"), ("expected", "EI"), ("observed", "OI")])
def test_standard_errors_equal_the_reference_of_all_mice(mouse_pair, mouse_reference, kind, name):
    data = mouse_pair(complete_only=False)
    (reference,) = mouse_reference["bivariate_all_records"]
    se = joint_standard_errors(bl.joint_reml(data), data, kind=kind)
    assert_allclose(se["rho_u"][0, 1], reference[f"rho_g_{name}"][1], rtol=1e-5)
    assert_allclose(se["rho_e"][0, 1], reference[f"rho_e_{name}"][1], rtol=1e-5)


@pytest.mark.slow
def test_one_trait_has_the_standard_errors_of_one_trait(small_data):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    joint = joint_standard_errors(bl.joint_reml(data), data)
    one = standard_errors(bl.reml(small_data), small_data)
    assert_allclose(
        [joint[name][0] for name in ("sigma2_u", "sigma2_e", "h2")],
        [one["sigma2_u"], one["sigma2_e"], one["h2"]],
        rtol=1e-4,
    )


@pytest.mark.slow
def test_likelihood_interval_is_the_root_of_the_profile(mouse_pair):
    """Both ends against the roots of `profile_loglik`, which starts anew at each value."""
    data = mouse_pair(complete_only=True)
    fit = bl.joint_reml(data)

    def drop(rho_u):
        return profile_loglik(fit, data, "rho_u", (0, 1), rho_u) - fit.loglik + HALF_CHI2

    roots = brentq(drop, -0.6, fit.rho_u[0, 1], xtol=1e-8), brentq(drop, fit.rho_u[0, 1], 0.6, xtol=1e-8)
    assert_allclose(likelihood_interval(fit, data, "rho_u", (0, 1)), roots, atol=1e-5)


def test_likelihood_interval_of_one_trait_is_its_profile_interval(small_data):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    found = likelihood_interval(bl.joint_reml(data), data, "h2", (0,))
    assert_allclose(found, profile_interval(bl.reml(small_data), small_data, "h2"), atol=2e-5)


def test_an_end_is_found_where_no_search_arrives_at_the_bound(small_data, monkeypatch):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    fit = bl.joint_reml(data)
    expected = likelihood_interval(fit, data, "h2", (0,))
    maximise = bl.joint_information.maximise

    def lost_at_one(white, start, given, **options):
        if given.value > 0.999:
            raise SearchError("lost")
        return maximise(white, start, given, **options)

    monkeypatch.setattr(bl.joint_information, "maximise", lost_at_one)
    assert expected[1] < 1
    assert_allclose(likelihood_interval(fit, data, "h2", (0,)), expected, atol=1e-5)


@pytest.mark.slow
def test_likelihood_ratio_of_no_correlation_equals_dense_search(gryphon_pair):
    """rho_u = 0 by its own parametrisation against Gamma_u with an element at 0 on a grid of the rest: never higher."""
    fit = bl.joint_reml(gryphon_pair)
    tests = correlation_tests(fit, gryphon_pair, (0, 1))
    constrained = fit.loglik - tests.ratio_zero / 2
    rng = np.random.default_rng(1)
    from bayeslmm.likelihood.several_traits import joint_log_reml

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


@pytest.mark.slow
def test_ratio_of_no_correlation_is_uniform_where_there_is_none(rng):
    """100 pairs without genetic correlation: the statistic follows chi2 with one degree of freedom."""
    s = np.sort(rng.gamma(1.0, 1.0, 200)) * 2
    ratios = []
    for _ in range(100):
        data = bl.simulate.rotated_traits(s, np.diag([1.0, 1.0]), np.array([[0.5, 0.2], [0.2, 0.5]]), rng=rng)
        fit = bl.joint_reml(data)
        ratios.append(2 * (fit.loglik - profile_loglik(fit, data, "rho_u", (0, 1), 0.0)))
    assert_allclose(correlation_tests(fit, data, (0, 1)).ratio_zero, ratios[-1], rtol=1e-6)
    assert kstest(ratios, chi2(1).cdf).pvalue > 0.001


@pytest.mark.slow
def test_on_the_boundary_there_is_no_standard_error(mouse_pair):
    Gamma_u, Gamma_e = np.full((2, 2), 0.5), np.array([[0.5, -0.1], [-0.1, 0.5]])
    data = bl.simulate.rotated_traits(mouse_pair(complete_only=True).s, Gamma_u, Gamma_e, rng=np.random.default_rng(0))
    fit = bl.joint_reml(data)
    with pytest.raises(bl.InputError, match="rho_u = 1 of trait 1 and trait 2"):
        joint_standard_errors(fit, data)
    lower, upper = likelihood_interval(fit, data, "rho_u", (0, 1))
    assert upper == 1
    assert_allclose(profile_loglik(fit, data, "rho_u", (0, 1), lower), fit.loglik - HALF_CHI2, atol=1e-4)
    tests = correlation_tests(fit, data, (0, 1))
    assert (tests.ratio_one, tests.p_one) == (0.0, 1.0)
    assert tests.p_zero < 1e-10


@pytest.mark.slow
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


class DenseProfile:
    """The restricted likelihood of two complete traits with an intercept, on 2 n x 2 n matrices, and its profiles.

    The point is (log sigma2_p, logit-free h2, rho) with bounds: none of it is the package's.
    """

    BOUNDS = ((-4, 4), (-4, 4), (0, 0.99999), (0, 0.99999), (-1, 1), (-0.99999, 0.99999))
    PLACES = (("h2", (0,)), ("h2", (1,)), ("rho_u", (0, 1)), ("rho_e", (0, 1)))

    def __init__(self, K, Y):
        self.n = len(K)
        self.K, self.y = K, Y.T.ravel()
        self.Xy = np.column_stack([np.kron(np.eye(2), np.ones((self.n, 1))), self.y])

    def loglik(self, point):
        log_p, h2, (rho_u, rho_e) = point[:2], point[2:4], point[4:]
        u, e = np.sqrt(h2 * np.exp(log_p)), np.sqrt((1 - h2) * np.exp(log_p))
        Gamma_u = np.outer(u, u) * [[1, rho_u], [rho_u, 1]]
        Gamma_e = np.outer(e, e) * [[1, rho_e], [rho_e, 1]]
        V = Gamma_u[:, None, :, None] * self.K[:, None] + Gamma_e[:, None, :, None] * np.eye(self.n)[:, None]
        root = cholesky(V.reshape(2 * self.n, 2 * self.n), lower=True, check_finite=False)
        Z = solve_triangular(root, self.Xy, lower=True, check_finite=False)
        A = Z[:, :2].T @ Z[:, :2]
        half = Z[:, :2].T @ Z[:, 2]
        quad = Z[:, 2] @ Z[:, 2] - half @ np.linalg.solve(A, half)
        log_det = 2 * np.log(np.diag(root)).sum() + np.linalg.slogdet(A)[1] - 2 * np.log(self.n)
        return -(log_det + quad + (2 * self.n - 2) * np.log(2 * np.pi)) / 2

    def highest(self, place=None, value=0.0):
        """Maximise over all that is not given, from several starts, with slopes by differences."""
        at = 2 + self.PLACES.index(place) if place else None
        free = [i for i in range(6) if i != at]

        def minus(part):
            point = np.empty(6)
            point[free] = part
            if at is not None:
                point[at] = value
            return -self.loglik(point)

        scale = np.log(np.var(self.y.reshape(2, -1), axis=1))
        best = np.inf
        for h0, h1, rho_u in ((0.3, 0.3, 0.3), (0.3, 0.3, -0.3), (0.7, 0.05, 0.0), (0.05, 0.7, 0.0), (0.05, 0.05, 0.0)):
            start = np.array([*scale, h0, h1, rho_u, 0.0])[free]
            bounds = [self.BOUNDS[i] for i in free]
            best = min(best, minimize(minus, start, bounds=bounds, method="L-BFGS-B", options={"ftol": 1e-13}).fun)
        return -best


def boundary_case(kind, rng):
    """Make 40 individuals whose REML estimate is inside, at rho_u = 1, or at h2 = 0 of one or of both traits."""
    n = 20 if kind == "h2 = 0 of one" else 40
    W = rng.standard_normal((n, 60)) * np.geomspace(3, 0.1, 60)
    K = W @ W.T / np.trace(W @ W.T) * n
    root, back = np.linalg.cholesky(K), np.linalg.cholesky(np.linalg.inv(K + 0.3 * np.eye(n)))
    noise = rng.standard_normal((n, 2))
    if kind == "inside":
        return K, root @ rng.multivariate_normal([0, 0], [[1, 0.3], [0.3, 1]], n) + 0.5 * noise
    if kind == "rho_u = 1":
        return K, root @ rng.standard_normal((n, 1)) @ [[1.0, 0.8]] + noise * [0.6, 0.9] @ [[1, -0.3], [0, 1]]
    # Less variance along the leading eigenvectors than elsewhere: no genetic variance explains that.
    Y = back @ noise @ [[1, 0.4], [0, 1]]
    if kind == "h2 = 0 of both":
        return K, Y
    # Everybody twice, once with the second trait of the other sign: no covariance is better than its opposite.
    y0 = root @ rng.standard_normal(n) + 0.5 * rng.standard_normal(n)
    return np.kron(np.eye(2), K), np.column_stack([np.tile(y0, 2), np.concatenate([Y[:, 1], -Y[:, 1]])])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ("inside", ()),
        ("rho_u = 1", ("rho_u = 1 of {0} and {1}",)),
        ("h2 = 0 of one", ("h2 = 0 of {1}",)),
        ("h2 = 0 of both", ("h2 = 0 of {0}", "h2 = 0 of {1}")),
    ],
)
def test_ends_of_intervals_are_on_the_dense_profile(kind, boundary):
    """Each end is a root of the dense profile to 1e-3 with less beyond, or the bound itself, above the threshold."""
    K, Y = boundary_case(kind, np.random.default_rng(3))
    data = bl.decompose(K).rotate_jointly(Y, [np.ones((len(K), 1))] * 2)
    fit, dense = bl.joint_reml(data), DenseProfile(K, Y)
    assert fit.boundary == boundary
    highest = dense.highest()
    assert_allclose(fit.loglik, highest, atol=1e-3)
    least = highest - HALF_CHI2
    for place in DenseProfile.PLACES:
        parameter, at = place
        if parameter == "rho_u" and kind.startswith("h2 = 0"):
            assert np.isnan(fit.rho_u[at])
            with pytest.raises(bl.InputError, match="rho_u is not identified: the genetic variance of trait"):
                likelihood_interval(fit, data, parameter, at)
            continue
        ends = likelihood_interval(fit, data, parameter, at)
        estimate = {"h2": fit.h2, "rho_u": fit.rho_u, "rho_e": fit.rho_e}[parameter][at]
        assert ends[0] - 1e-9 <= estimate <= ends[1] + 1e-9
        for end, bound, sign in zip(ends, (0.0 if parameter == "h2" else -1.0, 1.0), (-1, 1), strict=True):
            if end == bound:
                assert dense.highest(place, np.clip(bound, *DenseProfile.BOUNDS[2 + dense.PLACES.index(place)])) > least
                continue
            assert_allclose(dense.highest(place, end), least, atol=1e-3)
            assert dense.highest(place, (end + bound) / 2 - sign * 1e-5) < least
