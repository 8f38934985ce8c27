import pytest
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.base.ids import known_places, places


def test_places_of_ids():
    among = ["b", "c", "a"]
    assert_array_equal(places(["a", "x", "b", "a"], among), [2, -1, 0, 2])
    assert_array_equal(known_places(("a", "b"), among, where="here"), [2, 0])
    assert places([], among).dtype == known_places([], among, where="here").dtype == "int64"


def test_who_is_not_there_is_named():
    with pytest.raises(bl.InputError, match=r"^phe\.tsv: 2 of 3 individuals are not in it \(x, y\)$"):
        known_places(["x", "a", "y"], ["a", "b"], where="phe.tsv")


def test_rows_of_a_kinship(dense):
    kinship = bl.Kinship(tuple(f"p{i}" for i in range(40)), dense[0], "K")
    assert_array_equal(kinship.rows(["p7", "p0"]), [7, 0])
    with pytest.raises(bl.InputError, match=r"^K: 1 of 2 individuals are not in it \(stranger\)$"):
        kinship.rows(["p7", "stranger"])
