"""Several traits by products with K: against the decomposition, which rows that hold everything repeat."""

import jax
import numpy as np
import numpyro
import pytest
from numpy.testing import assert_allclose
from numpyro.infer.util import log_density

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_information import joint_standard_errors
from bayeslmm.likelihood.joint_summary import starting_columns
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.several_traits import joint_log_reml
from bayeslmm.models import bivariate, multivariate

GAMMA_U = np.array([[0.5, 0.2, -0.1], [0.2, 0.4, 0.1], [-0.1, 0.1, 0.6]])
GAMMA_E = np.array([[0.6, -0.1, 0.2], [-0.1, 0.5, 0.0], [0.2, 0.0, 0.4]])


def families(rng, n, p):
    parents = rng.integers(0, 3, (n // 2, p)).astype(float)
    G = np.repeat(parents, 2, axis=0) + rng.integers(0, 2, (n, p))
    W = (G - G.mean(axis=0)) / G.std(axis=0)
    return W @ W.T / p


def drawn(rng, K, t):
    root = np.linalg.cholesky(K + 1e-8 * np.eye(len(K)))
    g = root @ rng.standard_normal((len(K), t)) @ np.linalg.cholesky(GAMMA_U[:t, :t]).T
    return g + rng.standard_normal((len(K), t)) @ np.linalg.cholesky(GAMMA_E[:t, :t]).T


@pytest.fixture(scope="module")
def both():
    """80 people, three traits with their own covariates: by products that find everything, and by decomposition."""
    rng = np.random.default_rng(4)
    K = families(rng, 80, 300)
    Y, x = drawn(rng, K, 3) + 5, rng.standard_normal(80)
    ones = np.ones(80)
    X = [np.column_stack([ones, x]), ones[:, None], np.column_stack([x, ones, x**2])]
    kinship = bl.Kinship(tuple(map(str, range(80))), K, "K")
    summary = bl.joint_summary(kinship, Y, X, seed=1)
    assert summary.summary.found == 80
    return summary.data, bl.decompose(K).rotate_jointly(Y, X)


def test_rows_that_hold_everything_have_the_dense_likelihood(both):
    ours, dense = both
    assert len(ours.s) == 128
    assert ours.n == dense.n == 80
    for scale in (0.01, 1.0, 30.0):
        expected = in_float64(joint_log_reml)(dense, scale * GAMMA_U, GAMMA_E)
        assert_allclose(in_float64(joint_log_reml)(ours, scale * GAMMA_U, GAMMA_E), expected, rtol=1e-9)
    white, exact = joint_whitened(ours), joint_whitened(dense)
    assert_allclose(white.sd, exact.sd, rtol=1e-10)
    assert_allclose(white.log_units, exact.log_units, rtol=1e-10)
    values, slopes_u, slopes_e = white.products.with_slopes(GAMMA_U, GAMMA_E)
    expected = exact.products.with_slopes(GAMMA_U, GAMMA_E)
    assert_allclose(values, expected[0], rtol=1e-9)
    assert_allclose(slopes_u, expected[1], rtol=1e-6, atol=1e-6)
    assert_allclose(slopes_e, expected[2], rtol=1e-6, atol=1e-6)


def test_estimators_take_counts(both):
    ours, dense = both
    fit, expected = bl.joint_reml(ours), bl.joint_reml(dense)
    assert fit.n == 80
    assert_allclose(fit.overlaps, np.full((3, 3), 80))
    assert_allclose(fit.loglik, expected.loglik, rtol=1e-9)
    for name in ("Gamma_u", "Gamma_e", "beta", "se_beta"):
        for one, other in zip(getattr(fit, name), getattr(expected, name), strict=True):
            assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    if not expected.boundary:
        for kind in ("average", "observed", "expected"):
            errors, exact = (joint_standard_errors(expected, data, kind=kind) for data in both)
            assert_allclose(errors["rho_u"], exact["rho_u"], rtol=1e-5)
    moments, exact = bl.joint_moments(ours), bl.joint_moments(dense)
    assert_allclose(moments.Gamma_u, exact.Gamma_u, rtol=1e-8)
    assert_allclose(moments.cov, exact.cov, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("t", [2, 3])
def test_the_program_has_the_dense_density_but_for_a_constant(both, t):
    program = bivariate if t == 2 else multivariate
    ours, dense = (data.take(range(t)) for data in both)
    fit = bl.joint_reml(dense)
    near = {name: np.asarray(value) for name, value in program.start(dense, fit).items()}
    rng = np.random.default_rng(1)
    moved = dict(near) | {"_total": near["_total"] * 1.5, "_share": np.full(t, 0.2)}
    moved["_b_base"] = near["_b_base"] + rng.standard_normal(len(near["_b_base"]))
    densities = [
        [
            float(in_float64(lambda data, at: log_density(program.model, (data,), {}, at)[0])(data, at))
            for at in (near, moved)
        ]
        for data in (ours, dense)
    ]
    assert_allclose(densities[0][1] - densities[0][0], densities[1][1] - densities[1][0], rtol=1e-8)
    with pytest.raises(InputError, match="no rows of individuals to draw"):
        numpyro.handlers.seed(program.model, jax.random.key(0))(ours, observe=False)


def test_errors_are_shifts_of_means_with_other_counts():
    rng = np.random.default_rng(2)
    K = families(rng, 300, 900)
    Y, X = drawn(rng, K, 2), [np.ones((300, 1))] * 2
    kinship = bl.Kinship(tuple(map(str, range(300))), K, "K")
    ours = bl.joint_summary(kinship, Y, X, seed=3, most_passes=8, probe_error=1.0)
    other = bl.spectral_summary(kinship, Y, X[0], seed=3, most_passes=8, probe_error=1.0)
    assert_allclose(ours.summary.probe_errors, other.probe_errors, rtol=1e-6)
    A = 0.1 * rng.standard_normal((2000, 2, 2, 2))
    Gamma_u, Gamma_e = (np.eye(2) / 2 + part + np.swapaxes(part, 1, 2) for part in np.moveaxis(A, 1, 0) / 2)
    w = rng.uniform(size=2000)
    rho = Gamma_u[:, 0, 1] / np.sqrt(Gamma_u[:, 0, 0] * Gamma_u[:, 1, 1])
    values = np.column_stack([rho, 3 * rho + 7, Gamma_e[:, 1, 1]])
    found = ours.errors(values, Gamma_u, Gamma_e, w)
    assert_allclose(found[1], found[0])
    shifts = []
    for counts in ours.summary.others:
        V = ours.data.s[:, None, None, None] * Gamma_u + Gamma_e
        change = -np.tensordot(counts - ours.data.counts, np.linalg.slogdet(V)[1], 1) / 2
        again = w * np.exp(1e-3 * change)  # first order
        shifts.append((np.average(values, axis=0, weights=again) - np.average(values, axis=0, weights=w)) / 1e-3)
    sd = np.sqrt(np.average((values - np.average(values, axis=0, weights=w)) ** 2, axis=0, weights=w))
    shifts = np.array(shifts) / sd
    jackknife = np.sqrt(31 / 32 * np.square(shifts[:-1] - shifts[:-1].mean(axis=0)).sum(axis=0))
    expected = np.hypot(jackknife * np.sqrt(32 / 29) * (1 + 1 / 8), np.abs(shifts[-1]))
    assert_allclose(found, expected, rtol=0.01)


def test_covariates_of_all_traits_begin_the_space_once(rng):
    ones, x = np.ones(5), rng.standard_normal(5)
    found = starting_columns([np.column_stack([ones, x]), np.column_stack([x, ones]), x[:, None]])
    assert_allclose(found, np.column_stack([ones, x]))
    kinship = bl.Kinship(tuple("abcde"), np.eye(5), "K")
    with pytest.raises(InputError, match="each trait needs its covariates"):
        bl.joint_summary(kinship, rng.standard_normal((5, 2)), [ones[:, None]], seed=1)
