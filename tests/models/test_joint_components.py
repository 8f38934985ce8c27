"""The program of several traits with several components: its density, prior and draws against other derivations."""

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from numpyro.infer.util import log_density
from scipy.special import logsumexp

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.cohort.joint_records import JointRecords
from bayeslmm.likelihood.joint_components import joint_components
from bayeslmm.likelihood.priors import JointComponentsPrior
from bayeslmm.models import joint_components as program
from bayeslmm.posterior.joint_components_geometry import prepare

slow = pytest.mark.slow


def some_of(records, names):
    parts = tuple(one for one in records.components if one.name in names)
    return joint_components(JointRecords(records.traits, records.Y, records.X, records.covariates, parts))


def log_prior(prior, Sigma):
    """Return that of shares, totals and the correlation of two traits, by SciPy's densities.

    Of one matrix for each component, shape (k, 2, 2), or of many, shape (m, k, 2, 2).
    """
    k = Sigma.shape[-3]
    variances = np.moveaxis(Sigma.diagonal(axis1=-2, axis2=-1), [-2, -1], [0, 1])  # (k, 2) and m
    total = variances.sum(axis=0)
    value = scipy.stats.lognorm(2.0).logpdf(total).sum(axis=0)
    for shares in np.moveaxis(variances / total, 1, 0):
        value += scipy.stats.dirichlet(prior.concentrations(k)).logpdf(shares)
    for j, eta in enumerate(prior.etas(k)):
        rho = Sigma[..., j, 0, 1] / np.sqrt(variances[j, 0] * variances[j, 1])
        value += scipy.stats.beta(eta, eta, loc=-1, scale=2).logpdf(rho)
    return value


@pytest.mark.parametrize("names", [("animal",), pytest.param(("mother", "year"), marks=slow), ("animal", "mother")])
@in_float64
def test_the_program_has_the_density_of_the_model(dense_joint_records, rng, names):
    """With effects and missing values integrated out by a Laplace approximation, exact here: by the dense formula."""
    data = some_of(dense_joint_records(2, 30), names)
    ready, k = prepare(data), len(names) + 1
    prior = JointComponentsPrior(eta=tuple(np.linspace(1, 2, k)))
    large = {name: np.shape(value) for name, value in program.start(data).items() if name[1] in "fe"}
    ends = np.cumsum([int(np.prod(shape)) for shape in large.values()])

    @jax.jit
    def log_integral(shares, total, probits, z):
        def at(z):
            parts = jnp.split(z, ends[:-1])
            values = {name: part.reshape(shape) for part, (name, shape) in zip(parts, large.items(), strict=True)}
            values |= {"_shares": shares, "_total": total} | {f"_L_{j}_base": probits[j : j + 1] for j in range(k)}
            return log_density(program.model, (ready, prior), {}, values)[0]

        value, slope, curvature = at(z), jax.grad(at)(z), -jax.hessian(at)(z)
        gain = slope @ jnp.linalg.solve(curvature, slope) / 2
        return value + gain + len(z) / 2 * np.log(2 * np.pi) - jnp.linalg.slogdet(curvature)[1] / 2

    for _ in range(3):
        shares, total = rng.dirichlet(np.ones(k), 2), rng.uniform(0.5, 2, 2)
        probits = rng.standard_normal(k)
        rho = 2 * scipy.stats.norm.cdf(probits) - 1
        roots = np.array([[[1, 0], [r, np.sqrt(1 - r**2)]] for r in rho])
        F = np.sqrt(shares * total[:, None]).T[:, :, None] * roots
        Sigma = F @ F.transpose(0, 2, 1)
        wanted = -(data.solver.at(Sigma).deviance + data.free * np.log(2 * np.pi)) / 2 + log_prior(prior, Sigma)
        wanted += (np.log(2) + scipy.stats.norm.logpdf(probits)).sum()  # a probit is uniform between -1 and 1
        assert_allclose(log_integral(shares, total, probits, rng.standard_normal(ends[-1])), wanted, rtol=1e-8)


@in_float64
def test_sites_are_in_the_users_units(dense_joint_records):
    data = joint_components(dense_joint_records(3))
    values, fit = program.start(data), bl.joint_components_reml(data)
    trace = numpyro.handlers.trace(numpyro.handlers.substitute(program.model, values)).get_trace(prepare(data))
    found = {name: np.asarray(trace[name]["value"]) for name in program.DIMS}
    assert_allclose(found["sigma2"], found["cov"].diagonal(axis1=1, axis2=2))
    assert_allclose(found["sigma2"].sum(axis=0), found["sigma2_p"])
    assert_allclose(found["share"], found["sigma2"] / found["sigma2_p"], rtol=1e-12)
    # The start is REML, but for what is near a bound there.
    inside = (fit.shares > 0.02) & np.isfinite(fit.errors("sigma2"))
    assert inside.sum() > 4
    assert_allclose(found["sigma2"][inside], fit.sigma2[inside], rtol=1e-6)
    assert abs(found["beta"] - np.concatenate(fit.beta)).max() < 6 * np.concatenate(fit.se_beta).max()


