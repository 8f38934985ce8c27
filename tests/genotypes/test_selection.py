import json

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.genotypes.selection import Selection

IDS = ["a", "b", "c", "d"]
VARIANTS = pd.DataFrame({"chrom": ["1", "chr2", "X", "MT", "1"], "snp": ["s1", "s2", "s3", "s4", "s2"]})


@pytest.mark.parametrize(
    "text",
    [
        "a\nc\n",
        "#IID\nc\na\n",
        "f a\nf c\n",
        "#FID IID\nf c\nf a\n",
        "#IID SID\na x\nc y\n",
        "FID\tIID\nf\tc\nf\ta\n",
        "\na\r\nc\na\n",
    ],
)
def test_individuals_are_named_by_iid_or_by_fid_and_iid(write, text):
    path = write("ids.txt", text)
    kept, removed = (Selection(**{option: path}).individuals(IDS, where="x") for option in ("keep", "remove"))
    assert [IDS[i] for i in kept.places] == ["a", "c"]
    assert [IDS[i] for i in removed.places] == ["b", "d"]
    assert kept.said == (f"keep {path}: 2 of 4 individuals of x are left",)


def test_ids_that_match_nothing_are_counted_and_none_matching_is_an_error(write):
    chosen = Selection(keep=write("k.txt", "a\nc\nz\n"), remove=write("r.txt", "c\n")).individuals(IDS, where="x")
    assert chosen.places.tolist() == [0]
    assert chosen.said[0].endswith("k.txt: 2 of 4 individuals of x are left; 1 of its 3 are not there (z)")
    with pytest.raises(
        bl.InputError, match=r"keep .*n\.txt: none of its 2 individuals \(y, z\) is in x \(such as a, b, c"
    ):
        Selection(keep=write("n.txt", "y\nz\n")).individuals(IDS, where="x")
    with pytest.raises(bl.InputError, match="x: none of 4 individuals is left after keep and remove"):
        Selection(keep=write("k.txt", "a\n"), remove=write("r.txt", "a\n")).individuals(IDS, where="x")
    with pytest.raises(bl.InputError, match=r"e\.txt is empty"):
        Selection(keep=write("e.txt", "#IID\n")).individuals(IDS, where="x")


def test_markers_are_chosen_by_id_and_chromosome(write):
    chosen = Selection(extract=write("e.txt", "s2\ns3\ns4\n"), exclude=write("x.txt", "s4\n"))
    assert chosen.markers(VARIANTS, where="x").places.tolist() == [1, 2, 4]
    autosomes = Selection(autosomes=True).markers(VARIANTS, where="x")
    assert autosomes.places.tolist() == [0, 1, 4]
    assert autosomes.said == ("autosomes: 2 markers on other chromosomes are left out",)
    with pytest.raises(bl.InputError, match=r"w\.txt line 2: one id of a marker is expected, but 2 words"):
        Selection(extract=write("w.txt", "s1\ns2 s3\n")).markers(VARIANTS, where="x")
    with pytest.raises(bl.InputError, match="no marker that is chosen is on an autosome"):
        Selection(extract=write("e.txt", "s3\n"), autosomes=True).markers(VARIANTS, where="x")


