import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.bim import chromosomes, read_bim
from bayeslmm.dosages import dosages
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
    with pytest.raises(
        bl.InputError, match=r"line 2 \(rs2\): the position must be a whole number below 2.53, but 'here'"
    ):
        read_bim(write("x.bim", "1 rs1 0 1000 A G\n1 rs2 0 here T C\n"))


def test_quotes_are_letters(write):
    bim = read_bim(write("x.bim", '1 "rs1 0 1000 A G\n1 rs2" 0 1001 T C\n'))
    assert bim["snp"].tolist() == ['"rs1', 'rs2"']


def test_letters_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "x.bim").write_bytes(b"1 rs1 0 1000 A G\n1 rs\xe9 0 1001 A G\n")
    with pytest.raises(bl.InputError, match=r"x.bim line 2: the text must be UTF-8"):
        read_bim(tmp_path / "x.bim")


@pytest.mark.parametrize("count", [2, 18])
def test_alleles_are_filtered_alike(tmp_path, count):
    """10 people, a frequency of 0.1 or 0.9, at a filter of 0.1."""
    G = np.ones((10, 2))
    G[:, 0] = 0 if count == 2 else 2
    G[:2, 0] = 1
    G[:, 1] = np.arange(10) % 3
    to_bed(tmp_path / "x.bed", G)
    (block,) = dosages(open_genotypes(tmp_path / "x"), np.arange(10), [range(2)], maf=0.1)
    assert_array_equal(block.lines, [0, 1])


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
