"""Many traits at once against the functions of one trait, and references of other programs."""

import importlib.util
import json
import warnings

import numpy as np
import numpyro.distributions as dist
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.stats import false_discovery_control

import bayeslmm as bl
from bayeslmm.analyses import many_traits as module
from bayeslmm.estimators.boundary import contrast_eigenvalues, reml_distribution
from bayeslmm.posterior import exact
from tests.conftest import MOUSE, two_modes

QUANTITIES = ("h2", "pve", "sigma2_u", "sigma2_e")


def assert_equals_one_trait(row, data, prior=None):
    """Compare one row with REML and the exact posterior of one trait: 1e-6, and 1e-5 posterior sd."""
    reml, posterior = bl.reml(data), exact.posterior(data, prior)
    assert row["n"] == len(data.s)
    assert row["boundary"] == (reml.boundary or "")
    assert row["modes"] == 1 + len(reml.other_modes)
    assert row["loglik_reml"] == pytest.approx(reml.loglik, abs=1e-6)
    assert row["lrt"] == pytest.approx(reml.likelihood_ratio, abs=1e-6)
    for name in QUANTITIES:
        marginal = getattr(posterior, name)
        assert row[f"{name}_reml"] == pytest.approx(getattr(reml, name), rel=1e-6, abs=1e-6 * marginal.sd), name
        found = row[[f"{name}_{what}" for what in ("mean", "sd", "lower", "upper")]].to_numpy(float)
        expected = [marginal.mean, marginal.sd, *marginal.interval()]
        assert_allclose(found, expected, atol=1e-5 * marginal.sd, rtol=0, err_msg=name)
    assert row["log_evidence"] == pytest.approx(posterior.log_evidence, abs=1e-5)
    assert row["log_bayes_factor"] == pytest.approx(posterior.log_bayes_factor, abs=1e-5)


