import itertools

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pytest
import scipy.stats
from numpy.testing import assert_allclose
from numpyro.infer import Predictive
from numpyro.infer.util import log_density
from scipy.stats import multivariate_normal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.two_values import Threshold, TwoValues
from bayeslmm.models import threshold
from bayeslmm.posterior.threshold_geometry import prepare


def families(cases, r=0.5, k=1.0):
    """Families of three of a relationship r, a column of cases for each; K has a mean diagonal of k."""
    case = np.array(cases, dtype=bool)
    K = k * np.kron(np.eye(len(case)), r + (1 - r) * np.eye(3))
    return TwoValues.of(bl.decompose(K), case.ravel(), np.ones((case.size, 1)))


def orthant(cases, mean, h2, r):
    """The probability that of three, of whom `cases` are cases, each is on its side: multivariate normal."""
    sign = np.array([1.0] * cases + [-1.0] * (3 - cases))
    V = h2 * (r + (1 - r) * np.eye(3)) + (1 - h2) * np.eye(3)
    return multivariate_normal(np.zeros(3), V * np.outer(sign, sign)).cdf(sign * mean)


@pytest.mark.parametrize(("h2", "k"), [(0.2, 1.0), (0.9, 0.3)])
@in_float64
def test_the_program_has_the_density_of_a_multivariate_normal(h2, k):
    """Effects and intercept integrated out on a grid: the orthant of the liability, under a normal prior of b."""
    ready = prepare(families([[1, 0, 0]], k=k))
    prior = VariancePrior(beta=dist.Normal(0.0, 1.5))
    points = np.linspace(-7, 7, 29)

    @jax.jit
    @jax.vmap
    def density(at):
        values = {"_share": jnp.asarray(h2), "b_base": at[:1], "_z_base": at[1:]}
        return jnp.exp(log_density(threshold.model, (ready, prior), {}, values)[0])

    grid = np.array([*itertools.product(points, repeat=4)])
    found = float(density(grid).sum()) * (points[1] - points[0]) ** 4
    b = np.linspace(-8, 8, 81)
    wanted = [scipy.stats.norm(0, 1.5).pdf(at) * orthant(1, at / np.sqrt(3), h2, 0.5) for at in b]
    assert_allclose(found, np.sum(wanted) * (b[1] - b[0]), rtol=5e-4)


def test_draws_agree_with_brute_force():
    """12 individuals in families of a relationship of 0.8, a flat prior of the mean: orthants over a grid of both.

    Three moments of h2 within 4 Monte Carlo errors.
    """
    counts = (3, 2, 0, 0)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    h2, mean = (nodes + 1) / 2, np.linspace(-5, 5, 21)
    by_count = {cases: np.array([[orthant(cases, mu, of, 0.8) for mu in mean] for of in h2]) for cases in (2, 3)}
    by_count[0] = by_count[3][:, ::-1]  # nobody is a case: the mean has the other sign
    density = np.prod([by_count[cases] for cases in counts], axis=0).sum(axis=1) * weights
    density /= density.sum()
    data = families([[1] * cases + [0] * (3 - cases) for cases in counts], r=0.8)
    draws = bl.sample(threshold, data, seed=3, target_accept=0.995)["posterior"]["h2_liability"].to_numpy()
    assert arviz_stats.rhat(draws) < 1.01
    for power in (1, 2, 3):
        values = draws**power
        assert abs(values.mean() - density @ h2**power) < 4 * float(arviz_stats.mcse(values))
    assert draws.mean() > 0.6  # that of the prior is 0.5


@in_float64
def test_sites_are_in_units_of_the_residual():
    data = families([[1, 0, 0], [1, 1, 0]], k=0.5)
    values = threshold.start(data) | {"_share": 0.8}
    trace = jax.tree.map(np.asarray, Predictive(threshold.model, {n: np.asarray(v)[None] for n, v in values.items()})(
        jax.random.key(0), prepare(data)
    ))  # fmt: skip
    assert_allclose(trace["sigma2_u_liability"], 0.8 / 0.2 / 0.5)
    assert_allclose(trace["h2_liability"], 8 / 9)
    assert_allclose(trace["beta_liability"][0] * np.sqrt(6 * 0.2), prepare(data).b * np.sign(prepare(data).R[0, 0]))


@in_float64
def test_the_prior_predictive_has_both_values():
    prior = VariancePrior(beta=dist.Normal(0.0, 1.0))
    draws = Predictive(threshold.model, num_samples=20)(
        jax.random.key(0), prepare(families([[1, 0, 0]] * 5)), prior, observe=False
    )
    assert draws["y"].shape == (20, 15)
    assert 0.1 < float(draws["y"].mean()) < 0.9


@in_float64
def test_far_tails_have_a_slope():
    def log_prob(mean):
        return Threshold(mean, 1.0).log_prob(np.array([True, False]))

    mean = jnp.array([-40.0, -40.0])
    assert_allclose(log_prob(mean), scipy.stats.norm.logcdf([-40, 40]).sum(), rtol=1e-10)
    assert_allclose(jax.grad(log_prob)(mean), [40 + 1 / 40, 0], rtol=1e-4, atol=1e-30)


def test_separated_values_are_refused_under_a_flat_prior_only():
    spectrum, rng = bl.decompose(np.eye(12)), np.random.default_rng(1)
    case = np.arange(12) > 5
    X = np.column_stack([np.ones(12), rng.standard_normal(12), np.arange(12.0)])
    data = TwoValues.of(spectrum, case, X)
    with pytest.raises(InputError, match="separate cases from others, the covariate number 3 above all"):
        bl.sample(threshold, data, seed=1)
    only_cases = np.column_stack([X[:, :2], np.arange(12) > 8]).astype(float)  # a group without others
    with pytest.raises(InputError, match="the covariate number 3 above all"):
        threshold.starts(TwoValues.of(spectrum, case, only_cases), None, 2, 1)
    assert len(threshold.starts(data, VariancePrior(beta=dist.Normal(0.0, 3.0)), 2, 1)) == 2
    assert len(threshold.starts(TwoValues.of(spectrum, case, X[:, :1]), None, 2, 1)) == 2


def test_cases_and_others_are_needed():
    spectrum = bl.decompose(np.eye(4))
    with pytest.raises(InputError, match="needs cases and others, but 4 of 4 are cases"):
        TwoValues.of(spectrum, np.ones(4, dtype=bool), np.ones((4, 1)))
    with pytest.raises(InputError, match="must have 4 rows like K, but they have 3 and 3"):
        TwoValues.of(spectrum, np.array([True, False, True]), np.ones((3, 1)))
