"""`bayeslmm h2` with a kinship that is multiplied with and never held: against the matrix of the same files."""

import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.commands.main import main
from bayeslmm.commands.products_choice import matrix_bytes
from bayeslmm.kinship.genotype_products import GenotypeProducts
from bayeslmm.kinship.kept_products import KeptProducts
from conftest import GRYPHON, MOUSE

FAST = ("--methods", "reml", "exact", "--no-plots")


@pytest.fixture(scope="module")
def families(tmp_path_factory):
    """240 people in families of three: genotypes, their .grm.bin, a table of two traits, the second with gaps."""
    rng = np.random.default_rng(8)
    folder = tmp_path_factory.mktemp("families")
    n, p = 240, 400
    f = rng.uniform(0.1, 0.5, p)
    parents = rng.uniform(size=(2, n // 3, p, 2)) < f[:, None]
    G = sum(
        np.repeat(one, 3, axis=0)[np.arange(n)[:, None], np.arange(p), rng.integers(0, 2, (n, p))] for one in parents
    )
    G = np.where(rng.uniform(size=(n, p)) < 0.02, np.nan, G.astype(float))
    iids = [f"p{i}" for i in range(n)]
    properties = {"fid": [f"f{i // 3}" for i in range(n)], "iid": iids, "chromosome": ["1"] * p}
    to_bed(folder / "x.bed", G, properties=properties)
    kinship = bl.genomic_kinship(folder / "x")
    bl.write_grm(kinship, folder / "x")
    root = np.linalg.cholesky(kinship.K + 1e-6 * np.eye(n))
    y, z = (root @ rng.standard_normal(n) + rng.standard_normal(n) for _ in range(2))
    table = pd.DataFrame({"IID": iids, "y": y, "z": np.where(rng.uniform(size=n) < 0.1, np.nan, z), "w": z})
    table["age"] = rng.integers(20, 60, n)
    table.to_csv(folder / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    return folder


def h2(out, *arguments, code=0):
    assert main(["h2", *map(str, arguments), "--out", str(out)]) == code
    return pd.read_csv(out / "estimates.tsv", sep="\t") if code == 0 else None


def of_table(folder, *traits):
    return ["--pheno", folder / "pheno.tsv", "--trait", *traits, *FAST]


def check_near(by_products, by_matrix, *, wanted=0.02):
    """The posterior mean is within the stated error, and no digit that is printed of the rest differs by more."""
    keys = ["trait", "method", "parameter"]
    one, other = (found.set_index(keys) for found in (by_products, by_matrix))
    assert one.index.tolist() == other.index.tolist()
    for trait, method, name in one.index:
        found, exact = one.loc[(trait, method, name)], other.loc[(trait, method, name)]
        if method == "exact" and name == "h2":
            stated = found["note"].split("products with K: ")[1].split(" posterior sd")[0]
            stated = float(stated.removeprefix("below "))
            assert stated <= wanted
            assert abs(found["estimate"] - exact["estimate"]) < 3 * stated * exact["se"]
        if np.isfinite(exact["se"]):
            assert abs(found["estimate"] - exact["estimate"]) < 0.1 * exact["se"], name
            assert_allclose(found["se"], exact["se"], rtol=0.03)


@pytest.mark.parametrize("source", ["bfile", "grm"])
def test_both_ways_agree(families, tmp_path, capsys, source):
    arguments = [f"--{source}", families / "x", *of_table(families, "y", "w", "z"), "--covariates", "age"]
    by_products = h2(tmp_path / "products", *arguments, "--kinship-as", "products")
    printed = capsys.readouterr().out
    check_near(by_products, h2(tmp_path / "matrix", *arguments))
    assert "2 sets of individuals, as traits are missing in different ones" in printed
    assert "y, w of 240 individuals by products: 37 columns a pass, which takes" in printed
    assert printed.count("Monte Carlo error of") == 3
    record = json.loads((tmp_path / "products" / "run.json").read_text())
    assert record["kinship"]["taken_as"] == "products: asked for"
    of_matrix = json.loads((tmp_path / "matrix" / "run.json").read_text())
    assert of_matrix["kinship"]["taken_as"] == "matrix"
    about, exact = record["traits"]["y"], of_matrix["traits"]["y"]
    assert about["probe_error"] <= about["probe_error_wanted"] == 0.02
    assert_allclose([about["k_scale"], about["mean_diagonal"]], [exact["k_scale"], exact["mean_diagonal"]], rtol=1e-6)
    assert about["n"] == exact["n"]
    assert not (tmp_path / "products" / "products").exists()
    if source == "bfile":
        assert record["kinship"]["markers"] == of_matrix["kinship"]["markers"]
    assert "Monte Carlo error" in (tmp_path / "products" / "report.html").read_text()


def test_pedigree_with_selection_centred_and_normalised(tmp_path):
    keep = tmp_path / "keep"
    pheno = bl.read_table(GRYPHON / "pheno.tsv")
    keep.write_text("\n".join(pheno.ids[:700]) + "\n")
    arguments = ["--pedigree", GRYPHON / "pedigree.csv", "--pheno", GRYPHON / "pheno.tsv", "--trait", "BWT", *FAST]
    arguments += ["--keep", keep, "--centre", "--normalise"]
    by_products = h2(tmp_path / "a", *arguments, "--kinship-as", "products", "--probe-error", "0.01")
    check_near(by_products, h2(tmp_path / "b", *arguments), wanted=0.01)
    one, other = (json.loads((tmp_path / name / "run.json").read_text()) for name in "ab")
    assert one["kinship"]["selection"] == other["kinship"]["selection"]
    assert_allclose(one["traits"]["BWT"]["mean_diagonal"], 1, rtol=1e-9)
    assert_allclose(one["traits"]["BWT"]["k_scale"], other["traits"]["BWT"]["k_scale"], rtol=1e-9)


@pytest.mark.slow
def test_mice_with_principal_components_and_draws(tmp_path):
    arguments = ["--bfile", MOUSE / "mouse_hs1940", "--pheno", MOUSE / "pheno.tsv", "--trait", "CD8", "--pcs", "3"]
    by_products = h2(tmp_path / "a", *arguments, "--kinship-as", "products", "--methods", "reml", "exact", "nuts")
    by_matrix = h2(tmp_path / "b", *arguments, "--no-plots", "--methods", "reml", "exact")
    of_pcs = by_products["parameter"].str.contains("PC")
    for frame in (by_products, by_matrix):  # an eigenvector has no sign
        pcs = frame["parameter"].str.contains("PC")
        frame.loc[pcs, "estimate"] = frame.loc[pcs, "estimate"].abs()
    check_near(by_products[by_products["method"] != "nuts"], by_matrix)
    assert of_pcs.sum() == 9
    draws = xr.open_datatree(tmp_path / "a" / "CD8.posterior.nc", engine="h5netcdf")
    assert 0 < draws.attrs["probe_error"] <= draws.attrs["probe_error_wanted"] == 0.02
    assert draws.attrs["n"] == 1410
    assert not (tmp_path / "a" / "CD8.fit.svg").exists()
    assert (tmp_path / "a" / "CD8.h2.svg").exists()


def test_products_are_taken_where_a_matrix_does_not_fit(families, tmp_path, capsys, monkeypatch):
    needed = matrix_bytes(240, 240)
    arguments = ["--bfile", families / "x", *of_table(families, "y")]
    monkeypatch.setattr("bayeslmm.commands.products_choice.available", lambda: needed)
    h2(tmp_path / "matrix", *arguments)
    assert json.loads((tmp_path / "matrix" / "run.json").read_text())["kinship"]["taken_as"] == "matrix"
    monkeypatch.setattr("bayeslmm.commands.products_choice.available", lambda: needed - 1)
    capsys.readouterr()
    h2(tmp_path / "products", *arguments)
    why = "K of 240 individuals as a matrix, with eigenvectors of 240, needs 0.0023 GB of memory"
    assert why in capsys.readouterr().out
    assert why in json.loads((tmp_path / "products" / "run.json").read_text())["kinship"]["taken_as"]
    assert why in (tmp_path / "products" / "report.html").read_text()
    h2(tmp_path / "no", *arguments, "--eigen", tmp_path / "e.npz", code=2)
    error = capsys.readouterr().err
    assert "and products cannot take the place of a matrix: --eigen keeps a decomposition" in error
    h2(tmp_path / "asked", *arguments, "--kinship-as", "matrix")


@pytest.mark.parametrize("pcs", [0, 2])
def test_a_run_that_was_stopped_goes_on_with_the_same_digits(families, tmp_path, capsys, monkeypatch, pcs):
    arguments = ["--bfile", families / "x", *of_table(families, "y", "z"), "--pcs", pcs, "--kinship-as", "products"]
    h2(tmp_path / "whole", *arguments)
    multiply, made = GenotypeProducts.__matmul__, []

    def stopped(self, V):
        if len(made) == stop:
            raise KeyboardInterrupt
        made.append(V.shape[1])
        return multiply(self, V)

    monkeypatch.setattr(GenotypeProducts, "__matmul__", stopped)
    stop, out = 3, tmp_path / "out"
    h2(out, *arguments, code=130)
    assert len(list((out / "products").glob("*.product"))) == 3
    capsys.readouterr()
    assert main(["h2", *map(str, arguments), "--out", str(out)]) == 2
    assert "continue with --resume" in capsys.readouterr().err
    assert main(["h2", *map(str, arguments), "--maf", "0.02", "--out", str(out), "--resume"]) == 2
    assert "is of another run, with maf 0.01 where it is 0.02 now" in capsys.readouterr().err
    assert main(["h2", *map(str, arguments[:-2]), "--methods", "em", "--out", str(out), "--resume"]) == 2
    assert "the run that was stopped multiplied with K, and products cannot" in capsys.readouterr().err
    stop = -1
    h2(out, *arguments, "--resume")
    assert "3 products of the run that was stopped are read" in capsys.readouterr().out
    assert (out / "estimates.tsv").read_bytes() == (tmp_path / "whole" / "estimates.tsv").read_bytes()
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in (tmp_path / "whole").iterdir())


def test_products_in_files_are_those_of_the_same_columns(tmp_path, rng, plink):
    K, V = bl.genotype_products(plink[0]), rng.standard_normal((30, 3))
    first, again, other = (KeptProducts(K, tmp_path) for _ in range(3))
    product = first @ V
    assert_allclose(product, K @ V, rtol=0)
    assert_allclose(again @ V, product, rtol=0)
    with pytest.warns(InputWarning, match="is the product of other columns"):
        assert_allclose(other @ (2 * V), K @ (2 * V), rtol=0)
    assert_allclose(again.diagonal(), K.diagonal(), rtol=0)
    assert again.details == K.details
    (path,) = tmp_path.glob("*.product")
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(InputError, match="does not match its checksum: delete it, and resume"):
        _ = KeptProducts(K, tmp_path) @ V


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "em"], "--methods em needs the eigenvectors of all individuals: choose among reml, ml, mom"),
        (["--methods", "threshold"], "--methods threshold needs the eigenvectors of all individuals"),
        (["--methods", "mom", "--mom-se", "jackknife"], "--mom-se jackknife leaves out parts of the matrix"),
        (["--eigen", "e.npz"], "--eigen keeps a decomposition, and there is none"),
        (["--grm-cutoff", "0.1"], "--grm-cutoff looks at each pair: choose the individuals with --keep"),
        (["--methods", "nuts", "--model", "m.py:f"], "the program of --model takes a row for each individual"),
        (["--methods", "nuts", "--draws-groups", "log_likelihood"], "--draws-groups log_likelihood is of a row"),
        (["--random", "age"], "several components of variance"),
        (["--probe-error", "0"], "--probe-error must be a number above 0, but 0 was given"),
    ],
)
def test_what_needs_a_matrix_is_refused(families, tmp_path, capsys, arguments, message):
    base = ["--bfile", families / "x", "--pheno", families / "pheno.tsv", "--trait", "y", "--kinship-as", "products"]
    h2(tmp_path / "out", *base, *arguments, code=2)
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_matrix_in_text_cannot_be_multiplied_with(families, tmp_path, capsys):
    h2(tmp_path / "out", "--kinship", "K.txt", *of_table(families, "y"), "--kinship-as", "products", code=2)
    assert "--kinship-as products: --kinship is read whole: give genotypes" in capsys.readouterr().err


def test_no_room_is_told_before_the_work(families, tmp_path, capsys, monkeypatch):
    arguments = ["--bfile", families / "x", *of_table(families, "y"), "--kinship-as", "products"]
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 1e6)
    h2(tmp_path / "a", *arguments, code=2)
    assert "y of 240 individuals by products needs" in capsys.readouterr().err
    monkeypatch.undo()
    disk = type("Usage", (), {"free": 1000})
    monkeypatch.setattr("bayeslmm.commands.products_forecast.shutil.disk_usage", lambda path: disk)
    h2(tmp_path / "b", *arguments, code=2)
    assert "products of this run need up to 0.00" in capsys.readouterr().err
