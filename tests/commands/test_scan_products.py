"""`bayeslmm scan --loco` with a kinship that is multiplied with: against the scan in eigenbases of the same files."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.commands import scan_cohort
from bayeslmm.commands.main import main
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.kinship.from_genotypes import without
from bayeslmm.kinship.genotype_products import GenotypeProducts
from bayeslmm.kinship.left_out_products import LeftOutProducts
from bayeslmm.kinship.marker_pass import ThisProcess
from bayeslmm.scan.fixed import fixed_scan

pytestmark = pytest.mark.slow

PER = 150
MARKER = ("chrom", "snp", "pos", "a1", "a0", "af", "n", "n_miss")
CHROMOSOMES = ("1", "2", "3", "X")


@pytest.fixture(scope="module")
def people(tmp_path_factory):
    """300 people, three autosomes and X, two traits, a covariate."""
    rng, folder = np.random.default_rng(5), tmp_path_factory.mktemp("people")
    n, p = 300, PER * len(CHROMOSOMES)
    G = rng.binomial(2, rng.uniform(0.1, 0.5, p), (n, p)).astype(float)
    y = (G - G.mean(axis=0)) @ rng.standard_normal((p, 2)) / 25 + rng.standard_normal((n, 2))
    G[rng.uniform(size=G.shape) < 0.01] = np.nan
    ids = [f"p{i}" for i in range(n)]
    properties = {
        "fid": ids,
        "iid": ids,
        "chromosome": np.repeat(CHROMOSOMES, PER),
        "bp_position": np.arange(p) + 1,
    }
    to_bed(folder / "x.bed", G, properties=properties)
    table = pd.DataFrame({"IID": ids, "a": 9 + 3 * y[:, 0], "b": y[:, 1], "age": rng.integers(20, 60, n)})
    table.loc[[3, 40]] = table.loc[[3, 40]].assign(a=np.nan, b=np.nan)
    table.to_csv(folder / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    return folder


def scan(folder, out, *options, traits=("a",), code=0):
    inputs = ["--bfile", folder / "x", "--pheno", folder / "pheno.tsv", "--covariates", "age", "--trait", *traits]
    assert main(["scan", *map(str, inputs), "--out", str(out), "--no-plots", *options]) == code


LOCO = ("--loco", "--test", "null")
BY_PRODUCTS = (*LOCO, "--kinship-as", "products")


def table(out, trait):
    return pd.read_csv(out / f"{trait}.scan.tsv", sep="\t", dtype={"chrom": str})


@pytest.fixture(scope="module")
def by_products(people, tmp_path_factory):
    """A scan of two traits."""
    out = tmp_path_factory.mktemp("scan") / "products"
    scan(people, out, *BY_PRODUCTS, "--ols", traits=("a", "b"))
    return out


def dense_chi2(people, trait):
    """Wald chi-squares in the eigenbasis of K without each chromosome, at the ratio of REML with the whole of K."""
    kinship, of_k = bl.genomic_kinship(people / "x"), bl.open_genotypes(people / "x")
    (cohort,) = bl.align(kinship, bl.measure(bl.read_table(people / "pheno.tsv"), [trait], covariates=["age"]))
    rows = of_k.rows(cohort.ids)
    h2 = bl.reml(bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)).h2
    found = []
    for i in range(len(CHROMOSOMES)):
        span = range(PER * i, PER * (i + 1))
        K = cohort.K if CHROMOSOMES[i] == "X" else without(kinship, of_k, span).K[np.ix_(rows, rows)]
        spectrum = bl.decompose(K)
        (block,) = dosages(of_k, rows, [span])
        (test,) = fixed_scan(spectrum.rotate(cohort.Y, cohort.X), h2).test([spectrum.U.T @ block.G])
        found.append((test.beta[:, 0] / test.se[:, 0]) ** 2)
    return np.concatenate(found)


def test_both_ways_agree(people, by_products, tmp_path):
    """At the same ratio calibration alone differs; the command with matrices has a ratio for each chromosome."""
    scan(people, tmp_path / "matrix", *LOCO, "--ols", traits=("a", "b"))
    for trait in ("a", "b"):
        found, expected = (table(out, trait) for out in (by_products, tmp_path / "matrix"))
        assert list(found) == list(expected)
        exactly = [name for name in expected if name in MARKER or name.endswith("_ols")]
        pd.testing.assert_frame_equal(found[exactly], expected[exactly], rtol=1e-6)
        chi2, dense = (found["beta"] / found["se"]) ** 2, dense_chi2(people, trait)
        assert np.corrcoef(chi2, dense)[0, 1] > 0.999
        assert abs(chi2.mean() / dense.mean() - 1) < 0.01
        about = json.loads((by_products / "run.json").read_text())["traits"][trait]["calibration"]
        assert about["markers"] == 96
        assert about["residual"] <= 1e-5
        assert_allclose(about["error"], about["spread"] / np.sqrt(96))
        page = (by_products / "report.html").read_text()
        assert f"{about['passes']} passes for V^-1 y" in page
    assert not (by_products / "products").exists()


def test_a_scan_that_was_stopped_goes_on(people, by_products, tmp_path, capsys, monkeypatch):
    """In the passes for V^-1 y, and again while markers are tested: no pass and no block twice, the same digits."""
    passes, blocks = [], []
    product, write = LeftOutProducts._product, scan_cohort.Parts.write

    def third_fails(self, V, out):
        passes.append(len(out))
        if len(passes) == 3:
            raise KeyboardInterrupt
        return product(self, V, out)

    def second_fails(self, number, rows):
        blocks.append(number)
        if len(blocks) == 2:
            raise KeyboardInterrupt
        write(self, number, rows)

    monkeypatch.setattr(LeftOutProducts, "_product", third_fails)
    monkeypatch.setattr(scan_cohort.Parts, "write", second_fails)
    arguments = (people, tmp_path / "out", *BY_PRODUCTS, "--ols")
    scan(*arguments, traits=("a", "b"), code=130)
    capsys.readouterr()
    scan(*arguments, "--resume", traits=("a", "b"), code=130)
    printed = capsys.readouterr().out
    assert "products of the run that was stopped are read" in printed
    assert "no unfinished" not in printed
    about = json.loads((by_products / "run.json").read_text())["traits"]["a"]["calibration"]
    assert len(passes) == about["passes"] + 1
    monkeypatch.setattr(GenotypeProducts, "__matmul__", None)  # all are kept
    scan(*arguments, "--resume", traits=("a", "b"))
    assert blocks == [0, 1, 1, 2, 3]
    for name in ("a.scan.tsv", "b.scan.tsv", "top.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (by_products / name).read_bytes()


def test_workers_make_the_same_scan(people, by_products, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(ThisProcess, "parts", None)  # no pass is made here
    scan(people, tmp_path / "out", *BY_PRODUCTS, "--ols", "--cluster", "local", "--threads", "2", traits=("a", "b"))
    assert "--cluster local: 2 parts of a pass over genotypes are made at a time" in capsys.readouterr().out
    for trait in ("a", "b"):  # blocks of markers that one thread or two multiply differ by rounding in float32
        found, expected = (table(out, trait) for out in (tmp_path / "out", by_products))
        pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)


def test_components_and_a_choice_of_people_are_those_of_the_matrix(people, tmp_path):
    """--pcs, --keep and --columns: effects of the same sign on the same people, in the columns that were asked for."""
    kept = people / "kept.txt"
    kept.write_text("".join(f"p{i}\tp{i}\n" for i in range(20, 270)))
    chosen = (*LOCO, "--keep", str(kept), "--pcs", "2")
    scan(people, tmp_path / "a", *chosen, "--kinship-as", "products", "--columns", "ldsc")
    scan(people, tmp_path / "b", *chosen, "--format", "parquet")
    found = pd.read_csv(tmp_path / "a" / "a.sumstats.gz", sep="\t").set_index("SNP")
    expected = pd.read_parquet(tmp_path / "b" / "a.scan.parquet").set_index("snp")
    assert list(found) == ["A1", "A2", "N", "Z", "P"]
    assert found.index.equals(expected.index)
    assert (found["N"] == expected["n"]).all()
    assert found["N"].max() == 249  # 250 were kept, and one of them lacks the trait
    # The matrix of each left-out chromosome has a variance ratio of its own, and a third of the markers is left out.
    assert np.corrcoef(found["Z"], expected["beta"] / expected["se"])[0, 1] > 0.99


def test_what_calibration_leaves_open_is_told(people, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bayeslmm.commands.scan_products._MOST_ERROR", 0.0)
    monkeypatch.setattr("bayeslmm.commands.products_forecast._PATIENCE", 0.0)
    scan(people, tmp_path / "out", *BY_PRODUCTS)
    error = json.loads((tmp_path / "out" / "run.json").read_text())["traits"]["a"]["calibration"]
    told = f"calibrated on 96 markers, has a standard error of {100 * error['error'] / error['ratio']:.2g}%"
    printed = capsys.readouterr()
    assert told in " ".join(printed.err.split())
    left = re.findall(r"after (\d+) passes, .*: (\S+) of V\^-1 y is left \(until 1e-05\)", printed.out)
    assert [int(number) for number, _ in left] == list(range(1, error["passes"] + 1))
    assert float(left[-1][1]) <= 1e-5 < float(left[-2][1])
    assert re.search(r"after \d+ passes, .*: Monte Carlo error \S+ posterior sd of h2 \(0.02 asked for\)", printed.out)


def test_a_disk_without_room_is_told_first(people, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bayeslmm.commands.scan_products._USUAL", (5, 10**12))
    scan(people, tmp_path / "out", *BY_PRODUCTS, code=2)
    assert "products of this run need up to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--test", "null"], "need its eigenvectors: give --loco"),
        (["--loco"], "--test exact, the default, estimates the variance ratio with each marker: give --test null"),
        ([*LOCO, "--interaction", "age"], "--interaction needs the eigenvectors"),
        ([*LOCO, "--covariate-effects"], "--covariate-effects needs the eigenvectors"),
        ([*LOCO, "--posterior", "sid4"], "--posterior needs the eigenvectors"),
        ([*LOCO, "--normalise"], "--normalise changes the matrix"),
        ([*LOCO, "--chr", "1"], "all markers used are on one chromosome"),
    ],
)
def test_what_products_cannot_do_is_refused(people, tmp_path, capsys, options, message):
    scan(people, tmp_path / "out", *options, "--kinship-as", "products", code=2)
    assert message in capsys.readouterr().err


def test_products_are_chosen_where_matrices_do_not_fit(people, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("bayeslmm.commands.products_choice.matrix_bytes", lambda *_: 1e18)
    scan(people, tmp_path / "out", *LOCO)
    assert "it is multiplied with, and never held" in capsys.readouterr().out
    assert "products: " in json.loads((tmp_path / "out" / "run.json").read_text())["kinship"]["taken_as"]
