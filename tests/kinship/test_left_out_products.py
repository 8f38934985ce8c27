"""Products with kinships that leave a chromosome out, against the matrices themselves."""

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.kinship.left_out_products import LeftOutProducts

N = 30
SIZES = {1: 40, 2: 25, 3: 4}


@pytest.fixture(scope="module")
def blocks(tmp_path_factory):
    """Three chromosomes; no marker of the last passes the filters."""
    rng, path = np.random.default_rng(3), tmp_path_factory.mktemp("loco") / "x.bed"
    G = rng.binomial(2, 0.4, (N, sum(SIZES.values()))).astype(float)
    G[rng.random(G.shape) < 0.02] = np.nan
    G[:, -SIZES[3] :] = 1.0
    ids = [f"p{i}" for i in range(N)]
    chromosomes = np.repeat([str(number) for number in SIZES], list(SIZES.values()))
    to_bed(path, G, properties={"fid": ids, "iid": ids, "chromosome": chromosomes})
    return MarkerBlocks(open_genotypes(path), maf=0.05, geno=0.2), G


def standardised(G):
    f = np.nanmean(G, axis=0) / 2
    return np.nan_to_num((G - 2 * f) / np.sqrt(2 * f * (1 - f)))


def test_each_column_leaves_its_chromosome_out(blocks, rng, tmp_path):
    of, G = blocks
    ends = np.cumsum([0, *SIZES.values()])
    spans = {number: range(ends[i], ends[i + 1]) for i, number in enumerate(SIZES)}
    rows = np.array([4, 0, 7, 9, 22, 11, 13])
    out = np.array([1, 2, 3, 9, 1])  # nothing of 3 is used, and there is no 9: the whole kinship
    V = rng.standard_normal((len(rows), len(out)))
    W = {number: standardised(G[:, list(spans[number])]) for number in (1, 2)}
    expected = []
    for v, number in zip(V.T, out, strict=True):
        Z = np.column_stack([W[other] for other in W if other != number])[rows]
        expected.append(Z @ (Z.T @ v) / Z.shape[1])
    found = LeftOutProducts(of, spans, rows).multiply(V, out)
    assert_allclose(found, np.array(expected).T, rtol=2e-5, atol=2e-5)  # float32 within a block
    kept = LeftOutProducts(of, spans, rows, tmp_path)
    assert_allclose(kept.multiply(V, out), found, rtol=0, atol=0)
    assert len(list(tmp_path.iterdir())) == 1
    again = LeftOutProducts(of, {}, rows, tmp_path)  # which has nothing to multiply with
    assert_allclose(again.multiply(V, out), found, rtol=0, atol=0)
