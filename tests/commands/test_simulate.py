import json

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed
from numpy.testing import assert_allclose

from bayeslmm.base.files import sha256
from bayeslmm.commands.main import main

OPTIONS = ["--h2", "0.6", "0.4", "--rg", "0.5", "--re", "-0.2", "--sigma2-p", "2", "--covariates", "2"]


def table(path):
    return pd.read_csv(path, sep="\t")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """240 individuals in families of four, with two traits, two covariates and missing values."""
    out = tmp_path_factory.mktemp("simulate") / "cohort"
    arguments = ["simulate", "--coalescent", "240", "880", "--siblings", "4", *OPTIONS, "--missing", "0.1", "0.2"]
    assert main([*arguments, "--seed", "4", "--out", str(out)]) == 0
    return out


def test_simulate_writes_its_files(cohort):
    assert sorted(path.name for path in cohort.iterdir()) == [
        "cohort.bed", "cohort.bim", "cohort.fam", "covar.tsv", "effects.tsv", "pheno.tsv", "report.html",
        "run.json", "truth.json",
    ]  # fmt: skip
    pheno, covar, effects = (table(cohort / f"{name}.tsv") for name in ("pheno", "covar", "effects"))
    assert list(pheno.columns) == ["FID", "IID", "T1", "T2"]
    assert list(covar.columns) == ["FID", "IID", "C1", "C2"]
    assert list(effects.columns) == ["trait", "chrom", "snp", "pos", "a1", "a0", "af", "beta"]
    assert pheno["FID"].nunique() == 60
    assert len(effects) == 2 * 880
    truth = json.loads((cohort / "truth.json").read_text())
    assert truth["seed"] == 4
    assert set(truth["versions"]) == {"python", "bayeslmm", "numpy", "bed-reader", "msprime"}
    assert truth["genotypes"]["sha256"][str(cohort / "cohort.bed")] == sha256(cohort / "cohort.bed")
    assert truth["genotypes"]["siblings"] == 4
    first, pair = truth["traits"]["T1"], truth["traits"]["T1:T2"]
    assert (first["h2"], first["sigma2_u"], first["sigma2_e"], first["missing"]) == (0.6, 1.2, 0.8, 0.1)
    assert pair["rho_u"] == pytest.approx(0.5)
    assert pair["rho_e"] == pytest.approx(-0.2)
    lacking = pheno[["T1", "T2"]].isna().sum()
    assert (np.abs(lacking - [24, 48]) < 4 * np.sqrt([240 * 0.09, 240 * 0.16])).all()


def test_the_truth_adds_up_to_the_traits(cohort):
    """Less covariates and effects of markers, residuals have the variance and the correlation that the truth says."""
    truth = json.loads((cohort / "truth.json").read_text())["traits"]
    pheno, covar, effects = (table(cohort / f"{name}.tsv") for name in ("pheno", "covar", "effects"))
    with open_bed(cohort / "cohort.bed") as bed:
        G, names = bed.read(dtype="float64"), bed.sid
    residuals = []
    for trait in ("T1", "T2"):
        of_trait = effects[effects["trait"] == trait]
        assert of_trait["snp"].tolist() == names.tolist()
        assert_allclose(of_trait["af"], G.mean(axis=0) / 2, rtol=1e-9)
        g = (G - G.mean(axis=0)) @ of_trait["beta"].to_numpy()
        assert_allclose(g.var(), truth[trait]["variance_g"], rtol=1e-4)
        heterozygosity = 2 * of_trait["af"] * (1 - of_trait["af"])
        sigma2_u = (of_trait["beta"] ** 2 * heterozygosity).sum()
        assert_allclose(sigma2_u, truth[trait]["sigma2_u"], rtol=4 * np.sqrt(2 / 880))
        fixed = sum(covar[name] * truth[trait][f"beta[{name}]"] for name in ("C1", "C2"))
        residuals.append(pheno[trait] - fixed - g)
        assert_allclose(residuals[-1].var(), truth[trait]["sigma2_e"], rtol=4 * np.sqrt(2 / 190))
    both = pd.concat(residuals, axis=1).dropna()
    assert_allclose(np.corrcoef(both.T)[0, 1], -0.2, atol=4 / np.sqrt(len(both)))


@pytest.mark.slow
def test_other_commands_read_it_and_cover_the_truth(cohort, tmp_path):
    arguments = ["--bfile", str(cohort / "cohort"), "--pheno", str(cohort / "pheno.tsv")]
    arguments += ["--covar", str(cohort / "covar.tsv")]
    command = ["h2", *arguments, "--trait", "T1", "--methods", "reml", "exact"]
    assert main([*command, "--out", str(tmp_path / "h2")]) == 0
    truth = json.loads((cohort / "truth.json").read_text())["traits"]["T1"]
    rows = table(tmp_path / "h2" / "estimates.tsv").query("method == 'exact'").set_index("parameter")
    for name in ("h2", "sigma2_u", "sigma2_e", "beta[intercept]", "beta[C1]", "beta[C2]"):
        assert rows["lower"][name] <= truth[name] <= rows["upper"][name], name


def test_given_genotypes_are_used_where_they_are(cohort, tmp_path, capsys):
    arguments = ["simulate", "--bfile", str(cohort / "cohort"), "--h2", "0.5", "0", "--causal", "5"]
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert main([*arguments, "--seed", str(seed), "--out", str(tmp_path / name)]) == 0
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [
        "effects.tsv", "pheno.tsv", "report.html", "run.json", "truth.json",
    ]  # fmt: skip
    a, b, c = ((tmp_path / name / "pheno.tsv").read_bytes() for name in "abc")
    assert a == b != c
    effects = table(tmp_path / "a" / "effects.tsv")
    assert effects["snp"].nunique() == 5
    assert (effects.query("trait == 'T2'")["beta"] == 0).all()
    truth = json.loads((tmp_path / "a" / "truth.json").read_text())
    assert truth["causal"] == 5
    assert truth["traits"]["T1:T2"]["rho_u"] is None
    assert "msprime" not in truth["versions"]
    printed = capsys.readouterr().out
    assert "markers: 880 of 880 used" in printed
    assert "T1: h2 0.5, sigma2_u 0.5; variance of g in this sample" in printed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--h2", "1.2"], "h2 must lie between 0 and 1, but 1.2"),
        (["--h2", "0.5", "--rg", "0.3"], "--rg and --re correlate traits: give two or more"),
        (["--h2", "0.5", "0.5", "0.5", "--re", "-0.7"], "--re must lie between -0.5 and 1 for 3 traits, but -0.7"),
        (["--h2", "0.5", "--missing", "0.1", "0.1"], "one for each of 1 traits, but 2 are given"),
        (["--h2", "0.5", "--missing", "1"], "at least 0 and below 1"),
        (["--h2", "0.5", "--covariates", "-1"], "--covariates must be at least 0, but -1"),
        (["--h2", "0.5", "--seed", "-1"], "--seed must be at least 0"),
        (["--h2", "0.5", "--sigma2-p", "0"], "sigma2_p must be positive"),
        (["--h2", "0.5", "--maf", "0.9"], "maf must be"),
        (["--h2", "0.5", "--causal", "0"], "--causal must be at least 1, but 0 was given"),
        (["--h2", "0.5", "--siblings", "2"], "--siblings and --chromosomes apply to --coalescent"),
    ],
)
def test_wrong_options_are_one_line_before_anything_is_read(tmp_path, capsys, options, message):
    assert main(["simulate", "--bfile", "absent", *options, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert not (tmp_path / "out").exists()
