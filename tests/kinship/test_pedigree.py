import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from conftest import GRYPHON, REFERENCES


def test_textbook_relationships(write):
    """Full sibs share 1/2, half sibs 1/4, and a child of full sibs is inbred by 1/4 (Falconer and Mackay)."""
    rows = ["id sire dam", "child s1 s2", "s1 f m", "s2 f m", "half f other", "f NA 0", "m 0 NA"]
    kinship = bl.pedigree_kinship(write("ped.txt", "\n".join(rows) + "\n"))
    at = {name: i for i, name in enumerate(kinship.ids)}
    A = kinship.K
    assert A[at["s1"], at["s2"]] == 0.5
    assert A[at["s1"], at["half"]] == 0.25
    assert A[at["child"], at["child"]] == 1.25
    assert A[at["child"], at["f"]] == 0.5
    assert A[at["other"], at["m"]] == 0
    assert kinship.origin_line() == (
        "pedigree: 7 animals, 1 of them inbred; 1 parents without a line are taken as founders (other with 1 offspring)"
    )


def test_columns_and_rows_in_any_order_and_selfing(write):
    kinship = bl.pedigree_kinship(write("ped.csv", "Dam,ID,Sire\na,b,a\nNA,a,\n"))
    assert_allclose(kinship.K, [[1, 1], [1, 1.5]])


def test_gryphon_equals_the_published_matrix():
    kinship = bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    at = {name: i for i, name in enumerate(kinship.ids)}
    published = pd.read_csv(REFERENCES / "gryphon_A.tsv.gz", sep="\t", dtype={"ID1": str, "ID2": str})
    rows, columns = published["ID1"].map(at).to_numpy(), published["ID2"].map(at).to_numpy()
    assert_allclose(kinship.K[rows, columns], published["A"], atol=1e-12)
    among = np.unique(rows)
    assert len(kinship.ids) == 1309
    # All that the published lower triangle leaves out is zero.
    assert np.count_nonzero(np.tril(kinship.K[np.ix_(among, among)])) == len(published)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id sire dam\na b 0\nb c 0\nc a 0\n", "no animal can be its own ancestor, but . is a child of . is a child"),
        ("id sire dam\na a 0\n", "a is a child of a"),
        ("id sire dam\na 0 0\na 0 0\n", "ids must be unique"),
        ("id father\na 0\n", "line 1: the header must name one column dam"),
        ("id sire dam\n0 a b\n", "line 2: the id must be known"),
    ],
)
def test_impossible_pedigrees_are_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        bl.pedigree_kinship(write("ped.txt", text))


@pytest.mark.parametrize(
    "code", ["NA", ".", "-9", "-9.0", "-", "*", "N/A", "NAN", "None", "-1", "0.0", "Null", "Na", "x"]
)
def test_parents_that_are_unknown_are_no_animal(write, code):
    """Eight founders are unrelated, whatever their unknown parents are written as."""
    text = "id,sire,dam\n" + "".join(f"p{i},{code},{code}\n" for i in range(8)) + f"q,p0,{code}\n"
    kinship = bl.pedigree_kinship(write("ped.csv", text), missing=["x"])
    assert len(kinship.ids) == 9
    expected = np.eye(9)
    order = [kinship.ids.index(name) for name in ("p0", "q")]
    expected[np.ix_(order, order)] = [[1, 0.5], [0.5, 1]]
    assert_allclose(kinship.K, expected)


@pytest.mark.parametrize("parents", ["UNK UNK", "UNKS UNKD", "UNKS 0"])
def test_a_parent_of_most_founders_that_has_no_line_is_taken_for_a_code(write, parents):
    text = "id sire dam\n" + "".join(f"p{i} {parents}\n" for i in range(12)) + "q p0 p1\n"
    with pytest.raises(InputError, match=r"UNK[SD]? has no line and is a parent of 12 of the 12 animals"):
        bl.pedigree_kinship(write("ped.txt", text))


def test_families_of_parents_without_lines_are_taken(write):
    """Half sibs of three sires that have no line, and selfed offspring of one plant."""
    rows = [f"o{i}{j} s{i} d{i}{j}" for i in range(3) for j in range(5)] + ["z plant plant", "y plant plant"]
    kinship = bl.pedigree_kinship(write("ped.txt", "id sire dam\n" + "\n".join(rows) + "\n"))
    at = kinship.ids.index
    assert kinship.K[at("o00"), at("o01")] == 0.25
    assert kinship.K[at("z"), at("z")] == 1.5
    assert "19 parents without a line are taken as founders (s0 with 5 offspring" in kinship.origin_line()


@pytest.mark.parametrize(("animal", "parent"), [("811", "811.0"), ("A12", "a12"), ("00014", "14"), ("s7", "S07")])
def test_a_parent_that_nearly_matches_an_animal_is_refused(write, animal, parent):
    text = f"id,sire,dam\n{animal},NA,NA\nc,{parent},NA\n"
    with pytest.raises(InputError, match=rf"1 parents .* nearly match .* \({parent} for {animal}\): write each animal"):
        bl.pedigree_kinship(write("ped.csv", text))
    other = bl.pedigree_kinship(write("ped.csv", text + f"{parent},NA,NA\n"))
    assert len(other.ids) == 3


def test_long_loops_are_told_in_short(write):
    text = "id sire dam\n" + "".join(f"a{i} a{(i + 1) % 5000} 0\n" for i in range(5000))
    with pytest.raises(InputError, match=r"its own ancestor, but .* and so on, over 5000 animals") as caught:
        bl.pedigree_kinship(write("ped.txt", text))
    assert len(str(caught.value)) < 400


def test_memory_is_asked_for_before_a_large_pedigree(write, monkeypatch):
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 1e4)
    text = "id sire dam\n" + "".join(f"p{i} 0 0\n" for i in range(40))
    with pytest.raises(
        InputError, match=r"relationship matrix of 40 animals needs 1.28e-05 GB of memory, but 1e-05 GB"
    ):
        bl.pedigree_kinship(write("ped.txt", text))
