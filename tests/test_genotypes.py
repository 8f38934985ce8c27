import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

from bayeslmm.checks import InputError
from bayeslmm.genotypes import MarkerBlocks, open_genotypes


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
    assert_allclose(np.column_stack(list(blocks)), standardised(G, scale), atol=2e-6)
    f = np.nanmean(G, axis=0) / 2
    assert_allclose(blocks.weight, (2 * f * (1 - f)).sum() if scale == "vanraden" else 50, rtol=1e-6)


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
    assert sum(W.shape[1] for W in blocks) == 3
    counts = blocks.counts
    assert (counts.read, counts.kept, counts.monomorphic, counts.below_maf, counts.above_missing) == (8, 3, 2, 1, 2)


def test_a_marker_never_called_is_an_error_where_the_filter_is_off(tmp_path, rng):
    G = rng.binomial(2, 0.3, (20, 5)).astype(float)
    G[:, 3] = np.nan
    to_bed(tmp_path / "x.bed", G)
    with pytest.raises(InputError, match=r"x\.bed marker 4: no genotype was called"):
        list(MarkerBlocks(open_genotypes(tmp_path / "x"), geno=1.0))


def test_no_marker_left_is_told_with_the_reasons(tmp_path):
    to_bed(tmp_path / "x.bed", np.full((20, 5), np.nan))
    blocks = MarkerBlocks(open_genotypes(tmp_path / "x"))
    list(blocks)
    with pytest.raises(InputError, match=r"no marker is left of 5: 5 exceed the missing rate 0.05, 0 are monomorphic"):
        blocks.check_used()


def test_people_without_genotypes_are_named(tmp_path, rng):
    G = rng.binomial(2, 0.4, (30, 6)).astype(float)
    G[4] = np.nan
    to_bed(tmp_path / "x.bed", G, properties={"iid": [f"p{i}" for i in range(30)]})
    blocks = MarkerBlocks(open_genotypes(tmp_path / "x"))
    list(blocks)
    with pytest.raises(InputError, match=r"1 people have no genotype at any marker used \(p4\)"):
        blocks.check_used()


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
