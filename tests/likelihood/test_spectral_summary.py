"""A summary by products is the rotated data of the dense decomposition, but for an error that it states."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.estimators import boundary
from bayeslmm.kinship.kinship import Kinship, centre
from bayeslmm.likelihood.krylov import BlockLanczos
from bayeslmm.likelihood.one_trait import log_ml, log_reml
from bayeslmm.likelihood.probes import Moments, counts, nodes
from bayeslmm.models import univariate
from conftest import GRYPHON


def kinship_of(K):
    return Kinship(tuple(f"p{i}" for i in range(len(K))), K, "K")


@pytest.fixture(scope="module")
def people():
    """300 people in families of three with two covariates, by dense arithmetic: K, X, Y of two traits."""
    rng = np.random.default_rng(3)
    n = 300
    W = np.repeat(rng.standard_normal((n // 3, 900)), 3, axis=0) + rng.standard_normal((n, 900))
    K = W @ W.T / 1800
    X = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
    Y = X @ [[5.0, 0], [1.0, 2.0], [0.0, -1.0]] + np.linalg.cholesky((K + np.eye(n)) / 2) @ rng.standard_normal((n, 2))
    return K, X, Y


@pytest.fixture(scope="module")
def both(people):
    K, X, Y = people
    return bl.decompose(K).rotate(Y[:, :1], X), bl.spectral_summary(kinship_of(K), Y[:, :1], X, seed=1)


def test_block_lanczos_gives_quadratic_forms(people, rng):
    K, X, Y = people
    space = BlockLanczos(np.column_stack([X, Y, X[:, :1], rng.standard_normal((len(K), 3))]))
    for _ in range(8):
        space.advance(K @ space.next)
    V = np.concatenate(space.V, axis=1)
    assert V.shape[1] == 8 * 8  # the column that is there twice is dropped
    assert_allclose(V.T @ V, np.eye(64), atol=1e-11)
    assert_allclose(V.T @ K @ V, space.T, atol=1e-11)
    assert_allclose(K @ V - V @ space.T, np.pad(space.next @ space.R, ((0, 0), (56, 0))), atol=1e-11)
    s, S = np.linalg.eigh(space.T)
    inside = S[:8].T @ space.first(Y)
    assert_allclose(
        inside.T @ (inside / (0.5 * s + 0.5)[:, None]), Y.T @ np.linalg.solve((K + np.eye(300)) / 2, Y), rtol=1e-6
    )
    shorter = space.shorter()
    assert_allclose(
        K @ V[:, :56] - V[:, :56] @ shorter.T, np.pad(shorter.next @ shorter.R, ((0, 0), (48, 0))), atol=1e-11
    )


def test_a_space_that_is_whole_gives_the_dense_likelihood(dense):
    """With 40 individuals and 32 probes nothing is left to chance."""
    K, X, y, spectrum = dense
    data, summary = spectrum.rotate(y[:, None], X), bl.spectral_summary(kinship_of(K), y[:, None], X, seed=1)
    trait = summary.trait(0)
    assert (summary.reached, summary.probe_errors.max() < 1e-6, trait.n) == (True, True, 40)
    assert_allclose(trait.k_scale, data.k_scale, rtol=1e-10)
    for loglik in (log_ml, log_reml):
        for sigma2 in ((0.5, 1.0), (2.0, 0.1), (1e-3, 1.0)):
            assert_allclose(loglik(trait, *sigma2), loglik(data, *sigma2), rtol=1e-5)
    one, other = bl.exact.posterior(data), bl.exact.posterior(trait)
    found, wanted = ([of.h2.mean, of.h2.sd, *of.beta, *of.se_beta] for of in (other, one))
    assert_allclose(found, wanted, rtol=1e-5)
    assert_allclose(other.log_evidence, one.log_evidence, rtol=1e-6)
    assert_allclose(bl.moments(trait).cov, bl.moments(data).cov, rtol=1e-5)
    assert_allclose(bl.information.fisher(bl.reml(trait), trait), bl.information.fisher(bl.reml(data), data), rtol=1e-4)


def test_all_methods_agree_with_the_dense_ones(both):
    data, summary = both
    trait = summary.trait(0)
    assert summary.reached
    assert 0 < summary.probe_errors[0] <= summary.wanted == 0.02
    one, other = bl.exact.posterior(data), bl.exact.posterior(trait)
    assert abs(other.h2.mean - one.h2.mean) < 3 * 0.02 * one.h2.sd
    assert_allclose(other.h2.sd, one.h2.sd, rtol=0.02)
    assert_allclose(other.beta, one.beta, atol=1e-3 * one.se_beta.max())
    assert_allclose(other.se_beta, one.se_beta, rtol=0.01)
    for method in (bl.reml, bl.ml, bl.moments):
        assert abs(method(trait).h2 - method(data).h2) < 0.1 * one.h2.sd
    assert (bl.reml(trait).n, bl.moments(trait).n) == (300, 300)
    assert_allclose(bl.reml(trait).beta, bl.reml(data).beta, atol=1e-3 * one.se_beta.max())
    errors, wanted = (bl.information.standard_errors(bl.reml(of), of) for of in (trait, data))
    assert_allclose(list(errors.values()), list(wanted.values()), rtol=0.02)


def test_nuts_draws_the_posterior_of_the_quadrature(both):
    _, summary = both
    draws = bl.sample(univariate, summary.trait(0), seed=1, chains=2, draws=500, warmup=300)
    exact = bl.exact.posterior(summary.trait(0))
    h2 = draws["posterior"]["h2"].to_numpy()
    assert abs(h2.mean() - exact.h2.mean) < 0.2 * exact.h2.sd
    assert_allclose(h2.std(), exact.h2.sd, rtol=0.15)
    assert draws.attrs["n"] == 300
    assert draws["constant_data"]["counts"].sizes == draws["constant_data"]["s"].sizes


def test_traits_share_the_passes(people):
    K, X, Y = people
    summary = bl.spectral_summary(kinship_of(K), Y, X, seed=2)
    for j in range(2):
        one = bl.exact.posterior(bl.decompose(K).rotate(Y[:, [j]], X)).h2
        assert abs(bl.exact.posterior(summary.trait(j)).h2.mean - one.mean) < 3 * 0.02 * one.sd


def test_unit_and_mean_of_the_trait_do_not_matter(people):
    K, X, Y = people
    plain, other = (
        bl.spectral_summary(kinship_of(K), y, X, seed=1).trait(0) for y in (Y[:, :1], Y[:, :1] * 1e8 + 1e13)
    )
    assert_allclose(bl.exact.posterior(other).h2.mean, bl.exact.posterior(plain).h2.mean, rtol=1e-4)


def test_eigenvalues_that_many_share_are_counted(rng):
    """Of 150 pairs of full sibs the space finds a few eigenvectors of 3/2 and of 1/2: they are not all."""
    n = 300
    K = np.kron(np.eye(n // 2), [[1.0, 0.5], [0.5, 1.0]])
    X, y = np.ones((n, 1)), np.linalg.cholesky((K + np.eye(n)) / 2) @ rng.standard_normal((n, 1))
    summary = bl.spectral_summary(kinship_of(K), y, X, seed=1)
    assert (summary.found, summary.passes) == (0, 2)  # K has two eigenvalues: no further pass could tell more
    assert_allclose(summary.data.counts[np.abs(summary.data.s - 1.5) < 1e-6].sum(), 150, rtol=1e-6)
    data = bl.decompose(K).rotate(y, X)
    assert_allclose(bl.exact.posterior(summary.trait(0)).h2.mean, bl.exact.posterior(data).h2.mean, rtol=1e-6)


def test_counts_have_the_moments_that_are_known(people, rng):
    K, X, _ = people
    Q, _ = np.linalg.qr(X)
    Z = rng.choice([-1.0, 1.0], (300, 8))
    space = BlockLanczos(np.column_stack([Q, Z]))
    for _ in range(5):
        space.advance(K @ space.next)
    one = nodes(space, space.first(Q), space.first(Z))
    for left_out in (None, 3):
        count = counts(one, Moments(300, np.trace(K), np.square(K).sum()), left_out=left_out)
        assert_allclose([count @ one.s**k for k in range(3)], [300, np.trace(K), np.square(K).sum()], rtol=1e-10)


def test_an_intercept_that_is_an_eigenvector_counts_once(people, rng):
    """Of a centred K whose products have six digits: what rounding leaves of the intercept is no direction."""
    K = centre(people[0])
    one, Z = np.ones((300, 1)) / np.sqrt(300), rng.choice([-1.0, 1.0], (300, 8))
    space = BlockLanczos(np.column_stack([one, Z]))
    for _ in range(5):
        space.advance((K @ space.next).astype(np.float32).astype(float))
    found = nodes(space, space.first(one), space.first(Z))
    assert found.found[0]
    assert_allclose(found.exact.sum(), found.found.sum(), rtol=1e-12)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_pedigree_of_the_gryphons(seed):
    people = bl.measure(bl.read_table(GRYPHON / "pheno.tsv"), ["BWT"])
    (cohort,) = bl.align(bl.pedigree_kinship(GRYPHON / "pedigree.csv"), people)
    A = bl.pedigree_products(GRYPHON / "pedigree.csv")
    row = {name: i for i, name in enumerate(A.ids)}
    summary = bl.spectral_summary(A.take([row[name] for name in cohort.ids]), cohort.Y, cohort.X[0], seed=seed)
    one = bl.exact.posterior(bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)).h2
    other = bl.exact.posterior(summary.trait(0)).h2
    assert abs(other.mean - one.mean) < 3 * summary.probe_errors[0] * one.sd
    assert_allclose(other.sd, one.sd, rtol=0.02)


def test_few_large_eigenvalues_are_found_exactly(mouse_data, mouse_kinship):
    """The mice have eigenvalues to 73: more than a hundred eigenvectors are taken out of the probes."""
    data = mouse_data("CD8")
    people = bl.measure(bl.read_table(GRYPHON.parent / "mouse_hs1940" / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(mouse_kinship("hwe"), people)
    summary = bl.spectral_summary(kinship_of(cohort.K), cohort.Y, cohort.X[0], seed=1)
    assert summary.found > 100
    assert_allclose(summary.data.s[np.argsort(summary.data.s)[-20:]], data.s[-20:], rtol=1e-6)
    one, other = bl.exact.posterior(data).h2, bl.exact.posterior(summary.trait(0)).h2
    assert abs(other.mean - one.mean) < 3 * summary.probe_errors[0] * one.sd
    assert_allclose(other.sd, one.sd, rtol=0.02)


def test_an_error_that_is_not_reached_is_told(people):
    K, X, Y = people
    with pytest.warns(InputWarning, match=r"K: after 6 passes .* not 1e-06: allow more passes"):
        summary = bl.spectral_summary(kinship_of(K), Y[:, :1], X, seed=1, probe_error=1e-6, most_passes=6)
    assert not summary.reached
    assert summary.passes == 6


def test_more_probes_are_drawn_until_the_error_is_small(people):
    K, X, Y = people
    summary = bl.spectral_summary(kinship_of(K), Y[:, :1], X, seed=1, probe_error=0.004, most_passes=400)
    one, other = bl.exact.posterior(bl.decompose(K).rotate(Y[:, :1], X)).h2, bl.exact.posterior(summary.trait(0)).h2
    assert summary.reached
    assert abs(other.mean - one.mean) < 3 * 0.004 * one.sd


def test_the_seed_decides(people):
    K, X, Y = people
    one, same, other = (bl.spectral_summary(kinship_of(K), Y[:, :1], X, seed=seed).data for seed in (1, 1, 2))
    assert_allclose(one.counts, same.counts, rtol=0)
    assert not np.array_equal(one.s, other.s)


def test_what_needs_every_individual_is_refused(both):
    trait = both[1].trait(0)
    for needs in (bl.em, bl.px_em, boundary.contrast_eigenvalues, bl.null_scan, bl.exact_scan):
        with pytest.raises(
            InputError, match="needs the rotated data of each individual, but these are a summary of 300"
        ):
            needs(trait)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"Y": np.zeros(300)}, r"Y must have shape \(300, columns\) like K, but it has \(300,\)"),
        ({"X": np.ones((299, 1))}, r"X must have shape \(300, columns\) like K"),
        ({"Y": np.full((300, 1), np.nan)}, "Y"),
        ({"Y": np.ones((300, 1))}, "trait 1 has nothing left once its 3 covariates are fitted"),
        ({"probe_error": 0.0}, "probe_error must be positive, but 0 was given"),
        ({"most_passes": 3}, "most_passes must be at least 6, but 3 was given"),
    ],
)
def test_impossible_input_is_refused(people, change, message):
    K, X, Y = people
    with pytest.raises(InputError, match=message):
        bl.spectral_summary(kinship_of(K), **({"Y": Y[:, :1], "X": X, "seed": 1} | change))


def test_unrelated_people_have_no_heritability(rng):
    with pytest.raises(InputError, match="all equally related"):
        bl.spectral_summary(kinship_of(np.eye(100)), rng.standard_normal((100, 1)), np.ones((100, 1)), seed=1)


def test_memory_is_asked_for(people, monkeypatch):
    K, X, Y = people
    kinship = kinship_of(K)
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 1000.0)
    with pytest.raises(InputError, match="a spectral summary of 300 individuals needs"):
        bl.spectral_summary(kinship, Y, X, seed=1)


def with_eigenvalues(K, least):
    """K with its smallest eigenvalue replaced."""
    s, U = np.linalg.eigh(K)
    s[0] = least
    return (U * s) @ U.T


def test_negative_eigenvalues_are_told_or_refused(people):
    K, X, Y = people
    kinship = kinship_of(with_eigenvalues(K, -0.09))  # which six steps find to a digit
    with pytest.warns(InputWarning, match=r"1 of 300 eigenvalues .* negative, the smallest -0.088\d* .* set to 0"):
        bl.spectral_summary(kinship, Y[:, :1], X, seed=1)
    kinship = kinship_of(with_eigenvalues(K, -2.0))
    with pytest.raises(InputError, match=r"smallest -2 .* must be positive semi-definite"):
        bl.spectral_summary(kinship, Y[:, :1], X, seed=1)
    with pytest.warns(InputWarning, match="they are set to 0, which changes K"):
        bl.spectral_summary(kinship, Y[:, :1], X, seed=1, bend=True)


def test_memory_that_ends_on_the_way_is_told(people, monkeypatch):
    K, X, Y = people
    monkeypatch.setattr("bayeslmm.likelihood.spectral_summary.available", lambda: 1000.0)
    with pytest.warns(InputWarning, match="after 6 passes .*: use a machine with more memory"):
        bl.spectral_summary(kinship_of(K), Y[:, :1], X, seed=1, probe_error=1e-4)


def test_eigenvalues_of_zero_are_one_however_they_are_rounded():
    """Of more people than markers: K has few eigenvalues that are not 0, and its products have six digits."""
    rng = np.random.default_rng(4)
    n, p = 600, 30
    W = rng.standard_normal((n, p))
    K, X = W @ W.T / p, np.ones((n, 1))
    y = (W @ rng.standard_normal(p) / np.sqrt(p) + rng.standard_normal(n))[:, None]

    class Rounded(Kinship):
        def __matmul__(self, V):
            return (self.K @ V).astype(np.float32).astype(float)

    summary = bl.spectral_summary(Rounded(tuple(f"p{i}" for i in range(n)), K, "K"), y, X, seed=1)
    s = summary.data.s
    assert summary.passes < 20
    assert not ((s > 0) & (s < 1e-3)).any()
    one, other = bl.exact.posterior(bl.decompose(K).rotate(y, X)).h2, bl.exact.posterior(summary.trait(0)).h2
    assert abs(other.mean - one.mean) < 0.06 * one.sd
