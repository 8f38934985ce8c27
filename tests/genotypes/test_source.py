"""Every format gives the individuals, markers, kinship and tests of the reference or of the .bed of the same calls."""

import json
from functools import cache

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.genotypes.source import FORMATS, format_of
from conftest import REFERENCES, SHARED

MICE = SHARED / "file_formats"
HARD, EXACT, PGEN = "hard calls (pgen, bed, VCF GT)", "dosages exact (VCF DS, GT where no DS)", "dosages pgen (1/16384)"
FILES = {
    "bed": (HARD, "mice300_hard.bed", {}),
    "pgen of calls": (HARD, "mice300_hard.pgen", {}),
    "VCF of calls": (HARD, "mice300.vcf.gz", {"dosage": "GT"}),
    "pgen of dosages": (PGEN, "mice300_dosage.pgen", {}),
    "VCF of dosages": (EXACT, "mice300.vcf.gz", {"dosage": "DS"}),
    "BGEN of 8 bits": ("bgen 8 bits", "mice300_b8.bgen", {"sample": MICE / "mice300_b8.sample"}),
    "BGEN of 16 bits": ("bgen 16 bits", "mice300_b16.bgen", {"sample": MICE / "mice300_b16.sample"}),
}


@cache
def reference():
    return json.loads((MICE / "reference.json").read_text())["kin"]


def check_kinship(genotypes, name):
    kinship, expected = bl.genomic_kinship(genotypes), reference()[name]
    assert kinship.details["markers"]["kept"] == expected["markers"]
    assert_allclose(kinship.K[:5, :5], expected["corner5"], atol=1e-6)
    assert_allclose(np.trace(kinship.K), expected["trace"], atol=300e-6)
    assert_allclose(np.linalg.norm(kinship.K), expected["frobenius"], atol=300e-6)


@pytest.fixture(scope="session")
def stores(shared, tmp_path_factory):
    """VCF-Zarr of the mice: of calls, written by bio2zarr from the .bed, and with the dosages of the VCF beside."""
    plink = pytest.importorskip("bio2zarr.plink")
    import zarr

    folder = tmp_path_factory.mktemp("vcz")
    plink.convert(shared / "file_formats" / "mice300_hard", folder / "calls.vcz", worker_processes=0)
    plink.convert(shared / "file_formats" / "mice300_hard", folder / "dosages.vcz", worker_processes=0)
    group = zarr.open_group(folder / "dosages.vcz", mode="r+")
    D = dosages_of_vcf(shared / "file_formats" / "mice300.vcf.gz")
    group.create_array("call_DS", data=D, chunks=(500, 300))
    return folder


def dosages_of_vcf(path):
    """DS of a VCF, and copies of ALT where a record has none, by cyvcf2 alone."""
    cyvcf2 = pytest.importorskip("cyvcf2")
    copies = np.array([0, 1, np.nan, 2], dtype=np.float32)
    return np.array(
        [
            record.format("DS")[:, 0] if "DS" in record.FORMAT else copies[record.gt_types]
            for record in cyvcf2.VCF(str(path))
        ]
    )


@pytest.mark.parametrize("kind", FILES)
def test_the_kinship_of_each_format_is_the_reference(shared, kind):
    name, file, options = FILES[kind]
    genotypes = bl.open_genotypes(MICE / file, **options)
    bed = bl.open_genotypes(MICE / "mice300_hard.bed")
    assert genotypes.ids == bed.ids
    pd.testing.assert_frame_equal(genotypes.variants, bed.variants)
    check_kinship(genotypes, name)


@pytest.mark.parametrize(("file", "dosage", "name"), [("calls.vcz", "GT", HARD), ("dosages.vcz", "DS", EXACT)])
def test_the_kinship_of_vcf_zarr_is_the_reference(stores, file, dosage, name):
    genotypes = bl.open_genotypes(stores / file, dosage=dosage)
    bed = bl.open_genotypes(MICE / "mice300_hard.bed")
    assert genotypes.ids == bed.ids
    pd.testing.assert_frame_equal(genotypes.variants, bed.variants)
    check_kinship(genotypes, name)


