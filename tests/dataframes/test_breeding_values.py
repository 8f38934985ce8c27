"""Breeding values against dense references of other code, and dense formulas."""

import json
from dataclasses import replace

import jax
import numpy as np
import pandas as pd
import pytest
from bed_reader import open_bed
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import bayeslmm as bl
from bayeslmm.analyses.breeding_values import cross_validate, trait_fit
from bayeslmm.analyses.marker_effects import scores
from bayeslmm.base.checks import InputError
from bayeslmm.commands.main import main
from tests.conftest import GRYPHON, MOUSE


def read(path, **kwargs):
    return pd.read_csv(path, sep="\t", dtype={"IID": str, "sex": str}, **kwargs)


@pytest.fixture(scope="module")
def mice():
    """CD8 of the mice, and their breeding values on the kinship that is computed from their genotypes."""
    genotypes = bl.open_genotypes(MOUSE / "mouse_hs1940")
    made = bl.genomic_kinship(genotypes, scale="sample", maf=0.01, geno=0.05)
    with open_bed(MOUSE / "mouse_hs1940.bed") as bed:
        G = bed.read(dtype="float64")
    G = G[:, np.minimum(G.mean(axis=0), 2 - G.mean(axis=0)) / 2 >= 0.01]
    W = (G - G.mean(axis=0)) / G.std(axis=0)
    # As the references have it: blocks of markers are in float32, which changes the seventh digit.
    kinship = replace(made, K=W @ W.T / W.shape[1])
    assert_allclose(made.K, kinship.K, atol=2e-6)
    data = read(MOUSE / "pheno.tsv").set_index("IID")[["CD8"]]
    found = bl.breeding_values("CD8 ~ 1", data=data, kinship=kinship)
    return data, bl.BreedingValues(found.table, found.fit, found.cohort, kinship, genotypes, None)


def test_gryphons_equal_dense_references(shared):
    folder = shared / "gryphon_blup"
    data = read(GRYPHON / "pheno.tsv").merge(read(GRYPHON / "covar.tsv")[["IID", "sex"]], on="IID").set_index("IID")
    found = bl.breeding_values("BWT ~ C(sex)", data=data, kinship=bl.pedigree_kinship(GRYPHON / "pedigree.csv"))
    expected = read(folder / "blup_BWT_sex.tsv").set_index("IID")
    table = found.table.loc[expected.index]
    assert len(table) == len(found.table) == 1309
    assert (table["analysed"].astype(int) == expected["phenotyped"]).all()
    # The references have ten digits.
    for name, of in (("blup", "u_reml"), ("pev", "pev_reml"), ("reliability", "reliability_reml")):
        assert_allclose(table[name], expected[of], atol=1e-6, err_msg=name)
    for name, of in (("mean", "u_post_mean"), ("sd", "u_post_sd")):
        assert_allclose(table[name], expected[of], atol=1e-6, err_msg=name)
    reference = json.loads((folder / "reference.json").read_text())
    assert found.fit.estimate.sigma2_u == pytest.approx(reference["theta_reml"][0], rel=1e-6)
    assert table.loc[~table["analysed"], "record"].isna().all()
    assert "455 of them without a record" in repr(found)


def test_mice_equal_dense_references(shared, mice):
    _, found = mice
    expected = read(shared / "mouse_blup" / "blup_CD8.tsv").set_index("IID")
    table = found.table.loc[expected.index]
    names = {
        "blup": "u_reml", "pev": "pev_reml", "reliability": "reliability_reml", "mean": "u_post_mean",
        "sd": "u_post_sd", "record": "pred_post_mean", "record_sd": "pred_post_sd_of_new_record",
    }  # fmt: skip
    for name, of in names.items():
        assert_allclose(table[name], expected[of], atol=1e-6, err_msg=name)
    assert not found.dropped.empty


def test_marker_effects_add_up_to_breeding_values(shared, mice):
    _, found = mice
    expected = pd.read_csv(shared / "mouse_blup" / "marker_effects_first20.tsv", sep="\t")
    first = found.marker_effects_reml.head(20)
    assert first["snp"].tolist() == expected["snp"].tolist()
    assert first["a1"].tolist() == expected["a1"].tolist()
    assert_allclose(first["effect"], expected["effect_per_a1_copy"], atol=1e-8)
    assert_allclose(first["af"], expected["a1_freq"], atol=1e-8)
    assert_allclose(scores(found.marker_effects_reml, found.genotypes), found.table["blup"], atol=5e-6)
    assert_allclose(found.score(found.genotypes), found.table["mean"], atol=5e-6)