@in_float64
def test_the_prior_predictive_has_no_data_in_it(dense_joint_records):
    ready = prepare(joint_components(dense_joint_records(2)))
    draws = Predictive(program.model, num_samples=3)(jax.random.key(0), ready, JointComponentsPrior(2.0), observe=False)
    assert draws["y"].shape == (3, *ready.data.Y.shape)
    assert jnp.isfinite(draws["y"]).all()


def test_what_the_program_is_not_about_is_refused(dense_joint_records):
    with pytest.raises(InputError, match="two or more traits"):
        prepare(joint_components(dense_joint_records(1)))
    for eta in (0.0, (1.0, 1.0)):
        with pytest.raises(InputError, match="the LKJ priors of the correlations of 3 components"):
            JointComponentsPrior(eta=eta).etas(3)


def restricted(data, Sigma):
    """Return the restricted log-likelihood but for a constant, by dense covariances of all records, shape (m,)."""
    trait = np.repeat(np.arange(data.t), [one.n for one in data.traits])
    row = np.concatenate([np.flatnonzero(there) for there in data.records.known.T])
    everybody = np.arange(len(data.records.Y))
    V = sum(
        Sigma[:, j][:, trait[:, None], trait] * one.covariance(everybody)[row[:, None], row]
        for j, one in enumerate(data.parts)
    )
    y, X = np.concatenate([one.y for one in data.traits]), scipy.linalg.block_diag(*(one.Q for one in data.traits))
    solved = np.linalg.solve(V, np.column_stack([X, y])[None])
    ViX, Viy = solved[..., :-1], solved[..., -1]
    XtViX, XtViy = X.T @ ViX, Viy @ X
    yPy = Viy @ y - (XtViy * np.linalg.solve(XtViX, XtViy[..., None])[..., 0]).sum(axis=-1)
    return -(np.linalg.slogdet(V)[1] + np.linalg.slogdet(XtViX)[1] + yPy) / 2


