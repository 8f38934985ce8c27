import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.kinship.relation import parental
from conftest import GRYPHON


def test_mothers_of_the_gryphons_are_those_of_their_table():
    relation = parental("maternal", GRYPHON / "pedigree.csv", "dam")
    pedigree = pd.read_csv(GRYPHON / "pedigree.csv", dtype=str).set_index("ID")
    known = pedigree["DAM"].dropna()
    assert relation.level_of == known.to_dict()
    A = bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    assert set(relation.kinship.ids) == set(known)
    at = [A.ids.index(one) for one in relation.kinship.ids]
    assert_array_equal(relation.kinship.K, A.K[at][:, at])
    assert relation.line().startswith(
        f"maternal: {known.nunique()} individuals (whose effect the records of {len(known):,} animals have); pedigree: "
    )
    fathers = parental("paternal", pd.read_csv(GRYPHON / "pedigree.csv"), "sire").level_of
    assert fathers == pedigree["SIRE"].dropna().to_dict()


def test_a_parent_needs_a_header_and_must_be_known(write):
    bare = write("bare.txt", "c a b\na 0 0\nb 0 0\n")
    assert bl.pedigree_kinship(bare).K[0, 0] == 1
    with pytest.raises(InputError, match=r"bare.txt has no header that says which parent is the dam: add a line 'id"):
        parental("m", bare, "dam")
    with pytest.raises(InputError, match=r"half.txt: no dam is known, so none has an effect: leave 'm' out"):
        parental("m", write("half.txt", "id sire dam\nc a 0\na 0 0\n"), "dam")