@pytest.fixture
def family(rng):
    """K of 120 in families with one covariate beside the intercept, and its spectrum."""
    n = 120
    W = rng.standard_normal((n, 300)) + np.repeat(rng.standard_normal((n // 6, 300)), 6, axis=0)
    K = W @ W.T / np.trace(W @ W.T) * n
    return K, np.column_stack([np.ones(n), rng.standard_normal(n)]), bl.decompose(K)


def test_hard_traits_equal_one_trait(family, rng):
    K, X, spectrum = family
    n = len(K)
    genetic = np.linalg.cholesky(K + 1e-12 * np.eye(n)) @ rng.standard_normal((n, 3))
    noise = rng.standard_normal((n, 3))
    traits = {
        "nothing": noise[:, 0],
        "everything": genetic[:, 0],
        "nearly": genetic[:, 1] + 1e-3 * noise[:, 1],
        "against": np.linalg.solve(K + 0.05 * np.eye(n), noise[:, 1]),  # REML at 0
        "half": genetic[:, 2] + noise[:, 2],
        "tiny": 1e-9 * (genetic[:, 0] + noise[:, 0]),
        "huge": 1e9 * (genetic[:, 1] + noise[:, 0]),
        "offset": 1e6 + genetic[:, 2] + noise[:, 1],
        "outlier": np.where(np.arange(n) == 7, 50.0, noise[:, 2]),
    }
    found = bl.many_heritabilities(spectrum, np.column_stack(list(traits.values())), X, names=tuple(traits))
    assert set(found["boundary"]) >= {"", "h2 = 0"}
    assert list(found.index) == list(traits)
    for name, y in traits.items():
        assert_equals_one_trait(found.loc[name], spectrum.rotate(y[:, None], X))


def test_two_modes_equal_one_trait():
    data = two_modes((40, 30, 4), 40.0)
    spectrum = bl.Spectrum(data.s, np.eye(len(data.s)))
    found = bl.many_heritabilities(spectrum, data.Y, data.X).iloc[0]
    assert found["modes"] == 2
    assert_equals_one_trait(found, data._replace(k_scale=spectrum.k_scale))


@pytest.mark.parametrize(
    "prior",
    [
        bl.VariancePrior(h2=dist.Beta(2.0, 5.0)),
        bl.VariancePrior(sigma2_p=dist.HalfNormal(2.0)),
        bl.VariancePrior(h2=dist.Uniform(0.2, 0.9)),
    ],
)
def test_priors_are_those_of_one_trait(family, rng, prior):
    K, X, spectrum = family
    y = np.linalg.cholesky(K) @ rng.standard_normal(len(K)) + rng.standard_normal(len(K))
    found = bl.many_heritabilities(spectrum, y[:, None], X, prior=prior)
    assert_equals_one_trait(found.iloc[0], spectrum.rotate(y[:, None], X), prior)


def scattered(Y, rng):
    """Return traits of which every second lacks a few values, and the last two many, the same ones."""
    Y = Y.copy()
    for j in range(0, Y.shape[1], 2):
        Y[rng.choice(len(Y), 1 + j % 5, replace=False), j] = np.nan
    Y[: len(Y) // 2, -2:] = np.nan
    return Y


def test_missing_values_in_either_way_equal_one_trait_of_those_there(family, rng, monkeypatch):
    K, X, spectrum = family
    Y = scattered(K @ rng.standard_normal((len(K), 5)) / 2 + rng.standard_normal((len(K), 5)), rng)
    missing, diagonal = np.isnan(Y), np.diag(K)
    groups = module.groups_of(missing, diagonal)
    assert sorted(j for group in groups for j in group.traits) == list(range(5))
    together = bl.many_heritabilities(spectrum, Y, X)
    apart = [module.Group(~missing[:, j], np.array([j])) for j in range(5)]
    monkeypatch.setattr(module, "groups_of", lambda missing, diagonal: apart)
    each = bl.many_heritabilities(spectrum, Y, X)
    numbers = [name for name in together.columns if name not in ("boundary", "p", "q")]
    for name in numbers:
        rtol = 1e-7 if name.endswith(("lower", "upper")) else 1e-8
        assert_allclose(together[name], each[name], rtol=rtol, atol=1e-8, err_msg=name)
    assert_allclose(together["p"], each["p"], atol=0.02)
    for j in (0, 4):
        there = ~missing[:, j]
        data = bl.decompose(K[np.ix_(there, there)]).rotate(Y[there, j : j + 1], X[there])
        assert_equals_one_trait(together.iloc[j], data)


def test_the_way_is_chosen_by_cost():
    def ways(n, holes):
        missing = np.zeros((n, len(holes) + 2), dtype=bool)
        for j, m in enumerate(holes):
            missing[j : j + m, j] = True
        return [(int(group.people.sum()), len(group.traits)) for group in module.groups_of(missing, np.ones(n))]

    assert ways(500, [3]) == [(500, 2), (497, 1)]  # one decomposition
    assert ways(500, [3] * 40) == [(500, 42)]  # missing values as columns
    assert ways(500, [3] * 40 + [400]) == [(500, 42), (100, 1)]


def test_p_values_are_those_of_the_distribution_and_q_of_scipy(family, rng):
    K, X, spectrum = family
    Y = rng.standard_normal((len(K), 30)) + 0.7 * np.linalg.cholesky(K) @ rng.standard_normal((len(K), 30))
    found = bl.many_heritabilities(spectrum, Y, X, seed=3)
    null = reml_distribution(contrast_eigenvalues(spectrum.rotate(Y, X)), seed=3)
    assert_allclose(found["p"], [null.p_value(one) for one in found["lrt"]], rtol=1e-9)
    share = [1.0 if one == 0 else (null._under_null(null.statistic >= one)).mean() for one in found["lrt"]]
    assert_allclose(found["p"], share, rtol=1e-9)
    assert_allclose(found["q"], false_discovery_control(found["p"]))


def test_people_of_a_trait_who_are_all_equally_related_are_refused(rng):
    K = np.eye(60)
    K[:10, :10] += 0.5 * (1 - np.eye(10))
    Y = rng.standard_normal((60, 8))
    for j in range(8):
        Y[: 9 + j % 2, j] = np.nan
    with pytest.raises(bl.InputError, match="equally related"):
        bl.many_heritabilities(bl.decompose(K), Y, np.ones((60, 1)))


@pytest.fixture(scope="module")
def generated(shared, mouse_kinship):
    """Some of the generated traits of the mice, with their references."""
    folder = shared / "mouse_2000_traits"
    specification = importlib.util.spec_from_file_location("make_traits", folder / "make_traits.py")
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # a file that the generator leaves open
        Y, _, _ = made.main(str(MOUSE), None)
    references = pd.DataFrame(json.loads((folder / "reference.json").read_text())["references"]).set_index("trait")
    ids = pd.read_csv(MOUSE / "pheno.tsv", sep="\t", dtype={"IID": str})
    traits = pd.DataFrame(Y, index=pd.Index(ids.loc[ids["CD8"].notna(), "IID"], name="id"))
    traits.columns = [f"t{j + 1:04d}" for j in range(Y.shape[1])]
    return traits, references, mouse_kinship("sample")


def test_generated_traits_of_the_mice_equal_their_references(generated):
    traits, references, kinship = generated
    complete = references.index[(references["n"] == 1410).to_numpy()]
    chosen = [*complete, *references.index.difference(complete)[:1]]
    fit = bl.fit_many(traits[chosen], kinship=kinship)
    found, expected = fit.estimates, references.loc[chosen]
    assert found["n"].tolist() == expected["n"].tolist()
    # Values of the references have been rounded to 6 decimals, and their quadrature is coarser.
    for name, of in (("h2_reml", "h2_reml"), ("sigma2_u_reml", "sigma2_u"), ("sigma2_e_reml", "sigma2_e")):
        assert_allclose(found[name], expected[of], atol=2e-6)
    for name in ("h2", "sigma2_u", "sigma2_e"):
        for what in ("mean", "sd"):
            error = abs(found[f"{name}_{what}"] - expected[f"{name}_{what}"]) / found[f"{name}_sd"]
            assert error.max() < 2e-4, (name, what)
    ends = {"lower": "h2_q025", "upper": "h2_q975"}
    for end, of in ends.items():
        assert (abs(found[f"h2_{end}"] - expected[of]) / found["h2_sd"]).max() < 0.05
    assert "26 traits, 25 of them without missing values" in repr(fit)


def test_a_random_sample_of_the_mice_equals_one_trait(generated):
    traits, _, kinship = generated
    chosen = traits.columns[traits.notna().all()][np.random.default_rng(3).choice(1700, 6, replace=False)]
    found = bl.fit_many(traits[chosen], kinship=kinship).estimates
    rows = [list(kinship.ids).index(name) for name in traits.index]
    order = np.argsort(rows)
    spectrum = bl.decompose(kinship.dense()[np.ix_(np.sort(rows), np.sort(rows))])
    for name in chosen:
        y = traits[name].to_numpy()[order]
        assert_equals_one_trait(found.loc[name], spectrum.rotate(y[:, None], np.ones((len(y), 1))))
