import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from numpyro.infer.util import log_density
from scipy.special import expit
from scipy.stats import multivariate_t, norm

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.several_traits import joint_log_reml
from bayeslmm.models import bivariate, multivariate


@in_float64
def by_importance(data, *, draws=12_000, seed=0):
    """Posterior means, sds and Monte Carlo errors of h2 (two), rho_u and rho_e, without NUTS and without augmentation.

    Fixed effects and missing values are integrated out in closed form by the restricted likelihood of the records; the
    six parameters that are left are drawn from a multivariate t around their mode, and weighted.
    """
    v = np.array([residual_variance_of(y, X, E) for y, X, E in zip(data.Y.T, data.X, data.E, strict=True)])
    k = data.s.mean()

    def log_posterior(z):
        h2, sigma2_p, rho = jax.nn.sigmoid(z[:2]), jnp.exp(z[2:4]) * v, 2 * jax.nn.sigmoid(z[4:]) - 1
        sd_u, sd_e = jnp.sqrt(h2 * sigma2_p / k), jnp.sqrt((1 - h2) * sigma2_p)
        Gamma_u, Gamma_e = (
            jnp.array([[sd[0] ** 2, r * sd[0] * sd[1]], [r * sd[0] * sd[1], sd[1] ** 2]])
            for sd, r in ((sd_u, rho[0]), (sd_e, rho[1]))
        )
        of_logits = sum(jax.nn.log_sigmoid(x) + jax.nn.log_sigmoid(-x) for x in (*z[:2], *z[4:]))
        return joint_log_reml(data, Gamma_u, Gamma_e) + of_logits + dist.Normal(0.0, 2.0).log_prob(z[2:4]).sum()

    mode = jnp.zeros(6)
    gradient, hessian = jax.jit(jax.grad(log_posterior)), jax.jit(jax.hessian(log_posterior))
    fit = bl.joint_reml(data)
    total = np.diag(k * fit.Gamma_u + fit.Gamma_e)
    share = np.diag(k * fit.Gamma_u) / total
    logit = lambda p: np.log(p / (1 - p))  # noqa: E731
    mode = np.concatenate(
        [logit(share), np.log(total / v), [logit((fit.rho_u[0, 1] + 1) / 2), logit((fit.rho_e[0, 1] + 1) / 2)]]
    )
    for _ in range(20):
        mode = mode - np.linalg.solve(np.asarray(hessian(mode)), np.asarray(gradient(mode)))
    proposal = multivariate_t(mode, np.linalg.inv(-np.asarray(hessian(mode))) * 1.3, df=8, seed=seed)
    z = proposal.rvs(draws)
    log_p = np.asarray(jax.jit(lambda z: jax.lax.map(log_posterior, z, batch_size=100))(z))
    weight = np.exp(log_p - proposal.logpdf(z) - (log_p - proposal.logpdf(z)).max())
    weight /= weight.sum()
    h2 = expit(z[:, :2] - np.log(k))  # on the scale of this K
    values = np.column_stack([h2, 2 * expit(z[:, 4:]) - 1])
    mean = weight @ values
    sd = np.sqrt(weight @ (values - mean) ** 2)
    effective = 1 / (weight @ weight)
    return mean, sd, sd / np.sqrt(effective), effective


def score(rho):
    return norm.ppf((rho + 1) / 2)


def residual_variance_of(y, X, E):
    return np.square(y - X @ np.linalg.lstsq(X, y, rcond=None)[0]).sum() / (len(y) - X.shape[1] - E.shape[1])


def named(posterior):
    draws = posterior["posterior"]
    h2 = draws["h2"].to_numpy()
    return {
        "h2 of 1": h2[..., 0],
        "h2 of 2": h2[..., 1],
        "rho_u": draws["rho_u"].to_numpy(),
        "rho_e": draws["rho_e"].to_numpy(),
    }


def assert_agree(posterior, oracle):
    """Means within 4 combined Monte Carlo errors, standard deviations within 4 of NUTS's and 2%."""
    mean, sd, error, effective = oracle
    assert effective > 5000
    for i, (name, draws) in enumerate(named(posterior).items()):
        both = np.hypot(arviz_stats.mcse(draws, method="mean"), error[i])
        assert abs(draws.mean() - mean[i]) < 4 * both, (name, draws.mean(), mean[i], both)
        assert abs(draws.std() - sd[i]) < 4 * arviz_stats.mcse(draws, method="sd") + 0.02 * sd[i], (
            name,
            draws.std(),
            sd[i],
        )


@pytest.fixture(scope="module")
def mice(mouse_pair):
    """Complete pairs of the mice and their draws."""
    data = mouse_pair(complete_only=True)
    return data, bl.sample(bivariate, data, seed=1)


