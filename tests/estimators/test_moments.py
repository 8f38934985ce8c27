import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.estimators.moments import moments_covariance
from bayeslmm.likelihood.rotation import RotatedData
from conftest import MOUSE


def dense_moments(K, X, y):
    """The equations of the design with n x n matrices, and the covariance of their solution."""
    n = len(y)
    M = np.eye(n) - X @ np.linalg.inv(X.T @ X) @ X.T
    G = M @ K @ M
    A = np.array([[np.trace(M @ K @ M @ K), np.trace(M @ K)], [np.trace(M @ K), np.trace(M)]])
    theta = np.linalg.solve(A, [y @ G @ y, y @ M @ y])
    V = theta[0] * K + theta[1] * np.eye(n)
    forms = np.array([[2 * np.trace(B @ V @ C @ V) for C in (G, M)] for B in (G, M)])
    return theta, np.linalg.inv(A) @ forms @ np.linalg.inv(A).T


def test_moments_equal_the_dense_equations(dense, small_data):
    K, X, y, _ = dense
    theta, cov = dense_moments(K, X, y)
    fit = bl.moments(small_data)
    assert_allclose([fit.sigma2_u, fit.sigma2_e], theta, rtol=1e-10)
    assert_allclose(fit.cov, cov, rtol=1e-9)
    assert_allclose(fit.h2, theta[0] / theta.sum(), rtol=1e-10)
    u, e = theta
    variance = (e**2 * cov[0, 0] - 2 * u * e * cov[0, 1] + u**2 * cov[1, 1]) / (u + e) ** 4
    assert_allclose(fit.standard_errors()["h2"], np.sqrt(variance), rtol=1e-9)
    assert fit.monte_carlo_errors()["h2"] == 0


@pytest.mark.slow
def test_the_covariance_at_the_truth_is_the_spread_of_estimates(mouse_data):
    """2,000 traits on real eigenvalues: the mean within 4 standard errors, the standard deviations within 5%."""
    truth, data = (0.4, 0.6), mouse_data("CD8")
    y = np.sqrt(0.4 * data.s + 0.6) * np.random.default_rng(3).standard_normal((2000, len(data.s)))
    fits = [bl.moments(data._replace(Y=one[:, None])) for one in y]
    theta = np.array([[fit.sigma2_u, fit.sigma2_e] for fit in fits])
    cov = moments_covariance(data, *truth)
    assert (np.abs(theta.mean(axis=0) - truth) < 4 * np.sqrt(np.diag(cov) / 2000)).all()
    assert_allclose(theta.std(axis=0, ddof=1), np.sqrt(np.diag(cov)), rtol=0.05)


def test_estimates_outside_the_parameter_space_are_reported_as_they_are(mouse_data):
    fits = [
        bl.moments(bl.simulate.rotated_trait(mouse_data("CD8").s, h2=0.0, rng=np.random.default_rng(seed)))
        for seed in range(12)
    ]
    outside = [fit for fit in fits if fit.outside]
    assert 2 <= len(outside) <= 10
    assert all(fit.outside == "sigma2_u" and fit.h2 < 0 and fit.standard_errors()["h2"] > 0 for fit in outside)


@pytest.mark.parametrize("K", [np.eye(12), np.full((12, 12), 0.5) + 0.5 * np.eye(12)])
def test_equally_related_people_tell_nothing(K, rng):
    """Strangers, or one family: with an intercept, MKM is a multiple of M."""
    Y, X = rng.standard_normal((12, 1)), np.ones((12, 1))
    data = bl.decompose(K).rotate(Y, X)
    for estimate in (bl.moments, bl.reml, bl.ml, bl.em, bl.exact.posterior):
        with pytest.raises(InputError, match="the individuals analysed are all equally related"):
            estimate(data)
    with pytest.raises(InputError, match="the individuals analysed are all equally related"):
        bl.moments_jackknife(K, Y, X)


def test_jackknife_equals_leaving_out_by_hand(dense, small_data):
    K, X, y, _ = dense
    fit = bl.moments_jackknife(K, y[:, None], X, blocks=8)
    replicates = []
    for rows in np.array_split(np.arange(40), 8):
        keep = np.setdiff1d(np.arange(40), rows)
        replicates.append(dense_moments(K[np.ix_(keep, keep)], X[keep], y[keep])[0])
    spread = np.array(replicates) - np.mean(replicates, axis=0)
    assert_allclose(fit.cov, 7 / 8 * spread.T @ spread, rtol=1e-9)
    whole = bl.moments(small_data)
    assert_allclose([fit.sigma2_u, fit.sigma2_e, fit.k_scale], [whole.sigma2_u, whole.sigma2_e, whole.k_scale])
    with pytest.raises(InputError, match="between 2 blocks and one for each of 40 individuals, but 41 was given"):
        bl.moments_jackknife(K, y[:, None], X, blocks=41)


