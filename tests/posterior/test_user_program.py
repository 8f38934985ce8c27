import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace

import arviz_base
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from numpy.testing import assert_allclose

from bayeslmm.analyses.heritability import heritability
from bayeslmm.analyses.method import Drawn
from bayeslmm.analyses.site_rows import large_site_lines, site_rows
from bayeslmm.commands.main import main
from bayeslmm.posterior.diagnostics import diagnose
from bayeslmm.posterior.user_program import load_program, try_program
from bayeslmm.report.h2 import result_lines
from conftest import ROOT

HEAD = """\
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayeslmm.likelihood import one_trait


def own(data):
    sigma2_u = numpyro.sample("sigma2_u", dist.HalfNormal(2.0))
"""
REST = """\
    sigma2_e = numpyro.sample("sigma2_e", dist.HalfNormal(2.0))
    mean = numpyro.sample("mean", dist.Normal(0.0, 10.0))
    numpyro.sample("y", one_trait.univariate(data.s, data.X[:, 0] * mean, sigma2_u, sigma2_e), obs=data.Y[:, 0])
"""
SHORT = ["--chains", "2", "--draws", "50", "--warmup", "50"]


def table(folder):
    return pd.read_csv(folder / "estimates.tsv", sep="\t", keep_default_na=False, na_values="NA")


@pytest.fixture
def toy(plink, tmp_path, rng):
    """Thirty people with two traits, in files; the second trait is missing for one of them."""
    prefix, G, ids = plink
    g = np.where(np.isnan(G), 0, G) @ rng.standard_normal((50, 2)) / 5 + rng.standard_normal((30, 2))
    rows = enumerate(zip(ids, g, strict=True))
    lines = [f"{name} {x:.4f} {'NA' if i == 4 else f'{y:.4f}'}" for i, (name, (x, y)) in rows]
    (tmp_path / "pheno.txt").write_text("\n".join(["IID x y", *lines]) + "\n")
    return ["--bfile", str(prefix), "--pheno", str(tmp_path / "pheno.txt"), "--out", str(tmp_path / "out")], tmp_path


@pytest.mark.slow
def test_the_program_of_the_docs_equals_the_reference_quadrature(gryphon_reference, write, tmp_path, capsys):
    """MCMCglmm's priors V = 1, nu = 0.002."""
    (text,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "terms.md").read_text(), flags=re.DOTALL)
    own, folder, out = write("inverse_gammas.py", text), ROOT / "validation" / "data" / "gryphon", tmp_path / "out"
    arguments = ["h2", "--pedigree", str(folder / "pedigree.csv"), "--pheno", str(folder / "pheno.tsv")]
    arguments += ["--trait", "BWT", "--model", f"{own}:model", "--methods", "reml", "nuts", "--out", str(out)]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert "inverse_gammas.py:model, a bare function: its chains start at random; its own prior" in printed
    assert "heritability of BWT: 0.4" in printed
    estimates = table(out)
    nuts = estimates[estimates["method"] == "nuts"].set_index("parameter")
    assert set(nuts.index) == {"h2", "sigma2_u", "sigma2_e", "beta[0]"}
    reference = gryphon_reference["bayes_exact"]["fits"]["gryphon_birth_weight~1"]["IG_0p001"]
    for name, key in (("h2", "h2"), ("sigma2_u", "vg"), ("sigma2_e", "ve")):
        found, expected = nuts.loc[name], reference[key]
        assert abs(found["estimate"] - expected["mean"]) < 0.09 * expected["sd"]  # 4 Monte Carlo errors at ESS 2,000
        assert_allclose(found["se"], expected["sd"], rtol=0.08)
        assert_allclose(
            [found["lower"], found["upper"]], [expected["q025"], expected["q975"]], atol=0.2 * expected["sd"]
        )
        assert found["r_hat"] < 1.01
        assert found["ess_bulk"] > 1000
    pictures = {f"BWT.{k}.{kind}.svg" for k in range(1, 5) for kind in ("posterior", "trace", "ranks")}  # four numbers
    assert {path.name for path in out.glob("*.svg")} == pictures
    draws = xr.open_datatree(out / "BWT.posterior.nc", engine="h5netcdf")
    assert draws["posterior"]["h2"].shape == (4, 1000)
    assert draws.attrs["model"] == f"{own}:model"
    record = json.loads((out / "run.json").read_text())
    assert record["inputs_sha256"][str(own)] == draws.attrs["model_sha256"]
    assert record["prior"]["nuts"] == f"inside {own}:model"


