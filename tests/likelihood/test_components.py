"""Both ways to V against the formula, term by term, on few records; the log-likelihood against the normal density."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.records import Records, grouped
from bayeslmm.likelihood.components import Components, components
from bayeslmm.likelihood.dense_covariance import DenseCovariance
from bayeslmm.likelihood.ratio_windows import Columns, at_each

THETAS = [
    (0.3, 0.5, 0.2, 0.4, 0.7),
    (0.0, 0.5, 0.2, 0.0, 0.7),
    (1e-15, 1e-15, 1e-15, 1e-15, 1.3),
    (0.1, 0.0, 2.0, 3.0, 0.01),
]
WAYS = {
    "equations": lambda data: data.equations,
    "dense": lambda data: DenseCovariance(data.y, data.Q, data.parts),
}


class Formula:
    """V, P and what follows from them, written out."""

    def __init__(self, data: Components, theta):
        self.parts = [*(one.covariance() for one in data.parts), np.eye(data.n)]
        self.V = sum(variance * part for variance, part in zip(theta, self.parts, strict=True))
        inverse = np.linalg.inv(self.V)
        self.cov_beta = np.linalg.inv(data.Q.T @ inverse @ data.Q)
        self.beta = self.cov_beta @ data.Q.T @ inverse @ data.y
        self.P = P = inverse - inverse @ data.Q @ self.cov_beta @ data.Q.T @ inverse
        self.log_dets = np.linalg.slogdet(self.V)[1] - np.linalg.slogdet(self.cov_beta)[1]
        self.quad = data.y @ P @ data.y
        self.quads = np.array([data.y @ P @ part @ P @ data.y for part in self.parts])
        self.traces = np.array([np.trace(P @ part) for part in self.parts])
        self.average = np.array([[data.y @ P @ a @ P @ b @ P @ data.y / 2 for b in self.parts] for a in self.parts])
        self.expected = np.array([[np.trace(P @ a @ P @ b) / 2 for b in self.parts] for a in self.parts])
        self.effects = [
            (np.eye(len(one.levels)) if one.K is None else one.K) @ (one.Z.T @ (P @ data.y)) for one in data.parts
        ]
        Z_K = [one.Z.toarray() @ (np.eye(len(one.levels)) if one.K is None else one.K) for one in data.parts]
        self.reductions = [np.diag(part.T @ P @ part) for part in Z_K]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("theta", THETAS)
def test_both_ways_equal_the_formula(dense_records, way, theta):
    data = components(dense_records())
    solved, formula = WAYS[way](data).at(np.array(theta)), Formula(data, theta)
    for name in ("log_dets", "quad", "beta", "cov_beta", "quads", "traces", "average", "expected"):
        value, wanted = np.asarray(getattr(solved, name)), np.asarray(getattr(formula, name))
        assert_allclose(value, wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max() + 1e-14, err_msg=name)
    for value, wanted in zip(solved.effects, formula.effects, strict=True):
        assert_allclose(value, wanted, rtol=1e-7, atol=1e-9 * np.abs(wanted).max())
    for value, wanted in zip(solved.reductions, formula.reductions, strict=True):
        assert_allclose(value, wanted, rtol=1e-7, atol=1e-9 * wanted.max())
    for j, part in enumerate(formula.parts[:-1]):
        wanted = np.sort(np.linalg.eigvals(formula.P @ part).real)[::-1]
        value = np.linalg.eigvalsh(solved.between(j))[::-1]
        assert_allclose(value, wanted[: len(value)], atol=1e-8 * wanted[0])


@pytest.mark.parametrize(
    "parts", [("year",), ("pe",), ("animal",), ("pe", "year"), ("maternal", "year"), ("year", "animal")]
)
def test_any_component_can_lead(dense_records, parts):
    """Groups alone, few levels for many records, several kinships."""
    whole = dense_records()
    some = tuple(one for one in whole.components if one.name in parts)
    data = components(Records("y", whole.y, whole.X, whole.covariates, some))
    theta = np.linspace(0.4, 0.8, len(some) + 1)
    solved, formula = data.equations.at(theta), Formula(data, theta)
    for name in ("log_dets", "quad", "traces", "average", "expected"):
        assert_allclose(getattr(solved, name), getattr(formula, name), rtol=1e-9, err_msg=name)
    for value, wanted in zip(solved.effects + solved.reductions, formula.effects + formula.reductions, strict=True):
        assert_allclose(value, wanted, rtol=1e-9, atol=1e-9 * np.abs(wanted).max())


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("parts", [("animal",), ("year", "animal", "maternal", "pe"), ("year", "pe")])
def test_many_variances_at_once_equal_the_formula(dense_records, way, parts):
    """Ratios from 1e-9 to 1e9, alone and many between two powers of e; variances that are as good as 0."""
    whole = dense_records()
    some = tuple(one for one in whole.components if one.name in parts)
    data = components(Records("y", whole.y, whole.X, whole.covariates, some))
    rng = np.random.default_rng(1)
    theta = np.exp(rng.uniform(-1, 1, (80, len(some) + 1)))
    theta[:9] *= np.exp(rng.uniform(-20, 0, (9, len(some) + 1)))
    theta[9, :-1], theta[10, 0] = 1e-300, 0.0
    told: list[int] = []
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(3) as three:
        found = WAYS[way](data).at_each(theta, one, told.append)
        again = WAYS[way](data).at_each(theta, three, told.append)
    assert sum(told) == 2 * len(theta)
    for numbers, same, name in zip(found, again, ("log_dets", "quad"), strict=True):
        assert_array_equal(numbers, same)
        wanted = [getattr(Formula(data, variances), name) for variances in theta]
        assert_allclose(numbers, wanted, rtol=1e-7, err_msg=name)
        ordinary = slice(11, None)
        assert_allclose(numbers[ordinary], wanted[ordinary], rtol=1e-11, err_msg=name)


def test_equations_that_are_indefinite_have_no_likelihood():
    """As rounding may leave them: one draw of three, by products that are below 0."""
    within = np.diag([0.0, -1.0, 0.0])
    columns = Columns(np.array([[1.0, 0.2, 0.3], [1.0, -0.1, -0.2]]), np.ones(2), within, (1, 1))
    with ThreadPoolExecutor(1) as pool:
        log_dets, quad = at_each(columns, np.array([[1.0, 0.1, 1.0], [1.0, 2.0, 1.0], [1.0, 0.2, 1.0]]), pool, id)
    assert np.isinf(log_dets).tolist() == [False, True, False]
    assert quad[1] == 1.0


def test_derivatives_are_those_of_the_likelihood(dense_records):
    """Of the formula, by central differences: the second ones of the score, which the first ones check."""
    data, theta, h = components(dense_records()), np.array(THETAS[0]), 1e-4

    def difference(function):
        steps = h * np.eye(len(theta))
        return np.array([(function(theta + step) - function(theta - step)) / (2 * h) for step in steps])

    def loglik(theta):
        formula = Formula(data, theta)
        return -(formula.log_dets + formula.quad) / 2

    for way in WAYS.values():
        solver = way(data)

        def score(theta, solver=solver):
            return (solver.at(theta).quads - solver.at(theta).traces) / 2

        solved = solver.at(theta)
        assert_allclose(score(theta), difference(loglik), rtol=1e-5, atol=1e-5)
        assert_allclose(2 * solved.average - solved.expected, -difference(score), rtol=1e-5, atol=1e-5)


def test_the_loglik_is_the_density_of_error_contrasts(dense_records):
    """In the user's units, with +1/2 log|X'X|: the density of orthonormal contrasts."""
    records = dense_records()
    data = components(records)
    sigma2 = np.array([1.5, 0.3, 2.0, 0.7, 0.9])
    A = np.linalg.svd(records.X)[0][:, records.X.shape[1] :]
    V = sum(v * one.covariance() for v, one in zip(sigma2[:-1], records.components, strict=True)) + 0.9 * np.eye(len(A))
    wanted = scipy.stats.multivariate_normal(cov=A.T @ V @ A).logpdf(A.T @ records.y)
    assert_allclose(data.loglik(data.solver.at(sigma2 / data.units)), wanted, rtol=1e-11)


def test_the_way_with_fewer_operations_is_taken(gryphon_components, mouse_components):
    assert (
        gryphon_components("laydate", "animal+pe+year").solver
        is gryphon_components("laydate", "animal+pe+year").equations
    )
    assert isinstance(mouse_components("CD8", "odd+even").solver, DenseCovariance)


def test_scales_are_of_kinships(dense_records):
    records = dense_records()
    data = components(records)
    assert_allclose(data.scales[[0, 3]], 1)
    assert_allclose([one.diagonal.mean() for one in data.parts], 1)
    assert_allclose(components(records, scales={"animal": 1.0}).parts[1].K, records.components[1].K)
    for scales in ({"year": 2.0}, {"animal": 0.0}, {"nobody": 1.0}):
        with pytest.raises(InputError, match="a scale is a number above 0"):
            components(records, scales=scales)


def test_units_of_the_trait_do_not_matter(dense_records):
    records = dense_records()
    data = components(records)
    large = components(Records("y", 1e6 * records.y + 1e9, records.X, records.covariates, records.components))
    assert_allclose(large.y, data.y, atol=1e-8)
    assert_allclose(large.sd, 1e6 * data.sd, rtol=1e-9)


def test_a_kinship_must_be_positive_semidefinite(rng, dense_records):
    records = dense_records()
    bad = records.components[1].K.copy()
    bad[0, 0] = -5
    data = components(
        replace(records, components=(replace(records.components[1], K=bad), grouped("g", rng.integers(0, 4, 60))))
    )
    with pytest.raises(InputError, match="animal: 1 of 30 eigenvalues"):
        _ = data.equations
