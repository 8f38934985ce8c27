import warnings

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy.special import expit, ndtr
from scipy.stats import beta as beta_distribution
from scipy.stats import lognorm, norm

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.one_trait import log_reml
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.models import univariate
from bayeslmm.posterior import exact
from conftest import residual_variance


class Panels:
    """The same posterior by Gauss-Legendre panels in h2 and log sigma2_p, from the formulas of the design.

    Other coordinates, other nodes and no spline: 120 panels in h2, refined towards both ends, 24 nodes each.
    """

    def __init__(self, data, a=1.0, b=1.0, sigma=2.0, cut=0.5):
        X, y = data.X[:, 0], data.Y[:, 0]
        k, v = len(y) - 1, float(residual_variance(data)[0])
        low = np.concatenate([[0], np.geomspace(1e-13, 0.1, 40), np.linspace(0.1, 0.5, 21)[1:]])
        h2, weight = panels(np.sort([*low, cut] if cut < 0.5 else low))
        e2, weight_e = panels(np.sort([*low, 1 - cut] if cut > 0.5 else low))
        self.h2, self.e2 = np.concatenate([h2, 1 - e2]), np.concatenate([1 - h2, e2])
        weight = np.concatenate([weight, weight_e])
        d = self.h2[:, None] * data.s + self.e2[:, None]
        xvx, self.xvy, yvy = (X**2 / d).sum(axis=1), (X * y / d).sum(axis=1), (y**2 / d).sum(axis=1)
        self.cov, q = 1 / xvx, yvy - self.xvy**2 / xvx
        nodes, weights = np.polynomial.legendre.leggauss(160)
        middle, width = np.log(q / k)[:, None], 14 * np.sqrt(2 / k)

        def integrand(w):
            log_p = -(np.log(d).sum(axis=1) + np.log(xvx))[:, None] / 2 - k * w / 2 - q[:, None] * np.exp(-w) / 2
            log_p += lognorm(sigma).logpdf(np.exp(w) / v) + w + beta_distribution(a, b).logpdf(self.h2)[:, None]
            return np.exp(log_p - self.peak)

        self.peak = 0.0
        w = middle + width * nodes
        self.peak = np.log(integrand(middle).max())
        mass = integrand(w) * weight[:, None] * weights * width
        self.v, self.mass, self.total = np.exp(w), mass / mass.sum(), mass.sum()

        def below(limit):
            """P(log sigma2_p < limit), a limit for each h2: panels in w that end there."""
            half = (np.clip(limit[:, None], middle - width, middle + width) - middle + width) / 2
            w = middle - width + half * (nodes + 1)
            return float((integrand(w) * weight[:, None] * weights * half).sum() / self.total)

        self.below = below

    def expect(self, values):
        return float((self.mass * values).sum())


def panels(ends, nodes=24):
    """Nodes and weights of a composite Gauss-Legendre rule."""
    x, weight = np.polynomial.legendre.leggauss(nodes)
    half = np.diff(ends) / 2
    return (ends[:-1, None] + half[:, None] * (x + 1)).ravel(), (half[:, None] * weight).ravel()


@pytest.fixture(scope="module", params=[0.0, 0.4, 0.9])
def problem(request, mouse_data):
    s = mouse_data("CD8").s[::40]
    data = bl.simulate.rotated_trait(s / s.mean(), h2=request.param, rng=np.random.default_rng(11))
    data = data._replace(k_scale=0.7)
    return data, exact.posterior(data), Panels(data)


