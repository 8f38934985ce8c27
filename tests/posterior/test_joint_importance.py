from dataclasses import replace

import arviz_stats
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
from jax.scipy.linalg import block_diag
from numpy.testing import assert_allclose, assert_array_equal
from numpyro.infer.util import log_density
from scipy.special import expit, log_expit, logsumexp
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_reml import Mode
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.priors import BivariatePrior, MultivariatePrior
from bayeslmm.models import bivariate
from bayeslmm.posterior import weighted as weighted_module
from bayeslmm.posterior.joint_coordinates import JointCoordinates
from bayeslmm.posterior.joint_importance import joint_importance

PRIOR = BivariatePrior(h2=dist.Beta(2.0, 3.0), rho_u=dist.Uniform(-0.5, 1.0))


def dense_log_density(dense, Gamma_u, Gamma_e):
    """The restricted likelihood of the records, dense, at many matrices: no column for a missing value."""
    X, y, known = dense.stacked, dense.y, np.ix_(dense.known, dense.known)
    found = []
    for some in np.array_split(np.arange(len(Gamma_u)), 20):
        V = np.array([(np.kron(u, dense.K) + np.kron(e, np.eye(len(dense.K))))[known] for u, e in zip(
            Gamma_u[some], Gamma_e[some], strict=True)])  # fmt: skip
        inverse = np.linalg.inv(V)
        XVX = X.T @ inverse @ X
        beta = np.linalg.solve(XVX, (X.T @ inverse @ y)[..., None])[..., 0]
        residual = y - beta @ X.T
        quad = np.einsum("mi,mij,mj->m", residual, inverse, residual)
        found.append(-(np.linalg.slogdet(V)[1] + np.linalg.slogdet(XVX)[1] + quad) / 2)
    return np.concatenate(found)


def from_prior(dense, m, rng):
    """Draws of the prior of two traits, written out: h2 and totals where K has a mean diagonal of 1, correlations."""
    n = len(dense.K)
    k, v = np.trace(dense.K) / n, []
    for X, y in zip(dense.X, dense.Y.T, strict=True):
        known = ~np.isnan(y)
        residual = y[known] - X[known] @ np.linalg.lstsq(X[known], y[known], rcond=None)[0]
        v.append(residual @ residual / (known.sum() - X.shape[1]))
    h2, total = rng.beta(2.0, 3.0, (m, 2)), np.exp(2 * rng.standard_normal((m, 2))) * v
    rho_u, rho_e = rng.uniform(-0.5, 1.0, m), rng.uniform(-1.0, 1.0, m)

    def matrix(variance, rho):
        covariance = rho * np.sqrt(variance.prod(axis=1))
        return np.array([[variance[:, 0], covariance], [covariance, variance[:, 1]]]).transpose(2, 0, 1)

    return matrix(h2 * total / k, rho_u), matrix((1 - h2) * total, rho_e)


def test_equals_weighted_draws_of_the_prior_on_the_dense_likelihood(dense_traits):
    """25 people, six values missing: means within 4 Monte Carlo errors of both, sds within 10%."""
    dense = dense_traits(2)
    rng = np.random.default_rng(8)
    Gamma_u, Gamma_e = from_prior(dense, 16_000, rng)
    log_weights = dense_log_density(dense, Gamma_u, Gamma_e)
    weights = np.exp(log_weights - logsumexp(log_weights))
    assert 1 / np.square(weights).sum() > 150
    found = joint_importance(dense.data, seed=3, prior=PRIOR, draws=4096)
    assert found.pareto_k < 0.7
    theirs, ours = quantities.of_traits(Gamma_u, Gamma_e), quantities.of_traits(found.Gamma_u, found.Gamma_e)
    for name, at in (("h2", (0,)), ("h2", (1,)), ("rho_u", (0, 1)), ("rho_e", (0, 1)), ("rho_p", (0, 1))):
        expected, values = theirs[name][:, *at], ours[name][:, *at]
        mean = weights @ expected
        error = np.hypot(np.linalg.norm(weights * (expected - mean)), found.error(values))
        assert abs(found.mean(values) - mean) < 4 * error, (name, at)
        assert_allclose(found.sd(values), np.sqrt(weights @ (expected - mean) ** 2), rtol=0.1)


