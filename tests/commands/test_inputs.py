"""Files of other programs, given to the commands as they are."""

import json

import numpy as np
import pandas as pd
import pytest

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.kinship.kinship import Kinship

N = 60


@pytest.fixture(scope="module")
def gcta(tmp_path_factory):
    """Files as a user of GCTA has them, without a header, and the same tables with one."""
    rng = np.random.default_rng(2)
    folder = tmp_path_factory.mktemp("gcta")
    iids, fids = [f"S{i:03d}" for i in range(N)], [f"F{i // 4}" for i in range(N)]
    W = rng.standard_normal((N, 20))
    bl.write_grm(Kinship(tuple(iids), W @ W.T / 20, "K", families=tuple(fids)), folder / "x")
    g = W @ rng.standard_normal(20) / np.sqrt(20)
    tables = {
        "phen": {"height": g + rng.standard_normal(N), "weight": 10 + g + rng.standard_normal(N)},
        "qcovar": {"age": rng.integers(20, 60, N)},
        "covar": {"sex": rng.choice(["M", "F"], N), "batch": rng.choice([1, 2, 7], N)},
    }
    order = rng.permutation(N)
    for name, columns in tables.items():
        frame = pd.DataFrame({"FID": fids, "IID": iids, **columns}).iloc[order]
        frame.to_csv(folder / f"x.{name}", sep=" ", header=False, index=False, na_rep="NA")
        frame.to_csv(folder / f"{name}.tsv", sep="\t", index=False, na_rep="NA")
    text = (folder / "x.phen").read_text().splitlines()
    fields = text[0].split()
    (folder / "x.phen").write_text("\n".join([" ".join([*fields[:3], "-9"]), *text[1:]]) + "\n")
    frame = pd.read_csv(folder / "phen.tsv", sep="\t")
    frame.loc[0, "weight"] = np.nan
    frame.to_csv(folder / "phen.tsv", sep="\t", index=False, na_rep="NA")
    return folder


def estimates(folder, arguments, out="out"):
    code = main(
        ["h2", *map(str, arguments), "--methods", "reml", "--no-plots", "--out", str(folder / out), "--overwrite"]
    )
    assert code == 0
    return pd.read_csv(folder / out / "estimates.tsv", sep="\t")


@pytest.mark.parametrize(("number", "trait"), [((), "height"), (("--mpheno", 2), "weight")])
def test_a_user_of_gcta_edits_no_file(gcta, capsys, number, trait):
    """As ``gcta64 --reml --grm x --pheno x.phen --mpheno 2 --qcovar x.qcovar --covar x.covar``."""
    own = ["--pheno", gcta / "x.phen", *number, "--qcovar", gcta / "x.qcovar", "--covar", gcta / "x.covar"]
    found = estimates(gcta, ["--grm", gcta / "x", *own])
    printed = capsys.readouterr().out
    assert "x.phen: it has no header and was read as FID, IID and PHENO1 to PHENO2, where -9 is missing" in printed
    assert "x.covar: it has no header and was read as FID, IID and COVAR1 to COVAR2 (codes of categories)" in printed
    assert any("QCOVAR1" in line for line in json.loads((gcta / "out" / "run.json").read_text())["tables"])
    named = ["--pheno", gcta / "phen.tsv", "--trait", trait, "--qcovar", gcta / "qcovar.tsv"]
    named += ["--covar", gcta / "covar.tsv", "--categorical", "batch"]
    wanted = estimates(gcta, ["--grm", gcta / "x.grm.bin", *named], "named")
    assert found["parameter"].tolist()[-5:] == [
        "beta[intercept]", "beta[COVAR1[M]]", "beta[COVAR2[2]]", "beta[COVAR2[7]]", "beta[QCOVAR1]"
    ]  # fmt: skip
    numbers = ["estimate", "se", "lower", "upper"]
    pd.testing.assert_frame_equal(found[numbers], wanted[numbers], rtol=1e-12)


def test_which_phenotype_must_be_clear(gcta, capsys):
    base = ["h2", "--grm", str(gcta / "x"), "--methods", "reml", "--out", str(gcta / "none")]
    for arguments, message in (
        (["--pheno", "phen.tsv"], "has the columns height, weight: name those to analyse (--trait)"),
        (["--pheno", "x.phen", "--mpheno", "3"], "--mpheno 3: "),
        (["--pheno", "x.phen", "--mpheno", "0"], "--mpheno must be at least 1"),
        (["--pheno", "x.phen", "--mpheno", "1", "--trait", "PHENO1"], "not allowed with argument"),
    ):
        arguments[1] = str(gcta / arguments[1])
        assert main([*base, *arguments]) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--rank-normalise", "--log"])
