import gzip

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bayeslmm.checks import InputError
from bayeslmm.tables import read_fam, read_table


@pytest.mark.parametrize("separator", ["\t", ",", "  "])
def test_tabs_commas_and_blanks_separate(write, separator):
    text = "FID IID height\n1 a 1.5\n\n1 b NA\n1 c -2e3\n".replace(" ", separator)
    table = read_table(write("pheno.txt", text))
    assert table.ids == ("a", "b", "c")
    assert_array_equal(table.numbers("height"), [1.5, np.nan, -2000.0])
    assert table.names() == ["height"]


def test_empty_and_nan_are_missing_between_tabs(write):
    table = read_table(write("pheno.tsv", "#IID\tx\ty\na\t\tnan\nb\t2\t3\n"))
    assert_array_equal(table.numbers("x"), [np.nan, 2])
    assert_array_equal(table.numbers("y"), [np.nan, 3])


def test_gzip_is_opened(tmp_path):
    path = tmp_path / "pheno.tsv.gz"
    path.write_bytes(gzip.compress(b"IID x\na 1\n"))
    assert_array_equal(read_table(path).numbers("x"), [1])


def test_ids_stay_text(write):
    assert read_table(write("p.txt", "IID x\n007 1\n7 2\n1.0 3\n")).ids == ("007", "7", "1.0")


def test_minus_nine_is_missing_only_if_told(write):
    path = write("p.txt", "IID x\na -9\nb 2\n")
    assert_array_equal(read_table(path).numbers("x"), [-9, 2])
    assert_array_equal(read_table(path, missing=["-9"]).numbers("x"), [np.nan, 2])


@pytest.mark.parametrize(
    ("values", "suspected"),
    [("-9 21 22 25", True), ("-9 -9 0 1", True), ("-8 -9 -10 3", False), ("-9 -6 -3 0 3", False), ("1 2 3", False)],
)
def test_minus_nine_apart_from_the_rest_is_suspected(write, values, suspected):
    rows = "".join(f"p{i} {value}\n" for i, value in enumerate(values.split()))
    assert read_table(write("p.txt", "IID x\n" + rows)).missing_code_suspected("x") is suspected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: a header line and data were expected"),
        ("IID x\n", "has a header but no data"),
        ("FID x\n1 2\n", "line 1: the header must name one column IID"),
        ("a 1.0 2.0\nb 2.0 3.0\n", "line 1: the header must name one column IID"),
        ("IID x x\na 1 2\n", "line 1: each column needs its own name, but 'x' stands twice"),
        ("IID x y\na 1 2\nb 1\n", "line 3: 3 columns were expected .* but 2 were found"),
        ("IID\tx\na\t1\n\t2\n", "line 3: the IID is empty"),
        ("IID x\na 1\nb 2\na 3\n", r"each id must stand once, but 1 of them are repeated \(a\)"),
    ],
)
def test_malformed_tables_are_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        read_table(write("pheno.txt", text))


def test_a_word_among_numbers_is_named_with_its_line(write):
    table = read_table(write("pheno.txt", "IID x\na 1\nb tall\nc short\n"))
    with pytest.raises(InputError, match=r"line 3 \(id b\): column 'x' must be a number or NA, but 'tall' .*2 such"):
        table.numbers("x")


def test_infinite_values_are_refused(write):
    with pytest.raises(InputError, match=r"line 2 \(id a\): column 'x' must be a number or NA, but 'inf'"):
        read_table(write("pheno.txt", "IID x\na inf\nb 1\n")).numbers("x")


def test_unknown_columns_are_told_with_the_known(write):
    with pytest.raises(InputError, match="has no column 'weight'; it has height, bmi"):
        read_table(write("pheno.txt", "IID height bmi\na 1 2\n")).numbers("weight")


def test_missing_files_and_folders_are_told(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.txt does not exist"):
        read_table(tmp_path / "nothing.txt")
    with pytest.raises(InputError, match="is a folder, a file is needed"):
        read_table(tmp_path)


def test_binary_files_are_refused(tmp_path):
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00\x01" * 20)
    with pytest.raises(InputError, match="is no text in UTF-8"):
        read_table(tmp_path / "x.bin")


def test_fam_gives_the_second_column(write):
    assert read_fam(write("x.fam", "f a 0 0 1 -9\nf b 0 0 2 -9\n")).ids == ("a", "b")
    with pytest.raises(InputError, match=r"line 1: a \.fam has six columns"):
        read_fam(write("y.fam", "a\n"))
    with pytest.raises(InputError, match="each id must stand once"):
        read_fam(write("z.fam", "1 a 0 0 1 -9\n2 a 0 0 1 -9\n"))
