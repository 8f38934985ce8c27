"""A folder holds the results of one run, and nothing is lost that the user did not give free."""

import json
import os
import subprocess
import sys

import pytest

from bayeslmm.base.checks import InputError
from bayeslmm.commands.main import main
from bayeslmm.commands.results_folder import open_results


def run(folder, *, names=("a.tsv", "b.tsv"), write=("a.tsv",), inputs=(), finish=True, **options):
    """A run that writes some of its files."""
    with open_results(folder, names, command="h2", inputs=inputs, **options) as results:
        results.begin()
        for name in write:
            (folder / name).write_text(name)
        if finish:
            results.finish({"traits": {}})


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_record_lists_the_files_of_the_run(tmp_path):
    run(tmp_path / "new" / "out")
    record = json.loads((tmp_path / "new" / "out" / "run.json").read_text())
    assert record["files"] == ["a.tsv"]
    assert record["finished"] >= record["started"]
    assert names(tmp_path / "new" / "out") == ["a.tsv", "run.json"]


def test_results_of_another_run_are_refused_and_removed_as_a_whole(tmp_path):
    run(tmp_path, names=("a.tsv", "old.tsv"), write=("a.tsv", "old.tsv"))
    (tmp_path / "mine.txt").write_text("")
    with pytest.raises(
        InputError, match=r"holds the results of another run \(h2, .*\): a.tsv, old.tsv: choose another"
    ):
        run(tmp_path)
    assert names(tmp_path) == ["a.tsv", "mine.txt", "old.tsv", "run.json"]
    run(tmp_path, overwrite=True)
    assert names(tmp_path) == ["a.tsv", "mine.txt", "run.json"]


@pytest.mark.parametrize("name", ["b.tsv", "run.json"])
def test_a_file_of_the_user_is_replaced_only_if_that_is_asked_for(tmp_path, name):
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"{name} would be replaced: choose another --out"):
        run(tmp_path)
    assert (tmp_path / name).read_text() == "mine"
    run(tmp_path, overwrite=True)
    assert names(tmp_path) == ["a.tsv", "run.json"]


def test_an_input_is_never_an_output(tmp_path):
    """Whatever its name: the file itself, a link to it, and a file of the earlier run that this one reads."""
    out = tmp_path / "out"
    run(out, write=("a.tsv", "b.tsv"))
    os.link(out / "b.tsv", tmp_path / "same.tsv")
    for read in (out / "a.tsv", tmp_path / "out" / ".." / "out" / "a.tsv", tmp_path / "same.tsv"):
        with pytest.raises(InputError, match="is read by this run, and would be replaced"):
            run(out, inputs=[read], names=("c.tsv",), write=("c.tsv",), overwrite=True)
    assert names(out) == ["a.tsv", "b.tsv", "run.json"]


def test_overwrite_loses_nothing_before_the_run_begins(tmp_path):
    run(tmp_path)
    with (
        pytest.raises(InputError, match="misspelt"),
        open_results(tmp_path, ["a.tsv"], command="h2", inputs=[], overwrite=True),
    ):
        raise InputError("misspelt")
    assert (tmp_path / "a.tsv").read_text() == "a.tsv"


def test_a_run_that_fails_before_its_first_file_leaves_no_folder(tmp_path):
    with (  # noqa: PT012
        pytest.raises(KeyboardInterrupt),
        open_results(tmp_path / "x" / "y", ["a"], command="h2", inputs=[]) as out,
    ):
        out.begin()
        raise KeyboardInterrupt
    assert names(tmp_path) == []


def test_what_a_killed_run_left_is_told_and_resumed_only_by_its_command(tmp_path):
    run(tmp_path, finish=False)
    with pytest.raises(InputError, match=r"holds the results of an unfinished run .*: a.tsv: choose another --out"):
        run(tmp_path)
    run(tmp_path, resume=True, write=("b.tsv",))
    assert names(tmp_path) == ["a.tsv", "b.tsv", "run.json"]
    with pytest.raises(InputError, match="holds the results of another run"):
        run(tmp_path, resume=True)


def test_a_killed_run_that_wrote_nothing_is_in_nobodys_way(tmp_path):
    run(tmp_path, write=(), finish=False)
    (tmp_path / ".bayeslmm-abc").mkdir()  # what it was writing
    run(tmp_path)
    assert names(tmp_path) == ["a.tsv", "run.json"]


def test_a_damaged_record_removes_nothing_outside_the_folder(tmp_path):
    (tmp_path / "precious").mkdir()
    (tmp_path / "out").mkdir()
    listed = ["../precious/", "..", "../", "", "/", str(tmp_path / "precious/"), 7, "sub/x"]
    (tmp_path / "out" / "run.json").write_text(json.dumps({"files": listed, "finished": "now"}))
    run(tmp_path / "out", overwrite=True)
    assert names(tmp_path) == ["out", "precious"]


@pytest.mark.parametrize("name", ["n" * 256, "a\0b"])
def test_names_that_no_file_can_have_are_refused_at_once(tmp_path, name):
    with pytest.raises(InputError, match="cannot be the name of a file"):
        run(tmp_path / "out", names=(name,))
    assert names(tmp_path) == []


def test_one_run_at_a_time(tmp_path):
    """In another process, which is then killed: its lock ends with it."""
    script = "import sys, time; from pathlib import Path; from bayeslmm.commands.results_folder import open_results\n"
    script += f"with open_results(Path({str(tmp_path)!r}), ['a.tsv'], command='h2', inputs=[]) as out:\n"
    script += "    print('there', flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"there\n"
        with pytest.raises(InputError, match="another run is writing to"):
            run(tmp_path)
        other.kill()
    run(tmp_path)
    assert names(tmp_path) == ["a.tsv", "run.json"]


def test_grm_replaces_a_kinship_only_if_that_is_asked_for(plink, tmp_path, capsys):
    command = ["grm", "--bfile", str(plink[0]), "--out", str(tmp_path / "k")]
    assert main(command) == 0
    assert main(command) == 2
    assert "k.grm.bin, " in (error := capsys.readouterr().err)
    assert "would be replaced" in error
    assert main([*command, "--overwrite"]) == 0
    assert sorted(path.name for path in tmp_path.glob("*k.grm*")) == ["k.grm.N.bin", "k.grm.bin", "k.grm.id"]
