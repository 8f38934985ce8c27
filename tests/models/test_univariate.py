import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.models import univariate
from bayeslmm.posterior import exact
from conftest import residual_variance

DATASETS = ["CD8", "MCH", "h2 near 0", "h2 near 1"]


@pytest.fixture(scope="module", params=DATASETS)
def fitted(request, mouse_data):
    """Draws and oracle: two traits of the mice, one simulated at h2 = 0 and one at h2 = 1 on their eigenvalues."""
    if request.param in ("CD8", "MCH"):
        data = mouse_data(request.param)
    else:
        h2 = {"h2 near 0": 0.0, "h2 near 1": 1.0}[request.param]
        data = bl.simulate.rotated_trait(mouse_data("CD8").s, h2=h2, rng=np.random.default_rng(3))
    posterior = bl.sample(
        univariate, data, seed=1, coords={"trait": [request.param], "covariate": ["intercept"]}, attrs={"note": "x"}
    )
    return data, posterior, exact.posterior(data)


@pytest.mark.slow
def test_draws_agree_with_the_oracle(fitted):
    """Means and sds within 4 Monte Carlo standard errors, quantiles within 4 of theirs."""
    _, posterior, oracle = fitted
    for name in ("h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"):
        draws = posterior["posterior"][name].to_numpy()[..., 0]
        marginal = getattr(oracle, name)
        assert abs(draws.mean() - marginal.mean) < 4 * arviz_stats.mcse(draws, method="mean"), name
        assert abs(draws.std() - marginal.sd) < 4 * arviz_stats.mcse(draws, method="sd"), name
        for p in (0.025, 0.5, 0.975):
            mcse = arviz_stats.mcse(draws, method="quantile", prob=p)
            assert abs(np.quantile(draws, p) - marginal.quantile(p)) < 4 * mcse, (name, p)
    beta = posterior["posterior"]["beta"].to_numpy()[..., 0, 0]
    assert abs(beta.mean() - oracle.beta[0]) < 4 * arviz_stats.mcse(beta, method="mean")
    assert abs(beta.std() - oracle.se_beta[0]) < 4 * arviz_stats.mcse(beta, method="sd")


@pytest.mark.slow
def test_sampling_is_clean(fitted):
    _, posterior, _ = fitted
    diagnostics = bl.diagnose(posterior)
    assert diagnostics.failures == ()
    assert diagnostics.r_hat < 1.01
    assert diagnostics.divergences == 0
    assert diagnostics.ess_bulk > 1000


@pytest.mark.slow
def test_result_is_named_and_float64(fitted):
    data, posterior, _ = fitted
    draws = posterior["posterior"]
    assert draws["h2"].dims == ("chain", "draw", "trait")
    assert draws["beta"].dims == ("chain", "draw", "covariate", "trait")
    assert draws["beta"].coords["covariate"].to_numpy().tolist() == ["intercept"]
    assert {values.dtype for values in draws.data_vars.values()} == {np.dtype("float64")}
    assert_allclose(draws["sigma2_u"] + draws["sigma2_e"], draws["sigma2_p"])
    assert_allclose(draws["sigma2_u"] / draws["sigma2_p"], draws["h2"])
    assert_allclose(posterior["observed_data"]["y"], data.Y[:, 0])
    assert {"diverging", "energy", "n_steps", "tree_depth", "acceptance_rate"} <= set(posterior["sample_stats"])
    assert posterior.attrs["n"] == len(data.s)
    assert posterior.attrs["k_scale"] == data.k_scale
    assert {"version_bayeslmm", "version_numpyro", "seed", "prior", "convention", "note"} <= set(posterior.attrs)


@in_float64
def test_density_is_prior_times_dense_normal(dense, small_data):
    """The joint log density at one point, with V dense and the Jacobian of b written out; flat in b."""
    K, X, y, _ = dense
    small_data = small_data._replace(s=small_data.s * 0.36)
    n, c = X.shape
    share, total = 0.3, 1.7
    b_base = np.array([[0.4], [-0.2], [0.1]])
    Q, R = np.linalg.qr(small_data.X)
    r = small_data.Y[:, 0] - Q @ (Q.T @ small_data.Y[:, 0])
    v = r @ r / (n - c)
    sigma2_u, sigma2_e = share * total * v / small_data.s.mean(), (1 - share) * total * v
    sd = np.sqrt(sigma2_u * (Q**2).T @ small_data.s + sigma2_e)
    b = Q.T @ small_data.Y[:, 0] + sd * b_base[:, 0]
    V = sigma2_u * 0.36 * K + sigma2_e * np.eye(n)
    residual = y - X @ np.linalg.solve(R, b)
    expected = -(n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual)) / 2
    expected += dist.LogNormal(0.0, 2.0).log_prob(total) - c * np.log(v) / 2 + np.log(sd).sum()
    params = {"_share": jnp.array([share]), "_total": jnp.array([total]), "b_base": b_base}
    found, _ = log_density(univariate.model, (small_data,), {}, params)
    assert_allclose(found, expected, rtol=1e-10)


@in_float64
def test_prior_predictive_follows_the_prior(small_data):
    small_data = small_data._replace(s=small_data.s / small_data.s.mean())
    prior = univariate.Prior(h2=dist.Beta(2.0, 6.0), beta=dist.Normal(0.0, 1.0))
    draws = Predictive(univariate.model, num_samples=4000)(jax.random.key(0), small_data, prior, observe=False)
    assert draws["h2"].dtype == jnp.float64
    assert_allclose(draws["h2"].mean(), 0.25, atol=4 * np.sqrt(0.25 * 0.75 / 9 / 4000))
    assert draws["y"].shape == (4000, 40)


def test_start_is_the_reml_estimate(mouse_data):
    data = mouse_data("CD8")
    estimate, start = bl.reml(data), univariate.start(data)
    k, v = data.s.mean(), residual_variance(data)
    assert_allclose(start["_share"], k * estimate.sigma2_u / (k * estimate.sigma2_u + estimate.sigma2_e))
    assert_allclose(start["_total"] * v, k * estimate.sigma2_u + estimate.sigma2_e)


@in_float64
def test_no_shift_of_the_trait_or_of_a_covariate_is_felt(dense):
    """The same density at the same deviations from least squares, with 1e9 on the trait and 1e4 on a covariate."""
    _, X, y, spectrum = dense
    params = {"_share": jnp.array([0.3]), "_total": jnp.array([1.7]), "b_base": jnp.array([[0.4], [-0.2], [0.1]])}
    found = [
        log_density(univariate.model, (spectrum.rotate((y + a)[:, None], X + np.array([0, b, 0])),), {}, params)[0]
        for a, b in ((0.0, 0.0), (1e9, 0.0), (0.0, 1e4))
    ]
    assert_allclose(found[1:], found[0], rtol=1e-6)
