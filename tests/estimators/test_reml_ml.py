import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from numpy.testing import assert_allclose
from scipy.optimize import minimize

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.estimators import information


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_estimate_maximises_the_dense_likelihood(dense, small_data, method):
    K, X, y, _ = dense
    A = scipy.linalg.null_space(X.T)

    def minus(theta):
        V = np.exp(theta[0]) * K + np.exp(theta[1]) * np.eye(len(y))
        if method == "reml":
            return -scipy.stats.multivariate_normal(cov=A.T @ V @ A).logpdf(A.T @ y)
        V_inverse = np.linalg.inv(V)
        beta = np.linalg.solve(X.T @ V_inverse @ X, X.T @ V_inverse @ y)
        return -scipy.stats.multivariate_normal(X @ beta, V).logpdf(y)

    best = minimize(minus, [-0.5, -0.5], method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-13})
    estimate = getattr(bl, method)(small_data)
    assert_allclose([estimate.sigma2_u, estimate.sigma2_e], np.exp(best.x), rtol=1e-5)
    assert_allclose(estimate.loglik, -best.fun, rtol=1e-10)
    assert estimate.boundary is None


GEMMA = {"GEMMA standardised (-gk 2)": "sample", "GEMMA centred (-gk 1)": "vanraden"}


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["CD8", "MCH"])
@pytest.mark.parametrize("kinship", GEMMA)
def test_reml_equals_gemma_on_the_mice(mouse_data, mouse_reference, trait, kinship):
    """GEMMA prints 6 digits; its vg of -gk 1 refers to a K with mean diagonal 0.359, ours to one near 1."""
    fits = [fit for fit in mouse_reference["univariate"] if (fit["trait"], fit["kinship"]) == (trait, kinship)]
    gemma = fits[0]["results"]
    data = mouse_data(trait, GEMMA[kinship])
    estimate = bl.reml(data)
    se = information.standard_errors(estimate, data, kind="observed")
    assert_allclose(estimate.pve, gemma["pve"], rtol=1e-5)
    assert_allclose(se["pve"], gemma["se_pve"], rtol=2e-5)
    assert_allclose(estimate.sigma2_e, gemma["ve"], rtol=1e-5)
    assert_allclose(estimate.sigma2_u * data.k_scale, gemma_vg_on_unit_scale(gemma), rtol=1e-5)
    if GEMMA[kinship] == "sample":
        assert_allclose(estimate.sigma2_u, gemma["vg"], rtol=1e-5)
    assert_allclose(estimate.loglik, gemma["loglik_reml"], atol=6e-3)  # GEMMA prints 2 decimals
    assert_allclose(estimate.loglik, fits[0]["own_numpy"]["loglik_reml"], atol=1e-4)


def gemma_vg_on_unit_scale(gemma):
    """GEMMA's pve = s vg / (s vg + ve), solved for s vg."""
    return gemma["ve"] * gemma["pve"] / (1 - gemma["pve"])


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["CD8", "MCH"])
def test_ml_and_fixed_effects_equal_gemma_on_centred_kinship(mouse_data, mouse_reference, trait):
    reference = mouse_reference["independent_numpy"][f"mouse_{trait}"]
    estimate = bl.ml(mouse_data(trait, "vanraden", centred=True))
    assert_allclose(estimate.loglik, reference["loglik_ml_Kcentred"], atol=1e-4)
    assert_allclose(estimate.sigma2_e, reference["ml_theta"][1], rtol=1e-5)
    uncentred = bl.ml(mouse_data(trait, "vanraden"))
    assert_allclose(uncentred.loglik, reference["loglik_ml_Kuncentred"], atol=1e-4)
    restricted = bl.reml(mouse_data(trait, "vanraden", centred=True))
    assert_allclose(restricted.se_beta, reference["se_beta"], rtol=1e-5)
    assert_allclose(restricted.beta, reference["beta"], atol=1e-10)


def test_centring_leaves_reml_and_moves_ml(mouse_data):
    plain, centred = mouse_data("CD8", "sample"), mouse_data("CD8", "sample", centred=True)
    assert_allclose(bl.reml(plain).loglik, bl.reml(centred).loglik, atol=1e-7)
    assert_allclose(bl.reml(plain).h2, bl.reml(centred).h2, rtol=1e-7)
    assert abs(bl.ml(plain).loglik - bl.ml(centred).loglik) > 0.05


