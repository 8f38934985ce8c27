import numpy as np
import pyarrow as pa
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
        ("1\n0.1 1\n0.2 0.1 1\n", "holds a triangle of a matrix, without ids"),
        ("1 1 9 1\n2 1 9 0\n2 2 9 1\n3 1 9 0\n3 2 9 0\n3 3 9 1\n4 1 9 0\n", "like a list of pairs: name it X.grm.gz"),
        ("a a 1\nb a 0\nb b 1\nc a 0\nc b 0\nb c 1\n", "c and b have two, 0 and 1"),
        ("a a 1\nb a 0\nb b 1\nc a 0\nc b 0\na c 0\n", r"1 of 3 are not there \(c\)"),
        ("a a 1\nb a 0\nb b x\nc a 0\nc b 0\nc c 1\n", "row 3 column 1 of the matrix must be a number, but 'x'"),
        ("a b\nTrue False\nFalse True\n", "row 1 column 1 of the matrix must be a number, but 'True'"),
        ("a b\n1\n0 1\n", "must be|cannot be read"),
        ("a b\n1 0\n0 \x00\n", "line 3: this is not UTF-8 text"),
        (f"a,{'b' * 140_000}\n1,0\n0,1\n", "line 1 cannot be split into columns .field larger"),
    ],
)
def test_other_shapes_are_named(write, text, message):
    with pytest.raises(InputError, match=message):
        bl.read_kinship(write("K.txt", text))


def rows_of(K, *, lower=False, diagonal=True, separator="\t"):
    """Return the rows of a matrix, or of its lower triangle, as text."""
    kept = [row[: i + diagonal] if lower else row for i, row in enumerate(K)]
    return "".join(separator.join(f"{value:.17g}" for value in row) + "\n" for row in kept if len(row))


def test_semicolons_and_decimal_commas_are_read(kinship, write):
    """As R's write.csv2 writes a matrix with row names."""
    text = ";".join(["", *kinship.ids]) + "\n"
    text += "".join(f"{name};{row}" for name, row in zip(kinship.ids, rows_of(kinship.K).splitlines(True), strict=True))
    text = text.replace("\t", ";").replace(".", ",")
    again = bl.read_kinship(write("K.csv", text))
    assert again.ids == kinship.ids
    assert_allclose(again.K, kinship.K, rtol=1e-15)


def test_write_table_of_r_is_read(kinship, write):
    """Quoted, blanks between, a header that is one shorter than the rows."""
    lines = [" ".join(f'"{name}"' for name in kinship.ids)]
    lines += [
        f'"{name}" {row}' for name, row in zip(kinship.ids, rows_of(kinship.K, separator=" ").splitlines(), strict=True)
    ]
    again = bl.read_kinship(write("K.txt", "\n".join(lines) + "\n"))
    assert again.ids == kinship.ids
    assert_allclose(again.K, kinship.K, rtol=1e-15)
    assert "first line and column" in again.origin_line()


@pytest.fixture
def beside(kinship, write):
    """Write the ids as plink2 does; return where the numbers belong."""

    def written(name):
        write(f"{name}.id", "#FID\tIID\n" + "".join(f"f\t{iid}\n" for iid in kinship.ids))
        return write(name, "")

    return written


@pytest.mark.parametrize("shape", ["square", "triangle", "square0"])
def test_rel_takes_the_ids_beside_it(kinship, beside, shape):
    path = beside("x.rel")
    K = np.tril(kinship.K) if shape == "square0" else kinship.K
    path.write_text(rows_of(K, lower=shape == "triangle"))
    again = bl.read_kinship(path)
    assert again.ids == kinship.ids
    assert again.families == ("f",) * 5
    assert_allclose(again.K, kinship.K, rtol=1e-15)
    assert "x.rel.id" in again.origin_line()


@pytest.mark.parametrize("shape", ["square", "triangle"])
def test_king_is_doubled_and_its_triangle_lacks_the_diagonal(kinship, beside, shape):
    phi = kinship.K / 2
    np.fill_diagonal(phi, 0.5)
    path = beside("x.king")
    path.write_text(rows_of(phi, lower=shape == "triangle", diagonal=False))
    again = bl.read_kinship(path)
    assert_allclose(again.K, 2 * phi, rtol=1e-15)
    assert "KING's phi, half the relationship, and are doubled" in again.origin_line()


