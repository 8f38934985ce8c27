import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize
from scipy.stats import chi2

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.estimators import information
from conftest import GRYPHON


@pytest.mark.parametrize("method", ["reml", "ml"])
def test_information_equals_the_dense_formulas(dense, small_data, method):
    """Expected 1/2 tr(A V_i A V_j), average 1/2 y'P V_i P V_j P y, observed 2 average - expected."""
    K, X, y, _ = dense
    estimate = getattr(bl, method)(small_data)
    V_inverse = np.linalg.inv(estimate.sigma2_u * K + estimate.sigma2_e * np.eye(len(y)))
    P = V_inverse - V_inverse @ X @ np.linalg.inv(X.T @ V_inverse @ X) @ X.T @ V_inverse
    A = P if method == "reml" else V_inverse
    parts = [K, np.eye(len(y))]
    expected = np.array([[np.trace(A @ Vi @ A @ Vj) / 2 for Vj in parts] for Vi in parts])
    average = np.array([[y @ P @ Vi @ P @ Vj @ P @ y / 2 for Vj in parts] for Vi in parts])
    assert_allclose(information.fisher(estimate, small_data, kind="expected"), expected, rtol=1e-8)
    if method == "reml":
        assert_allclose(information.fisher(estimate, small_data, kind="average"), average, rtol=1e-8)
        assert_allclose(information.fisher(estimate, small_data, kind="observed"), 2 * average - expected, rtol=1e-8)
    else:
        # The ML likelihood has V^-1 in its trace and P in its quadratic form: the same identity holds.
        assert_allclose(information.fisher(estimate, small_data, kind="observed"), 2 * average - expected, rtol=1e-8)
        assert_allclose(information.fisher(estimate, small_data), average, rtol=1e-8)


def test_standard_errors_are_the_roots_of_delta_method_variances(small_data):
    """The formula of the source documents, whose report prints the variance in place of its root."""
    estimate = bl.reml(small_data)
    u, e = estimate.sigma2_u, estimate.sigma2_e
    for kind in information.KINDS:
        C = np.linalg.inv(information.fisher(estimate, small_data, kind=kind))
        variance = (e**2 * C[0, 0] - 2 * u * e * C[0, 1] + u**2 * C[1, 1]) / (u + e) ** 4
        se = information.standard_errors(estimate, small_data, kind=kind)
        assert_allclose(se["h2"], np.sqrt(variance), rtol=1e-9)
        assert_allclose([se["sigma2_u"], se["sigma2_e"]], np.sqrt(np.diag(C)), rtol=1e-12)
        assert se["pve"] != se["h2"]


def test_delta_method_takes_any_smooth_function(small_data):
    """The logit of h2, by hand and by the spread of 200,000 normal draws (within 1%)."""
    estimate = bl.reml(small_data)
    C = np.linalg.inv(information.fisher(estimate, small_data)) / 400  # as of 400 times the sample: nearly linear
    at = estimate.sigma2_u, estimate.sigma2_e
    by_hand = np.sqrt(C[0, 0] / at[0] ** 2 - 2 * C[0, 1] / (at[0] * at[1]) + C[1, 1] / at[1] ** 2)
    found = information.delta_method(lambda sigma2_u, sigma2_e: jnp.log(sigma2_u / sigma2_e), C, *at)
    assert_allclose(found, by_hand, rtol=1e-10)
    draws = np.random.default_rng(1).multivariate_normal(at, C, 200_000)
    assert_allclose(found, np.log(draws[:, 0] / draws[:, 1]).std(), rtol=0.01)
    assert_allclose(information.delta_method(lambda x, y, z: x * y - z, np.eye(3), 2.0, 3.0, 4.0), np.sqrt(14))


def test_the_source_reports_standard_error_is_a_variance():
    """Its 0.00266 is of the size of var(h2): at its sample size and estimates the standard error is near 0.05.

    The spectrum is Marchenko and Pastur's for the report's 5,123 people and 33,770 markers in effect; any other
    number changes the standard error, but not by the factor of 20 between the two readings.
    """
    n, ratio = 5123, 5123 / 33_770
    x = np.linspace((1 - np.sqrt(ratio)) ** 2, (1 + np.sqrt(ratio)) ** 2, 20_001)[1:-1]
    density = np.sqrt((x[-1] - x) * (x - x[0])) / x
    s = np.interp((np.arange(n) + 0.5) / n, np.cumsum(density) / density.sum(), x)
    D = np.stack([s, np.ones(n)]) / (0.2264 * s + 0.7640)
    se = information.standard_errors_from(np.linalg.inv(D @ D.T / 2), 0.2264, 0.7640, 1.0)["h2"]
    assert_allclose(se, 0.0515, rtol=0.01)
    assert_allclose(se**2, 0.00266, rtol=0.02)


def test_em_has_the_information_of_ml(mouse_data):
    """It ends at the same place of the same likelihood."""
    data = mouse_data("CD8")
    for kind in information.KINDS:
        of_ml = information.standard_errors(bl.ml(data), data, kind=kind)
        of_em = information.standard_errors(bl.px_em(data).estimate, data, kind=kind)
        assert_allclose(list(of_em.values()), list(of_ml.values()), rtol=1e-6)


