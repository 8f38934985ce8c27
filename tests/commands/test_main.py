import html
import json
import subprocess
import sys

import arviz as az
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.files import sha256
from bayeslmm.commands import compare as compare_command
from bayeslmm.commands import demo
from bayeslmm.commands import h2 as h2_command
from bayeslmm.commands import main as cli
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.main import main
from bayeslmm.commands.parser import parser
from bayeslmm.commands.settings import build
from conftest import GRYPHON, MOUSE, ROOT

COLUMNS = "trait method parameter estimate se se_kind lower upper interval ess_bulk r_hat note".split()
FAST = ["--methods", "reml", "exact"]


def table(folder):
    return pd.read_csv(folder / "estimates.tsv", sep="\t", keep_default_na=False, na_values="NA")


def row(estimates, trait, method, parameter):
    found = estimates.query("trait == @trait and method == @method and parameter == @parameter")
    assert len(found) == 1
    return found.iloc[0]


@pytest.fixture(scope="module")
def mouse_run(tmp_path_factory):
    """`bayeslmm h2` on the mice with everything on, as the README does it but for more methods."""
    out = tmp_path_factory.mktemp("run") / "results"
    arguments = ["h2", "--bfile", str(MOUSE / "mouse_hs1940"), "--pheno", str(MOUSE / "pheno.tsv")]
    arguments += ["--trait", "CD8", "--covar", str(MOUSE / "covar.tsv"), "--categorical", "sex", "--pcs", "2"]
    arguments += ["--methods", "reml", "ml", "exact", "nuts", "--se", "observed", "--out", str(out)]
    assert main(arguments) == 0
    return out


@pytest.mark.slow
def test_h2_writes_its_table(mouse_run):
    estimates = table(mouse_run)
    assert list(estimates.columns) == COLUMNS
    variances = ["sigma2_u", "sigma2_e", "h2", "pve"]
    betas = [f"beta[{name}]" for name in ("intercept", "sex[2]", "PC1", "PC2")]
    for method, parameters in {  # noqa: B007 (pandas reads it as @method)
        "reml": [*variances, "loglik", *betas],
        "ml": [*variances, "loglik", *betas],
        "exact": [*variances, *betas],
        "nuts": [*variances, *betas],
    }.items():
        assert estimates.query("method == @method")["parameter"].tolist() == parameters
    assert set(estimates.query("method == 'reml'")["se_kind"].dropna()) == {"observed", "gls"}
    assert set(estimates.query("method in ['exact', 'nuts']")["interval"]) == {"eti95"}
    h2 = row(estimates, "CD8", "nuts", "h2")
    oracle = row(estimates, "CD8", "exact", "h2")
    assert h2["ess_bulk"] > 1000
    assert h2["r_hat"] < 1.01
    assert_allclose(h2["estimate"], oracle["estimate"], atol=4 * oracle["se"] / np.sqrt(1000))
    assert np.isnan(row(estimates, "CD8", "reml", "loglik")["se"])


@pytest.mark.slow
def test_h2_writes_draws_picture_and_record(mouse_run):
    assert sorted(path.name for path in mouse_run.iterdir()) == [
        "CD8.fit.svg", "CD8.h2.svg", "CD8.hsq", "CD8.posterior.nc", "CD8.ranks.svg", "CD8.trace.svg", "estimates.tsv",
        "report.html", "run.json",
    ]  # fmt: skip
    draws = xr.open_datatree(mouse_run / "CD8.posterior.nc", engine="h5netcdf")
    assert draws["posterior"]["beta"].sel(trait="CD8", covariate="PC1").shape == (4, 1000)
    dropped = json.loads(draws.attrs["dropped"])
    assert [(drop["reason"], drop["count"]) for drop in dropped] == [("without a value of CD8", 530)]
    record = json.loads((mouse_run / "run.json").read_text())
    assert record["kinship"]["markers"]["kept"] == 10783
    assert record["traits"]["CD8"]["n"] == 1410
    assert len(record["inputs_sha256"]) == 5
    assert {"seconds", "peak_rss_mb", "versions", "prior", "loglik_convention", "options"} <= set(record)