@in_float64
def test_prior_and_likelihood_are_those_of_the_program(dense_traits, rng):
    """Without missing values, and b at its mean: log density of coordinates against that of the sites, by differences.

    b integrates to its height at the mean times the root of a determinant; a logit has the Jacobian p (1 - p), where
    the program has probits: their Jacobian is taken off.
    """
    dense = dense_traits(2, missing=False)
    white = joint_whitened(dense.data)
    coordinates = JointCoordinates.of(PRIOR, 2)
    u = rng.normal(0.0, 0.7, (4, 6))
    Gamma_u, Gamma_e = coordinates.matrices(u)
    found = white.products.at(Gamma_u, Gamma_e).loglik + coordinates.log_prior(u)
    ready, sizes = bivariate.prepare(dense.data), [X.shape[1] for X in dense.data.X]
    expected = []
    for one, of_u, of_e in zip(u, Gamma_u, Gamma_e, strict=True):
        share, total, p = expit(one[:2]), np.exp(one[2:4]), expit(one[4:])
        scores = [float(norm.ppf(x)) for x in p]
        V = np.kron(of_u * white.unit_u, dense.K) + np.kron(of_e * white.unit_e, np.eye(len(dense.K)))
        Q = np.asarray(block_diag(*ready.data.X))
        U = np.kron(np.eye(2), bl.decompose(dense.K).U)
        XVX = Q.T @ U.T @ np.linalg.solve(V, U @ Q)
        b = np.linalg.solve(XVX, Q.T @ U.T @ np.linalg.solve(V, U @ dense.data.Y.T.ravel()))
        variance = np.repeat(np.diag(of_u * white.unit_u), sizes) * ready.along
        spread = np.sqrt(variance + np.repeat(np.diag(of_e * white.unit_e), sizes))
        sites = {"_share": share, "_total": total, "_b_base": (b - ready.least_squares) / spread}
        sites |= {"_rho_u_base": scores[0], "_rho_e_base": scores[1]}
        sites = {name: jnp.asarray(value) for name, value in sites.items()}
        joint = float(log_density(bivariate.model, (dense.data, PRIOR), {}, sites)[0]) - np.log(spread).sum()
        to_logits = np.sum(log_expit(one[:2]) + log_expit(-one[:2])) + one[2:4].sum()
        to_logits += sum(np.log(x * (1 - x)) + x_score**2 / 2 for x, x_score in zip(p, scores, strict=True))
        expected.append(joint + to_logits - np.linalg.slogdet(XVX)[1] / 2)
    assert_allclose(np.diff(found), np.diff(expected), rtol=1e-8)


@pytest.mark.parametrize("t", [2, 3, 4])
def test_coordinates_of_correlations_are_those_of_lkj(t, rng):
    """The density under LKJ(2.5), det^1.5, up to the volume of coordinates by differences."""
    coordinates = JointCoordinates.of(MultivariatePrior(eta_u=2.5, eta_e=1.0), t)
    pairs, below = t * (t - 1) // 2, np.tril_indices(t, -1)
    at = slice(2 * t, 2 * t + pairs)

    def rho(u):
        return quantities.correlation(coordinates.matrices(u[None])[0][0])

    heights = []
    for u in rng.normal(0.0, 0.8, (3, 2 * t + 2 * pairs)):
        steps = 1e-5 * np.eye(len(u))[at]
        slopes = np.array([(rho(u + step) - rho(u - step))[below] for step in steps]) / 2e-5
        expected = 1.5 * np.linalg.slogdet(rho(u))[1] + np.linalg.slogdet(slopes)[1]
        of_u = sum(line.log_density(u[[k]])[0] for k, line in list(enumerate(coordinates.lines))[at])
        heights.append(of_u - expected)
    assert_allclose(heights, heights[0], rtol=1e-7)


