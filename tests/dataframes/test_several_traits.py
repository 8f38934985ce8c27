import arviz_stats
import matplotlib as mpl
import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from conftest import GRYPHON

mpl.use("agg")


@pytest.fixture(scope="module")
def gryphons():
    records = [pd.read_csv(GRYPHON / name, sep="\t", index_col="IID") for name in ("pheno.tsv", "covar.tsv")]
    return records[0].join(records[1][["sex"]])


def test_a_joint_fit_is_what_the_single_steps_give(gryphons):
    fit = bl.fit_jointly("BWT + TARSUS ~ C(sex)", data=gryphons, kinship=GRYPHON / "pedigree.csv", methods=["mom"])
    covar = bl.read_table(GRYPHON / "covar.tsv")
    people = bl.measure(
        bl.read_table(GRYPHON / "pheno.tsv"), ["BWT", "TARSUS"], covariate_table=covar, covariates=["sex"],
        categorical=["sex"],
    )  # fmt: skip
    cohort = bl.align_jointly(bl.pedigree_kinship(GRYPHON / "pedigree.csv"), people)
    data = bl.decompose(cohort.K).rotate_jointly(cohort.Y, cohort.X)
    moments = bl.correlations(data, traits=["BWT", "TARSUS"], covariates=cohort.covariates, seed=1, methods=["mom"])
    assert_allclose(fit.estimates["estimate"], moments.estimates["estimate"], rtol=1e-9)
    assert fit.cohort.ids == cohort.ids
    assert fit.dropped["count"].tolist() == [225, 230]
    assert "genetic correlation of BWT and TARSUS: " in repr(fit)
    assert "854 with BWT, 683 with TARSUS" in fit._repr_html_()
    assert fit._repr_html_().index("95% interval") < fit._repr_html_().index("moments (se)")
    assert fit.plot().get_title().startswith("Genetic correlations: moments")
    mpl.pyplot.close("all")
    with pytest.raises(InputError, match=r"there is no posterior by mom: ask for nuts or importance \(methods\)"):
        _ = fit.posterior


def test_one_trait_is_refused(gryphons):
    with pytest.raises(InputError, match="two or more traits are needed"):
        bl.fit_jointly("BWT ~ 1", data=gryphons, kinship=GRYPHON / "pedigree.csv")


@pytest.mark.slow
def test_two_traits_have_a_posterior_by_default(gryphons, gryphon_correlations):
    few = {"warmup": 300, "draws": 300}
    fit = bl.fit_jointly("BWT + TARSUS ~ 1", data=gryphons, kinship=GRYPHON / "pedigree.csv", **few)
    assert list(fit.result.fits) == ["mom", "reml", "nuts"]
    draws = fit.posterior["posterior"]["rho_u"].to_numpy()
    expected = gryphon_correlations.posterior["posterior"]["rho_u"].to_numpy()
    errors = [float(arviz_stats.mcse(each)) for each in (draws, expected)]
    assert abs(draws.mean() - expected.mean()) < 4 * np.hypot(*errors)
    assert max(errors) < 0.02
    assert np.isfinite(fit.pairs["prior_overlap"]).all()
    labels = [text.get_text() for text in fit.plot().get_legend().get_texts()]
    assert labels == ["NUTS, 1,200 draws", "prior", "REML, 95% Wald interval"]
    mpl.pyplot.close("all")
