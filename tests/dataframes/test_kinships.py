import inspect

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.dataframes.kinships import kinship_of
from conftest import GRYPHON


@pytest.fixture
def K(rng):
    W = rng.standard_normal((5, 9))
    return pd.DataFrame(W @ W.T / 9, index=[1, 2, 3, 4, 50], columns=[1, 2, 3, 4, 50])


def test_a_matrix_may_have_its_ids_anywhere(K, tmp_path):
    ids = ("1", "2", "3", "4", "50")
    K.to_csv(tmp_path / "K.tsv", sep="\t")
    forms = [(K, None), (K.to_numpy(), K.index), (K.to_numpy(), [1.0, 2, 3, 4, 50]), (str(tmp_path / "K.tsv"), None)]
    for given, of_rows in forms:
        kinship, genotypes = kinship_of(given, ids=of_rows)
        assert kinship.ids == ids
        assert_allclose(kinship.K, K, rtol=1e-12)
        assert genotypes is None
    assert kinship_of(kinship)[0] is kinship


def test_pedigrees_are_files_or_frames():
    frame = pd.read_csv(GRYPHON / "pedigree.csv")
    expected = bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    for given in (frame, frame.set_index("ID"), GRYPHON / "pedigree.csv"):
        kinship, _ = kinship_of(given)
        assert kinship.ids == expected.ids
        assert_array_equal(kinship.K, expected.K)


def test_genotypes_and_grm_are_found_by_prefix_or_full_name(plink):
    prefix = plink[0]
    expected = bl.genomic_kinship(prefix)
    for given in (prefix, f"{prefix}.bed", bl.open_genotypes(prefix)):
        kinship, genotypes = kinship_of(given)
        assert_array_equal(kinship.K, expected.K)
        assert genotypes is not None
    bl.write_grm(expected, prefix.parent / "written")
    for given in (prefix.parent / "written", f"{prefix.parent}/written.grm.bin"):
        assert_allclose(kinship_of(given)[0].K, expected.K, atol=1e-6)
    bl.write_grm(expected, prefix)
    with pytest.raises(InputError, match="names genotypes and a kinship: give the whole name"):
        kinship_of(prefix)


@pytest.mark.parametrize(
    ("change", "ids", "message"),
    [
        (lambda K: K.to_numpy(), None, "the kinship is an array without ids"),
        (lambda K: K.to_numpy(), [1, 2], "2 ids were given for a K of 5 rows"),
        (lambda K: K, [1, 2], "ids are those of an array"),
        (lambda K: K.reset_index(), None, r"5 rows and 6 columns whose ids differ .*index_col=0"),
        (lambda K: K[[2, 1, 3, 4, 50]], None, r"ids differ \(1 / 2, 2 / 1\)"),
        (lambda K: K.astype(object).replace(K.iloc[0, 0], "x"), None, "does not hold numbers only"),
        (lambda K: K + np.triu(np.ones((5, 5)), 1), None, "must be symmetric"),
        (lambda K: "nothing", None, "kinship nothing: there is no such file"),
        (lambda K: 3, None, "must be a Kinship, DataFrame, array, path or genotypes, not a int"),
    ],
)
def test_what_is_no_kinship_is_one_line(K, change, ids, message):
    with pytest.raises(InputError, match=message):
        inspect.unwrap(kinship_of)(change(K), ids=ids)  # types are checked apart
