import numpy as np
import numpyro.distributions as dist
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.analyses.compare import COLUMNS
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.kinship.kinship import centre
from conftest import MOUSE

pytestmark = pytest.mark.slow

FEW = {"draws": 250, "warmup": 250, "chains": 2}


@pytest.fixture(scope="module")
def mice(mouse_kinship):
    people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(mouse_kinship("hwe"), people)
    return cohort, bl.decompose(cohort.K)


def with_trait(mice, y):
    """The mice with another trait, and its rotated data."""
    cohort, spectrum = mice
    changed = Cohort(cohort.ids, ("y",), cohort.covariates, cohort.K, y[:, None], cohort.X)
    return spectrum.rotate(changed.Y, changed.X), changed


@pytest.fixture(scope="module")
def real(mice):
    cohort, spectrum = mice
    markers = bl.MarkerBlocks(bl.open_genotypes(MOUSE / "mouse_hs1940"))
    data = spectrum.rotate(cohort.Y, cohort.X)
    return bl.compare(data, cohort, trait="CD8", seed=1, markers=markers, **FEW)


def test_every_method_is_in_the_table(real):
    table = real.table
    assert list(table.columns) == COLUMNS
    assert table["method"].tolist() == [
        "reml", "ml", "em", "em_markers", "pxem", "pxem_markers", "mom", "rhe", "lasso", "exact", "nuts",
    ]  # fmt: skip
    assert set(real.result.estimates["method"]) == set(table["method"]) - {"em_markers", "pxem_markers"}
    assert table.set_index("method")["agrees"].drop(["lasso", "exact"]).eq("yes").all()
    assert table.set_index("method")["agrees"][["lasso", "exact"]].eq("-").all()


def test_differences_are_in_posterior_standard_deviations(real):
    row = real.table.set_index("method").loc["ml"]
    reml, ml = real.result.fits["reml"], real.result.fits["ml"]
    assert_allclose(row["difference"], (ml.h2 - reml.h2) / real.result.exact.h2.sd, rtol=1e-9)
    # The Newton step predicts where ML is: the allowance is half more than the difference, and 0.02 sd.
    assert_allclose(row["allowed"], 1.5 * abs(row["difference"]) + 0.02, rtol=0.01)


def test_em_needs_at_least_5_times_more_iterations_than_px_em_in_marker_space(real):
    assert real.em["em_markers"].m == 10783
    assert real.em["em"].m == 1410
    ratio = real.em["em_markers"].iterations / real.em["pxem_markers"].iterations
    assert ratio >= 5
    why = real.table.set_index("method").loc["pxem_markers", "why"]
    assert why == f"108 iterations with 10,783 random effects, EM needs {ratio:.1f} times as many"


def test_hausmans_allowance_is_the_spread_of_the_difference(mice):
    """Of 300 traits with h2 = 0.5: 3 standard deviations of h2 by moments less h2 by REML, within 15%."""
    rng, (cohort, spectrum) = np.random.default_rng(5), mice
    data = spectrum.rotate(cohort.Y, cohort.X)
    noise = np.sqrt(0.5 * data.s + 0.5) * rng.standard_normal((300, len(data.s)))
    differences = []
    for y in noise:
        one = data._replace(Y=y[:, None])
        differences.append(bl.moments(one).h2 - bl.reml(one).h2)
    found = bl.compare(data._replace(Y=noise[:1].T), cohort, trait="CD8", seed=1, **FEW)
    row = found.table.set_index("method").loc["mom"]
    # The spread by quantiles: a ratio of estimates has heavy tails.
    spread = np.diff(np.quantile(differences, [0.1587, 0.8413]))[0] / 2
    assert_allclose(row["allowed"] * found.result.exact.h2.sd, 3 * spread, rtol=0.15)


