"""Tables of many traits, in every form that is read, and what is refused."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

import bayeslmm as bl
from bayeslmm.cohort.wide_tables import read_wide_table

IDS = [f"p{i}" for i in range(6)]


@pytest.fixture
def frame(rng):
    Y = rng.standard_normal((6, 4))
    Y[2, 1] = np.nan
    frame = pd.DataFrame(Y, columns=["ENSG1", "ENSG2", "other", "d"])
    frame.insert(0, "IID", IDS)
    return frame.assign(sex=list("mfmfmf")), Y


WRITERS = {
    "t.tsv": lambda frame, path: frame.to_csv(path, sep="\t", index=False, na_rep="NA"),
    "t.tsv.gz": lambda frame, path: frame.to_csv(path, sep="\t", index=False, na_rep="."),
    "t.csv": lambda frame, path: frame.to_csv(path, index=False),
    "t.txt": lambda frame, path: frame.to_csv(path, sep=" ", index=False, na_rep="N/A"),
    "semicolons.csv": lambda frame, path: frame.to_csv(path, sep=";", decimal=",", index=False, na_rep="NA"),
    "t.parquet": lambda frame, path: frame.to_parquet(path, index=False),
}


@pytest.mark.parametrize("name", WRITERS)
def test_all_forms_are_one_table(frame, tmp_path, name):
    table, Y = frame
    WRITERS[name](table, tmp_path / name)
    wide = read_wide_table(tmp_path / name, apart=["sex"])
    assert wide.traits == ("ENSG1", "ENSG2", "other", "d")
    assert_array_equal(wide.Y, Y)
    assert wide.rows.ids == tuple(IDS)
    assert wide.rows.columns["sex"].tolist() == list("mfmfmf")
    assert wide.refused == {}
    chosen = read_wide_table(tmp_path / name, ["ENSG*", "[d]"])
    assert chosen.traits == ("ENSG1", "ENSG2", "d")
    assert_array_equal(chosen.Y, Y[:, [0, 1, 3]])


@pytest.mark.parametrize("name", ["x.bed", "x.bed.gz", "x.bed.parquet"])
def test_expression_as_tensorqtl_reads_it(frame, tmp_path, name):
    _, Y = frame
    bed = pd.DataFrame(Y.T, columns=IDS)
    for column, values in (("phenotype_id", ["a1", "a2", "b", "c"]), ("end", 2), ("start", 1), ("#chr", "chr1")):
        bed.insert(0, column, values)
    if name.endswith("parquet"):
        bed.to_parquet(tmp_path / name)
    else:
        bed.to_csv(tmp_path / name, sep="\t", index=False, na_rep="NA")
    wide = read_wide_table(tmp_path / name, ["a*", "c"])
    assert wide.traits == ("a1", "a2", "c")
    assert wide.rows.ids == tuple(IDS)
    assert_array_equal(wide.Y, Y[:, [0, 1, 3]])
    assert "BED-style table: 6 individuals, 3 of 4 lines are traits" in wide.rows.note


def test_a_file_of_gcta_has_no_header(frame, tmp_path):
    table, Y = frame
    gcta = table.drop(columns="sex")
    gcta.insert(0, "FID", [f"f{i}" for i in range(6)])
    gcta.to_csv(tmp_path / "x.phen", sep=" ", header=False, index=False, na_rep="-9")
    wide = read_wide_table(tmp_path / "x.phen")
    assert wide.traits == ("PHENO1", "PHENO2", "PHENO3", "PHENO4")
    assert_array_equal(wide.Y, Y)
    assert wide.rows.families[2] == "f2"


def test_codes_of_missing_values_are_numbers_too(write):
    path = write("x.tsv", "IID\ta\tb\np1\t-9.0\t1\np2\t2\tlow\np3\tNaN\t3\n")
    wide = read_wide_table(path, missing=["-9", "low"])
    assert_array_equal(wide.Y, [[np.nan, 1], [2, np.nan], [np.nan, 3]])
    assert wide.refused == {}


def test_words_cost_one_trait_and_no_other(write):
    wide = read_wide_table(write("x.tsv", "IID\ta\tb\tc\np1\t1\tinf\t5\np2\t2 \t3x\t6\n"))
    assert set(wide.refused) == {"b"}
    assert wide.refused["b"].endswith("x.tsv line 2 (id p1): 'inf' is no number")
    assert_array_equal(wide.Y[:, [0, 2]], [[1, 5], [2, 6]])
    bed = "#chr\tstart\tend\tgene\ts1\ts2\n1\t1\t2\tA\t1\t2\n1\t1\t2\tB\t3\toops\n"
    wide = read_wide_table(write("x.bed", bed))
    assert set(wide.refused) == {"B"}
    assert wide.refused["B"].endswith("x.bed line 3 (id s2): 'oops' is no number")
    assert_array_equal(wide.Y[:, 0], [1, 2])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("IID\ta\n", "has a header but no data"),
        ("IID\ta\np1\t1\t2\n", "cannot be split into 2 columns: CSV parse error: Expected 2 columns, got 3"),
        ("IID\ta\tb\np1\t1\t2\np2\t3\n", "Expected 3 columns, got 2"),
        ("x\ta\np1\tq\n", "the header must name one column IID"),
        ("IID\ta\np1\t1\np1\t2\n", "ids must be unique"),
        ("IID\ta\n\t1\np1\t2\n", "line 2: the id is empty"),
        ("IID\ta\ta\np1\t1\t2\n", "column names must be unique"),
        ("#chr\tstart\tend\tgene\ts1\ts1\n1\t1\t2\tA\t1\t2\n", "individuals must be unique"),
        ("#chr\tstart\tend\tgene\ts1\n1\t1\t2\tA\t1\n1\t1\t2\tA\t1\n", "trait names must be unique"),
    ],
)
def test_what_is_no_table_is_refused(write, text, message):
    with pytest.raises(bl.InputError) as refused:
        read_wide_table(write("x.tsv", text))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_pattern_must_match(write):
    with pytest.raises(bl.InputError, match=r"no trait matches 'z\*'; there are a"):
        read_wide_table(write("x.tsv", "IID\ta\np1\t1\n"), ["a", "z*"])
