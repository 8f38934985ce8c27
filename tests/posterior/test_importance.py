"""Importance sampling against reference posteriors, and against the quadrature for one component."""

import json
from itertools import pairwise

import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import logsumexp

import bayeslmm as bl
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.records import Records
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.priors import ComponentsPrior, VariancePrior
from bayeslmm.posterior import exact, importance, split_t
from conftest import as_given

slow = pytest.mark.slow
GRYPHON = [
    ("bwt", "animal+byear"), ("bwt", "byear+mother"), ("laydate", "animal+year+byear"), ("laydate", "pe+year+byear"),
    *(pytest.param("bwt", m, marks=slow) for m in ("animal", "animal+byear+mother", "animal+byear+mother+mgen")),
    *(pytest.param("laydate", m, marks=slow) for m in ("animal+pe", "animal+pe+year", "animal+pe+year+byear")),
]  # fmt: skip


@pytest.fixture(scope="module")
def reference(shared):
    return {name: json.loads((shared / name / "reference.json").read_text()) for name in ("gryphon_vc", "mouse_vc")}


def values_of(posterior):
    """Return draws by the names of the references."""
    named = list(enumerate(posterior.names))
    values = {f"sigma2_{name}": posterior.sigma2[:, j] for j, name in named}
    values |= {f"prop_{name}": posterior.share(name) for _, name in named}
    return values | {"sigma2_p": posterior.sigma2.sum(axis=1)}


def check(posterior, wanted, X):
    """Means and probabilities below the reference's quantiles within 4 errors, sds and evidence within 4 of theirs.

    A normal distribution has an error of sd / sqrt(2 ess) for its sd; the reference has some of its own. Log evidences
    are without 1/2 log|X'X|.
    """
    assert posterior.pareto_k < 0.7
    unit = posterior.ess**-0.5
    for name, values in values_of(posterior).items():
        there = wanted["posterior"][name]
        own = 3 * there.get("mcse_mean", 0.0) + 0.003 * there["sd"]
        assert abs(posterior.mean(values) - there["mean"]) < 4 * posterior.error(values) + own, name
        assert_allclose(posterior.sd(values), there["sd"], rtol=4 * unit + 0.01, err_msg=name)
        for probability, quantile in ((0.025, "q025"), (0.5, "median"), (0.975, "q975")):
            below = (values < there[quantile]).astype(float)
            assert abs(posterior.mean(below) - probability) < 4 * posterior.error(below) + 0.01, (name, quantile)
    log_evidence = posterior.log_evidence - np.linalg.slogdet(X.T @ X)[1] / 2
    own = 3 * wanted["log_marginal_likelihood_mcse"] + 0.003
    assert abs(log_evidence - wanted["log_marginal_likelihood"]) < 4 * posterior.log_evidence_error + own


@pytest.mark.parametrize(("trait", "model"), GRYPHON)
def test_gryphons_equal_the_reference(gryphon_components, reference, trait, model):
    data = as_given(gryphon_components(trait, model))
    wanted = reference["gryphon_vc"][trait]["models"][model]["posterior"]
    check(importance.importance(data, seed=1, draws=512), wanted, data.records.X)


@slow
@pytest.mark.parametrize("model", ["add+fam", "odd+even"])
def test_mice_equal_the_reference(mouse_components, reference, model):
    data = as_given(mouse_components("CD8", model))
    wanted = reference["mouse_vc"]["traits"]["CD8"]["models"][model]["posterior"]
    check(importance.importance(data, seed=1, draws=512), wanted, data.records.X)


@slow
@pytest.mark.parametrize("model", ["animal+pe", "animal+pe+year+byear"])
def test_bayes_factors_equal_the_reference(gryphon_components, reference, model):
    posterior = importance.importance(as_given(gryphon_components("laydate", model)), seed=1, draws=1024)
    for name, wanted in reference["gryphon_vc"]["laydate"]["bayes_factors"][model].items():
        ours = posterior.log_bayes_factor(name, seed=2)
        assert abs(ours.value - wanted["ln_BF"]) < 4 * ours.error + 0.01, name


def test_the_bayes_factor_of_the_only_component_equals_the_reference(gryphon_components, reference):
    models = reference["gryphon_vc"]["laydate"]["models"]
    evidence = {name: models[name]["posterior"]["log_marginal_likelihood"] for name in ("pe", "none")}
    posterior = importance.importance(gryphon_components("laydate", "pe"), seed=1, draws=256)
    wanted = evidence["pe"] - evidence["none"]
    ours = posterior.log_bayes_factor("pe", seed=1)
    assert abs(ours.value - wanted) < 4 * ours.error


