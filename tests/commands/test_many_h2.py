"""`bayeslmm h2 --all-traits`: many traits from files, against the functions of one trait."""

import json

import numpy as np
import pandas as pd
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.commands.main import main
from bayeslmm.posterior import exact

N, P, T = 90, 80, 40
QUANTITIES = ("h2", "pve", "sigma2_u", "sigma2_e")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """People with T traits, some of them with missing values; three that cannot be analysed, and covariates."""
    rng = np.random.default_rng(8)
    folder = tmp_path_factory.mktemp("many")
    G = rng.binomial(2, rng.uniform(0.2, 0.5, P), (N, P)).astype(float)
    ids = [f"p{i}" for i in range(N)]
    to_bed(folder / "x.bed", G, properties={"fid": ids, "iid": ids, "chromosome": ["1"] * P})
    W = (G - G.mean(axis=0)) / G.std(axis=0)
    h2 = rng.uniform(0, 1, T)
    genetic = W @ rng.standard_normal((P, T)) / np.sqrt(P)
    Y = 3 + np.sqrt(h2) * genetic + np.sqrt(1 - h2) * rng.standard_normal((N, T))
    Y[4:9, 5] = Y[7:20, 6] = np.nan
    table = pd.DataFrame(Y, columns=[f"g{j:02d}" for j in range(T)]).round(6)
    table.insert(0, "IID", ids)
    table["flat"], table["rare"] = 2.0, [1.0, *[np.nan] * (N - 1)]
    table["word"] = ["1.5", "low", *["2"] * (N - 2)]
    order = rng.permutation(N)
    table.iloc[order].to_csv(folder / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    sex, age = rng.choice(["f", "m"], N), rng.standard_normal(N)
    covar = pd.DataFrame({"IID": ids, "sex": sex, "age": age})
    covar.loc[2, "age"] = np.nan
    covar.to_csv(folder / "covar.tsv", sep="\t", index=False, na_rep="NA")
    return folder, table.set_index("IID"), covar.set_index("IID")


def run(folder, out, *more, code=0):
    arguments = ["h2", "--bfile", folder / "x", "--pheno", folder / "pheno.tsv", *more, "--out", out]
    assert main([*map(str, arguments)]) == code
    return out


def assert_is_one_trait(row, y, X, K):
    """Compare a row with REML and the exact posterior of the trait by itself: 1e-6, and 1e-5 posterior sd."""
    there = ~np.isnan(y)
    data = bl.decompose(K[np.ix_(there, there)]).rotate(y[there, None], X[there])
    reml, posterior = bl.reml(data), exact.posterior(data)
    assert row["n"] == there.sum()
    assert row["lrt"] == pytest.approx(reml.likelihood_ratio, abs=1e-6)
    for name in QUANTITIES:
        marginal = getattr(posterior, name)
        assert row[f"{name}_reml"] == pytest.approx(getattr(reml, name), rel=1e-6, abs=1e-6 * marginal.sd), name
        found = row[[f"{name}_{what}" for what in ("mean", "sd", "lower", "upper")]].to_numpy(float)
        expected = [marginal.mean, marginal.sd, *marginal.interval()]
        assert_allclose(found, expected, atol=1e-5 * marginal.sd, rtol=0, err_msg=name)


def test_each_row_is_that_trait_by_itself(cohort, tmp_path, capsys):
    folder, table, covar = cohort
    out = run(folder, tmp_path / "out", "--all-traits", "--covar", folder / "covar.tsv", code=2)
    assert sorted(path.name for path in out.iterdir()) == [
        "estimates.parquet", "estimates.tsv", "failed.tsv", "report.html", "run.json",
        "traits.bayes_factors.svg", "traits.h2.svg", "traits.p_values.svg",
    ]  # fmt: skip
    found = pd.read_parquet(out / "estimates.parquet").set_index("trait")
    text = pd.read_csv(out / "estimates.tsv", sep="\t", index_col="trait", keep_default_na=False)
    assert found.index.tolist() == text.index.tolist() == [f"g{j:02d}" for j in range(T)]
    assert_allclose(text["h2_mean"], found["h2_mean"], rtol=1e-9)
    people = [name for name in table.index if name != "p2"]  # who has no age
    kinship = bl.genomic_kinship(folder / "x")
    rows = [kinship.ids.index(name) for name in people]
    K = kinship.K[np.ix_(rows, rows)]
    X = np.column_stack([np.ones(len(people)), covar.loc[people, "sex"] == "m", covar.loc[people, "age"]])
    for trait in ("g00", "g05", "g06", "g17", "g39"):
        assert_is_one_trait(found.loc[trait], table.loc[people, trait].to_numpy(float), X, K)
    failed = pd.read_csv(out / "failed.tsv", sep="\t", index_col="trait")["why"]
    assert sorted(failed.index) == ["flat", "rare", "word"]
    assert failed["flat"] == "it is 2 for all 89 individuals: it has no variation"
    assert failed["rare"] == "it has 1 values, but at least 5 are needed for 3 covariates"
    assert failed["word"].endswith("(id p1): 'low' is no number")
    streams = capsys.readouterr()
    assert "43 of 43 columns are traits" in streams.out
    assert "dropped: 1 without a value of the covariate age (p2)" in streams.out
    assert "3 traits FAILED, the first" in streams.out
    page = (out / "report.html").read_text()
    assert "Heritability of 40 traits" in page
    assert "3 of 43 traits failed" in page
    record = json.loads((out / "run.json").read_text())["traits"]["any trait"]
    assert (record["traits"], record["failed"], record["n"]) == (43, 3, 89)


def test_chosen_columns_with_pictures_of_one(cohort, tmp_path):
    folder, *_ = cohort
    out = run(folder, tmp_path / "out", "--trait-columns", "g0*", "g39", "--pictures", "g05", "--pcs", "1")
    found = pd.read_parquet(out / "estimates.parquet").set_index("trait")
    assert found.index.tolist() == [*(f"g0{j}" for j in range(10)), "g39"]
    assert not (out / "failed.tsv").exists()
    assert {"g05.h2.svg", "g05.fit.svg", "g05.hsq", "detailed.tsv"} <= {path.name for path in out.iterdir()}
    detailed = pd.read_csv(out / "detailed.tsv", sep="\t").query("parameter == 'h2'").set_index("method")
    assert detailed.loc["reml", "estimate"] == pytest.approx(found.loc["g05", "h2_reml"], abs=1e-6)
    assert detailed.loc["exact", "estimate"] == pytest.approx(found.loc["g05", "h2_mean"], abs=1e-6)
    alone = run(folder, tmp_path / "alone", "--trait", "g39", "--pcs", "1", "--methods", "reml", "--no-plots")
    one = pd.read_csv(alone / "estimates.tsv", sep="\t").set_index("parameter")
    assert one.loc["h2", "estimate"] == pytest.approx(found.loc["g39", "h2_reml"], abs=1e-6)
    page = (out / "report.html").read_text()
    assert "g05" in page


def test_expression_and_ranks(cohort, tmp_path, capsys):
    folder, table, _ = cohort
    values = table[[f"g{j:02d}" for j in range(T)]]
    bed = values.T.rename_axis("phenotype_id").reset_index()
    for column, value in (("end", 2), ("start", 1), ("#chr", 1)):
        bed.insert(0, column, value)
    bed.to_csv(tmp_path / "x.bed.gz", sep="\t", index=False, na_rep="NA")
    arguments = ["h2", "--bfile", folder / "x", "--pheno", tmp_path / "x.bed.gz", "--trait-columns", "g1?"]
    arguments += ["--rank-normalise", "--no-plots", "--out", tmp_path / "out"]
    assert main([*map(str, arguments), "--missing", "-8"]) == 0
    assert capsys.readouterr().err == ""
    found = pd.read_parquet(tmp_path / "out" / "estimates.parquet").set_index("trait")
    assert len(found) == 10
    alone = run(folder, tmp_path / "alone", "--trait", "g12", "--rank-normalise", "--methods", "reml", "--no-plots")
    one = pd.read_csv(alone / "estimates.tsv", sep="\t").set_index("parameter")
    assert one.loc["h2", "estimate"] == pytest.approx(found.loc["g12", "h2_reml"], abs=1e-6)


def test_traits_to_look_at_are_told_in_one_line(cohort, tmp_path, capsys):
    folder, table, _ = cohort
    odd = table[["g00", "g01", "g02", "flat"]].copy()
    odd["g01"] = (odd["g01"] > odd["g01"].median()).astype(float)
    odd.iloc[3, 2], odd["flat"] = 1e6, -9.0
    odd.reset_index().to_csv(tmp_path / "odd.tsv", sep="\t", index=False)
    arguments = ["h2", "--bfile", folder / "x", "--pheno", tmp_path / "odd.tsv", "--all-traits"]
    assert main([*map(str, arguments), "--no-plots", "--out", str(tmp_path / "out")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "looked at" in line]
    assert "2 of 4 traits should be looked at, all in remarks.tsv; the first, 'g01', has two values only" in line
    remarks = pd.read_csv(tmp_path / "out" / "remarks.tsv", sep="\t", index_col="trait")["remark"]
    assert remarks.index.tolist() == ["g01", "g02"]  # who has the one value -9 failed
    assert remarks["g02"].endswith("the farthest 1e+06: is it a mistake, or a code of missing values?")
    assert "2 traits have stray values" in (tmp_path / "out" / "report.html").read_text()


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--all-traits", "--methods", "nuts"], "--methods: traits that are analysed all at once"),
        (["--all-traits", "--prevalence", "0.1"], "--prevalence: traits that are analysed all at once"),
        (["--all-traits", "--trait", "g00"], "not allowed with argument"),
        (["--trait-columns", "ENSG*"], "no trait matches 'ENSG*'; there are g"),
        (["--trait-columns", "g0*", "--pictures", "g20"], "g20 is not among the traits"),
        (["--trait", "g00", "--nuts-for", "g00"], "--nuts-for is about --all-traits or --trait-columns"),
        (["--trait-columns", "flat", "rare"], "none of the 2 traits can be analysed"),
        (["--all-traits", "--formula", "~ g00"], "--formula of all traits needs its columns in --covar"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(cohort, tmp_path, capsys, more, message):
    folder, *_ = cohort
    run(folder, tmp_path / "out", *more, code=2)
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert message in line
    assert not (tmp_path / "out" / "estimates.tsv").exists()
