import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import kstest

import bayeslmm as bl
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.studies import simulate

GAMMA_U = np.array([[0.6, -0.3], [-0.3, 0.4]])
GAMMA_E = np.array([[0.4, 0.1], [0.1, 0.6]])


def check_covariance(rows, expected):
    """Independent rows N(0, expected): each element of R'R / n within 5 of its standard errors, many within 1."""
    n = len(rows)
    variance = np.diag(expected)
    z = (rows.T @ rows / n - expected) / np.sqrt((np.outer(variance, variance) + expected**2) / n)
    assert np.abs(z).max() < 5
    if len(expected) > 10:
        assert_allclose(np.sqrt((z**2).mean()), 1, atol=0.15)


def test_a_trait_in_the_eigenbasis_has_the_variances_of_the_model(rng):
    s = rng.gamma(0.5, 2, 4000)
    data = simulate.rotated_trait(s, h2=0.7, sigma2_p=3.0, rng=rng)
    assert kstest(data.Y[:, 0] / np.sqrt(3 * (0.7 * s + 0.3)), "norm").pvalue > 0.01
    assert_allclose(data.X.T @ data.X, [[4000]])
    assert data.k_scale == pytest.approx(s.mean() * (1 - 1 / 4000))
    X = rng.standard_normal((4000, 2))
    assert simulate.rotated_trait(s, h2=0.7, rng=rng, X=X).X is X


def test_traits_in_the_eigenbasis_have_the_covariances_of_the_model(rng):
    data = simulate.rotated_traits(np.repeat([0.0, 0.5, 3.0], 4000), GAMMA_U, GAMMA_E, rng=rng)
    for rows, s in zip(data.Y.reshape(3, 4000, 2), (0.0, 0.5, 3.0), strict=True):
        check_covariance(rows, s * GAMMA_U + GAMMA_E)
    assert [(X.shape, E.shape) for X, E in zip(data.X, data.E, strict=True)] == [((12_000, 1), (12_000, 0))] * 2


def replicates(markers, rng, n, **options):
    """Draw n pairs of traits in one pass, as 2 n traits: rows of the stacked columns of each pair, and the effects."""
    G, effects = simulate.genetic_values(markers, np.kron(np.eye(n), GAMMA_U), rng=rng, **options)
    return G.T.reshape(n, -1), effects


@pytest.mark.parametrize("scale", ["hwe", "vanraden"])
def test_polygenic_values_have_covariance_gamma_u_times_k(plink, rng, scale):
    filters = {"scale": scale, "maf": 0.2, "geno": 0.05}
    K = bl.genomic_kinship(plink[0], **filters).K
    rows, _ = replicates(MarkerBlocks(open_genotypes(plink[0]), **filters), rng, 300)
    check_covariance(rows, np.kron(GAMMA_U, K))


def test_sparse_values_have_the_covariance_of_the_causal_markers(plink, rng):
    prefix, G, _ = plink
    rows, effects = replicates(MarkerBlocks(open_genotypes(prefix), geno=1.0), rng, 300, causal=7)
    assert len(effects.lines) == len(set(effects.lines)) == 7
    f = np.nanmean(G, axis=0) / 2
    W = (np.where(np.isnan(G), 2 * f, G) - 2 * f) / np.sqrt(2 * f * (1 - f))
    Wc = W[:, effects.lines]
    check_covariance(rows, np.kron(GAMMA_U, Wc @ Wc.T / 7))


@pytest.mark.slow
def test_the_mean_covariance_of_sparse_values_is_gamma_u_times_k(plink, rng):
    """VanRaden's weights differ by marker, and still."""
    markers = MarkerBlocks(open_genotypes(plink[0]), scale="vanraden", geno=1.0)
    K = bl.genomic_kinship(plink[0], scale="vanraden", geno=1.0).K
    diagonals = []
    for _ in range(200):
        rows, _ = replicates(markers, rng, 5, causal=5)
        diagonals.append((rows**2).mean(axis=0))
    error = np.std(diagonals, axis=0) / np.sqrt(200)
    assert (np.abs(np.mean(diagonals, axis=0) - np.diag(np.kron(GAMMA_U, K))) < 4.5 * error).all()