@pytest.mark.slow
def test_complete_mice_agree_with_importance_sampling(mice):
    data, posterior = mice
    assert_agree(posterior, by_importance(data))
    checks = bl.diagnose(posterior)
    assert checks.failures == ()
    assert arviz_stats.ess(posterior["posterior"]["rho_u"].to_numpy(), method="bulk") > 2000


@pytest.mark.slow
def test_missing_values_agree_with_importance_sampling_and_the_reference(gryphon_pair, gryphon_correlations):
    """854 and 683 records: values sampled beside the parameters against the closed form, and rho_u 0.374 (sd 0.131)."""
    posterior = gryphon_correlations.posterior
    oracle = by_importance(gryphon_pair, draws=6000)
    mean, sd, error, effective = oracle
    assert_agree(posterior, (mean, sd, error, 2 * effective))
    checks = bl.diagnose(posterior)
    assert checks.divergences == 0
    assert checks.r_hat < 1.01
    rho_u = posterior["posterior"]["rho_u"].to_numpy()
    assert arviz_stats.ess(rho_u, method="bulk") > 2000
    theirs = 0.131 / np.sqrt(3600)
    assert abs(rho_u.mean() - 0.374) < 4 * np.hypot(arviz_stats.mcse(rho_u, method="mean"), theirs)
    assert_allclose(rho_u.std(), 0.131, rtol=0.06)


@pytest.mark.slow
def test_result_is_named_and_float64(gryphon_correlations):
    tree = gryphon_correlations.posterior
    draws = tree["posterior"]
    assert draws["rho_u"].dims == ("chain", "draw")
    assert draws["Gamma_u"].dims == ("chain", "draw", "trait", "trait_bis")
    assert draws["beta"].sel(coefficient="TARSUS:intercept").shape == (4, 1000)
    assert {values.dtype for values in draws.data_vars.values()} == {np.dtype("float64")}
    assert not [name for name in draws.data_vars if str(name).startswith("_")]
    covariance = draws["Gamma_u"].sel(trait="BWT", trait_bis="TARSUS")
    assert_allclose(covariance / np.sqrt(draws["sigma2_u"].prod("trait")), draws["rho_u"])
    assert_allclose(draws["sigma2_u"] + draws["sigma2_e"], draws["sigma2_p"])
    total = (draws["Gamma_u"] + draws["Gamma_e"]).to_numpy()
    assert_allclose(total[..., 0, 1] / np.sqrt(total[..., 0, 0] * total[..., 1, 1]), draws["rho_p"])
    assert tree["constant_data"]["E"].shape == (854, 171)
    assert tree["constant_data"]["X"].dims == ("rotated_row", "coefficient")


@in_float64
def test_density_is_prior_times_dense_normal(dense_traits):
    """The joint log density at one point, with the covariance of all cells dense and the Jacobian of b written out."""
    dense = dense_traits(2, missing=False)
    data, n = dense.data, len(dense.K)
    share, total, rho_u, rho_e = np.array([0.3, 0.6]), np.array([1.7, 0.9]), 0.4, -0.2
    v = np.array([residual_variance_of(y, X, E) for y, X, E in zip(data.Y.T, data.X, data.E, strict=True)])
    k = np.trace(dense.K) / n
    b_base = np.array([0.4, -0.2, 0.1])
    Gamma_u, Gamma_e = (
        np.array([[sd[0] ** 2, r * sd[0] * sd[1]], [r * sd[0] * sd[1], sd[1] ** 2]])
        for sd, r in ((np.sqrt(share * total * v / k), rho_u), (np.sqrt((1 - share) * total * v), rho_e))
    )
    expected, mean, at = 0.0, [], 0
    for j in range(2):
        Q, _ = np.linalg.qr(data.X[j])
        c = Q.shape[1]
        b_hat = Q.T @ data.Y[:, j]
        spread = np.sqrt(Gamma_u[j, j] * (Q**2).T @ data.s + Gamma_e[j, j])
        b = b_hat + spread * b_base[at : at + c]
        at += c
        expected += dist.LogNormal(0.0, 2.0).log_prob(total[j]) - c * np.log(v[j]) / 2 + np.log(spread).sum()
        mean.append(bl.decompose(dense.K).U @ (Q @ b))
    # A uniform correlation is a standard normal score.
    expected += norm.logpdf(score(rho_u)) + norm.logpdf(score(rho_e))
    residual = dense.y - np.concatenate(mean)
    V = dense.V(Gamma_u, Gamma_e)
    expected -= (2 * n * np.log(2 * np.pi) + np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual)) / 2
    sites = {"_share": share, "_total": total, "_b_base": b_base}
    sites |= {"_rho_u_base": score(rho_u), "_rho_e_base": score(rho_e)}
    found, _ = log_density(bivariate.model, (data,), {}, {name: jnp.asarray(value) for name, value in sites.items()})
    assert_allclose(found, expected, rtol=1e-10)


