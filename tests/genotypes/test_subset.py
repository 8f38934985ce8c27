import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.subset import Subset


@pytest.mark.parametrize("rows", [np.arange(30), np.array([1, 2, 29])])
@pytest.mark.parametrize("lines", [np.arange(50), np.array([0, 7, 8, 49])])
def test_a_subset_reads_its_own_individuals_and_markers(plink, rows, lines):
    prefix, G, ids = plink
    subset = Subset.of(bl.open_genotypes(prefix).source, rows, lines)
    own = G[np.ix_(rows, lines)]
    assert list(subset.ids) == list(subset.families) == [ids[i] for i in rows]
    assert subset.variants["snp"].tolist() == [f"sid{j + 1}" for j in lines]
    assert subset.variants.index.tolist() == list(range(len(lines)))
    with subset.reader() as reader:
        assert_array_equal(reader.read(None, range(len(lines)), "float32"), own)
        assert_array_equal(reader.read(np.array([2, 0]), np.array([3, 1]), "float64"), own[[2, 0]][:, [3, 1]])


def test_frequencies_are_those_of_the_individuals_kept(plink, write):
    """PLINK's way: the kinship of a subset is that of files that hold no others."""
    from bed_reader import to_bed

    prefix, G, ids = plink
    keep = write("keep.txt", "".join(f"{name} {name}\n" for name in ids[5:20]))
    kept = bl.open_genotypes(prefix, selection=bl.Selection(keep=keep))
    to_bed(prefix.with_name("own.bed"), G[5:20], properties={"iid": ids[5:20], "chromosome": ["1"] * 50})
    alone = bl.genomic_kinship(prefix.with_name("own"), geno=0.2)
    kinship = bl.genomic_kinship(kept, geno=0.2)
    assert kinship.ids == alone.ids
    assert_allclose(kinship.K, alone.K, atol=1e-7)
