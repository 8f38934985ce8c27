import os

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.plink import open_genotypes
from bayeslmm.kinship.from_genotypes import genomic_kinship


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


def test_damaged_files_are_refused(plink):
    prefix, _, _ = plink
    bed = prefix.with_suffix(".bed")
    whole = bed.read_bytes()
    bed.write_bytes(whole[:-5])
    with pytest.raises(InputError, match=r"toy\.bed is truncated: 30 people and 50 markers need 403 bytes, but 398"):
        open_genotypes(prefix)
    bed.write_bytes(whole + b"\x00")
    with pytest.raises(InputError, match="is too long"):
        open_genotypes(prefix)
    bed.write_bytes(b"abc" + whole[3:])
    with pytest.raises(InputError, match=r"must begin with the bytes 6c 1b 01 .* but it is 0x616263"):
        open_genotypes(prefix)
    bed.write_bytes(whole[:2] + b"\x00" + whole[3:])
    with pytest.raises(InputError, match="sample-major"):
        open_genotypes(prefix)
    prefix.with_suffix(".bim").unlink()
    with pytest.raises(InputError, match=r"toy\.bim does not exist"):
        open_genotypes(prefix)


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


def test_a_fileset_of_sex_chromosomes_opens_but_makes_no_kinship(tmp_path, rng):
    to_bed(tmp_path / "x.bed", rng.binomial(2, 0.4, (20, 3)).astype(float), properties={"chromosome": ["23"] * 3})
    genotypes = open_genotypes(tmp_path / "x")
    with pytest.raises(InputError, match=r"all markers are on chromosomes of which no kinship is made .*23 \(X\)"):
        genomic_kinship(genotypes)
    assert genomic_kinship(open_genotypes(tmp_path / "x", chromosomes=["23"])).details["markers"]["kept"] == 3


def test_a_bed_that_shrinks_while_it_is_read_is_told(plink):
    prefix, *_ = plink
    blocks = iter(MarkerBlocks(open_genotypes(prefix), maf=0.0, geno=1.0, block=10))
    next(blocks)
    os.truncate(prefix.with_suffix(".bed"), 100)
    with pytest.raises(InputError, match=r"toy.bed has changed while it was read"):
        list(blocks)


def test_families_are_those_of_the_fam(plink):
    prefix, _, ids = plink
    fam = prefix.with_suffix(".fam")
    lines = fam.read_text().splitlines()
    lines[3] = lines[3].replace("p3", "#F3", 1)
    fam.write_text("\n".join(lines) + "\n")
    assert open_genotypes(prefix).families[3] == "#F3"
    assert list(open_genotypes(prefix).ids) == ids


def test_memory_is_asked_for_before_a_kinship(plink, monkeypatch):
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 10_000.0)
    with pytest.raises(InputError, match=r"the kinship of 30 individuals needs 1.08e-05 GB of memory"):
        genomic_kinship(plink[0])
