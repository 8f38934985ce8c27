"""`bayeslmm rg` with a kinship that is multiplied with and never held: against the matrix of the same files."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from bayeslmm.commands.main import main
from bayeslmm.commands.products_choice import matrix_bytes
from bayeslmm.kinship.pedigree_products import PedigreeProducts
from conftest import GRYPHON

GRYPHONS = ["--pedigree", GRYPHON / "pedigree.csv", "--pheno", GRYPHON / "pheno.tsv", "--traits", "BWT", "TARSUS"]
OWN = ["--covar", GRYPHON / "covar.tsv", "--covariates-of", "BWT", "sex", "--covariates-of", "TARSUS"]
QUICK = ["--methods", "mom", "--no-plots"]


def rg(out, *arguments, code=0):
    assert main(["rg", *map(str, arguments), "--out", str(out)]) == code
    return pd.read_csv(out / "estimates.tsv", sep="\t") if code == 0 else None


@pytest.mark.slow
def test_both_ways_agree_within_the_stated_errors(tmp_path, capsys):
    arguments = [*GRYPHONS, *OWN, "--complete-only", "--methods", "mom", "reml", "importance"]
    by_products = rg(tmp_path / "a", *arguments, "--kinship-as", "products")
    printed = capsys.readouterr().out
    by_matrix = rg(tmp_path / "b", *arguments, "--no-plots")
    keys = ["trait", "method", "parameter"]
    assert by_products[keys].equals(by_matrix[keys])
    apart = (by_products["estimate"] - by_matrix["estimate"]).abs() / by_matrix["se"]
    assert apart.max() < 0.05  # what is stated is 0.02
    assert_allclose(by_products["se"], by_matrix["se"], rtol=0.02)
    assert "largest Monte Carlo error of 6 products with K: 0.0" in printed
    assert "683 individuals: 683 with BWT, 683 with TARSUS, 683 with both (K multiplied with, 6 passes)" in printed
    assert "without all of BWT, TARSUS (171 have BWT)" in printed
    rows = by_products[by_products["method"] == "importance"].set_index(["trait", "parameter"])
    stated = rows["note"].str.extract(r"Monte Carlo error of 6 products with K: ([\d.]+) posterior sd of (\S+)")
    of_effects = rows.index.get_level_values("parameter").str.startswith("beta")
    assert stated[1][~of_effects].tolist() == rows.index.get_level_values("parameter")[~of_effects].tolist()
    assert stated[0][of_effects].isna().all()
    record = json.loads((tmp_path / "a" / "run.json").read_text())
    about = record["traits"]["BWT:TARSUS"]
    assert record["kinship"]["taken_as"] == "products: asked for"
    assert about["n"] == 683
    assert about["probe_error"] <= about["probe_error_wanted"] == 0.02
    errors = json.loads(about["probe_errors"])
    assert_allclose(errors["rho_u of BWT:TARSUS"], float(stated[0]["BWT:TARSUS", "rho_u"]), rtol=0.05)
    draws = xr.open_datatree(tmp_path / "a" / "posterior.nc", engine="h5netcdf")
    assert draws.attrs["probe_error"] == about["probe_error"]
    assert draws.attrs["n"] == 683
    assert_allclose(draws["constant_data"]["counts"].sum(), 683, rtol=1e-9)
    assert "Monte Carlo error" in (tmp_path / "a" / "report.html").read_text()
    assert not (tmp_path / "a" / "products").exists()


def test_only_those_with_all_traits_are_analysed_where_a_matrix_does_not_fit(tmp_path, capsys, monkeypatch):
    needed = matrix_bytes(1309, 854)
    monkeypatch.setattr("bayeslmm.commands.products_choice.available", lambda: needed - 1)
    found = rg(tmp_path / "a", *GRYPHONS, *QUICK)
    printed = capsys.readouterr().out
    assert "K of 1,309 individuals as a matrix, with eigenvectors of 854, needs" in printed
    assert "dropped: 171 without all of BWT, TARSUS (171 have BWT)" in printed
    notes = found.set_index(["trait", "parameter"])["note"]
    assert notes["BWT", "h2"].startswith("Monte Carlo error of 6 products with K: 0.0")
    assert pd.isna(notes["BWT:TARSUS", "rho_u"])
    monkeypatch.setattr("bayeslmm.commands.products_choice.available", lambda: needed)
    rg(tmp_path / "b", *GRYPHONS, *QUICK)
    assert "854 with BWT, 683 with TARSUS" in capsys.readouterr().out


def test_a_run_that_was_stopped_goes_on_with_the_same_digits(tmp_path, capsys, monkeypatch):
    arguments = [*GRYPHONS, *OWN, *QUICK, "--pcs", 1, "--centre", "--normalise", "--kinship-as", "products"]
    rg(tmp_path / "whole", *arguments)
    multiply, made = PedigreeProducts.__matmul__, []

    def stopped(self, V):
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(V.shape[1])
        return multiply(self, V)

    monkeypatch.setattr(PedigreeProducts, "__matmul__", stopped)
    stop, out = 5, tmp_path / "out"
    rg(out, *arguments, code=130)
    there = len(list((out / "products").glob("*.product")))
    assert there > 0
    rg(out, *arguments, code=2)
    assert "continue with --resume" in capsys.readouterr().err
    stop = -1
    rg(out, *arguments, "--resume")
    assert f"{there} products of the run that was stopped are read" in capsys.readouterr().out
    assert (out / "estimates.tsv").read_bytes() == (tmp_path / "whole" / "estimates.tsv").read_bytes()
    by_matrix = rg(tmp_path / "b", *arguments[:-2], "--complete-only")
    found = pd.read_csv(out / "estimates.tsv", sep="\t")
    apart = (found["estimate"] - by_matrix["estimate"]).abs() / by_matrix["se"]
    assert np.nanmax(apart) < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--random", "sex"], "several components of variance"),
        (["--methods", "nuts", "--model", "m.py:f"], "the program of --model takes a row for each individual"),
        (["--methods", "nuts", "--draws-groups", "log_likelihood"], "--draws-groups log_likelihood is of a row"),
        (["--eigen", "e.npz"], "--eigen keeps a decomposition, and there is none"),
        (["--probe-error", "-1"], "--probe-error must be a number above 0, but -1 was given"),
    ],
)
def test_what_needs_a_matrix_is_refused(tmp_path, capsys, arguments, message):
    rg(tmp_path / "out", *GRYPHONS, *OWN, "--kinship-as", "products", *arguments, code=2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