@pytest.mark.parametrize(
    "prior",
    [
        pytest.param(ComponentsPrior(), marks=slow),
        ComponentsPrior((2.0, 5.0), dist.LogNormal(0.7, 0.2)),
        pytest.param(ComponentsPrior(0.5, dist.Uniform(0.9, 1.6)), marks=slow),
    ],
)
def test_one_component_equals_the_quadrature(dense_records, prior):
    """With any prior: shares are h2, whose prior is a Beta."""
    whole = dense_records()
    (animal,) = (one for one in whole.components if one.name == "animal")
    data = components(Records("y", whole.y, whole.X, whole.covariates, (animal,)))
    posterior = importance.importance(data, seed=1, prior=prior)
    s, U = np.linalg.eigh(animal.covariance())
    rotated = bl.RotatedData(np.maximum(s, 0), U.T @ whole.y[:, None], U.T @ whole.X)
    a, b = prior.concentrations(2)
    oracle = exact.posterior(rotated, VariancePrior(h2=dist.Beta(a, b), sigma2_p=prior.sigma2_p))
    for values, marginal in ((posterior.share("animal"), oracle.h2), (posterior.sigma2.sum(axis=1), oracle.sigma2_p)):
        assert abs(posterior.mean(values) - marginal.mean) < 4 * posterior.error(values)
        assert_allclose(posterior.sd(values), marginal.sd, rtol=0.06)
        assert_allclose(posterior.interval(values), marginal.interval(), atol=0.15 * marginal.sd)
    # The quadrature's evidence has no constants of the likelihood that do not depend on the variances.
    assert (
        abs(posterior.log_bayes_factor("animal", seed=1).value - oracle.log_bayes_factor)
        < 4 * posterior.log_evidence_error
    )


def test_weighted_draws(dense_records):
    posterior = importance.importance(components(dense_records()), seed=1, draws=512)
    values = posterior.share("animal", "pe")
    assert_allclose(posterior.weights.sum(), 1)
    assert_allclose(posterior.shares.sum(axis=1), 1)
    assert_allclose(values, posterior.share("animal") + posterior.share("pe"), rtol=1e-12)
    quantiles = [posterior.quantile(values, p) for p in (0.01, 0.3, 0.5, 0.9)]
    assert all(low < high for low, high in pairwise(quantiles))
    again = posterior.resampled(20_000, seed=1)
    share = again[:, [1, 3]].sum(axis=1) / again.sum(axis=1)
    assert_allclose(share.mean(), posterior.mean(values), atol=0.01 * posterior.sd(values))
    assert_allclose(np.quantile(share, [0.01, 0.3, 0.5, 0.9]), quantiles, atol=0.1 * posterior.sd(values))


def test_workers_and_seeds(dense_records):
    data = components(dense_records())
    first, same = (importance.importance(data, seed=1, draws=256, workers=workers) for workers in (1, 3))
    assert_array_equal(first.sigma2, same.sigma2)
    assert_array_equal(first.weights, same.weights)
    assert not np.allclose(importance.importance(data, seed=2, draws=256).sigma2, first.sigma2)


def test_units_change_the_evidence_by_their_jacobian(dense_records):
    records = dense_records()
    other = Records("y", 100 * records.y, records.X, records.covariates, records.components)
    data = components(records)
    one, two = (importance.importance(given, seed=1, draws=256) for given in (data, components(other)))
    assert_allclose(two.log_evidence - one.log_evidence, -(data.n - data.c) * np.log(100), rtol=1e-9)
    assert_allclose(two.sigma2, 1e4 * one.sigma2, rtol=1e-6)


def test_a_proposal_that_misses_is_refused(dense_records, monkeypatch):
    """One that is three times too narrow and has no tails."""
    wide = split_t.SplitT.of
    monkeypatch.setattr(split_t.SplitT, "of", lambda centre, covariance: wide(centre, covariance / 9))
    monkeypatch.setattr(split_t, "_DF", 1000)
    with pytest.raises(AnalysisError, match="Pareto k of its weights is"):
        importance.importance(components(dense_records()), seed=1, draws=512)


def test_bad_settings_are_refused(dense_records):
    data = components(dense_records())
    for wrong in (
        {"draws": 10},
        {"workers": 0},
        {"prior": ComponentsPrior((1.0, 2.0))},
        {"prior": ComponentsPrior(-1.0)},
    ):
        with pytest.raises(InputError):
            importance.importance(data, seed=1, **wrong)
    with pytest.raises(InputError, match="prior of sigma2_p"):
        importance.importance(data, seed=1, prior=ComponentsPrior(1.0, dist.Normal(0.0, 1.0)))
    posterior = importance.importance(data, seed=1, draws=256)
    for name in ("e", "nobody"):
        with pytest.raises(InputError, match="was to be left out"):
            posterior.log_bayes_factor(name, seed=1)
    with pytest.raises(InputError, match="a share is that of some of"):
        posterior.share("nobody")


def test_the_integral_over_the_total_is_exact(dense_records):
    """Against a grid ten times as fine and as wide."""
    data = components(dense_records())
    shares = np.array([[0.1, 0.3, 0.2, 0.1, 0.3]])
    unit = importance._at_shares(data, shares, 1, progress_bar("", total=1, unit=""))
    ours = logsumexp(importance._along_total(data, ComponentsPrior(), unit)[1])
    t = np.linspace(-6, 6, 60_001)
    loglik = np.array([data.loglik(data.solver.at(shares[0] * np.exp(at))) for at in t[::100]])
    formula = unit.log_dets - unit.quad / 2 * np.exp(-t) - (data.n - data.c) / 2 * t
    assert_allclose(formula[::100], loglik, rtol=1e-9)
    prior = -np.square(t / 2) / 2 - np.log(2) - np.log(2 * np.pi) / 2
    assert_allclose(ours, logsumexp(formula + prior) + np.log(t[1] - t[0]), atol=1e-7)
