"""Tests of markers by conjugate gradients and calibration, against dense formulas and the scan in an eigenbasis."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import AnalysisError
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.conjugate_gradients import conjugate_gradients
from bayeslmm.scan import calibrated
from bayeslmm.scan.calibrated import solve_traits
from bayeslmm.scan.fixed import fixed_scan, null_scan

N, P = 60, 150


@pytest.fixture(scope="module")
def problem():
    """People, two traits with unlike h2, a covariate, and kinships that leave nothing (0) or one half (1, 2) out."""
    rng = np.random.default_rng(12)
    G = rng.binomial(2, rng.uniform(0.1, 0.5, P), (N, P)).astype(float)
    W = (G - G.mean(axis=0)) / G.std(axis=0)
    X = np.column_stack([np.ones(N), rng.standard_normal(N)])
    g = W @ rng.standard_normal((P, 2)) / np.sqrt(P)
    Y = 50 + 3 * (g * [0.9, 0.6] + rng.standard_normal((N, 2)) * [0.5, 0.8])
    half = P // 2
    kinships = [V @ V.T / V.shape[1] for V in (W, W[:, half:], W[:, :half])]
    summary = bl.spectral_summary(Kinship(tuple(map(str, range(N))), kinships[0], "K"), Y, X, seed=1)
    return G - G.mean(axis=0), X, Y, kinships, summary


def multiply_by(kinships):
    return lambda V, out: np.column_stack([kinships[number] @ v for number, v in zip(out, V.T, strict=True)])


@pytest.fixture(scope="module")
def solved(problem):
    G, X, Y, kinships, summary = problem
    lines = np.arange(0, P, 10)
    of = np.where(lines < P // 2, 1, 2)
    return solve_traits(multiply_by(kinships), summary, Y, X, [0, 1, 2], G[:, lines], of, tolerance=1e-9), lines, of


def test_systems_are_solved_in_common_products(rng):
    matrices = [np.diag(rng.uniform(1, top, 20)) for top in (1.0001, 3, 1000)]
    B, asked = np.column_stack([rng.standard_normal((20, 3)), np.zeros(20)]), []

    def multiply(V, columns):
        asked.append(len(columns))
        return np.column_stack([matrices[j] @ v for j, v in zip(columns, V.T, strict=True)])

    found = conjugate_gradients(multiply, B, tolerance=1e-10, most_products=100)
    for A, x, b in zip(matrices, found.x.T, B.T, strict=False):
        assert_allclose(A @ x, b, atol=1e-8)
    assert_allclose(found.x[:, 3], 0)
    assert found.products == len(asked)
    assert asked[0] == 3
    assert asked[-1] == 1  # the easy ones take no part in the end
    assert (found.residuals <= 1e-10).all()


def test_statistics_are_those_of_dense_matrices(problem, solved):
    G, X, Y, kinships, _ = problem
    found, lines, of = solved
    M = np.eye(N) - X @ np.linalg.solve(X.T @ X, X.T)
    for j in range(2):
        white = bl.decompose(kinships[0]).rotate(Y[:, [j]], X)
        h2 = bl.reml(white).h2
        ratios = []
        for number, K in enumerate(kinships):
            V = h2 * K + (1 - h2) * np.eye(N)
            inverse = np.linalg.inv(V)
            A = inverse @ X
            Pr = inverse - A @ np.linalg.solve(X.T @ A, A.T)
            here = G[:, lines[of == number]]
            ratios += (np.einsum("nb,nb->b", here, Pr @ here) / np.einsum("nb,nb->b", here, M @ here)).tolist()
            scan, z = found.scans[number], G[:, [3, 77, 120]]
            tests = scan.test([z])[j]
            ratio = found.calibrations[j].ratio
            # In units where the total variance is 1, of which the calibrated ratio is told too.
            share = h2 * np.trace(kinships[0]) / N / (h2 * np.trace(kinships[0]) / N + 1 - h2)
            unit = share / h2 / (np.trace(kinships[0]) / N)
            S = ratio * unit * np.einsum("nb,nb->b", z, M @ z)
            v = z.T @ Pr @ Y[:, j]
            beta = v / S
            sigma2 = (Y[:, j] @ Pr @ Y[:, j] - v * beta) / (N - 3)
            assert_allclose(tests.beta[:, 0], beta, rtol=1e-5)
            assert_allclose(tests.se[:, 0], np.sqrt(sigma2 / S), rtol=1e-5)
            assert_allclose(tests.delta, (1 - h2) / h2, rtol=1e-5)
        assert_allclose(found.calibrations[j].ratio * unit, np.mean(ratios), rtol=1e-5)
        assert_allclose(found.calibrations[j].error, found.calibrations[j].spread / np.sqrt(len(lines)))


def test_the_same_ratio_in_an_eigenbasis_gives_the_same_tests(problem, solved):
    """With its own variance in place of the calibrated one, each marker has the test of `fixed_scan`."""
    G, X, Y, kinships, summary = problem
    spectrum = bl.decompose(kinships[1])
    for j in range(2):
        data = spectrum.rotate(Y[:, [j]], X)
        h2 = bl.reml(summary.trait(j)).h2
        (dense,) = fixed_scan(data, h2).test([spectrum.U.T @ G[:, :20]])
        for i in range(20):
            one = solve_traits(
                multiply_by(kinships), summary, Y, X, [1], G[:, [i, i]], np.array([1, 1]), tolerance=1e-10
            )
            test = one.scans[1].test([G[:, [i]]])[j]
            for name in ("beta", "se", "p_wald", "p_lrt", "p_score"):
                assert_allclose(getattr(test, name)[0], getattr(dense, name)[i], rtol=2e-5, err_msg=name)


def test_without_a_kinship_they_are_least_squares(problem, solved):
    G, X, Y, kinships, _ = problem
    spectrum = bl.decompose(kinships[0])
    dense = fixed_scan(spectrum.rotate(Y, X), 0.0).test([spectrum.U.T @ G])
    for test, expected in zip(solved[0].plain.test([G]), dense, strict=True):
        for name in ("beta", "se", "p_wald", "p_lrt", "p_score", "sd", "loglik"):
            assert_allclose(getattr(test, name), getattr(expected, name), rtol=1e-8, err_msg=name)


def test_calibrated_tests_are_near_those_of_the_eigenbasis(problem, solved):
    """The kinship of 150 markers leaves markers less alike than those of people: 60 people, within some percent."""
    G, X, Y, kinships, _ = problem
    spectrum = bl.decompose(kinships[0])
    for test, dense in zip(
        solved[0].scans[0].test([G]), null_scan(spectrum.rotate(Y, X)).test([spectrum.U.T @ G]), strict=True
    ):
        chi2, expected = (test.beta / test.se) ** 2, (dense.beta / dense.se) ** 2
        assert np.corrcoef(chi2[:, 0], expected[:, 0])[0, 1] > 0.97


def test_what_is_not_solved_is_told(problem, monkeypatch):
    G, X, Y, kinships, summary = problem
    monkeypatch.setattr(calibrated, "MOST_PRODUCTS", 1)
    with pytest.raises(AnalysisError, match="is not found in 1 products"):
        solve_traits(multiply_by(kinships), summary, Y, X, [0], G[:, :2], np.array([0, 0]))