@pytest.mark.slow
@in_float64
def test_density_integrated_over_missing_values_is_that_of_the_records(dense_traits):
    """Integrals over the missing values, at two sets of parameters, against dense normals of the records: their ratio.

    The values are sampled in coordinates of their own: the Jacobian is a constant, and cancels.
    """
    dense = dense_traits(2)
    data = dense.data
    m = sum(E.shape[1] for E in data.E)
    found, expected = [], []
    for h2, rho_u, rho_e in ((0.3, 0.4, -0.2), (0.7, -0.5, 0.3)):
        totals = np.array([1.2, 0.8]) / np.square(joint_whitened(data).sd)
        sites = {"_share": jnp.array([h2, 0.5]), "_total": jnp.asarray(totals), "_rho_u_base": score(rho_u)}
        sites |= {"_rho_e_base": score(rho_e), "_b_base": jnp.zeros(3)}

        def joint(z, sites=sites):
            return log_density(bivariate.model, (data,), {}, sites | {"_missing": z})[0]

        zero = jnp.zeros(m)
        H = -jax.hessian(joint)(zero)
        step = jnp.linalg.solve(H, jax.grad(joint)(zero))
        found.append(joint(zero + step) - jnp.linalg.slogdet(H)[1] / 2)

        sd_u, sd_e = np.sqrt([h2 * 1.2, 0.5 * 0.8]), np.sqrt([(1 - h2) * 1.2, 0.5 * 0.8])
        Gamma_u = np.outer(sd_u, sd_u) * [[1, rho_u], [rho_u, 1]]
        Gamma_e = np.outer(sd_e, sd_e) * [[1, rho_e], [rho_e, 1]]
        b = np.concatenate([np.linalg.lstsq(X, y, rcond=None)[0] for X, y in zip(data.X, data.Y.T, strict=True)])
        spreads = [
            np.sqrt(Gamma_u[j, j] * (np.linalg.qr(data.X[j])[0] ** 2).T @ data.s + Gamma_e[j, j]) for j in range(2)
        ]
        V, residual = dense.V(Gamma_u, Gamma_e), dense.y - dense.stacked @ b
        normal = -(np.linalg.slogdet(V)[1] + residual @ np.linalg.solve(V, residual)) / 2
        scores = norm.logpdf(score(rho_u)) + norm.logpdf(score(rho_e))
        expected.append(normal + np.log(np.concatenate(spreads)).sum() + scores)
    assert_allclose(found[1] - found[0], expected[1] - expected[0], rtol=1e-10)


@pytest.mark.slow
@in_float64
def test_prior_predictive_follows_the_prior(gryphon_pair):
    prior = bivariate.Prior(h2=dist.Beta(2.0, 6.0), rho_u=dist.Uniform(0.0, 1.0), beta=dist.Normal(0.0, 1.0))
    data = gryphon_pair._replace(s=gryphon_pair.s / gryphon_pair.s.mean())
    draws = Predictive(bivariate.model, num_samples=2000)(jax.random.key(0), data, prior, observe=False)
    assert_allclose(draws["h2"].mean(axis=0), [0.25, 0.25], atol=4 * np.sqrt(0.25 * 0.75 / 9 / 2000))
    assert_allclose(draws["rho_u"].mean(), 0.5, atol=4 * np.sqrt(1 / 12 / 2000))
    assert draws["y"].shape == (2000, 854, 2)


@pytest.mark.slow
def test_three_traits_are_refused(dense_traits):
    with pytest.raises(bl.InputError, match="bivariate is a program of two traits, but 3 were given"):
        bl.sample(bivariate, dense_traits(3).data, seed=1, start={})


@pytest.mark.slow
def test_start_is_reml_drawn_inside_its_bounds(gryphon_pair):
    fit, start = bl.joint_reml(gryphon_pair), bivariate.start(gryphon_pair)
    genetic = gryphon_pair.s.mean() * np.diag(fit.Gamma_u)
    assert_allclose(start["_share"], genetic / (genetic + np.diag(fit.Gamma_e)), rtol=1e-6)
    assert_allclose(start["_rho_u_base"], score(0.95 * fit.rho_u[0, 1]), rtol=1e-6)
    assert np.shape(start["_missing"]) == (171,)


@pytest.mark.slow
def test_two_traits_by_both_programs_agree(mice):
    """LKJ(1) of two traits is uniform: the same posterior from another parametrisation."""
    data, one = mice
    other = bl.sample(multivariate, data, seed=2)
    x, y = one["posterior"]["rho_u"].to_numpy(), other["posterior"]["rho_u"].to_numpy()[..., 0, 1]
    error = np.hypot(arviz_stats.mcse(x, method="mean"), arviz_stats.mcse(y, method="mean"))
    assert abs(x.mean() - y.mean()) < 4 * error
    assert_allclose(x.std(), y.std(), rtol=0.06)