@pytest.fixture(scope="module")
def gryphon():
    kinship = bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    pheno = bl.read_table(GRYPHON / "pheno.tsv")
    covar = bl.read_table(GRYPHON / "covar.tsv")

    def data(trait, covariates=()):
        people = bl.measure(pheno, [trait], covariate_table=covar, covariates=list(covariates), categorical=covariates)
        (cohort,) = bl.align(kinship, people)
        return bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)

    return data


@pytest.mark.slow
def test_gryphon_equals_asreml(gryphon, gryphon_reference):
    published = gryphon_reference["published"][0]
    data = gryphon("BWT")
    estimate = bl.reml(data)
    se = information.standard_errors(estimate, data, kind="average")
    # ASReml stopped with its last digits off by up to 2e-6.
    assert_allclose([estimate.sigma2_u, se["sigma2_u"]], published["VA"], rtol=5e-5)
    assert_allclose([estimate.sigma2_e, se["sigma2_e"]], published["VR"], rtol=5e-5)
    assert_allclose([estimate.h2, se["h2"]], published["h2"], rtol=5e-5)
    assert_allclose(estimate.loglik, -2027.662, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fit", "trait", "covariates"),
    [("bwt~1", "BWT", ()), ("bwt~1+sex", "BWT", ("sex",)), ("tarsus~1", "TARSUS", ())],
)
def test_gryphon_equals_dense_newton(gryphon, gryphon_reference, fit, trait, covariates):
    reference = gryphon_reference["own_reml"]["fits"][fit]
    data = gryphon(trait, covariates)
    estimate = bl.reml(data)
    assert_allclose([estimate.sigma2_u, estimate.sigma2_e], reference["theta"], rtol=1e-7)
    convention = reference["loglik_reml"] + reference["logdetXtX"] / 2
    assert_allclose(estimate.loglik, convention, atol=1e-7)
    for kind, name in (("expected", "EI"), ("average", "AI"), ("observed", "OI")):
        se = information.standard_errors(estimate, data, kind=kind)
        assert_allclose([se["sigma2_u"], se["sigma2_e"]], reference[f"se_{name}"], rtol=1e-6)
        assert_allclose(se["h2"], reference[f"h2_{name}"][1], rtol=1e-6)
    assert_allclose(estimate.se_beta, reference["se_beta"], rtol=1e-6)


def test_no_standard_error_exists_on_the_boundary(mouse_data):
    data = bl.simulate.rotated_trait(mouse_data("CD8").s, h2=0.0, rng=np.random.default_rng(4))
    estimate = bl.reml(data)
    assert estimate.boundary == "h2 = 0"
    with pytest.raises(InputError, match=r"is on the boundary \(h2 = 0\), where standard errors do not exist"):
        information.fisher(estimate, data)


def profile_log_likelihood(data, parameter, value):
    """The restricted likelihood of error contrasts, maximised by brute force with one parameter held."""
    s, y, X = data.s, data.Y[:, 0], data.X

    def minus(theta):
        other = np.exp(theta[0])
        u, e = {
            "sigma2_u": (value, other),
            "sigma2_e": (other, value),
            "h2": (value * other, (1 - value) * other),
            "pve": (value * other / data.k_scale, (1 - value) * other),
        }[parameter]
        d = u * s + e
        XtVX = (X.T / d) @ X
        r = y - X @ np.linalg.solve(XtVX, (X.T / d) @ y)
        return (np.log(d).sum() + np.linalg.slogdet(XtVX)[1] + (r**2 / d).sum()) / 2

    starts = [minimize(minus, [x], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-11}) for x in (-8, -2, 1)]
    return -min(fit.fun for fit in starts)


@pytest.mark.parametrize("h2", [0.0, 0.5])
@pytest.mark.parametrize("parameter", ["sigma2_u", "sigma2_e", "h2", "pve"])
def test_profile_intervals_end_where_the_profile_has_dropped(mouse_data, parameter, h2):
    data = bl.simulate.rotated_trait(mouse_data("CD8").s[::5], h2=h2, rng=np.random.default_rng(4))._replace(
        k_scale=0.8
    )
    estimate = bl.reml(data)
    assert (estimate.boundary is not None) == (h2 == 0.0)
    top = profile_log_likelihood(data, parameter, max(getattr(estimate, parameter), 1e-12))
    lower, upper = information.profile_interval(estimate, data, parameter)
    drop = chi2.ppf(0.95, 1) / 2
    assert lower <= getattr(estimate, parameter) <= upper
    assert_allclose(top - profile_log_likelihood(data, parameter, upper), drop, atol=1e-5)
    if h2 == 0.0 and parameter != "sigma2_e":
        assert lower == 0
    else:
        assert_allclose(top - profile_log_likelihood(data, parameter, lower), drop, atol=1e-5)


