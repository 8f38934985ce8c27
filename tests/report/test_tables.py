"""Which numbers are printed, with which digits, beside which words."""

import re
from dataclasses import replace

import arviz_base
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad

import bayeslmm as bl
from bayeslmm.analyses.heritability import METHODS, Heritability, heritability
from bayeslmm.analyses.hsq import write_hsq
from bayeslmm.analyses.method import Drawn
from bayeslmm.analyses.table import Row
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators.information import profile_interval
from bayeslmm.posterior.diagnostics import Diagnostics, check_values
from bayeslmm.report.checks import checks_of_estimates
from bayeslmm.report.compare import Verdict, checks_of_agreement, verdicts
from bayeslmm.report.h2 import heritability_answers, heritability_table, result_lines
from conftest import request_of

NAMES = ["intercept", "a", "b"]


def fitted(data, *methods, **options):
    return heritability(data, trait="y", covariates=NAMES, seed=1, methods=list(methods), **options)


def with_draws(result: Heritability, rng, *, own: bool) -> Heritability:
    """The same with draws of h2 that are 0.2 on average."""
    draws = arviz_base.from_dict(
        {"posterior": {"h2": rng.beta(20, 80, (4, 500, 1))}, "sample_stats": {"diverging": np.zeros((4, 500), bool)}},
        dims={"h2": ["trait"]},
        coords={"trait": ["y"]},
    )
    row = Row("y", "nuts", "h2", 0.2, 0.04, "sd", 0.12, 0.28, "eti95")
    values = (1.0, 900.0, 900.0, 0, 0.9)
    drawn = Drawn(draws, Diagnostics(*values, check_values(*values, chains=4)))
    return replace(result, rows=(*result.rows, row), fits={**result.fits, "nuts": drawn}, own=own)


def on_boundary(data, *, at: str):
    """Data whose REML estimate is at an end of h2."""
    for seed in range(50):
        noise = np.random.default_rng(seed).standard_normal(len(data.s))
        found = data._replace(Y=(noise * data.s ** (0.5 if at == "h2 = 1" else -0.5))[:, None])
        if bl.reml(found).boundary == at:
            return found
    raise AssertionError


@pytest.mark.parametrize(
    ("at", "there"), [("h2 = 0", {"h2", "pve", "sigma2_u"}), ("h2 = 1", {"h2", "pve", "sigma2_e"})]
)
def test_parameters_on_the_boundary_say_so_and_all_have_intervals(small_data, at, there):
    data = on_boundary(small_data, at=at)
    result = fitted(data, "reml", "exact")
    cells = heritability_table(result)["REML (se)"]
    variances = ["h2", "pve", "sigma2_u", "sigma2_e"]
    assert {name for name in cells.index if "boundary" in cells[name]} == there
    for name in variances:
        lower, upper = map(float, re.search(r"([-\d.]+) to ([-\d.]+)\)$", cells[name]).groups())
        expected = profile_interval(result.reml, data, name)
        assert_allclose([lower, upper], expected, atol=0.006 * (expected[1] - expected[0]))
    notes = result.estimates.query("method == 'reml'").set_index("parameter")["note"]
    assert all(
        notes[name].startswith("boundary: " if name in there else f"{at} is on the boundary") for name in variances
    )


@pytest.mark.parametrize("unit", [1e-9, 1e9, 1.0])
def test_no_unit_of_the_trait_costs_digits(small_data, tmp_path, unit):
    """Terminal, report (the same table) and .hsq have at least 3 digits of a standard error in any unit."""
    data = small_data._replace(Y=small_data.Y * unit)
    result = fitted(data, "reml", "exact")
    estimates = result.estimates.set_index(["method", "parameter"])
    for column, method in (("REML (se)", "reml"), ("exact (sd)", "exact")):
        for name, cell in heritability_table(result)[column].items():
            row = estimates.loc[(method, name)] if cell else None
            if row is not None and np.isfinite(row["se"]):
                value, se = (float(part.strip("()")) for part in cell.split())
                assert_allclose(se, row["se"], rtol=0.006)
                assert_allclose(value, row["estimate"], atol=0.006 * row["se"])
    write_hsq(tmp_path / "y.hsq", result.reml, data)
    lines = [line.split("\t") for line in (tmp_path / "y.hsq").read_text().splitlines()]
    printed = {line[0]: line[1:] for line in lines}
    assert "e" not in "".join(printed["V(G)"] + printed["V(e)"])  # numbers without an exponent, as GCTA writes them
    reml = result.reml
    assert_allclose([float(printed[key][0]) for key in ("V(G)", "V(e)")], [reml.sigma2_u, reml.sigma2_e], rtol=1e-5)
    assert_allclose(float(printed["V(G)"][1]), estimates.loc[("reml", "sigma2_u"), "se"], rtol=1e-5)


def test_the_quadrature_is_the_answer_and_nuts_its_check(small_data, rng):
    result = with_draws(fitted(small_data, "reml", "exact"), rng, own=False)
    answer, check, *_ = heritability_answers(result)
    mean = result.exact.h2.mean
    assert f"{mean:.3f} (posterior mean, exact), with 95% probability between" in answer
    assert re.fullmatch(r"  NUTS, its check: posterior mean 0\.\d+ \(Monte Carlo error 0\.000\d+\)", check)
    assert "95% interval, exact" in heritability_table(result)


