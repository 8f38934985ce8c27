import signal
import subprocess
import sys
import threading
import types
import warnings
from contextlib import contextmanager
from itertools import count

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood import one_trait
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.models import bivariate, multivariate, univariate
from bayeslmm.posterior import nuts
from conftest import two_modes

pytestmark = pytest.mark.slow

SHORT = {"chains": 2, "draws": 50, "warmup": 50}


def test_the_same_seed_gives_the_same_draws(small_data):
    first, again, other = (bl.sample(univariate, small_data, seed=seed, **SHORT) for seed in (7, 7, 8))
    assert_array_equal(first["posterior"]["h2"], again["posterior"]["h2"])
    assert (first["posterior"]["h2"] != other["posterior"]["h2"]).any()


def test_float64_inside_leaves_the_process_as_it_was(small_data):
    before = jnp.ones(2).dtype
    posterior = bl.sample(univariate, small_data, seed=1, **SHORT)
    assert posterior["posterior"]["h2"].dtype == np.float64
    assert jnp.ones(2).dtype == before
    assert not jax.config.jax_enable_x64


def test_chains_start_at_different_points(small_data):
    posterior = bl.sample(univariate, small_data, seed=1, chains=4, draws=4, warmup=1)
    assert len(np.unique(posterior["posterior"]["sigma2_p"][:, 0])) == 4


def test_priors_are_kept_with_the_result(small_data):
    prior = univariate.Prior(h2=dist.Beta(2.0, 3.0))
    posterior = bl.sample(univariate, small_data, seed=1, prior=prior, **SHORT)
    assert "Beta(concentration1=2, concentration0=3)" in posterior.attrs["prior"]
    assert posterior.attrs["model"] == "bayeslmm.models.univariate.model"
    by_default = bl.sample(univariate, small_data, seed=1, **SHORT)
    assert "LogNormal(loc=0, scale=2)" in by_default.attrs["prior"]


def test_many_samplers_do_not_heap_up_compiled_code(small_data, monkeypatch):
    monkeypatch.setattr(nuts, "_COMPILED_KEPT", 1)
    twice = jax.jit(lambda x: 2 * x)
    twice(1.0)
    assert twice._cache_size() == 1
    bl.sample(univariate, small_data, seed=1, chains=2, draws=50, warmup=49)
    assert twice._cache_size() == 0


def test_data_of_one_shape_share_a_compiled_sampler(small_data, rng, monkeypatch):
    """Another trait of the same people is compiled no more, and its draws are those of a sampler of its own."""
    monkeypatch.setattr(nuts, "_COMPILED", count(1))  # or it may be time to forget all of them
    other = small_data._replace(Y=rng.standard_normal(small_data.Y.shape), k_scale=2.0)
    nuts._sampler.cache_clear()
    expected = bl.sample(univariate, other, seed=1, **SHORT)
    nuts._sampler.cache_clear()
    bl.sample(univariate, small_data, seed=1, **SHORT)
    found = bl.sample(univariate, other, seed=1, **SHORT)
    assert nuts._sampler.cache_info().misses == 1
    for name in ("h2", "pve", "beta"):
        assert_array_equal(found["posterior"][name], expected["posterior"][name])


def test_a_prior_may_be_anything(small_data):
    """A dictionary, or a prior of ours with arrays in it, cannot be looked up by."""

    def model(data, prior):
        scale = numpyro.sample("scale", dist.HalfNormal(prior["sd"]))
        numpyro.sample("y", dist.Normal(0.0, scale).expand(data.Y.shape).to_event(2), obs=data.Y)

    by_dictionary = bl.sample(model, small_data, seed=1, prior={"sd": 10.0}, **SHORT)
    rms = np.sqrt(np.mean(small_data.Y**2))
    assert_allclose(by_dictionary["posterior"]["scale"].mean(), rms, rtol=0.2)  # spread of 100 draws about it: 0.11

    class WithArray(univariate.Prior):
        """Of the same values, but not hashable."""

        __hash__ = None

    found = bl.sample(univariate, small_data, seed=1, prior=WithArray(), **SHORT)
    expected = bl.sample(univariate, small_data, seed=1, **SHORT)
    # The same draws up to rounding, which grows along the chains.
    assert_allclose(found["posterior"]["h2"].mean(), expected["posterior"]["h2"].mean(), rtol=1e-2)


