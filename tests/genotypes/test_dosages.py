import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.bim import read_bim
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.genotypes.chromosomes import chromosomes, used_chromosomes
from bayeslmm.genotypes.plink import open_genotypes


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
    counts = blocks[0].tally.counts + blocks[1].tally.counts
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


@pytest.mark.parametrize("position", ["9223372036854775808", "99999999999999999999999", "1e300", "1.5", "inf", "0x1F"])
def test_positions_that_no_integer_holds_are_refused(write, position):
    with pytest.raises(bl.InputError, match=r"line 2 \(b\): the position must be a whole number below 2\^53"):
        read_bim(write("x.bim", f"1 a 0 1 A G\n1 b 0 {position} A G\n"))


def test_a_line_that_is_too_short_is_named(write):
    with pytest.raises(bl.InputError, match=r"line 3: a .bim has six columns, but 5 were found"):
        read_bim(write("x.bim", "1 a 0 1 A G\n\n1 b 0 2 A\n"))


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["0", "1", "22", "23", "24", "25", "26"], ["0 (unplaced)", "23 (X)", "24 (Y)", "25 (XY)", "26 (MT)"]),
        (["1", "26", "27", "38", "39", "X"], ["X"]),  # a dog has 38 autosomes
        (
            ["chr1", "chrX", "chrY", "chrM", "chrUn_7", "chrX_random"],
            ["chrX", "chrY", "chrM", "chrUn_7 (unplaced)", "chrX_random"],
        ),
        (["1A", "2B", "MT", "par1", "Par2", "W", "z"], ["MT", "par1", "Par2", "W", "z"]),
        (["1", "19"], []),
        (["0"], []),  # nothing is placed
        (["scaffold_1", "scaffold_2"], []),
    ],
)
def test_names_of_chromosomes_decide_and_numbers_of_humans(names, left_out):
    used, others = used_chromosomes(np.array(names, dtype=object), where="x.bim")
    assert list(others) == left_out
    assert used.sum() == len(names) - len(left_out)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (["X"], ["chrX"]),
        (["1-3"], ["chr1", "chr2", "chr03"]),
        (["2,x"], ["chr2", "chrX"]),
        (["CHR3", "1"], ["chr1", "chr03"]),
    ],
)
def test_chromosomes_are_chosen_by_name_and_range(chosen, kept):
    names = np.array(["chr1", "chr2", "chr03", "chrX"], dtype=object)
    used, _ = used_chromosomes(names, chosen, where="x.bim")
    assert names[used].tolist() == kept
    with pytest.raises(bl.InputError, match=r"x.bim has no chromosome '4'; it has chr1, chr2, chr03, chrX"):
        used_chromosomes(names, ["4"], where="x.bim")