@pytest.mark.slow
def test_h2_takes_every_method(tmp_path):
    out = tmp_path / "results"
    arguments = ["h2", "--bfile", str(MOUSE / "mouse_hs1940"), "--pheno", str(MOUSE / "pheno.tsv"), "--trait", "CD8"]
    arguments += ["--methods", "ml", "em", "pxem", "mom", "rhe", "lasso", "--mom-se", "jackknife", "--out", str(out)]
    assert main(arguments) == 0
    estimates = table(out)
    assert list(estimates.columns) == COLUMNS
    assert estimates["method"].unique().tolist() == ["ml", "em", "pxem", "mom", "rhe", "lasso"]
    best = row(estimates, "CD8", "ml", "h2")
    for method in ("em", "pxem"):
        found = row(estimates, "CD8", method, "h2")
        assert_allclose([found["estimate"], found["se"]], [best["estimate"], best["se"]], rtol=1e-6)
        assert "iterations with 1,410 random effects" in found["note"]
    moments = row(estimates, "CD8", "mom", "h2")
    assert moments["estimate"] > 1
    assert moments["note"].startswith(
        "outside the parameter space: sigma2_e is negative; standard error too small unless"
    )
    assert moments["se_kind"] == "jackknife"
    assert "Monte Carlo error" in row(estimates, "CD8", "rhe", "h2")["note"]
    assert "selected of 10,783 markers" in row(estimates, "CD8", "lasso", "sigma2_e")["note"]


@pytest.mark.slow
def test_what_a_method_has_to_say_is_printed(toy, capsys):
    base, folder = toy
    (folder / "pheno.txt").write_text("IID y\n" + "".join(f"p{i} {i % 2}\n" for i in range(30)))
    assert main([*base, "--trait", "y", "--methods", "em", "pxem", "mom", "--out", str(folder / "out")]) == 0
    printed = capsys.readouterr().out
    for method in ("EM", "PX-EM", "moments"):
        note = row(table(folder / "out"), "y", {"EM": "em", "PX-EM": "pxem"}.get(method, "mom"), "h2")["note"]
        assert isinstance(note, str)
        assert f"  {method}: {note}" in printed


@pytest.mark.slow
def test_compare_writes_tables_and_a_picture(toy, capsys):
    base, folder = toy
    fast = ["--chains", "2", "--draws", "400", "--warmup", "300"]
    assert main(["compare", *base[1:], "--trait", "x", "y", *fast, "--out", str(folder / "out")]) in (0, 3)
    assert sorted(path.name for path in (folder / "out").iterdir()) == [
        "boundary.tsv", "comparison.tsv", "conventions.tsv", "estimates.tsv", "report.html", "run.json",
        "x.em.svg", "x.methods.svg", "x.null.svg", "y.em.svg", "y.methods.svg", "y.null.svg",
    ]  # fmt: skip
    comparison = pd.read_csv(folder / "out" / "comparison.tsv", sep="\t")
    assert comparison["trait"].value_counts().to_dict() == {"x": 11, "y": 11}
    boundary = pd.read_csv(folder / "out" / "boundary.tsv", sep="\t").set_index("trait")
    assert (boundary["inversion_lower"] <= boundary["h2"]).all()
    assert (boundary["h2"] <= boundary["inversion_upper"]).all()
    assert set(pd.read_csv(folder / "out" / "conventions.tsv", sep="\t")["program"]) == {
        "GEMMA", "GCTA", "ASReml", "LIMIX",
    }  # fmt: skip
    printed = capsys.readouterr().out
    assert "x: every method" in printed
    assert "exact p = " in printed
    assert "test inversion" in printed
    (answer,) = [line for line in printed.splitlines() if line.startswith("heritability of y: ")]
    assert f'<p class="answer">{answer}</p>' in (folder / "out" / "report.html").read_text()


