import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import quad
from scipy.special import logsumexp
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.scan.exact import exact_scan
from bayeslmm.scan.fixed import null_scan
from bayeslmm.scan.table import log10_bayes_factor

EFFECT = 0.4


@pytest.mark.parametrize(("beta", "se", "prior_sd"), [(0.1, 0.05, 0.15), (-0.4, 0.05, 0.15), (0.0, 0.3, 0.2)])
def test_bayes_factor_tends_to_that_of_a_known_variance(beta, se, prior_sd):
    points = [beta, 0.0]
    evidence, _ = quad(lambda b: norm.pdf(beta, b, se) * norm.pdf(b, 0, prior_sd), -3, 3, points=points, epsabs=0)
    expected = np.log10(evidence / norm.pdf(beta, 0, se))
    assert_allclose(
        log10_bayes_factor(np.array([beta]), np.array([se]), np.array([prior_sd]), 10**9), expected, rtol=1e-6
    )


def evidence(y, g, h2, K, X, *, effect):
    """Log evidence by sums over a grid of log sigma2 and beta / sigma; contrasts of y are free of the covariates."""
    A = np.linalg.svd(X)[0][:, X.shape[1] :]
    V = A.T @ (h2 * K + (1 - h2) * np.eye(len(y))) @ A
    unit = np.trace(V) / len(V)  # the variance of the trait given X at sigma2 = 1
    root = np.linalg.inv(np.linalg.cholesky(V))
    r, z = root @ A.T @ y, root @ A.T @ g
    x = np.linspace(-6, 6, 1500) + np.log(r @ r / len(r))
    sigma = np.exp(x / 2)[:, None]
    b = np.linspace(-10, 10, 1501) * EFFECT * np.sqrt(unit) if effect else np.zeros(1)
    prior = norm.logpdf(b, 0, EFFECT * np.sqrt(unit)) + np.log(b[1] - b[0]) if effect else 0.0
    quad_form = (r @ r) / sigma**2 - 2 * b * (r @ z) / sigma + b**2 * (z @ z)
    return logsumexp(-len(r) / 2 * x[:, None] - quad_form / 2 + prior)


@pytest.mark.parametrize("scan", [null_scan, exact_scan])
def test_bayes_factor_equals_the_integral_over_effect_and_variance(dense, rng, scan):
    """By sums over both, at the variance ratio of the test; the same for a K of another unit, up to rounding."""
    K, X, y, _ = dense
    K, df = 0.36 * K, len(y) - X.shape[1] - 1
    spectrum = bl.decompose(K)
    G = rng.binomial(2, 0.3, (len(y), 4)).astype(float)
    strong = y + 2.5 * y.std() * G[:, 0]
    (tests,) = scan(spectrum.rotate(strong[:, None], X)).test([spectrum.U.T @ G])
    found = log10_bayes_factor(tests.beta[:, 0], tests.se[:, 0], EFFECT * tests.sd, df)
    for j, g in enumerate(G.T):
        h2 = 1 / (1 + tests.delta[j])
        one, none = (evidence(strong, g, h2, K, X, effect=effect) for effect in (True, False))
        assert_allclose(found[j], (one - none) / np.log(10), atol=1e-6)
    assert found[0] > 3 > 0 > found[1:].min()


@pytest.mark.parametrize(("df", "t2", "known", "right"), [(30, 68.9, 10.5, 4.4), (100, 108.0, 16.6, 10.0)])
def test_a_variance_taken_as_known_overstates_the_evidence(df, t2, known, right):
    """With as much prior as data (k = 0.72): Wakefield's factor, and that with the variance integrated out."""
    k = 0.72
    wakefield = (np.log(1 - k) + t2 * k) / (2 * np.log(10))
    se = np.array([1.0])
    found = log10_bayes_factor(np.sqrt(t2) * se, se, np.sqrt(k / (1 - k)) * se, df)
    assert_allclose(wakefield, known, atol=0.05)
    assert_allclose(found, right, atol=0.05)