def test_moments_have_six_digits(problem):
    _, posterior, panelled = problem
    h2, e2, v = panelled.h2[:, None], panelled.e2[:, None], panelled.v
    values = {"h2": h2, "sigma2_u": h2 * v, "sigma2_e": e2 * v, "sigma2_p": v, "pve": 0.7 * h2 / (0.7 * h2 + e2)}
    for name, value in values.items():
        mean = panelled.expect(value)
        sd = np.sqrt(panelled.expect((value - mean) ** 2))
        marginal = getattr(posterior, name)
        assert_allclose([marginal.mean, marginal.sd], [mean, sd], rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("probability", [0.025, 0.5, 0.975])
def test_quantiles_have_six_digits(problem, probability):
    """The probability below each quantile, by a rule with a panel that ends at it."""
    data, posterior, panelled = problem
    shares = {"sigma2_u": panelled.h2, "sigma2_e": panelled.e2, "sigma2_p": np.ones_like(panelled.h2)}
    for name, share in shares.items():
        quantile = getattr(posterior, name).quantile(probability)
        assert_allclose(panelled.below(np.log(quantile / share)), probability, atol=1e-7, err_msg=name)
    quantile = posterior.h2.quantile(probability)
    cut = Panels(data, cut=quantile)
    assert_allclose(cut.expect((cut.h2 < quantile)[:, None]), probability, atol=1e-7)
    share = posterior.pve.quantile(probability)
    assert_allclose(share, 0.7 * quantile / (0.7 * quantile + 1 - quantile), rtol=1e-9)


def test_priors_are_those_asked_for(problem):
    data, _, _ = problem
    prior = VariancePrior(h2=dist.Beta(2.0, 5.0), sigma2_p=dist.LogNormal(0.0, 0.3))
    posterior, panelled = exact.posterior(data, prior), Panels(data, 2.0, 5.0, 0.3)
    assert_allclose(posterior.h2.mean, panelled.expect(panelled.h2[:, None]), rtol=1e-6)
    assert_allclose(posterior.sigma2_p.mean, panelled.expect(panelled.v), rtol=1e-6)


def test_fixed_effects_are_mixtures_of_normals(problem):
    _, posterior, panelled = problem
    at = (panelled.cov * panelled.xvy)[:, None]
    sd = np.sqrt(panelled.cov[:, None] * panelled.v)
    mean = panelled.expect(at)
    assert_allclose(posterior.beta, [mean], rtol=1e-6)
    assert_allclose(posterior.se_beta, [np.sqrt(panelled.expect(sd**2 + (at - mean) ** 2))], rtol=1e-6)
    lower, upper = posterior.beta_interval(0)
    assert_allclose(panelled.expect(ndtr((lower - at) / sd)), 0.025, atol=1e-7)
    assert_allclose(panelled.expect(ndtr((upper - at) / sd)), 0.975, atol=1e-7)


def test_densities_integrate_to_one_and_curves_agree(problem):
    _, posterior, _ = problem
    for name in ("h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"):
        marginal = getattr(posterior, name)
        assert_allclose(np.trapezoid(marginal.density, marginal.z), 1, atol=1e-7)
    value, density = posterior.sigma2_p.curve()
    assert_allclose(np.trapezoid(density, value), 1, atol=1e-4)


@pytest.mark.slow
def test_the_evidence_is_the_integral_of_likelihood_times_prior(small_data):
    """By brute force over a grid, with the density of error contrasts (log_reml is tested against it)."""
    v = float(residual_variance(small_data)[0])
    w, step = np.linspace(-3, 5, 161, retstep=True)
    nodes, weights = np.polynomial.legendre.leggauss(60)
    h2, weights = (nodes + 1) / 2, weights / 2

    @in_float64
    def loglik():
        H, V = jnp.meshgrid(jnp.asarray(h2), v * jnp.exp(w), indexing="ij")
        return np.asarray(jax.vmap(jax.vmap(lambda h, v: log_reml(small_data, h * v, (1 - h) * v)))(H, V))

    log_p = loglik() + norm(0, 2).logpdf(w)
    expected = np.log((weights[:, None] * np.exp(log_p - log_p.max())).sum() * step) + log_p.max()
    assert_allclose(exact.posterior(small_data).log_evidence, expected, atol=1e-6)


def test_the_bayes_factor_is_the_density_ratio_at_zero(problem):
    """Savage and Dickey: prior over posterior density at h2 = 0, the latter from the panels near 0."""
    data, posterior, panelled = problem
    edge = np.geomspace(1e-13, 0.1, 40)[18]  # of a panel, 4e-8
    density = panelled.mass.sum(axis=1)[panelled.h2 < edge].sum() / edge
    assert_allclose(posterior.log_bayes_factor, -np.log(density), atol=1e-5)
    narrow = exact.posterior(data, VariancePrior(h2=dist.Beta(1.0, 9.0)))
    shift = narrow.log_evidence - posterior.log_evidence
    assert_allclose(narrow.log_bayes_factor - posterior.log_bayes_factor, shift, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["CD8", "MCH"])
def test_mice_equal_the_reference_quadrature(mouse_data, mouse_reference, trait):
    """h2 on the scale of K with mean diagonal 1, Jeffreys prior of the scale: the limit of wide log-normals.

    The reference is a trapezoid rule with a stated relative error of up to 1e-4.
    """
    reference = mouse_reference["bayes_exact"]["fits"][f"mouse_hs1940_{trait}_cXX"]["h2_uniform_jeffreys_scale"]
    data = mouse_data(trait, "vanraden", centred=True)
    data = data._replace(s=data.s / data.k_scale, k_scale=1.0)
    posterior = exact.posterior(data, VariancePrior(sigma2_p=dist.LogNormal(0.0, 3000.0)))
    assert_allclose(posterior.h2.mean, reference["mean"], rtol=1e-6)
    assert_allclose(posterior.h2.sd, reference["sd"], rtol=1e-6)
    assert_allclose(posterior.h2.interval(), [reference["q025"], reference["q975"]], rtol=1e-4)


def test_a_singular_kinship_with_covariates_in_its_range(rng):
    """More people than markers, and a marker among the covariates: the same as with K + 1e-9 I."""
    W = rng.standard_normal((80, 60))
    K = W @ W.T / 60
    X = np.column_stack([np.ones(80), rng.uniform(20, 60, 80), W[:, 0]])
    y = W @ rng.standard_normal((60, 1)) / 8 + rng.standard_normal((80, 1))
    singular, regular = (exact.posterior(bl.decompose(K + e * np.eye(80)).rotate(y, X)) for e in (0.0, 1e-9))
    assert_allclose(singular.h2.mean, regular.h2.mean, rtol=1e-5)
    assert_allclose(singular.h2.sd, regular.h2.sd, rtol=1e-5)
    assert_allclose(singular.beta, regular.beta, rtol=1e-5)
    assert_allclose(singular.log_evidence, regular.log_evidence, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("n", [6, 4000])
def test_small_and_large_samples(n):
    rng = np.random.default_rng(3)
    data = bl.simulate.rotated_trait(np.sort(rng.gamma(0.5, 2, n)), h2=0.5, rng=rng)
    posterior, estimate = exact.posterior(data), bl.reml(data)
    lower, upper = posterior.h2.interval()
    assert 0 < lower < posterior.h2.mean < upper < 1
    if n == 4000:  # the posterior is normal around the estimate
        se = bl.information.standard_errors(estimate, data, kind="observed")["h2"]
        assert_allclose(posterior.h2.mean, estimate.h2, atol=0.05 * se)
        assert_allclose(posterior.h2.sd, se, rtol=0.01)


def test_one_trait_at_a_time(small_data):
    with pytest.raises(InputError, match="one trait is analysed at a time"):
        exact.posterior(small_data._replace(Y=np.column_stack([small_data.Y, small_data.Y])))


def brute_force(data, h2_prior, sigma2_p_prior, *, cells=1000):
    """Means of h2 and sigma2_p on a fine grid of both over the supports of their priors, from the formulas."""
    X, y = data.X[:, 0], data.Y[:, 0]
    k, v = len(y) - 1, float(residual_variance(data)[0])
    low, high = h2_prior.support.lower_bound, h2_prior.support.upper_bound
    z = np.linspace(-45, 36, cells)
    h2, e2 = low + (high - low) * expit(z), 1 - high + (high - low) * expit(-z)
    least, most = sigma2_p_prior.support.lower_bound, getattr(sigma2_p_prior.support, "upper_bound", 40.0)
    nodes, weights = np.polynomial.legendre.leggauss(cells)
    sigma2_p = least + (most - least) * (nodes + 1) / 2
    d = h2[:, None] * data.s + e2[:, None]
    xvx, xvy, yvy = (X**2 / d).sum(axis=1), (X * y / d).sum(axis=1), (y**2 / d).sum(axis=1)
    quad = (yvy - xvy**2 / xvx) / v
    log_p = -(np.log(d).sum(axis=1) + np.log(xvx))[:, None] / 2 - k * np.log(sigma2_p) / 2
    log_p = log_p - quad[:, None] / sigma2_p / 2
    with jax.enable_x64(True):
        inside = np.clip(h2, low + 1e-15, high - 1e-15 if high == 1 else high)
        prior = np.asarray(h2_prior.log_prob(inside)) + np.log(expit(z) * expit(-z))
        log_p = log_p + prior[:, None] + np.asarray(sigma2_p_prior.log_prob(sigma2_p))
    mass = np.exp(log_p - log_p.max()) * weights
    mass /= mass.sum()
    return (mass * h2[:, None]).sum(), (mass * sigma2_p).sum() * v


PRIORS = {
    "a part of h2": (dist.Uniform(0.0, 0.5), dist.LogNormal(0.0, 2.0)),
    "a truncated normal": (dist.TruncatedNormal(0.3, 0.1, low=0.1, high=0.9), dist.LogNormal(0.0, 2.0)),
    "a bounded scale": (dist.Uniform(0.0, 1.0), dist.Uniform(0.0, 0.9)),
    "a part of both": (dist.Uniform(0.2, 0.5), dist.Uniform(0.3, 0.9)),
    "a scale from a bound": (dist.Beta(2.0, 3.0), dist.Pareto(0.5, 3.0)),
    "Beta(0.1, 0.1)": (dist.Beta(0.1, 0.1), dist.Gamma(2.0, 2.0)),
}


@pytest.fixture(scope="module")
def outside():
    """A trait whose likelihood is highest outside most of these priors."""
    rng = np.random.default_rng(1)
    s = np.sort(rng.gamma(0.5, 2, 300))
    return bl.simulate.rotated_trait(s / s.mean(), h2=0.8, rng=rng)


@pytest.mark.slow
@pytest.mark.parametrize("name", PRIORS)
def test_priors_end_where_their_supports_do(outside, name):
    h2, sigma2_p = PRIORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bl.InputWarning)  # the densities of variances have corners, and this is said
        posterior = exact.posterior(outside, VariancePrior(h2=h2, sigma2_p=sigma2_p))
        means = posterior.h2.mean, posterior.sigma2_p.mean
    assert_allclose(means, brute_force(outside, h2, sigma2_p), rtol=1e-7)
    low, high = h2.support.lower_bound, h2.support.upper_bound
    assert low < posterior.h2.quantile(0.001) < posterior.h2.quantile(0.999) < high


@pytest.mark.slow
def test_draws_have_the_support_of_the_prior(outside):
    """Where REML lies outside it: NUTS and the quadrature agree within 4 Monte Carlo errors."""
    prior = VariancePrior(h2=dist.Uniform(0.2, 0.5), sigma2_p=dist.Uniform(0.3, 0.9))
    draws = bl.sample(univariate, outside, seed=1, prior=prior, draws=500)["posterior"]["h2"].to_numpy()[..., 0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bl.InputWarning)
        oracle = exact.posterior(outside, prior).h2
    assert 0.2 < draws.min() < draws.max() < 0.5
    assert abs(draws.mean() - oracle.mean) < 4 * arviz_stats.mcse(draws)


@pytest.mark.parametrize(
    ("field", "prior"),
    [("h2", dist.Normal(0.5, 0.2)), ("h2", dist.Uniform(0.0, 1.5)), ("sigma2_p", dist.Normal(1.0, 1.0))],
)
def test_a_prior_outside_the_range_of_its_number_is_refused(small_data, field, prior):
    with pytest.raises(InputError, match=f"the prior of {field} must be a continuous distribution of one number on 0"):
        exact.posterior(small_data, VariancePrior()._replace(**{field: prior}))


def test_a_u_shaped_prior_keeps_its_mass_at_both_ends():
    """A K that says next to nothing: the posterior of h2 is its prior, Beta(a, a), however small a is."""
    s = 1 + 1e-4 * np.linspace(-1, 1, 6)
    data = bl.simulate.rotated_trait(s, h2=0.5, rng=np.random.default_rng(1))
    for a in (0.02, 0.1, 0.2, 1.0):
        h2 = exact.posterior(data, VariancePrior(h2=dist.Beta(a, a))).h2
        assert_allclose([h2.mean, h2.sd], [0.5, np.sqrt(1 / (4 * (2 * a + 1)))], rtol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("n", [50, 500, 10_000])
@pytest.mark.parametrize("unit", [1e-3, 1.0, 100.0])
def test_variances_add_up_where_k_says_little(n, unit):
    """E[sigma2_u] + E[sigma2_e] = E[sigma2_p], areas of 1, and moments of the densities those of the grid: 1e-6."""
    rng = np.random.default_rng(n)
    s = unit * np.sort(np.abs(1 + 0.05 * rng.standard_normal(n)))
    posterior = exact.posterior(bl.simulate.rotated_trait(s, h2=0.3, rng=rng))
    total = posterior.sigma2_u.mean + posterior.sigma2_e.mean
    assert_allclose(total, posterior.sigma2_p.mean, rtol=1e-6)
    for name in ("h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"):
        marginal = getattr(posterior, name)
        weight = marginal.density * (marginal.z[1] - marginal.z[0])
        assert_allclose(weight.sum(), 1, rtol=1e-6, err_msg=name)
        assert_allclose(weight @ marginal.to_value(marginal.z), marginal.mean, rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("unit", [1e-130, 1e-4, 0.36, 100.0, 1e130])
def test_the_unit_of_k_does_not_matter(small_data, unit):
    """The same data and any unit of K give one posterior: pve, sigma2_e and the evidence, and sigma2_u in its unit."""
    one = exact.posterior(small_data)
    other = exact.posterior(small_data._replace(s=small_data.s * unit, k_scale=small_data.k_scale * unit))
    for name in ("pve", "share", "sigma2_e"):
        assert_allclose(getattr(other, name).mean, getattr(one, name).mean, rtol=1e-9)
        assert_allclose(getattr(other, name).interval(), getattr(one, name).interval(), rtol=1e-7)
    assert_allclose(other.sigma2_u.mean * unit, one.sigma2_u.mean, rtol=1e-9)
    assert_allclose([other.log_evidence, other.log_bayes_factor], [one.log_evidence, one.log_bayes_factor], atol=1e-8)
    assert_allclose(other.beta, one.beta, rtol=1e-8)


@pytest.mark.parametrize("unit", [1e-65, 1e-9, 1e9, 1e65])
def test_the_unit_of_the_trait_does_not_matter(small_data, unit):
    one, other = exact.posterior(small_data), exact.posterior(small_data._replace(Y=small_data.Y * unit))
    assert_allclose(other.h2.interval(), one.h2.interval(), rtol=1e-7)
    assert_allclose(np.array(other.sigma2_u.interval()) / unit / unit, one.sigma2_u.interval(), rtol=1e-7)
    assert_allclose(other.beta_interval(0), np.array(one.beta_interval(0)) * unit, rtol=1e-7)
    k = len(small_data.s) - small_data.X.shape[1]
    assert_allclose(other.log_evidence, one.log_evidence - k * np.log(unit), rtol=1e-10)


def test_draws_have_the_joint_posterior(small_data, rng):
    """Means of both and of their products, which depend on how they go together: 4 errors of independent draws."""
    posterior = exact.posterior(small_data)
    h2, total = posterior.draws(40_000, rng)
    sigma2_p = total * residual_variance(small_data)  # K has a mean diagonal of 1
    found = {"h2": h2, "sigma2_p": sigma2_p, "sigma2_u": h2 * sigma2_p, "sigma2_e": (1 - h2) * sigma2_p}
    for name, draws in found.items():
        known = getattr(posterior, name)
        assert abs(draws.mean() - known.mean) < 4 * known.sd / np.sqrt(len(draws)), name
        assert_allclose(draws.std(), known.sd, rtol=0.03)


def test_few_draws_come_from_all_parts_of_the_posterior(small_data, rng):
    posterior = exact.posterior(small_data)
    h2, _ = posterior.draws(4, rng)
    ends = [0.0, *(posterior.h2.quantile(p) for p in (0.25, 0.5, 0.75)), 1.0]
    cell = 0.01  # of the grid
    assert all(low - cell < draw < high + cell for low, draw, high in zip(ends, np.sort(h2), ends[1:], strict=False))
