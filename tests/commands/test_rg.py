import html
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from bayeslmm.analyses.joint_methods import importance as importance_method
from bayeslmm.base.checks import AnalysisError
from bayeslmm.commands import rg as rg_command
from bayeslmm.commands.main import main
from bayeslmm.estimators.joint_search import SearchError
from bayeslmm.posterior import weighted as weighted_module
from conftest import GRYPHON

COLUMNS = "trait method parameter estimate se se_kind lower upper interval ess_bulk r_hat note".split()


def table(folder, name="estimates"):
    return pd.read_csv(folder / f"{name}.tsv", sep="\t", keep_default_na=False, na_values="NA")


def cell(estimates, trait, method, parameter, column="estimate"):
    rows = estimates.query("trait == @trait and method == @method and parameter == @parameter")
    assert len(rows) == 1
    return rows[column].iloc[0]


@pytest.fixture(scope="module")
def gryphon_run(tmp_path_factory):
    """`bayeslmm rg` on the pedigree, sex for one trait only, by its default methods."""
    out = tmp_path_factory.mktemp("run") / "results"
    folder = GRYPHON
    arguments = ["rg", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "pheno.tsv")]
    arguments += ["--traits", "BWT", "TARSUS", "--covar", str(folder / "covar.tsv"), "--categorical", "sex"]
    arguments += ["--covariates-of", "BWT", "sex", "--covariates-of", "TARSUS", "--out", str(out)]
    return arguments, out


@pytest.mark.slow
def test_rg_writes_its_tables(gryphon_run, capsys):
    arguments, out = gryphon_run
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "854 individuals: 854 with BWT, 683 with TARSUS, 683 with both" in printed
    assert "covariates of BWT: intercept, sex[2]" in printed
    assert "covariates of TARSUS: intercept\n" in printed
    assert "171 missing values are integrated over exactly" in printed
    assert "keeping only individuals with all traits would drop 171 instead" in printed
    assert "took: REML" in printed
    estimates = table(out)
    assert list(estimates.columns) == COLUMNS
    assert set(estimates["trait"]) == {"BWT", "TARSUS", "BWT:TARSUS"}
    # Sex explains part of BWT: its residual variance is smaller than without.
    assert 2.5 < cell(estimates, "BWT", "reml", "sigma2_e") < 3.5
    assert cell(estimates, "BWT", "reml", "beta[sex[2]]") > 2
    assert 0 < cell(estimates, "BWT:TARSUS", "nuts", "rho_u") < 0.8
    assert cell(estimates, "BWT:TARSUS", "nuts", "rho_u", "ess_bulk") > 2000
    assert cell(estimates, "BWT:TARSUS", "nuts", "rho_u", "note").startswith("P(rho_u > 0) = ")
    assert sorted(path.name for path in out.iterdir()) == [
        "correlations.both.svg", "correlations.h2.svg", "correlations.ranks.svg", "correlations.rho_e.svg",
        "correlations.rho_u.svg", "correlations.trace.svg", "estimates.tsv", "pairs.tsv", "posterior.nc", "report.html",
        "run.json",
    ]  # fmt: skip
    (answer,) = [line for line in printed.splitlines() if line.startswith("genetic correlation of BWT and TARSUS: ")]
    assert f'<p class="answer">{answer}</p>' in (out / "report.html").read_text()
    assert table(out, "pairs")["both"].tolist() == [683]
    draws = xr.open_datatree(out / "posterior.nc", engine="h5netcdf")
    assert draws["posterior"]["Gamma_u"].sel(trait="BWT", trait_bis="TARSUS").shape == (4, 1000)
    assert draws["posterior"]["beta"].sel(coefficient="BWT:sex[2]").shape == (4, 1000)
    assert len(draws["constant_data"]["missing_value"]) == 171
    record = json.loads((out / "run.json").read_text())
    run = record["traits"]["BWT:TARSUS"]
    assert run["records"] == {"BWT": 854, "TARSUS": 683}
    assert run["covariates"] == [["intercept", "sex[2]"], ["intercept"]]
    assert run["diagnostics"]["divergences"] == 0
    assert set(record["prior"]) == {"h2", "sigma2_p", "beta", "rho_u", "rho_e"}


