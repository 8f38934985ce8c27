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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("pair", [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)])
def test_equals_gemma_on_wheat(wheat, shared, pair):
    """Genetic correlations from -0.52 to 0.98, near the bound."""
    names, data = wheat
    gemma = gemmas(json.loads((shared / "wheat" / "reference.json").read_text()), *(names[j] for j in pair))
    fit = bl.joint_reml(data.take(pair))
    assert_allclose(fit.rho_u[0, 1], gemma["rho_g_reml"], atol=2e-5)
    assert_allclose(fit.Gamma_e, gemma["Ve_reml"], rtol=1e-4)
    assert_allclose(fit.loglik, gemma["loglik_reml"], atol=0.01)


@pytest.mark.slow
def test_four_traits_at_once_gain_over_two_pairs(wheat):
    """Two pairs apart are four traits with covariances at 0."""
    _, data = wheat
    fit = bl.joint_reml(data)
    pairs = {pair: bl.joint_reml(data.take(pair)) for pair in ((0, 1), (2, 3))}
    assert fit.loglik > sum(of_pair.loglik for of_pair in pairs.values())
    for pair, of_pair in pairs.items():
        assert_allclose(fit.rho_u[pair], of_pair.rho_u[0, 1], atol=0.1)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("scale", [1e-4, 1e4])
def test_does_not_depend_on_units(gryphon_pair, scale):
    """Traits and K in other units: the same correlations, and a log-likelihood that moves by its Jacobian."""
    data = gryphon_pair
    fit = bl.joint_reml(data)
    other = bl.joint_reml(data._replace(s=data.s * scale, Y=data.Y * [1.0, scale]))
    assert_allclose(other.rho_u, fit.rho_u, atol=1e-5)
    assert_allclose(other.Gamma_u[0, 0], fit.Gamma_u[0, 0] / scale, rtol=1e-4)
    assert_allclose(other.loglik, fit.loglik - 682 * np.log(scale), rtol=1e-8)


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kinship", "trait"),
    [(1e-100, 1e-150), (1e-100, 1e100), (1.0, 1e-100), (1.0, 1e100), (1.0, 1e149), (1e100, 1e-100), (1e100, 1e149)],
)
def test_traits_and_kinship_have_any_unit(dense_traits, trait, kinship):
    """h2 on K in its own unit and both correlations to 1e-6, by REML, its standard errors and moments."""
    data = dense_traits(2, n=40).data
    other = data._replace(Y=data.Y * [trait, 1.0], s=data.s * kinship)
    at = [0, 0, 1], [0, 1, 1]
    for estimate in (bl.joint_reml, bl.joint_moments):
        one, two = estimate(data), estimate(other)
        unit = np.array([trait, 1.0])
        assert_allclose((two.Gamma_u * kinship / unit / unit[:, None])[at], one.Gamma_u[at], rtol=1e-5)
        assert_allclose((two.Gamma_e / unit / unit[:, None])[at], one.Gamma_e[at], rtol=1e-5)
    fit, same = bl.joint_reml(other), bl.joint_reml(data)
    assert_allclose(fit.rho_u, same.rho_u, atol=1e-6)
    if not fit.boundary:
        errors, expected = (bl.joint_information.joint_standard_errors(*pair) for pair in ((fit, other), (same, data)))
        assert_allclose(errors["rho_u"][0, 1], expected["rho_u"][0, 1], rtol=1e-5)
        assert_allclose(errors["sigma2_e"] / unit / unit, expected["sigma2_e"], rtol=1e-5)


@pytest.mark.parametrize("scale", [1e-170, 1e170])
def test_variances_beyond_float64_are_refused(dense_traits, scale):
    data = dense_traits(2).data
    for estimate in (bl.joint_reml, bl.joint_moments):
        with pytest.raises(bl.InputError, match=r"trait 2 has a standard deviation of .* change the units of one of"):
            estimate(data._replace(Y=data.Y * [1.0, scale]))


def test_a_trait_again_or_a_combination_is_refused_by_name(dense_traits):
    """Also where one of them lacks values of its own, and covariates differ."""
    dense = dense_traits(3, n=40)
    Y = dense.Y.copy()
    Y[:, 1] = np.where(np.isnan(Y[:, 1]), np.nan, 2.54 * Y[:, 0] + 7)
    data = bl.decompose(dense.K).rotate_jointly(Y, dense.X)
    with pytest.raises(bl.InputError, match="trait 2 is trait 1 again, or a multiple of it"):
        bl.joint_reml(data)
    Y = dense.Y.copy()
    Y[:, 2] = Y[:, 0] - Y[:, 1]
    Y[np.isnan(Y).all(axis=1)] = 1.0, 2.0, -1.0
    data = bl.decompose(dense.K).rotate_jointly(Y, dense.X)
    with pytest.raises(bl.InputError, match="trait 3 is a combination of trait 1 and trait 2"):
        bl.joint_reml(data)
    bl.joint_reml(data.take([0, 2]))


