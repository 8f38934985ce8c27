from dataclasses import replace

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import truncnorm

import bayeslmm as bl
from bayeslmm.analyses import correlations as correlations_module
from bayeslmm.analyses import method as method_module
from bayeslmm.analyses import pairs
from bayeslmm.analyses.joint_methods import importance as joint_importance_method
from bayeslmm.analyses.joint_methods import reml
from bayeslmm.analyses.method import JointRequest
from bayeslmm.analyses.table import select
from bayeslmm.estimators.joint_search import SearchError
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.priors import BivariatePrior, MultivariatePrior
from bayeslmm.models import bivariate
from bayeslmm.posterior import weighted as weighted_module
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.report.plots.rg import correlation_panels
from bayeslmm.report.rg import correlation_lines

FAST = {"chains": 2, "draws": 300, "warmup": 300}
OF_TRAIT, OF_PAIR = ["sigma2_u", "sigma2_e", "h2"], ["rho_u", "rho_e", "rho_p", "cov_u", "cov_e"]


def values(result, method, trait, column="estimate"):
    rows = result.estimates[(result.estimates["method"] == method) & (result.estimates["trait"] == trait)]
    return dict(zip(rows["parameter"], rows[column], strict=True))


@pytest.fixture(scope="module")
def gryphon(gryphon_correlations):
    return gryphon_correlations


@pytest.mark.slow
def test_rows_of_every_method(gryphon):
    assert gryphon.estimates["method"].unique().tolist() == ["mom", "reml", "nuts"]
    for method in ("mom", "reml", "nuts"):
        betas = [] if method == "mom" else ["beta[intercept]"]
        for trait in ("BWT", "TARSUS"):
            assert list(values(gryphon, method, trait)) == OF_TRAIT + betas
        assert list(values(gryphon, method, "BWT:TARSUS")) == OF_PAIR
    of_pair, of_one = values(gryphon, "reml", "BWT:TARSUS"), values(gryphon, "reml", "BWT")
    assert_allclose(of_pair["rho_u"], 0.38144, atol=1e-5)
    assert_allclose(of_one["h2"], 0.4666459, atol=1e-6)
    assert_allclose(of_pair["cov_u"], gryphon.reml.Gamma_u[0, 1])
    assert_allclose(values(gryphon, "reml", "BWT:TARSUS", "se")["rho_u"], 0.1299758, atol=1e-6)
    assert set(values(gryphon, "reml", "BWT", "se_kind").values()) == {"average", "gls"}
    assert set(values(gryphon, "nuts", "BWT:TARSUS", "interval").values()) == {"eti95"}


@pytest.mark.slow
def test_phenotypic_correlation_is_that_of_the_sum(gryphon):
    Gamma = gryphon.reml.Gamma_u + gryphon.reml.Gamma_e
    rho_p = values(gryphon, "reml", "BWT:TARSUS")["rho_p"]
    assert_allclose(rho_p, Gamma[0, 1] / np.sqrt(Gamma[0, 0] * Gamma[1, 1]))


@pytest.mark.slow
def test_pairs_hold_tests_and_evidence(gryphon):
    (row,) = gryphon.pairs.to_dict("records")
    assert (row["pair"], row["both"]) == ("BWT:TARSUS", 683)
    assert 0.97 < row["probability_positive"] < 1
    assert row["identified"]
    assert_allclose(row["ratio_zero"], 5.878, atol=0.01)
    note = values(gryphon, "nuts", "BWT:TARSUS", "note")["rho_u"]
    assert note.startswith(f"P(rho_u > 0) = {row['probability_positive']:.4g}; posterior and prior share 3")
    lines = correlation_lines(gryphon)
    assert "genetic correlation of BWT and TARSUS: 0.3" in lines
    assert "683 individuals have both" in lines
    assert "WEAKLY IDENTIFIED" not in lines