@pytest.mark.slow
def test_hsq_is_gctas(mouse_run):
    lines = [line.split("\t") for line in (mouse_run / "CD8.hsq").read_text().splitlines()]
    names = ["Source", "V(G)", "V(e)", "Vp", "V(G)/Vp", "logL", "logL0", "LRT", "df", "Pval", "n"]
    assert [line[0] for line in lines] == names
    reml = {line[0]: line[1:] for line in lines}
    estimates = table(mouse_run)
    assert_allclose(float(reml["V(G)/Vp"][0]), row(estimates, "CD8", "reml", "h2")["estimate"], atol=1e-6)
    assert_allclose(float(reml["LRT"][0]), 2 * (float(reml["logL"][0]) - float(reml["logL0"][0])), atol=2e-3)


@pytest.mark.slow
def test_hsq_log_likelihood_is_gctas_without_constants(tmp_path):
    """On the gryphons ASReml, with the same convention, prints -1247.183."""
    folder = GRYPHON
    arguments = ["h2", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "pheno.tsv")]
    assert main([*arguments, "--trait", "BWT", "--methods", "reml", "--out", str(tmp_path)]) == 0
    assert "\nlogL\t-1247.183\n" in (tmp_path / "BWT.hsq").read_text()
    assert_allclose(row(table(tmp_path), "BWT", "reml", "h2")["se"], 0.0765, atol=5e-5)


@pytest.fixture
def toy(plink, tmp_path, rng):
    """A small cohort in files: genotypes, two traits on different individuals, one with no heritability."""
    prefix, G, ids = plink
    g = np.where(np.isnan(G), 0, G) @ rng.standard_normal(50) / 5
    lines = ["FID IID x y"]
    for i, name in enumerate(ids):
        lines.append(
            f"{name} {name} {g[i] + rng.standard_normal():.4f} {'NA' if i < 3 else f'{rng.standard_normal():.4f}'}"
        )
    (tmp_path / "pheno.txt").write_text("\n".join(lines) + "\n")
    base = ["h2", "--bfile", str(prefix), "--pheno", str(tmp_path / "pheno.txt")]
    return base, tmp_path


@pytest.mark.slow
def test_each_set_of_people_has_its_decomposition(toy, capsys):
    base, folder = toy
    assert main([*base, "--trait", "x", "y", *FAST, "--out", str(folder / "out")]) == 0
    printed = capsys.readouterr().out
    assert "30 individuals with x (kinship decomposed once)" in printed
    assert "27 individuals with y (kinship decomposed once)" in printed
    assert "dropped: 3 without a value of y (p0, p1, p2)" in printed
    assert table(folder / "out")["trait"].unique().tolist() == ["x", "y"]


def test_a_formula_makes_the_covariates(toy, capsys):
    base, folder = toy
    run = [*base, "--trait", "x", "--methods", "reml", "--formula", "~ poly(y, 2)", "--out", str(folder / "out")]
    assert main(run) == 0
    printed = capsys.readouterr().out
    assert (
        "27 individuals with x (kinship decomposed once); covariates: intercept, poly(y, 2)[1], poly(y, 2)[2]"
        in printed
    )
    assert "dropped: 3 without a value of the covariate y (p0, p1, p2)" in printed
    assert row(table(folder / "out"), "x", "reml", "beta[poly(y, 2)[2]]")["se"] > 0


@pytest.mark.slow
def test_groups_are_added_to_the_draws(toy, capsys):
    base, folder = toy
    groups = ["prior", "log_prior", "posterior_predictive", "log_likelihood"]
    run = [*base, "--trait", "y", "--draws", "300", "--draws-groups", *groups, "--out", str(folder / "out")]
    assert main(run) in (0, 3)  # so few draws may fail their checks
    assert "posterior_predictive and log_likelihood of 1,200 draws of 27 rows: 1 MB" in capsys.readouterr().out
    draws = xr.open_datatree(folder / "out" / "y.posterior.nc")
    assert set(groups) < set(draws.children)
    assert draws["log_likelihood"]["y"].sizes == {"chain": 4, "draw": 300, "rotated_row": 27}
    assert "not to leave out an individual" in draws["log_likelihood"].attrs["rows"]
    assert np.isfinite(az.psense_summary(draws, var_names=["h2"])["prior"].astype(float)).all()


