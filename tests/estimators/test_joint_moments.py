import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.estimators.joint_moments import elements, overlaps


def dense_moments(dense):
    """The six-parameter systems as they are written, with M_j as an n x n matrix that is 0 where a trait is missing."""
    K, Y = dense.K, np.nan_to_num(dense.Y)
    n, t = Y.shape
    M = []
    for X, y in zip(dense.X, dense.Y.T, strict=True):
        has = ~np.isnan(y)
        P = np.zeros((n, n))
        P[np.ix_(has, has)] = np.eye(has.sum()) - X[has] @ np.linalg.pinv(X[has])
        M.append(P)
    Gamma_u, Gamma_e, forms, systems = np.empty((t, t)), np.empty((t, t)), {}, {}
    for j in range(t):
        for k in range(t):
            left = [M[j] @ K @ M[k], M[j] @ M[k]]
            systems[j, k] = np.array([[np.trace(A @ K), np.trace(A)] for A in left])
            forms[j, k] = left
            Gamma_u[j, k], Gamma_e[j, k] = np.linalg.solve(systems[j, k], [Y[:, j] @ A @ Y[:, k] for A in left])
    return Gamma_u, Gamma_e, forms, systems


@pytest.mark.parametrize(("t", "missing"), [(2, False), (2, True), (3, True)])
def test_equals_the_dense_equations(dense_traits, t, missing):
    dense = dense_traits(t, missing=missing)
    fit = bl.joint_moments(dense.data)
    Gamma_u, Gamma_e, _, _ = dense_moments(dense)
    assert_allclose(fit.Gamma_u, Gamma_u, rtol=1e-8, atol=1e-10)
    assert_allclose(fit.Gamma_e, Gamma_e, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("missing", [False, True])
def test_sampling_covariance_is_that_of_quadratic_forms(dense_traits, missing):
    """Cov(y'Ay, y'By) = 2 tr(A V B V) of the stacked records, A and B symmetric, at the estimates."""
    dense = dense_traits(2, missing=missing)
    fit = bl.joint_moments(dense.data)
    n = len(dense.K)
    _, _, forms, systems = dense_moments(dense)
    V = np.kron(fit.Gamma_u, dense.K) + np.kron(fit.Gamma_e, np.eye(n))
    pairs = [(0, 0), (0, 1), (1, 1)]
    B, inverses = [], []
    for j, k in pairs:
        for A in forms[j, k]:
            whole = np.zeros((2 * n, 2 * n))
            whole[j * n : (j + 1) * n, k * n : (k + 1) * n] = A
            B.append((whole + whole.T) / 2)
        inverses.append(np.linalg.inv(systems[j, k]))
    of_forms = np.array([[2 * np.trace(A @ V @ C @ V) for C in B] for A in B])
    solve = np.zeros((6, 6))
    for i, inverse in enumerate(inverses):
        solve[np.ix_([i, 3 + i], [2 * i, 2 * i + 1])] = inverse
    assert_allclose(fit.cov, solve @ of_forms @ solve.T, rtol=1e-7, atol=1e-10)


def test_two_traits_are_the_one_trait_moments(mouse_pair, mouse_data):
    """The diagonal cases against `moments`, the standard errors too."""
    data = mouse_pair(complete_only=True)
    fit = bl.joint_moments(data)
    for j in range(2):
        one = bl.moments(bl.RotatedData(data.s, data.Y[:, [j]], data.X[j]))
        assert_allclose([fit.Gamma_u[j, j], fit.Gamma_e[j, j]], [one.sigma2_u, one.sigma2_e], rtol=1e-8)
        i = [0, 2][j]
        assert_allclose(fit.cov[np.ix_([i, 3 + i], [i, 3 + i])], one.cov, rtol=1e-8)


def test_estimates_outside_the_space_are_reported_and_named(mouse_pair):
    fit = bl.joint_moments(mouse_pair(complete_only=False))
    assert fit.Gamma_e[0, 0] < 0
    assert fit.outside == ("Gamma_e",)


@pytest.mark.slow
def test_unbiased_with_the_spread_that_it_says(rng, mouse_pair):
    """300 simulated pairs: means within 4 standard errors, spread within 20% of the formula at the truth."""
    s = np.sort(rng.gamma(1.0, 1.0, 300))
    Gamma_u, Gamma_e = np.array([[0.5, 0.2], [0.2, 0.6]]), np.array([[0.5, -0.1], [-0.1, 0.4]])
    found = [bl.joint_moments(bl.simulate.rotated_traits(s, Gamma_u, Gamma_e, rng=rng)) for _ in range(300)]
    estimates = np.array([elements(fit.Gamma_u, fit.Gamma_e) for fit in found])
    sd = np.sqrt(np.mean([np.diag(fit.cov) for fit in found], axis=0))
    assert (np.abs(estimates.mean(axis=0) - elements(Gamma_u, Gamma_e)) < 4 * sd / np.sqrt(300)).all()
    assert_allclose(estimates.std(axis=0), sd, rtol=0.2)


def test_overlaps_count_people(dense_traits):
    dense = dense_traits(3)
    has = (~np.isnan(dense.Y)).astype(float)
    assert_allclose(overlaps(dense.data), has.T @ has)


def test_no_overlap_leaves_the_residual_covariance_open(dense_traits):
    dense = dense_traits(2, missing=False)
    Y = dense.Y.copy()
    Y[:12, 0] = np.nan
    Y[12:, 1] = np.nan
    X = tuple(np.where(np.isnan(y)[:, None], 0, columns) for columns, y in zip(dense.X, Y.T, strict=True))
    fit = bl.joint_moments(bl.decompose(dense.K).rotate_jointly(Y, X))
    assert np.isnan(fit.Gamma_e[0, 1])
    M = [np.diag(1.0 * ~np.isnan(y)) - columns @ np.linalg.pinv(columns) for columns, y in zip(X, Y.T, strict=True)]
    K, (a, b) = dense.K, np.nan_to_num(Y).T
    assert_allclose(fit.Gamma_u[0, 1], a @ M[0] @ K @ M[1] @ b / np.trace(M[0] @ K @ M[1] @ K), rtol=1e-8)
    assert np.isnan(np.diag(fit.cov)).tolist() == [False] * 4 + [True, False]


def test_traits_of_unrelated_people_are_refused(dense_traits):
    """Two families, each with a trait of its own: nothing tells how the traits are related."""
    dense = dense_traits(2, n=40, missing=False)
    K, Y = dense.K.copy(), dense.Y.copy()
    K[:20, 20:], K[20:, :20] = 0, 0
    Y[:20, 0] = np.nan
    Y[20:, 1] = np.nan
    with pytest.raises(bl.InputError, match="are unrelated, or all equally related, so the genetic covariance"):
        bl.joint_moments(bl.decompose(K).rotate_jointly(Y, dense.X))


def test_equally_related_people_are_refused(rng):
    data = bl.decompose(np.eye(20)).rotate_jointly(rng.standard_normal((20, 2)), [np.ones((20, 1))] * 2)
    with pytest.raises(bl.InputError, match="equally related"):
        bl.joint_moments(data)