@pytest.mark.slow
def test_a_trait_without_heritability_is_said_to_leave_rho_u_open(mouse_pair, tmp_path):
    Gamma_u, Gamma_e = np.diag([0.5, 0.0]), np.array([[0.5, 0.1], [0.1, 1.0]])
    data = bl.simulate.rotated_traits(mouse_pair(complete_only=True).s, Gamma_u, Gamma_e, rng=np.random.default_rng(0))
    result = bl.correlations(data, traits=["A", "B"], covariates=[["one"]] * 2, seed=1)
    assert result.diagnostics.failures == ()
    assert not result.pairs["identified"].any()
    lines = correlation_lines(result)
    assert "rho_u is WEAKLY IDENTIFIED, the prior strongly influences this estimate" in lines
    assert result.reml.boundary
    assert values(result, "reml", "A:B", "interval")["rho_u"] == "profile95"
    assert values(result, "reml", "A:B", "lower")["rho_u"] == pytest.approx(-1, abs=0.01)
    assert pd.isna(values(result, "reml", "A:B", "se")["rho_u"])
    assert pd.isna(values(result, "reml", "A:B", "lower")["cov_u"])
    assert "boundary: rho_u = " in lines
    assert "boundary" not in values(result, "reml", "A", "note")["h2"]
    write_figure(figure_of(correlation_panels(result)), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 20_000


@pytest.mark.slow
def test_moments_outside_are_named(mouse_pair):
    result = bl.correlations(
        mouse_pair(complete_only=True), traits=["CD8", "MCH"], covariates=[["one"]] * 2, seed=1, methods=["mom"]
    )
    notes = values(result, "mom", "CD8:MCH", "note")
    assert notes["rho_e"] == "undefined: sigma2_e of CD8 is negative; Gamma_e not positive semi-definite"
    assert np.isnan(values(result, "mom", "CD8:MCH")["rho_e"])
    assert np.isfinite(values(result, "mom", "CD8:MCH")["rho_u"])
    assert values(result, "mom", "CD8", "note")["h2"].startswith(
        "outside the parameter space: sigma2_e of CD8 is negative"
    )
    assert_allclose(values(result, "mom", "CD8")["h2"], 1.277, atol=0.01)


@pytest.mark.slow
def test_nobody_with_both_leaves_rho_e_unidentified(rng, tmp_path):
    n = 60
    W = rng.standard_normal((n, 100)) * np.geomspace(3, 0.1, 100)
    K = W @ W.T / np.trace(W @ W.T) * n
    Y = np.linalg.cholesky(K + 1e-9 * np.eye(n)) @ rng.multivariate_normal([0, 0], [[1, 0.8], [0.8, 1]], n)
    Y += 0.7 * rng.standard_normal((n, 2))
    Y[:30, 0] = np.nan
    Y[30:, 1] = np.nan
    data = bl.decompose(K).rotate_jointly(Y, [np.ones((n, 1))] * 2)
    result = bl.correlations(data, traits=["A", "B"], covariates=[["one"]] * 2, seed=1, **FAST)
    for method in ("mom", "reml", "nuts"):
        assert "not identified: nobody has both traits" in values(result, method, "A:B", "note")["rho_e"]
        assert np.isfinite(values(result, method, "A:B")["cov_u"])
    assert np.isnan(values(result, "reml", "A:B")["rho_e"])
    alone = replace(result, rows=tuple(select(result.rows, method="nuts")), fits={"nuts": result.fits["nuts"]})
    assert "NUTS (rho_e of A:B, rho_p of A:B, cov_e of A:B): not identified: nobody has both" in correlation_lines(
        alone
    )
    write_figure(figure_of(correlation_panels(result)), tmp_path / "a.png")


@pytest.mark.slow
def test_three_traits_have_three_pairs_and_a_picture(rng, tmp_path):
    s = np.sort(rng.gamma(0.5, 2.0, 120))
    data = bl.simulate.rotated_traits(s, 0.5 * np.eye(3) + 0.1, 0.5 * np.eye(3), rng=rng)
    prior = MultivariatePrior(eta_u=2.0)
    result = bl.correlations(data, traits="ABC", covariates=[["one"]] * 3, seed=1, prior=prior, **FAST)
    assert result.pairs["pair"].tolist() == ["A:B", "A:C", "B:C"]
    assert list(values(result, "nuts", "B:C")) == OF_PAIR
    assert_allclose(result.rho_prior[0].base_dist.concentration1, 2.5)
    without = [
        bl.correlations(data, traits="ABC", covariates=[["one"]] * 3, seed=1, methods=[method])
        for method in ("reml", "mom")
    ]
    for one in (result, *without):
        write_figure(figure_of(correlation_panels(one)), tmp_path / "a.png")
        assert (tmp_path / "a.png").stat().st_size > 20_000


def test_a_prior_of_other_traits_is_refused(gryphon_pair):
    common = {"traits": ["A", "B"], "covariates": [["one"]] * 2, "seed": 1}
    with pytest.raises(bl.InputError, match=r"the prior of 2 traits must be a BivariatePrior"):
        bl.correlations(gryphon_pair, prior=MultivariatePrior(), **common)


def test_names_that_do_not_fit_are_refused(gryphon_pair):
    for traits, covariates in ((["A"], [["one"]]), (["A", "A"], [["one"]] * 2), (["A", "B"], [["one"]])):
        with pytest.raises(bl.InputError, match="two or more different traits with the covariates of each"):
            bl.correlations(gryphon_pair, traits=traits, covariates=covariates, seed=1)


def test_moments_alone_do_without_reml(gryphon_pair):
    result = bl.correlations(gryphon_pair, traits="AB", covariates=[["one"]] * 2, seed=1, methods=["mom", "mom"])
    assert result.reml is None
    assert list(result.seconds) == ["mom"]
    assert len(values(result, "mom", "A:B")) == len(result.estimates.query("trait == 'A:B'"))
    assert "genetic correlation of A and B: 0.319" in correlation_lines(result)


@pytest.mark.slow
def test_a_prior_of_rho_u_is_used_and_kept(rng):
    data = bl.simulate.rotated_traits(np.sort(rng.gamma(0.5, 2.0, 80)), np.eye(2), np.eye(2), rng=rng)
    prior = BivariatePrior(rho_u=dist.Uniform(0.0, 1.0))
    result = bl.correlations(
        data, traits=["A", "B"], covariates=[["one"]] * 2, seed=1, prior=prior, methods=["nuts"], **FAST
    )
    assert float(result.posterior["posterior"]["rho_u"].min()) > 0
    assert "Uniform(low=0, high=1)" in result.posterior.attrs["prior"]
    assert result.pairs["probability_positive"].tolist() == [1.0]


def null_pair(rng):
    """Two traits that vary less along the large eigenvalues: h2 = 0 of both."""
    s = np.sort(rng.gamma(1.0, 1.0, 80))
    data = bl.simulate.rotated_traits(s, np.zeros((2, 2)), np.array([[1, 0.4], [0.4, 1]]), rng=rng)
    return data._replace(Y=data.Y / np.sqrt(1 + s)[:, None])


@pytest.mark.slow
def test_no_genetic_correlation_is_made_of_variances_of_zero(rng, tmp_path):
    result = bl.correlations(null_pair(rng), traits="AB", covariates=[["one"]] * 2, seed=1, methods=["reml"])
    of_pair, notes = values(result, "reml", "A:B"), values(result, "reml", "A:B", "note")
    assert np.isnan(of_pair["rho_u"])
    assert notes["rho_u"] == "not identified: the genetic variance of A and B is estimated at 0"
    assert of_pair["cov_u"] == 0
    assert notes["rho_e"] == "no standard error exists: REML is on a bound, h2 = 0 of A and h2 = 0 of B"
    assert values(result, "reml", "A:B", "lower")["rho_e"] < of_pair["rho_e"]
    assert values(result, "reml", "A", "note")["h2"].startswith("boundary: h2 = 0 of A")
    (pair,) = result.pairs.to_dict("records")
    assert np.isnan([pair["p_zero"], pair["p_one"]]).all()
    lines = correlation_lines(result)
    assert "genetic correlation of A and B: not estimated" in lines
    assert pair["note"] in lines
    assert "nan" not in lines
    write_figure(figure_of(correlation_panels(result)), tmp_path / "a.png")


def boundary_triple(rng):
    s = np.sort(rng.gamma(1.0, 1.0, 120))
    return bl.simulate.rotated_traits(s, np.outer([0.7, 0.6, 0.5], [0.7, 0.6, 0.5]), 0.5 * np.eye(3), rng=rng)


@pytest.mark.slow
def test_one_failing_interval_or_test_does_not_take_the_others(rng, monkeypatch):
    """Three traits on the boundary: the searches of one pair fail, and its rows say so."""
    interval, tests = reml.likelihood_interval, pairs.correlation_tests

    def failing_interval(fit, data, parameter, at):
        if (parameter, at) == ("rho_e", (0, 2)):
            raise SearchError("lost on the way")
        return interval(fit, data, parameter, at)

    def failing_tests(fit, data, pair):
        if pair == (0, 2):
            raise SearchError("lost again")
        return tests(fit, data, pair)

    monkeypatch.setattr(reml, "likelihood_interval", failing_interval)
    monkeypatch.setattr(pairs, "correlation_tests", failing_tests)
    result = bl.correlations(boundary_triple(rng), traits="ABC", covariates=[["one"]] * 3, seed=1, methods=["reml"])
    assert result.reml.boundary
    for pair in ("A:B", "A:C", "B:C"):
        lost = pair == "A:C"
        assert ("no interval: lost on the way" in values(result, "reml", pair, "note")["rho_e"]) == lost
        assert np.isnan(values(result, "reml", pair, "lower")["rho_e"]) == lost
        (row,) = result.pairs[result.pairs["pair"] == pair].to_dict("records")
        assert row["note"] == ("no tests of rho_u: lost again" if lost else "")
        assert np.isnan(row["p_zero"]) == lost


def test_moments_are_kept_where_reml_fails(gryphon_pair, monkeypatch, tmp_path):
    def lost(data):
        raise SearchError("lost")

    monkeypatch.setattr(method_module, "joint_reml", lost)
    common = {"traits": "AB", "covariates": [["one"]] * 2, "seed": 1}
    result = bl.correlations(gryphon_pair, methods=["mom", "reml", "nuts"], **common)
    assert result.failed == {"reml": "lost", "nuts": "it starts from REML, and lost"}
    assert np.isfinite(values(result, "mom", "A:B")["rho_u"])
    assert values(result, "reml", "A:B", "note")["rho_u"] == "failed: lost"
    assert "REML: failed: lost" in correlation_lines(result)
    write_figure(figure_of(correlation_panels(result)), tmp_path / "a.png")
    with pytest.raises(SearchError, match="lost"):
        bl.correlations(gryphon_pair, methods=["reml"], **common)


def test_traits_that_are_the_same_are_refused_by_name(gryphon_pair):
    data = gryphon_pair.take([0, 0])
    data = data._replace(Y=data.Y * [1.0, 2.2046])
    for methods in (["mom"], ["reml"]):
        with pytest.raises(bl.InputError, match="LB is KG again, or a multiple of it, once covariates are fitted"):
            bl.correlations(data, traits=["KG", "LB"], covariates=[["one"]] * 2, seed=1, methods=methods)


@pytest.mark.parametrize(
    ("mean", "sd", "prior", "words"),
    [
        (0.6, 0.15, dist.Uniform(-1.0, 1.0), ""),
        (0.55, 0.19, dist.Uniform(-1.0, 1.0), ": its sign is clear, its size is weakly identified"),
        (0.3, 0.3, dist.Uniform(-1.0, 1.0), ": rho_u is weakly identified, the prior influences"),
        (0.0, 2.0, dist.Uniform(-1.0, 1.0), ": rho_u is WEAKLY IDENTIFIED, the prior strongly"),
        (0.5, 1.0, dist.Uniform(0.0, 1.0), ": rho_u is WEAKLY IDENTIFIED, the prior strongly"),
    ],
)
def test_words_on_what_is_identified_are_graded(mean, sd, prior, words):
    """Normal posteriors cut at the ends of the prior: loud where it is mostly the prior, quiet where a sign is sure."""
    low, high = float(prior.low), float(prior.high)
    rho = truncnorm((low - mean) / sd, (high - mean) / sd, mean, sd).ppf((np.arange(4000) + 0.5) / 4000)
    evidence = pairs.evidence_of(rho, prior)
    assert [note.kind for note in evidence.notes] == ["info", "prior"]
    note = evidence.notes[1].text
    assert words in note
    assert ("identified" in note.lower()) == (words != "") == (not evidence.identified)
    assert ("WEAKLY" in note) == ("WEAKLY" in words)


def test_a_prior_that_the_program_does_not_take_is_refused(gryphon_pair):
    with pytest.raises(bl.InputError, match="the program that NUTS samples takes none"):
        bl.correlations(
            gryphon_pair,
            traits=["a", "b"],
            covariates=[["intercept"]] * 2,
            seed=1,
            program=lambda data: None,
            prior=BivariatePrior(),
        )


def many_missing(rng, missing=210, n=600):
    """Two traits of 600 people, of whom 105 lack the one and 105 the other; eigenvectors are random."""
    s = np.sort(rng.gamma(2.0, 0.5, n))
    Gamma_u, Gamma_e = np.array([[0.5, 0.3], [0.3, 0.5]]), np.array([[0.5, 0.1], [0.1, 0.5]])
    data = bl.simulate.rotated_traits(s, Gamma_u, Gamma_e, rng=rng)
    U = np.linalg.qr(rng.standard_normal((n, n)))[0]
    E = np.array_split(U[:, :missing], 2, axis=1)
    Y = np.column_stack([y - part @ (part.T @ y) for y, part in zip(data.Y.T, E, strict=True)])
    X = tuple(X - part @ (part.T @ X) for X, part in zip(data.X, E, strict=True))
    return bl.JointData(s, Y, X, tuple(np.ascontiguousarray(part) for part in E), 1.0)


def test_many_missing_values_are_integrated_out_and_not_sampled(rng, tmp_path, monkeypatch):
    monkeypatch.setattr(joint_importance_method, "_LEAST", 512)
    common = {"traits": "AB", "covariates": [["one"]] * 2, "seed": 1, "chains": 2, "draws": 500}
    result = bl.correlations(many_missing(rng), **common)
    assert list(result.fits) == ["mom", "reml", "importance"]
    assert not result.failed
    lines = correlation_lines(result)
    assert "210 values are missing, more than 200: importance sampling" in lines
    assert " independent draws, Pareto k 0." in lines
    assert "Monte Carlo error" in values(result, "importance", "A:B", "note")["rho_u"]
    assert "P(rho_u > 0) = " in values(result, "importance", "A:B", "note")["rho_u"]
    draws = result.posterior["posterior"]
    assert draws["rho_u"].shape == (2, 500)
    weighted = result.importance
    error = values(result, "importance", "A:B", "se")["rho_u"] * np.hypot(1 / np.sqrt(1000), weighted.ess**-0.5)
    assert abs(float(draws["rho_u"].mean()) - values(result, "importance", "A:B")["rho_u"]) < 4 * error
    assert result.posterior.attrs["effective_draws"] == weighted.ess
    assert result.posterior["constant_data"]["E"].shape == (600, 210)
    write_figure(figure_of(correlation_panels(result)), tmp_path / "a.png")
    with pytest.raises(bl.InputError, match="posterior_predictive needs traits without missing values, but 210"):
        bl.with_groups(result.posterior, many_missing(rng), ["posterior_predictive"], program=bivariate, seed=1)
    with_prior = bl.with_groups(result.posterior, many_missing(rng), ["log_prior"], program=bivariate, seed=1)
    assert_allclose(with_prior["log_prior"]["rho_u"], np.log(0.5))


def test_who_takes_nuts_whatever_is_missing(rng):
    """Three traits, a program of the user's, a prior of fixed effects, or no more than 200 missing values."""
    white, fewer = (joint_whitened(many_missing(rng, missing)) for missing in (210, 200))
    request = JointRequest(
        seed=1, settings={}, program=bivariate, own=False, attrs=None, white=white, traits=("A", "B"),
        covariates=(("one",),) * 2, coords={}, workers=1,
    )  # fmt: skip
    assert correlations_module._default(request)[0] == ("mom", "reml", "importance")
    with_effects = {"prior": BivariatePrior(beta=dist.Normal(0.0, 1.0))}
    for change in ({"traits": ("A", "B", "C")}, {"own": True}, {"settings": with_effects}, {"white": fewer}):
        assert correlations_module._default(replace(request, **change)) == (("mom", "reml", "nuts"), "")


def test_importance_sampling_that_fails_does_not_take_the_others(rng, monkeypatch):
    monkeypatch.setattr(weighted_module, "MAX_PARETO_K", -9.0)
    monkeypatch.setattr(joint_importance_method, "_LEAST", 128)
    common = {"traits": "AB", "covariates": [["one"]] * 2, "seed": 1, "chains": 2, "draws": 50}
    result = bl.correlations(many_missing(rng), **common)
    assert list(result.fits) == ["mom", "reml"]
    assert "importance sampling of 2 traits failed: the Pareto k" in result.failed["importance"]
    assert result.reml is not None
    assert values(result, "importance", "A:B", "note")["rho_u"].startswith("failed: importance sampling of 2 traits")
    assert "importance sampling: failed: importance sampling of 2 traits failed" in correlation_lines(result)
    with pytest.raises(bl.AnalysisError, match="the Pareto k"):
        bl.correlations(many_missing(rng), **common, methods=["importance"])
