"""Each study at smoke size, and `bayeslmm calibrate`: on workers inside this process, which share what it compiled."""

import json
import runpy
import sys
from importlib.metadata import version

import pandas as pd
import pytest
from distributed import LocalCluster

from bayeslmm.commands.main import main
from conftest import ROOT


@pytest.fixture(scope="module")
def scheduler():
    """The address of a Dask scheduler, as --cluster takes it."""
    with LocalCluster(
        n_workers=1, threads_per_worker=1, processes=False, protocol="tcp", dashboard_address="127.0.0.1:0"
    ) as cluster:
        yield cluster.scheduler_address


@pytest.mark.slow
@pytest.mark.parametrize("name", ["coverage", "estimator_errors", "oracle_grid", "sbc"])
def test_a_study_runs_at_smoke_size(name, tmp_path, monkeypatch, scheduler):
    folders = ["--out", str(tmp_path / "results"), "--work", str(tmp_path / "work")]
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--smoke", "--cluster", scheduler, *folders])
    monkeypatch.syspath_prepend(ROOT / "validation")
    runpy.run_path(str(ROOT / "validation" / f"{name}.py"), run_name="__main__")
    record = json.loads((tmp_path / "results" / f"{name}.json").read_text())
    assert record["version"] == version("bayeslmm")
    for suffix in ("md", "png"):
        assert (tmp_path / "results" / f"{name}.{suffix}").stat().st_size > 500


def calibrate(tmp_path, *options):
    command = ["calibrate", "--pedigree", str(ROOT / "validation" / "data" / "gryphon" / "pedigree.csv")]
    command += ["--pheno", str(tmp_path / "pheno.tsv"), "--trait", "BWT", "--h2", "0.2", "--datasets", "2"]
    return main([*command, "--out", str(tmp_path / "out"), *options])


@pytest.fixture
def forty(tmp_path):
    table = pd.read_csv(ROOT / "validation" / "data" / "gryphon" / "pheno.tsv", sep="\t", dtype=str)
    table[table["BWT"].notna()].head(40).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    return tmp_path


@pytest.mark.slow
def test_calibrate_says_what_an_interval_is_worth(forty, scheduler, capsys):
    assert calibrate(forty, "--cluster", scheduler) == 0
    out = capsys.readouterr().out
    assert "With your sample a 95% interval for h2 = 0.2 covers" in out
    table = pd.read_csv(forty / "out" / "calibration.tsv", sep="\t")
    assert set(table["h2"]) == {"0.2", "prior"}
    assert (table["datasets"] == 2).all()
    assert {path.name for path in (forty / "out").glob("*.svg")} == {
        f"calibration.{name}.svg" for name in ("coverage", "width", "ranks")
    }
    assert json.loads((forty / "out" / "run.json").read_text())["traits"]["BWT"]["n"] == 40
    page = (forty / "out" / "report.html").read_text()
    assert "With your sample a 95% interval for h2 = 0.2 covers" in page
    assert page.count("<svg role=") == 3


@pytest.mark.slow
def test_calibrate_does_not_look_at_the_values_of_the_trait(forty, scheduler):
    """The same people with other values: the same results, all from the checkpoints."""
    calibrate(forty, "--cluster", scheduler)
    before, files = (forty / "out" / "calibration.tsv").read_bytes(), set((forty / "out" / "checkpoints").iterdir())
    table = pd.read_csv(forty / "pheno.tsv", sep="\t")
    table.assign(BWT=table["BWT"] ** 2).to_csv(forty / "pheno.tsv", sep="\t", index=False)
    calibrate(forty, "--cluster", scheduler, "--overwrite")
    assert (forty / "out" / "calibration.tsv").read_bytes() == before
    assert set((forty / "out" / "checkpoints").iterdir()) == files


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--h2", "1.5"], "--h2 must lie between 0 and 1, but 1.5 was given"),
        (["--datasets", "1"], "--datasets must be at least 2, but 1 was given"),
        (["--workers", "0"], "workers must be at least 1, but 0 was given"),
        (["--cluster", "here"], "cluster must be 'local' or the address"),
        (["--prior-h2", "0", "1"], "--prior-h2 must be at least 0.01, but 0 was given"),
    ],
)
def test_calibrate_refuses_what_cannot_be(forty, capsys, options, message):
    assert calibrate(forty, *options) == 2
    assert message in capsys.readouterr().err
