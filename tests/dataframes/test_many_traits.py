"""Many traits of a DataFrame: the same people and numbers as for each by itself."""

import numpy as np
import pandas as pd
import pytest

import bayeslmm as bl


@pytest.fixture
def tables(rng):
    """Traits and covariates of 60 people, in different orders, some of them missing."""
    n = 60
    ids = [f"p{i}" for i in range(n)]
    W = rng.standard_normal((n, 100)) + np.repeat(rng.standard_normal((n // 4, 100)), 4, axis=0)
    K = pd.DataFrame(W @ W.T / np.trace(W @ W.T) * n, ids, ids)
    traits = pd.DataFrame(rng.standard_normal((n, 3)), pd.Index(ids, name="id"), ["a", "b", "c"]).iloc[::-1]
    traits.loc["p4"] = np.nan
    traits.loc["p7", "c"] = np.nan
    covariates = pd.DataFrame(
        {"sex": rng.choice(["m", "f"], n), "age": rng.uniform(1, 9, n)}, pd.Index(rng.permutation(ids), name="id")
    )
    covariates.loc["p9", "age"] = np.nan
    return K, traits, covariates


def test_each_trait_has_the_numbers_of_fit(tables):
    K, traits, covariates = tables
    many = bl.fit_many(traits, kinship=K, formula="~ sex * age", data=covariates)
    assert many.estimates["n"].tolist() == [58, 58, 57]
    assert many.dropped["count"].tolist() == [1, 1]
    joined = traits.join(covariates)
    for name, row in many.estimates.iterrows():
        one = bl.fit(f"{name} ~ sex * age", data=joined, kinship=K)
        assert len(one.cohort.ids) == row["n"]
        assert row["h2_reml"] == pytest.approx(one.result.reml.h2, abs=1e-6)
        assert row["loglik_reml"] == pytest.approx(one.result.reml.loglik, abs=1e-6)
        exact = one.result.exact
        assert exact is not None
        found = row[["pve_mean", "pve_sd", "sigma2_e_upper"]].to_list()
        assert found == pytest.approx([exact.pve.mean, exact.pve.sd, exact.sigma2_e.interval()[1]], abs=1e-5)
    assert "3 traits, 2 of them without missing values" in repr(many)
    assert "<table" in many._repr_html_()


def test_ids_may_be_a_column_and_principal_components_covariates(tables):
    K, traits, _ = tables
    by_index, by_column = (
        bl.fit_many(table, kinship=K, id=id, pcs=2, normalise=True)
        for table, id in ((traits, None), (traits.reset_index(), "id"))
    )
    pd.testing.assert_frame_equal(by_index.estimates, by_column.estimates)
    assert by_index.cohort.covariates[0] == ("intercept", "PC1", "PC2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda traits: traits.assign(word="x"), "1 hold something else .word."),
        (lambda traits: traits.assign(flat=1.0), "flat.*must vary"),
        (lambda traits: traits.assign(few=np.where(np.arange(60) < 2, 1.0, np.nan)), "few"),
        (lambda traits: traits.reset_index(drop=True), "index of traits has no name"),
        (lambda traits: traits[[]], "no column of a trait"),
        (lambda traits: pd.concat([traits, traits], axis=1), "column name"),
    ],
)
def test_what_cannot_be_analysed_is_refused(tables, change, message):
    K, traits, _ = tables
    with pytest.raises(bl.InputError, match=message):
        bl.fit_many(change(traits), kinship=K)
