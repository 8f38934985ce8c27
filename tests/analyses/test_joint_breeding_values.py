"""Several traits predicted together, against dense formulas with the Kronecker product, and against one trait."""

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.analyses import joint_breeding_values
from bayeslmm.analyses.breeding_values import cross_validate
from bayeslmm.analyses.joint_breeding_values import TraitsFit, joint_cross_validate
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.posterior.joint_prediction import Relatives, joint_predict
from bayeslmm.posterior.prediction import nodes_of, predict

N, ANALYSED = 40, 32
GAMMA_U = np.array([[2.0, 0.7, -0.3], [0.7, 1.0, 0.2], [-0.3, 0.2, 0.5]])
GAMMA_E = np.array([[1.0, -0.4, 0.2], [-0.4, 1.5, 0.3], [0.2, 0.3, 0.8]])


@pytest.fixture(scope="module")
def people():
    """Kinship of all, covariates of each of three traits, and records of the first, of which some are missing."""
    rng = np.random.default_rng(8)
    W = rng.standard_normal((N, 60))
    K = W @ W.T / 60
    X = [np.ones((N, 1)), np.column_stack([np.ones(N), rng.standard_normal(N)]), np.ones((N, 1))]
    V = np.kron(GAMMA_U, K) + np.kron(GAMMA_E, np.eye(N))
    Y = 3 + (np.linalg.cholesky(V) @ rng.standard_normal(3 * N)).reshape(3, N).T
    Y[ANALYSED:] = np.nan
    Y[:5, 0], Y[3:9, 1], Y[20:24, 2] = np.nan, np.nan, np.nan
    return K, X, Y


def dense(K, X, Y, Gamma_u, Gamma_e):
    """Return breeding values, their error variances, and the same of records, of all: shapes (N, t)."""
    n, t = Y.shape
    known = ~np.isnan(Y.T.ravel())
    stacked = np.zeros((t * n, sum(each.shape[1] for each in X)))
    at = 0
    for j, each in enumerate(X):
        stacked[j * n : (j + 1) * n, at : at + each.shape[1]] = each
        at += each.shape[1]
    G, R = np.kron(Gamma_u, K), np.kron(Gamma_e, np.eye(n))
    Vi = np.linalg.inv((G + R)[np.ix_(known, known)])
    Xo, y = stacked[known], Y.T.ravel()[known]
    cov = np.linalg.inv(Xo.T @ Vi @ Xo)
    beta = cov @ Xo.T @ Vi @ y
    k = G[:, known]
    u = k @ Vi @ (y - Xo @ beta)
    left = k @ Vi @ Xo
    pev = G.diagonal() - np.einsum("ij,jk,ik->i", k, Vi, k) + np.einsum("ij,jk,ik->i", left, cov, left)
    # Of records that are there, new ones: their residuals are those of nobody.
    k = k + R[:, known] * ~known[:, None]
    left = stacked - k @ Vi @ Xo
    record = stacked @ beta + k @ Vi @ (y - Xo @ beta)
    variance = (G + R).diagonal() - np.einsum("ij,jk,ik->i", k, Vi, k) + np.einsum("ij,jk,ik->i", left, cov, left)
    return [each.reshape(t, n).T for each in (u, pev, record, variance)]


def rows_of(analysed):
    return np.where(np.arange(N) < analysed, np.arange(N), -1)


def test_values_and_records_are_those_of_the_kronecker_product(people):
    K, X, Y = people
    spectrum, missing = bl.decompose(K[:ANALYSED, :ANALYSED]), np.isnan(Y[:ANALYSED])
    white = joint_whitened(spectrum.rotate_jointly(Y[:ANALYSED], [each[:ANALYSED] for each in X]))
    one = TraitsFit(spectrum, missing, white, SimpleNamespace(Gamma_u=GAMMA_U, Gamma_e=GAMMA_E))
    unknown = [X[0], X[1].copy(), X[2]]
    unknown[1][39] = np.nan
    expected = dense(K, X, Y, GAMMA_U, GAMMA_E)
    tables = one.tables(K[:, :ANALYSED], K.diagonal(), unknown, row=rows_of(ANALYSED))
    for j, table in enumerate(tables):
        u, pev, record, variance = (each[:, j] for each in expected)
        assert_allclose(table["blup"], u, atol=1e-8)
        assert_allclose(table["pev"], pev, atol=1e-8)
        assert_allclose(table["reliability"], 1 - pev / (GAMMA_U[j, j] * K.diagonal()), atol=1e-8)
        there = table["record"].notna().to_numpy()
        assert there.sum() == N - (j == 1)
        assert_allclose(table["record"][there], record[there], atol=1e-8)
        assert_allclose(table["record_sd"][there] ** 2, variance[there], atol=1e-8)
        assert_allclose(table["record_upper"] - table["record_lower"], 2 * 1.959963984540054 * table["record_sd"])


def test_one_trait_is_the_prediction_of_one_trait(people):
    K, X, Y = people
    has = ~np.isnan(Y[:, 1])
    spectrum = bl.decompose(K[np.ix_(has, has)])
    y, design = Y[has][:, [1]], X[1][has]
    one = bl.likelihood.whitened.whitened(spectrum.rotate(y, design))
    estimate = bl.reml(one)
    C = K[:, has] @ spectrum.U
    expected = predict(one, nodes_of(estimate, one), C, K.diagonal(), X[1])
    lacks = np.zeros((N, 1), dtype=bool)
    who = Relatives(C, K.diagonal(), np.zeros_like(C), lacks, [X[1]])
    Gammas = np.array([[estimate.sigma2_u]]), np.array([[estimate.sigma2_e]])
    (found,) = joint_predict(joint_whitened(spectrum.rotate_jointly(y, [design])), *Gammas, who, [0])
    for ours, theirs in zip(found, expected, strict=True):
        assert_allclose(ours, theirs, rtol=1e-9, atol=1e-12)


def test_cross_validation_hides_one_trait_of_a_fold_and_keeps_the_others(people, monkeypatch):
    K, X, Y = people
    X, Y = X[:2], Y[:, :2]
    kept = ~np.isnan(Y).all(axis=1)
    K, X, Y = K[np.ix_(kept, kept)], [each[kept] for each in X], Y[kept]
    folds = np.arange(len(Y)) % 2 + 1
    known = SimpleNamespace(Gamma_u=GAMMA_U[:2, :2], Gamma_e=GAMMA_E[:2, :2])  # in place of a search
    monkeypatch.setattr(joint_breeding_values, "joint_reml", lambda white: known)
    first, second = joint_cross_validate(K, Y, X, folds=folds)
    assert first.summary.index.tolist() == ["joint", "reml", "integrated"]
    assert len(first.records) == (~np.isnan(Y[:, 0])).sum()
    for j, found in enumerate((first, second)):
        has = ~np.isnan(Y[:, j])
        for fold in (1, 2):
            hidden = Y.copy()
            hidden[folds == fold, j] = np.nan
            _, _, record, variance = dense(K, X, hidden, known.Gamma_u, known.Gamma_e)
            left, out = found.records[found.records["fold"] == fold], has & (folds == fold)
            assert_allclose(left["joint"], record[out, j], rtol=1e-8)
            assert_allclose(left["joint_sd"] ** 2, variance[out, j], rtol=1e-8)
        alone = cross_validate(K[np.ix_(has, has)], Y[has, j], X[j][has], folds=folds[has])
        assert_allclose(found.records["mean"], alone.records["mean"])