@pytest.mark.slow
def test_grm_gives_the_same_numbers_as_the_genotypes(toy, capsys):
    base, folder = toy
    assert main(["grm", "--bfile", base[2], "--out", str(folder / "k")]) == 0
    assert "30 individuals, mean diagonal" in capsys.readouterr().out
    assert main([*base, "--trait", "x", *FAST, "--out", str(folder / "a")]) == 0
    grm = ["h2", "--grm", str(folder / "k"), *base[3:]]
    assert main([*grm, "--trait", "x", *FAST, "--out", str(folder / "b")]) == 0
    assert_allclose(table(folder / "a")["estimate"], table(folder / "b")["estimate"], rtol=1e-5)


@pytest.fixture
def failing(monkeypatch):
    """Make the estimates of a trait end in an error."""

    def fail(trait, error):
        for module in (h2_command, compare_command):
            name = module.__name__.rpartition(".")[2].removesuffix("_command").replace("h2", "heritability")
            real = getattr(module, name)

            def estimate(*arguments, real=real, **options):
                if options["trait"] == trait:
                    raise error
                return real(*arguments, **options)

            monkeypatch.setattr(module, name, estimate)

    return fail


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code", "why"),
    [
        (AnalysisError("no maximum was found"), 1, "no maximum was found"),
        (
            ValueError("The function value is NaN"),
            1,
            "ValueError: The function value is NaN (this is a bug in bayeslmm",
        ),
        (bl.InputError("collinear"), 2, "collinear"),
    ],
)
def test_a_trait_that_fails_is_marked_and_costs_the_others_nothing(toy, failing, capsys, tmp_path, error, code, why):
    base, folder = toy
    assert main([*base, "--trait", "y", *FAST, "--out", str(folder / "alone")]) == 0
    failing("x", error)
    capsys.readouterr()
    assert main([*base, "--trait", "x", "y", *FAST, "--out", str(folder / "out")]) == code
    assert f"bayeslmm: x FAILED: {why}" in capsys.readouterr().err
    found = table(folder / "out")
    pd.testing.assert_frame_equal(found[found["trait"] == "y"].reset_index(drop=True), table(folder / "alone"))
    (failed,) = found[found["trait"] == "x"].to_dict("records")
    assert (failed["parameter"], np.isnan(failed["estimate"])) == ("h2", True)
    assert failed["note"].startswith(f"FAILED: {why}")
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["traits"]["x"]["failed"].startswith(why)
    assert record["traits"]["y"]["n"] == 27
    assert record["files"] == ["estimates.tsv", "y.hsq", "y.h2.svg", "y.fit.svg", "report.html"]
    page = (folder / "out" / "report.html").read_text()
    assert f"x FAILED: {why}" in html.unescape(page)
    assert "heritability of y: " in page


@pytest.mark.slow
def test_compare_marks_a_trait_that_fails_in_every_table(toy, failing):
    base, folder = toy
    failing("x", AnalysisError("no luck"))
    few = ["--chains", "2", "--draws", "50", "--warmup", "50"]
    assert main(["compare", *base[1:], "--trait", "x", "y", *few, "--out", str(folder / "out")]) == 1
    for name in ("estimates", "comparison", "boundary", "conventions"):
        rows = pd.read_csv(folder / "out" / f"{name}.tsv", sep="\t")
        assert set(rows["trait"]) == {"x", "y"}
        assert (rows["trait"] == "x").sum() == 1
        assert "FAILED: no luck" in rows[rows["trait"] == "x"].to_csv()