@pytest.mark.slow
def test_complete_only_drops(tmp_path, capsys):
    folder = GRYPHON
    arguments = ["rg", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "pheno.tsv")]
    arguments += ["--traits", "BWT", "TARSUS", "--complete-only", "--methods", "reml", "--se", "observed"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "dropped: 171 without all of BWT, TARSUS" in printed
    assert "integrated over" not in printed
    estimates = table(tmp_path / "out")
    assert_allclose(cell(estimates, "BWT:TARSUS", "reml", "rho_u"), 0.35776, atol=1e-4)  # GEMMA on the 683
    assert_allclose(cell(estimates, "BWT", "reml", "sigma2_u", "se"), 0.719, atol=1e-3)
    assert not (tmp_path / "out" / "posterior.nc").exists()


@pytest.fixture
def toy(plink, write, rng):
    prefix, _, ids = plink
    values = rng.standard_normal((30, 3))
    lines = [
        "IID x y z a:b",
        *(f"{name} {x:.3f} {y:.3f} {z:.3f} 1" for name, (x, y, z) in zip(ids, values, strict=True)),
    ]
    return ["rg", "--bfile", str(prefix), "--pheno", str(write("pheno.txt", "\n".join(lines) + "\n"))]


@pytest.mark.slow
def test_three_traits_and_components(toy, tmp_path):
    fast = ["--chains", "2", "--draws", "300", "--warmup", "300", "--prior-eta", "2", "2", "--pcs", "1"]
    assert main([*toy, "--traits", "x", "y", "z", *fast, "--out", str(tmp_path / "out")]) in (0, 3)
    estimates = table(tmp_path / "out")
    assert {"x:y", "x:z", "y:z"} <= set(estimates["trait"])
    assert np.isfinite(cell(estimates, "y", "nuts", "beta[PC1]"))
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["prior"]["eta_u"] == "2"
    page = (tmp_path / "out" / "report.html").read_text()
    assert "Genetic correlation of x, y and z" in page
    notes = [cell(estimates, pair, "nuts", "rho_u", "note") for pair in ("x:y", "x:z", "y:z")]
    open_ones = [note for note in notes if "WEAKLY IDENTIFIED" in note]
    assert open_ones
    assert all(f'<p class="advice">{html.escape(note)}.</p>' in page for note in open_ones)


def test_a_joint_analysis_that_fails_is_told_and_recorded(toy, tmp_path, monkeypatch, capsys):
    def failing(*_, **options):
        raise AnalysisError("no maximum was found")

    monkeypatch.setattr(rg_command, "correlations", failing)
    assert main([*toy, "--traits", "x", "y", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == "bayeslmm: x:y FAILED: no maximum was found\n"
    (row,) = table(tmp_path / "out").to_dict("records")
    assert (row["trait"], row["parameter"], row["note"]) == ("x:y", "rho_u", "FAILED: no maximum was found")
    assert np.isnan(row["estimate"])
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["traits"] == {"x:y": {"failed": "no maximum was found"}}
    assert record["files"] == ["estimates.tsv", "report.html"]
    assert "x:y FAILED: no maximum was found" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.slow
def test_too_few_draws_are_kept_and_fail_their_checks(toy, tmp_path, capsys):
    few = ["--chains", "1", "--draws", "4", "--warmup", "50", "--methods", "nuts"]
    assert main([*toy, "--traits", "x", "y", *few, "--out", str(tmp_path / "out")]) == 3
    assert "DIAGNOSTICS FAILED: one chain only" in capsys.readouterr().out
    assert {"posterior.nc", "correlations.rho_u.svg", "pairs.tsv"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--traits", "x"], "--traits needs two or more different traits, but x was given"),
        (["--traits", "x", "x"], "--traits needs two or more different traits, but x x was given"),
        (["--traits", "x", "a:b"], "a pair of traits is written A:B, so 'a:b' cannot be the name of one: rename it"),
        (["--traits", "x", "y", "--covariates-of", "q", "z"], "covariates are given for q, which is not among the"),
        (["--traits", "x", "y", "--covariates-of", "x", "q"], "has no column 'q'"),
        (
            ["--traits", "x", "y", "--covariates-of", "x", "z", "--covariates-of", "x", "z"],
            "--covariates-of x was given twice: name all its covariates at once",
        ),
        (["--traits", "x", "y", "--prior-eta", "0", "1"], "--prior-eta must be at least 0.01, but 0 was given"),
        (["--traits", "x", "y", "--draws", "0"], "--draws must be at least 1, but 0 was given"),
        (["--traits", "x", "w"], "has no column 'w'"),
    ],
)
def test_wrong_requests_are_one_line(toy, tmp_path, capsys, arguments, message):
    assert main([*toy, *arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


@pytest.mark.slow
def test_intervals_on_the_boundary_hold_their_estimates(tmp_path, capsys):
    """Against profiles of the direct likelihood of rows, maximised by L-BFGS-B from four starts: ends to 1e-3."""
    cohort, out = tmp_path / "cohort", tmp_path / "out"
    truth = ["--h2", "0.15", "0", "--rg", "0", "--seed", "23"]
    assert main(["simulate", "--coalescent", "150", "3000", *truth, "--out", str(cohort)]) == 0
    arguments = ["rg", "--bfile", str(cohort / "cohort"), "--pheno", str(cohort / "pheno.tsv"), "--traits", "T1", "T2"]
    assert main([*arguments, "--methods", "reml", "--out", str(out)]) == 0
    estimates = table(out)
    expected = {
        ("T1", "h2"): (0.3035, 0.0, 0.7393),
        ("T2", "h2"): (0.0083, 0.0, 0.2209),
        ("T1:T2", "rho_u"): (1.0, -1.0, 1.0),
        ("T1:T2", "rho_e"): (-0.0944, -0.4262, 0.2071),
    }
    for (trait, parameter), numbers in expected.items():
        found = [cell(estimates, trait, "reml", parameter, column) for column in ("estimate", "lower", "upper")]
        assert_allclose(found, numbers, atol=1e-3)
        assert all(number in found for number in numbers if abs(number) in (0.0, 1.0))  # bounds are exact
    assert "no value of it is excluded" in cell(estimates, "T1:T2", "reml", "rho_u", "note")


def test_a_trait_in_other_units_is_told_before_any_search(toy, write, tmp_path, capsys):
    pheno = toy[toy.index("--pheno") + 1]
    rows = [line.split() for line in Path(pheno).read_text().splitlines()]
    lines = [" ".join([*row, "pounds" if i == 0 else f"{2.2046 * float(row[1]):.3f}"]) for i, row in enumerate(rows)]
    again = write("again.txt", "\n".join(lines) + "\n")
    arguments = [*toy[: toy.index("--pheno")], "--pheno", str(again), "--traits", "x", "pounds"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "pounds is x again, or a multiple of it" in line


def test_moments_are_written_where_reml_fails(toy, tmp_path, capsys, monkeypatch):
    def lost(data):
        raise SearchError("REML was lost")

    monkeypatch.setattr("bayeslmm.analyses.method.joint_reml", lost)
    assert main([*toy, "--traits", "x", "y", "--methods", "mom", "reml", "--out", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.strip().splitlines()[-1] == "bayeslmm: error: reml failed: REML was lost"
    estimates = table(tmp_path / "out")
    assert np.isfinite(cell(estimates, "x", "mom", "h2"))
    assert cell(estimates, "x:y", "reml", "rho_u", "note") == "failed: REML was lost"
    assert json.loads((tmp_path / "out" / "run.json").read_text())["traits"]["x:y"]["failed"] == {
        "reml": "REML was lost"
    }
    assert "REML was lost" in (tmp_path / "out" / "report.html").read_text()


def test_importance_sampling_has_its_rows_draws_and_failures(gryphon_run, tmp_path, capsys, monkeypatch):
    """The gryphons without NUTS; and where the weights are bad, REML is kept, and the exit status is 1."""
    arguments, _ = gryphon_run
    monkeypatch.setattr(importance_method, "_LEAST", 512)
    common = [
        *arguments[:-1],
        str(tmp_path / "a"),
        "--methods",
        "reml",
        "importance",
        "--chains",
        "2",
        "--draws",
        "500",
    ]
    assert main([*common, "--draws-groups", "log_prior"]) == 0
    printed = capsys.readouterr().out
    assert "effective of 512 independent draws, Pareto k" in printed
    estimates = table(tmp_path / "a")
    assert 0 < cell(estimates, "BWT:TARSUS", "importance", "rho_u") < 0.8
    assert "Monte Carlo error" in cell(estimates, "BWT", "importance", "beta[sex[2]]", "note")
    assert table(tmp_path / "a", "pairs")["probability_positive"].iloc[0] > 0.9
    draws = xr.open_datatree(tmp_path / "a" / "posterior.nc", engine="h5netcdf")
    assert draws["posterior"]["Gamma_u"].sel(trait="BWT", trait_bis="TARSUS").shape == (2, 500)
    assert draws["log_prior"]["rho_u"].shape == (2, 500)
    assert draws.attrs["pareto_k"] < 0.7
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    assert record["options"]["methods"] == ["reml", "importance"]
    assert not (tmp_path / "a" / "correlations.trace.svg").exists()
    monkeypatch.setattr(weighted_module, "MAX_PARETO_K", -9.0)
    common[common.index(str(tmp_path / "a"))] = str(tmp_path / "b")
    assert main(common) == 1
    assert "importance failed: importance sampling of 2 traits failed: the Pareto k" in capsys.readouterr().err
    estimates = table(tmp_path / "b")
    assert cell(estimates, "BWT:TARSUS", "importance", "rho_u", "note").startswith("failed: importance sampling")
    assert np.isfinite(cell(estimates, "BWT:TARSUS", "reml", "rho_u"))
