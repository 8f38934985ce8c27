import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.analyses.liability_rows import liability_row, with_liability_rows
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.estimators.liability import Liability

HALF = Liability(prevalence=0.01, case=1.0, cases=50, n=100)  # LDSC's unit test: a factor of 0.551907298063
RARE = Liability(prevalence=0.5, case=1.0, cases=10, n=100)  # 4.363323130


def test_a_row_is_multiplied():
    row = liability_row(Row("y", "exact", "h2", 0.4, 0.1, "sd", 0.2, 0.6, "eti95", 900.0, 1.001), HALF)
    assert_allclose([row.estimate, row.se, row.lower, row.upper], 0.551907298063 * np.array([0.4, 0.1, 0.2, 0.6]))
    assert (row.parameter, row.se_kind, row.interval, row.ess_bulk, row.note) == (
        "h2_liability", "sd", "eti95", 900.0, "",
    )  # fmt: skip
    assert liability_row(Row("y", "nuts", "share[pe]", 0.1), HALF).parameter == "share_liability[pe]"


def test_the_range_is_asked_anew():
    """A Wald interval may leave 0 to 1 on one scale and not on the other."""
    inside = wald_row("y", "reml", "h2", 0.9, 0.1, "average", wald_note("h2", 0.9, 0.1))
    assert inside.notes[0].kind == "wald_outside"
    assert liability_row(inside, HALF).notes == ()
    wide = wald_row("y", "reml", "h2", 0.2, 0.05, "average", wald_note("h2", 0.2, 0.05))
    assert wide.notes == ()
    (note,) = liability_row(wide, RARE).notes
    assert (note.kind, note.text[:40]) == ("outside", "the interval 0.445 to 1.3 leaves 0 to 1:")
    (note,) = liability_row(Row("y", "mom", "h2", 0.3), RARE).notes
    assert (note.kind, note.text.split(":")[0]) == ("outside", "1.31 is outside 0 to 1")
    assert liability_row(Row("y", "nuts", "h2"), RARE).notes == ()


def test_other_notes_are_kept():
    boundary = Note("boundary", "boundary: h2 = 0, no standard error exists")
    row = Row("y", "reml", "h2", 0.0, lower=0.0, upper=0.1, interval="profile95", notes=(boundary,))
    assert liability_row(row, RARE).notes == (boundary,)
    assert liability_row(row, RARE).on_boundary
    row = Row("y", "rhe", "h2", 0.1, notes=(Note("monte_carlo", "Monte Carlo error 0.01", 0.01),))
    assert [note.text for note in liability_row(row, RARE).notes] == ["Monte Carlo error 0.044"]


def test_each_h2_has_its_liability_after_it():
    rows = [Row("y", "reml", name, 0.1) for name in ("sigma2_u", "h2", "pve")]
    assert [row.parameter for row in with_liability_rows(rows, HALF)] == ["sigma2_u", "h2", "h2_liability", "pve"]
    assert with_liability_rows(rows, None) == rows


@pytest.fixture(scope="module")
def families():
    """200 individuals in families of 4, two values of a liability with h2 = 0.6, and K."""
    rng = np.random.default_rng(3)
    K = np.kron(np.eye(50), 0.5 + 0.5 * np.eye(4))
    liability = np.linalg.cholesky(0.6 * K + 0.4 * np.eye(200)) @ rng.standard_normal(200)
    ids = [f"p{i}" for i in range(200)]
    return pd.DataFrame({"case": np.where(liability > 1, 2, 1), "bmi": liability}, index=ids), K, ids


def test_a_fit_has_the_liability_first(families):
    frame, K, ids = families
    fit = bl.fit("case ~ 1", data=frame, kinship=K, ids=ids, prevalence=0.1587, methods=["reml", "exact", "mom"])
    liability, share = fit.result.liability, float((frame["case"] == 2).mean())
    assert (liability.share, liability.case) == (share, 2.0)
    table = fit.estimates.set_index(["method", "parameter"])
    for method in ("reml", "exact", "mom"):
        numbers = table.loc[method][["estimate", "se", "lower", "upper"]].astype(float)
        assert_allclose(numbers.loc["h2_liability"], liability.factor * numbers.loc["h2"], rtol=1e-12)
    assert fit.summary().index[0] == "h2_liability"
    first, second, third, *_ = repr(fit).splitlines()
    assert first.startswith("heritability of the liability of case: ")
    assert f"{liability.cases} of 200 are cases (case = 2)" in second
    assert "15.9% of the population" in second
    assert third.startswith("  heritability of the two values of case: ")
    drawn = fit.posterior["posterior"]
    assert_allclose(drawn["h2_liability"], liability.factor * drawn["h2"], rtol=1e-12)
    assert drawn["h2_liability"].attrs["prevalence"] == 0.1587
    assert fit.plot().get_figure() is not None


def test_without_a_prevalence_the_way_out_is_named(families):
    frame, K, ids = families
    with pytest.warns(InputWarning, match="not that of a liability .which h2, compare and fit give for a prevalence"):
        fit = bl.fit("case ~ 1", data=frame, kinship=K, ids=ids)
    assert "h2_liability" not in set(fit.estimates["parameter"])
    assert fit.result.liability is None


@pytest.mark.parametrize(
    ("formula", "settings", "words"),
    [
        ("bmi ~ 1", {"prevalence": 0.1}, "a prevalence needs a trait of two values, .* 'bmi' has 200 "),
        ("case ~ 1", {"prevalence": 1.2}, "prevalence is the share of cases in the population, .* 1.2 was given"),
        ("case ~ 1", {"prevalence": 0.1, "transform": "rank"}, "leave out transform"),
    ],
)
def test_what_has_no_liability_is_refused(families, formula, settings, words):
    frame, K, ids = families
    with pytest.raises(InputError, match=words):
        bl.fit(formula, data=frame, kinship=K, ids=ids, **settings)


def test_rotated_data_alone_do_not_tell_cases(small_data):
    with pytest.raises(InputError, match="needs the cohort before rotation"):
        bl.heritability(small_data, trait="y", covariates="abc", seed=1, methods=["reml"], prevalence=0.1)