def test_a_transformed_trait_is_said_to_be_one(gcta, capsys, option):
    base = ["--grm", gcta / "x", "--pheno", gcta / "phen.tsv", "--trait", "weight"]
    found = estimates(gcta, [*base, option])
    assert "all numbers are those of the transformed trait" in capsys.readouterr().out
    assert "of the transformed trait" in (gcta / "out" / "report.html").read_text()
    assert json.loads((gcta / "out" / "run.json").read_text())["traits"]["weight"]["transform"]
    table = bl.read_table(gcta / "phen.tsv")
    measured = bl.measure(table, ["weight"], transform="log" if option == "--log" else "rank")
    (cohort,) = bl.align(bl.read_grm(gcta / "x"), measured)
    fit = bl.reml(bl.decompose(cohort.K).rotate(cohort.Y, cohort.X))
    h2 = found.query("parameter == 'h2'")["estimate"].item()
    assert h2 == pytest.approx(fit.h2, rel=1e-9)
    assert h2 != pytest.approx(estimates(gcta, base)["estimate"][2], rel=1e-4)


def test_ids_that_join_fid_and_iid_are_offered(gcta, tmp_path, capsys):
    """As plink 1.9 writes them where it exports VCF."""
    grm = bl.read_grm(gcta / "x")
    joined = tuple(f"{family}_{iid}" for family, iid in zip(grm.families, grm.ids, strict=True))
    bl.write_grm(Kinship(joined, grm.K, "K"), tmp_path / "j")
    base = ["--grm", tmp_path / "j", "--pheno", gcta / "phen.tsv", "--trait", "height"]
    assert main(["h2", *map(str, base), "--out", str(tmp_path / "out")]) == 2
    assert "are FID_IID: make such ids of the table (id FID IID)" in capsys.readouterr().err
    found = estimates(tmp_path, [*base, "--id", "FID", "IID"])
    wanted = estimates(gcta, ["--grm", gcta / "x", "--pheno", gcta / "phen.tsv", "--trait", "height"])
    np.testing.assert_allclose(found["estimate"], wanted["estimate"], rtol=1e-9)


def test_repeated_iids_are_matched_with_their_fid(gcta, tmp_path, capsys):
    grm = bl.read_grm(gcta / "x")
    # The same IIDs in every family: 1, 2, 3, 4.
    short = {iid: f"{k % 4 + 1}" for k, iid in enumerate(grm.ids)}
    (tmp_path / "x.grm.bin").write_bytes((gcta / "x.grm.bin").read_bytes())
    pairs = zip(grm.families, grm.ids, strict=True)
    (tmp_path / "x.grm.id").write_text("".join(f"{family}\t{short[iid]}\n" for family, iid in pairs))
    frame = pd.read_csv(gcta / "phen.tsv", sep="\t")
    frame["IID"] = frame["IID"].map(short)
    frame.to_csv(tmp_path / "phen.tsv", sep="\t", index=False, na_rep="NA")
    base = ["--grm", tmp_path / "x", "--trait", "height", "--pheno"]
    found = estimates(tmp_path, [*base, tmp_path / "phen.tsv"])
    wanted = estimates(gcta, ["--grm", gcta / "x", "--pheno", gcta / "phen.tsv", "--trait", "height"])
    np.testing.assert_allclose(found["estimate"], wanted["estimate"], rtol=1e-9)
    frame.drop_duplicates("IID").drop(columns="FID").to_csv(tmp_path / "none.tsv", sep="\t", index=False)
    assert main(["h2", *map(str, [*base, tmp_path / "none.tsv", "--out", tmp_path / "none"])]) == 2
    assert "IIDs repeat in" in (error := capsys.readouterr().err)
    assert "none.tsv has no FID: add the FIDs" in error


def test_eigenvectors_of_gemma_are_a_kinship(gcta, tmp_path):
    """GEMMA centres K on those analysed, and writes ten digits."""
    kinship = bl.read_grm(gcta / "x")
    J = np.eye(N) - 1 / N
    s, U = np.linalg.eigh(J @ kinship.K @ J)
    np.savetxt(tmp_path / "x.eigenD.txt", s, fmt="%.10g")
    np.savetxt(tmp_path / "x.eigenU.txt", U, fmt="%.10g", delimiter="\t")
    base = ["--pheno", gcta / "phen.tsv", "--trait", "height"]
    pair = [tmp_path / "x.eigenD.txt", tmp_path / "x.eigenU.txt"]
    found = estimates(tmp_path, [*base, "--gemma-eigen", *pair, "--fam", gcta / "x.grm.id"])
    wanted = estimates(gcta, [*base, "--grm", gcta / "x", "--centre"])
    np.testing.assert_allclose(found["estimate"], wanted["estimate"], rtol=1e-6)
    assert main(["h2", *map(str, [*base, "--gemma-eigen", *pair, "--out", tmp_path / "none"])]) == 2