def test_ml_on_a_null_direction_in_x_says_that_it_sits_on_the_bound(rng):
    """K 1 = 0 and an intercept: the likelihood grows without bound as sigma2_e goes to 0."""
    n = 12
    W = rng.standard_normal((n, 60))
    W -= W.mean(axis=0)
    K = W @ W.T / 60
    y = np.linalg.cholesky(K + 1e-9 * np.eye(n)) @ rng.standard_normal(n)
    estimate = bl.ml(bl.decompose(K).rotate(y[:, None], np.ones((n, 1))))
    assert estimate.boundary == "h2 = 1"
    assert_allclose(estimate.sigma2_e / (np.trace(K) / n * estimate.sigma2_u), 1e-5, rtol=1e-6)


def test_boundary_at_zero_is_exact_and_equals_least_squares(mouse_data):
    data = bl.simulate.rotated_trait(mouse_data("CD8").s, h2=0.0, rng=np.random.default_rng(5))
    estimate = bl.reml(data)
    assert estimate.boundary == "h2 = 0"
    assert (estimate.sigma2_u, estimate.h2, estimate.pve) == (0, 0, 0)
    beta, rss, _, _ = np.linalg.lstsq(data.X, data.Y[:, 0], rcond=None)
    assert_allclose(estimate.beta, beta)
    assert_allclose(estimate.sigma2_e, rss[0] / (len(data.s) - 1))
    assert_allclose(estimate.loglik, estimate.loglik_null)


def test_boundary_at_one_is_said(mouse_data):
    assert bl.reml(bl.simulate.rotated_trait(mouse_data("CD8").s, h2=1.0, rng=np.random.default_rng(5))).h2 > 0.999
    estimate = bl.reml(bl.simulate.rotated_trait(np.linspace(1, 40, 60), h2=1.0, rng=np.random.default_rng(1)))
    assert estimate.boundary == "h2 = 1"
    assert_allclose(estimate.sigma2_e / (20.5 * estimate.sigma2_u), 1e-5, rtol=1e-6)


def test_no_digits_are_lost_to_a_large_mean_or_to_units(mouse_data):
    data = mouse_data("CD8")
    plain = bl.reml(data)
    moved = bl.reml(data._replace(Y=data.Y + 1e6 * data.X[:, :1]))
    assert_allclose(moved.h2, plain.h2, rtol=1e-7)
    assert_allclose(moved.beta[0] - 1e6, plain.beta[0], rtol=1e-6)
    scaled = bl.reml(data._replace(Y=1e-4 * data.Y, X=1e5 * data.X))
    assert_allclose(scaled.sigma2_u, 1e-8 * plain.sigma2_u, rtol=1e-9)
    assert_allclose(scaled.se_beta, 1e-9 * plain.se_beta, rtol=1e-9)


def two_modes():
    """Many eigenvalues of 1 that say one thing, few large ones that say another."""
    rng = np.random.default_rng(1)
    s = np.concatenate([np.zeros(200), np.ones(60), np.full(4, 2e3)])

    def group(k, mean_square):
        z = rng.standard_normal(k)
        return z * np.sqrt(mean_square * k / (z @ z))

    y = np.concatenate([group(200, 1.0), group(60, 3.0), group(4, 1.0)])
    X = np.zeros((len(s), 1))
    X[0] = 1.0
    return bl.RotatedData(s / s.mean(), y[:, None], X, 1.0)