def run(*command, cwd=ROOT):
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.slow
def test_our_program_and_a_copy_of_it_draw_the_same(toy, capsys):
    base, folder = toy
    arguments = [*base, "--trait", "x", *SHORT]
    assert main(["h2", *arguments, "--methods", "nuts"]) == 3  # so few draws
    assert "heritability of x: " in capsys.readouterr().out
    ours = table(folder / "out").set_index("parameter")
    assert set(ours["method"]) == {"nuts"}
    shutil.copy(ROOT / "models" / "univariate.py", folder / "alike.py")
    copy = ["--model", f"{folder / 'alike.py'}:model", "--methods", "nuts", "--overwrite"]
    assert main(["h2", *arguments, *copy]) == 3
    printed = capsys.readouterr().out
    assert "alike.py:model, with its own dimensions and starting values" in printed
    assert "DIAGNOSTICS FAILED: " in printed
    found = table(folder / "out").set_index("parameter")
    assert set(found.index) == {*ours.index, "sigma2_p", "b[0]", "b_base[0]"}
    for column in ("estimate", "se", "lower", "upper", "r_hat"):
        assert_allclose(found.loc[ours.index, column], ours[column], rtol=1e-9)


def test_any_sites_become_rows_and_a_sentence(small_data, rng):
    sites = {"a": (2, 50), "many": (2, 50, 101), "v": (2, 50, 2), "lost": (2, 50)}
    values = {name: rng.standard_normal(shape) for name, shape in sites.items()} | {"still": np.ones((2, 50))}
    values["lost"][1, 7] = np.nan
    calm = {"diverging": np.zeros((2, 50), dtype=bool)}
    draws = arviz_base.from_dict(
        {"posterior": values, "sample_stats": calm}, dims={"v": ["covariate"]}, coords={"covariate": ["sex", "age/10"]}
    )
    rows = {row.parameter: row for row in site_rows(draws, "x")}
    assert list(rows) == ["a", "v[sex]", "v[age/10]", "lost", "still"]
    assert_allclose(rows["v[age/10]"].estimate, values["v"][..., 1].mean())
    assert rows["lost"].note == "some draws are not finite"
    assert (rows["still"].estimate, rows["still"].note) == (1.0, "constant")
    assert large_site_lines(draws) == ["the site many, of shape (101,), is kept with the draws alone"]
    assert "draws of lost are not all finite" in diagnose(draws).failures
    found = heritability(small_data, trait="x", covariates=["b", "c", "d"], seed=1, methods=["reml"])
    fits = {**found.fits, "nuts": Drawn(draws, diagnose(draws))}
    lines = result_lines(replace(found, rows=(*found.rows, *rows.values()), fits=fits))
    assert 'the program has no site called "h2"; add one to report a heritability of x' in lines
    assert "v[age/10]" in lines


TWO = """\
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from bayeslmm.likelihood import several_traits


def two(data):
    sd = numpyro.sample("sd", dist.HalfNormal(2.0).expand([2, 2]).to_event(2))
    rho_u = numpyro.sample("rho_u", dist.Uniform(-1.0, 1.0))
    Gamma_u = jnp.outer(sd[0], sd[0]) * (rho_u + (1 - rho_u) * jnp.eye(2))
    y = several_traits.multivariate(data.s, jnp.zeros_like(data.Y), Gamma_u, jnp.diag(sd[1] ** 2))
    numpyro.sample("y", y, obs=data.Y)
"""


