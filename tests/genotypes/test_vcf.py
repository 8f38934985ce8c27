import gzip

import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from conftest import REFERENCES

pytest.importorskip("cyvcf2")

TEXT = (REFERENCES / "calls.vcf").read_text()
HEADER = TEXT[: TEXT.index("chr1\t10")]


def read_all(genotypes):
    with genotypes.reader() as reader:
        return reader.read(None, range(genotypes.n_markers), "float64")


def test_dosages_where_there_are_some_else_calls():
    """As plink2 --vcf dosage=DS reads the records of two alleles."""
    genotypes = bl.open_genotypes(REFERENCES / "calls.vcf", dosage="DS")
    nan = float("nan")
    with pytest.warns(bl.InputWarning, match=r"calls\.vcf: 2 half calls"):
        G = read_all(genotypes)
    assert_allclose(G[:, 0], [1, 0.75, 1.75, nan, 1.25])
    assert_allclose(G[:, 1:3].T, [[1, 0.5, 0, nan, 0], [0.25, 1.5, 2, nan, 1]])
    assert_allclose(G[:, 7], [2, 0.5, 1, 2, 2])
    read_all(genotypes)  # half calls are told once


def test_bcf_is_a_vcf(tmp_path):
    import cyvcf2

    source = cyvcf2.VCF(str(REFERENCES / "calls.vcf"))
    writer = cyvcf2.Writer(str(tmp_path / "calls.bcf"), source, mode="wb")
    for record in source:
        writer.write_record(record)
    writer.close()
    with pytest.warns(bl.InputWarning):
        G = read_all(bl.open_genotypes(tmp_path / "calls.bcf", dosage="GT"))
    assert_allclose(G, read_all(bl.open_genotypes(REFERENCES / "calls.pgen")))


def test_a_record_without_the_field_is_missing(write):
    path = write(
        "x.vcf", HEADER + "chr1\t10\ta\tA\tC\t.\t.\t.\tDS\t1\t1\t1\t1\t1\nchr1\t11\tb\tA\t.\t.\t.\t.\tGT" + "\t0/0" * 5
    )
    genotypes = bl.open_genotypes(path, dosage="GT")
    assert genotypes.variants["a1"].tolist() == ["C", "."]
    assert_allclose(read_all(genotypes).T, [[float("nan")] * 5, [0.0] * 5])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "does not begin like one"),
        ("hello\n", "does not begin like one"),
        (HEADER, "has no record"),
        (HEADER.replace("\tFORMAT\ts1\ts2\ts3\ts4\ts5", ""), "has no samples"),
        (TEXT.replace("s5", "s1"), "does not begin like one"),
        (TEXT.replace("0/3", "0/4"), "record 4: an allele has the number 4, but there are 4"),
        (TEXT.replace("ID=GT,", "ID=GP,"), "has no field GT, but it has DS: choose that"),
        (TEXT.replace("ID=GT,", "ID=GP,").replace("ID=DS,", "ID=PL,"), "but it has neither GT nor DS"),
        (TEXT.replace("chr1\t30", "chr1\tthirty"), "record 3 is damaged or cut off"),
        (TEXT.replace("\t1/1\t.\n", "\t1/1\n"), "record 3 is damaged or cut off"),
        (TEXT[:-12], "record 5 is damaged or cut off"),
        (TEXT.replace("1:0.75", "0/1/1"), "more than|at most two"),
    ],
)
def test_files_that_are_none_or_damaged_are_refused(write, text, message):
    with pytest.raises(bl.InputError, match=message):
        read_all(bl.open_genotypes(write("x.vcf", text), dosage="GT"))


def test_calls_are_read_by_default_and_that_there_are_dosages_is_told():
    with pytest.warns(bl.InputWarning, match=r"calls\.vcf: calls \(GT\) are read, though it has dosages \(DS\) too"):
        assert bl.open_genotypes(REFERENCES / "calls.vcf").n_markers == 8


def test_the_dosages_must_be_there_if_they_are_asked_for(write):
    with pytest.raises(bl.InputError, match="has no field DS, but it has GT: choose that"):
        bl.open_genotypes(write("x.vcf", TEXT.replace("ID=DS,", "ID=PL,")), dosage="DS")
    one = TEXT.replace("0/1:1,0.25", "0/1:1").replace("1/2:0.5,1.5", "1/2:1").replace("2|2:0,2", "2|2:1")
    with pytest.raises(bl.InputError, match="record 2: DS has fewer values than there are alternate alleles"):
        read_all(bl.open_genotypes(write("y.vcf", one.replace("\t./.:.,.\t0/2:.,.", "\t./.:.\t0/2:.")), dosage="DS"))


def test_dosages_lie_between_0_and_2(write):
    with pytest.raises(bl.InputError, match=r"record 1: dosages must lie between 0 and 2, but 7.5 was found"):
        read_all(bl.open_genotypes(write("x.vcf", TEXT.replace("0.75", "7.5")), dosage="DS"))


def test_a_compressed_file_that_is_cut_off_is_refused(shared, tmp_path):
    path = tmp_path / "x.vcf.gz"
    path.write_bytes((shared / "file_formats" / "mice300.vcf.gz").read_bytes()[:100_000])
    with pytest.raises(bl.InputError, match=r"x\.vcf\.gz record \d+ is damaged or cut off"):
        bl.open_genotypes(path, dosage="DS")
    # Blocks of bgzip end with an empty one, without which the file may end between two records.
    path.write_bytes(b"\x1f\x8b\x08\x04" + gzip.compress(TEXT.encode())[4:])
    with pytest.raises(bl.InputError, match=r"x\.vcf\.gz is a compressed file that is cut off"):
        bl.open_genotypes(path, dosage="DS")
