import arviz_stats
import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from scipy.stats import kstest

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.priors import correlation_prior
from bayeslmm.models import multivariate

RHO_U = np.array([[1, 0.6, -0.3], [0.6, 1, 0.2], [-0.3, 0.2, 1]])
RHO_E = np.array([[1, -0.2, 0.1], [-0.2, 1, 0.3], [0.1, 0.3, 1]])


@pytest.fixture(scope="module")
def fitted(mouse_kinship):
    """Three simulated traits on the eigenvalues of a pedigree-like spectrum, and their draws."""
    rng = np.random.default_rng(11)
    s = np.sort(rng.gamma(0.5, 2.0, 900))
    sd_u, sd_e = np.sqrt([0.5, 0.4, 0.6]), np.sqrt([0.5, 0.6, 0.4])
    data = bl.simulate.rotated_traits(s, RHO_U * np.outer(sd_u, sd_u), RHO_E * np.outer(sd_e, sd_e), rng=rng)
    names = ["A", "B", "C"]
    coords = {"trait": names, "trait_bis": names, "coefficient": [f"{name}:intercept" for name in names]}
    return data, bl.sample(multivariate, data, seed=1, coords=coords)


@pytest.mark.slow
def test_sampling_is_clean_and_named(fitted):
    _, posterior = fitted
    assert bl.diagnose(posterior).failures == ()
    draws = posterior["posterior"]
    assert draws["rho_u"].dims == ("chain", "draw", "trait", "trait_bis")
    assert arviz_stats.ess(draws["rho_u"].sel(trait="A", trait_bis="B").to_numpy(), method="bulk") > 2000
    diagonal = np.diagonal(draws["rho_u"].to_numpy(), axis1=2, axis2=3)
    assert_allclose(diagonal, 1)
    assert np.linalg.eigvalsh(draws["rho_u"].to_numpy()).min() > 0


@pytest.mark.slow
def test_posterior_agrees_with_reml_where_data_are_many(fitted):
    """Posterior means within one posterior sd of REML, sds within 25% of its standard errors; truth inside 4 sd."""
    data, posterior = fitted
    fit = bl.joint_reml(data)
    se = bl.joint_information.joint_standard_errors(fit, data)
    draws = posterior["posterior"]
    for name, truth in (("rho_u", RHO_U), ("rho_e", RHO_E)):
        values = draws[name].to_numpy()
        for pair in ((0, 1), (0, 2), (1, 2)):
            one = values[..., pair[0], pair[1]]
            assert abs(one.mean() - getattr(fit, name)[pair]) < one.std()
            assert_allclose(one.std(), se[name][pair], rtol=0.25)
            assert abs(one.mean() - truth[pair]) < 4 * one.std()


@pytest.mark.slow
@pytest.mark.parametrize(("t", "eta"), [(2, 1.0), (3, 1.0), (4, 2.5)])
def test_correlation_prior_is_the_marginal_of_lkj(t, eta):
    with jax.enable_x64(True):
        L = np.asarray(dist.LKJCholesky(t, eta).sample(jax.random.key(t), (4000,)))
        rho = (L @ L.transpose(0, 2, 1))[:, t - 1, 0]
        assert kstest(rho, lambda x: np.asarray(correlation_prior(eta, t).cdf(x))).pvalue > 0.001


@pytest.mark.slow
@in_float64
def test_prior_predictive_follows_lkj(fitted):
    data, _ = fitted
    prior = multivariate.Prior(eta_u=5.0)
    draws = Predictive(multivariate.model, num_samples=2000)(jax.random.key(0), data, prior, observe=False)
    rho = np.asarray(draws["rho_u"])[:, 0, 2]
    assert kstest(rho, lambda x: np.asarray(correlation_prior(5.0, 3).cdf(x))).pvalue > 0.001


@pytest.mark.slow
def test_near_singular_wheat_is_sampled_without_divergence(shared):
    """Four traits of 599 lines: a genetic correlation of 0.98 beside negative ones, and a nearly singular K."""
    names = ["GY_env1", "GY_env2", "GY_env4", "GY_env5"]
    kinship = bl.genomic_kinship(shared / "wheat" / "wheat", scale="vanraden", maf=0.01, geno=0.05)
    people = bl.measure(bl.read_table(shared / "wheat" / "pheno.tsv"), names)
    cohort = bl.align_jointly(kinship, people, normalised=True)
    data = bl.decompose(cohort.K).rotate_jointly(cohort.Y, cohort.X)
    posterior = bl.sample(multivariate, data, seed=1, coords=cohort.coords)
    checks = bl.diagnose(posterior)
    assert checks.divergences == 0
    assert checks.r_hat < 1.01
    rho_u = posterior["posterior"]["rho_u"]
    assert float(rho_u.sel(trait="GY_env2", trait_bis="GY_env4").mean()) > 0.9
    assert float(rho_u.sel(trait="GY_env1", trait_bis="GY_env5").quantile(0.975)) < 0


@pytest.mark.slow
def test_missing_values_and_different_covariates_agree_with_reml(rng):
    """Three traits, two of which a part of the people lacks, each with covariates of its own: means near REML."""
    n = 240
    W = rng.standard_normal((n, 150)) * np.geomspace(3, 0.3, 150)
    K = W @ W.T / np.trace(W @ W.T) * n
    sd_u, sd_e = np.sqrt([0.6, 0.5, 0.6]), np.sqrt([0.4, 0.5, 0.4])
    g = np.linalg.cholesky(K + 1e-9 * np.eye(n)) @ rng.multivariate_normal(np.zeros(3), RHO_U * np.outer(sd_u, sd_u), n)
    Y = g + rng.multivariate_normal(np.zeros(3), RHO_E * np.outer(sd_e, sd_e), n)
    x = rng.standard_normal(n)
    Y[:, 1] += 2 * x
    Y[:30, 0] = np.nan
    Y[200:, 1] = np.nan
    ones = np.ones((n, 1))
    data = bl.decompose(K).rotate_jointly(Y, [ones, np.column_stack([ones, x]), ones])
    posterior = bl.sample(multivariate, data, seed=1)
    assert bl.diagnose(posterior).failures == ()
    fit = bl.joint_reml(data)
    draws = posterior["posterior"]
    assert_allclose(draws["beta"].to_numpy()[..., 2].mean(), fit.beta[1][1], atol=4 * fit.se_beta[1][1] / np.sqrt(1000))
    for pair in ((0, 1), (0, 2), (1, 2)):
        one = draws["rho_u"].to_numpy()[(..., *pair)]
        assert abs(one.mean() - fit.rho_u[pair]) < one.std()