@pytest.fixture
def cohort(tmp_path, rng):
    """60 individuals in pairs of twins, 80 markers on 1, 2 and X, a trait, and a file of 50 of them."""
    n, chrom = 60, np.array(["1"] * 40 + ["2"] * 30 + ["X"] * 10)
    G = np.repeat(rng.binomial(2, rng.uniform(0.2, 0.5, 80), (n // 2, 80)), 2, axis=0).astype(float)
    flips = rng.uniform(size=G.shape) < 0.05
    G[flips] = rng.binomial(2, 0.4, flips.sum())
    ids = [f"p{i}" for i in range(n)]
    properties = {"fid": ids, "iid": ids, "chromosome": chrom, "sid": [f"s{j}" for j in range(80)]}
    to_bed(tmp_path / "g.bed", G, properties=properties)
    y = G[:, :70] @ rng.standard_normal(70) / 5 + rng.standard_normal(n)
    pd.DataFrame({"IID": ids, "y": y}).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    (tmp_path / "keep.txt").write_text("".join(f"{name} {name}\n" for name in [*ids[:50], "p99"]))
    (tmp_path / "snps.txt").write_text("".join(f"s{j}\n" for j in range(5, 80)))
    return tmp_path


def analyse(folder, command, out, *options):
    tables = ["--pheno", str(folder / "pheno.tsv"), "--trait", "y", "--no-plots"]
    assert main([command, *tables, *options, "--out", str(folder / out)]) == 0
    return json.loads((folder / out / "run.json").read_text())


def test_a_given_kinship_and_genotypes_are_selected_alike(cohort, capsys):
    bfile, keep = ["--bfile", str(cohort / "g")], ["--keep", str(cohort / "keep.txt")]
    assert main(["grm", *bfile, "--out", str(cohort / "all")]) == 0
    assert main(["grm", *bfile, *keep, "--out", str(cohort / "some")]) == 0
    assert "keep.txt: 50 of 60 individuals of" in (told := capsys.readouterr().out)
    assert "1 of its 51 are not there (p99)" in told
    assert bl.read_grm(cohort / "some").ids == tuple(f"p{i}" for i in range(50))
    of_rows = analyse(cohort, "h2", "rows", "--grm", str(cohort / "all"), *keep, "--methods", "reml")
    assert (of_rows["traits"]["y"]["n"], of_rows["kinship"]["n"]) == (50, 50)
    assert "50 of 60 individuals" in of_rows["kinship"]["selection"][0]
    assert str(cohort / "keep.txt") in of_rows["inputs_sha256"]
    with pytest.raises(AssertionError):
        analyse(cohort, "h2", "no", "--grm", str(cohort / "all"), "--extract", str(cohort / "snps.txt"))
    assert "--extract chooses markers of genotypes (--bfile, --pfile" in capsys.readouterr().err


@pytest.mark.slow
def test_a_scan_tests_the_markers_selected(cohort):
    options = ["--bfile", str(cohort / "g"), "--extract", str(cohort / "snps.txt"), "--autosomes"]
    record = analyse(cohort, "scan", "scan", *options, "--keep", str(cohort / "keep.txt"))
    table = pd.read_csv(cohort / "scan" / "y.scan.tsv", sep="\t")
    assert table["snp"].tolist() == [f"s{j}" for j in range(5, 70)]
    assert record["traits"]["y"]["n"] == 50
    assert record["kinship"]["markers"]["read"] == 65


@pytest.mark.slow
def test_relatives_are_left_out_of_any_kinship_and_loco_too(cohort, capsys):
    """A twin of each pair; LOCO subtracts from a K of which rows were taken."""
    bfile = ["--bfile", str(cohort / "g")]
    record = analyse(cohort, "scan", "scan", *bfile, "--loco", "--grm-cutoff", "0.6")
    removed = record["kinship"]["related"]["removed"]
    assert removed == [f"p{i}" for i in range(1, 60, 2)]
    assert (
        "pairs related by more than 0.6: 30; individuals left out: 30 (p1, p3, p5 and 27 more)"
        in capsys.readouterr().out
    )
    assert main(["grm", *bfile, "--chr", "2", "--out", str(cohort / "two")]) == 0
    left = "".join(f"p{i}\n" for i in range(0, 60, 2))
    (cohort / "left.txt").write_text(left)
    analyse(cohort, "scan", "given", *bfile, "--grm", str(cohort / "two"), "--keep", str(cohort / "left.txt"))
    loco, given = (
        pd.read_csv(cohort / name / "y.scan.tsv", sep="\t").query("chrom == 1") for name in ("scan", "given")
    )
    assert_allclose(loco["p_wald"], given["p_wald"], rtol=1e-4)
    assert main(["grm", *bfile, "--grm-cutoff", "0.6", "--out", str(cohort / "k")]) == 0
    assert (cohort / "k.grm.removed.id").read_text().split() == [name for name in removed for _ in range(2)]
    assert bl.read_grm(cohort / "k").ids == tuple(left.split())


def test_autosomes_and_chosen_chromosomes_exclude_each_other(cohort):
    with pytest.raises(bl.InputError, match="both choose chromosomes"):
        bl.open_genotypes(cohort / "g", chromosomes=["1"], selection=Selection(autosomes=True))
