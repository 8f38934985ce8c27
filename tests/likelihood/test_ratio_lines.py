"""Likelihoods of many traits along the ratio, against dense normal densities of the people who have each trait."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.likelihood.many_traits import many_traits
from bayeslmm.likelihood.one_trait import rescale
from bayeslmm.likelihood.ratio_lines import ratio_lines

SHARES = np.array([0.0, 1e-6, 0.02, 0.3, 0.77, 0.999, 1 - 3e-6])


def dense_reml(K, X, y, sigma2_u, sigma2_e):
    """Restricted log-likelihood by dense matrices, with the constants of the package."""
    V = sigma2_u * K + sigma2_e * np.eye(len(y))
    XVX = X.T @ np.linalg.solve(V, X)
    r = y - X @ np.linalg.solve(XVX, X.T @ np.linalg.solve(V, y))
    parts = [np.linalg.slogdet(V)[1], np.linalg.slogdet(XVX)[1], -np.linalg.slogdet(X.T @ X)[1]]
    return -(sum(parts) + r @ np.linalg.solve(V, r) + (len(y) - X.shape[1]) * np.log(2 * np.pi)) / 2


@pytest.fixture
def traits(dense, rng):
    K, X, y, spectrum = dense
    Y = np.column_stack([1e6 + y, 1e-9 * y[::-1], 1e9 * rng.standard_normal(len(y)), y, rng.standard_normal(len(y)), y])
    for j, rows in ((3, [0]), (4, [5, 6, 30]), (5, [0])):
        Y[rows, j] = np.nan
    return K, X, Y, spectrum


def test_likelihoods_are_those_of_the_people_who_have_a_trait(traits):
    K, X, Y, spectrum = traits
    of = many_traits(spectrum, Y, X)
    lines = ratio_lines(of, spectrum)
    unit = lines.at(np.tile(SHARES, (6, 1)), np.tile(1 - SHARES, (6, 1)))
    for j, y in enumerate(Y.T):
        there = ~np.isnan(y)
        of_those, design, k = K[np.ix_(there, there)], X[there], of.free[j]
        assert k == there.sum() - X.shape[1]
        assert of.k[j] == pytest.approx(np.trace(of_those) / there.sum(), rel=1e-12)
        centred = of_those - of_those.mean(axis=0) - of_those.mean(axis=1)[:, None] + of_those.mean()
        assert of.k_scale[j] == pytest.approx(np.trace(centred) / there.sum(), rel=1e-12)
        left = y[there] - design @ np.linalg.lstsq(design, y[there], rcond=None)[0]
        assert of.sd[j] == pytest.approx(np.sqrt(left @ left / k), rel=1e-9)
        for share, log_dets, quad in zip(SHARES, unit.log_dets[j], unit.quad[j], strict=True):
            ours = rescale(type(unit)(log_dets, quad), k, np.float64(0.8)) - k * np.log(of.sd[j])
            total = 0.8 * of.sd[j] ** 2
            theirs = dense_reml(of_those, design, left, share * total / of.k[j], (1 - share) * total)
            assert ours == pytest.approx(theirs, abs=2e-7), (j, share)


def test_missing_values_as_columns_equal_an_eigenbasis_of_those_there(traits):
    K, X, Y, spectrum = traits
    genetic, residual = np.tile(SHARES, (1, 1)), np.tile(1 - SHARES, (1, 1))
    for j in (3, 4):
        there = ~np.isnan(Y[:, j])
        both = []
        for basis, rows in ((spectrum, np.ones(len(K), dtype=bool)), (bl.decompose(K[np.ix_(there, there)]), there)):
            both.append(ratio_lines(many_traits(basis, Y[rows, j : j + 1], X[rows]), basis).at(genetic, residual))
        assert_allclose(both[0].log_dets, both[1].log_dets, atol=1e-9)
        assert_allclose(both[0].quad, both[1].quad, rtol=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda Y, X: (np.where(np.arange(len(Y))[:, None] == 3, np.inf, Y), X), "finite"),
        (lambda Y, X: (np.ones_like(Y), X), "must vary"),
        (lambda Y, X: (X[:, [1]] * np.ones(Y.shape[1]), X), "must vary"),
        (lambda Y, X: (np.where(np.arange(len(Y))[:, None] > 3, np.nan, Y), X), "at least 5 values"),
        (lambda Y, X: (Y, np.where(np.arange(len(Y))[:, None] == 3, np.nan, X)), "X must hold finite"),
        (lambda Y, X: (Y[1:], X), "rows like K"),
        (
            lambda Y, X: (np.where(np.arange(len(Y))[:, None] < 2, np.nan, Y), np.c_[X, np.arange(len(Y)) < 2]),
            "not collinear",
        ),
    ],
)
def test_traits_that_cannot_be_analysed_are_named(dense, change, message):
    _, X, y, spectrum = dense
    Y, X = change(np.column_stack([y, y]), X)
    with pytest.raises(bl.InputError, match=message):
        many_traits(spectrum, Y, X, names=("a", "b"))
