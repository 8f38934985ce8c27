import gzip
import os

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from bayeslmm.base.checks import InputError
from bayeslmm.base.ids import near_matches, read_fam, read_ids
from bayeslmm.cohort.tables import read_table


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
    path.write_bytes(gzip.compress(b"IID x\na 1\n", mtime=0))
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
        ("a 1.0\nb 2.0\n", "line 1: the header must name one column IID"),
        ("family id height\na b 1.5\n", "line 1: the header must name one column IID"),
        ("IID x x\na 1 2\n", "line 1: column names must be unique, but 'x' occurs more than once"),
        ("IID x y\na 1 2\nb 1\n", "line 3: 3 columns were expected .* but 2 were found"),
        ("IID\tx\na\t1\n\t2\n", "line 3: the IID is empty"),
        ("IID x\na 1\nb 2\na 3\n", r"ids must be unique, but 1 occurs more than once \(a\)"),
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
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_table(tmp_path / "x.bin")


def test_fam_gives_the_second_column(write):
    assert read_fam(write("x.fam", "f a 0 0 1 -9\nf b 0 0 2 -9\n")).ids == ("a", "b")
    with pytest.raises(InputError, match=r"line 1: a \.fam has six columns"):
        read_fam(write("y.fam", "a\n"))
    with pytest.raises(InputError, match="ids must be unique"):
        read_fam(write("z.fam", "1 a 0 0 1 -9\n1 a 0 0 1 -9\n"))
    assert read_fam(write("z.fam", "1 a 0 0 1 -9\n2 a 0 0 1 -9\n")).ids == ("1 a", "2 a")


def test_codes_of_the_field_are_missing_in_any_case(write):
    codes = ["", "NA", "n/a", "#N/A", "NaN", ".", "-", "*", "null", "None", "<NA>"]
    rows = "".join(f"p{i}\t{code}\n" for i, code in enumerate([*codes, "3"]))
    assert_array_equal(read_table(write("p.tsv", "IID\tx\n" + rows)).numbers("x"), [np.nan] * len(codes) + [3])


def test_numbers_are_codes_as_numbers_and_words_as_words(write):
    path = write("p.txt", "IID x\na -9.000\nb -9\nc -9e0\nd -90\ne gone\nf 1\n")
    assert_array_equal(read_table(path, missing=["-9", "gone"]).numbers("x"), [*[np.nan] * 3, -90, np.nan, 1])


@pytest.mark.parametrize(
    ("values", "numeric"),
    [("1 2.5 NA 3", True), ("a b 1 c", False), ("a b NA c", False), ("2 - . null", True)],
)
def test_a_column_is_of_numbers_or_of_categories(write, values, numeric):
    rows = "".join(f"p{i} {value}\n" for i, value in enumerate(values.split()))
    assert read_table(write("p.txt", "IID x\n" + rows)).is_numeric("x") is numeric


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("1 2 XNA 4 3 5", r"line 4 \(id p2\): column 'x' holds numbers, but 1 of 6 values are none \('XNA'\): correct"),
        ("1 ? 2 ?? 3 5", r"line 3 \(id p1\): .* 2 of 6 values are none \('\?', '\?\?'\)"),
        ("1,5 2 3 4,5 5 6", r"2 of 6 values are none \('1,5', '4,5'\): write decimals with a point"),
        ("1,5 2,5 3,1 4,5 5,0 6,0", "write decimals with a point"),
    ],
)
def test_stray_words_do_not_turn_numbers_into_categories(write, values, message):
    rows = "".join(f"p{i}\t{value}\n" for i, value in enumerate(values.split()))
    with pytest.raises(InputError, match=message):
        read_table(write("p.tsv", "IID\tx\n" + rows)).is_numeric("x")


