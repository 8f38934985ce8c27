"""`bayeslmm predict` against dense references of other code, dense formulas, and wrong inputs."""

import json

import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed, to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.commands.main import main
from conftest import GRYPHON, MOUSE


def read(path, **kwargs):
    return pd.read_csv(path, sep="\t", dtype={"IID": str}, keep_default_na=False, na_values="NA", **kwargs)


def test_gryphons_are_the_dense_references(shared, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = ["predict", "--pedigree", GRYPHON / "pedigree.csv", "--pheno", GRYPHON / "pheno.tsv", "--trait", "BWT"]
    arguments += ["--covar", GRYPHON / "covar.tsv", "--covariates", "sex", "--categorical", "sex", "--out", out]
    assert main([*map(str, arguments)]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "BWT.breeding_values.svg", "BWT.breeding_values.tsv", "estimates.tsv", "report.html", "run.json",
    ]  # fmt: skip
    found = read(out / "BWT.breeding_values.tsv").set_index("IID")
    expected = read(shared / "gryphon_blup" / "blup_BWT_sex.tsv").set_index("IID")
    found, kept = found.loc[expected.index], len(found)
    assert kept == len(expected) == 1309
    assert (found["analysed"].astype(int) == expected["phenotyped"]).all()
    names = {
        "blup": "u_reml", "pev": "pev_reml", "reliability": "reliability_reml", "mean": "u_post_mean",
        "sd": "u_post_sd",
    }  # fmt: skip
    for name, of in names.items():
        assert_allclose(found[name], expected[of], atol=1e-6, err_msg=name)
    # A new record is predicted of all whose sex is known, whether they have a record or not.
    sex = read(GRYPHON / "covar.tsv").set_index("IID")["sex"].reindex(found.index)
    assert (found["record"].notna() == sex.notna()).all()
    assert_allclose(found["record_upper"] - found["record"], 1.959963984540054 * found["record_sd"], rtol=1e-8)
    printed = capsys.readouterr().out
    assert "breeding values of BWT for 1,309 individuals, 455 of them without a record" in printed
    record = json.loads((out / "run.json").read_text())["traits"]["BWT"]
    assert (record["predicted"], record["without_record"]) == (1309, 455)
    page = (out / "report.html").read_text()
    assert "Breeding values of BWT" in page
    assert "Henderson (1975)" in page


@pytest.mark.slow
def test_mice_are_the_dense_references(shared, tmp_path):
    folder, out = shared / "mouse_blup", tmp_path / "out"
    prefix = MOUSE / "mouse_hs1940"
    arguments = ["predict", "--bfile", prefix, "--pheno", MOUSE / "pheno.tsv", "--trait", "CD8", "--scale", "sample"]
    assert main([*map(str, arguments), "--snp-effects", "--no-plots", "--out", str(out)]) == 0
    found = read(out / "CD8.breeding_values.tsv").set_index("IID")
    expected = read(folder / "blup_CD8.tsv").set_index("IID")
    names = {
        "blup": "u_reml", "pev": "pev_reml", "reliability": "reliability_reml", "mean": "u_post_mean",
        "sd": "u_post_sd", "record": "pred_post_mean", "record_sd": "pred_post_sd_of_new_record",
    }  # fmt: skip
    for name, of in names.items():  # blocks of markers are in float32, which changes the seventh digit of K
        assert_allclose(found.loc[expected.index, name], expected[of], atol=5e-6, err_msg=name)
    effects = read(out / "CD8.snp_effects.tsv")
    assert effects.columns[:3].tolist() == ["snp", "a1", "effect"]
    assert len(effects) == 10783
    first, of = effects.head(20), read(folder / "marker_effects_first20.tsv")
    assert first["snp"].tolist() == of["snp"].tolist()
    assert_allclose(first["effect_reml"], of["effect_per_a1_copy"], atol=1e-7)
    assert_allclose(first["effect_reml_sd"] * of["sd"], of["sd_of_effect_per_sd"], rtol=1e-5)
    # As plink2 --score adds them up, by dosages of a1 and the first three columns.
    with open_bed(f"{prefix}.bed") as bed:
        G, snps = bed.read(dtype="float64"), bed.sid
    column = pd.Index(snps).get_indexer(effects["snp"])
    total = G[:, column] @ effects["effect"]
    ours = found["mean"].to_numpy()
    assert np.ptp(total - ours) < 1e-5


N, P = 80, 60


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """People of whom some have no record, and others whose genotypes are in a file of their own, coded otherwise."""
    rng = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("cohort")
    G = rng.binomial(2, rng.uniform(0.2, 0.5, P), (N + 10, P)).astype(float)
    ids = [f"p{i}" for i in range(N + 10)]
    properties = {"chromosome": ["1"] * P, "sid": [f"rs{j}" for j in range(P)]}
    properties |= {"allele_1": ["A"] * P, "allele_2": ["C"] * P}
    to_bed(folder / "old.bed", G[:N], properties={"fid": ids[:N], "iid": ids[:N], **properties})
    # In the new file in another order, and every third marker with its alleles exchanged; one is absent.
    order = rng.permutation(P)[: P - 1]
    turned = order % 3 == 0
    names = {"chromosome": ["1"] * len(order), "sid": [f"rs{j}" for j in order]}
    names |= {"allele_1": np.where(turned, "C", "A"), "allele_2": np.where(turned, "A", "C")}
    new = np.where(turned, 2 - G[N:, order], G[N:, order])
    to_bed(folder / "new.bed", new, properties={"fid": ids[N:], "iid": ids[N:], **names})
    g = (G - G.mean(axis=0)) @ rng.standard_normal(P) / np.sqrt(P)
    age, sex = rng.standard_normal(N + 10), rng.choice(["f", "m"], N + 10)
    y = 5 + age + (sex == "m") + g + 0.5 * rng.standard_normal(N + 10)
    table = pd.DataFrame({"IID": ids, "y": y, "z": y**2, "flat": 1.0})
    own = (G - G.mean(axis=0)) @ rng.standard_normal(P) / np.sqrt(P)
    table["w"] = 2 - age + 0.5 * g + own + rng.standard_normal(N + 10)
    table.loc[60:, ["y", "z"]] = np.nan
    table.loc[table.index[10:25].append(table.index[70:]), "w"] = np.nan
    table.to_csv(folder / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    covar = pd.DataFrame({"IID": ids, "age": age, "sex": sex})
    covar.loc[70, "age"], covar.loc[71, "sex"] = np.nan, "x"  # which nobody with a record has
    covar.to_csv(folder / "covar.tsv", sep="\t", index=False, na_rep="NA")
    return folder, G, np.column_stack([np.ones(N + 10), age, sex == "m"]), y


def predict(folder, out, *more, code=0):
    arguments = ["predict", "--bfile", folder / "old", "--pheno", folder / "pheno.tsv", "--covar", folder / "covar.tsv"]
    assert main([*map(str, [*arguments, *more]), "--no-plots", "--out", str(out)]) == code
    return out


def dense(G, y, X, u, e, missing, *, centred=False, normalised=False):
    """Return breeding values, prediction error variances and new records by V, of everybody."""
    base = G[:N]
    f = base.mean(axis=0) / 2
    W = (G - 2 * f) / np.sqrt(2 * f * (1 - f))
    W[N:, missing] = 0
    analysed = np.arange(60)
    if centred:
        W = W - W[analysed].mean(axis=0)
    K = W @ W.T / P
    K = K / K.diagonal()[analysed].mean() if normalised else K
    V = u * K[:60, :60] + e * np.eye(60)
    Vi, X1 = np.linalg.inv(V), X[:60]
    cov = np.linalg.inv(X1.T @ Vi @ X1)
    Py = Vi @ (y[:60] - X1 @ cov @ X1.T @ Vi @ y[:60])
    k = u * K[:, :60]
    left = u * K.diagonal() - np.einsum("ij,jk,ik->i", k, Vi - Vi @ X1 @ cov @ X1.T @ Vi, k)
    return k @ Py, left


@pytest.mark.parametrize("change", [[], ["--centre", "--normalise"]])
def test_everybody_and_new_genotypes_by_dense_formulas(cohort, tmp_path, capsys, change):
    folder, G, X, y = cohort
    out = predict(folder, tmp_path / "out", "--trait", "y", "--snp-effects", "--new-genotypes", folder / "new", *change)
    missing = [j for j in range(P) if f"rs{j}" not in set(pd.read_csv(folder / "new.bim", sep=r"\s+", header=None)[1])]
    assert len(missing) == 1
    estimates = read(out / "estimates.tsv").set_index(["method", "parameter"])["estimate"]
    u, e = estimates["reml", "sigma2_u"], estimates["reml", "sigma2_e"]
    blup, pev = dense(G, y, X, u, e, missing, centred=bool(change), normalised=bool(change))
    values = read(out / "y.breeding_values.tsv")
    new = read(out / "y.new_breeding_values.tsv")
    assert new["IID"].tolist() == [f"p{i}" for i in range(N, N + 10)]
    found = pd.concat([values, new], ignore_index=True)
    assert_allclose(found["blup"], blup, atol=2e-6)
    assert_allclose(found["pev"], pev, atol=2e-6)
    # Records: of those with all covariates, coded as among those analysed.
    unknown = found["record"].isna()
    assert found.loc[unknown, "IID"].tolist() == ["p70", "p71"]
    W = read(out / "y.snp_effects.tsv")
    by_marker = (G[:N] - 2 * G[:N].mean(axis=0) / 2) @ W.set_index("snp").loc[[f"rs{j}" for j in range(P)], "effect"]
    assert np.ptp(by_marker - values["mean"]) < 1e-5
    streams = capsys.readouterr()
    assert "1 of 60 markers of the kinship are not in it" in streams.err
    swapped = int((np.delete(np.arange(P), missing) % 3 == 0).sum())
    assert f"breeding values of 10 new individuals by 59 of 60 markers ({swapped} counted by the other" in streams.out


def test_records_of_a_formula_are_those_without_one(cohort, tmp_path):
    folder, *_ = cohort
    plain = read(predict(folder, tmp_path / "a", "--trait", "y") / "y.breeding_values.tsv")
    formula = ["--formula", "~ sex + age"]
    by_formula = read(predict(folder, tmp_path / "b", "--trait", "y", *formula) / "y.breeding_values.tsv")
    pd.testing.assert_frame_equal(plain, by_formula)


def test_principal_components_of_others_follow_from_their_kinship(cohort, tmp_path):
    """Those of somebody without a record are those he has as the twin of somebody with one."""
    folder, G, *_ = cohort
    ids = [f"p{i}" for i in range(N)]
    twins = G[:N].copy()
    twins[79] = twins[3]
    properties = {"fid": ids, "iid": ids, "chromosome": ["1"] * P, "sid": [f"rs{j}" for j in range(P)]}
    to_bed(tmp_path / "twins.bed", twins, properties=properties)
    arguments = [
        "predict",
        "--bfile",
        tmp_path / "twins",
        "--pheno",
        folder / "pheno.tsv",
        "--trait",
        "y",
        "--pcs",
        "2",
    ]
    assert main([*map(str, arguments), "--no-plots", "--out", str(tmp_path / "out")]) == 0
    found = read(tmp_path / "out" / "y.breeding_values.tsv").set_index("IID")
    for name in ("blup", "record", "record_sd"):
        assert_allclose(found.loc["p79", name], found.loc["p3", name], rtol=1e-6)


def test_cross_validation_names_the_fold_of_each_record(cohort, tmp_path, capsys):
    folder, *_ = cohort
    out = predict(folder, tmp_path / "out", "--trait", "y", "z", "--folds", "3", "--seed", "7")
    table = read(out / "cross_validation.tsv")
    assert table[["trait", "method"]].to_numpy().tolist() == [
        ["y", "reml"], ["y", "integrated"], ["z", "reml"], ["z", "integrated"],
    ]  # fmt: skip
    folds = read(out / "y.folds.tsv")
    assert sorted(folds["fold"].value_counts()) == [20, 20, 20]
    row = table.iloc[1]
    assert row["correlation"] == pytest.approx(np.corrcoef(folds["observed"], folds["mean"])[0, 1], rel=1e-8)
    assert row["slope"] == pytest.approx(np.polyfit(folds["mean"], folds["observed"], 1)[0], rel=1e-7)
    inside = abs(folds["observed"] - folds["mean"]) <= 1.959963984540054 * folds["sd"]
    assert row["coverage"] == pytest.approx(inside.mean())
    # One fold by hand: without its records, predicted from the others.
    table = read(folder / "pheno.tsv").merge(read(folder / "covar.tsv"), on="IID").set_index("IID")
    kept = table.loc[folds.loc[folds["fold"] != 2, "IID"]]
    kinship = bl.genomic_kinship(folder / "old")
    by_hand = bl.breeding_values("y ~ sex + age", data=kept, kinship=kinship)
    left = folds[folds["fold"] == 2]
    X = np.column_stack([np.ones(len(left)), table.loc[left["IID"], "sex"] == "m", table.loc[left["IID"], "age"]])
    order = by_hand.cohort.covariates[0]
    assert order == ("intercept", "sex[m]", "age")
    expected = X @ by_hand.fit.estimate.beta + by_hand.table.loc[left["IID"], "blup"]
    assert_allclose(left["reml"], expected, rtol=1e-6)
    assert "cross-validation of y in 3 folds: correlation of records with predictions" in capsys.readouterr().out


def test_one_trait_that_fails_does_not_stop_the_other(cohort, tmp_path, capsys):
    folder, *_ = cohort
    out = predict(folder, tmp_path / "out", "--trait", "flat", "y", "--folds", "2", code=2)
    assert "flat FAILED" in capsys.readouterr().err
    assert read(out / "estimates.tsv").query("trait == 'flat'")["note"].str.startswith("FAILED").all()
    table = read(out / "cross_validation.tsv")
    assert table["trait"].tolist() == ["y", "y", "flat"]
    assert not (out / "flat.breeding_values.tsv").exists()
    assert (out / "y.breeding_values.tsv").exists()


def test_traits_together_are_the_kronecker_product(cohort, tmp_path, capsys):
    folder, G, X, _ = cohort
    out = predict(folder, tmp_path / "out", "--trait", "y", "w", "--joint")
    assert sorted(path.name for path in out.iterdir()) == [
        "estimates.tsv", "report.html", "run.json", "w.breeding_values.tsv", "y.breeding_values.tsv",
    ]  # fmt: skip
    rows = read(out / "estimates.tsv").set_index(["trait", "parameter"])["estimate"]
    of = [("y", "sigma2_"), ("y:w", "cov_"), ("y:w", "cov_"), ("w", "sigma2_")]
    u, e = (np.array([rows[trait, name + kind] for trait, name in of]).reshape(2, 2) for kind in "ue")
    f = G[:N].mean(axis=0) / 2
    W = ((G - 2 * f) / np.sqrt(2 * f * (1 - f)))[:N]
    K = W @ W.T / P
    table = read(folder / "pheno.tsv").head(N)
    Y = table[["y", "w"]].to_numpy()
    known = ~np.isnan(Y.T.ravel())
    design = np.kron(np.eye(2), X[:N])
    k = np.kron(u, K)[:, known]
    Vi = np.linalg.inv((np.kron(u, K) + np.kron(e, np.eye(N)))[np.ix_(known, known)])
    Z = design[known]
    cov = np.linalg.inv(Z.T @ Vi @ Z)
    M = Vi - Vi @ Z @ cov @ Z.T @ Vi
    blup = k @ M @ Y.T.ravel()[known]
    pev = np.kron(u, K).diagonal() - np.einsum("ij,jk,ik->i", k, M, k)
    for j, trait in enumerate(("y", "w")):
        found = read(out / f"{trait}.breeding_values.tsv")
        assert found["IID"].tolist() == table["IID"].tolist()
        assert (found["recorded"] == ~np.isnan(Y[:, j])).all()
        assert_allclose(found["blup"], blup[j * N : (j + 1) * N], atol=1e-5)
        assert_allclose(found["pev"], pev[j * N : (j + 1) * N], atol=1e-5)
        assert found.loc[found["record"].isna(), "IID"].tolist() == ["p70", "p71"]
    assert "breeding values of w for 80 individuals, 25 of them without a record" in capsys.readouterr().out
    assert "Henderson and Quaas (1976)" in (out / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--joint"], "--joint needs two or more different traits, but y was given"),
        (["z", "--joint", "--snp-effects"], "--snp-effects is about one trait at a time: leave it or --joint out"),
        (["z", "--joint", "--prior-h2", "2", "3"], "--prior-h2 is about one trait at a time"),
        (["--folds", "1"], "--folds must be at least 2"),
        (["--folds", "61"], "folds must lie between 2 and the 60 records"),
        (["--new-genotypes", "absent"], "absent.bed does not exist"),
        (["--new-genotypes", "strand"], "3 markers have other alleles than in"),
        (["--new-genotypes", "strand"], "they are those of the other strand: flip them"),
        (["--new-genotypes", "elsewhere"], "none of the 60 markers"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(cohort, tmp_path, capsys, monkeypatch, more, message):
    folder, G, *_ = cohort
    monkeypatch.chdir(tmp_path)
    ids = [f"q{i}" for i in range(4)]
    for name, prefix in (("strand", "rs"), ("elsewhere", "other")):
        properties = {"fid": ids, "iid": ids, "chromosome": ["1"] * 3, "sid": [f"{prefix}{j}" for j in range(3)]}
        to_bed(f"{name}.bed", G[:4, :3].copy(), properties=properties | {"allele_1": ["T"] * 3, "allele_2": ["G"] * 3})
    predict(folder, tmp_path / "out", "--trait", "y", *more, code=2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--snp-effects"], ["--new-genotypes", "x"]])
def test_markers_need_genotypes(tmp_path, capsys, option):
    arguments = ["predict", "--pedigree", str(GRYPHON / "pedigree.csv"), "--pheno", str(GRYPHON / "pheno.tsv")]
    assert main([*arguments, "--trait", "BWT", *option, "--out", str(tmp_path / "out")]) == 2
    assert f"{option[0]} needs a kinship that is made from genotypes" in capsys.readouterr().err


def test_an_allele_that_nobody_has_matches_any(cohort, tmp_path):
    """PLINK writes 0 for it; the other allele tells which is counted."""
    folder, G, *_ = cohort
    ids = ["a", "b"]
    properties = {"fid": ids, "iid": ids, "chromosome": ["1"] * P, "sid": [f"rs{j}" for j in range(P)]}
    two = G[:2].copy()
    two[:, 0], two[:, 1] = 0, 0  # nobody has A of rs0; of rs1 everybody has A twice, counted as the other
    for name, first, second in (("known", ["A", "C"], ["C", "A"]), ("zero", ["0", "0"], ["C", "A"])):
        alleles = {"allele_1": [*first, *["A"] * (P - 2)], "allele_2": [*second, *["C"] * (P - 2)]}
        to_bed(tmp_path / f"{name}.bed", two, properties=properties | alleles)
    found = []
    for name in ("known", "zero"):
        out = predict(folder, tmp_path / f"out.{name}", "--trait", "y", "--new-genotypes", tmp_path / name)
        found.append(read(out / "y.new_breeding_values.tsv"))
    pd.testing.assert_frame_equal(*found)
