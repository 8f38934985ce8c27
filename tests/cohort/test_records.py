import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.design import treatment_coding
from bayeslmm.cohort.records import Component, Records, grouped, related
from bayeslmm.kinship.kinship import Kinship

LITTER = ["a", "a", "b", "b", "b", "c", "c", "d", "d", "d", "e", "e"]
N = len(LITTER)


@pytest.fixture
def kinship(rng):
    W = rng.standard_normal((N, 30))
    return Kinship(tuple(f"p{i}" for i in range(N)), W @ W.T / 30, "K.txt")


def records(rng, *parts, X=None, covariates=("intercept",)):
    return Records("weight", rng.standard_normal(N), np.ones((N, 1)) if X is None else X, covariates, parts)


def test_components_are_matrices(rng, kinship):
    ids = [f"p{i}" for i in (3, 1, 1, 4, 3, 8, 8, 0, 11, 2, 5, 4)]
    animal = related("animal", kinship, ids)
    Z = (np.array(ids)[:, None] == np.array(animal.levels)).astype(float)
    assert_allclose(animal.Z.toarray(), Z)
    whole = kinship.K[np.ix_([int(i[1:]) for i in ids], [int(i[1:]) for i in ids])]
    assert_allclose(animal.covariance(), whole, rtol=1e-14)
    assert_allclose(animal.covariance(slice(2, 5)), whole[2:5], rtol=1e-14)
    assert_allclose(animal.diagonal, np.diag(whole), rtol=1e-14)
    B = rng.standard_normal((N, 3))
    assert_allclose(animal.multiply(B), whole @ B, rtol=1e-13)
    litter = grouped("litter", LITTER)
    assert_allclose(litter.multiply(B), (np.array(LITTER)[:, None] == LITTER) @ B, rtol=1e-13)
    assert records(rng, animal, litter).names == ("animal", "litter", "e")
    assert records(rng, animal, litter).without("animal").names == ("litter", "e")


def test_a_nested_group_whose_variance_is_identified_is_accepted(rng):
    """A litter of a mother who has several."""
    assert (
        records(rng, grouped("litter", LITTER), grouped("mother", [int(x > "b") for x in LITTER])).names[1] == "mother"
    )


def refused(make, *words):
    with pytest.raises(InputError) as error:
        make()
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_groups_that_are_not_one_are_refused(rng):
    refused(lambda: grouped("litter", ["a"] * 5), "'litter' has one level, a")
    refused(lambda: grouped("litter", ["a", "NA", "b"]), "1 of 3 records have no level", "record 2")
    refused(lambda: records(rng, grouped("id", range(N))), "'id'", "12 levels for 12 records", "residual")


def test_components_that_are_the_same_are_refused(rng, kinship):
    litter, animal = grouped("litter", LITTER), related("animal", kinship, kinship.ids)
    refused(lambda: records(rng, litter, grouped("nest", [x * 2 for x in LITTER])), "'litter' and 'nest' are the same")
    twice = related("again", Kinship(kinship.ids, 2 * kinship.K, "K2"), kinship.ids)
    refused(lambda: records(rng, animal, litter, twice), "'animal' and 'again' are the same")
    refused(lambda: records(rng, litter, litter), "components must be unique")
    refused(lambda: records(rng, grouped("e", LITTER)), "'e' is the name of the residual")
    refused(lambda: records(rng), "no component")


def test_a_group_that_is_a_fixed_effect_or_coarser_is_refused(rng):
    names, columns = treatment_coding("litter", LITTER)
    X, covariates = np.column_stack([np.ones(N), columns]), ("intercept", *names)
    for name, values in (("litter", LITTER), ("farm", [int(x > "b") for x in LITTER])):
        part = grouped(name, values)
        refused(lambda part=part: records(rng, part, X=X, covariates=covariates), f"for each level of {name!r}")


def test_a_kinship_that_is_the_sum_of_two_others_is_refused(rng, kinship):
    litter = grouped("litter", LITTER)
    both = Kinship(kinship.ids, kinship.K + litter.covariance(), "sum")
    parts = related("animal", kinship, kinship.ids), litter, related("both", both, kinship.ids)
    refused(lambda: records(rng, *parts), "animal, litter, both cannot be told apart")


def test_records_without_kinship_are_refused(rng, kinship):
    refused(lambda: related("animal", kinship, ["p1", "p2", "q", "q"]), "K.txt", "1 of 3 individuals", "(q)")
    refused(lambda: related("animal", kinship, ["p1", "p1"]), "one individual, p1")
    short = Component("litter", ("a", "b"), np.array([0, 1, 1]))
    refused(lambda: records(rng, short), "12 records of weight", "3 of component 'litter'")
    refused(lambda: records(rng, grouped("litter", LITTER)).without("nest"), "no component 'nest'")
