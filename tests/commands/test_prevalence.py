"""Traits of two values on the command line."""

import html
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from bayeslmm.commands.main import main
from bayeslmm.estimators.liability import liability_factor


@pytest.fixture
def cases(tmp_path, rng):
    """120 individuals in families of 4: cases and others, and a trait of many values; the arguments of `h2`."""
    K = np.kron(np.eye(30), 0.5 + 0.5 * np.eye(4))
    ids = [f"p{i}" for i in range(120)]
    liability = np.linalg.cholesky(0.6 * K + 0.4 * np.eye(120)) @ rng.standard_normal(120)
    frame = pd.DataFrame({"IID": ids, "ill": (liability > 0.5).astype(int), "bmi": liability})
    frame.loc[:9, "ill"] = np.nan
    frame.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    pd.DataFrame(K, index=ids, columns=ids).to_csv(tmp_path / "K.tsv", sep="\t")
    return ["--kinship", str(tmp_path / "K.tsv"), "--pheno", str(tmp_path / "pheno.tsv")], tmp_path, frame


def test_h2_reports_the_liability_everywhere(cases, capsys):
    base, folder, frame = cases
    few = ["--methods", "reml", "exact", "nuts", "--chains", "2", "--draws", "300", "--warmup", "200"]
    typed = ["h2", *base, "--trait", "ill", "bmi", "--prevalence", "0.3", *few, "--out", str(folder / "out")]
    assert main([*typed, "--no-plots"]) == 2
    printed = capsys.readouterr()
    assert "bmi FAILED: a prevalence needs a trait of two values" in printed.err
    assert "two values only" not in printed.err
    known = frame["ill"].dropna()
    factor = liability_factor(0.3, float(known.mean()))
    record = json.loads((folder / "out" / "run.json").read_text())["traits"]["ill"]["liability"]
    assert record == {
        "prevalence": 0.3, "case": 1.0, "cases": int(known.sum()), "n": 110, "share": known.mean(), "factor": factor,
    }  # fmt: skip
    table = pd.read_csv(folder / "out" / "estimates.tsv", sep="\t").query("trait == 'ill'")
    h2, of_liability = (table.query("parameter == @name").set_index("method") for name in ("h2", "h2_liability"))
    assert list(h2.index) == list(of_liability.index) == ["reml", "exact", "nuts"]
    assert_allclose(of_liability["estimate"], factor * h2["estimate"], rtol=1e-8)
    hsq = dict(line.split("\t", 1) for line in (folder / "out" / "ill.hsq").read_text().splitlines())
    reml = of_liability.loc["reml"]
    assert_allclose([float(value) for value in hsq["V(G)/Vp_L"].split("\t")], [reml["estimate"], reml["se"]], atol=1e-6)
    assert [*hsq][4:6] == ["V(G)/Vp", "V(G)/Vp_L"]
    with xr.open_datatree(folder / "out" / "ill.posterior.nc", engine="h5netcdf") as draws:
        assert_allclose(draws["posterior"]["h2_liability"], factor * draws["posterior"]["h2"], rtol=1e-12)
    (answer,) = [line for line in printed.out.splitlines() if line.startswith("heritability of the liability of ill")]
    page = html.unescape((folder / "out" / "report.html").read_text())
    assert answer in page
    assert ">heritability of the liability<" in page
    assert "Lee et al. (2011)" in page


@pytest.mark.slow
def test_compare_has_the_liability_too(cases, capsys):
    base, folder, frame = cases
    few = ["--chains", "2", "--draws", "300", "--warmup", "200", "--seed", "2"]
    typed = ["compare", *base, "--trait", "ill", "--prevalence", "0.3", *few, "--out", str(folder / "out")]
    assert main(typed) in (0, 3)
    table = pd.read_csv(folder / "out" / "estimates.tsv", sep="\t").set_index(["method", "parameter"])["estimate"]
    factor = liability_factor(0.3, float(frame["ill"].mean()))
    assert len(table.xs("h2", level="parameter")) == 7
    assert_allclose(table.xs("h2_liability", level="parameter"), factor * table.xs("h2", level="parameter"), rtol=1e-8)
    printed = capsys.readouterr().out
    assert "heritability of the liability of ill: " in printed
    assert " h2_liability " in printed


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        (["--prevalence", "0"], "--prevalence is the share of cases in the population, between 0 and 1, but 0 was"),
        (["--prevalence", "1.5"], "--prevalence is the share of cases in the population"),
        (["--prevalence", "0.1", "--log"], "--prevalence is about the two values of a trait: leave out --log"),
        (["--prevalence", "0.1", "--rank-normalise"], "leave out --rank-normalise"),
    ],
)
def test_what_cannot_be_is_one_line(cases, capsys, typed, words):
    base, folder, _ = cases
    assert main(["h2", *base, "--trait", "ill", *typed, "--out", str(folder / "out")]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1


def test_without_a_prevalence_the_option_is_named(cases, capsys):
    base, folder, _ = cases
    typed = ["h2", *base, "--trait", "ill", "--methods", "reml", "--no-plots", "--out", str(folder / "out")]
    assert main(typed) == 0
    assert "has two values only, 0 and 1" in (error := capsys.readouterr().err)
    assert "which h2, compare and fit give for a prevalence" in error


@pytest.mark.slow
def test_h2_by_the_threshold_model_keeps_its_draws(cases, capsys):
    base, folder, _ = cases
    few = ["--methods", "threshold", "--chains", "2", "--draws", "300", "--warmup", "200"]
    assert main(["h2", *base, "--trait", "ill", *few, "--out", str(folder / "out")]) in (0, 3)
    files = json.loads((folder / "out" / "run.json").read_text())["files"]
    assert {"ill.threshold.nc", "ill.threshold.svg", "ill.threshold.trace.svg", "ill.threshold.ranks.svg"} <= {*files}
    table = pd.read_csv(folder / "out" / "estimates.tsv", sep="\t").set_index("parameter")
    with xr.open_datatree(folder / "out" / "ill.threshold.nc", engine="h5netcdf") as draws:
        assert_allclose(draws["posterior"]["h2_liability"].mean(), table.loc["h2_liability", "estimate"], rtol=1e-8)
        assert draws["observed_data"]["y"].dims == ("individual",)
    answer = "heritability of the liability of ill: "
    assert answer in capsys.readouterr().out
    assert answer in html.unescape((folder / "out" / "report.html").read_text())