def test_a_trait_without_variation_costs_others_of_the_same_people_nothing(toy, capsys):
    base, folder = toy
    table_of = pd.read_csv(folder / "pheno.txt", sep=" ").assign(flat=2.0)
    table_of.to_csv(folder / "pheno.txt", sep=" ", index=False, na_rep="NA")
    assert main([*base, "--trait", "flat", "x", *FAST, "--out", str(folder / "out")]) == 2
    assert "flat FAILED: " in capsys.readouterr().err
    assert table(folder / "out")["trait"].unique().tolist() == ["x", "flat"]
    capsys.readouterr()
    assert main([*base, "--trait", "flat", *FAST, "--out", str(folder / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert not (folder / "none").exists()


def test_the_record_vouches_for_what_was_read(toy, monkeypatch):
    """The phenotypes change while the trait is analysed."""
    base, folder = toy
    before, real = sha256(folder / "pheno.txt"), h2_command.heritability

    def slowly(*arguments, **options):
        (folder / "pheno.txt").write_text("gone")
        return real(*arguments, **options)

    monkeypatch.setattr(h2_command, "heritability", slowly)
    assert main([*base, "--trait", "x", *FAST, "--out", str(folder / "out")]) == 0
    record = json.loads((folder / "out" / "run.json").read_text())
    assert record["inputs_sha256"][str(folder / "pheno.txt")] == before


def test_draws_that_cannot_be_written_are_one_line(tmp_path):
    """In a process that may write no file above 20 kB: HDF5 ends such a one with a segmentation fault."""
    script = f"""
import resource, sys
import arviz_base, numpy as np
from pathlib import Path
from bayeslmm.base.files import WriteError
from bayeslmm.commands.draws import write_draws
draws = arviz_base.from_dict({{"posterior": {{"a": np.random.default_rng(1).standard_normal((4, 20_000))}}}})
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    write_draws(draws, Path({str(tmp_path)!r}) / "x.nc")
except WriteError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "x.nc cannot be written (File too large): make room for it" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_the_demo_may_be_run_twice_in_its_own_folder(monkeypatch):
    ran = []
    monkeypatch.setattr(cli, "run_command", lambda options: ran.append(options.overwrite) or Answer())
    for arguments in (["demo"], ["demo", "--out", "mine"], ["demo", "--out", "mine", "--overwrite"]):
        demo.run(build(demo.SETTINGS, vars(parser().parse_args(arguments))))
    assert ran == [True, False, True]


def test_eigen_file_may_be_in_the_folder_of_the_results(toy):
    base, folder = toy
    out = folder / "new"
    command = [*base, "--trait", "x", *FAST, "--eigen", str(out / "e.npz"), "--out", str(out)]
    assert main(command) == 0
    assert "e.npz" not in json.loads((out / "run.json").read_text())["files"]
    assert main(command) == 2
    written = (out / "e.npz").stat().st_mtime_ns
    assert main([*command, "--overwrite"]) == 0
    assert (out / "e.npz").stat().st_mtime_ns == written


@pytest.mark.slow
def test_eigen_file_is_reused_and_refused(toy, capsys):
    base, folder = toy
    eigen = ["--eigen", str(folder / "e.npz")]
    assert main([*base, "--trait", "x", *FAST, *eigen, "--out", str(folder / "a")]) == 0
    written = (folder / "e.npz").stat().st_mtime_ns
    assert main([*base, "--trait", "x", *FAST, *eigen, "--pcs", "1", "--out", str(folder / "b")]) == 0
    assert (folder / "e.npz").stat().st_mtime_ns == written
    capsys.readouterr()
    assert main([*base, "--trait", "y", *FAST, *eigen, "--out", str(folder / "c")]) == 2
    assert "e.npz does not belong to these 27 individuals" in capsys.readouterr().err
    assert main([*base, "--trait", "x", *FAST, *eigen, "--scale", "vanraden", "--out", str(folder / "d")]) == 2
    assert "belongs to these individuals but not to this kinship matrix" in capsys.readouterr().err


def test_boundary_has_an_interval_and_no_standard_error(toy, rng):
    base, folder = toy
    for seed in range(20):
        y = np.random.default_rng(seed).standard_normal(30)
        (folder / "pheno.txt").write_text("IID y\n" + "".join(f"p{i} {value:.5f}\n" for i, value in enumerate(y)))
        assert main([*base, "--trait", "y", "--methods", "reml", "--overwrite", "--out", str(folder / "out")]) == 0
        h2 = row(table(folder / "out"), "y", "reml", "h2")
        if h2["estimate"] == 0:
            break
    assert h2["note"].startswith("boundary: h2 = 0")
    assert np.isnan(h2["se"])
    assert h2["interval"] == "profile95"
    assert 0 == h2["lower"] < h2["upper"] <= 1
    assert "V(G)\t0.000000\tNA" in (folder / "out" / "y.hsq").read_text()


@pytest.mark.slow
def test_failed_diagnostics_are_loud_and_exit_with_3(toy, capsys):
    base, folder = toy
    short = ["--methods", "nuts", "--chains", "2", "--draws", "30", "--warmup", "20", "--out", str(folder / "out")]
    assert main([*base, "--trait", "x", *short]) == 3
    assert "DIAGNOSTICS FAILED: bulk ESS is" in capsys.readouterr().out
    (failure, *_) = json.loads((folder / "out" / "run.json").read_text())["traits"]["x"]["diagnostics"]["failures"]
    page = (folder / "out" / "report.html").read_text()
    assert f'<p class="advice">{failure}.</p>' in page
    assert "of the checks failed" in page


@pytest.mark.slow
def test_the_prior_reaches_oracle_and_draws(toy):
    base, folder = toy
    options = ["--trait", "x", "--prior-h2", "3000", "7000", "--methods", "exact", "nuts", "--normalise"]
    main([*base, *options, "--chains", "2", "--draws", "300", "--warmup", "300", "--out", str(folder / "out")])
    for method in ("exact", "nuts"):
        assert_allclose(row(table(folder / "out"), "x", method, "h2")["estimate"], 0.3, atol=2e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--trait", "z"], "has no column 'z'; it has x, y"),
        (["--trait", "x", "--pcs", "-1"], "--pcs must be at least 0"),
        (["--trait", "x", "--no-intercept"], "--no-intercept leaves no fixed effect"),
        (["--trait", "x", "--seed", "-1"], "--seed must be at least 0, but -1 was given"),
        (["--trait", "x", "--mom-se", "jackknife"], "--mom-se jackknife requires --methods mom"),
        (["--trait", "x", "--pcs", "40"], "pcs must lie between 0 and 29"),
        (["--trait", "x", "--chains", "0"], "--chains must be at least 1"),
        (["--trait", "x", "--target-accept", "1"], "--target-accept must be between 0 and 1, but 1 was given"),
        (["--trait", "x", "--prior-h2", "0", "1"], "--prior-h2 must be at least 0.01, but 0 was given"),
        (
            ["--trait", "x", "--fam", "a.fam"],
            "--fam a.fam gives the ids of --kinship or --gemma-eigen",
        ),
        (["--trait", "x", "--maf", "0.7"], "maf must be at least 0 and below 0.5"),
        (["--trait", "x", "--eigen", "nowhere/e.npz"], "the folder nowhere does not exist"),
        (["--trait", "x", "--categorical", "y"], "--categorical y needs --covariates, --covar or --formula"),
        (["--trait", "x", "--formula", "~ z"], "there is no column (or function) 'z'; the columns are x, y"),
        (["--trait", "x", "--formula", "~ y", "--covariates", "y"], "--formula takes the place of --covariates"),
        (["--trait", "x", "--formula", "~ y", "--no-intercept"], "leave out --no-intercept, write '~ 0 + ...'"),
        (
            ["--trait", "x", "--methods", "reml", "--draws-groups", "prior"],
            "--draws-groups prior requires --methods nuts",
        ),
        (["--trait", "x", "--model", "m.py:f", "--draws-groups", "prior"], "are those of the built-in programs"),
        (["--trait", "x", "--pheno", "nothing.txt"], "nothing.txt does not exist"),
    ],
)
def test_input_errors_are_one_line_and_exit_with_2(toy, capsys, change, message):
    base, folder = toy
    assert main([*base, *change, "--out", str(folder / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("bayeslmm: error: ")
    assert error.count("\n") == 1
    assert message in error


def test_options_of_genotypes_are_not_ignored_for_other_kinships(toy, capsys):
    base, folder = toy
    grm = ["h2", "--grm", str(folder / "k"), *base[3:], "--trait", "x", "--out", str(folder / "out")]
    assert main([*grm, "--maf", "0.05"]) == 2
    assert "--maf applies to genotypes (--bfile, --pfile, --bgen, --vcf or --vcz)" in capsys.readouterr().err


def test_methods_of_genotypes_need_genotypes_as_they_are(toy, capsys):
    base, folder = toy
    rest = [*base[3:], "--trait", "x", "--out", str(folder / "out"), "--methods"]
    assert main(["h2", "--grm", str(folder / "k"), *rest, "reml", "lasso"]) == 2
    assert "--methods lasso needs genotypes (--bfile, --pfile, --bgen, --vcf or --vcz)" in capsys.readouterr().err
    assert main([*base[:3], *rest, "rhe", "--centre", "--no-intercept", "--pcs", "1"]) == 2
    assert "cannot centre it without an intercept: leave out --centre or --no-intercept" in capsys.readouterr().err


@pytest.mark.parametrize("scaled", [[], ["--normalise"], ["--centre"], ["--centre", "--normalise"]])
def test_randomised_moments_have_the_scale_of_k(toy, scaled):
    base, folder = toy
    arguments = [*base, "--trait", "x", "--methods", "mom", "rhe", *scaled, "--out", str(folder / "out")]
    assert main(arguments) == 0
    estimates = table(folder / "out")
    for parameter in ("sigma2_u", "h2", "pve"):
        exact, found = (row(estimates, "x", method, parameter) for method in ("mom", "rhe"))
        error = float(found["note"].split("Monte Carlo error ")[1].split(";")[0])
        assert abs(found["estimate"] - exact["estimate"]) < 3 * error


def test_names_that_cannot_be_files_are_refused(toy, capsys):
    base, folder = toy
    (folder / "pheno.txt").write_text("IID a/b\np1 2\n")
    for name in ("a/b", ".."):
        assert main([*base, "--trait", name, "--out", str(folder / "out")]) == 2
        assert f"results are named after traits, so {name!r} cannot be one" in capsys.readouterr().err
    assert main([*base, "--trait", "T" * 250, "--out", str(folder / "out")]) == 2
    assert "cannot be the name of a file (is too long): rename the trait" in capsys.readouterr().err
    assert not (folder / "out").exists()


def test_a_file_in_the_way_of_the_folder_is_told(toy, capsys):
    base, folder = toy
    (folder / "out").write_text("")
    assert main([*base, "--trait", "x", "--out", str(folder / "out")]) == 2
    assert "cannot be made" in capsys.readouterr().err


def test_warnings_are_one_line(toy, capsys):
    base, folder = toy
    (folder / "pheno.txt").write_text("IID x\n" + "".join(f"p{i} {150 + i % 7 if i else -9}\n" for i in range(30)))
    assert main([*base, "--trait", "x", "--methods", "reml", "--out", str(folder / "out")]) == 0
    assert "bayeslmm: warning:" in capsys.readouterr().err


def test_demo_says_where_its_data_are(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(demo, "__file__", str(tmp_path / "a" / "b" / "c" / "demo.py"))
    assert main(["demo"]) == 2
    assert "come with the source repository" in capsys.readouterr().err


def test_help_and_import_do_not_load_jax():
    script = "import sys, bayeslmm.commands.main as c\ntry: c.main(['h2', '--help'])\nexcept SystemExit: pass\n"
    script += "assert not {'jax', 'numpy', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules), sys.modules.keys()"
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, cwd=ROOT)
    script = "import sys, bayeslmm; bayeslmm.InputError; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


def test_kinship_needs_no_jax(plink, tmp_path):
    script = f"import sys, bayeslmm.commands.main as c; c.main(['grm', '--bfile', {str(plink[0])!r}, '--out', 'k'])\n"
    script += "assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True, stdout=subprocess.DEVNULL, cwd=tmp_path)
    assert bl.read_grm(tmp_path / "k").K.shape == (30, 30)
