import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.analyses.conventions import conventions
from conftest import GRYPHON


@pytest.fixture(scope="module")
def mice(mouse_data):
    """CD8 with GEMMA's kinship: VanRaden's on GEMMA's scale, centred on the people analysed."""
    data = mouse_data("CD8", "vanraden", centred=True)
    data = data._replace(s=data.s * 0.359140062356461 / data.k_scale, k_scale=0.359140062356461)
    return data, conventions(bl.reml(data), bl.ml(data), data, np.ones((1410, 1))).set_index("program")


@pytest.mark.slow
def test_gemma(mice, mouse_reference):
    """The log-likelihood, variances, pve and its standard error that GEMMA prints for the mice, to its 6 digits."""
    row = mice[1].loc["GEMMA"]
    printed = mouse_reference["univariate"][0]["results"]
    assert_allclose(row["loglik"], printed["loglik_reml"], atol=6e-3)
    values = [row["sigma2_u"], row["sigma2_e"], row["heritability"], row["se"]]
    assert_allclose(values, [printed["vg"], printed["ve"], printed["pve"], printed["se_pve"]], rtol=2e-5)
    assert row["se_kind"] == "observed"


def test_limix(mice, mouse_reference):
    """glimix-core's ML, which LIMIX runs, on the same K; LIMIX's own scale of K makes its h2 GEMMA's pve almost."""
    data, table = mice
    row, run = table.loc["LIMIX"], mouse_reference["other_tools"]["glimix_core_3_1_14"]["ml"]
    scale = data.k_scale * 1410 / 1409
    assert_allclose(row["loglik"], run["lml"], atol=1e-6)
    assert_allclose([row["sigma2_u"], row["sigma2_e"]], [run["v0_vg"] * scale, run["v1_ve"]], rtol=1e-6)
    assert_allclose(row["heritability"], run["v0_vg"] * scale / (run["v0_vg"] * scale + run["v1_ve"]), rtol=1e-6)


@pytest.mark.slow
def test_asreml_and_gcta(gryphon_reference):
    """ASReml's published fit of the gryphons: log-likelihood without constants, average information."""
    published = gryphon_reference["published"][0]
    people = bl.measure(bl.read_table(GRYPHON / "pheno.tsv"), ["BWT"])
    (cohort,) = bl.align(bl.pedigree_kinship(GRYPHON / "pedigree.csv"), people)
    data = bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)
    table = conventions(bl.reml(data), bl.ml(data), data, cohort.X[0]).set_index("program")
    for program in ("ASReml", "GCTA"):
        row = table.loc[program]
        assert_allclose(row["loglik"], published["loglik"], atol=1e-3)
        assert_allclose([row["heritability"], row["se"]], published["h2"], rtol=5e-5)


@pytest.mark.slow
def test_fixed_effects_count_for_limix(small_data, dense):
    _, X, _, _ = dense
    ml = bl.ml(small_data)
    row = conventions(bl.reml(small_data), ml, small_data, X).set_index("program").loc["LIMIX"]
    g = row["sigma2_u"]
    assert_allclose(row["heritability"], g / (g + ml.sigma2_e + np.var(X @ ml.beta)), rtol=1e-12)
    assert row["heritability"] < g / (g + ml.sigma2_e)


def test_no_standard_error_on_the_boundary(mouse_data):
    data = bl.simulate.rotated_trait(mouse_data("CD8").s, h2=0.0, rng=np.random.default_rng(4))
    table = conventions(bl.reml(data), bl.ml(data), data, np.ones((1410, 1)))
    assert table["se"].isna().all()


@pytest.mark.slow
def test_programs_that_always_fit_an_intercept_have_no_row_without_one(dense):
    _, _, y, spectrum = dense
    X = np.arange(40.0)[:, None]
    data = spectrum.rotate(y[:, None], X)
    table = conventions(bl.reml(data), bl.ml(data), data, X)
    assert table["program"].tolist() == ["ASReml", "LIMIX"]