def test_coordinates_are_found_again(rng):
    coordinates = JointCoordinates.of(MultivariatePrior(), 3)
    u = rng.normal(0.0, 0.7, 12)
    Gamma_u, Gamma_e = (Gamma[0] for Gamma in coordinates.matrices(u[None]))
    rho = [quantities.correlation(Gamma) for Gamma in (Gamma_u, Gamma_e)]
    assert_allclose(coordinates.near(np.diag(Gamma_u), np.diag(Gamma_e), *rho), u, rtol=1e-9)


def test_three_traits_are_near_reml(dense_traits):
    """400 people: means of h2 within one posterior sd of REML; the same numbers whatever the number of workers."""
    data = dense_traits(3, 400).data
    fit = bl.joint_reml(data)
    one, two = (joint_importance(data, seed=1, draws=1024, workers=workers, fit=fit) for workers in (1, 2))
    assert_array_equal(one.weights, two.weights)
    assert one.ess > 100
    h2 = quantities.of_traits(one.Gamma_u, one.Gamma_e)["h2"]
    for j in range(3):
        assert abs(one.mean(h2[:, j]) - fit.h2[j]) < one.sd(h2[:, j])
    at = np.cumsum([0, *(X.shape[1] for X in data.X)])
    for j, (beta, se) in enumerate(zip(fit.beta, fit.se_beta, strict=True)):
        for k, value in enumerate(beta):
            drawn = one.beta[:, at[j] + k]
            assert abs(one.mean(drawn) - value) < se[k]
            assert_allclose(one.sd(drawn), se[k], rtol=0.3)


def test_what_is_not_possible_is_refused(dense_traits, monkeypatch):
    data = dense_traits(2).data
    with pytest.raises(bl.InputError, match="the prior of 2 traits must be a BivariatePrior, but is a Multi"):
        joint_importance(data, seed=1, prior=MultivariatePrior())
    with pytest.raises(bl.InputError, match="needs a flat prior of fixed effects"):
        joint_importance(data, seed=1, prior=BivariatePrior(beta=dist.Normal(0.0, 1.0)))
    with pytest.raises(bl.InputError, match="draws must be at least 100, but 10 was given"):
        joint_importance(data, seed=1, draws=10)
    with pytest.raises(bl.InputError, match="needs two or more, but one was given"):
        joint_importance(data.take([0]), seed=1)
    fit = bl.joint_reml(data)
    beside = replace(fit, others=(Mode(fit.loglik - 3.0, fit.Gamma_u, fit.Gamma_e),))
    with pytest.raises(bl.AnalysisError, match=r"one maximum .* but there is another, 3 lower: use NUTS"):
        joint_importance(data, seed=1, fit=beside)
    monkeypatch.setattr(weighted_module, "MAX_PARETO_K", -9.0)
    with pytest.raises(bl.AnalysisError, match=r"importance sampling of 2 traits failed: the Pareto k .* or NUTS"):
        joint_importance(data, seed=1, draws=256)


@pytest.mark.slow
def test_equals_nuts_on_the_gryphons(gryphon_pair, gryphon_correlations):
    """171 missing values: means within 4 Monte Carlo errors of both, standard deviations within 5%."""
    found = joint_importance(gryphon_pair, seed=2, draws=4096)
    draws = quantities.of_traits(
        *(gryphon_correlations.posterior["posterior"][name].to_numpy() for name in ("Gamma_u", "Gamma_e"))
    )
    ours = quantities.of_traits(found.Gamma_u, found.Gamma_e)
    compared = [("h2", (0,)), ("h2", (1,)), ("sigma2_u", (1,)), ("rho_u", (0, 1)), ("rho_e", (0, 1)), ("rho_p", (0, 1))]
    pairs = [(draws[name][(..., *at)], ours[name][:, *at]) for name, at in compared]
    beta = gryphon_correlations.posterior["posterior"]["beta"].to_numpy()
    pairs += [(beta[..., k], found.beta[:, k]) for k in range(2)]
    for sampled, values in pairs:
        error = np.hypot(arviz_stats.mcse(sampled, method="mean"), found.error(values))
        assert abs(sampled.mean() - found.mean(values)) < 4 * error
        assert_allclose(sampled.std(), found.sd(values), rtol=0.05)
