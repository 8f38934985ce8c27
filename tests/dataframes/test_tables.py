import inspect

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.dataframes.tables import measurements_of


@pytest.fixture
def frame(rng):
    return pd.DataFrame(
        {
            "y": rng.gamma(2, size=8),
            "sex": pd.Categorical(["m", "f"] * 4, categories=["m", "f", "x"]),
            "age": [1, 2, 3, 4, None, 6, 7, 8],
            "old": [True, True, False, False] * 2,
            "tag": ["p", "q", None, "p", "q", "q", "p", "q"],
            "animal": [float(k) for k in range(10, 18)],
        },
        index=list("abcdefgh"),
    )


@pytest.fixture
def kinship():
    return bl.Kinship(tuple("hgfedcba"), np.eye(8), "K")


def test_only_what_the_formula_uses_is_taken_and_dropped(frame, kinship):
    (cohort,) = bl.align(kinship, measurements_of("y ~ sex + age + old", frame, id=None, kinship=kinship))
    assert cohort.ids == tuple("hgfdcba")
    assert cohort.covariates == (("intercept", "sex[f]", "age", "old"),)  # the first category is that of the column
    used = frame.loc[list("hgfdcba")]
    assert_array_equal(cohort.X[0][:, 1:], np.column_stack([used["sex"] == "f", used["age"], used["old"]]))
    assert_array_equal(cohort.Y[:, 0], frame.loc[list("hgfdcba"), "y"])
    assert [(drop.reason, drop.count) for drop in cohort.dropped] == [("without a value of the covariate age", 1)]


def test_text_without_a_value_is_missing(frame, kinship):
    (cohort,) = bl.align(kinship, measurements_of("y ~ tag", frame, id=None, kinship=kinship))
    assert cohort.ids == tuple("hgfedba")
    assert cohort.covariates == (("intercept", "tag[q]"),)


def test_what_pandas_has_as_text_or_categories_is_one(frame, kinship):
    frame["code"] = pd.Categorical([2, 1, 2, 1, 1, 2, None, 1], categories=[2, 1])
    frame["word"] = list("01010101")
    (cohort,) = bl.align(kinship, measurements_of("y ~ code + word", frame, id=None, kinship=kinship))
    assert cohort.ids == tuple("hfedcba")
    assert cohort.covariates == (("intercept", "code[1]", "word[1]"),)
    frame["word"] = ["1", "2", "x", "3", "4", "5", "6", "7"]
    with pytest.raises(
        InputError, match=r"data row 3 \(id c\): column 'word' holds numbers, but 1 of 8 values are none"
    ):
        measurements_of("y ~ word", frame, id=None, kinship=kinship)


def test_ids_may_be_a_column_of_numbers(frame):
    kinship = bl.Kinship(tuple(str(k) for k in range(10, 18)), np.eye(8), "K")
    assert measurements_of("y ~ 1", frame, id="animal", kinship=kinship).ids == kinship.ids
    with pytest.raises(
        InputError, match=r"no id of the index of data .* the column 'animal' has ids of K: id='animal'"
    ):
        measurements_of("y ~ 1", frame, id=None, kinship=kinship)


def test_row_numbers_are_no_ids(frame):
    """Though those of the individuals are whole numbers as well."""
    kinship = bl.Kinship(tuple(str(k) for k in range(9)), np.eye(9), "K")
    rows = frame.reset_index(drop=True).drop(columns=["animal", "age"])
    for data in (rows, rows.iloc[[3, 1, 2]]):
        with pytest.raises(
            InputError, match=r"the index of data has no name and holds whole numbers .*the column of ids \(id='...'\)"
        ):
            measurements_of("y ~ 1", data, id=None, kinship=kinship)
    assert measurements_of("y ~ 1", rows.rename_axis("id"), id=None, kinship=kinship).ids == kinship.ids[:8]


def test_traits_may_be_expressions(frame, kinship):
    frame.loc["c", "y"] = np.nan
    people = measurements_of("log(y) ~ age", frame, id=None, kinship=kinship)
    assert people.traits == ("log(y)",)
    assert_allclose(people.Y[:, 0], np.log(frame["y"]))
    frame.loc["d", "y"] = -1
    with pytest.raises(InputError, match=r"log\(y\) must be a finite number, but is not for 1 individuals \(d\)"):
        measurements_of("log(y) ~ age", frame, id=None, kinship=kinship)


@pytest.mark.parametrize(
    ("change", "formula", "id", "message"),
    [
        (lambda d: d, "~ sex", None, "a trait is needed before the ~, as in 'trait ~ sex'"),
        (lambda d: d, "y ~ sexx", None, "data: formula 'y ~ sexx': there is no column"),
        (lambda d: d, "z ~ sex", None, "data: formula 'z ~ sex': there is no column"),
        (lambda d: d, "y ~ sex", "nr", "data has no column 'nr' of ids; it has y, sex"),
        (lambda d: d.rename(index={"b": "a"}), "y ~ sex", None, "the index of data: ids must be unique"),
        (lambda d: d.assign(n=[None, *"bcdefgh"]), "y ~ sex", "n", "column 'n' of data, row 1: the id is missing"),
        (lambda d: d.set_index(["animal", "tag"]), "y ~ sex", None, "the index of data has 2 levels"),
        (lambda d: d.rename(columns={"age": "y"}), "y ~ sex", None, "column names must be unique"),
        (lambda d: d, "tag ~ sex", None, r"data row 1 \(id a\): column 'tag' must be a number or NA"),
        (lambda d: d.assign(age=[1, np.inf] * 4), "y ~ age", None, r"data row 2 \(id b\): column 'age' holds numbers"),
        (lambda d: d["y"], "y ~ 1", None, "data must be a DataFrame, but is a Series"),
    ],
)
def test_what_cannot_be_is_one_line(frame, kinship, change, formula, id, message):
    with pytest.raises(InputError, match=message):
        inspect.unwrap(measurements_of)(formula, change(frame), id=id, kinship=kinship)  # types are checked apart
