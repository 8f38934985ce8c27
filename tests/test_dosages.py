import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.dosages import chromosomes, dosages, read_bim
from bayeslmm.genotypes import open_genotypes


def test_blocks_hold_centred_dosages_of_the_people_asked_for(plink):
    prefix, G, _ = plink
    rows = np.array([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 1, 0])
    blocks = list(dosages(open_genotypes(prefix), rows, [range(20), range(20, 50)], maf=0.05, geno=0.1))
    index = np.concatenate([block.lines for block in blocks])
    own = G[rows]
    f = np.nanmean(own, axis=0) / 2
    missing = np.isnan(own).sum(axis=0)
    assert_array_equal(index, np.flatnonzero((np.minimum(f, 1 - f) >= 0.05) & (missing <= 0.1 * 12)))
    found = np.column_stack([block.G for block in blocks])
    assert_allclose(found, np.nan_to_num(own - 2 * f)[:, index], atol=1e-14)
    assert_allclose(np.concatenate([block.af for block in blocks]), f[index])
    assert_array_equal(np.concatenate([block.n_miss for block in blocks]), missing[index])
    counts = blocks[0].counts + blocks[1].counts
    assert (counts.read, counts.kept) == (50, len(index))


def test_bim_has_the_counted_allele_first(write):
    bim = read_bim(write("x.bim", "1 rs1 0 1000 A G\nX rs2 0.5 -9 T C\n"))
    assert bim.to_dict("records") == [
        {"chrom": "1", "snp": "rs1", "pos": 1000, "a1": "A", "a0": "G"},
        {"chrom": "X", "snp": "rs2", "pos": -9, "a1": "T", "a0": "C"},
    ]


def test_a_position_that_is_no_number_is_named(write):
    with pytest.raises(bl.InputError, match=r"line 2 \(rs2\): the position must be a whole number, but 'here'"):
        read_bim(write("x.bim", "1 rs1 0 1000 A G\n1 rs2 0 here T C\n"))


def test_too_few_columns_are_refused(write):
    with pytest.raises(bl.InputError, match="six columns"):
        read_bim(write("x.bim", "1 rs1 1000 A G\n"))


def test_chromosomes_stand_together(write):
    lines = ["1 a 0 1 A G", "1 b 0 2 A G", "2 c 0 1 A G"]
    bim = read_bim(write("x.bim", "\n".join(lines) + "\n"))
    assert chromosomes(bim, where="x.bim") == {"1": range(2), "2": range(2, 3)}
    scattered = read_bim(write("y.bim", "\n".join([*lines, "1 d 0 3 A G"]) + "\n"))
    with pytest.raises(bl.InputError, match="markers of chromosome 1 must stand together"):
        chromosomes(scattered, where="y.bim")
