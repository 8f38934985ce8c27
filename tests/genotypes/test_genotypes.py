from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.genotypes.source import FORMATS, Format


@dataclass(frozen=True)
class InMemory:
    """Expected dosages of a further format, with a marker on X."""

    G: np.ndarray
    path = Path("x.memory")
    families = ids = tuple("abcdefgh")
    variants = pd.DataFrame({"chrom": ["1"] * 5 + ["X"], "snp": list("uvwxyz"), "pos": 1, "a1": "A", "a0": "C"})

    def reader(self):
        return nullcontext(self)

    def read(self, rows, lines, dtype):
        return np.asfortranarray(self.G[np.ix_(range(8) if rows is None else rows, lines)], dtype=dtype)


def test_a_further_format_is_one_entry(rng, monkeypatch):
    source = InMemory(rng.uniform(0, 2, (8, 6)))
    form = Format("memory", "F", "", (".memory",), (), (), lambda path: source, lambda path: [Path(path)])
    monkeypatch.setitem(FORMATS, "memory", form)
    genotypes = bl.open_genotypes("x.memory")
    assert (genotypes.n_markers, genotypes.left_out, genotypes.files) == (6, {"X": 1}, (Path("x.memory"),))
    Z = source.G - source.G.mean(axis=0)
    f = source.G.mean(axis=0)[:5] / 2
    kinship = bl.genomic_kinship(genotypes, scale="vanraden")
    assert_allclose(kinship.K, Z[:, :5] @ Z[:, :5].T / (2 * f * (1 - f)).sum(), atol=1e-6)
    (block,) = dosages(genotypes, genotypes.rows(["c", "a"]), [range(6)], maf=0.0)
    assert_allclose(block.G, (source.G - source.G[[2, 0]].mean(axis=0))[[2, 0]])
    assert_array_equal(genotypes.variants["snp"].iloc[block.lines], list("uvwxyz"))