class Weighted:
    """Draws of a posterior from Student t about other draws of it, weighted by a dense density of our own.

    On the line: log ratios of shares, logarithms of totals, and inverse hyperbolic tangents of correlations. Half of
    them from a t of twice the spread, so that a correlation near 1, which few of the other draws reached, does not
    take all the weight.
    """

    def __init__(self, data, shares, total, rho, m, rng):
        k = len(data.names)
        ratios = np.log(shares[..., :-1] / shares[..., -1:]).reshape(len(total), -1)
        about = np.column_stack([ratios, np.log(total), np.arctanh(rho)])
        proposals = [scipy.stats.multivariate_t(about.mean(axis=0), f * np.cov(about.T), df=5) for f in (1, 4)]
        points = np.concatenate([one.rvs(m // 2, random_state=rng) for one in proposals])
        ratios, log_total, z = np.split(points, [2 * (k - 1), 2 * k], axis=1)
        logits = np.concatenate([ratios.reshape(m, 2, k - 1), np.zeros((m, 2, 1))], axis=2)
        log_shares = logits - logsumexp(logits, axis=2, keepdims=True)
        self.shares, self.total = np.exp(log_shares), np.exp(log_total)
        self.rho = np.tanh(np.clip(z, -9, 9))  # beyond, the density is taken as that at 1 - 3e-8
        sd = np.sqrt(self.shares * self.total[..., None])  # (m, 2, k)
        Sigma = np.einsum("mak,mbk->mkab", sd, sd)
        Sigma[..., 0, 1] *= self.rho
        Sigma[..., 1, 0] *= self.rho
        of_rho = -2 * np.logaddexp(z, -z).sum(axis=1)  # log(1 - rho^2) but for a constant
        slopes = log_shares.sum(axis=(1, 2)) + log_total.sum(axis=1) + of_rho
        density = np.concatenate([restricted(data, some) for some in np.array_split(Sigma, -(-m // 256))])
        density += log_prior(JointComponentsPrior(), Sigma)
        log_proposal = np.logaddexp(*(one.logpdf(points) for one in proposals))
        log_weights = density + slopes - log_proposal
        self.weights = np.exp(log_weights - logsumexp(log_weights))

    def mean(self, values):
        return self.weights @ values

    def error(self, values):
        return np.linalg.norm(self.weights * (values - self.mean(values)))


def check_agreement(data, tree, m, *, ess, divergences=0):
    """Diagnostics, and means and spreads of shares and correlations within 4 errors of both together."""
    assert int(tree["sample_stats"]["diverging"].sum()) <= divergences
    draws = {name: tree["posterior"][name].to_numpy() for name in ("share", "rho", "sigma2_p")}
    scale = np.diag(data.units[-1])
    total = draws["sigma2_p"] / scale
    if (data.scales != 1).any():  # the prior is about each K divided by its mean diagonal
        sigma2 = draws["share"] * draws["sigma2_p"][:, :, None, :] / data.units.diagonal(axis1=1, axis2=2)
        total = sigma2.sum(axis=2)
        shares = sigma2 / total[:, :, None, :]
    else:
        shares = draws["share"]
    rho, flat = draws["rho"][..., 0, 1], (-1, 2)
    by_trait = np.moveaxis(shares, 2, 3)
    oracle = Weighted(
        data,
        by_trait.reshape(-1, 2, len(data.names)),
        total.reshape(flat),
        rho.reshape(-1, len(data.names)),
        m,
        np.random.default_rng(1),
    )
    assert 1 / np.square(oracle.weights).sum() > 400
    compared = [(f"rho[{name}]", rho[..., j], oracle.rho[:, j]) for j, name in enumerate(data.names)]
    compared += [
        (f"share[{name}] {a}", by_trait[..., a, j], oracle.shares[:, a, j])
        for j, name in enumerate(data.names)
        for a in range(2)
    ]
    compared += [(f"total {a}", np.log(total[..., a]), np.log(oracle.total[:, a])) for a in range(2)]
    for name, ours, theirs in compared:
        assert arviz_stats.rhat(ours) < 1.01, name
        assert arviz_stats.ess(ours) > ess, name
        error = np.hypot(float(arviz_stats.mcse(ours)), oracle.error(theirs))
        assert abs(ours.mean() - oracle.mean(theirs)) < 4 * error, name
        square = np.square(theirs - oracle.mean(theirs))
        ours_square = np.square(ours - ours.mean())
        error = np.hypot(float(arviz_stats.mcse(ours_square)), oracle.error(square))
        assert abs(ours_square.mean() - oracle.mean(square)) < 4 * error, f"sd of {name}"


@slow
def test_draws_agree_with_importance_sampling_of_the_dense_likelihood(dense_joint_records):
    """Of 40 rows, some without a trait, residuals may be correlated by nearly 1, where a few transitions diverge.

    At 0.95 they are none, or one of 4,000, as a processor rounds: means and spreads show whether that matters.
    """
    data = some_of(dense_joint_records(2, 40), ("animal", "mother"))
    draws = bl.sample(program, data, seed=1, target_accept=0.95)
    check_agreement(data, draws, 16_384, ess=1000, divergences=4)


@slow
def test_gryphons_of_one_component_agree_with_the_program_without_groups(
    gryphon_joint_components, gryphon_correlations
):
    """The same model and prior in other coordinates, by a program that is older."""
    tree = bl.sample(program, gryphon_joint_components("animal"), seed=1, warmup=400, draws=500)
    assert int(tree["sample_stats"]["diverging"].sum()) == 0
    other = gryphon_correlations.posterior["posterior"]
    pairs = {
        "rho_u": (tree["posterior"]["rho"][:, :, 0, 0, 1], other["rho_u"]),
        "rho_e": (tree["posterior"]["rho"][:, :, 1, 0, 1], other["rho_e"]),
        "rho_p": (tree["posterior"]["rho_p"][:, :, 0, 1], other["rho_p"]),
    }
    for a, trait in enumerate(("BWT", "TARSUS")):
        pairs[f"h2 {trait}"] = (tree["posterior"]["share"][:, :, 0, a], other["h2"][:, :, a])
        pairs[f"sigma2_p {trait}"] = (tree["posterior"]["sigma2_p"][:, :, a], other["sigma2_p"][:, :, a])
    for name, (ours, theirs) in pairs.items():
        ours, theirs = ours.to_numpy(), theirs.to_numpy()
        assert arviz_stats.rhat(ours) < 1.01, name
        error = np.hypot(float(arviz_stats.mcse(ours)), float(arviz_stats.mcse(theirs)))
        assert abs(ours.mean() - theirs.mean()) < 4 * error, name
        error = np.hypot(float(arviz_stats.mcse(ours, method="sd")), float(arviz_stats.mcse(theirs, method="sd")))
        assert abs(ours.std() - theirs.std()) < 4 * error, f"sd of {name}"


@slow
def test_gryphons_with_mothers_are_sampled_well(gryphon_joint_components):
    """The first 200, of 101 mothers: all 854 take a quarter of an hour."""
    data = gryphon_joint_components("animal+mother", 200)
    tree = bl.sample(program, data, seed=1, warmup=500, draws=500)
    assert int(tree["sample_stats"]["diverging"].sum()) == 0
    for name in ("share", "rho", "sigma2_p", "beta"):
        draws = tree["posterior"][name].to_numpy()
        draws = np.moveaxis(draws.reshape(*draws.shape[:2], -1), 2, 0)
        varying = [one for one in draws if np.ptp(one) > 1e-9]
        assert max(float(arviz_stats.rhat(one)) for one in varying) < 1.01, name
    assert tree["posterior"]["rho"].sel(component="mother", trait="BWT", trait_bis="TARSUS").mean() < 0
    assert tree["observed_data"]["y"].shape == (200, 2)