def test_at_the_boundary(mice):
    data, cohort = with_trait(mice, np.random.default_rng(4).standard_normal(1410))
    found = bl.compare(data, cohort, trait="y", seed=1, **FEW)
    table = found.table.set_index("method")
    assert table.loc["reml", "h2"] == 0
    assert "on the boundary (h2 = 0)" in table.loc["reml", "why"]
    assert table.loc["em", "agrees"] == "no"
    assert "not converged" in table.loc["em", "why"]
    assert "EM needs more than" in table.loc["pxem", "why"]
    assert table.drop(index=["em", "exact", "nuts"])["agrees"].eq("yes").all()
    # So few draws may fail their checks: then they are not judged.
    assert table.loc["nuts", "agrees"] == ("-" if found.result.diagnostics.failures else "yes")
    assert found.not_converged[:1] == ["em"]
    row = found.boundary.iloc[0]
    assert row["rlrt"] == 0
    assert row["p_exact"] == row["p_mixture"] == 1
    assert row["inversion_lower"] == row["profile_lower"] == 0 < row["inversion_upper"] < 0.1
    assert row["log10_bayes_factor"] < -1
    assert 0.03 < row["mixture_size_at_0.05"] < 0.05
    assert found.conventions["se"].isna().all()


def test_a_wrong_model_is_a_disagreement(mice):
    """A trait that differs along the first principal component only: moments see it all, REML hardly."""
    _, spectrum = mice
    y = np.random.default_rng(6).standard_normal(1410) + 0.7 * np.sqrt(1410) * spectrum.U[:, -1]
    data, changed = with_trait(mice, y)
    row = bl.compare(data, changed, trait="y", seed=1, **FEW).table.set_index("method").loc["mom"]
    assert row["agrees"] == "no"
    assert row["difference"] > row["allowed"]


def small(K, X, y, **options):
    names = tuple(f"c{j}" for j in range(X.shape[1]))
    cohort = Cohort(tuple(f"p{i}" for i in range(len(y))), ("y",), (names,), K, y[:, None], (X,))
    data = bl.decompose(K).rotate(cohort.Y, X)
    return bl.compare(data, cohort, trait="y", seed=1, **FEW, **options).table.set_index("method")


def test_a_likelihood_without_a_maximum_is_not_judged():
    """K centred, an intercept and h2 near 1: ML runs away, EM stays at a local maximum, and both are said so."""
    rng = np.random.default_rng(9)
    W = rng.standard_normal((60, 200))
    K = centre(W @ W.T / 200)
    for _ in range(20):
        y = W @ rng.standard_normal(200) / np.sqrt(200) + 0.1 * rng.standard_normal(60)
        if bl.ml(bl.decompose(K).rotate(y[:, None], np.ones((60, 1)))).boundary == "h2 = 1":
            break
    table = small(K, np.ones((60, 1)), y)
    assert table.loc["ml", "agrees"] == table.loc["em", "agrees"] == "-"
    assert "ML is where its search ends" in table.loc["em", "why"]
    if table.loc["reml", "h2"] < 0.9999:
        assert "K is 0 along a direction of X" in table.loc["ml", "why"]


def test_an_informative_prior_is_not_held_against_reml(dense):
    K, X, y, _ = dense
    table = small(K, X, y, prior=bl.VariancePrior(h2=dist.Beta(1.0, 60.0)))
    assert table.loc["exact", "h2"] < 0.1 < table.loc["reml", "h2"]
    assert table.loc["reml", "agrees"] == "yes"


def test_balanced_families_make_moments_and_reml_one(rng):
    """Sibs of 20 families of 5: their difference is rounding, and no disagreement."""
    K = np.kron(np.eye(20), 0.5 * np.eye(5) + 0.5)
    y = 0.4 * np.kron(rng.standard_normal(20), np.ones(5)) + rng.standard_normal(100)
    table = small(K, np.ones((100, 1)), y)
    assert_allclose(table.loc["mom", "h2"], table.loc["reml", "h2"], rtol=1e-6)
    assert table.loc["mom", "agrees"] == "yes"


def test_the_cohort_must_be_that_of_the_data(mice):
    cohort, spectrum = mice
    data = spectrum.rotate(cohort.Y, cohort.X)
    with pytest.raises(InputError, match="the data must be those of the cohort: CD9 of 1410 individuals was given"):
        bl.compare(data, cohort, trait="CD9", seed=1)
