import arviz as az
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from conftest import GRYPHON, ROOT

mpl.use("agg")
README = (ROOT / "README.md").read_text()


@pytest.fixture(scope="module")
def gryphons():
    records = [pd.read_csv(GRYPHON / name, sep="\t", index_col="IID") for name in ("pheno.tsv", "covar.tsv")]
    return records[0].join(records[1][["sex", "cohort"]])


@pytest.fixture(scope="module")
def fitted(gryphons):
    return bl.fit("BWT ~ C(sex)", data=gryphons, kinship=GRYPHON / "pedigree.csv")


def test_a_fit_is_what_the_single_steps_give(fitted):
    covar = bl.read_table(GRYPHON / "covar.tsv")
    people = bl.measure(
        bl.read_table(GRYPHON / "pheno.tsv"), ["BWT"], covariate_table=covar, covariates=["sex"], categorical=["sex"]
    )
    (cohort,) = bl.align(bl.pedigree_kinship(GRYPHON / "pedigree.csv"), people)
    data = bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)
    assert fitted.cohort.ids == cohort.ids
    assert_allclose(fitted.rotated.X, data.X, atol=1e-12)
    assert fitted.result.reml.h2 == bl.reml(data).h2
    h2 = bl.exact.posterior(data).h2
    assert_allclose(
        fitted.summary().loc["h2", ["lower", "upper", "estimate", "se"]].astype(float), [*h2.interval(), h2.mean, h2.sd]
    )
    assert fitted.summary().index[0] == "h2"
    assert list(fitted.summary().columns[:2]) == ["lower", "upper"]
    assert set(fitted.estimates["method"]) == {"reml", "exact"}


def test_what_was_dropped_is_shown(fitted):
    assert fitted.dropped["count"].tolist() == [225, 230]
    for text in (repr(fitted), fitted._repr_html_()):
        assert "heritability of BWT: 0.508 (posterior mean, exact), with 95% probability between" in text
        assert "854 individuals with BWT" in text
        assert "dropped: 230 without a value of BWT (360, 1275, 1180, ...)" in text
        assert "pedigree: 1,309 animals" in text
    assert fitted._repr_html_().index("95% interval") < fitted._repr_html_().index("REML (se)")
    assert len(repr(fitted).splitlines()) == 5


def test_html_is_escaped(gryphons):
    frame = gryphons.rename(columns={"BWT": "<b>"})
    fit = bl.fit("`<b>` ~ 1", data=frame, kinship=GRYPHON / "pedigree.csv", methods=["reml"])
    assert "<b>" not in fit._repr_html_()
    assert "&lt;b&gt;" in fit._repr_html_()


def test_draws_of_the_exact_posterior_are_independent_and_of_its_marginals(fitted):
    draws, exact = fitted.posterior, fitted.result.exact
    names = ["h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"]
    summary = az.summary(draws, var_names=names)
    assert (summary["ess_bulk"].astype(float) > 3200).all()
    for name in names:
        values, marginal = draws["posterior"][name].to_numpy(), getattr(exact, name)
        assert values.shape == (4, 1000, 1)
        assert abs(values.mean() - marginal.mean) < 4 * marginal.sd / np.sqrt(4000)
        assert_allclose(values.std(), marginal.sd, rtol=0.05)
        assert_allclose(np.mean(values < marginal.quantile(0.1)), 0.1, atol=0.02)
    beta = draws["posterior"]["beta"].sel(covariate="C(sex)[2]").to_numpy()
    assert abs(beta.mean() - exact.beta[1]) < 4 * exact.se_beta[1] / np.sqrt(4000)
    assert_allclose(beta.std(), exact.se_beta[1], rtol=0.05)
    assert draws["observed_data"]["y"].dims == ("rotated_row",)
    assert fitted.posterior is draws
    assert draws.attrs["model"] == "quadrature"


