"""``--json``, ``--quiet``, ``--log-file`` and ``--no-plots``: what a run says, and where."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from bayeslmm.commands.answer import Answer, document
from bayeslmm.commands.main import main
from conftest import GRYPHON

KEYS = ["bayeslmm", "command", "exit_status", "error", "warnings", "out"]


def typed(folder, *options, command="h2", traits=("BWT",)):
    files = ["--pedigree", str(GRYPHON / "pedigree.csv"), "--pheno", str(GRYPHON / "pheno.tsv")]
    return [command, *files, "--trait", *traits, "--methods", "reml", "--no-plots", "--out", str(folder), *options]


def rows_of(path):
    return pd.read_csv(path, sep="\t", keep_default_na=False, na_values="NA").to_dict("records")


def assert_same(found, written):
    """Rows of a document are those of a table, whose numbers have 10 digits."""
    assert len(found) == len(written) > 0
    for one, other in zip(found, written, strict=True):
        assert list(one) == list(other)
        for name, value in one.items():
            text = other[name]
            missing = isinstance(text, float) and np.isnan(text)
            assert (value is None) == missing
            if isinstance(value, float):
                np.testing.assert_allclose(value, text, rtol=1e-9)
            elif not missing:
                assert str(value) == str(text)  # the name of a chromosome is read as a number


def test_the_document_has_the_rows_of_the_table_and_nothing_else_is_printed(tmp_path, capsys):
    out = tmp_path / "out"
    assert main(typed(out, "--json")) == 0
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert list(answer) == [*KEYS, "estimates"]
    assert (answer["command"], answer["exit_status"], answer["error"], answer["out"]) == ("h2", 0, None, str(out))
    assert_same(answer["estimates"], rows_of(out / "estimates.tsv"))
    (h2,) = [row for row in answer["estimates"] if row["parameter"] == "h2"]
    np.testing.assert_allclose(h2["estimate"], 0.4700163, atol=1e-5)  # ASReml's
    assert not list(out.glob("*.svg"))


@pytest.mark.slow
def test_the_document_of_correlations_has_both_tables(tmp_path, capsys):
    assert main(typed(tmp_path / "out", "--json", command="rg", traits=("BWT", "TARSUS"))) == 0
    answer = json.loads(capsys.readouterr().out)
    assert list(answer) == [*KEYS, "estimates", "pairs"]
    for name in ("estimates", "pairs"):
        assert_same(answer[name], rows_of(tmp_path / "out" / f"{name}.tsv"))


@pytest.mark.slow
@pytest.mark.parametrize("command", ["scan", "compare"])
def test_other_commands_have_their_tables_and_no_pictures_either(plink, rng, tmp_path, capsys, command):
    prefix, _, ids = plink
    lines = [f"{name} {value:.4f}" for name, value in zip(ids, rng.standard_normal(len(ids)), strict=True)]
    (tmp_path / "pheno.txt").write_text("\n".join(["IID y", *lines]) + "\n")
    few = ["--posterior-top", "2"] if command == "scan" else ["--chains", "2", "--draws", "400", "--warmup", "300"]
    files = [
        "--bfile",
        str(prefix),
        "--pheno",
        str(tmp_path / "pheno.txt"),
        "--trait",
        "y",
        "--out",
        str(tmp_path / "o"),
    ]
    assert main([command, *files, *few, "--no-plots", "--json"]) in (0, 3)
    answer = json.loads(capsys.readouterr().out)
    tables = ["top", "effects"] if command == "scan" else ["estimates", "comparison", "boundary", "conventions"]
    assert list(answer) == [*KEYS, *tables]
    for name in tables:
        assert_same(answer[name], rows_of(tmp_path / "o" / f"{name}.tsv"))
    assert not [path for path in (tmp_path / "o").iterdir() if path.suffix in (".png", ".svg")]
    assert "<figure" not in (tmp_path / "o" / "report.html").read_text()
    assert 'href="#pictures"' not in (tmp_path / "o" / "report.html").read_text()


def test_errors_are_documents_too(tmp_path, capsys):
    for wrong, command in ((typed(tmp_path / "o", "--json", traits=["nothing"]), "h2"), (["--json", "--reml"], None)):
        assert main(wrong) == 2
        said = capsys.readouterr()
        answer = json.loads(said.out)
        assert list(answer) == KEYS
        assert (answer["command"], answer["exit_status"]) == (command, 2)
        assert said.err == f"bayeslmm: error: {answer['error']}\n"


def test_traits_that_failed_are_in_the_document(tmp_path, write, capsys):
    table = pd.read_csv(GRYPHON / "pheno.tsv", sep="\t").assign(flat=1.0)
    table.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    options = ["--json", "--pheno", str(tmp_path / "pheno.tsv")]
    assert main(typed(tmp_path / "out", *options, traits=["flat", "BWT"])) == 2
    answer = json.loads(capsys.readouterr().out)
    assert answer["exit_status"] == 2
    assert answer["error"].startswith("flat FAILED: ")
    assert_same(answer["estimates"], rows_of(tmp_path / "out" / "estimates.tsv"))


def test_a_document_has_null_where_a_number_is_none():
    whole = pd.array([1, None, 3], dtype="Int64")
    table = pd.DataFrame({"a": [1.5, np.nan, np.inf], "n": whole, "t": ["x", "NA", None]})
    found = {"table": table, "truth": {"T1": {"h2": np.float64(0.5), "k": (np.int64(2), True)}}}
    answer = json.loads(document(Answer(found=found), command="h2", out=None, warnings=["w"]))
    assert answer["table"] == [
        {"a": 1.5, "n": 1, "t": "x"},
        {"a": None, "n": None, "t": "NA"},
        {"a": None, "n": 3, "t": None},
    ]
    assert answer["truth"] == {"T1": {"h2": 0.5, "k": [2, True]}}
    assert answer["warnings"] == ["w"]


def test_quiet_prints_errors_and_warnings_only(tmp_path, capsys):
    assert main(typed(tmp_path / "out", "--quiet")) == 0
    assert capsys.readouterr() == ("", "")
    assert (tmp_path / "out" / "estimates.tsv").exists()
    assert main(typed(tmp_path / "out", "--quiet")) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert "holds the results of another run" in said.err


def test_the_log_has_all_that_is_said_with_times_and_is_added_to(tmp_path, capsys):
    log = tmp_path / "run.log"
    assert main(typed(tmp_path / "out", "--log-file", str(log))) == 0
    shown = [line for line in capsys.readouterr().out.splitlines() if line]
    lines = log.read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d ", line) for line in lines)
    first, *others = [line.split(" ", 1)[1] for line in lines]
    assert first.startswith("$ bayeslmm h2 --pedigree")
    assert others == shown
    assert main(typed(tmp_path / "out", "--quiet", "--log-file", str(log))) == 2
    last = log.read_text().splitlines()[-1]
    assert "bayeslmm: error: " in last
    assert log.read_text().splitlines()[: len(lines)] == lines


@pytest.mark.parametrize(
    ("name", "message"),
    [("pheno.tsv", "pheno.tsv is no log of bayeslmm, and would be added to"), ("no/run.log", "cannot be written")],
)
def test_no_other_file_becomes_a_log(tmp_path, write, capsys, name, message):
    kept = write("pheno.tsv", "IID y\n")
    assert main(typed(tmp_path / "out", "--log-file", str(tmp_path / name))) == 2
    assert message in capsys.readouterr().err
    assert kept.read_text() == "IID y\n"


def test_a_full_disk_of_the_log_costs_nothing(tmp_path, capsys):
    assert main(typed(tmp_path / "out", "--log-file", "/dev/full")) == 0
    said = capsys.readouterr()
    assert "heritability of BWT" in said.out
    assert said.err == "bayeslmm: warning: the log /dev/full is not complete (No space left on device)\n"


@pytest.mark.slow
def test_draws_that_fail_their_checks_are_no_secret_of_quiet_runs(tmp_path, capsys):
    few = ["--methods", "nuts", "--chains", "2", "--draws", "20", "--warmup", "20"]
    assert main(typed(tmp_path / "out", "--quiet", "--json", *few)) == 3
    said = capsys.readouterr()
    answer = json.loads(said.out)
    assert answer["exit_status"] == 3
    assert answer["error"].startswith("draws of BWT fail their checks: ")
    assert f"bayeslmm: {answer['error']}\n" in said.err
