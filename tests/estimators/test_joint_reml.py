import json

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import bayeslmm as bl
from bayeslmm.estimators.joint_moments import elements

GEMMA = 2.832501
"""GEMMA's centred K is ours divided by this: Vg is on its scale."""


def gemmas(reference, *traits):
    rows = [row for row in reference["bivariate"] if row["traits"] == list(traits) and "-gk 1" in row["kinship"]]
    assert len(rows) == 1
    return rows[0]["results"]


def test_equals_gemmas_bivariate_reml(mouse_pair, mouse_reference):
    """GEMMA 0.98.5, -lmm 4 -n 1 6, on its centred K: every element and its standard error, 4 digits and more."""
    data = mouse_pair(complete_only=True)
    fit = bl.joint_reml(data)
    gemma = gemmas(mouse_reference, "CD8", "MCH")
    se = np.sqrt(np.diag(np.linalg.inv(bl.joint_information.joint_fisher(fit, data, kind="observed"))))
    assert_allclose(fit.Gamma_u * GEMMA, gemma["Vg_reml"], rtol=2e-5)
    assert_allclose(fit.Gamma_e, gemma["Ve_reml"], rtol=2e-5)
    upper = np.triu_indices(2)
    assert_allclose(se[:3] * GEMMA, np.array(gemma["se_Vg_reml"])[upper], rtol=2e-5)
    assert_allclose(se[3:], np.array(gemma["se_Ve_reml"])[upper], rtol=2e-5)
    assert_allclose(fit.rho_u[0, 1], -0.13202531, atol=1e-6)
    assert_allclose(fit.loglik, gemma["loglik_reml"], atol=0.005)


@pytest.fixture(scope="module")
def wheat(shared):
    """Four traits of 599 lines, complete, on the centred kinship of the markers."""
    names = ["GY_env1", "GY_env2", "GY_env4", "GY_env5"]
    kinship = bl.genomic_kinship(shared / "wheat" / "wheat", scale="vanraden", maf=0.01, geno=0.05)
    people = bl.measure(bl.read_table(shared / "wheat" / "pheno.tsv"), names)
    cohort = bl.align_jointly(kinship, people, normalised=True)
    return names, bl.decompose(cohort.K).rotate_jointly(cohort.Y, cohort.X)


@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_equals_gemma_on_wheat(wheat, shared, pair):
    """Genetic correlations from -0.52 to 0.98, near the bound."""
    names, data = wheat
    gemma = gemmas(json.loads((shared / "wheat" / "reference.json").read_text()), *(names[j] for j in pair))
    fit = bl.joint_reml(data.take(pair))
    assert_allclose(fit.rho_u[0, 1], gemma["rho_g_reml"], atol=2e-5)
    assert_allclose(fit.Gamma_e, gemma["Ve_reml"], rtol=1e-4)
    assert_allclose(fit.loglik, gemma["loglik_reml"], atol=0.01)


def test_four_traits_at_once_gain_over_two_pairs(wheat):
    """Two pairs apart are four traits with covariances at 0."""
    _, data = wheat
    fit = bl.joint_reml(data)
    pairs = {pair: bl.joint_reml(data.take(pair)) for pair in ((0, 1), (2, 3))}
    assert fit.loglik > sum(of_pair.loglik for of_pair in pairs.values())
    for pair, of_pair in pairs.items():
        assert_allclose(fit.rho_u[pair], of_pair.rho_u[0, 1], atol=0.1)


def test_equals_the_dense_reference_of_all_records(mouse_pair, mouse_reference):
    """1,410 and 1,580 mice, 1,197 with both traits: a dense program on the covariance of all 2,990 records."""
    fit = bl.joint_reml(mouse_pair(complete_only=False))
    (reference,) = mouse_reference["bivariate_all_records"]
    assert_allclose(elements(fit.Gamma_u * GEMMA, fit.Gamma_e), [*reference["Vg"], *reference["Ve"]], rtol=1e-5)
    assert_allclose(fit.rho_u[0, 1], reference["rho_g_AI"][0], atol=1e-6)
    assert_allclose(fit.loglik, reference["loglik_reml_plus_half_logdetXtX"], atol=1e-5)
    assert fit.overlaps.tolist() == [[1410, 1197], [1197, 1580]]