@pytest.mark.parametrize("chains", [1, 2])
def test_warmup_is_as_long_as_asked(small_data, chains):
    """Steps are taken 50 at a time: numbers that 50 does not divide give the same draws, cut elsewhere."""
    longer = bl.sample(univariate, small_data, seed=1, chains=chains, draws=130, warmup=70)
    shorter = bl.sample(univariate, small_data, seed=1, chains=chains, draws=7, warmup=70)
    assert longer["posterior"]["h2"].shape == (chains, 130, 1)
    assert_array_equal(shorter["posterior"]["h2"], longer["posterior"]["h2"][:, :7])


def test_a_strong_prior_rules(small_data):
    prior = univariate.Prior(h2=dist.Beta(3000.0, 7000.0))
    posterior = bl.sample(univariate, small_data, seed=1, prior=prior, chains=2, draws=500, warmup=500)
    assert_allclose(posterior["posterior"]["h2"].mean(), 0.3, atol=0.002)


def inverse_gammas(data):
    """A program of a user's own: MCMCglmm's V = 1, nu = 0.002 on both variances, a flat prior on the mean."""
    sigma2_u = numpyro.sample("sigma2_u", dist.InverseGamma(0.001, 0.001))
    sigma2_e = numpyro.sample("sigma2_e", dist.InverseGamma(0.001, 0.001))
    beta = numpyro.sample("beta", dist.ImproperUniform(dist.constraints.real, (), ()))
    scaled = data.k_scale * sigma2_u
    h2 = numpyro.deterministic("h2", scaled / (scaled + sigma2_e))
    numpyro.deterministic("high", h2 > 0.63)
    y = one_trait.univariate(data.s, data.X[:, 0] * beta, sigma2_u, sigma2_e)
    numpyro.sample("y", y, obs=data.Y[:, 0])


def test_a_program_of_the_users_own_equals_the_reference_quadrature(mouse_data, mouse_reference):
    """The reference is on GEMMA's scale of K; only h2 on the scale of pve does not depend on it."""
    reference = mouse_reference["bayes_exact"]["fits"]["mouse_hs1940_MCH_cXX"]
    data = mouse_data("MCH", "vanraden", centred=True)
    data = data._replace(s=data.s * reference["scale_for_h2"] / data.k_scale, k_scale=reference["scale_for_h2"])
    posterior = bl.sample(inverse_gammas, data, seed=2)
    assert bl.diagnose(posterior).failures == ()
    # What is true or false is 1 or 0 among the draws: ArviZ computes with it.
    assert posterior["posterior"]["high"].mean() == (posterior["posterior"]["h2"] > 0.63).mean()
    for name, key in (("h2", "h2"), ("sigma2_u", "vg"), ("sigma2_e", "ve")):
        draws, expected = posterior["posterior"][name].to_numpy(), reference["IG_0p001"][key]
        assert abs(draws.mean() - expected["mean"]) < 0.08 * expected["sd"]  # 4 Monte Carlo errors at ESS 2,500
        assert_allclose(draws.std(), expected["sd"], rtol=0.06)


