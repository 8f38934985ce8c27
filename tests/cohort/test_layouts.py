import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError

ROWS = [("F1", "007", "1.5", "M"), ("F1", "8", "-9", "F"), ("F2", "9", "NA", "M")]


@pytest.fixture
def gcta(write):
    """Files of GCTA, without a header: two phenotypes, a quantitative and a categorical covariate."""
    files = {
        "x.phen": "".join(f"{f} {i} {y} {k}.5\n" for k, (f, i, y, _) in enumerate(ROWS)),
        "x.qcovar": "".join(f"{f}\t{i}\t{k}.5\n" for k, (f, i, *_) in enumerate(ROWS)),
        "x.covar": "".join(f"{f} {i} {sex} {k % 2}\n" for k, (f, i, _, sex) in enumerate(ROWS)),
    }
    return [write(name, text) for name, text in files.items()]


def test_gctas_files_need_no_header(gcta):
    phen, qcovar, covar = gcta
    table = bl.read_table(phen)
    assert table.names() == ["PHENO1", "PHENO2"]
    assert table.ids == ("007", "8", "9")
    assert table.families == ("F1", "F1", "F2")
    assert_array_equal(table.numbers("PHENO1"), [1.5, np.nan, np.nan])
    assert "has no header and was read as FID, IID and PHENO1 to PHENO2, where -9 is missing" in table.note
    assert bl.read_table(qcovar, unnamed="QCOVAR").names() == ["QCOVAR1"]
    codes = bl.read_table(covar, unnamed="COVAR")
    people = bl.measure(table, ["PHENO2"], covariate_table=codes)
    assert people.covariates["COVAR2"].tolist() == ["0", "1", "0"]


def test_both_tables_of_covariates_are_used(gcta):
    phen, qcovar, covar = (
        bl.read_table(path, unnamed=name) for path, name in zip(gcta, ("PHENO", "QCOVAR", "COVAR"), strict=True)
    )
    people = bl.measure(phen, ["PHENO2"], covariate_table=covar, quantitative_table=qcovar)
    assert list(people.covariates) == ["COVAR1", "COVAR2", "QCOVAR1"]
    assert_array_equal(people.covariates["QCOVAR1"], [0.5, 1.5, 2.5])
    some = bl.measure(
        phen, ["PHENO2"], covariate_table=covar, quantitative_table=qcovar, covariates=["QCOVAR1", "COVAR1"]
    )
    assert list(some.covariates) == ["QCOVAR1", "COVAR1"]
    with pytest.raises(InputError, match=r"neither .*x\.covar nor .*x\.qcovar has a column 'age'"):
        bl.measure(phen, ["PHENO2"], covariate_table=covar, quantitative_table=qcovar, covariates=["age"])
    with pytest.raises(InputError, match=r"both .* have a column 'COVAR1': rename one"):
        bl.measure(phen, ["PHENO2"], covariate_table=covar, quantitative_table=covar)
    with pytest.raises(InputError, match=r"line 1 \(id 007\): column 'COVAR1' must be a number or NA, but 'M'"):
        bl.measure(phen, ["PHENO2"], quantitative_table=covar)
    assert len(people.notes) == 3


def test_fam_and_psam_have_sex_and_phenotypes(write):
    fam = bl.read_table(write("x.fam", "F1 a 0 0 1 -9\nF1 b a 0 2 1.5\nF2 c 0 0 0 2\n"))
    assert fam.names() == ["SEX", "PHENO1"]
    assert fam.numbered == ("PHENO1",)
    assert_array_equal(fam.numbers("PHENO1"), [np.nan, 1.5, 2])
    assert_array_equal(fam.numbers("SEX"), [1, 2, np.nan])
    psam = bl.read_table(
        write("x.psam", "#FID\tIID\tSID\tPAT\tMAT\tSEX\tBMI\nF1\ta\t0\t0\t0\t1\t20\nF1\tb\t0\t0\t0\tNA\t-9\n")
    )
    assert psam.names() == ["SEX", "BMI"]
    assert psam.numbered == ("BMI",)
    assert_array_equal(psam.numbers("BMI"), [20, np.nan])
    with pytest.raises(InputError, match=r"line 1: a \.fam has six columns"):
        bl.read_table(write("y.fam", "F1 a 0 0 1\n"))


@pytest.mark.parametrize("header", ["", "#FID\tIID\tPC1\tPC2\n"])
def test_principal_components_are_covariates(write, header):
    table = bl.read_table(write("x.eigenvec", header + "F1\ta\t0.1\t-9\nF1\tb\t0.2\t0.3\n".replace("-9", "-0.9")))
    assert table.names() == ["PC1", "PC2"]
    assert_array_equal(table.numbers("PC2"), [-0.9, 0.3])
    assert not table.coded


def test_shared_eigenvec_is_read(shared):
    table = bl.read_table(shared / "file_formats" / "mice300.eigenvec")
    assert table.names() == [f"PC{k}" for k in range(1, 6)]
    V = np.column_stack([table.numbers(name) for name in table.names()])
    np.testing.assert_allclose(V.T @ V, np.eye(5), atol=1e-5)


