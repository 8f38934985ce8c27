"""Markers by look-up are those that the reader of the format decodes."""

from itertools import zip_longest

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.genotypes.packed import PackedMarkers
from bayeslmm.genotypes.selection import Selection
from bayeslmm.genotypes.streamed import ReadMarkers, block_of


@pytest.fixture
def cohort(tmp_path, rng):
    """Write 41 people and 90 markers: some rare, constant, mostly missing or all heterozygous, three on another one."""
    n, p = 41, 90
    G = rng.binomial(2, rng.uniform(0.02, 0.98, p), (n, p)).astype(float)
    G[rng.uniform(size=(n, p)) < 0.03] = np.nan
    G[:, 5], G[:, 6], G[:, 7], G[:30, 8], G[:, 9] = 0, 2, 1, np.nan, np.nan
    ids = [f"p{i}" for i in range(n)]
    properties = {"fid": ids, "iid": ids, "sid": [f"m{j}" for j in range(p)], "chromosome": ["1"] * 87 + ["X"] * 3}
    to_bed(tmp_path / "toy.bed", G, properties=properties)
    (tmp_path / "keep").write_text("\n".join(ids[3:30]))
    (tmp_path / "extract").write_text("\n".join(f"m{j}" for j in (*range(40), *range(60, 88))))
    return tmp_path


@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
@pytest.mark.parametrize("chosen", [(), ("keep",), ("extract",), ("keep", "extract")])
def test_markers_are_those_of_the_reader(cohort, scale, chosen):
    selection = Selection(**{name: cohort / name for name in chosen})
    blocks = MarkerBlocks(open_genotypes(cohort / "toy", selection=selection), scale=scale, maf=0.03, block=16)
    markers, reader = PackedMarkers.of(blocks), ReadMarkers(blocks)
    assert markers is not None
    n = len(blocks.genotypes.ids)
    people = markers.places(np.arange(n))
    for counted in (True, False):  # the second pass knows what the first has counted
        with markers.open() as ours, reader.open() as other:
            parts = zip_longest(*(one.transposed(blocks.span, counted=counted) for one in (ours, other)))
            for (W, tally), (wanted, of_reader) in parts:
                assert_allclose(W[:, people], wanted, rtol=1e-6, atol=1e-6)
                if not counted:
                    assert tally is None
                    continue
                assert tally.counts == of_reader.counts
                assert_allclose(tally.weight, of_reader.weight, rtol=1e-12)
                assert_array_equal(tally.called, of_reader.called)


def test_products_with_most_of_the_people(cohort, rng):
    K = bl.genomic_kinship(cohort / "toy")
    for m in (3, 20, 21, 40):
        rows, V = rng.permutation(41)[:m], rng.standard_normal((m, 2))
        part = bl.genotype_products(cohort / "toy").take(rows)
        assert_allclose(part @ V, K.K[np.ix_(rows, rows)] @ V, atol=1e-5)
        assert_allclose(part.diagonal(), np.diag(K.K)[rows], rtol=1e-5)


def test_a_marker_without_a_genotype_cannot_be_standardised(cohort):
    products = bl.genotype_products(cohort / "toy", geno=1.0)
    with pytest.raises(InputError, match="marker 10: no genotype was called"):
        products.diagonal()


def test_a_file_that_becomes_shorter_is_refused(cohort):
    products = bl.genotype_products(cohort / "toy")
    whole = (cohort / "toy.bed").read_bytes()
    (cohort / "toy.bed").write_bytes(whole[:-200])
    with pytest.raises(InputError, match=r"toy\.bed changed while it was read"):
        products.diagonal()


def test_blocks_are_small_where_there_are_many_people():
    assert [block_of(n) for n in (10, 10_000, 100_000, 10_000_000)] == [4096, 1677, 167, 64]