def test_near_matches_differ_in_case_zeros_and_decimals_alone():
    known = ["811", "A12", "00014", "x.1", "100"]
    assert near_matches(["811.0", "a12", "14", "x1", "10", "A120", "1000"], known) == {
        "811.0": "811",
        "a12": "A12",
        "14": "00014",
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b"IID x\na 1\n" * 1000, mtime=0)[:40], "is a compressed file that is cut off"),
        (gzip.compress(b"IID x\na 1\n", mtime=0)[:-8] + b"12345678", "is a compressed file that is damaged"),
        (gzip.compress(b"IID x\na 1\n", mtime=0) + b"more", "is a compressed file that is damaged"),
        (b"IID x\na 1\nb \xe9\n", "line 3: the text must be UTF-8, but it holds the byte 0xe9"),
        ("IID x\na 1\n".encode("utf-16"), "line 1: this is not UTF-8 text"),
        (b"IID x\na 1\nb\x00 2\n", "line 3: this is not UTF-8 text: it holds a byte 0"),
        (b'IID,x,y\na,1,"2\nb,3,4"\nc,5,6\n', "line 2: a quote opens here that is closed on a later line"),
        (b'IID,x\na,"1\nb,2\n', "line 2 cannot be split into columns|line 2: a quote opens here"),
    ],
)
def test_damaged_and_foreign_texts_are_told_in_one_line(tmp_path, content, message):
    (tmp_path / "t.gz").write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_table(tmp_path / "t.gz")


def test_what_the_system_refuses_is_told(tmp_path, write, monkeypatch):
    with pytest.raises(InputError, match=r"cannot be read \(File name too long\)"):
        read_table(tmp_path / ("x" * 300))
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match="is a pipe or a device"):
        read_table(tmp_path / "pipe")
    path = write("p.txt", "IID x\na 1\n")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match=r"p.txt cannot be read \(permission denied\)"):
        read_table(path)


def test_several_records_are_told_with_what_to_do(write):
    with pytest.raises(InputError, match=r"1 occurs more than once.*: give one row for each, such as their mean"):
        read_table(write("p.txt", "IID x\n1 1\n1 2\n"))


def test_many_columns_are_read_in_a_time_that_grows_with_their_number(write):
    """Counting each name among all of 60,000 would be 3.6 billion comparisons: a minute, for a second of reading."""
    names = [f"T{j}" for j in range(60_000)]
    table = read_table(write("p.tsv", "\t".join(["IID", *names]) + "\n" + "\t".join(["a", *["1"] * 60_000]) + "\n"))
    assert table.names() == names


def test_long_cells_are_quoted_in_short(write):
    with pytest.raises(InputError) as caught:
        read_table(write("p.txt", f"IID x\na {'y' * 100_000}\nb 1\n")).numbers("x")
    assert len(str(caught.value)) < 1000
    with pytest.raises(InputError) as caught:
        read_fam(write("x.fam", "z" * 100_000))
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "text", ["#FID IID\nf a\ng b\n", "#IID\na\nb\n", "a\nb\n", "f a\ng b\n", "f a 0 0 1 -9\ng b 0 0 2 -9\n"]
)
def test_ids_stand_in_one_column_or_more_with_a_header_of_plink2_or_none(write, text):
    assert read_ids(write("x.id", text)).ids == ("a", "b")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no individual"),
        ("#FID IID\n", "holds no individual"),
        ("f a 0 0 1 -9\ng b 0 0 2\n", "line 2: 6 columns were expected, as in the first line, but 5 were found"),
        ("f a 0 0\ng b 0 0\n", "line 1: a .fam has six columns"),
    ],
)
def test_fam_files_of_another_width_are_refused(write, text, message):
    with pytest.raises(InputError, match=message):
        read_fam(write("x.fam", text))


def test_a_fam_may_have_more_phenotypes_and_any_family_names(write):
    people = read_fam(write("x.fam", "#1 a 0 0 1 -9 5\nf,2 b 0 0 2 -9 6\n"))
    assert people.families == ("#1", "f,2")
