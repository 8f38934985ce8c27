"""Records matched to kinships and groups, against the same made with pandas."""

import re

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.cohort.align_records import align_records
from bayeslmm.cohort.measurements import measure
from bayeslmm.cohort.tables import read_table
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.relation import Relation

WHO = [f"a{i}" for i in range(10)]
MOTHER_OF = {name: f"m{i // 3}" for i, name in enumerate(WHO)}
COVAR = "IID mother sex\n" + "".join(f"{name} {MOTHER_OF[name]} {'FM'[len(name) + int(name[1]) & 1]}\n" for name in WHO)


def table_of_records():
    """Return 41 records of 10 individuals; each of the first four lacks something, the last has no kinship."""
    rng = np.random.default_rng(5)
    rows = [
        [WHO[i], 1990 + y, w, a]
        for i, y, w, a in zip(
            rng.integers(0, 10, 40),
            rng.integers(0, 5, 40),
            rng.normal(size=40).round(3),
            rng.integers(1, 4, 40),
            strict=True,
        )
    ]
    rows[0][2] = rows[1][3] = rows[2][1] = "NA"
    rows.append(["stranger", 1990, 1.5, 1])
    return "IID year weight age\n" + "".join(" ".join(map(str, row)) + "\n" for row in rows)


TABLE = table_of_records()


@pytest.fixture
def kinship(rng):
    W = rng.standard_normal((14, 30))
    W /= np.linalg.norm(W, axis=1, keepdims=True)
    return Kinship((*WHO[::-1], "m3", "m1", "m0", "m2"), W @ W.T, "K.txt")


def measured(write, table=TABLE, **settings):
    """By default with the covariates of both tables, and a random effect of each."""
    settings = {"formula": "~ age + sex", "random": ["mother", "year"]} | settings
    phenotypes = read_table(write("pheno.txt", table), repeated=True)
    if "covariates" not in settings or settings["covariates"] is None:
        settings["covariate_table"] = read_table(write("covar.txt", COVAR))
    return measure(phenotypes, ["weight"], **settings)


AGE = {"covariates": ["age"], "formula": None, "random": ["year"]}
"""One covariate and one random effect, both in the table of records."""


def test_records_are_those_that_pandas_makes(write, kinship):
    mothers = Relation("maternal", kinship, MOTHER_OF)
    found = align_records(measured(write), "weight", [Relation("u", kinship), mothers], repeated=True)
    whole = pd.read_csv(write("again.txt", TABLE), sep=" ").merge(
        pd.read_csv(write("covar2.txt", COVAR), sep=" "), on="IID", how="left"
    )
    frame = whole.dropna()
    assert found.ids == tuple(frame.IID)
    assert len(frame) == 37
    assert found.individuals == frame.IID.nunique()
    records = found.records
    assert_allclose(records.y, frame.weight)
    assert_allclose(records.X, np.column_stack([np.ones(37), frame.age, frame.sex == "M"]))
    assert records.names == ("u", "maternal", "pe", "mother", "year", "e")
    row = {name: i for i, name in enumerate(kinship.ids)}
    own, theirs = ([row[name] for name in names] for names in (frame.IID, frame.mother))
    wanted = [kinship.K[np.ix_(own, own)], kinship.K[np.ix_(theirs, theirs)]]
    wanted += [
        np.equal.outer(*[column.to_numpy()] * 2).astype(float) for column in (frame.IID, frame.mother, frame.year)
    ]
    for component, V in zip(records.components, wanted, strict=True):
        assert_allclose(component.covariance(), V, rtol=1e-14)
    assert [str(drop) for drop in found.dropped] == [
        f"1 records without a value of weight ({whole.IID[0]})",
        "1 records without a row in the covariate file (stranger)",
        f"1 records without a value of the covariate age ({whole.IID[1]})",
        f"1 records without a value of the random effect year ({whole.IID[2]})",
    ]


def test_records_without_a_kinship_or_a_known_mother_are_dropped_and_counted(write, kinship):
    mothers = Relation("maternal", kinship, {name: one for name, one in MOTHER_OF.items() if name != "a3"})
    measurements = measured(write, **AGE)
    found = align_records(measurements, "weight", [Relation("u", kinship), mothers])
    assert "a3" not in found.ids
    assert "stranger" not in found.ids
    count = TABLE.count("a3 ")
    assert [str(drop) for drop in found.dropped[-2:]] == [
        f"1 records in {measurements.source} but not in K.txt (stranger)",
        f"{count} records in {measurements.source} but not in K.txt, of whose effect (maternal) it is (a3, a3)",
    ]


def test_each_kinship_is_centred_and_normalised_over_its_levels(write, kinship):
    one = measured(write, **AGE)
    found = align_records(one, "weight", [Relation("u", kinship)], centred=True, normalised=True)
    (component, _) = found.records.components
    assert_allclose(component.K.sum(axis=0), 0, atol=1e-14)
    assert_allclose(np.trace(component.K) / len(component.K), 1)
    row = [kinship.ids.index(name) for name in component.levels]
    K = kinship.K[np.ix_(row, row)]
    J = np.eye(len(K)) - 1 / len(K)
    assert_allclose(component.K, J @ K @ J / np.trace(J @ K @ J) * len(K), rtol=1e-12)


def test_all_columns_of_a_table_of_covariates_but_the_random_ones_are_fixed(write):
    one = measured(write, covariates=None, formula=None, random=["mother"])
    assert list(one.covariates) == ["sex"]
    assert list(one.random) == ["mother"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"random": ["litter"]}, "has a column 'litter'"),
        ({"random": ["weight"]}, "weight cannot be a trait and a random effect at once"),
    ],
)
def test_columns_that_are_no_groups_are_refused(write, settings, words):
    with pytest.raises(InputError, match=words):
        measured(write, **settings)


def test_ids_that_match_nobody_are_refused(write):
    other = Kinship(("A1", "A2"), np.eye(2), "K.txt")
    with pytest.raises(InputError, match=r"no IID of .* \(such as a\d, .*\) is in K.txt .* another case.*for A1"):
        align_records(measured(write), "weight", [Relation("u", other)])


def test_codes_of_nothing_known_are_asked_about(write):
    count = TABLE.count(" 1990 ")
    with pytest.warns(InputWarning, match=f"0 in column 'year', in {count} rows, is taken as a level like any other"):
        one = measured(write, TABLE.replace(" 1990 ", " 0 "), **AGE)
    assert (one.random["year"] == "0").sum() == count


def test_fids_tell_individuals_apart_who_have_several_records(write):
    text = "FID IID weight\n1 a 1\n1 a 2\n2 a 3\n2 b 4\n"
    assert read_table(write("p.txt", text), repeated=True).ids == ("1 a", "1 a", "2 a", "2 b")
    assert read_table(write("q.txt", re.sub("^2 a", "2 c", text, flags=re.M)), repeated=True).ids == (
        "a",
        "a",
        "c",
        "b",
    )