def test_a_part_of_the_mice_predicts_the_others_as_the_references_do(shared, mice):
    _, found = mice
    y, X, K = found.cohort.Y[:, 0], found.cohort.X[0], found.cohort.K
    expected = read(shared / "mouse_blup" / "split_test_predictions.tsv").set_index("IID")
    reference = json.loads((shared / "mouse_blup" / "reference.json").read_text())["split"]
    out = np.isin(found.cohort.ids, expected.index)
    fit = trait_fit(K[np.ix_(~out, ~out)], y[~out], X[~out])
    at_reml, integrated = fit.predictions(K[np.ix_(out, ~out)], K.diagonal()[out], X[out])
    expected = expected.loc[np.array(found.cohort.ids)[out]]
    for ours, name in ((at_reml, "reml"), (integrated, "post_mean")):
        sd = "pred_sd_reml" if name == "reml" else "pred_post_sd"
        assert_allclose(ours.record, expected[f"pred_{name}"], atol=1e-6)
        assert_allclose(np.sqrt(ours.record_variance), expected[sd], atol=1e-6)
    slope = np.polyfit(integrated.record, y[out], 1)[0]
    assert slope == pytest.approx(reference["integrated"]["slope_y_on_pred"], abs=1e-5)
    assert np.corrcoef(at_reml.record, y[out])[0, 1] == pytest.approx(reference["reml"]["correlation"], abs=1e-6)