def test_the_better_of_several_maxima_is_found():
    """Three scales of eigenvalues and rough data: many of these likelihoods have two maxima."""
    s = np.array([0.001, 0.001, *np.ones(8), 1000.0, 1000.0])
    x = np.ones(12) / np.sqrt(12)
    several = 0
    for seed in range(30):
        rng = np.random.default_rng(seed)
        y = np.exp(rng.normal(0, 3, 12)) * rng.choice([-1, 1], 12)
        estimate = bl.reml(bl.RotatedData(s, y[:, None], x[:, None]))
        h2 = np.concatenate([[0], 1 / (1 + np.geomspace(1e5, 1e-5, 4001))])
        d = h2[:, None] * s + 1 - h2[:, None]
        xvx, xvy, yvy = (x**2 / d).sum(axis=1), (x * y / d).sum(axis=1), (y**2 / d).sum(axis=1)
        quad = yvy - xvy**2 / xvx
        profile = -(11 * np.log(quad / 11) + np.log(d).sum(axis=1) + np.log(xvx) + 11 + 11 * np.log(2 * np.pi)) / 2
        assert estimate.loglik >= profile.max() - 1e-9
        inside = (np.diff(np.sign(np.diff(profile))) < 0).sum()
        several += inside + (profile[0] > profile[1]) + (profile[-1] > profile[-2]) > 1
    assert several >= 10  # without such data the test would show nothing


@pytest.mark.parametrize("method", ["reml", "ml"])
@pytest.mark.parametrize(("unit_y", "unit_k"), [(1e-65, 1e-200), (1e-65, 0.36), (1e65, 0.36), (1.0, 1e130)])
def test_no_unit_matters(small_data, method, unit_y, unit_k):
    """The share of variance, the likelihood ratio, and both variances in their units."""
    data = small_data._replace(s=small_data.s / small_data.s.mean(), k_scale=1.0)
    one = getattr(bl, method)(data)
    other = getattr(bl, method)(data._replace(Y=data.Y * unit_y, s=data.s * unit_k, k_scale=unit_k))
    assert_allclose([other.pve, other.likelihood_ratio], [one.pve, one.likelihood_ratio], rtol=1e-9)
    assert_allclose(other.sigma2_e / unit_y / unit_y, one.sigma2_e, rtol=1e-9)
    k = len(data.s) - (data.X.shape[1] if method == "reml" else 0)
    assert_allclose(other.loglik, one.loglik - k * np.log(unit_y), rtol=1e-12)


def test_a_trait_whose_variance_no_number_can_hold_is_refused(small_data):
    with pytest.raises(InputError, match=r"standard deviation of the trait .* and must be between 1e-70 and 1e\+70"):
        bl.reml(small_data._replace(Y=small_data.Y * 1e200))
    with pytest.raises(InputError, match=r"sigma2_u would be about 1e280"):
        bl.reml(small_data._replace(Y=small_data.Y * 1e65, s=small_data.s * 1e-150))


def test_a_shift_of_the_trait_or_of_a_covariate_moves_nothing_but_the_intercept(dense):
    _, X, y, spectrum = dense
    one = spectrum.rotate(y[:, None], X)
    moved = spectrum.rotate(y[:, None] + 1e9, X + np.array([0, 1e6, 0]))
    for method in (bl.reml, bl.ml):
        plain, other = method(one), method(moved)
        assert_allclose([other.h2, other.sigma2_e], [plain.h2, plain.sigma2_e], rtol=1e-6)
        assert_allclose(other.beta[1:], plain.beta[1:], rtol=1e-6)


def test_lower_maxima_are_told():
    """Two groups of eigenvalues with two opinions: the likelihood has a maximum inside and one at an end."""
    data = two_modes()
    estimate = bl.reml(data)
    ((other, loglik),) = estimate.other_modes
    assert loglik < estimate.loglik
    assert abs(other - estimate.h2) > 0.5
    h2 = np.linspace(0, 0.9999, 20001)
    d = h2[:, None] * data.s + 1 - h2[:, None]
    x, y = data.X[:, 0], data.Y[:, 0]
    xvx, xvy, yvy = (x**2 / d).sum(axis=1), (x * y / d).sum(axis=1), (y**2 / d).sum(axis=1)
    k = len(y) - 1
    profile = -(k * np.log(yvy - xvy**2 / xvx) + np.log(d).sum(axis=1) + np.log(xvx)) / 2
    near = np.abs(h2 - other) < 0.05
    assert_allclose(loglik - estimate.loglik, profile[near].max() - profile.max(), atol=1e-4)


def test_one_trait_at_a_time(small_data):
    with pytest.raises(InputError, match="one trait is analysed at a time, but Y has 2 columns"):
        bl.reml(small_data._replace(Y=np.column_stack([small_data.Y, small_data.Y])))