@pytest.mark.slow
@pytest.mark.parametrize("smallest", [0.0, 1e-15])
@pytest.mark.parametrize("centred", [False, True])
def test_no_heritability_on_a_singular_kinship(smallest, centred):
    """30 markers of 60 individuals, noise for traits: h2 = 0 of both, correlations of rounding errors are none."""
    rng = np.random.default_rng(2)
    W = rng.standard_normal((60, 30))
    W -= W.mean(axis=0) * centred
    spectrum = bl.decompose(W @ W.T / 30)
    s = np.where(spectrum.s < 1e-9, smallest, spectrum.s)
    Y = rng.standard_normal((60, 2))
    data = spectrum.rotate_jointly(Y, [np.ones((60, 1))] * 2)
    data = data._replace(s=s, Y=data.Y / np.sqrt(1 + s)[:, None])
    fit = bl.joint_reml(data)
    assert fit.boundary == ("h2 = 0 of {0}", "h2 = 0 of {1}")
    assert (fit.Gamma_u == 0).all()
    assert np.isnan(fit.rho_u).all()
    assert np.isfinite(fit.rho_e).all()
    for place in (("h2", (0,)), ("h2", (1,)), ("rho_e", (0, 1))):
        lower, upper = bl.joint_information.likelihood_interval(fit, data, *place)
        assert (lower == 0) == (place[0] == "h2")
        assert upper < 1


def two_modes():
    """Two traits with a mode at h2 = 0 and one near 1 each: many s = 0, many equal ones, four that are 2,000 times so.

    The traits vary more along the middle group than the first, but no more along the last.
    """
    rng = np.random.default_rng(1)
    sizes, squares = (200, 60, 4), (1.0, 3.0, 1.0)

    def trait():
        z = [rng.standard_normal(k) for k in sizes]
        return np.concatenate(
            [part * np.sqrt(square * len(part) / (part @ part)) for part, square in zip(z, squares, strict=True)]
        )

    s = np.repeat([0.0, 1.0, 2000.0], sizes)
    X = np.eye(len(s))[:, :1]
    return bl.JointData(s / s.mean(), np.column_stack([trait(), trait()]), (X, X), (np.zeros((len(s), 0)),) * 2)


@pytest.mark.slow
def test_the_highest_of_several_modes_is_found_and_the_others_are_told():
    """From 25 pairs of h2 a likelihood of rows is searched by Nelder-Mead: never higher than the estimate."""
    data = two_modes()
    fit = bl.joint_reml(data)

    def minus(theta):
        L_u, L_e = np.zeros((2, 2)), np.zeros((2, 2))
        L_u[np.tril_indices(2)], L_e[np.tril_indices(2)] = theta[:3], theta[3:]
        V = data.s[1:, None, None] * (L_u @ L_u.T) + L_e @ L_e.T
        quad = np.einsum("ij,ijk,ik->", data.Y[1:], np.linalg.inv(V), data.Y[1:])
        return (quad + np.linalg.slogdet(V)[1].sum() + V.shape[0] * 2 * np.log(2 * np.pi)) / 2

    heights = []
    for low, high in [(a, b) for a in (1e-3, 0.01, 3.0, 30.0, 100.0) for b in (1e-3, 0.01, 3.0, 30.0, 100.0)]:
        start = [low**0.5, 0.0, high**0.5, 1.0, 0.0, 1.0]
        heights.append(-minimize(minus, start, method="Nelder-Mead", options={"maxiter": 300}).fun)
    assert max(heights) < fit.loglik + 1e-3
    assert max(heights) > fit.loglik - 0.5
    assert (fit.h2 > 0.9).all()
    low = min(fit.others, key=lambda mode: mode.h2.max())
    assert (low.h2 < 0.01).all()
    assert_allclose(fit.loglik - low.loglik, 3.718, atol=0.01)
    assert "3.7 lower at h2 = 0.002 of A, h2 = 0.002 of B" in fit.others_of(["A", "B"])