def rank_deficient(rng, smallest):
    """More individuals than markers, a trait that is noise and whose REML is h2 = 0; zero eigenvalues as given."""
    for _ in range(20):
        W = rng.standard_normal((60, 20))
        spectrum = bl.decompose(W @ W.T / 20)
        data = spectrum.rotate(rng.standard_normal((60, 1)), np.ones((60, 1)))
        data = data._replace(s=np.where(data.s < 1e-8, smallest, data.s))
        if bl.reml(data).boundary == "h2 = 0" and bl.ml(data).boundary == "h2 = 0":
            return data
    raise AssertionError("no such trait in 20 tries")


@pytest.mark.parametrize("smallest", [0.0, 1e-15])
@pytest.mark.parametrize("method", ["reml", "ml"])
def test_intervals_on_the_boundary_do_not_depend_on_how_a_zero_eigenvalue_is_rounded(rng, method, smallest):
    """sigma2_e at h2 = 0: the profile is highest where sigma2_u is free, and drops by 1.92 at both ends."""
    data = rank_deficient(rng, smallest)
    estimate = getattr(bl, method)(data)
    assert (estimate.h2, estimate.sigma2_u, estimate.pve) == (0, 0, 0)
    n, c = data.X.shape
    k = n - c if method == "reml" else n
    r = data.Y[:, 0] - data.X @ np.linalg.lstsq(data.X, data.Y[:, 0], rcond=None)[0]
    assert_allclose(estimate.sigma2_e, r @ r / k, rtol=1e-12)
    intervals = {name: information.profile_interval(estimate, data, name) for name in ("sigma2_u", "sigma2_e", "h2")}
    assert intervals["sigma2_u"][0] == intervals["h2"][0] == 0
    assert 0 < intervals["h2"][1] < 1
    assert intervals["sigma2_e"][0] < estimate.sigma2_e < intervals["sigma2_e"][1]
    if method == "reml":
        top, drop = profile_log_likelihood(data, "sigma2_u", 1e-14), chi2.ppf(0.95, 1) / 2
        for name, ends in intervals.items():
            for end in ends:
                if end > 0:
                    assert_allclose(top - profile_log_likelihood(data, name, end), drop, atol=1e-5, err_msg=name)


def test_an_end_at_the_bound_is_the_bound():
    """Where the likelihood is as good at h2 = 1, the interval of h2 ends at 1 and that of sigma2_e at 0, exactly."""
    data = bl.simulate.rotated_trait(np.linspace(1, 40, 60), h2=1.0, rng=np.random.default_rng(1))
    estimate = bl.reml(data)
    assert estimate.boundary == "h2 = 1"
    assert information.profile_interval(estimate, data, "h2")[1] == 1
    assert information.profile_interval(estimate, data, "pve")[1] == 1
    assert information.profile_interval(estimate, data, "sigma2_e")[0] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("unit_y", "unit_k"), [(1e-65, 1e-150), (1e-9, 1e-3), (1e65, 1e100), (1e65, 1.0)])
def test_intervals_and_standard_errors_have_the_units_of_the_trait_and_of_k(small_data, unit_y, unit_k):
    one, other = small_data, small_data._replace(Y=small_data.Y * unit_y, s=small_data.s * unit_k)
    fits = bl.reml(one), bl.reml(other)
    for name, unit in (("sigma2_u", unit_y / unit_k * unit_y), ("sigma2_e", unit_y**2)):
        ends = [information.profile_interval(fit, data, name) for fit, data in zip(fits, (one, other), strict=True)]
        assert_allclose(np.array(ends[1]) / unit, ends[0], rtol=1e-7)
        se = [information.standard_errors(fit, data)[name] for fit, data in zip(fits, (one, other), strict=True)]
        assert_allclose(se[1] / unit, se[0], rtol=1e-7)
    shares = [
        np.array(information.profile_interval(fit, data._replace(k_scale=data.s.mean()), "pve"))
        for fit, data in zip(fits, (one, other), strict=True)
    ]
    assert_allclose(shares[1], shares[0], rtol=1e-9)


# Printed in the source report ("Variance Components Analysis"): estimates, their covariance, and what it calls the
# standard error of h2.
SOURCE_REPORT = [
    ((0.2264, 0.7640), (0.00266937, -0.00248562, 0.00268829), 0.00266, 0.0515),
    ((0.3040, 0.6898), (0.00280057, -0.00255191, 0.00269500), 0.00272, 0.0521),
    ((0.2929, 0.6916), (0.00273743, -0.00250017, 0.00264705), 0.00272, 0.0521),
    ((0.1655, 0.8325), (0.00259856, -0.00246401, 0.00272019), 0.00257, 0.0507),
]


@pytest.mark.parametrize(("estimate", "cov", "printed", "se"), SOURCE_REPORT)
def test_the_covariances_of_the_source_report_give_the_roots_of_what_it_prints(estimate, cov, printed, se):
    """To the four decimals of the estimates: the printed numbers are variances, not standard errors."""
    c11, c12, c22 = cov
    found = information.standard_errors_from(np.array([[c11, c12], [c12, c22]]), *estimate, 1.0)["h2"]
    assert_allclose(found, se, atol=5e-5)
    assert_allclose(found**2, printed, atol=1e-5)
