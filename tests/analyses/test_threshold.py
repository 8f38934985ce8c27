"""The threshold model as a method of `heritability`."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.posterior.diagnostics import worst

SHORT = {"chains": 2, "draws": 400, "warmup": 300}


@pytest.fixture(scope="module")
def families():
    """60 individuals in families of 4, two values of a liability with h2 = 0.6, and K."""
    rng = np.random.default_rng(3)
    K = np.kron(np.eye(15), 0.5 + 0.5 * np.eye(4))
    liability = np.linalg.cholesky(0.6 * K + 0.4 * np.eye(60)) @ rng.standard_normal(60)
    ids = [f"p{i}" for i in range(60)]
    frame = pd.DataFrame({"case": np.where(liability > 0.3, 2, 1), "bmi": liability}, index=ids)
    frame["only"] = ((frame["case"] == 2) & (np.arange(60) < 30)).astype(float)  # a group without others
    return frame, {"kinship": K, "ids": ids}


@pytest.fixture(scope="module")
def fitted(families):
    """With a prevalence far from the share of cases."""
    frame, of = families
    with pytest.warns(InputWarning, match="the threshold model takes the sample for the population"):
        return bl.fit("case ~ 1", data=frame, methods=["reml", "nuts", "threshold"], prevalence=0.02, **of, **SHORT)


def test_rows_are_those_of_the_draws(fitted):
    rows = fitted.estimates.query("method == 'threshold'").set_index("parameter")
    assert list(rows.index) == ["h2_liability", "sigma2_u_liability", "beta_liability[intercept]"]
    draws = fitted.result.threshold["posterior"]
    for name in ("h2_liability", "sigma2_u_liability"):
        values = draws[name].to_numpy()
        numbers = rows.loc[name, ["estimate", "se", "lower", "upper"]].astype(float)
        assert_allclose(numbers, [values.mean(), values.std(ddof=1), *np.quantile(values, [0.025, 0.975])], rtol=1e-9)
    assert (draws["h2_liability"] > 0).all()
    assert_allclose(draws["h2_liability"], 1 / (1 + 1 / draws["sigma2_u_liability"]), rtol=1e-9)
    assert draws["beta_liability"].coords["covariate"].to_numpy().tolist() == ["intercept"]


def test_the_answer_is_that_of_the_model_of_two_values(fitted):
    first, second, *_ = repr(fitted).splitlines()
    assert first.startswith("heritability of the liability of case: ")
    assert "(posterior mean, threshold model), with 95% probability between" in first
    assert "(posterior mean, NUTS)" in second


def test_a_sample_with_other_cases_is_told(fitted):
    (row,) = [row for row in fitted.result.rows if row.method == "threshold" and row.parameter == "h2_liability"]
    assert row.notes[0].kind == "meaningless"
    assert "0.02 of the population" in row.note


def test_draws_are_checked_as_those_of_nuts(fitted):
    by = {name: fitted.result.fits[name].diagnostics for name in ("nuts", "threshold")}
    both = fitted.result.diagnostics
    assert both.r_hat == max(one.r_hat for one in by.values())
    assert both.ess_bulk == min(one.ess_bulk for one in by.values())
    assert len(both.checks) == sum(len(one.checks) for one in by.values())
    assert both == worst({"NUTS": by["nuts"], "threshold": by["threshold"]})


def test_few_draws_fail_loudly(families):
    frame, of = families
    short = {"chains": 2, "draws": 20, "warmup": 60}
    fit = bl.fit("case ~ 1", data=frame, methods=["threshold"], **of, **short)
    assert any("bulk ESS is" in failure for failure in fit.result.diagnostics.failures)
    assert fit.posterior["posterior"].sizes["draw"] == 20
    assert "two values of" not in repr(fit)


@pytest.mark.parametrize(
    ("formula", "settings", "words"),
    [
        ("bmi ~ 1", {}, "the method threshold needs a trait of two values, .* 'bmi' has 60 "),
        ("case ~ only", {}, "the covariates separate cases from others, the covariate only above all"),
        ("case ~ 1", {"transform": "rank"}, "leave out transform"),
    ],
)
def test_what_it_cannot_do_is_refused(families, formula, settings, words):
    frame, of = families
    with pytest.raises(InputError, match=words):
        bl.fit(formula, data=frame, methods=["threshold"], **of, **settings)


def test_it_needs_individuals(small_data):
    with pytest.raises(InputError, match="needs cohort and spectrum"):
        bl.heritability(small_data, trait="y", covariates="abc", seed=1, methods=["threshold"])


def test_many_individuals_are_refused_with_a_forecast(families, monkeypatch):
    frame, of = families
    monkeypatch.setattr("bayeslmm.analyses.methods.threshold.MOST", 50)
    with pytest.raises(InputError, match="of 60 individuals takes about 0 minutes here, and is for at most 50"):
        bl.fit("case ~ 1", data=frame, methods=["threshold"], **of)