def test_many_draws_have_the_moments_of_the_quadrature(fitted):
    exact = fitted.result.exact
    drawn = exact.sample(200_000, np.random.default_rng(1))
    for name in ("h2", "pve", "sigma2_u", "sigma2_e", "sigma2_p"):
        marginal = getattr(exact, name)
        assert_allclose((drawn[name].mean() - marginal.mean) / marginal.sd, 0, atol=0.01)
        assert_allclose(drawn[name].std(), marginal.sd, rtol=0.01)
    assert_allclose((drawn["beta"].mean(axis=0) - exact.beta) / exact.se_beta, 0, atol=0.01)
    assert_allclose(drawn["beta"].std(axis=0), exact.se_beta, rtol=0.01)


def test_groups_on_demand(gryphons):
    options = {"data": gryphons, "kinship": GRYPHON / "pedigree.csv", "draws": 250}
    fit = bl.fit("BWT ~ 1", draws_groups=["prior", "log_prior", "posterior_predictive", "log_likelihood"], **options)
    assert {"prior", "log_prior", "posterior_predictive", "log_likelihood"} < set(fit.posterior.children)
    loo = az.loo(fit.posterior)
    assert abs(loo.p - 3) < 1  # parameters: two variances, a mean
    assert az.psense_summary(fit.posterior, var_names=["h2"])["diagnosis"].tolist() == ["✓"]
    with pytest.raises(InputError, match="groups of draws must be among"):
        bl.fit("BWT ~ 1", draws_groups=["likelihood"], **options)


def test_the_plot_has_posterior_prior_and_reml(fitted):
    labels = [text.get_text() for text in fitted.plot().get_legend().get_texts()]
    assert labels == ["exact posterior", "prior", "REML, 95% Wald interval"]
    _, ax = mpl.pyplot.subplots()
    assert fitted.plot(ax) is ax
    mpl.pyplot.close("all")


def test_four_lines_from_a_dataframe_to_a_posterior(monkeypatch):
    """Those of the README."""
    code = README.partition("```python\n")[2].partition("```")[0]
    lines = [line for line in code.splitlines() if line and not line.startswith(("import", "#"))]
    assert len(lines) <= 4
    monkeypatch.chdir(ROOT)
    names = {}
    exec(compile(code, "README.md", "exec"), names)
    assert abs(names["fit"].summary().loc["h2", "estimate"] - 0.596) < 0.001
    assert mpl.pyplot.gca().get_xlabel() == "heritability h2"
    mpl.pyplot.close("all")


def test_components_and_scale_of_k(gryphons):
    options = {"data": gryphons, "kinship": GRYPHON / "pedigree.csv", "methods": ["reml"]}
    fit = bl.fit("BWT ~ 1", pcs=2, centre=True, normalise=True, **options)
    assert fit.cohort.covariates == (("intercept", "PC1", "PC2"),)
    assert_allclose(fit.spectrum.mean_diagonal, 1)
    with pytest.raises(InputError, match="there is no posterior by reml: ask for exact or nuts"):
        _ = fit.posterior


def test_normal_scores_do_not_depend_on_the_scale(gryphons):
    options = {"data": gryphons, "kinship": GRYPHON / "pedigree.csv", "methods": ["reml"], "transform": "rank"}
    plain, cubed = (bl.fit(f"{trait} ~ 1", **options) for trait in ("BWT", "I(BWT ** 3)"))
    assert cubed.cohort.traits == ("I(BWT ** 3)",)
    assert_allclose(cubed.result.reml.h2, plain.result.reml.h2, rtol=1e-9)
    assert "normal scores" in repr(plain)


def test_two_traits_are_sent_elsewhere(gryphons):
    with pytest.raises(InputError, match="fit takes one trait, but BWT, TARSUS were given: use fit_jointly"):
        bl.fit("BWT + TARSUS ~ 1", data=gryphons, kinship=GRYPHON / "pedigree.csv")


@pytest.mark.slow
def test_nuts_on_request(gryphons):
    fit = bl.fit(
        "BWT ~ 1", data=gryphons, kinship=GRYPHON / "pedigree.csv", methods=["reml", "exact", "nuts"], draws=200, seed=3
    )
    assert fit.posterior["posterior"]["h2"].shape == (4, 200, 1)
    assert fit.posterior.attrs["seed"] == 3
    assert "sample_stats" in fit.posterior
