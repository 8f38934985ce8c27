import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.kinship.kinship import Kinship

TABLE = """IID A B age group
p0 1 2 30 x
p1 2 NA 31 y
p2 NA 4 32 x
p3 4.5 1 NA y
p4 5 6 34 x
p5 NA NA 35 y
p6 2 3 36 y
p7 1 5 30 x
p8 3 3 41 y
p9 0 1 29 x
"""


@pytest.fixture
def kinship(rng):
    n = 10
    W = rng.standard_normal((n, 30))
    K = W @ W.T
    return Kinship(tuple(f"p{i}" for i in reversed(range(n))), K / np.trace(K) * n, "K")


@pytest.fixture
def measured(write):
    def measure(**options):
        return bl.measure(bl.read_table(write("pheno.txt", TABLE)), ["A", "B"], **options)

    return measure


def test_everybody_with_a_trait_is_kept_in_the_order_of_k(kinship, measured):
    cohort = bl.align_jointly(kinship, measured())
    assert cohort.ids == ("p9", "p8", "p7", "p6", "p4", "p3", "p2", "p1", "p0")
    assert cohort.missing.sum(axis=0).tolist() == [1, 1]
    assert cohort.missing[6].tolist() == [True, False]
    assert [(drop.reason, drop.count) for drop in cohort.dropped] == [("without a value of any of A, B", 1)]
    rows = [list(kinship.ids).index(name) for name in cohort.ids]
    assert_allclose(cohort.K, kinship.K[np.ix_(rows, rows)])
    assert_allclose(cohort.X[0][:, 0], [1, 1, 1, 1, 1, 1, 0, 1, 1])
    assert cohort.coords["coefficient"] == ["A:intercept", "B:intercept"]
    assert cohort.coords["missing_value"] == ["A:p2", "B:p1"]


def test_complete_only_drops_and_says_so(kinship, measured):
    cohort = bl.align_jointly(kinship, measured(), complete_only=True)
    assert len(cohort.ids) == 7
    assert not cohort.missing.any()
    assert ("without all of A, B", 2) in [(drop.reason, drop.count) for drop in cohort.dropped]


def test_each_trait_has_its_own_covariates(kinship, measured):
    """A value whose covariate is missing is not used, and counted; the other trait of that person is."""
    measurements = measured(covariates=["age", "group"])
    cohort = bl.align_jointly(kinship, measurements, covariates_of={"A": ["age"], "B": ["group"]})
    assert cohort.covariates == (("intercept", "age"), ("intercept", "group[y]"))
    p3 = cohort.ids.index("p3")
    assert cohort.missing[p3].tolist() == [True, False]
    assert cohort.X[0][p3].tolist() == [0, 0]
    assert cohort.X[1][p3].tolist() == [1, 1]
    reasons = {drop.reason: drop.examples for drop in cohort.dropped}
    assert reasons["values of A without a value of the covariate age"] == ("p3",)


def test_a_trait_without_covariates_keeps_people_who_have_none(kinship, write):
    table = write("covar.txt", "IID age\n" + "".join(f"p{i} {20 + i * i}\n" for i in range(10) if i != 3))
    measurements = bl.measure(
        bl.read_table(write("pheno.txt", TABLE)), ["A", "B"], covariate_table=bl.read_table(table)
    )
    cohort = bl.align_jointly(kinship, measurements, covariates_of={"B": []})
    p3 = cohort.ids.index("p3")
    assert cohort.missing[p3].tolist() == [True, False]
    reasons = {drop.reason: drop.examples for drop in cohort.dropped}
    assert reasons["values of A without a row in the covariate file"] == ("p3",)


def test_a_trait_that_nobody_has_is_named(kinship, write):
    table = TABLE.replace("age", "age2")
    lines = [line.split() for line in table.splitlines()]
    text = "\n".join(" ".join([*line, "Z" if i == 0 else "NA"]) for i, line in enumerate(lines)) + "\n"
    measurements = bl.measure(bl.read_table(write("pheno.txt", text)), ["A", "Z"])
    with pytest.raises(bl.InputError, match="nobody is left with a value of Z"):
        bl.align_jointly(kinship, measurements)


def test_components_are_added_where_the_trait_is(kinship, measured):
    cohort = bl.align_jointly(kinship, measured())
    wider = cohort.with_covariates(["PC1"], np.arange(1.0, 10)[:, None])
    assert wider.covariates == (("intercept", "PC1"), ("intercept", "PC1"))
    assert wider.X[0][6].tolist() == [0, 0]
    assert wider.X[1][6].tolist() == [1, 7]


def test_rotated_missing_values_have_a_column_each(kinship, measured):
    cohort = bl.align_jointly(kinship, measured())
    spectrum = bl.decompose(cohort.K)
    data = spectrum.rotate_jointly(cohort.Y, cohort.X)
    assert_allclose((spectrum.U @ data.E[0])[:, 0], np.arange(9) == 6, atol=1e-12)
    assert_allclose(spectrum.U @ data.Y, np.nan_to_num(cohort.Y), atol=1e-12)
    for X, E in zip(data.X, data.E, strict=True):
        assert_allclose(E.T @ X, 0, atol=1e-12)
    swapped = data.take([1, 0])
    assert_allclose(swapped.Y, data.Y[:, ::-1])
    assert swapped.E[0] is data.E[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"covariates_of": {"C": []}}, "covariates are given for C, which is not among the traits A, B"),
        ({"covariates_of": {"A": ["sex"]}}, "covariate sex of A is not among those measured"),
    ],
)
def test_what_does_not_fit_is_refused(kinship, measured, options, message):
    with pytest.raises(bl.InputError, match=message):
        bl.align_jointly(kinship, measured(), **options)


def test_one_trait_is_refused(kinship, write):
    measurements = bl.measure(bl.read_table(write("pheno.txt", TABLE)), ["A"])
    with pytest.raises(bl.InputError, match="two or more traits are needed for a correlation, but A was given alone"):
        bl.align_jointly(kinship, measurements)


def test_rotation_refuses_what_cannot_be(kinship, measured):
    cohort = bl.align_jointly(kinship, measured())
    spectrum = bl.decompose(cohort.K)
    with pytest.raises(bl.InputError, match="row 3 of Y lacks all traits"):
        spectrum.rotate_jointly(np.where(np.arange(9)[:, None] == 2, np.nan, cohort.Y), cohort.X)
    with pytest.raises(bl.InputError, match="each of the 2 traits needs its covariates, but 1 matrices were given"):
        spectrum.rotate_jointly(cohort.Y, cohort.X[:1])
    with pytest.raises(bl.InputError, match="X must hold finite numbers only"):
        spectrum.rotate_jointly(cohort.Y, [np.full((9, 1), np.nan), cohort.X[1]])