def test_any_column_holds_ids(write):
    path = write("t.csv", "animal,FID,IID,y\n007,f,1,2\n8,f,2,3\n")
    assert bl.read_table(path).ids == ("1", "2")
    table = bl.read_table(path, id=["animal"])
    assert table.ids == ("007", "8")
    assert table.names() == ["y"]
    assert bl.read_table(path, id=["FID", "IID"]).ids == ("f_1", "f_2")
    assert bl.read_table(write("u.csv", "IID,y\n1,2\n"), id=["animal"]).ids == ("1",)
    with pytest.raises(InputError, match="must name the columns of ids animal, or one column IID"):
        bl.read_table(write("v.csv", "tier,y\n1,2\n"), id=["animal"])
    with pytest.raises(InputError, match="line 3: the animal is empty"):
        bl.read_table(write("w.csv", "animal,y\n1,2\n,2\n"), id=["animal"])


def test_semicolons_and_decimal_commas(write):
    table = bl.read_table(write("t.csv", 'IID;y;farm\n"1,5";-1,25;a,b\n2;1,5e2;c\n3;2.5;NA\n'))
    assert table.ids == ("1,5", "2", "3")
    assert_array_equal(table.numbers("y"), [-1.25, 150, 2.5])
    assert table.text("farm").tolist() == ["a,b", "c", "NA"]


def test_row_names_of_r_are_no_data(write):
    text = '"IID" "y" "farm"\n"1" "007" 1.5 "north west"\n"2" "8" NA "south"\n'
    table = bl.read_table(write("t.txt", text))
    assert table.ids == ("007", "8")
    assert table.names() == ["y", "farm"]
    assert table.text("farm").tolist() == ["north west", "south"]
    assert "row names are not used" in table.note
    csv = bl.read_table(write("t.csv", '"","IID","y"\n"1","007",1.5\n'))
    assert csv.ids == ("007",)
    assert csv.names() == ["y"]
    named = bl.read_table(write("u.txt", '"y"\n"a" 1\n"b" 2\n'), id=["row.names"])
    assert named.ids == ("a", "b")


@pytest.mark.parametrize("kind", ["xlsx", "parquet"])
def test_excel_and_parquet_hold_the_same_table(tmp_path, kind):
    frame = pd.DataFrame({"IID": ["007", "8", "9"], "y": [1.5, np.nan, 0.3], "k": [1, 2, 3]})
    path = tmp_path / f"t.{kind}"
    frame.to_excel(path, index=False) if kind == "xlsx" else frame.to_parquet(path)
    table = bl.read_table(path)
    assert table.ids == ("007", "8", "9")
    assert_array_equal(table.numbers("y"), [1.5, np.nan, 0.3])
    assert table.text("k").tolist() == ["1", "2", "3"]
    frame.astype({"k": str}).assign(k=["1", "x", "3"]).set_index("IID").to_parquet(tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"u\.parquet row 2 \(id 8\): column 'k' must be a number or NA, but 'x'"):
        bl.read_table(tmp_path / "u.parquet").numbers("k")


def test_other_kinds_of_files_are_named(tmp_path, write):
    with pytest.raises(InputError, match=r"files of the kind \.xls are not read: save it as \.csv, \.xlsx"):
        bl.read_table(write("t.xls", ""))
    with pytest.raises(InputError, match="cannot be read as an Excel file"):
        bl.read_table(write("t.xlsx", "no zip"))
    with pytest.raises(InputError, match="cannot be read as a Parquet file"):
        bl.read_table(write("t.parquet", "no parquet"))
    with pd.ExcelWriter(tmp_path / "two.xlsx") as writer:
        for name in ("one", "two"):
            pd.DataFrame({"IID": ["a"], "y": [1]}).to_excel(writer, sheet_name=name, index=False)
        pd.DataFrame().to_excel(writer, sheet_name="empty")
    with pytest.raises(InputError, match=r"has 2 sheets with cells \('one', 'two'\), but one is needed"):
        bl.read_table(tmp_path / "two.xlsx")


def test_families_tell_repeated_iids_apart(write):
    path = write("t.txt", "FID IID y\n1 a 1\n1 b 2\n2 a 3\n")
    assert bl.read_table(path).ids == ("1 a", "1 b", "2 a")
    with pytest.raises(InputError, match=r"ids must be unique, but 1 occurs more than once \(a\).*FIDs that tell"):
        bl.read_table(write("u.txt", "IID y\na 1\na 2\n"))
    with pytest.raises(InputError, match="ids must be unique"):
        bl.read_table(write("v.txt", "FID IID y\n1 a 1\n1 a 2\n"))


def test_formulas_without_a_value_are_refused(tmp_path):
    """As programs write them that do not compute: they would look like empty cells."""
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for row in (["IID", "y"], ["a", 1], ["b", "=B2+1"]):
        book.active.append(row)
    book.save(tmp_path / "t.xlsx")
    with pytest.raises(InputError, match=r"row 3: a formula has no value: open the file in Excel, and save it again"):
        bl.read_table(tmp_path / "t.xlsx")