@pytest.mark.parametrize("causal", [None, 6])
@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
def test_values_are_sums_of_effects_whatever_the_blocks(plink, causal, scale):
    prefix, G, _ = plink
    filters = {"scale": scale, "maf": 0.2, "geno": 0.05}
    found = []
    for block in (7, 4096):
        markers = MarkerBlocks(open_genotypes(prefix), **filters, block=block)
        found.append(simulate.genetic_values(markers, GAMMA_U, causal=causal, rng=np.random.default_rng(8)))
    (values, effects), (again, same) = found
    assert len(effects.lines) == causal or effects.counts.kept == len(effects.lines) < 50
    assert_array_equal(effects.lines, same.lines)
    assert_allclose(effects.beta, same.beta, rtol=1e-12)
    assert_allclose(values, again, atol=1e-5)
    chosen = G[:, effects.lines]
    assert_allclose(effects.af, np.nanmean(chosen, axis=0) / 2, rtol=1e-6)
    dosages = np.where(np.isnan(chosen), 0.0, chosen - 2 * effects.af)
    assert_allclose(values, dosages @ effects.beta, atol=1e-5)


def test_residuals_and_missing_rates(rng):
    mean = np.column_stack([np.arange(20_000.0), np.zeros(20_000)])
    Y = simulate.phenotypes(mean, GAMMA_E, missing=[0.1, 0.3], rng=rng)
    lacking = np.isnan(Y).mean(axis=0)
    assert (np.abs(lacking - [0.1, 0.3]) < 4 * np.sqrt([0.09 / 20_000, 0.21 / 20_000])).all()
    complete = ~np.isnan(Y).any(axis=1)
    assert_allclose(complete.mean(), 0.9 * 0.7, atol=4 * np.sqrt(0.63 * 0.37 / 20_000))
    check_covariance((Y - mean)[complete], GAMMA_E)


def test_singular_covariances_are_drawn(rng):
    Gamma = simulate.equicorrelated(np.array([0.5, 0.2, 0.0]), 1.0)
    u = simulate.normal(Gamma, 100, name="Gamma_u", rng=rng)
    assert_allclose(u[:, 1], u[:, 0] * np.sqrt(0.4), atol=1e-7)
    assert_allclose(u[:, 2], 0, atol=1e-7)


def test_equicorrelated():
    assert_allclose(
        simulate.equicorrelated(np.array([1.0, 4.0, 9.0]), -0.5), [[1, -1, -1.5], [-1, 4, -3], [-1.5, -3, 9]]
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rng: simulate.rotated_trait(np.ones(9), h2=1.5, rng=rng), "h2 must lie between 0 and 1, but 1.5"),
        (lambda rng: simulate.rotated_trait(np.ones(9), h2=0.5, sigma2_p=0.0, rng=rng), "sigma2_p must be positive"),
        (lambda rng: simulate.rotated_traits(np.ones(9), -GAMMA_U, GAMMA_E, rng=rng), "Gamma_u must be positive semi"),
        (lambda rng: simulate.rotated_traits(np.ones(9), GAMMA_U, np.triu(GAMMA_E), rng=rng), "Gamma_e must be symm"),
        (lambda rng: simulate.rotated_traits(np.ones(9), GAMMA_U * np.nan, GAMMA_E, rng=rng), "Gamma_u must hold fin"),
        (lambda rng: simulate.phenotypes(np.ones((9, 2)), GAMMA_E, missing=1.0, rng=rng), "below 1, but 1.0 was"),
        (lambda rng: simulate.phenotypes(np.ones((9, 2)), GAMMA_E, missing=[0.1] * 3, rng=rng), "2 traits, but 3"),
        (lambda rng: simulate.equicorrelated(np.ones(3), -0.6), "rho must lie between -0.5 and 1 for 3 traits"),
    ],
)
def test_what_is_no_model_is_refused(call, message, rng):
    with pytest.raises(bl.InputError, match=message):
        call(rng)


def test_more_causal_markers_than_there_are_is_refused(plink, rng):
    with pytest.raises(bl.InputError, match="from 1 to 50 of the markers used can be causal, but 51 were requested"):
        simulate.genetic_values(MarkerBlocks(open_genotypes(plink[0]), geno=1.0), GAMMA_U, causal=51, rng=rng)