def test_equals_the_pedigree_reference_with_unequal_overlap(gryphon_pair, gryphon_reference):
    """Gryphon, 854 and 683 records: the elements, the fixed effects, the likelihood."""
    fit = bl.joint_reml(gryphon_pair)
    reference = gryphon_reference["own_reml"]["fits"]["biv"]
    assert_allclose(elements(fit.Gamma_u, fit.Gamma_e), reference["theta"], rtol=1e-6)
    assert_allclose(fit.rho_u[0, 1], reference["rA_AI"][0], atol=1e-6)
    assert_allclose(np.concatenate(fit.beta), reference["beta"], rtol=1e-6)
    assert_allclose(np.concatenate(fit.se_beta), reference["se_beta"], rtol=1e-5)
    ours = fit.loglik - (np.log(854) + np.log(683)) / 2  # without + 1/2 log|X'X|
    assert_allclose(ours, reference["loglik_reml"], atol=1e-5)


def test_one_trait_is_reml(small_data):
    data = bl.JointData(small_data.s, small_data.Y, (small_data.X,), (np.zeros((len(small_data.s), 0)),))
    joint, one = bl.joint_reml(data), bl.reml(small_data)
    assert_allclose([joint.Gamma_u[0, 0], joint.Gamma_e[0, 0]], [one.sigma2_u, one.sigma2_e], rtol=1e-5)
    assert_allclose(joint.loglik, one.loglik, rtol=1e-10)
    assert_allclose(joint.beta[0], one.beta, rtol=1e-5)
    assert_allclose(joint.se_beta[0], one.se_beta, rtol=1e-5)


def test_no_point_of_a_dense_search_is_higher(dense_traits):
    """Three traits with missing values: a dense restricted likelihood, searched from the estimate by Nelder-Mead."""
    dense = dense_traits(3, n=40)
    fit = bl.joint_reml(dense.data)
    X, y = dense.stacked, dense.y

    def minus(theta):
        L_u, L_e = np.zeros((3, 3)), np.zeros((3, 3))
        L_u[np.tril_indices(3)], L_e[np.tril_indices(3)] = theta[:6], theta[6:]
        V = dense.V(L_u @ L_u.T, L_e @ L_e.T + 1e-9 * np.eye(3))
        A = X.T @ np.linalg.solve(V, X)
        r = y - X @ np.linalg.solve(A, X.T @ np.linalg.solve(V, y))
        half = (np.linalg.slogdet(V)[1] + np.linalg.slogdet(A)[1] + r @ np.linalg.solve(V, r)) / 2
        return half + (len(y) - X.shape[1]) * np.log(2 * np.pi) / 2 - np.linalg.slogdet(X.T @ X)[1] / 2

    tril = np.tril_indices(3)
    roots = [np.linalg.cholesky(Gamma + 1e-9 * np.eye(3))[tril] for Gamma in (fit.Gamma_u, fit.Gamma_e)]
    found = minimize(minus, np.concatenate(roots), method="Nelder-Mead", options={"maxfev": 2000})
    assert_allclose(minus(np.concatenate(roots)), -fit.loglik, atol=1e-3)
    assert -found.fun < fit.loglik + 1e-3


@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_does_not_depend_on_units(gryphon_pair, scale):
    """Traits and K in other units: the same correlations, and a log-likelihood that moves by its Jacobian."""
    data = gryphon_pair
    fit = bl.joint_reml(data)
    other = bl.joint_reml(data._replace(s=data.s * scale, Y=data.Y * [1.0, scale]))
    assert_allclose(other.rho_u, fit.rho_u, atol=1e-5)
    assert_allclose(other.Gamma_u[0, 0], fit.Gamma_u[0, 0] / scale, rtol=1e-4)
    assert_allclose(other.loglik, fit.loglik - 682 * np.log(scale), rtol=1e-8)