def test_arviz_may_be_imported_first():
    """ArviZ's lazy stand-in for numpyro used to leave numpyro.factor broken (see sampling.py)."""
    script = """
import arviz, numpyro.distributions, numpy as np, bayeslmm as bl
from bayeslmm.models import univariate
data = bl.RotatedData(np.arange(1.0, 31), np.random.default_rng(1).standard_normal((30, 1)), np.ones((30, 1)))
print(bl.sample(univariate, data, seed=1, chains=1, draws=3, warmup=3)["posterior"]["h2"].shape)
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert run.stdout.strip() == "(1, 3, 1)", run.stderr


def test_numbers_of_chains_and_draws_are_checked(small_data):
    for name in ("chains", "draws", "warmup"):
        with pytest.raises(InputError, match=f"{name} must be at least 1, but 0 was given"):
            bl.sample(univariate, small_data, seed=1, **{**SHORT, name: 0})
    with pytest.raises(InputError, match="target_accept must be between 0 and 1, but 1 was given"):
        bl.sample(univariate, small_data, seed=1, target_accept=1.0)


def test_results_survive_the_disk(small_data, tmp_path):
    import xarray as xr

    posterior = bl.sample(univariate, small_data, seed=1, attrs={"dropped": "[]"}, **SHORT)
    posterior.to_netcdf(tmp_path / "x.nc", engine="h5netcdf")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        again = xr.open_datatree(tmp_path / "x.nc", engine="h5netcdf")
    assert_array_equal(again["posterior"]["h2"], posterior["posterior"]["h2"])
    assert again.attrs["dropped"] == "[]"


def two_hills(data):
    """Two normals, 12 standard deviations apart."""
    hills = dist.MixtureSameFamily(dist.Categorical(jnp.ones(2) / 2), dist.Normal(jnp.array([-1.5, 1.5]), 0.25))
    numpyro.sample("x", hills)
    numpyro.sample("y", dist.Normal(0.0, 1.0).expand(data.Y.shape).to_event(2), obs=data.Y)


def test_chains_of_one_trait_start_in_both_modes(small_data):
    """Each mode has about half of the probability, so that of 4 starts 2 are in either, and R-hat fails."""
    data = two_modes((200, 60, 4), 2e3)
    assert 0.4 < bl.exact.posterior(data).h2.mean < 0.6
    posterior = bl.sample(univariate, data, seed=1, draws=300, warmup=300)
    by_chain = posterior["posterior"]["h2"].to_numpy()[..., 0].mean(axis=1)
    assert by_chain.min() < 0.2 < 0.8 < by_chain.max()
    assert bl.diagnose(posterior).r_hat > 1.1


def test_chains_of_two_traits_with_two_modes_disagree():
    """Half of them start in either mode of each trait."""
    first, second = (two_modes((200, 60, 4), 2e3, seed=seed) for seed in (1, 2))
    n = len(first.s)
    data = JointData(first.s, np.column_stack([first.Y, second.Y]), (first.X, first.X), (np.zeros((n, 0)),) * 2)
    assert bl.diagnose(bl.sample(bivariate, data, seed=1, draws=300, warmup=300)).r_hat > 1.1


def test_chains_of_a_bare_program_start_apart_and_disagree(small_data):
    posterior = bl.sample(two_hills, small_data, seed=1, chains=8, draws=300, warmup=300)
    assert bl.diagnose(posterior).r_hat > 1.1
    means = posterior["posterior"]["x"].to_numpy().mean(axis=1)
    assert_allclose(np.abs(means), 1.5, atol=0.1)
    assert len(set(np.sign(means))) == 2


def test_chains_of_a_program_with_one_start_are_scattered_three_sds_wide(small_data, monkeypatch):
    """In coordinates in which the Laplace approximation is a standard normal."""
    seen = []

    def run(sampler, home, position, *others):
        seen.append(np.asarray(position["_dense"]))
        raise KeyError

    program = types.SimpleNamespace(DIMS={}, model=univariate.model, start=univariate.start)
    monkeypatch.setattr(nuts, "_run", run)
    with pytest.raises(KeyError):
        bl.sample(program, small_data, seed=1, chains=400)
    assert seen[0].shape == (400, 5)
    assert_allclose(seen[0].std(), 3, atol=4 * 3 / np.sqrt(2 * 2000))


def test_a_start_without_a_density_is_moved_towards_the_one_that_has_it(small_data):
    """A density of 1 - x^2 has none beyond 1, and the scatter about 0 is 2.1 wide."""

    def model(data):
        x = numpyro.sample("x", dist.ImproperUniform(dist.constraints.real, (), ()))
        numpyro.factor("arch", jnp.log(1 - x**2))
        numpyro.sample("y", dist.Normal(0.0, 1.0).expand(data.Y.shape).to_event(2), obs=data.Y)

    program = types.SimpleNamespace(DIMS={}, model=model, start=lambda data: {"x": 0.0})
    assert (np.abs(bl.sample(program, small_data, seed=1, **SHORT)["posterior"]["x"]) < 1).all()
    program.start = lambda data: {"x": 2.0}
    with pytest.raises(InputError, match="the density of the model is not finite"):
        bl.sample(program, small_data, seed=1, **SHORT)


@in_float64
@pytest.mark.parametrize("program", [bivariate, multivariate])
def test_starts_of_several_traits_are_apart_and_inside_every_prior(rng, program):
    n = 60
    s, eye = np.linspace(0.1, 1.9, n), np.eye(n)
    E = (eye[:, :3], eye[:, 3:5])  # nobody's quadrature: each trait lacks some
    here = [1 - one.sum(axis=1) for one in E]
    X = tuple(one[:, None] for one in here)
    data = JointData(s, rng.standard_normal((n, 2)) * np.column_stack(here), X, E)
    prior = program.Prior(h2=dist.Uniform(0.0, 0.3), sigma2_p=dist.Uniform(0.0, 0.1))
    starts = program.starts(data, prior, 4, 1)
    assert {key: np.shape(value) for key, value in starts[0].items()} == {
        key: np.shape(value) for key, value in program.start(data).items()
    }
    h2 = np.array([one["_share"] for one in starts])
    assert (np.sort(h2, axis=0) < np.array([[0.3 / 4], [0.6 / 4], [0.9 / 4], [0.3]]) + 0.02).all()  # 1,000 draws
    assert h2.max() > 0.2
    # The REML estimate is not in this prior, and the starts are.
    posterior = bl.sample(program, data, prior=prior, seed=1, **SHORT)["posterior"]
    assert float(posterior["h2"].max()) < 0.3
    assert float((posterior["sigma2_p"] / np.var(data.Y, axis=0)).max()) < 0.12


def test_a_prior_that_the_model_does_not_take_is_refused(small_data):
    with pytest.raises(InputError, match=r"two_hills\(data\) takes none: leave it out"):
        bl.sample(two_hills, small_data, seed=1, prior=univariate.Prior(), **SHORT)
    with pytest.raises(InputError, match="the prior of model is a VariancePrior, but a BivariatePrior was given"):
        bl.sample(univariate, small_data, seed=1, prior=bivariate.Prior(), **SHORT)


def test_draws_do_not_depend_on_the_number_of_threads(small_data, monkeypatch):
    drawn = []
    for threads in ("1", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        drawn.append(bl.sample(univariate, small_data, seed=7, **SHORT | {"chains": 3})["posterior"]["h2"])
    assert_array_equal(*drawn)


@pytest.mark.parametrize("end", ["interrupt", "error"])
def test_an_interrupt_or_an_error_ends_all_chains(small_data, monkeypatch, end):
    """At the next 50 steps, not after all of them."""
    steps = []

    class Bar:
        def update(self, by):
            steps.append(by)
            if len(steps) == 5 and end == "interrupt":
                signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            if len(steps) == 5 and end == "error":
                raise OSError("broken")

    @contextmanager
    def bar(*args, **kwargs):
        yield Bar()

    monkeypatch.setattr(nuts, "progress_bar", bar)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a worker of pytest-xdist ignores it
    try:
        with pytest.raises(KeyboardInterrupt if end == "interrupt" else OSError):
            bl.sample(univariate, small_data, seed=1, chains=4, draws=100_000, warmup=50)
    finally:
        signal.signal(signal.SIGINT, before)
    assert len(steps) < 2000  # of 8,004
