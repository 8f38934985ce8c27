import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.cohort.records import Records, grouped
from bayeslmm.estimators.boundary import contrast_eigenvalues, reml_distribution
from bayeslmm.estimators.component_test import component_test
from bayeslmm.estimators.components_reml import components_reml
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood.components import components
from bayeslmm.likelihood.rotation import RotatedData


def test_one_component_has_the_exact_null_distribution(dense_records):
    """That of the eigenvalues of K among error contrasts."""
    whole = dense_records()
    (animal,) = (one for one in whole.components if one.name == "animal")
    fit = components_reml(components(Records("y", whole.y, whole.X, whole.covariates, (animal,))))
    test = component_test(fit, "animal", seed=3)
    s, U = np.linalg.eigh(animal.covariance())
    data = RotatedData(np.maximum(s, 0) / s.mean(), U.T @ whole.y[:, None], U.T @ whole.X)
    exact = reml_distribution(contrast_eigenvalues(data), seed=4)
    assert_allclose(test.statistic, reml(data).likelihood_ratio, atol=1e-6)
    wanted, error = exact.p_value(test.statistic), np.hypot(exact.p_value_error(test.statistic), test.p_value_error)
    assert abs(test.p_value - wanted) < 4 * error


def test_gryphons(gryphon_components):
    fit = components_reml(gryphon_components("laydate", "animal+pe+year+byear"))
    pe, byear = (component_test(fit, name, seed=1) for name in ("pe", "byear"))
    assert_allclose(pe.statistic, 2 * (-4427.234767561504 + 4445.610803), atol=1e-3)
    assert 1e-11 < pe.p_value < 1e-8
    assert np.isnan(pe.p_mixture)  # byear is at 0 without pe too
    assert (byear.statistic, byear.p_value, byear.p_mixture) == (0, 1, 1)


@pytest.mark.slow
def test_the_size_of_the_test_is_its_level():
    """With another component in the model, crossed and few levels: 150 data sets at a variance of 0."""
    rng, n = np.random.default_rng(2), 60
    parts = grouped("a", np.arange(n) % 6), grouped("b", np.arange(n) // 5)
    p_values = []
    for _ in range(150):
        y = 0.7 * rng.standard_normal(12)[parts[1].level_of] + rng.standard_normal(n)
        fit = components_reml(components(Records("y", y, np.ones((n, 1)), ("intercept",), parts)))
        p_values.append(1.0 if "a" in fit.boundary else component_test(fit, "a", seed=1).p_value)
    for level in (0.05, 0.2):
        assert abs(np.mean(np.array(p_values) <= level) - level) < 4 * np.sqrt(level * (1 - level) / 150)