@pytest.mark.parametrize("kind", ["f4", "f8"])
@pytest.mark.parametrize("shape", ["square", "triangle", "square0"])
def test_binary_matrices_of_plink_are_told_by_their_size(kinship, beside, kind, shape):
    beside("x.rel")
    path = beside("x.rel").with_name("x.rel.bin")
    K = np.tril(kinship.K) if shape == "square0" else kinship.K
    values = K[np.tril_indices(5)] if shape == "triangle" else K
    path.write_bytes(values.astype(f"<{kind}").tobytes())
    again = bl.read_kinship(path)
    assert again.ids == kinship.ids
    assert_allclose(again.K, kinship.K, rtol=1e-7 if kind == "f4" else 0)
    assert f"float{8 * int(kind[1])}" in again.origin_line()
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"5 ids need 5 x 5 values of float64 or float32, .* bytes were found"):
        bl.read_kinship(path)


@pytest.mark.parametrize("count", [15, 25])
def test_a_signalling_nan_of_a_damaged_binary_matrix_is_refused_without_a_warning(beside, count):
    path = beside("x.rel").with_name("x.rel.bin")
    path.write_bytes(np.full(count, 0x7FA00000, dtype="<u4").tobytes())
    with pytest.raises(InputError, match=r"x\.rel\.bin.*nan"):
        bl.read_kinship(path)


@pytest.mark.parametrize("kind", ["f4", "f8"])
def test_binary_triangles_of_king_lack_the_diagonal(kinship, beside, kind):
    path = beside("x.king").with_name("x.king.bin")
    path.write_bytes((kinship.K[np.tril_indices(5, -1)] / 2).astype(f"<{kind}").tobytes())
    wanted = kinship.K.copy()
    np.fill_diagonal(wanted, 1.0)
    assert_allclose(bl.read_kinship(path).K, wanted, rtol=1e-6)


@pytest.mark.parametrize("header", [True, False])
def test_lists_of_pairs_are_read(kinship, write, header):
    pairs = [(i, j) for i in range(5) for j in range(i + 1) if (i, j) != (3, 1)]
    text = "id1 id2 value\n" * header + "".join(
        f"{kinship.ids[i]} {kinship.ids[j]} {kinship.K[i, j]:.17g}\n" for i, j in pairs
    )
    again = bl.read_kinship(write("long.txt", text))
    wanted = kinship.K.copy()
    wanted[3, 1] = wanted[1, 3] = 0
    assert again.ids == kinship.ids
    assert_allclose(again.K, wanted, rtol=1e-15)
    assert "1 pairs that it leaves out have the relationship 0" in again.origin_line()


def test_kin0_is_read_if_it_holds_all_pairs(kinship, write):
    header = "#FID1\tIID1\tFID2\tIID2\tNSNP\tHETHET\tIBS0\tKINSHIP\n"
    lines = [
        "\t".join([f"f{a}", a, f"f{b}", b, "9", "0.1", "0.1", f"{kinship.K[i, j] / 2}"]) + "\n"
        for i, a in enumerate(kinship.ids)
        for j, b in enumerate(kinship.ids[:i])
    ]
    again = bl.read_kinship(write("x.kin0", header + "".join(lines)))
    order = [again.ids.index(name) for name in kinship.ids]
    wanted = kinship.K.copy()
    np.fill_diagonal(wanted, 1.0)
    assert_allclose(again.K[np.ix_(order, order)], wanted, rtol=1e-15)
    assert sorted(again.families) == [f"f{name}" for name in kinship.ids]
    with pytest.raises(InputError, match="lists 9 of the 10 pairs of its 5 individuals, like a table of relatives"):
        bl.read_kinship(write("y.kin0", header + "".join(lines[1:])))


