import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from pandas.testing import assert_frame_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.commands.main import main

mpl.use("agg")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """60 individuals with 80 markers on two chromosomes, two traits of which one lacks values; as files and frame."""
    folder, rng = tmp_path_factory.mktemp("scan"), np.random.default_rng(1)
    n, p = 60, 80
    G = rng.binomial(2, rng.uniform(0.2, 0.5, p), (n, p)).astype(float)
    ids = [f"i{k}" for k in range(n)]
    columns = {"fid": ids, "iid": ids, "chromosome": ["1"] * 40 + ["2"] * 40, "sid": [f"s{k}" for k in range(p)]}
    to_bed(folder / "g.bed", G, properties=columns | {"bp_position": np.arange(1, p + 1)})
    sex = rng.integers(0, 2, n)
    y = G[:, 3] + G @ rng.normal(size=p) / 5 + sex + rng.normal(size=n)
    frame = pd.DataFrame({"y": y, "z": rng.normal(size=n), "sex": sex}, index=pd.Index(ids, name="IID"))
    frame.loc[ids[:4], "z"] = np.nan
    frame.to_csv(folder / "pheno.tsv", sep="\t", na_rep="NA")
    return folder, frame


@pytest.fixture(scope="module")
def scan(cohort):
    folder, frame = cohort
    return bl.fit_scan("y + z ~ sex", data=frame, genotypes=folder / "g", loco=True, test="null", ols=True)


def test_a_scan_is_that_of_the_command(cohort, scan):
    folder, _ = cohort
    files = ["--bfile", str(folder / "g"), "--pheno", str(folder / "pheno.tsv"), "--trait", "y", "z"]
    options = ["--formula", "~ sex", "--loco", "--test", "null", "--ols", "--out", str(folder / "out"), "--overwrite"]
    assert main(["scan", *files, *options]) == 0
    for trait, table in scan.table.groupby("trait"):
        written = pd.read_csv(folder / "out" / f"{trait}.scan.tsv", sep="\t", dtype={"chrom": str})
        mine = table.drop(columns="trait").reset_index(drop=True).astype({"chrom": str})
        assert_frame_equal(mine, written, check_dtype=False, rtol=1e-6)  # the file has 7 digits


def test_what_came_out_reads_well(scan):
    assert repr(scan).count("strongest association with") == 2
    assert "56 individuals with z" in repr(scan)
    assert "dropped: 4 without a value of z (i0, i1, i2, ...)" in scan._repr_html_()
    assert scan.dropped[["trait", "reason", "count"]].to_numpy().tolist() == [["z", "without a value of z", 4]]
    summary = scan.summary()
    assert summary["n"].tolist() == [60, 56]
    best = scan.table.query("trait == 'y'").nsmallest(3, "p_wald")["snp"].tolist()
    assert scan.top(3, trait="y")["snp"].tolist() == best
    assert summary.loc["y", "top_snp"] == best[0]


def test_the_plot_is_of_one_trait(scan):
    assert len(scan.plot("y").axes) == 2
    mpl.pyplot.close("all")
    with pytest.raises(InputError, match=r"the scan is of y, z: say which \(trait\)"):
        scan.plot()
    with pytest.raises(InputError, match="the scan is of y, z, not of 'w'"):
        scan.plot("w")


def test_those_without_genotypes_are_counted(cohort):
    folder, frame = cohort
    ids = (*frame.index, "x1", "x2")
    kinship = bl.Kinship(ids, np.diag(np.linspace(0.5, 1.5, 62)), "K")
    scan = bl.fit_scan("y ~ 1", data=frame, genotypes=f"{folder}/g.bed", kinship=kinship, test="null", pcs=1)
    assert scan.dropped[["reason", "count"]].to_numpy().tolist() == [
        [f"in K without genotypes in {folder}/g.bed", 2]
    ]  # fmt: skip
    assert scan.cohorts["y"].covariates == (("intercept", "PC1"),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loco": True, "kinship": "K"}, "leave out the kinship"),
        ({"covariate_effects": True}, 'covariate_effects needs the test "null"'),
        ({"interaction": ["age"], "test": "null"}, "interaction age: it must be a covariate"),
        ({"genotypes": "nothing"}, "nothing.*does not exist"),
    ],
)
def test_what_cannot_be_is_one_line(cohort, options, message):
    folder, frame = cohort
    with pytest.raises(InputError, match=message):
        bl.fit_scan("y ~ sex", **{"data": frame, "genotypes": folder / "g"} | options)
