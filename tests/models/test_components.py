import json

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from numpyro.infer.util import log_density

import bayeslmm as bl
from bayeslmm.base.float64 import in_float64
from bayeslmm.cohort.records import Records
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.priors import ComponentsPrior
from bayeslmm.models import components as program
from bayeslmm.posterior.components_geometry import prepare
from conftest import as_given


@pytest.mark.parametrize(
    "names", [("pe", "year"), pytest.param(("year", "animal", "maternal", "pe"), marks=pytest.mark.slow)]
)
@in_float64
def test_the_program_has_the_density_of_the_model(dense_records, names):
    """With random effects integrated out by a Laplace approximation, exact here: that of the restricted likelihood."""
    whole = dense_records()
    parts = tuple(one for name in names for one in whole.components if one.name == name)
    data = components(Records("y", whole.y, whole.X, whole.covariates, parts))
    ready, rng = prepare(data), np.random.default_rng(1)
    sizes = [block.B.shape[1] for block in ready.blocks]

    @jax.jit
    def log_integral(theta, z):
        def at(z):
            bases = enumerate(jnp.split(z, np.cumsum(sizes)[:-1]))
            effects = {f"_effects_{j}_base": base for j, base in bases}
            values = {"_shares": theta / theta.sum(), "_total": theta.sum(), **effects}
            return log_density(program.model, (ready,), {}, values)[0]

        value, slope, curvature = at(z), jax.grad(at)(z), -jax.hessian(at)(z)
        gain = slope @ jnp.linalg.solve(curvature, slope) / 2
        return value + gain + len(z) / 2 * np.log(2 * np.pi) - jnp.linalg.slogdet(curvature)[1] / 2

    for theta in rng.dirichlet(np.ones(len(names) + 1), 3) * 1.3:
        solved = data.equations.at(theta)
        wanted = -(solved.log_dets + solved.quad + (data.n - data.c) * np.log(2 * np.pi)) / 2
        wanted += scipy.stats.dirichlet(np.ones(len(theta))).logpdf(theta / theta.sum())
        wanted += scipy.stats.lognorm(2.0).logpdf(theta.sum())
        assert_allclose(log_integral(theta, rng.standard_normal(sum(sizes))), wanted, rtol=1e-8)


@in_float64
def test_sites_are_in_the_users_units(dense_records):
    data = components(dense_records())
    values = program.start(data)
    trace = numpyro.handlers.trace(numpyro.handlers.substitute(program.model, values)).get_trace(prepare(data))
    sigma2 = np.asarray(trace["sigma2"]["value"])
    fit = bl.components_reml(data)
    assert_allclose(sigma2, np.asarray(values["_shares"]) * values["_total"] * data.units, rtol=1e-12)
    assert_allclose(trace["share"]["value"], sigma2 / sigma2.sum(), rtol=1e-12)
    assert abs(np.asarray(trace["beta"]["value"]) - fit.beta).max() < 6 * fit.se_beta.max()


@pytest.mark.slow
@in_float64
def test_the_prior_predictive_has_no_data_in_it(dense_records):
    ready = prepare(components(dense_records()))
    draws = Predictive(program.model, num_samples=3)(jax.random.key(0), ready, ComponentsPrior(2.0), observe=False)
    assert draws["y"].shape == (3, len(ready.data.s))
    assert jnp.isfinite(draws["y"]).all()


@pytest.mark.slow
def test_draws_agree_with_the_reference(gryphon_components, shared):
    """Repeated records, one component at 0: diagnostics, means and sds within 4 Monte Carlo errors, names."""
    data = as_given(gryphon_components("laydate", "pe+year+byear"))
    tree = bl.sample(program, data, seed=1)
    assert int(tree["sample_stats"]["diverging"].sum()) == 0
    reference = json.loads((shared / "gryphon_vc" / "reference.json").read_text())
    wanted = reference["laydate"]["models"]["pe+year+byear"]["posterior"]["posterior"]
    oracle = bl.importance(data, seed=1)
    for name in data.names:
        draws = tree["posterior"]["share"].sel(component=name).to_numpy()
        assert arviz_stats.rhat(draws) < 1.01
        assert arviz_stats.ess(draws) > 1000
        error = float(arviz_stats.mcse(draws))
        assert abs(draws.mean() - wanted[f"prop_{name}"]["mean"]) < 4 * error
        assert abs(draws.mean() - oracle.mean(oracle.share(name))) < 4 * np.hypot(
            error, oracle.error(oracle.share(name))
        )
        assert abs(draws.std() - wanted[f"prop_{name}"]["sd"]) < 4 * arviz_stats.mcse(draws, method="sd")
    assert tree.attrs["n"] == 1607
    assert tree["observed_data"]["y"].shape == (1607,)
