import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.variants import as_positions, markers_of


def test_a_record_of_several_alternate_alleles_is_as_many_markers():
    records = pd.DataFrame(
        {"chrom": ["1", "1", "X"], "snp": ["a", ".", "c"], "pos": [1, 2, 3], "a0": list("ACG"), "a1": ["C", "T,G", "A"]}
    )
    table = markers_of(records)
    assert table.variants["snp"].tolist() == ["a", "1:2:C:T", "1:2:C:G", "c"]
    assert table.variants["a1"].tolist() == ["C", "T", "G", "A"]
    assert table.variants["a0"].tolist() == ["A", "C", "C", "G"]
    assert_array_equal(table.record, [0, 1, 1, 2])
    assert_array_equal(table.allele, [1, 1, 2, 1])


def test_positions_are_whole_numbers():
    names = pd.Series(["a", "b"])
    assert_array_equal(as_positions(pd.Series(["1", "2e3"]), names, where="x"), np.array([1, 2000]))
    with pytest.raises(InputError, match=r"x line 9 \(b\): the position must be a whole number below 2\^53, but '1.5'"):
        as_positions(pd.Series(["1", "1.5"]), names, where="x", first_line=8)