def test_a_program_of_the_users_own_is_the_answer_and_all_else_is_of_the_usual_model(small_data, rng):
    result = with_draws(fitted(small_data, "reml", "exact"), rng, own=True)
    (answer,) = heritability_answers(result)
    words = "(posterior mean, NUTS of your own model), with 95% probability between 0.120 and 0.280"
    assert answer == f"heritability of y: 0.200 {words}"
    assert list(heritability_table(result)) == [
        "REML (se), usual model", "exact (sd), usual model", "NUTS (sd)", "95% interval, NUTS",
    ]  # fmt: skip


def test_an_estimate_is_named_as_one(small_data):
    (answer,) = heritability_answers(fitted(small_data, "reml"))
    assert re.match(r"heritability of y: \S+ \(REML estimate\), with 95% confidence between", answer)


@pytest.mark.slow
@pytest.mark.parametrize("prior", [dist.Uniform(0.0, 1.0), dist.Beta(2.0, 5.0)])
def test_overlap_with_the_prior_equals_its_integral(small_data, prior):
    result = fitted(small_data, "exact", prior=bl.VariancePrior(h2=prior))
    value, density = result.exact.h2.curve()
    shared = quad(
        lambda h2: min(np.interp(h2, value, density), float(np.exp(prior.log_prob(h2)))), 0, 1, limit=500, epsabs=1e-4
    )[0]
    assert_allclose(result.prior_overlap, shared, atol=2e-3)


@pytest.mark.slow
def test_overlap_with_the_prior_is_graded():
    """The same trait on a kinship that says ever more: nearly unrelated individuals, relatives, many of them."""
    rng = np.random.default_rng(0)
    said = []
    for spread, n in ((0.05, 100), (1.0, 100), (1.5, 600)):
        s = np.exp(spread * rng.standard_normal(n))
        y = np.sqrt(0.5 * s + 0.5) * rng.standard_normal(n)
        data = bl.RotatedData(np.sort(s), y[np.argsort(s), None], rng.standard_normal((n, 3)), 1.0)
        result = fitted(data, "reml", "exact")
        said.append((result.prior_overlap, result_lines(result)))
    overlaps = [overlap for overlap, _ in said]
    assert overlaps[0] > 0.7 > overlaps[1] > 0.35 > overlaps[2]
    assert f"posterior and prior of h2 share {overlaps[0]:.0%}: the data say LITTLE about h2" in said[0][1]
    assert f"posterior and prior of h2 share {overlaps[1]:.0%}: the prior influences this estimate" in said[1][1]
    assert "posterior and prior" not in said[2][1]


def test_a_second_maximum_of_the_likelihood_is_noted(small_data):
    reml = bl.reml(small_data)
    two = replace(reml, other_modes=((0.97, reml.loglik - 0.4), (0.0, reml.loglik - 3.0)))
    rows = METHODS["reml"].rows(two, request_of(small_data, NAMES))
    (note,) = [row.note for row in rows if row.parameter == "h2"]
    assert (
        "the likelihood has more than one maximum: another at h2 = 0.97, 0.4 lower in log-likelihood and at h2 = 0, 3 l"
        in note
    )
    (check,) = checks_of_estimates(rows)
    assert check.state == "look"
    assert "more than one maximum" in check.advice


@pytest.fixture
def compared(dense):
    """Make a comparison with a table of given verdicts."""
    K, X, y, spectrum = dense
    cohort = Cohort(tuple(map(str, range(40))), ("y",), (tuple(NAMES),), K, y[:, None], (X,))
    real = bl.compare(spectrum.rotate(cohort.Y, cohort.X), cohort, trait="y", seed=1, chains=2, draws=100, warmup=100)

    def comparison(agrees, *, r_hat=1.0):
        against = {"reml": "exact", "ml": "reml", "em": "ml", "nuts": "exact"}
        table = pd.DataFrame({"method": against.keys(), "against": against.values(), "agrees": agrees, "why": "why"})
        values = (r_hat, 900.0, 900.0, 0, 0.9)
        result = replace(real.result, diagnostics=Diagnostics(*values, check_values(*values, chains=4)))
        return replace(real, table=table, result=result)

    return comparison


@pytest.mark.slow
def test_verdicts_count_what_could_be_judged(compared):
    text = "3 of 4 comparisons could be judged: all of them agree as far as theory says that they should"
    good, other = verdicts(compared(["yes", "yes", "-", "yes"]))
    assert good == Verdict("counts", text, good=True)
    assert other == Verdict("not judged", "em and ml: why", good=True)
    counted, *others = verdicts(compared(["yes", "no", "-", "yes"]))
    assert counted.text == "3 of 4 comparisons could be judged: 2 agree as far as theory says that they should"
    assert Verdict("disagrees", "ml and reml: why", good=False) in others
    assert others[0].sentence == "DISAGREES: ml and reml: why"


@pytest.mark.slow
def test_methods_that_did_not_converge_are_no_agreement(compared):
    found = verdicts(compared(["yes", "yes", "yes", "-"], r_hat=1.2))
    assert not found[0].good
    assert Verdict("not converged", "nuts and exact: why", good=False) in found
    checks = checks_of_agreement(found)
    assert {check.state for check in checks} == {"look"}
    assert (checks[1].text, checks[1].advice) == ("Not converged", "nuts and exact: why")