@pytest.fixture(scope="module")
def mice(mouse_kinship):
    people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(mouse_kinship("hwe"), people)
    return cohort


def test_jackknife_of_unrelated_people_is_not_below_the_exact_standard_error(rng):
    """On average it is somewhat above (Efron and Stein 1981): over 20 traits of 400 people, by less than 35%."""
    W = rng.standard_normal((400, 300))
    K, X = W @ W.T / 300, np.ones((400, 1))
    spectrum, ratios = bl.decompose(K), []
    for _ in range(20):
        Y = W @ rng.normal(0, np.sqrt(0.5 / 300), (300, 1)) + rng.normal(0, np.sqrt(0.5), (400, 1))
        exact = bl.moments(spectrum.rotate(Y, X)).standard_errors()["h2"]
        ratios.append(bl.moments_jackknife(K, Y, X).standard_errors()["h2"] / exact)
    assert 1 < np.mean(ratios) < 1.35


def test_jackknife_of_related_people_is_too_small(mice, mouse_data):
    """What its docstring warns of: blocks of mice are not independent."""
    jackknife = bl.moments_jackknife(mice.K, mice.Y, mice.X[0]).standard_errors()["h2"]
    assert jackknife < 0.5 * bl.moments(mouse_data("CD8")).standard_errors()["h2"]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_randomised_moments_of_the_mice(mice, mouse_data, seed):
    """Within 3 of the reported Monte Carlo errors of the exact ones."""
    blocks = bl.MarkerBlocks(bl.open_genotypes(MOUSE / "mouse_hs1940"))
    fit = bl.randomised_moments(blocks, mice.ids, mice.Y, mice.X[0], seed=seed)
    exact = bl.moments(mouse_data("CD8"))
    error = fit.monte_carlo_errors()
    for name in ("sigma2_u", "sigma2_e", "h2", "pve"):
        assert abs(getattr(fit, name) - getattr(exact, name)) < 3 * error[name], name
    assert 0 < error["h2"] < 0.2 * fit.standard_errors()["h2"]
    assert_allclose(fit.k_scale, exact.k_scale, rtol=1e-6)
    assert_allclose(fit.standard_errors()["h2"], exact.standard_errors()["h2"], rtol=0.2)


@pytest.mark.slow
def test_the_reported_monte_carlo_error_is_the_spread_over_seeds(plink, rng):
    prefix, _, ids = plink
    X = np.column_stack([np.ones(27), rng.standard_normal(27)])
    Y = rng.standard_normal((27, 1)) + 5
    blocks = bl.MarkerBlocks(bl.open_genotypes(prefix))
    fits = [bl.randomised_moments(blocks, ids[3:], Y, X, seed=seed, vectors=50) for seed in range(100)]
    K = bl.genomic_kinship(prefix).K[3:, 3:]
    (theta, _), values = dense_moments(K, X, Y[:, 0]), np.array([[fit.sigma2_u, fit.sigma2_e] for fit in fits])
    spread = values.std(axis=0, ddof=1)
    reported = np.sqrt(np.mean([np.diag(fit.monte_carlo_cov) for fit in fits], axis=0))
    assert_allclose(reported, spread, rtol=0.3)
    assert (np.abs(np.median(values, axis=0) - theta) < 5 * 1.25 * spread / 10).all()


def test_randomised_moments_refuse_what_they_cannot_do(plink):
    prefix, _, ids = plink
    blocks = bl.MarkerBlocks(bl.open_genotypes(prefix))
    Y, X = np.arange(3.0)[:, None], np.ones((3, 1))
    with pytest.raises(InputError, match=r"1 of 3 individuals are not in it \(stranger\)"):
        bl.randomised_moments(blocks, [*ids[:2], "stranger"], Y, X, seed=1)
    with pytest.raises(InputError, match="at least 2 random vectors are needed"):
        bl.randomised_moments(blocks, ids[:3], Y, X, seed=1, vectors=1)


def test_the_scale_of_K_can_be_changed_afterwards(small_data):
    fit = bl.moments(small_data).with_k_scale(3 * small_data.k_scale)
    tripled = bl.moments(small_data._replace(s=3 * small_data.s, k_scale=3 * small_data.k_scale))
    assert_allclose([fit.sigma2_u, fit.sigma2_e, fit.pve], [tripled.sigma2_u, tripled.sigma2_e, tripled.pve], rtol=1e-9)
    assert_allclose(fit.cov, tripled.cov, rtol=1e-9)


def test_one_trait_at_a_time(small_data):
    with pytest.raises(InputError, match="one trait is analysed at a time"):
        bl.moments(RotatedData(small_data.s, np.column_stack([small_data.Y, small_data.Y]), small_data.X))
