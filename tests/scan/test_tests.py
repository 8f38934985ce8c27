"""Tests of markers, against one model at a time, dense arithmetic, and GEMMA."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.genotypes.plink import read_bim
from bayeslmm.scan.exact import exact_scan
from bayeslmm.scan.fixed import fixed_scan, null_scan
from bayeslmm.scan.tests import added
from conftest import MOUSE, REFERENCES


@pytest.fixture
def markers(rng, dense):
    """Rotated dosages of 30 markers, some with an effect by chance, none centred."""
    K, _, _, spectrum = dense
    G = rng.binomial(2, 0.3, (len(K), 30)).astype(float)
    return G, spectrum.U.T @ G


def one_at_a_time(data, Z, fit):
    """Fit the model with each marker as a further covariate."""
    return [
        fit(data._replace(X=np.column_stack([data.X, *columns]))) for columns in zip(*[z.T for z in Z], strict=True)
    ]


def test_exact_scan_equals_one_model_at_a_time(small_data, markers):
    (tests,) = exact_scan(small_data).test([markers[1]])
    n, c = small_data.X.shape
    null = bl.ml(small_data)
    reml, ml = (one_at_a_time(small_data, [markers[1]], fit) for fit in (bl.reml, bl.ml))
    assert_allclose(tests.beta[:, 0], [fit.beta[-1] for fit in reml], rtol=1e-6, atol=1e-8)
    assert_allclose(tests.se[:, 0], [fit.se_beta[-1] for fit in reml], rtol=1e-6)
    inside = np.array([fit.boundary is None for fit in reml])
    assert inside.sum() > 10
    assert_allclose(tests.delta[inside], [fit.sigma2_e / fit.sigma2_u for fit in reml if not fit.boundary], rtol=1e-5)
    assert_allclose(tests.loglik, [fit.loglik for fit in ml], atol=1e-8)
    z = np.array([fit.beta[-1] / fit.se_beta[-1] for fit in reml])
    assert_allclose(tests.p_wald[:, 0], scipy.stats.f.sf(z**2, 1, n - c - 1), rtol=1e-6)
    ratio = np.array([2 * (fit.loglik - null.loglik) for fit in ml])
    assert_allclose(tests.p_lrt, scipy.stats.chi2.sf(ratio, 1), rtol=1e-6)
    assert_array_equal(tests.df, 1)


def test_boundaries_are_met_exactly(rng, markers):
    K = np.diag(np.geomspace(1e-7, 3, 40))
    for h2, delta in ((0.0, np.inf), (1.0, 1e-5 * np.trace(K) / 40)):
        y = np.diag(K) ** (0.5 if h2 else -0.5) * rng.standard_normal(40)
        data = bl.decompose(K).rotate(y[:, None], np.ones((40, 1)))
        (tests,) = exact_scan(data).test([markers[0]])
        ends = [fit.boundary for fit in one_at_a_time(data, [markers[0]], bl.reml)]
        there = np.array(ends) == ("h2 = 0" if h2 == 0 else "h2 = 1")
        assert there.sum() > 10
        assert_allclose(tests.delta[there], delta, rtol=1e-6)


def dense_gls(K, X, y, h2):
    """Effects, their covariance and the residual quadratic form at total variance 1, by dense arithmetic."""
    inverse = np.linalg.inv(h2 * K + (1 - h2) * np.eye(len(K)))
    cov = np.linalg.inv(X.T @ inverse @ X)
    beta = cov @ X.T @ inverse @ y
    return beta, cov, (y - X @ beta) @ inverse @ (y - X @ beta)


def test_null_scan_equals_dense_least_squares_at_the_null_ratio(dense, small_data, markers):
    K, X, y, _ = dense
    scan = null_scan(small_data)
    (tests,) = scan.test([markers[1]])
    (alpha,) = scan.covariate_effects(markers[1], tests.beta)
    (n, c), reml, ml = X.shape, bl.reml(small_data), bl.ml(small_data)
    _, _, null_quad = dense_gls(K, X, y, ml.h2)
    for j, g in enumerate(markers[0].T):
        beta, cov, quad = dense_gls(K, np.column_stack([X, g]), y, reml.h2)
        sigma2_p = quad / (n - c - 1)
        assert_allclose([tests.beta[j, 0], tests.se[j, 0]], [beta[-1], np.sqrt(sigma2_p * cov[-1, -1])], rtol=1e-8)
        assert_allclose(alpha[j], beta[:-1], rtol=1e-8)
        assert tests.delta[j] == pytest.approx((1 - reml.h2) / reml.h2)
        # The source's formula: sigma2_u [(X*'(S + delta)^-1 X*)^-1]_jj with X* the rotated covariates and marker.
        Xs = np.column_stack([small_data.X, markers[1][:, j]])
        weighted = Xs.T @ (Xs / (small_data.s + tests.delta[j])[:, None])
        assert_allclose(tests.se[j, 0] ** 2, reml.h2 * sigma2_p * np.linalg.inv(weighted)[-1, -1], rtol=1e-8)
        _, _, quad = dense_gls(K, np.column_stack([X, g]), y, ml.h2)
        assert_allclose(tests.p_lrt[j], scipy.stats.chi2.sf(n * np.log(null_quad / quad), 1), rtol=1e-7)
        score = (n - c) * (null_quad - quad) / null_quad
        assert_allclose(tests.p_score[j], scipy.stats.f.sf(score, 1, n - c - 1), rtol=1e-7)


def test_without_heritability_it_is_least_squares(dense, small_data, markers):
    _, X, y, _ = dense
    (tests,) = fixed_scan(small_data, 0.0).test([markers[1]])
    for j, g in enumerate(markers[0].T):
        beta, (rss,), *_ = np.linalg.lstsq(np.column_stack([X, g]), y)
        left = g - X @ np.linalg.lstsq(X, g)[0]
        se = np.sqrt(rss / (40 - 4) / (left @ left))
        assert_allclose([tests.beta[j, 0], tests.se[j, 0]], [beta[-1], se], rtol=1e-9)
        assert_allclose(tests.p_wald[j, 0], 2 * scipy.stats.t.sf(abs(beta[-1] / se), 36), rtol=1e-8)


@pytest.mark.parametrize("h2", [-0.1, 1.0])
def test_a_ratio_out_of_range_is_refused(small_data, h2):
    with pytest.raises(bl.InputError, match="h2 must be at least 0 and below 1"):
        fixed_scan(small_data, h2)


def test_scans_differ_by_the_ratio_only(small_data, markers):
    """The score test is at the null in both."""
    (exact,), (null,) = (scan(small_data).test([markers[1]]) for scan in (exact_scan, null_scan))
    assert_allclose(exact.p_score, null.p_score, rtol=1e-6)
    assert (exact.loglik >= null.loglik - 1e-9).all()
    assert (np.abs(exact.delta / null.delta - 1) > 0.01).any()


def test_traits_share_a_scan(dense, small_data, markers, rng):
    _, _, _, spectrum = dense
    other = rng.standard_normal((40, 1))
    both = small_data._replace(Y=np.column_stack([small_data.Y, spectrum.U.T @ other]))
    for scan in (exact_scan, null_scan):
        alone = [scan(both._replace(Y=both.Y[:, [j]])).test([markers[1]])[0] for j in range(2)]
        for together, single in zip(scan(both).test([markers[1]]), alone, strict=True):
            for values, expected in zip(together, single, strict=True):
                assert_allclose(values, expected, rtol=1e-9)


@pytest.mark.slow
def test_sets_of_markers_equal_one_model_at_a_time(small_data, markers, rng):
    Z = [markers[1], rng.permuted(markers[1], axis=1), markers[1] ** 2]
    (tests,) = exact_scan(small_data).test(Z)
    reml, ml = (one_at_a_time(small_data, Z, fit) for fit in (bl.reml, bl.ml))
    assert_allclose(tests.beta, [fit.beta[-3:] for fit in reml], rtol=1e-5, atol=1e-7)
    assert_allclose(tests.se, [fit.se_beta[-3:] for fit in reml], rtol=1e-5)
    ratio = np.array([2 * (fit.loglik - bl.ml(small_data).loglik) for fit in ml])
    assert_allclose(tests.p_lrt, scipy.stats.chi2.sf(ratio, 3), rtol=1e-5)
    assert_array_equal(tests.df, 3)


def test_dependent_columns_get_the_solution_of_least_length(dense, small_data, markers):
    """Two-block least squares: covariates and markers of deficient rank, against a dense pseudo-inverse."""
    K, X, y, spectrum = dense
    deficient = np.column_stack([X, X @ [1.0, 2.0, -1.0], np.ones(40)])
    first, second = markers[0][:, :10], markers[0][:, 10:20]
    Z = [first, second, first - 2 * second + X[:, [1]]]
    data = small_data._replace(X=spectrum.U.T @ deficient)
    scan = null_scan(data)
    (tests,) = scan.test([spectrum.U.T @ z for z in Z])
    h2 = bl.reml(small_data).h2
    root = np.linalg.inv(np.linalg.cholesky(h2 * K + (1 - h2) * np.eye(40)))
    white_X = root @ deficient
    clear = np.eye(40) - white_X @ np.linalg.pinv(white_X)
    for j in range(10):
        white_Z = clear @ root @ np.column_stack([z[:, j] for z in Z])
        beta = np.linalg.pinv(white_Z, rcond=1e-9) @ root @ y
        assert_allclose(tests.beta[j], beta, rtol=1e-7, atol=1e-9)
    assert_array_equal(tests.df, 2)
    assert np.isnan(tests.se).all()  # three effects of two columns: none is determined by the data
    # One marker: alpha = X^+ (y - g beta) in the metric of V, of least length.
    (one,) = scan.test([spectrum.U.T @ first])
    (alpha,) = scan.covariate_effects(spectrum.U.T @ first, one.beta)
    for j in range(10):
        assert_allclose(alpha[j], np.linalg.pinv(white_X) @ root @ (y - first[:, j] * one.beta[j, 0]), rtol=1e-7)


def test_what_the_data_determine_keeps_its_standard_error(small_data, markers):
    g, h = markers[1][:, :5], markers[1][:, 5:10]
    (tests,) = exact_scan(small_data).test([g, g, h])
    assert np.isnan(tests.se[:, :2]).all()
    assert_allclose(tests.beta[:, 0], tests.beta[:, 1], rtol=1e-9)
    (apart,) = exact_scan(small_data).test([g, h])
    assert_allclose(tests.se[:, 2], apart.se[:, 1], rtol=1e-7)
    assert_allclose(tests.p_lrt, apart.p_lrt, rtol=1e-7)


def test_a_combination_of_covariates_is_not_tested(small_data, markers):
    Z = markers[1].copy()
    Z[:, 3] = small_data.X @ [1.0, 2.0, 3.0]
    Z[:, 5] = 0
    for scan in (exact_scan, null_scan):
        (tests,) = scan(small_data).test([Z])
        assert_array_equal(np.flatnonzero(np.isnan(tests.p_wald[:, 0])), [3, 5])
        assert_array_equal(np.flatnonzero(tests.df == 0), [3, 5])
        assert_array_equal(np.flatnonzero(np.isnan(tests.p_lrt)), [3, 5])


@pytest.mark.parametrize("scan", [exact_scan, null_scan])
@pytest.mark.parametrize("factor", [1e-7, 1e7])
def test_units_of_columns_do_not_matter(small_data, markers, scan, factor):
    """A product of a marker with a covariate has any unit, and so has a covariate: a date, an income."""
    g, h = markers[1][:, :5], markers[1][:, 5:10]
    (expected,) = scan(small_data).test([g, h])
    X = small_data.X * [1.0, factor, 1.0]
    (found,) = scan(small_data._replace(X=X)).test([g, factor * h])
    unit = [1.0, factor]
    for values, others in ((found.beta * unit, expected.beta), (found.se * unit, expected.se)):
        assert_allclose(values, others, rtol=1e-6)
    for name in ("p_wald", "p_lrt", "p_score", "df"):
        assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-6)
    # Dates: large values with little spread beside the intercept, and a model that is the same.
    X = small_data.X @ [[1.0, 1e7, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    (dated,) = scan(small_data._replace(X=X)).test([g, h])
    assert_allclose(dated.p_lrt, expected.p_lrt, rtol=1e-5)


def test_products_of_markers_that_covariates_determine_are_tested(small_data, markers, rng):
    """The marker adds nothing, its product with something else does: compared with the model without markers."""
    g, h = markers[1][:, :5].copy(), markers[1][:, 5:10]
    g[:] = small_data.X[:, [1]]
    for scan in (exact_scan, null_scan):
        (both,), (marker,), (alone,) = (scan(small_data).test(Z) for Z in ([g, h], [g], [h]))
        assert_allclose(added(both, marker), alone.p_lrt, rtol=1e-9)


@pytest.mark.parametrize("scan", [exact_scan, null_scan])
def test_a_marker_that_leaves_nothing_of_the_trait_has_no_test(small_data, markers, scan):
    data = small_data._replace(Y=markers[1][:, [4]] + small_data.X @ [[1.0], [2.0], [3.0]])
    (tests,) = scan(data).test([markers[1]])
    assert_array_equal(np.flatnonzero(np.isnan(tests.p_wald[:, 0])), [4])
    assert_array_equal(np.flatnonzero(np.isnan(tests.p_lrt)), [4])


@pytest.mark.parametrize("scan", [exact_scan, null_scan])
def test_too_few_people_for_a_set_are_told(scan, rng):
    data = bl.RotatedData(np.arange(1.0, 5), rng.standard_normal((4, 1)), rng.standard_normal((4, 2)))
    Z = rng.standard_normal((4, 3))
    assert np.isfinite(scan(data).test([Z])[0].p_wald).all()
    with pytest.raises(bl.InputError, match="4 individuals are too few to test 2 effects at once beside 2 covariates"):
        scan(data).test([Z, Z])


@pytest.mark.slow
@pytest.mark.parametrize("trait", ["CD8", "MCH"])
def test_mice_equal_gemma(mouse_kinship, trait):
    """GEMMA 0.98.5 -lmm 4, whose K is in float64 where ours is in float32: 5e-7 apart."""
    gemma = pd.read_csv(REFERENCES / f"gemma_lmm4_{trait}.assoc.tsv.gz", sep="\t").set_index("rs")
    people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), [trait])
    (cohort,) = bl.align(mouse_kinship("vanraden"), people, centred=True)
    spectrum, genotypes = bl.decompose(cohort.K), open_genotypes(MOUSE / "mouse_hs1940")
    scan = exact_scan(spectrum.rotate(cohort.Y, cohort.X))
    p = genotypes.n_markers
    (block,) = dosages(genotypes, genotypes.rows(cohort.ids), [range(p)])
    (tests,) = scan.test([spectrum.U.T @ block.G])
    bim = read_bim(MOUSE / "mouse_hs1940.bim").iloc[block.lines]
    assert_array_equal(bim["snp"], gemma.index)
    assert_array_equal(bim["a1"], gemma["allele1"])
    assert_allclose(block.af, gemma["af"], atol=6e-4)
    se = gemma["se"].to_numpy()
    assert_allclose(tests.se[:, 0], se, rtol=1e-5)
    # Four digits, or a hundred-thousandth of the standard error where the effect is next to none.
    assert (np.abs(tests.beta[:, 0] - gemma["beta"]) < 1e-4 * gemma["beta"].abs() + 1e-5 * se).all()
    n, c = cohort.X[0].shape
    found = {name: np.ravel(getattr(tests, name)) for name in ("p_wald", "p_lrt", "p_score")}
    # GEMMA's score test has n where ours has n - c.
    t_of = scipy.stats.t(n - c - 1)
    found["p_score"] = 2 * t_of.sf(np.sqrt(n / (n - c)) * t_of.isf(found["p_score"] / 2))
    for name, p in found.items():
        off = np.abs(np.log10(p) / np.log10(gemma[name].to_numpy()) - 1)
        assert (off < 1e-3).mean() >= 0.999
        assert gemma[name][off >= 1e-3].min() > 0.97  # the rest: p so near 1 that its logarithm has few digits


@pytest.mark.slow
def test_null_scan_equals_glimix_core(mouse_reference, mouse_kinship):
    reference = mouse_reference["other_tools"]["glimix_core_3_1_14"]["scan_ml"]
    people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(mouse_kinship("vanraden"), people, centred=True)
    spectrum, genotypes = bl.decompose(cohort.K), open_genotypes(MOUSE / "mouse_hs1940")
    (block,) = dosages(genotypes, genotypes.rows(cohort.ids), [range(genotypes.n_markers)])
    bim = read_bim(MOUSE / "mouse_hs1940.bim").iloc[block.lines].reset_index(drop=True)
    (tests,) = null_scan(spectrum.rotate(cohort.Y, cohort.X)).test([spectrum.U.T @ block.G])
    for snp in reference["snps"]:
        (j,) = np.flatnonzero(bim["snp"] == snp["rs"])
        # Both log-likelihoods carry the rounding of K: 9e-6 here. The gain over the null is what is tested.
        assert tests.loglik[j] == pytest.approx(snp["lml"], abs=2e-5)
        assert tests.p_lrt[j] == pytest.approx(snp["p_lrt"], rel=1e-5)


@pytest.mark.slow
def test_scores_count_the_degrees_of_freedom_of_covariates(rng):
    """40 individuals and 13 covariates: size 0.09 at 0.05 if n stands where n - c is due; conservative with n - c."""
    n, c = 40, 13
    W = rng.standard_normal((n, 120))
    spectrum = bl.decompose(W @ W.T / 120)
    X = np.column_stack([np.ones(n), rng.standard_normal((n, c - 1))])
    Z = spectrum.U.T @ rng.binomial(2, 0.3, (n, 300)).astype(float)
    tests = null_scan(spectrum.rotate(rng.standard_normal((n, 30)), X)).test([Z])
    size = np.mean([test.p_score < 0.05 for test in tests])
    assert 0.02 < size < 0.055
