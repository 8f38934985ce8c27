import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.bgen import read_sample
from conftest import BgenRecord, bgen_file

RECORDS = [
    BgenRecord([255, 0, 0, 255, 0, 0]),
    BgenRecord([0] * 12 + [255, 0, 0], alleles=("A", "C", "G"), name="rs2", pos=9),
    BgenRecord([255, 0, 0, 0, 0, 255], name=".", chrom="X", alleles=("A" * 600, "T")),
]
IDS = ["p1", "p2", "p3"]
SAMPLE = "ID_1 ID_2 missing\n0 0 0\nf1 p1 0\nf2 p2 0\nf3 p3 0\n"


@pytest.fixture
def bgen(tmp_path):
    """Write a BGEN file; return its path."""

    def writer(data):
        (tmp_path / "x.bgen").write_bytes(data)
        return tmp_path / "x.bgen"

    return writer


def read_all(genotypes):
    with genotypes.reader() as reader:
        return reader.read(None, range(genotypes.n_markers), "float64")


@pytest.mark.parametrize("compression", [0, 1, 2])
def test_markers_and_ids_are_read_whatever_the_compression(bgen, compression):
    genotypes = bl.open_genotypes(bgen(bgen_file(RECORDS, IDS, compression=compression)))
    assert genotypes.ids == tuple(IDS)
    variants = genotypes.variants
    assert variants["chrom"].tolist() == ["01", "01", "01", "X"]
    assert variants["snp"].tolist() == ["rs1", "rs2", "rs2", f"X:7:{'A' * 600}:T"]
    assert variants["a1"].tolist() == ["C", "C", "G", "T"]
    assert variants["pos"].tolist() == [7, 9, 9, 7]
    assert genotypes.left_out == {"X": 1}
    G = read_all(genotypes)
    assert_allclose(G[:, 0], [0, 1, 2])
    assert_allclose(G[:, 1:3], [[0, 2], [0, 2], [2, 0]])
    with genotypes.reader() as reader:
        assert_array_equal(reader.read(np.array([2, 0]), [3, 0], "float32"), G[[2, 0]][:, [3, 0]])


def test_ids_are_those_of_the_sample(bgen, write):
    path = bgen(bgen_file(RECORDS))
    genotypes = bl.open_genotypes(path, sample=write("x.sample", SAMPLE))
    assert (genotypes.families, genotypes.ids) == (("f1", "f2", "f3"), ("p1", "p2", "p3"))
    assert [file.name for file in genotypes.files] == ["x.bgen", "x.sample"]
    assert read_sample(write("y.sample", "ID sex\n0 D\np1 1\np2 2\n")) == (("0", "0"), ("p1", "p2"))
    with pytest.raises(bl.InputError, match=r"x\.bgen has no ids of individuals inside: give its \.sample"):
        bl.open_genotypes(path)
    with pytest.raises(bl.InputError, match=r"z\.sample has 2 individuals, but .*x\.bgen has 3"):
        bl.open_genotypes(path, sample=write("z.sample", SAMPLE.replace("f3 p3 0\n", "")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must have a line of names"),
        ("ID_1 ID_2 missing\nf1 p1 0\nf2 p2 0\n", "line of types that begins with 0"),
        (SAMPLE.replace("f2 p2 0", "f2 p2"), "line 4: 3 columns were expected"),
        (SAMPLE.replace("f3 p3", "f1 p1"), "ids must be unique"),
    ],
)
def test_a_sample_that_is_none_is_refused(write, text, message):
    with pytest.raises(bl.InputError, match=message):
        read_sample(write("x.sample", text))


def test_a_file_that_is_cut_off_anywhere_is_refused(bgen):
    whole = bgen_file(RECORDS, IDS)
    for size in range(len(whole)):
        path = bgen(whole[:size])
        with pytest.raises(bl.InputError, match=r"x\.bgen (must be|is cut|is damaged|has no)"):
            bl.open_genotypes(path)
    path = bgen(whole + b"\0")
    with pytest.raises(bl.InputError, match="too long: 1 bytes follow its 3 markers"):
        bl.open_genotypes(path)


def test_other_files_are_refused(bgen):
    path = bgen(b"##fileformat=VCFv4.2\n#CHROM\tPOS\n")
    with pytest.raises(bl.InputError, match="does not begin like one"):
        bl.open_genotypes(path)
    path = bgen(bgen_file(RECORDS, IDS, layout=1))
    with pytest.raises(bl.InputError, match=r"is BGEN 1\.1 \(layout 1\): convert it \(plink2 --export bgen-1\.2\)"):
        bl.open_genotypes(path)
    path = bgen(bgen_file([], IDS))
    with pytest.raises(bl.InputError, match="has 0 markers of 3 individuals"):
        bl.open_genotypes(path)


def test_damaged_probabilities_name_the_marker(bgen):
    path = bgen(bgen_file([BgenRecord([255, 0, 200, 100, 0, 0])], IDS))
    with pytest.raises(bl.InputError, match=r"x\.bgen marker 1 \(rs1\): its probabilities add up to more than one"):
        read_all(bl.open_genotypes(path))
    whole = bytearray(bgen_file(RECORDS[:2], IDS))
    whole[-8] ^= 0x55  # in the checksum or the end of the second record
    path = bgen(bytes(whole))
    with pytest.raises(bl.InputError, match=r"x\.bgen marker 2 \(rs2\): its probabilities cannot be decompressed"):
        read_all(bl.open_genotypes(path))
