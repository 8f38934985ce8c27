import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally, dosages
from bayeslmm.genotypes.genotypes import open_genotypes


def standardised(G, scale):
    """The definition, marker by marker, in float64."""
    mean = np.nanmean(G, axis=0)
    f = mean / 2
    filled = np.where(np.isnan(G), mean, G)
    centred = filled - mean
    sd = {"hwe": np.sqrt(2 * f * (1 - f)), "sample": filled.std(axis=0), "vanraden": np.ones_like(f)}[scale]
    return centred / sd


@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
@pytest.mark.parametrize("block", [7, 4096])
def test_blocks_are_the_standardised_markers(plink, scale, block):
    prefix, G, _ = plink
    blocks = MarkerBlocks(open_genotypes(prefix), scale=scale, maf=0.0, geno=1.0, block=block)
    found = list(blocks)
    assert_allclose(np.column_stack([part.G for part in found]), standardised(G, scale), atol=2e-6)
    f = np.nanmean(G, axis=0) / 2
    assert_allclose(
        sum(part.tally.weight for part in found), (2 * f * (1 - f)).sum() if scale == "vanraden" else 50, rtol=1e-6
    )


def test_filters_drop_and_count(tmp_path, rng):
    n = 100
    G = rng.binomial(2, 0.3, (n, 8)).astype(float)
    G[:, 0] = 2  # monomorphic
    G[:, 1] = 1  # all heterozygous: no variation either
    G[:, 2] = 0
    G[0, 2] = 1  # maf 0.005
    G[:10, 3] = np.nan  # 10% missing
    G[:, 4] = np.nan  # never called
    G[:5, 5] = np.nan  # 5% missing: kept
    to_bed(tmp_path / "x.bed", G)
    blocks = MarkerBlocks(open_genotypes(tmp_path / "x"), maf=0.01, geno=0.05)
    (found,) = blocks
    assert_array_equal(found.lines, [5, 6, 7])
    assert_array_equal(found.n_miss, [5, 0, 0])
    assert_array_equal(found.tally.called, [2] * 5 + [3] * 95)
    counts = found.tally.counts
    assert (counts.read, counts.kept, counts.monomorphic, counts.below_maf, counts.above_missing) == (8, 3, 2, 1, 2)


def test_a_marker_never_called_is_an_error_where_the_filter_is_off(tmp_path, rng):
    G = rng.binomial(2, 0.3, (20, 5)).astype(float)
    G[:, 3] = np.nan
    to_bed(tmp_path / "x.bed", G)
    with pytest.raises(InputError, match=r"x\.bed marker 4: no genotype was called"):
        list(MarkerBlocks(open_genotypes(tmp_path / "x"), geno=1.0))


def test_no_marker_left_is_told_with_the_reasons(tmp_path):
    to_bed(tmp_path / "x.bed", np.full((20, 5), np.nan))
    blocks = MarkerBlocks(open_genotypes(tmp_path / "x"), block=2)
    with pytest.raises(InputError, match=r"no marker is left of 5: 5 exceed the missing rate 0.05, 0 are monomorphic"):
        list(blocks.tracked("markers"))


def test_people_without_genotypes_are_named(tmp_path, rng):
    G = rng.binomial(2, 0.4, (30, 6)).astype(float)
    G[4] = np.nan
    to_bed(tmp_path / "x.bed", G, properties={"iid": [f"p{i}" for i in range(30)]})
    blocks = MarkerBlocks(open_genotypes(tmp_path / "x"), block=4)
    with pytest.raises(InputError, match=r"1 individuals have no genotype at any marker used \(p4\)"):
        list(blocks.tracked("markers"))


@pytest.mark.parametrize(
    ("options", "message"),
    [({"scale": "gcta"}, "scale must be one of"), ({"maf": 0.5}, "maf must be"), ({"geno": 1.1}, "geno must lie")],
)
def test_options_out_of_range_are_refused(plink, options, message):
    with pytest.raises(InputError, match=message):
        MarkerBlocks(open_genotypes(plink[0]), **options)


@pytest.fixture
def sexed(tmp_path, rng):
    """40 individuals and 12 markers, of which every third is on X, and the prefix of their files."""
    G = rng.binomial(2, 0.4, (40, 12)).astype(float)
    chrom = ["1", "2", "X"] * 4
    to_bed(tmp_path / "x.bed", G, properties={"chromosome": chrom})
    return tmp_path / "x", G, np.array(chrom)


@pytest.mark.parametrize("block", [2, 5, 4096])
@pytest.mark.parametrize(("chosen", "names"), [((), ["1", "2"]), (("X", "1"), ["1", "X"]), (("1-2",), ["1", "2"])])
def test_a_kinship_is_made_from_autosomes_or_the_chromosomes_chosen(sexed, block, chosen, names):
    prefix, G, chrom = sexed
    own = np.isin(chrom, names)
    blocks = MarkerBlocks(open_genotypes(prefix, chromosomes=chosen), maf=0.0, block=block)
    found = list(blocks)
    assert_allclose(np.concatenate([part.lines for part in found]), np.flatnonzero(own))
    assert_allclose(np.column_stack([part.G for part in found]), standardised(G[:, own], "hwe"), atol=2e-6)
    counts = sum((part.tally for part in found), start=Tally.empty(40)).counts
    assert (counts.read, counts.kept, counts.elsewhere) == (12, 8, 4)
    assert ("left out: 4 on chromosome X" in blocks.counts_line(counts)) == ("X" not in names)


def test_passes_do_not_disturb_each_other(plink):
    """Two passes at once, one of them among some individuals, who are standardised among all."""
    markers, rows = MarkerBlocks(open_genotypes(plink[0]), geno=1.0, block=20), np.array([7, 3])
    for whole, part in zip(markers, markers.blocks(rows), strict=True):
        assert_array_equal(part.G, whole.G[rows])
        assert part.tally.counts == whole.tally.counts


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