def test_arrays_of_numpy_are_read_with_their_ids(kinship, tmp_path, write):
    np.save(tmp_path / "K.npy", kinship.K)
    with pytest.raises(InputError, match=r"holds numbers only: give the ids beside it \(fam\), or name them .*K\.id"):
        bl.read_kinship(tmp_path / "K.npy")
    write("K.id", "\n".join(kinship.ids) + "\n")
    again = bl.read_kinship(tmp_path / "K.npy")
    assert again.ids == kinship.ids
    assert_array_equal(again.K, kinship.K)
    with pytest.raises(InputError, match=r"is 5 x 5, but .*y\.id has 1 individuals"):
        bl.read_kinship(tmp_path / "K.npy", fam=write("y.id", "a\n"))
    np.save(tmp_path / "K.npy", np.array(["a"], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="cannot be read as an array of NumPy"):
        bl.read_kinship(tmp_path / "K.npy")


def test_zstandard_of_plink2_is_read(kinship, beside):
    """As the modifier zs writes it; cut off, it is refused."""
    path = beside("x.rel").with_name("x.rel.zst")
    whole = pa.compress(rows_of(kinship.K).encode(), codec="zstd", asbytes=True)
    path.write_bytes(whole)
    assert_allclose(bl.read_kinship(path).K, kinship.K, rtol=1e-15)
    path.write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"x\.rel\.zst cannot be read"):
        bl.read_kinship(path)


def test_shared_matrices_equal_their_references(shared):
    """plink2's own kinship of 300 mice, of which the first 60: its text has six digits, its binary float32."""
    folder = shared / "file_formats"
    text, binary = bl.read_kinship(folder / "mice60.rel"), bl.read_kinship(folder / "mice60_bin4.rel.bin")
    assert text.ids == binary.ids
    assert len(text.ids) == 60
    assert_allclose(text.K, binary.K, rtol=5e-6, atol=5e-9)
    # The mean over markers that both have called, and over all, differ by up to 0.021 (README of the folder).
    ours = bl.genomic_kinship(folder / "mice300_hard.bed").take(range(60))
    assert ours.ids == text.ids
    assert np.abs(ours.K - text.K).max() < 0.022
    king = bl.read_kinship(folder / "mice60.king")
    phi = np.loadtxt(folder / "mice60.king")
    assert king.ids == text.ids
    assert_array_equal(king.K, 2 * phi)
    with pytest.raises(InputError, match=r"positive semi-definite.*plink2 --make-rel, not --make-king"):
        bl.decompose(king.K)
    with pytest.raises(InputError, match=r"lists .* pairs of its .* individuals, like a table of relatives only"):
        bl.read_kinship(folder / "mice300.kin0.head")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["1", "0 1", "0 0 x", "0 0 0 1", "0 0 0 0 1"], "line 3: values must be numbers, but x was found"),
        (["1", "0 1", "0 0", "0 0 0 1", "0 0 0 0 1"], "line 3: a triangle has one value more in each row, so 3 were"),
        (["1", "0 1", "0 0 1"], r"a triangle of 5 individuals \(.*x\.rel\.id\) has 5 rows, but 3 were found"),
    ],
)
def test_malformed_triangles_are_refused(beside, lines, message):
    path = beside("x.rel")
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        bl.read_kinship(path)


def test_one_matrix_in_the_formats_of_many_programs(shared):
    """120 individuals, as GAPIT, TASSEL, a list, R's write.csv2, PLINK 1.9 and GCTA have them."""
    folder = shared.parent / "cases" / "b15-kinship-and-pedigree-formats-of-others"
    if not folder.is_dir():
        pytest.skip("the files of users are absent")
    wanted = bl.read_kinship(folder / "gapit.csv")
    assert len(wanted.ids) == 120
    read = [bl.read_kinship(folder / name) for name in ("tassel.txt", "long.txt", "semicolon.csv")]
    read += [bl.read_kinship(folder / "triangle.rel", fam=folder / "x.id"), bl.read_grm(folder / "gz")]
    for kinship in read:
        assert kinship.ids == wanted.ids
        assert_array_equal(kinship.K, wanted.K)
    sparse = bl.read_grm(folder / "sp").K
    assert_array_equal(sparse[sparse != 0], wanted.K[sparse != 0])
    assert (np.count_nonzero(sparse) - 120) // 2 == 7140 - 5666