@pytest.mark.slow
def test_two_traits_take_a_program(toy, write, capsys):
    base, folder = toy
    own = ["--model", f"{write('own.py', TWO)}:two"]
    both = ["rg", *base, "--traits", "x", "y", *own, *SHORT, "--methods", "nuts"]
    assert main(both) == 2
    assert (
        "takes the 1 missing values as 0, because it does not use data.E: analyse complete records"
        in capsys.readouterr().err
    )
    assert main([*both, "--complete-only"]) in (0, 3)
    assert "genetic correlation of x and y: " in capsys.readouterr().out
    estimates = table(folder / "out").query("method == 'nuts'")
    assert set(estimates["trait"]) == {"x:y"}
    assert list(estimates["parameter"]) == ["rho_u", "sd[0,0]", "sd[0,1]", "sd[1,0]", "sd[1,1]"]
    assert len(list((folder / "out").glob("correlations.*.svg"))) == 5 * 3


@pytest.mark.slow
def test_a_copy_that_looks_at_missing_values_is_taken(dense_traits, tmp_path):
    shutil.copy(ROOT / "models" / "bivariate.py", tmp_path / "alike.py")
    own = load_program(f"{tmp_path / 'alike.py'}:model")
    try_program(own, dense_traits().data)


WRONG = {
    "nothing.py:own": (None, "nothing.py does not exist: check the name and the folder"),
    "own.py": ("", "a program must be FILE.py:FUNCTION, such as mine.py:model, but"),
    "own.txt:own": (HEAD + REST, "own.txt is not a Python file: its name must end in .py"),
    "own.py:other": (HEAD + REST, "own.py has no function 'other'; it has own"),
    "syntax.py:own": ("def own(data:\n", "syntax.py line 1: SyntaxError: "),
    "raises.py:own": ("import numpyro\n\n1 / 0\n", "raises.py line 3: ZeroDivisionError: division by zero"),
    "exits.py:own": ("import sys\n\nsys.exit(0)\n", "exits.py line 3: SystemExit: 0"),
    "zero.py:own": ("def own(data):\n    pass\n\0", "zero.py fails: SyntaxError: source code"),
    "wide.py:own": ("\ufeff\0d\0e\0f", "wide.py fails: SyntaxError: "),
    "type.py:own": ("own = dict\n", "type.py: own must be callable as own(data), a prior being"),
    "ends.py:own": (HEAD + "    raise SystemExit\n", "ends.py line 10: SystemExit: no message"),
    "signature.py:own": (
        "def own(data, prior):\n    pass\n",
        "signature.py: own must be callable as own(data), a prior being a second argument with a default, but its "
        "signature is own(data, prior) (missing a required argument: 'prior')",
    ),
    "name.py:own": (HEAD + "    x = sigma2_U\n" + REST, "name.py line 10: NameError: name 'sigma2_U' is not defined"),
    "attribute.py:own": (HEAD + "    data.K\n" + REST, "attribute.py line 10: AttributeError: 'RotatedData'"),
    "column.py:own": (
        HEAD + REST.replace("data.Y[:, 0]", "data.Y"),
        "what the site 'y' observes has shape (30, 1), but its distribution (30,): they must be the same",
    ),
    "shapes.py:own": (HEAD + REST.replace("data.X[:, 0]", "data.X[:3, 0]"), "shapes.py line 12: Type"),
    "prior.py:own": (HEAD + REST.replace(", obs=data.Y[:, 0]", ""), "prior.py:own observes nothing: numpyro.sample("),
    "empty.py:own": ("def own(data):\n    pass\n", "empty.py:own samples nothing: "),
    "discrete.py:own": (
        HEAD + REST + '    numpyro.sample("k", dist.Poisson(3.0))\n',
        "the site 'k' is discrete, and NUTS samples continuous ones",
    ),
    "slash.py:own": (
        HEAD + REST + '    numpyro.deterministic("a/b", mean)\n',
        "the name of the site 'a/b' contains a /, which ArviZ reserves for groups",
    ),
    "nowhere.py:own": (
        HEAD + REST + '    numpyro.factor("wall", -jnp.inf)\n',
        "nowhere.py: no values were found at which the program has a finite density, in 100 random tries",
    ),
    "dims.py:model": (
        HEAD.replace("own(", "model(") + REST + 'DIMS = {"mean": ["a", "b"]}\n\n\ndef start(data):\n    '
        'return {"sigma2_u": 1.0, "sigma2_e": 1.0, "mean": 0.0}\n',
        "DIMS says ['a', 'b'] of the site 'mean', whose shape is ()",
    ),
    "sizes.py:model": (
        HEAD.replace("own(", "model(") + REST + '    numpyro.deterministic("Z", jnp.ones(3))\n'
        'DIMS = {"Z": ["trait"]}\n\n\ndef start(data):\n    return {"sigma2_u": 1.0, "sigma2_e": 1.0, "mean": 0.0}\n',
        "DIMS says ['trait'] of the site 'Z', whose shape is (3,); trait has 1",
    ),
    "three.py:own": (
        HEAD + REST.replace("one_trait.univariate(data.s, data.X[:, 0] * mean, sigma2_u, sigma2_e)",
                            "dist.Normal(mean * jnp.ones(3), sigma2_e)"),
        "what the site 'y' observes has shape (30,), but its distribution (3,): they must be the same",
    ),
    "form.py:model": (
        HEAD.replace("own(", "model(") + REST + "DIMS = {}\n\n\ndef start(data):\n    "
        'return {"sigma2_u": jnp.ones(30), "sigma2_e": 1.0, "mean": 0.0}\n',
        "start(data) gives 'sigma2_u' the shape (30,), but the site has ()",
    ),
    "outside.py:model": (
        HEAD.replace("own(", "model(") + REST + "DIMS = {}\n\n\ndef start(data):\n    "
        'return {"sigma2_u": -1.0, "sigma2_e": 1.0, "mean": 0.0}\n',
        "outside.py:model fails at the values of start(data): Normal distribution got invalid scale parameter",
    ),
    "above.py:model": (
        HEAD.replace("own(", "model(").replace("HalfNormal(2.0)", "Uniform(0.0, 2.0)") + REST + "DIMS = {}\n\n\n"
        'def start(data):\n    return {"sigma2_u": 3.0, "sigma2_e": 1.0, "mean": 0.0}\n',
        "start(data) gives 'sigma2_u' the value 3.0, outside its support",
    ),
    "start.py:model": (
        HEAD.replace("own(", "model(") + REST + "DIMS = {}\n\n\ndef start(data):\n    return {'mean': 0.0}\n",
        "start(data) must return a value of each sampled site, but lacks 'sigma2_u'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("reference", WRONG)
def test_wrong_programs_are_one_line(toy, write, capsys, monkeypatch, reference):
    base, folder = toy
    monkeypatch.chdir(folder)
    text, message = WRONG[reference]
    if text is not None:
        write(reference.partition(":")[0], text)
    own = ["--model", reference, "--methods", "nuts"]
    assert main(["h2", *base, "--trait", "x", *own]) == 2
    assert not (folder / "out").exists()
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--methods", "reml"], "own.py:own requires --methods nuts"),
        (["--methods", "nuts", "--prior-h2", "2", "2"], "--prior-h2 applies to programs that take a prior"),
    ],
)
def test_options_that_nobody_would_look_at_are_refused(toy, write, capsys, options, message):
    base, _ = toy
    assert main(["h2", *base, "--trait", "x", "--model", f"{write('own.py', HEAD + REST)}:own", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_copy_of_our_program_gets_the_prior_of_the_options(toy, capsys):
    """Beta(3000, 7000) has a mean of 0.3 and an sd of 0.005, and leaves the data nothing to say."""
    base, folder = toy
    shutil.copy(ROOT / "models" / "univariate.py", folder / "copied.py")
    options = ["--methods", "nuts", "--prior-h2", "3000", "7000", "--chains", "2", "--draws", "200", "--warmup", "300"]
    options += ["--normalise"]
    own = ["--model", f"{folder / 'copied.py'}:model", "--out", str(folder / "copied")]
    assert main(["h2", *base, "--trait", "x", *own, *options]) in (0, 3)
    assert "copied.py:model, with its own dimensions and starting values; the prior of" in capsys.readouterr().out
    with xr.open_datatree(folder / "copied" / "x.posterior.nc", engine="h5netcdf") as draws:
        assert abs(float(draws["posterior"]["h2"].mean()) - 0.3) < 0.005
