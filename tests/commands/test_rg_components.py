"""`rg` with several components: files in, tables out, against the library and published numbers."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.commands.main import main

NAMES = ("u", "litter", "e")


@pytest.fixture(scope="module")
def herd(tmp_path_factory):
    """150 animals of 50 litters with two traits, some of which lack one; a sire has three litters."""
    folder = tmp_path_factory.mktemp("herd")
    rng = np.random.default_rng(2)
    offspring = [(f"k{i}", f"m{i // 6}", f"d{i // 9}") for i in range(150)]
    parents = sorted({(one, "NA", "NA") for _, dam, sire in offspring for one in (dam, sire)})
    pedigree = pd.DataFrame([*parents, *offspring], columns=["id", "dam", "sire"])
    pedigree.to_csv(folder / "pedigree.csv", index=False)
    root = np.linalg.cholesky(np.array([[1.0, 0.4], [0.4, 1.0]]))
    sire, litter, rest = (rng.normal(size=(n, 2)) @ root.T for n in (20, 60, 150))
    at = np.arange(150)
    Y = 1.2 * sire[at // 9] + 1.2 * litter[at // 3] + 1.5 * rest + [5, 20]
    Y[:8, 0] = Y[145:, 1] = np.nan
    litters = [f"l{i // 3}" for i in at]
    table = pd.DataFrame({"IID": [one for one, *_ in offspring], "a": Y[:, 0], "b": Y[:, 1], "litter": litters})
    table.round(4).to_csv(folder / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    return folder


def typed(herd, *more, out):
    source = ("rg", "--pedigree", str(herd / "pedigree.csv"), "--pheno", str(herd / "pheno.tsv"), "--traits", "a", "b")
    return [*source, *more, "--out", str(out)]


@pytest.fixture(scope="module")
def data(herd):
    table = pd.read_csv(herd / "pheno.tsv", sep="\t")
    animal = bl.related("u", bl.pedigree_kinship(herd / "pedigree.csv"), [*table.IID])
    effects = (animal, bl.grouped("litter", [*table.litter]))
    X = (np.ones((150, 1)), np.ones((150, 1)))
    return bl.joint_components(
        bl.JointRecords(("a", "b"), table[["a", "b"]].to_numpy(), X, (("intercept",), ("intercept",)), effects)
    )


def estimates_of(out):
    return pd.read_csv(out / "estimates.tsv", sep="\t").set_index(["method", "trait", "parameter"]).sort_index()


def test_reml_is_that_of_the_library(herd, data, tmp_path, capsys):
    assert main(typed(herd, "--random", "litter", "--methods", "reml", out=tmp_path / "o")) == 0
    assert "150 records: 142 with a, 145 with b" in capsys.readouterr().out
    found, fit = estimates_of(tmp_path / "o").loc["reml"], bl.joint_components_reml(data)
    assert fit.boundary == ()
    errors = {name: fit.errors(name) for name in ("share", "cov", "rho", "rho_p")}
    for j, name in enumerate(NAMES):
        for t, trait in enumerate("ab"):
            row = found.loc[trait, f"share[{name}]"]
            assert_allclose([row.estimate, row.se], [fit.shares[j, t], errors["share"][j, t]], rtol=1e-6)
            assert_allclose(found.loc[trait, f"sigma2[{name}]"].estimate, fit.sigma2[j, t], rtol=1e-6)
        row = found.loc["a:b", f"rho[{name}]"]
        assert_allclose([row.estimate, row.se], [fit.rho[j, 0, 1], errors["rho"][j, 0, 1]], rtol=1e-6)
        assert_allclose(found.loc["a:b", f"cov[{name}]"].estimate, fit.Sigma[j, 0, 1], rtol=1e-6)
    assert_allclose(found.loc["a", "h2"].estimate, fit.shares[0, 0], rtol=1e-6)
    assert_allclose(found.loc["a:b", "rho_p"].se, errors["rho_p"][0, 1], rtol=1e-6)
    assert_allclose(found.loc["a:b", "loglik"].estimate, fit.loglik, rtol=1e-9)
    record = json.loads((tmp_path / "o" / "run.json").read_text())
    assert record["traits"]["a:b"]["records"] == {"a": 142, "b": 145}
    assert record["options"]["methods"] == ["reml"]
    assert "Correlations of a and b through each component" in (tmp_path / "o" / "report.html").read_text()
    assert (tmp_path / "o" / "correlations.components.svg").exists()


@pytest.mark.slow
def test_draws_are_those_of_the_program(herd, data, tmp_path):
    options = ("--random", "litter", "--methods", "nuts", "--chains", "2", "--draws", "200", "--warmup", "300")
    assert main(typed(herd, *options, "--no-plots", out=tmp_path / "o")) in (0, 3)  # 200 draws may be too few
    found = estimates_of(tmp_path / "o").loc["nuts"]
    draws = xr.open_datatree(tmp_path / "o" / "posterior.nc", engine="h5netcdf")["posterior"]
    rho = draws["rho"].sel(component="litter", trait="a", trait_bis="b").to_numpy()
    assert_allclose(found.loc["a:b", "rho[litter]"].estimate, rho.mean(), rtol=1e-8)
    assert_allclose(found.loc["a:b", "rho[litter]"].lower, np.quantile(rho, 0.025), rtol=1e-8)
    share = draws["share"].sel(component="u", trait="b").to_numpy()
    assert_allclose(found.loc["b", "h2"].estimate, share.mean(), rtol=1e-8)
    assert draws["beta"].sizes["coefficient"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--random", "litter", "--methods", "mom"), "--methods mom is one of a single kinship"),
        (("--random", "nothing"), "has no column 'nothing'"),
        (("--random", "a"), "a cannot be a trait and a random effect at once"),
        (("--random", "litter", "--complete-only"), "--complete-only is about a single kinship"),
        (("--prior-shares", "2"), "--prior-shares is the prior of several components"),
        (("--repeated", "--methods", "reml"), "component 'pe' cannot be told from the residual"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(herd, tmp_path, capsys, options, words):
    assert main(typed(herd, *options, out=tmp_path / "o")) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert words in line


@pytest.mark.slow
def test_gryphons_with_mothers_and_years_equal_asreml(shared, tmp_path):
    """As printed in github.com/wamwiki/wamwiki.github.io, Tutorials/Tutorial-ASReml-R-v4.html."""
    folder = shared / "gryphon"
    arguments = ["rg", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "pheno.tsv"), "--traits"]
    arguments += ["BWT", "TARSUS", "--covar", str(folder / "covar.tsv"), "--covariates", "sex", "--categorical", "sex"]
    arguments += ["--random", "mother", "cohort", "--methods", "reml", "--no-plots", "--out", str(tmp_path / "o")]
    assert main(arguments) == 0
    found = estimates_of(tmp_path / "o").loc["reml", "BWT:TARSUS"]
    printed = {"u": (3.3168101, 0.9030192), "mother": (-1.5566953, 0.4051695), "e": (4.0144042, 0.7411868)}
    for name, wanted in printed.items():
        assert_allclose(found.loc[f"cov[{name}]", ["estimate", "se"]].to_list(), wanted, rtol=5e-4)
