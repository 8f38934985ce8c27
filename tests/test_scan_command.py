"""The command from files to files."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed, to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm import exact, scan_command
from bayeslmm.cli import main
from bayeslmm.genotypes import open_genotypes
from bayeslmm.kinship import without
from bayeslmm.scan_table import COLUMNS

MARKERS = 60


@pytest.fixture
def cohort(tmp_path, rng, monkeypatch):
    """80 people, 60 markers on 3 chromosomes, two traits, one with missing values; blocks of 16 markers."""
    monkeypatch.setattr(scan_command, "BLOCK", 16)
    n = 80
    G = rng.binomial(2, rng.uniform(0.2, 0.5, MARKERS), (n, MARKERS)).astype(float)
    G[rng.uniform(size=G.shape) < 0.01] = np.nan
    ids = [f"p{i}" for i in range(n)]
    chrom = np.repeat(["1", "2", "X"], MARKERS // 3)
    properties = {"fid": ids, "iid": ids, "chromosome": chrom, "bp_position": np.arange(MARKERS) + 1}
    to_bed(tmp_path / "x.bed", G, properties=properties)
    y = np.nan_to_num(G - 1) @ rng.standard_normal((MARKERS, 2)) / 5 + rng.standard_normal((n, 2))
    table = pd.DataFrame({"IID": ids, "a": y[:, 0], "b": y[:, 1], "age": rng.uniform(20, 60, n)})
    table.loc[[3, 40], "b"] = np.nan
    table.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    return tmp_path


def scan(folder, *options, out="out", traits=("a",)):
    inputs = ["--bfile", str(folder / "x"), "--pheno", str(folder / "pheno.tsv"), "--trait", *traits]
    code = main(["scan", *inputs, "--out", str(folder / out), *options])
    return code, folder / out


def refused(capsys, code):
    assert code == 2
    return capsys.readouterr().err


def test_scan_writes_its_table_and_pictures(cohort, capsys):
    code, out = scan(cohort, "--covariates", "age", "--posterior", "sid4", "--posterior-top", "1", traits=("a", "b"))
    assert code == 0
    table = pd.read_csv(out / "scan.tsv", sep="\t", dtype={"chrom": str})
    assert list(table.columns) == COLUMNS
    sizes = table.groupby("trait", sort=False).size()
    assert table.notna().all(axis=None)
    assert sorted(path.name for path in out.iterdir()) == [
        "a.png", "b.png", "effects.tsv", "run.json", "scan.tsv", "top.tsv",
    ]  # fmt: skip
    # One marker by hand: the model with it as a covariate.
    people = bl.measure(bl.read_table(cohort / "pheno.tsv"), ["a"], covariates=["age"])
    (one,) = bl.align(bl.genomic_kinship(cohort / "x"), people)
    (block,) = scan_command.dosages(open_genotypes(cohort / "x"), np.arange(80), [range(3, 4)])
    data = bl.decompose(one.K).rotate(one.Y, np.column_stack([one.X, block.G]))
    fit, row = bl.reml(data), table[(table["trait"] == "a") & (table["snp"] == "sid4")].iloc[0]
    assert_allclose([row["beta"], row["se"]], [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)
    effects = pd.read_csv(out / "effects.tsv", sep="\t").query("snp == 'sid4' and trait == 'a'").iloc[0]
    posterior = exact.posterior(data)
    assert_allclose([effects["mean"], effects["sd"]], [posterior.beta[-1], posterior.se_beta[-1]], rtol=1e-6)
    assert effects["lower"] < effects["mean"] < effects["upper"]
    top = pd.read_csv(out / "top.tsv", sep="\t")
    assert top.groupby("trait")["p_wald"].apply(lambda p: p.is_monotonic_increasing).all()
    record = json.loads((out / "run.json").read_text())
    for trait in ("a", "b"):
        markers = record["traits"][trait]["markers"]
        assert markers["read"] == MARKERS
        assert markers["kept"] == sizes[trait] == MARKERS - markers["above_missing"] > 50
    assert record["traits"]["b"]["n"] == 78
    said = capsys.readouterr().out
    assert "a: 60 of 60 markers tested" in said
    assert "posterior of sid4 on a" in said


def test_optional_columns(cohort):
    _, out = scan(cohort, "--test", "null", "--ols", "--covariate-effects", "--covariates", "age")
    table = pd.read_csv(out / "scan.tsv", sep="\t")
    assert list(table.columns) == [*COLUMNS, "beta_ols", "se_ols", "p_ols", "alpha_intercept", "alpha_age"]
    assert table["delta"].nunique() == 1
    assert table.notna().all(axis=None)


def test_parquet_holds_the_same(cohort):
    _, out = scan(cohort, traits=("a", "b"))
    _, other = scan(cohort, "--format", "parquet", out="parquet", traits=("a", "b"))
    text, binary = (
        pd.read_csv(out / "scan.tsv", sep="\t", dtype={"chrom": str}),
        pd.read_parquet(other / "scan.parquet"),
    )
    assert list(text.columns) == list(binary.columns)
    for name in COLUMNS:
        if text[name].dtype.kind == "f":
            assert_allclose(binary[name], text[name], rtol=1e-7)
        else:
            assert (binary[name] == text[name]).all()


class Killed(BaseException):
    """As if the process ended."""


@pytest.mark.parametrize("options", [[], ["--loco"], ["--format", "parquet", "--test", "null"]])
def test_a_scan_that_was_killed_goes_on_where_it_was(cohort, monkeypatch, options):
    traits = ("a", "b")
    name = "scan.parquet" if "parquet" in options else "scan.tsv"
    _, whole = scan(cohort, *options, out="whole", traits=traits)
    tested = []
    write = scan_command.Parts.write

    def until_killed(self, number, table):
        if len(tested) == 5:
            raise Killed
        tested.append(number)
        write(self, number, table)

    monkeypatch.setattr(scan_command.Parts, "write", until_killed)
    with pytest.raises(Killed):
        scan(cohort, *options, out="killed", traits=traits)
    first, out = list(tested), cohort / "killed"
    assert not (out / name).exists()

    def on(self, number, table):
        tested.append(number)
        write(self, number, table)

    monkeypatch.setattr(scan_command.Parts, "write", on)
    code, _ = scan(cohort, "--resume", *options, out="killed", traits=traits)
    assert code == 0
    assert len(tested) == len(set(tested))  # no block twice
    assert set(first) < set(tested)
    for file in (name, "top.tsv"):
        assert (out / file).read_bytes() == (whole / file).read_bytes()
    assert not (out / "scan.parts").exists()


def test_an_unfinished_scan_is_neither_lost_nor_mixed_up(cohort, monkeypatch, capsys):
    def killed(self, number, table):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(scan_command.Parts, "write", killed)
        with pytest.raises(Killed):
            scan(cohort)
    code, _ = scan(cohort)
    assert "holds a scan that was not finished: go on with --resume" in refused(capsys, code)
    code, _ = scan(cohort, "--resume", "--test", "null")
    assert "is of another scan, with test exact where it is null now" in refused(capsys, code)
    pheno = cohort / "pheno.tsv"
    pheno.write_text(pheno.read_text().replace("\t2", "\t3", 1))
    code, _ = scan(cohort, "--resume")
    assert "is of another scan, with files" in refused(capsys, code)


def test_loco_tests_each_chromosome_against_the_others(cohort):
    _, out = scan(cohort, "--loco")
    table = pd.read_csv(out / "scan.tsv", sep="\t", dtype={"chrom": str}).set_index("snp")
    genotypes = open_genotypes(cohort / "x")
    everything = bl.genomic_kinship(genotypes)
    left = without(everything, genotypes, range(20, 40))
    # The same from the markers of the others, as plink would write them.
    with open_bed(cohort / "x.bed") as bed:
        others = np.r_[0:20, 40:60]
        people = {"fid": bed.iid, "iid": bed.iid, "chromosome": bed.chromosome[others]}
        to_bed(cohort / "others.bed", bed.read()[:, others], properties=people)
    assert_allclose(left.K, bl.genomic_kinship(cohort / "others").K, atol=2e-6)
    people = bl.measure(bl.read_table(cohort / "pheno.tsv"), ["a"])
    (one,) = bl.align(left, people)
    (block,) = scan_command.dosages(genotypes, np.arange(80), [range(30, 31)])
    fit = bl.reml(bl.decompose(one.K).rotate(one.Y, np.column_stack([one.X, block.G])))
    assert_allclose(table.loc["sid31", ["beta", "se"]].astype(float), [fit.beta[-1], fit.se_beta[-1]], rtol=1e-5)


def test_a_kinship_from_elsewhere(cohort):
    bl.write_grm(bl.genomic_kinship(cohort / "x"), cohort / "k")
    _, own = scan(cohort)
    _, given = scan(cohort, "--grm", str(cohort / "k"), out="given")
    mine, theirs = (pd.read_csv(out / "scan.tsv", sep="\t") for out in (own, given))
    assert_allclose(mine["p_wald"], theirs["p_wald"], rtol=1e-4)  # a .grm.bin is in float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--loco", "--grm", "k"], "--loco computes its kinships from --bfile"),
        (["--loco", "--eigen", "e.npz"], "--eigen holds one decomposition"),
        (["--covariate-effects"], "--covariate-effects needs --test null"),
        (["--prior-effect", "0"], "--prior-effect must be above 0, but 0 was given"),
        (["--posterior-top", "-1"], "--posterior-top must be at least 0"),
        (["--posterior", "rs1"], "--posterior rs1: .*has none of this name, but sid1, sid2, sid3 and 57 more"),
        (["--maf", "0.7"], "maf must be at least 0 and below 0.5"),
        (["--maf", "0.499999"], "no marker is left of 60"),
        (["--grm", "k", "--scale", "sample"], "--scale is about genotypes"),
    ],
)
def test_options_that_cannot_work_are_refused(cohort, capsys, options, message):
    code, _ = scan(cohort, *options)
    error = refused(capsys, code)
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_one_chromosome_leaves_nothing_to_loco(cohort, capsys):
    bim = cohort / "x.bim"
    bim.write_text("".join(f"7\t{line.split(chr(9), 1)[1]}\n" for line in bim.read_text().splitlines()))
    code, _ = scan(cohort, "--loco")
    assert "all markers used are on one chromosome" in refused(capsys, code)
