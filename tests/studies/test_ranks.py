import jax
import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose
from scipy.stats import binom, multivariate_normal

from bayeslmm.likelihood.priors import BivariatePrior, VariancePrior
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.studies.ranks import (
    BIVARIATE,
    UNIVARIATE,
    rank_ecdf,
    rank_table,
    rank_tasks,
    simulated_ranks,
    univariate_ranks,
)
from bayeslmm.studies.simulate import rotated_trait

N = 40


@pytest.fixture
def design(rng) -> RotatedData:
    return rotated_trait(np.linspace(0.2, 3, N), h2=0.5, rng=rng)


@pytest.mark.slow
def test_the_band_holds_99_in_100_uniform_samples(rng):
    """Within 4 Monte Carlo errors of 1,000 samples and of the 5,000 that the band is made of."""
    inside = np.mean([rank_ecdf(rng.uniform(size=100)).inside for _ in range(1000)])
    # Counts are whole numbers: the band can only be too wide, by the probability of one count.
    assert 0.99 - 4 * np.sqrt(0.01 * 0.99 * (1 / 1000 + 1 / 5000)) < inside < 0.999


@pytest.mark.parametrize("wrong", [lambda u: u**2, lambda u: 0.5 + 0.5 * (u - 0.5)])
def test_ranks_of_a_biased_or_too_wide_posterior_leave_the_band(rng, wrong):
    assert not rank_ecdf(wrong(rng.uniform(size=100))).inside


def test_the_ecdf_is_the_share_of_ranks_and_its_band_pointwise_binomial(rng):
    ranks = rng.uniform(size=100)
    ecdf = rank_ecdf(ranks)
    j = 20
    assert_allclose(ecdf.difference[j] + ecdf.points[j], (ranks <= ecdf.points[j]).mean(), atol=1e-12)
    # Simultaneous bands are wider than those of one point.
    assert ecdf.upper[j] + ecdf.points[j] > binom.ppf(0.995, 100, ecdf.points[j]) / 100


def test_traits_are_drawn_from_the_model_of_one_trait(design, rng):
    """Whitened by their own true variances, they are standard normal; parameters follow the priors."""
    draws = [UNIVARIATE.draw(design, VariancePrior(), rng) for _ in range(100)]
    z = np.array(
        [
            (data.Y[:, 0] - data.X @ truth["beta"][:, 0]) / np.sqrt(truth["sigma2_u"] * data.s + truth["sigma2_e"])
            for truth, data in draws
        ]
    )
    assert_allclose(z.mean(), 0, atol=4 / np.sqrt(z.size))
    assert_allclose(np.square(z).mean(axis=0), 1, atol=4 * np.sqrt(2 / 100))
    assert rank_ecdf(np.array([truth["h2"][0] for truth, _ in draws])).inside
    log_scale = np.log([truth["sigma2_p"][0] for truth, _ in draws])
    assert_allclose([log_scale.mean(), log_scale.std()], [0, 2], atol=4 * 2 / np.sqrt(100))


def test_traits_are_drawn_from_the_model_of_two_traits(design, rng):
    """Each row whitened by the dense Cholesky factor of its covariance matrix is standard normal."""
    joint = JointData(design.s, np.zeros((N, 2)), (design.X, design.X), (np.zeros((N, 0)),) * 2)
    sums = np.zeros((2, 2))
    for _ in range(60):
        truth, data = BIVARIATE.draw(joint, BivariatePrior(), rng)
        V = data.s[:, None, None] * truth["Gamma_u"] + truth["Gamma_e"]
        fixed = np.column_stack([design.X @ truth["beta"][:1], design.X @ truth["beta"][1:]])
        z = np.linalg.solve(np.linalg.cholesky(V), (data.Y - fixed)[:, :, None])[:, :, 0]
        sums += z.T @ z
    assert_allclose(sums / (60 * N), np.eye(2), atol=4 * np.sqrt(2 / (60 * N)))


@pytest.mark.slow
def test_ranks_do_not_depend_on_how_data_sets_are_shared_among_tasks(design):
    whole = univariate_ranks({"prior_h2": [1.0, 1.0], "seed": 3, "first": 0, "count": 3}, design)
    (last,) = univariate_ranks({"prior_h2": [1.0, 1.0], "seed": 3, "first": 2, "count": 1}, design)
    assert whole[2] == last
    table = rank_table([whole[:1], whole[1:]])
    assert list(table["quantity"]) == ["h2", "sigma2_p", "sigma2_u", "sigma2_e", "beta", "loglik"]
    assert (table["datasets"] == 3).all()
    assert table["ess"].min() > 200
    for one in whole:
        assert all(0 < rank < 1 for rank in one["rank"].values())
        # A rank in the middle is inside the interval, one at the end is not.
        assert all(one["holds"][name] for name, rank in one["rank"].items() if 0.1 < rank < 0.9)


@pytest.mark.slow
def test_draws_under_another_prior_than_the_truths_are_detected(design):
    """h2 from Beta(6, 1), its posterior under Beta(1, 1): 40 records do not overrule it; 60 ranks leave the band."""

    def draw(design, prior, rng):
        return UNIVARIATE.draw(design, prior._replace(h2=dist.Beta(6.0, 1.0)), rng)

    ranks = {}
    for name, study in (("right", UNIVARIATE), ("wrong", UNIVARIATE._replace(draw=draw))):
        records = [simulated_ranks(study, design, VariancePrior(), seed=4, number=number) for number in range(60)]
        ranks[name] = rank_ecdf(np.array([record["rank"]["h2"] for record in records]))
    assert ranks["right"].inside
    assert not ranks["wrong"].inside


def test_log_likelihoods_of_two_traits_are_those_of_the_dense_normal(design, rng):
    joint = JointData(design.s, rng.standard_normal((N, 2)), (design.X, design.X), (np.zeros((N, 0)),) * 2)
    Gamma_u, Gamma_e = np.array([[0.6, 0.2], [0.2, 0.3]]), np.array([[0.5, -0.1], [-0.1, 0.8]])
    beta = np.array([0.3, -0.2])
    with jax.enable_x64(True):
        at = {"Gamma_u": Gamma_u[None], "Gamma_e": Gamma_e[None], "beta": beta[None]}
        (found,) = np.asarray(BIVARIATE.logliks(joint, at))
    V = np.kron(Gamma_u, np.diag(design.s)) + np.kron(Gamma_e, np.eye(N))
    dense = multivariate_normal(np.concatenate([design.X[:, 0] * b for b in beta]), V).logpdf(joint.Y.T.ravel())
    assert_allclose(found, dense, rtol=1e-12)


def test_tasks_cover_all_data_sets_once():
    tasks = rank_tasks(60, seed=1)
    numbers = [number for task in tasks for number in range(task["first"], task["first"] + task["count"])]
    assert numbers == list(range(60))