@pytest.fixture
def small(rng):
    n, p = 90, 200
    W = rng.standard_normal((n, p)) + np.repeat(rng.standard_normal((n // 6, p)), 6, axis=0)
    K = W @ W.T / np.trace(W @ W.T) * n
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    y = 1e6 + X[:, 1] + np.linalg.cholesky(0.6 * K + 0.4 * np.eye(n)) @ rng.standard_normal(n)
    return K, X, y


def test_predictions_are_the_conditional_normal_distribution(small):
    K, X, y = small
    a, b = np.arange(60), np.arange(60, 90)
    fit = trait_fit(3.0 * K[np.ix_(a, a)], y[a], X[a])
    at_reml, _ = fit.predictions(3.0 * K[np.ix_(b, a)], 3.0 * K.diagonal()[b], X[b])
    u, e = fit.estimate.sigma2_u, fit.estimate.sigma2_e
    # With fixed effects of a variance so large that it is flat, everything is one normal distribution.
    center = np.array([1e6, 0.0])
    V = u * 3 * K + e * np.eye(90) + 1e7 * X @ X.T
    gain = np.linalg.solve(V[np.ix_(a, a)], V[np.ix_(a, b)]).T
    assert_allclose(at_reml.record, X[b] @ center + gain @ (y[a] - X[a] @ center), rtol=1e-9)
    left = np.diag(V[np.ix_(b, b)] - gain @ V[np.ix_(a, b)])
    assert_allclose(at_reml.record_variance, left, rtol=1e-5)


def test_integrated_predictions_are_those_of_draws_of_the_variances(small, rng):
    K, X, y = small
    a, b = np.arange(60), np.arange(60, 64)
    fit = trait_fit(K[np.ix_(a, a)], y[a], X[a])
    _, integrated = fit.predictions(K[np.ix_(b, a)], K.diagonal()[b], X[b])
    drawn = fit.posterior.sample(4000, rng)
    means, variances = np.empty((4000, 4)), np.empty((4000, 4))
    center = np.array([1e6, 0.0])
    for i, (u, e) in enumerate(zip(drawn["sigma2_u"], drawn["sigma2_e"], strict=True)):
        V = u * K + e * np.eye(90) + 1e7 * X @ X.T
        gain = np.linalg.solve(V[np.ix_(a, a)], V[np.ix_(a, b)]).T
        means[i] = X[b] @ center + gain @ (y[a] - X[a] @ center)
        variances[i] = np.diag(V[np.ix_(b, b)] - gain @ V[np.ix_(a, b)])
    assert (abs(integrated.record - means.mean(axis=0)) < 4 * means.std(axis=0) / np.sqrt(4000)).all()
    assert_allclose(integrated.record_variance, variances.mean(axis=0) + means.var(axis=0), rtol=0.02)


def test_intervals_of_records_left_out_cover(rng):
    n, p, coverage = 400, 600, []
    for _ in range(3):
        W = rng.standard_normal((n, p)) + np.repeat(rng.standard_normal((n // 8, p)), 8, axis=0)
        K = W @ W.T / np.trace(W @ W.T) * n
        y = multivariate_normal(np.zeros(n), 0.6 * K + 0.4 * np.eye(n), allow_singular=True, seed=rng).rvs()
        found = cross_validate(K, y, np.ones((n, 1)), folds=np.arange(n) % 4)
        coverage.append(found.summary.loc["integrated", "coverage"])
        assert found.records["fold"].tolist() == (np.arange(n) % 4).tolist()
        assert found.summary.loc["integrated", "correlation"] > 0.3
        observed, predicted = found.records["observed"], found.records["mean"]
        assert found.summary.loc["integrated", "slope"] == pytest.approx(np.polyfit(predicted, observed, 1)[0])
        assert found.summary.loc["integrated", "mse"] == pytest.approx(np.mean((observed - predicted) ** 2))
    assert abs(np.mean(coverage) - 0.95) < 3 * np.sqrt(0.95 * 0.05 / (3 * n))


def test_folds_are_of_equal_size_and_repeat_with_the_seed(small):
    K, X, y = small
    ids = [f"p{i}" for i in range(90)]
    data = pd.DataFrame({"y": y[:70], "x": X[:70, 1]}, index=pd.Index(ids[:70], name="id"))
    found = bl.breeding_values("y ~ x", data=data, kinship=K, ids=ids)
    one, again, other = (found.cross_validate(2, seed=seed).records for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(one, again)
    assert one["fold"].value_counts().tolist() == [35] * 2
    assert (one["fold"] != other["fold"]).any()
    assert found.table["analysed"].sum() == 70
    with pytest.raises(bl.InputError, match="folds must lie between 2"):
        found.cross_validate(1)
    with pytest.raises(bl.InputError, match="computed from genotypes"):
        _ = found.marker_effects
    with pytest.raises(bl.InputError, match="one trait"):
        bl.breeding_values("y + x ~ 1", data=data, kinship=K, ids=ids)


def test_scores_match_markers_by_name_and_allele(plink, tmp_path):
    prefix, G, ids = plink
    genotypes = bl.open_genotypes(prefix)
    variants = genotypes.variants
    af = np.nanmean(G, axis=0) / 2
    swapped = variants.assign(af=af, effect=np.arange(50.0)).iloc[::-1]
    flip = swapped.index % 3 == 0
    swapped.loc[flip, ["a1", "a0"]] = swapped.loc[flip, ["a0", "a1"]].to_numpy()
    swapped.loc[flip, "af"] = 1 - swapped.loc[flip, "af"]
    sign = np.where(np.arange(50) % 3 == 0, -1.0, 1.0)
    centred = np.nan_to_num(G - 2 * af)
    # bed_reader counts the first allele, a1.
    expected = centred @ (sign * np.arange(50.0))
    assert_allclose(scores(swapped, genotypes), expected, atol=1e-5)
    assert list(scores(swapped, genotypes).index) == ids
    with pytest.warns(bl.InputWarning, match="1 of 51 markers"):
        scores(pd.concat([swapped, swapped.head(1).assign(snp="elsewhere")]), genotypes)
    with pytest.raises(bl.InputError, match="none of the"):
        scores(swapped.assign(snp=[f"z{i}" for i in range(50)]), genotypes)
    with pytest.raises(bl.InputError, match="other alleles"):
        scores(swapped.assign(a1="CCC"), genotypes)
    with pytest.raises(bl.InputError, match="repeat"):
        scores(pd.concat([swapped, swapped]), genotypes)


def test_traits_together_are_those_of_the_command(tmp_path):
    """Of 200 gryphons, whose other relatives in the pedigree are predicted too."""
    read_ids = {"sep": "\t", "dtype": {"IID": str}}
    table = pd.read_csv(GRYPHON / "pheno.tsv", **read_ids).merge(
        pd.read_csv(GRYPHON / "covar.tsv", **read_ids), on="IID"
    )
    table = table[["IID", "BWT", "TARSUS", "sex"]].head(200)
    table.to_csv(tmp_path / "pheno.tsv", sep="\t", index=False, na_rep="NA")
    pedigree = GRYPHON / "pedigree.csv"
    options = ["--pedigree", pedigree, "--pheno", tmp_path / "pheno.tsv", "--trait", "BWT", "TARSUS", "--joint"]
    options += ["--covariates", "sex", "--no-plots", "--quiet", "--out", tmp_path / "out"]
    assert main(["predict", *map(str, options)]) == 0
    found = bl.joint_breeding_values("BWT + TARSUS ~ sex", data=table.set_index("IID"), kinship=pedigree)
    assert list(found.tables) == ["BWT", "TARSUS"]
    for trait, ours in found.tables.items():
        expected = read(tmp_path / "out" / f"{trait}.breeding_values.tsv").set_index("IID").loc[ours.index]
        assert list(ours.columns) == list(expected.columns)
        assert ours["recorded"].sum() == table[trait].notna().sum()
        for name in ours.columns:
            assert_allclose(ours[name].astype(float), expected[name].astype(float), rtol=1e-6, atol=1e-7, err_msg=name)
        assert ours["record"].notna().sum() == 200  # whose sex is known
    assert f"breeding values of BWT for {len(ours):,} individuals" in repr(found)
    assert found._repr_html_().count("<table") == 2
    with pytest.raises(InputError, match="takes two or more traits, but only BWT was given"):
        bl.joint_breeding_values("BWT ~ 1", data=table.set_index("IID"), kinship=pedigree)


def test_nothing_is_compiled_for_a_second_prediction(small, caplog):
    """What is compiled for one fold serves the next; else each takes a second, and memory that never returns."""
    K, X, y = small
    folds = np.arange(90) % 3
    with jax.log_compiles():
        cross_validate(K, y, X, folds=folds)
        caplog.clear()
        cross_validate(K, y[::-1].copy(), X, folds=folds)
    assert not [record.getMessage() for record in caplog.records if "Compiling" in record.getMessage()]
