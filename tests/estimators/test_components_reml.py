"""REML of several components against published ASReml, against GEMMA -vc 2, and against references made apart."""

import json

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.records import Records, grouped
from bayeslmm.estimators.components_reml import components_reml
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.rotation import RotatedData

# ASReml-R 4.2 as printed by github.com/JulienGAMartin/wam_tuto: the models that its page has, by ours. Where ASReml
# stopped short of the maximum, by how much, relative: (components, their errors).
ASREML = {
    ("bwt", "animal+byear+mother"): ("bwt ~ sex, animal + byear + mother", 5e-6, 5e-5),
    ("bwt", "animal+byear"): ("bwt ~ sex, animal + byear", 5e-6, 2e-5),
    ("bwt", "animal"): ("bwt ~ sex, animal", 1e-6, 5e-6),
    ("laydate", "pe"): ("laydate ~ age, id", 1e-6, 3e-5),
    ("laydate", "animal"): ("laydate ~ age, animal", 6e-5, 5e-4),
    ("laydate", "animal+pe"): ("laydate ~ age, animal + pe", 1e-6, 3e-5),
    ("laydate", "animal+pe+year"): ("laydate ~ age, animal + pe + year", 1e-6, 2e-5),
    ("laydate", "animal+pe+year+byear"): ("laydate ~ age, animal + pe + year + byear", 1e-6, 1e-6),
}
KINDS = {"AI": "average", "EI": "expected", "OI": "observed"}


@pytest.fixture(scope="module")
def reference(shared):
    return {name: json.loads((shared / name / "reference.json").read_text()) for name in ("gryphon_vc", "mouse_vc")}


def without_xx(fit):
    """Return the log-likelihood without 1/2 log|X'X|."""
    X = fit.data.records.X
    return fit.loglik - np.linalg.slogdet(X.T @ X)[1] / 2


def check(fit, wanted, *, rtol=1e-5, atol=1e-8):
    """Hold a fit against a reference: components, shares, three kinds of error of both, log-likelihood, effects."""
    assert fit.boundary == tuple(wanted["boundary"])
    assert_allclose(fit.sigma2, wanted["theta"], rtol=rtol, atol=1e-12)
    assert_allclose(without_xx(fit), wanted["loglik_standard"], rtol=0, atol=atol)
    assert_allclose(fit.beta, wanted["beta"], rtol=rtol, atol=rtol * min(wanted["se_beta"]))
    assert_allclose(fit.se_beta, wanted["se_beta"], rtol=rtol)
    together = {
        "repeatability": ("animal", "pe"),
        "sum": fit.names[:-1],
        "sum_genetic": fit.names[:-1],
        "h2": ("animal",),
    }
    for short, kind in KINDS.items():
        se = np.nan_to_num(fit.standard_errors(kind))
        assert_allclose(se, wanted[f"se_{short}"], rtol=rtol, err_msg=kind)
        for name, value in wanted[f"proportions_{short}"].items():
            names = [one for one in together.get(name, (name.removeprefix("prop_"),)) if one in fit.names]
            assert_allclose(fit.share(*names), value["est"], rtol=rtol, atol=1e-12, err_msg=name)
            assert_allclose(np.nan_to_num(fit.share_error(*names, kind=kind)), value["se"], rtol=rtol, err_msg=name)


MODELS = {
    "bwt": ["animal", "byear", "mother", "animal+byear", "animal+mother", "byear+mother", "animal+byear+mother",
            "animal+byear+mgen", "animal+byear+mother+mgen"],
    "laydate": ["animal", "pe", "year", "animal+pe", "pe+year", "animal+year", "animal+pe+year", "animal+pe+byear",
                "animal+year+byear", "pe+year+byear", "animal+pe+year+byear"],
}  # fmt: skip


@pytest.mark.parametrize(("trait", "model"), [(trait, model) for trait in MODELS for model in MODELS[trait]])
def test_gryphons_equal_the_reference(gryphon_components, reference, trait, model):
    check(components_reml(gryphon_components(trait, model)), reference["gryphon_vc"][trait]["models"][model]["reml"])


@pytest.mark.parametrize(("trait", "model"), ASREML)
def test_gryphons_equal_asreml(gryphon_components, reference, trait, model):
    page, of_theta, of_errors = ASREML[trait, model]
    published = reference["gryphon_vc"]["published"]["asreml"][page]
    fit = components_reml(gryphon_components(trait, model))
    for name, value, error in zip(fit.names, fit.sigma2, fit.standard_errors(), strict=True):
        printed, printed_error = published[name]
        if printed_error is None:  # ASReml's word for the boundary
            assert (value, np.isnan(error), printed < 1e-6) == (0, True, True)
            continue
        assert_allclose(value, printed, rtol=of_theta, err_msg=name)
        assert_allclose(error, printed_error, rtol=of_errors, err_msg=name)
    df = fit.data.n - fit.data.c
    assert_allclose(without_xx(fit) + df / 2 * np.log(2 * np.pi), published["loglik"], atol=5.1e-4)
    for name, names in {"h2": ("animal",), "repeatability": ("animal", "pe")}.items():
        if name in published:
            assert_allclose([fit.share(*names), fit.share_error(*names)], published[name], rtol=3e-5)
    if "beta" in published:
        assert_allclose(fit.beta, [value for value, _ in published["beta"].values()], rtol=2e-6)
        assert_allclose(fit.se_beta, [error for _, error in published["beta"].values()], rtol=2e-5)