@pytest.mark.slow
def test_a_scan_of_the_same_calls_is_the_same(stores, tmp_path, capsys):
    people = bl.open_genotypes(MICE / "mice300_hard.bed").ids
    y = np.random.default_rng(1).standard_normal(len(people))
    pd.DataFrame({"IID": people, "y": y}).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    tables = {}
    for option, path in {
        "bfile": MICE / "mice300_hard",
        "pfile": MICE / "mice300_hard",
        "vcf": MICE / "mice300",
        "vcz": stores / "calls",
    }.items():
        command = ["scan", f"--{option}", str(path), "--pheno", str(tmp_path / "pheno.tsv"), "--trait", "y", "--loco"]
        command += ["--dosage", "gt"] if "dosage" in FORMATS[option].options else []
        assert main([*command, "--no-plots", "--out", str(tmp_path / option)]) == 0
        tables[option] = pd.read_csv(tmp_path / option / "y.scan.tsv", sep="\t")
        record = json.loads((tmp_path / option / "run.json").read_text())
        assert set(FORMATS[option].packages) <= set(record["versions"])
    for table in tables.values():
        pd.testing.assert_frame_equal(table, tables["bfile"], rtol=1e-10)
    assert len(tables["bfile"]) > 1000


@pytest.mark.parametrize("path", ["calls", "calls.pgen", "calls.pvar", "calls.psam"])
def test_a_prefix_and_the_name_of_a_file_are_understood(path):
    assert [file.name for file in FORMATS["pfile"].files(REFERENCES / path)] == [
        "calls.pgen",
        "calls.pvar",
        "calls.psam",
    ]


def test_the_format_follows_from_the_name(tmp_path):
    named = {
        "x.bed": "bfile",
        "x.pvar.zst": "pfile",
        "x.bgen": "bgen",
        "x.vcf.gz": "vcf",
        "x.bcf": "vcf",
        "x.zarr": "vcz",
    }
    assert {name: format_of(tmp_path / name) for name in named} == named
    with pytest.raises(
        bl.InputError, match=r"calls may be calls\.pgen or calls\.vcf or calls\.vcz\.zip: give the whole"
    ):
        format_of(REFERENCES / "calls")
    assert format_of(tmp_path / "x") == "bfile"
    assert FORMATS["vcf"].files(REFERENCES / "calls") == [REFERENCES / "calls.vcf"]
    assert FORMATS["vcz"].files(REFERENCES / "calls") == [REFERENCES / "calls.vcz.zip"]


def test_one_record_gives_the_same_markers_in_every_format():
    """Several alternate alleles, half and haploid calls, phase: the .pgen is plink2's, the store bio2zarr's."""
    found = {}
    for suffix in (".vcf", ".vcz.zip", ".pgen"):
        genotypes = opened(suffix)
        if suffix == ".pgen":
            found[suffix] = read_all(genotypes)
        else:
            with pytest.warns(bl.InputWarning, match="2 half calls"):
                found[suffix] = read_all(genotypes)
    assert_array_equal(found[".vcf"], found[".pgen"])
    assert_array_equal(found[".vcz.zip"], found[".pgen"])


def opened(suffix):
    return bl.open_genotypes(REFERENCES / f"calls{suffix}", dosage=None if suffix == ".pgen" else "GT")


def read_all(genotypes):
    with genotypes.reader() as reader:
        return reader.read(None, range(genotypes.n_markers), "float64")


@pytest.mark.parametrize("suffix", [".vcf", ".vcz.zip", ".pgen"])
@pytest.mark.filterwarnings("ignore:.*half calls")
def test_any_rows_and_lines_are_read_in_the_order_asked_for(suffix):
    genotypes = opened(suffix)
    whole = read_all(genotypes)
    rows, lines = np.array([3, 0]), np.array([6, 1, 7, 2])
    with genotypes.reader() as reader:
        part = reader.read(rows, lines, "float32")
        assert (part.dtype, part.flags.f_contiguous) == (np.float32, True)
        assert_array_equal(part, whole[np.ix_(rows, lines)])
        assert_array_equal(reader.read(None, [0], "float64"), whole[:, :1])  # backwards


def test_options_of_other_formats_are_refused():
    with pytest.raises(bl.InputError, match="sample does not apply to genotypes of the format vcf"):
        bl.open_genotypes(REFERENCES / "calls.vcf", sample="x.sample")
    with pytest.raises(bl.InputError, match="dosage must be one of GT, DS, but 'HDS'"):
        bl.open_genotypes(REFERENCES / "calls.vcf", dosage="HDS")
    with pytest.raises(bl.InputError, match="format must be one of bfile, pfile, bgen, vcf, vcz, but 'ped'"):
        bl.open_genotypes("x", format="ped")


def test_an_option_of_another_format_is_refused_on_the_command_line(capsys, tmp_path):
    grm = ["grm", "--out", str(tmp_path / "k")]
    assert main([*grm, "--bfile", "x", "--dosage", "DS"]) == 2
    assert "--dosage applies to --vcf and --vcz: leave it out" in capsys.readouterr().err
    assert main([*grm, "--vcf", "x", "--sample", "s"]) == 2
    assert "--sample applies to --bgen: leave it out" in capsys.readouterr().err
