import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.stats import multivariate_normal

import bayeslmm as bl
from bayeslmm.analyses.methods.em import METHOD
from bayeslmm.analyses.table import select
from bayeslmm.base.checks import InputError
from conftest import request_of

METHODS = [bl.em, bl.px_em]


class Markers:
    """EM as the source writes it: p x p matrices, from y = X beta + W u + e and u ~ N(0, sigma2_u / p I)."""

    def __init__(self, W, X, y, *, expanded):
        self.W, self.X, self.y, self.expanded = W, X, y, expanded
        self.n, self.p = W.shape
        self.beta = np.linalg.lstsq(X, y, rcond=None)[0]
        self.sigma2_e = np.square(y - X @ self.beta).sum() / (self.n - X.shape[1]) / 2
        self.sigma2_u = self.sigma2_e * self.n * self.p / np.square(W).sum()  # half the variance, whatever K's unit

    def loglik(self):
        V = self.sigma2_u * self.W @ self.W.T / self.p + self.sigma2_e * np.eye(self.n)
        return multivariate_normal(self.X @ self.beta, V).logpdf(self.y)

    def iterate(self):
        """Return the evidence lower bound after one iteration."""
        W, X, y, p = self.W, self.X, self.y, self.p
        covariance = np.linalg.inv(W.T @ W / self.sigma2_e + p / self.sigma2_u * np.eye(p))
        u = covariance @ W.T @ (y - X @ self.beta) / self.sigma2_e
        spread = np.trace(W.T @ W @ covariance)
        a = (y - X @ self.beta) @ W @ u / (u @ W.T @ W @ u + spread) if self.expanded else 1.0
        self.beta = np.linalg.lstsq(X, y - a * W @ u, rcond=None)[0]
        squares = np.square(y - X @ self.beta - a * W @ u).sum() + a**2 * spread
        self.sigma2_e = squares / self.n
        per_marker = (u @ u + np.trace(covariance)) / p
        self.sigma2_u = a**2 * p * per_marker
        fit = -self.n / 2 * np.log(2 * np.pi * self.sigma2_e) - squares / (2 * self.sigma2_e)
        prior = -p / 2 * np.log(2 * np.pi * per_marker) - p / 2
        entropy = np.linalg.slogdet(2 * np.pi * np.e * covariance)[1] / 2
        return fit + prior + entropy


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("p", [12, 60])
def test_iterations_equal_the_dense_equations_of_the_source(rng, method, p):
    n = 25
    W = rng.standard_normal((n, p))
    X = np.column_stack([np.ones(n), rng.standard_normal(n) + 3])
    y = 40 + W @ rng.standard_normal(p) / np.sqrt(p) + rng.standard_normal(n)
    data = bl.decompose(W @ W.T / p).rotate(y[:, None], X)
    fit = method(data, m=p, tolerance=0.0, limit=30)
    assert fit.iterations == 30
    dense = Markers(W, X, y, expanded=method is bl.px_em)
    for k in range(30):
        assert_allclose([fit.sigma2_u[k], fit.sigma2_e[k]], [dense.sigma2_u, dense.sigma2_e], rtol=1e-9)
        assert_allclose(fit.loglik[k], dense.loglik(), atol=1e-8)
        assert_allclose(fit.elbo[k], dense.iterate(), atol=1e-7)
    assert_allclose(fit.estimate.beta, dense.beta, rtol=1e-9)
    assert_allclose([fit.estimate.sigma2_u, fit.estimate.sigma2_e], [dense.sigma2_u, dense.sigma2_e], rtol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_kinship_space_is_marker_space_with_as_many_markers_as_the_rank(rng, method):
    """W = L with K = L L': one effect for each dimension of K."""
    n, k = 25, 10
    L = rng.standard_normal((n, k))
    X, y = np.ones((n, 1)), L @ rng.standard_normal(k) + 2 * rng.standard_normal(n)
    data = bl.decompose(L @ L.T).rotate(y[:, None], X)
    fit = method(data, tolerance=0.0, limit=20)
    assert fit.m == k
    dense = Markers(np.sqrt(k) * L, X, y, expanded=method is bl.px_em)
    for _ in range(20):
        dense.iterate()
    assert_allclose([fit.estimate.sigma2_u, fit.estimate.sigma2_e], [dense.sigma2_u, dense.sigma2_e], rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["CD8", "MCH"])
@pytest.mark.parametrize("m", [None, 10783])
def test_mice_end_at_maximum_likelihood_with_6_digits(mouse_data, trait, m):
    data = mouse_data(trait)
    best = bl.ml(data)
    fits = {method: method(data, m=m) for method in METHODS}
    for fit in fits.values():
        found = fit.estimate
        assert fit.converged
        assert_allclose([found.sigma2_u, found.sigma2_e, found.h2], [best.sigma2_u, best.sigma2_e, best.h2], rtol=1e-7)
        assert_allclose([found.beta, found.se_beta], [best.beta, best.se_beta], rtol=1e-6, atol=1e-9)
        assert_allclose([found.loglik, found.loglik_null], [best.loglik, best.loglik_null], atol=1e-8)
        assert found.boundary is None
    if m:
        assert fits[bl.em].iterations >= 5 * fits[bl.px_em].iterations


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("h2", [0.0, 0.3, 0.95])
def test_each_iteration_climbs(mouse_data, method, h2):
    """loglik_k <= elbo_k <= loglik_k+1, up to rounding: the proof of the algorithm, step by step."""
    data = bl.simulate.rotated_trait(mouse_data("CD8").s[::5], h2=h2, rng=np.random.default_rng(2))
    fit = method(data, m=3000, limit=2000)
    slack = 1e-11 * np.abs(fit.loglik).max()
    assert (fit.loglik <= fit.elbo + slack).all()
    assert (fit.elbo[:-1] <= fit.loglik[1:] + slack).all()
    assert fit.elbo[-1] <= fit.estimate.loglik + slack
    assert fit.loglik[-1] > fit.loglik[0] + 0.1


@pytest.mark.slow
def test_an_end_that_was_not_reached_is_told(mouse_data):
    """At h2 = 0 EM creeps and PX-EM walks; a small step alone would have called it the end."""
    data = bl.simulate.rotated_trait(mouse_data("CD8").s, h2=0.0, rng=np.random.default_rng(4))
    assert bl.ml(data).boundary == "h2 = 0"
    slow, quick = bl.em(data, m=10783, limit=5000), bl.px_em(data, m=10783, limit=5000)
    assert not slow.converged
    assert slow.iterations == 5000
    assert slow.score > 1e-3
    assert slow.estimate.boundary == "h2 = 0"
    assert quick.converged
    assert 0 < quick.estimate.h2 < 1e-6 < slow.estimate.h2


@pytest.mark.parametrize("method", METHODS)
def test_no_standard_error_where_em_nears_1(method, rng):
    """K is positive definite and all of the variance: ML ends at h2 = 1, and EM gets as near as its iterations."""
    s = np.sort(rng.gamma(2, 0.5, 60)) + 0.05
    data = bl.simulate.rotated_trait(s, h2=1.0, rng=rng)
    assert bl.ml(data).boundary == "h2 = 1"
    fit = method(data)
    assert fit.estimate.h2 > 0.999
    assert fit.estimate.boundary == "h2 = 1"
    rows = METHOD.rows(fit, request_of(data, ["intercept"]))
    assert np.isnan([(row.se, row.lower) for row in rows]).all()
    (h2,) = select(rows, parameter="h2")
    assert h2.on_boundary
    assert "boundary: h2 = 1" in h2.note


def test_no_interval_is_given_away_from_the_maximum(mouse_data):
    fit = bl.em(mouse_data("CD8"), m=10783, limit=20)
    assert not fit.converged
    for row in METHOD.rows(fit, request_of(mouse_data("CD8"), ["intercept"])):
        assert np.isnan([row.se, row.lower, row.upper]).all()
        assert row.notes[0].kind == "not_converged"
        assert "NOT the maximum: stopped with a score of" in row.note


def test_fewer_effects_than_the_rank_are_refused(small_data):
    with pytest.raises(InputError, match="m random effects cannot make a K of rank 40, but m = 39"):
        bl.em(small_data, m=39)
    with pytest.raises(InputError, match="one trait is analysed at a time"):
        bl.px_em(small_data._replace(Y=np.column_stack([small_data.Y, small_data.Y])))
