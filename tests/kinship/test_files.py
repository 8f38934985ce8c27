import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.kinship.kinship import Kinship


@pytest.fixture
def kinship(rng):
    A = rng.standard_normal((5, 8))
    return Kinship(("a", "b", "c", "d", "e"), A @ A.T / 8, "test", {"markers": {"kept": 8}})


def test_grm_files_have_gctas_layout(kinship, tmp_path):
    bl.write_grm(kinship, tmp_path / "x")
    lower = np.fromfile(tmp_path / "x.grm.bin", dtype="<f4")
    assert_allclose(lower, kinship.K[np.tril_indices(5)], rtol=1e-7)
    assert_array_equal(np.fromfile(tmp_path / "x.grm.N.bin", dtype="<f4"), np.full(15, 8))
    assert (tmp_path / "x.grm.id").read_text().splitlines()[1] == "b\tb"
    again = bl.read_grm(tmp_path / "x")
    assert_allclose(again.K, kinship.K, rtol=1e-7)
    assert again.ids == kinship.ids
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.grm.N.bin", "x.grm.bin", "x.grm.id"]


def test_truncated_grm_is_refused(kinship, tmp_path):
    path, _, ids = bl.write_grm(kinship, tmp_path / "x")
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match="5 ids need 15 float32 values, but 14 were found"):
        bl.read_grm(tmp_path / "x")
    ids.unlink()
    with pytest.raises(InputError, match=r"x\.grm\.id does not exist"):
        bl.read_grm(tmp_path / "x")


@pytest.mark.parametrize("separator", ["\t", ",", " "])
@pytest.mark.parametrize("index", [True, False])
def test_text_matrices_with_ids(kinship, write, separator, index):
    header = separator.join([*(["id"] if index else []), *kinship.ids])
    rows = [
        separator.join([*([name] if index else []), *(f"{value:.17g}" for value in row)])
        for name, row in zip(kinship.ids, kinship.K, strict=True)
    ]
    again = bl.read_kinship(write("K.txt", "\n".join([header, *rows]) + "\n"))
    assert again.ids == kinship.ids
    assert_allclose(again.K, kinship.K, rtol=1e-15)


def test_wheat_pedigree_matrix_is_read(shared):
    kinship = bl.read_kinship(shared / "wheat" / "pedigree_A.csv.gz")
    assert len(kinship.ids) == 599
    assert kinship.ids[:2] == ("775", "2166")
    assert 1.5 < kinship.mean_diagonal < 2.1


def test_gemma_matrices_take_their_ids_from_a_fam(kinship, write):
    text = "".join("\t".join(f"{value:.10g}" for value in row) + "\n" for row in kinship.K)
    matrix, fam = write("K.cXX.txt", text), write("x.fam", "".join(f"{i} {i} 0 0 0 -9\n" for i in kinship.ids))
    again = bl.read_kinship(matrix, fam=fam)
    assert again.ids == kinship.ids
    assert_allclose(again.K, kinship.K, atol=1e-9)
    with pytest.raises(InputError, match="has no line of ids: add one, or give the ids beside it"):
        bl.read_kinship(matrix)
    with pytest.raises(InputError, match=r"is 5 x 5, but .*y\.fam has 1 individuals"):
        bl.read_kinship(matrix, fam=write("y.fam", "1 1\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b\n1 0\n0 x\n", "row 2 column 2 of the matrix must be a number, but 'x' was found"),
        ("id a b\na 1 0\nc 0 1\n", r"rows and columns must have the same ids in one order \(c / b\)"),
        ("a b c\n1 0 0\n", "must be square under its line of ids, but 3 ids, 1 rows and 3 columns were found"),
        ("a b\n1 0.2\n0.1 1\n", "must be symmetric"),
        ("a b\n1 nan\nnan 1\n", "must be a number|finite"),
        ("", "cannot be read as a matrix"),
    ],
)
def test_malformed_matrices_are_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        bl.read_kinship(write("K.txt", text))


@pytest.mark.parametrize("extra", [b"\x00", b"\x00\x00\x00\x00"])
def test_trailing_bytes_are_refused(kinship, tmp_path, extra):
    path, *_ = bl.write_grm(kinship, tmp_path / "x")
    path.write_bytes(path.read_bytes() + extra)
    with pytest.raises(InputError, match=r"5 ids need 15 float32 values, but 1[56]( and 1 bytes)? were found"):
        bl.read_grm(tmp_path / "x")


@pytest.mark.parametrize("text", ["#FID\tIID\n{}", "#IID\n{}", "{}"])
def test_ids_of_plink2_have_a_header(kinship, tmp_path, write, text):
    lines = "".join(f"{'' if text.startswith('#IID') else 'f '}{name}\n" for name in kinship.ids)
    bl.write_grm(kinship, tmp_path / "x")
    write("x.grm.id", text.format(lines))
    assert bl.read_grm(tmp_path / "x").ids == kinship.ids
    matrix = write("x.rel", "".join("\t".join(f"{value:.17g}" for value in row) + "\n" for row in kinship.K))
    assert_allclose(bl.read_kinship(matrix, fam=tmp_path / "x.grm.id").K, kinship.K, rtol=1e-15)


@pytest.mark.parametrize("names", ["abcde", ["775", "12", "7", "8", "9"]])
@pytest.mark.parametrize("first", ["", "5\n"])
def test_ids_may_stand_before_the_rows_alone(kinship, write, names, first):
    """As GAPIT has them, and TASSEL with their number above."""
    rows = "".join(
        ",".join([name, *(f"{v:.17g}" for v in row)]) + "\n" for name, row in zip(names, kinship.K, strict=True)
    )
    again = bl.read_kinship(write("K.csv", first + (rows.replace(",", "\t") if first else rows)))
    assert again.ids == tuple(names)
    assert_allclose(again.K, kinship.K, rtol=1e-15)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1\n0.1 1\n0.2 0.1 1\n", "holds a triangle of a matrix"),
        ("a a 1\nb a 0\nb b 1\nc a 0\nc b 0\nc c 1\n", "has 5 rows of 3 columns, like a list of pairs"),
        ('"";"a";"b"\n"a";1,1;0,2\n"b";0,2;1,0\n', "separated by semicolons"),
        ("a b\nTrue False\nFalse True\n", "row 1 column 1 of the matrix must be a number, but 'True'"),
        ("a b\n1\n0 1\n", "must be|cannot be read"),
        ("a b\n1 0\n0 \x00\n", "line 3: this is not UTF-8 text"),
        (f"a,{'b' * 140_000}\n1,0\n0,1\n", "line 1 cannot be split into columns .field larger"),
    ],
)
def test_other_shapes_are_named(write, text, message):
    with pytest.raises(InputError, match=message):
        bl.read_kinship(write("K.txt", text))


@pytest.mark.parametrize("suffix", ["gz", "sp"])
def test_other_formats_of_gcta_are_named(tmp_path, suffix):
    (tmp_path / f"x.grm.{suffix}").write_bytes(b"")
    with pytest.raises(InputError, match=rf"x.grm.bin does not exist, but x.grm.{suffix} does"):
        bl.read_grm(tmp_path / "x")
