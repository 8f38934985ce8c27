import zipfile

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from conftest import REFERENCES

zarr = pytest.importorskip("zarr")


@pytest.fixture
def store(tmp_path):
    """The calls of bio2zarr as a folder."""
    with zipfile.ZipFile(REFERENCES / "calls.vcz.zip") as file:
        file.extractall(tmp_path / "x.vcz")
    return tmp_path / "x.vcz"


def read_all(genotypes):
    with genotypes.reader() as reader:
        return reader.read(None, range(genotypes.n_markers), "float64")


@pytest.mark.filterwarnings("ignore:.*half calls")
@pytest.mark.parametrize("dosage", ["GT", "DS"])
def test_a_store_is_the_vcf_it_was_made_from(store, dosage):
    pytest.importorskip("cyvcf2")
    vcf = bl.open_genotypes(REFERENCES / "calls.vcf", dosage=dosage)
    for path in (store, REFERENCES / "calls.vcz.zip"):
        genotypes = bl.open_genotypes(path, dosage=dosage)
        assert genotypes.ids == vcf.ids
        assert genotypes.variants.equals(vcf.variants)
        assert_allclose(read_all(genotypes), read_all(vcf))


def test_chunks_of_any_size_and_version(tmp_path, rng):
    calls = rng.integers(-1, 2, (23, 4, 2)).astype(np.int8)
    group = zarr.open_group(tmp_path / "x.zarr", mode="w", zarr_format=3)
    for name, data in {
        "sample_id": np.array(list("abcd"), dtype="T"),
        "contig_id": np.array(["1"], dtype="T"),
        "variant_contig": np.zeros(23, dtype=np.int8),
        "variant_position": np.arange(23, dtype=np.int32),
        "variant_allele": np.array([["A", "C"]] * 23, dtype="T"),
    }.items():
        group.create_array(name, data=data)
    group.create_array("call_genotype", data=calls, chunks=(5, 2, 2))
    genotypes = bl.open_genotypes(tmp_path / "x.zarr")
    assert genotypes.variants["snp"].tolist()[3] == "1:3:A:C"
    expected = np.where((calls < 0).any(axis=2), np.nan, calls.sum(axis=2)).T
    with pytest.warns(bl.InputWarning, match="half calls"):
        assert_allclose(read_all(genotypes), expected)
    lines = np.array([22, 3, 4, 11])
    with genotypes.reader() as reader:
        assert_allclose(reader.read(np.array([1, 0]), lines, "float32"), expected[[1, 0]][:, lines])


def test_stores_that_are_none_or_damaged_are_refused(store, tmp_path):
    with pytest.raises(bl.InputError, match=r"nothing\.vcz does not exist"):
        bl.open_genotypes(tmp_path / "nothing.vcz")
    (tmp_path / "empty.vcz").mkdir()
    (tmp_path / "file.vcz.zip").write_bytes(b"PK nothing")
    for name in ("empty.vcz", "file.vcz.zip"):
        with pytest.raises(bl.InputError, match="must be a VCF-Zarr store, as bio2zarr writes it"):
            bl.open_genotypes(tmp_path / name)
    chunk = next((store / "call_genotype").glob("0*"))
    chunk.write_bytes(b"nothing")
    with pytest.raises(bl.InputError, match=r"x\.vcz cannot be read at record 1 "):
        read_all(bl.open_genotypes(store, dosage="GT"))
    for path in store.glob("call_*"):
        path.rename(tmp_path / path.name)
    with pytest.raises(bl.InputError, match="has no field GT, but it has neither GT nor DS"):
        bl.open_genotypes(store, dosage="GT")


@pytest.mark.filterwarnings("ignore:.*half calls")
def test_records_of_several_alternates_may_have_no_dosages_at_all(store):
    group = zarr.open_group(store, mode="r+")
    D = group["call_DS"][:, :, :1]
    group.create_array("call_DS", data=D, overwrite=True)
    with pytest.raises(bl.InputError, match="record 2: DS has fewer values than there are alternate alleles"):
        read_all(bl.open_genotypes(store, dosage="DS"))
    D[1] = np.nan
    group.create_array("call_DS", data=D[..., 0], overwrite=True)
    found, calls = (read_all(bl.open_genotypes(store, dosage=dosage)) for dosage in ("DS", "GT"))
    assert_allclose(found[:, 1:7], calls[:, 1:7])
    assert_allclose(found[:, 0], [1, 0.75, 1.75, np.nan, 1.25])


def test_calls_of_alleles_that_there_are_not_are_refused(store):
    group = zarr.open_group(store, mode="r+")
    group["call_genotype"][2, 3, 1] = 4
    with pytest.raises(bl.InputError, match=r"x\.vcz, records from 1: an allele has the number 4, but there are 4"):
        read_all(bl.open_genotypes(store, dosage="GT"))


def test_shapes_that_do_not_fit_are_refused(store):
    group = zarr.open_group(store, mode="r+")
    group.create_array("call_genotype", data=np.zeros((5, 5, 3), dtype=np.int8), overwrite=True)
    with pytest.raises(bl.InputError, match=r"call_genotype has the shape \(5, 5, 3\), which does not fit"):
        bl.open_genotypes(store, dosage="GT")