def test_a_fixed_birth_year_equals_asreml(gryphon_components, reference):
    """Cohort moves from the components to the covariates."""
    records = gryphon_components("laydate", "animal+pe+year+byear").records
    byear = records.components[-1]
    X = np.column_stack([records.X, byear.Z.toarray()[:, 1:]])
    covariates = (*records.covariates, *byear.levels[1:])
    fit = components_reml(components(Records("laydate", records.y, X, covariates, records.components[:-1])))
    wanted = reference["gryphon_vc"]["laydate"]["extra_reml"]["laydate~age+byear(fixed)+animal+pe+year"]
    assert_allclose(fit.sigma2, wanted["theta"], rtol=1e-6)
    assert_allclose(fit.standard_errors(), wanted["se_AI"], rtol=1e-6)
    assert_allclose(without_xx(fit), wanted["loglik_standard"], atol=1e-7)
    published = reference["gryphon_vc"]["published"]["asreml"]["laydate ~ age + byear (fixed), animal + pe + year"]
    printed = [published[name] for name in fit.names]
    assert_allclose(np.column_stack([fit.sigma2, fit.standard_errors()]), printed, rtol=5e-5)


@pytest.mark.parametrize("trait", ["CD8", pytest.param("MCH", marks=pytest.mark.slow)])
@pytest.mark.parametrize("model", ["odd+even", "add+dom", "add+fam"])
def test_mice_equal_the_reference_and_gemma(mouse_components, reference, trait, model):
    """GEMMA prints 6 digits, and stops its search where a few 1e-6 are left; our kinships are sums in float32."""
    fit = components_reml(mouse_components(trait, model))
    check(fit, reference["mouse_vc"]["traits"][trait]["models"][model]["reml"], atol=1e-4)
    gemma = reference["mouse_vc"]["gemma_vc2"][trait][model]
    assert_allclose(fit.sigma2, gemma["sigma2 estimates"], rtol=6e-6)
    assert_allclose(fit.standard_errors(), gemma["se(sigma2)"], rtol=6e-6)
    names = model.split("+")
    assert_allclose([fit.pve(name) for name in names], gemma["pve estimates"], rtol=6e-6)
    assert_allclose([fit.pve_error(name) for name in names], gemma["se(pve)"], rtol=6e-6)
    assert_allclose([fit.pve(*names), fit.pve_error(*names)], [*gemma["total pve"], *gemma["se(total pve)"]], rtol=6e-6)


def test_one_component_is_reml_of_one(gryphon_components):
    data = gryphon_components("bwt", "animal")
    records, (animal,) = data.records, data.records.components
    s, U = np.linalg.eigh(animal.covariance())
    one = reml(RotatedData(s, U.T @ records.y[:, None], U.T @ records.X))
    fit = components_reml(data)
    assert_allclose(fit.sigma2, [one.sigma2_u, one.sigma2_e], rtol=1e-6)
    assert_allclose(fit.loglik, one.loglik, atol=1e-8)
    assert_allclose(fit.beta, one.beta, rtol=1e-7)


def test_predictions_solve_the_mixed_model_equations(dense_records):
    """Henderson's equations with ratios of variances, written out."""
    records = dense_records()
    fit = components_reml(components(records))
    inside = [j for j, name in enumerate(fit.names[:-1]) if name not in fit.boundary]
    assert inside
    parts = [records.components[j] for j in inside]
    T = np.column_stack([records.X, *(one.Z.toarray() for one in parts)])
    C, c = T.T @ T, records.X.shape[1]
    for one, variance in zip(parts, fit.sigma2[inside], strict=True):
        q = len(one.levels)
        inverse = np.eye(q) if one.K is None else np.linalg.inv(one.K)
        C[c : c + q, c : c + q] += inverse * fit.sigma2[-1] / variance
        c += q
    solution = np.linalg.solve(C, T.T @ records.y)
    assert_allclose(solution[: records.X.shape[1]], fit.beta, rtol=1e-5)
    ours = np.concatenate([fit.effects[one.name] for one in parts])
    assert_allclose(solution[records.X.shape[1] :], ours, atol=1e-6 * np.abs(ours).max())


def test_all_components_can_be_on_the_boundary(rng):
    n = 60
    levels = np.repeat(np.arange(20), 3)
    y = rng.standard_normal(n)
    y -= np.bincount(levels, y)[levels] / 3  # less varies between levels than by chance
    data = components(
        Records("y", y + 5, np.ones((n, 1)), ("intercept",), (grouped("a", levels), grouped("b", np.arange(n) % 5)))
    )
    fit = components_reml(data)
    assert "a" in fit.boundary
    assert fit.sigma2[0] == 0
    assert np.isnan(fit.standard_errors()[0])
    assert np.isnan(fit.share_error("a"))
    assert fit.share_error("e") > 0 or "b" in fit.boundary


def test_left_out_components_are_as_if_not_given(gryphon_components):
    fit = components_reml(gryphon_components("bwt", "animal+byear+mother"), without=["mother"])
    other = components_reml(gryphon_components("bwt", "animal+byear"))
    assert_allclose(fit.sigma2, [*other.sigma2[:-1], 0, other.sigma2[-1]], rtol=1e-6)
    assert_allclose(fit.loglik, other.loglik, atol=1e-8)
    assert fit.boundary == ()


def test_unknown_names_and_kinds_are_refused(dense_records):
    data = components(dense_records())
    fit = components_reml(data)
    for wrong in (
        lambda: fit.share("nobody"),
        lambda: fit.share(),
        lambda: components_reml(data, without=["e"]),
    ):
        with pytest.raises(InputError):
            wrong()