def test_correlation_of_one_is_on_the_boundary(mouse_pair):
    Gamma_u, Gamma_e = np.full((2, 2), 0.5), np.array([[0.5, -0.1], [-0.1, 0.5]])
    data = bl.simulate.rotated_traits(mouse_pair(complete_only=True).s, Gamma_u, Gamma_e, rng=np.random.default_rng(0))
    fit = bl.joint_reml(data)
    assert fit.boundary == ("rho_u = 1 of {0} and {1}",)
    assert fit.boundary_of(["A", "B"]) == "rho_u = 1 of A and B"
    assert_allclose(fit.rho_u[0, 1], 1, atol=1e-4)


def test_a_trait_without_heritability_is_on_the_boundary(rng):
    """The second trait varies less along the large eigenvalues: no genetic variance explains that.

    Beside another trait its estimate is not 0 but tiny, with a correlation of 1 or -1: a genetic covariance c gains in
    proportion to c and needs a variance of c squared only.
    """
    s = np.sort(rng.gamma(1.0, 1.0, 300))
    data = bl.simulate.rotated_traits(s, np.diag([0.5, 0.0]), np.diag([0.5, 1.0]), rng=rng)
    data = data._replace(Y=data.Y / np.column_stack([np.ones(300), np.sqrt(1 + s)]))
    fit = bl.joint_reml(data)
    assert fit.boundary == ("rho_u = 1 of {0} and {1}",)
    assert fit.h2[1] < 1e-4
    alone = bl.joint_reml(data.take([1]))
    assert alone.boundary == ("h2 = 0 of {0}",)
    assert_allclose(alone.h2, 0, atol=1e-5)


def test_no_overlap_leaves_the_residual_covariance_at_zero(rng):
    """The rest is estimated from all records; the likelihood does not depend on the residual covariance."""
    n = 120
    W = rng.standard_normal((n, 200))
    K = W @ W.T / 200
    Y = (
        np.linalg.cholesky(K) @ rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], n)
        + rng.standard_normal((n, 2)) / 2
    )
    Y[:60, 0] = np.nan
    Y[60:, 1] = np.nan
    fit = bl.joint_reml(bl.decompose(K).rotate_jointly(Y, [np.ones((n, 1))] * 2))
    assert fit.overlaps[0, 1] == 0
    assert abs(fit.Gamma_e[0, 1]) < 1e-12


def test_one_pair_of_three_without_overlap(rng):
    """A and B have nobody in common, C overlaps both: the rest is REML still, and no boundary is made up."""
    n = 240
    W = rng.standard_normal((n, 150)) * np.geomspace(3, 0.3, 150)
    K = W @ W.T / np.trace(W @ W.T) * n
    g = np.linalg.cholesky(K + 1e-9 * np.eye(n)) @ rng.multivariate_normal(np.zeros(3), 0.5 * np.eye(3) + 0.3, n)
    Y = g + rng.multivariate_normal(np.zeros(3), 0.5 * np.eye(3) + 0.2, n)
    Y[:100, 0] = np.nan
    Y[100:, 1] = np.nan
    data = bl.decompose(K).rotate_jointly(Y, [np.ones((n, 1))] * 3)
    fit = bl.joint_reml(data)
    assert fit.overlaps.tolist() == [[140, 0, 140], [0, 100, 100], [140, 100, 240]]
    assert fit.Gamma_e[0, 1] == 0
    assert fit.boundary == ()
    se = bl.joint_information.joint_standard_errors(fit, data)
    assert np.isnan(se["rho_e"][0, 1])
    assert np.isfinite(se["rho_u"][~np.eye(3, dtype=bool)]).all()


def test_a_trait_without_covariates_has_no_fixed_effect(dense_traits):
    dense = dense_traits(2)
    X = (dense.X[0], np.empty((25, 0)))
    fit = bl.joint_reml(bl.decompose(dense.K).rotate_jointly(dense.Y, X))
    assert fit.beta[1].shape == (0,)
    assert np.isfinite(fit.loglik)


def test_a_trait_that_is_its_covariate_is_refused(dense_traits):
    dense = dense_traits(2, missing=False)
    X = (np.column_stack([dense.X[0], dense.Y[:, 0]]), dense.X[1])
    with pytest.raises(bl.InputError, match="trait 1 has nothing left once its 2 covariates are fitted"):
        bl.joint_reml(bl.decompose(dense.K).rotate_jointly(dense.Y, X))
