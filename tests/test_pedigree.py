import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.checks import InputError


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
        "pedigree: 7 animals, 1 of them inbred; 1 parents without a line of their own are taken as founders "
        "(other with 1 offspring)"
    )


def test_columns_and_rows_in_any_order_and_selfing(write):
    kinship = bl.pedigree_kinship(write("ped.csv", "Dam,ID,Sire\na,b,a\nNA,a,\n"))
    assert_allclose(kinship.K, [[1, 1], [1, 1.5]])


def test_gryphon_equals_the_published_matrix(shared):
    kinship = bl.pedigree_kinship(shared / "gryphon" / "pedigree.csv")
    at = {name: i for i, name in enumerate(kinship.ids)}
    published = pd.read_csv(shared / "gryphon" / "A_lower_sparse.tsv.gz", sep="\t", dtype={"ID1": str, "ID2": str})
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
        ("id sire dam\na 0 0\na 0 0\n", "each id must stand once"),
        ("id father\na 0\n", "line 1: the header must name one column dam"),
        ("id sire dam\n0 a b\n", "line 2: the id must be known"),
    ],
)
def test_impossible_pedigrees_are_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        bl.pedigree_kinship(write("ped.txt", text))
