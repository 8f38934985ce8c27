"""Sex chromosomes are left out of every kinship and tested by the scan, and both are told."""

import json

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.genotypes.chromosomes import chromosomes, used_chromosomes
from bayeslmm.genotypes.plink import read_bim


@pytest.fixture
def cohort(tmp_path, rng):
    """60 individuals, 200 markers of two autosomes and 40 of X, and the same without those of X."""
    n, chrom = 60, np.array(["1"] * 120 + ["2"] * 80 + ["23"] * 40)
    G = rng.binomial(2, rng.uniform(0.2, 0.5, len(chrom)), (n, len(chrom))).astype(float)
    G[: n // 2, 200:] = 2 * np.floor(G[: n // 2, 200:] / 2)  # males have one copy, coded 0 and 2
    ids = [f"p{i}" for i in range(n)]
    for name, own in (("all", chrom != ""), ("autosomes", chrom != "23")):
        properties = {"iid": ids, "chromosome": chrom[own], "sid": [f"s{j}" for j in np.flatnonzero(own)]}
        to_bed(tmp_path / f"{name}.bed", G[:, own], properties=properties)
    y = G[:, :200] @ rng.standard_normal(200) / 10 + rng.standard_normal(n)
    pd.DataFrame({"IID": ids, "y": y}).to_csv(tmp_path / "pheno.tsv", sep="\t", index=False)
    return tmp_path


def test_the_kinship_is_that_of_the_autosomes_and_says_so(cohort, capsys):
    assert main(["grm", "--bfile", str(cohort / "all"), "--out", str(cohort / "k")]) == 0
    assert "markers: 200 of 240 used; " in (told := capsys.readouterr().out)
    assert "left out: 40 on chromosome 23 (X)" in told
    assert_allclose(bl.read_grm(cohort / "k").K, bl.genomic_kinship(cohort / "autosomes").K, atol=1e-6)
    assert main(["grm", "--bfile", str(cohort / "all"), "--chr", "1-23", "--out", str(cohort / "k23")]) == 0
    assert "markers: 240 of 240 used" in capsys.readouterr().out


@pytest.mark.slow
def test_h2_and_simulate_use_the_same_markers(cohort, capsys):
    simulate = ["simulate", "--bfile", str(cohort / "all"), "--h2", "0.5", "--out", str(cohort / "s")]
    assert main(simulate) == 0
    assert "left out: 40 on chromosome 23 (X)" in capsys.readouterr().out
    assert pd.read_csv(cohort / "s" / "effects.tsv", sep="\t")["chrom"].unique().tolist() == [1, 2]
    assert json.loads((cohort / "s" / "truth.json").read_text())["genotypes"]["left_out"] == {"23 (X)": 40}
    found = []
    for name in ("all", "autosomes"):
        out = cohort / name
        command = ["h2", "--bfile", str(out), "--pheno", str(cohort / "pheno.tsv"), "--trait", "y", "--methods", "reml"]
        assert main([*command, "--out", str(out)]) == 0
        found.append(pd.read_csv(out / "estimates.tsv", sep="\t")["estimate"])
    assert_array_equal(*found)


@pytest.mark.slow
def test_the_scan_tests_them_against_the_autosomes_and_says_so(cohort, capsys):
    tables = {}
    for name, more in (("plain", []), ("loco", ["--loco"])):
        command = ["scan", "--bfile", str(cohort / "all"), "--pheno", str(cohort / "pheno.tsv"), "--trait", "y", *more]
        assert main([*command, "--out", str(cohort / name)]) == 0
        assert "markers tested that are not on autosomes: 40 on 23 (X); PLINK codes" in capsys.readouterr().out
        tables[name] = pd.read_csv(cohort / name / "y.scan.tsv", sep="\t").query("chrom == 23").reset_index(drop=True)
    assert len(tables["plain"]) == 40
    # No marker of X is in the kinship: none has to be left out of it.
    assert_allclose(tables["loco"]["p_wald"], tables["plain"]["p_wald"], rtol=1e-6)


def test_chromosomes_of_a_kinship_that_is_given_are_refused(cohort, capsys):
    bl.write_grm(bl.genomic_kinship(cohort / "all"), cohort / "k")
    command = ["h2", "--grm", str(cohort / "k"), "--pheno", str(cohort / "pheno.tsv"), "--trait", "y", "--chr", "1"]
    assert main([*command, "--out", str(cohort / "o")]) == 2
    assert "--chr applies to genotypes (--bfile, --pfile, --bgen, --vcf or --vcz)" in capsys.readouterr().err


def test_a_kinship_that_is_not_one_is_bent_if_asked_for(cohort, capsys, rng):
    kinship = bl.genomic_kinship(cohort / "autosomes")
    s, U = np.linalg.eigh(kinship.K)
    K = kinship.K - (s[5] + 0.5) * np.outer(U[:, 5], U[:, 5])
    bl.write_grm(bl.Kinship(kinship.ids, K, "K"), cohort / "k")
    command = ["h2", "--grm", str(cohort / "k"), "--pheno", str(cohort / "pheno.tsv"), "--trait", "y"]
    command += ["--methods", "reml", "--out", str(cohort / "o")]
    assert main(command) == 2
    assert "neither rounding nor missing genotypes explain this" in capsys.readouterr().err
    assert main([*command, "--bend"]) == 0
    assert "they are set to 0, which changes K by" in capsys.readouterr().err


def test_chromosomes_that_are_simulated_have_no_number_of_a_sex_chromosome(tmp_path, rng):
    with pytest.raises(bl.InputError, match="of 24 chromosomes, 23, 24 would have the numbers of human sex"):
        bl.write_coalescent(tmp_path / "x", people=10, markers=60, chromosomes=24, rng=rng)


def test_markers_of_a_chromosome_are_consecutive(write):
    lines = ["1 a 0 1 A G", "1 b 0 2 A G", "2 c 0 1 A G"]
    bim = read_bim(write("x.bim", "\n".join(lines) + "\n"))
    assert chromosomes(bim, where="x.bim") == {"1": range(2), "2": range(2, 3)}
    scattered = read_bim(write("y.bim", "\n".join([*lines, "1 d 0 3 A G"]) + "\n"))
    with pytest.raises(bl.InputError, match="markers of chromosome 1 must be consecutive"):
        chromosomes(scattered, where="y.bim")


@pytest.mark.parametrize(
    ("names", "left_out"),
    [
        (["0", "1", "22", "23", "24", "25", "26"], ["0 (unplaced)", "23 (X)", "24 (Y)", "25 (XY)", "26 (MT)"]),
        (["1", "26", "27", "38", "39", "X"], ["X"]),  # a dog has 38 autosomes
        (
            ["chr1", "chrX", "chrY", "chrM", "chrUn_7", "chrX_random"],
            ["chrX", "chrY", "chrM", "chrUn_7 (unplaced)", "chrX_random"],
        ),
        (["1A", "2B", "MT", "par1", "Par2", "W", "z"], ["MT", "par1", "Par2", "W", "z"]),
        (["1", "19"], []),
        (["0"], []),  # nothing is placed
        (["scaffold_1", "scaffold_2"], []),
    ],
)
def test_names_of_chromosomes_decide_and_numbers_of_humans(names, left_out):
    used, others = used_chromosomes(np.array(names, dtype=object), where="x.bim")
    assert list(others) == left_out
    assert used.sum() == len(names) - len(left_out)


@pytest.mark.parametrize(
    ("chosen", "kept"),
    [
        (["X"], ["chrX"]),
        (["1-3"], ["chr1", "chr2", "chr03"]),
        (["2,x"], ["chr2", "chrX"]),
        (["CHR3", "1"], ["chr1", "chr03"]),
    ],
)
def test_chromosomes_are_chosen_by_name_and_range(chosen, kept):
    names = np.array(["chr1", "chr2", "chr03", "chrX"], dtype=object)
    used, _ = used_chromosomes(names, chosen, where="x.bim")
    assert names[used].tolist() == kept
    with pytest.raises(bl.InputError, match=r"x.bim has no chromosome '4'; it has chr1, chr2, chr03, chrX"):
        used_chromosomes(names, ["4"], where="x.bim")
