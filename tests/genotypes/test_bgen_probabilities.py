import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.genotypes.bgen_probabilities import DamagedError, decompressed, dosage
from conftest import BgenRecord, bgen_file


@pytest.mark.parametrize("bits", [1, 3, 8, 13, 16, 32])
def test_the_dosage_is_the_expected_number_of_copies(bits):
    top = 2**bits - 1
    record = BgenRecord([top, 0, 0, top, 0, 0], bits=bits)  # AA, AC, CC
    assert_allclose(dosage(record.probabilities(), 3, 1), [0, 1, 2])
    assert_allclose(dosage(record.probabilities(), 3, 0), [2, 1, 0])


def test_missing_haploid_and_phased():
    record = BgenRecord([51, 102, 0, 0, 204], ploidy=(2, 0x82, 1))
    assert_allclose(dosage(record.probabilities(), 3, 1), [102 / 255 + 2 * 102 / 255, np.nan, 2 * 51 / 255])
    phased = BgenRecord([51, 102, 255, 0, 204], ploidy=(2, 2, 1), phased=True)
    assert_allclose(dosage(phased.probabilities(), 3, 1), [(204 + 153) / 255, 1, 2 * 51 / 255])


@pytest.mark.parametrize("phased", [False, True])
def test_several_alleles_and_copies_are_what_cbgen_reads(tmp_path, rng, phased):
    """Random probabilities of four alleles; expected copies from the probabilities of cbgen."""
    cbgen = pytest.importorskip("cbgen")
    ploidy = (2, 1, 0x82, 2, 2, 1)
    stored = [(6 if phased else 9) if z & 0x3F == 2 else 3 for z in ploidy]
    numbers = np.concatenate(
        [rng.integers(0, 65535 // size, size) * (z < 0x80) for z, size in zip(ploidy, stored, strict=True)]
    )
    record = BgenRecord(numbers.tolist(), bits=16, alleles=("A", "C", "G", "TT"), ploidy=ploidy, phased=phased)
    path = tmp_path / "x.bgen"
    path.write_bytes(bgen_file([record], n=len(ploidy)))
    with cbgen.bgen_file(path) as file:
        file.create_metafile(tmp_path / "x.metafile")
        with cbgen.bgen_metafile(tmp_path / "x.metafile") as metafile:
            found = file.read_genotype(metafile.read_partition(0).variants.offset[0])
    pairs = [(a, b) for b in range(4) for a in range(b + 1)]
    for k in range(4):
        expected = []
        for z, P in zip(ploidy, found.probability, strict=True):
            if z >= 0x80:
                expected.append(np.nan)
            elif z == 1:
                expected.append(2 * P[k])
            elif phased:
                expected.append(P[k] + P[4 + k])
            else:
                expected.append(sum(((a == k) + (b == k)) * P[j] for j, (a, b) in enumerate(pairs)))
        assert_allclose(dosage(record.probabilities(), len(ploidy), k), expected, atol=1e-12)


@pytest.mark.parametrize("size", [0, 7, 12, -1])
def test_probabilities_that_are_cut_off_are_refused(size):
    whole = BgenRecord([255, 0, 0, 255, 0, 0]).probabilities()
    with pytest.raises(DamagedError, match="copy"):
        dosage(whole[:size], 3, 1)


def test_probabilities_that_do_not_fit_are_refused():
    whole = BgenRecord([255, 0, 0, 255, 0, 0]).probabilities()
    with pytest.raises(DamagedError, match="do not fit the file"):
        dosage(whole, 4, 1)
    with pytest.raises(DamagedError, match="no or more than two copies"):
        dosage(BgenRecord([255] * 7, ploidy=(2, 2, 3)).probabilities(), 3, 1)
    for compression in ("zlib", "zstd"):
        with pytest.raises(DamagedError, match="cannot be decompressed"):
            decompressed(b"\x10\0\0\0nothing", compression)
