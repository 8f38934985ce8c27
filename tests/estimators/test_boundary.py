import numpy as np
import pytest
import scipy.linalg
from numpy.testing import assert_allclose
from scipy.optimize import brentq
from scipy.stats import chi2, f, kstest

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.estimators import boundary
from bayeslmm.likelihood.rotation import RotatedData


def test_contrast_eigenvalues_are_those_of_error_contrasts(dense, small_data):
    K, X, _, _ = dense
    A = scipy.linalg.null_space(X.T)
    assert_allclose(boundary.contrast_eigenvalues(small_data), np.linalg.eigvalsh(A.T @ K @ A), atol=1e-10)


class Layout:
    """a families of r sibs, alike within: REML has closed forms in F = MSB / MSW, which is (1 + ratio r) F(a-1, b)."""

    a, r = 20, 10
    b, m = a * (r - 1), a * r - 1
    mu = np.concatenate([np.zeros(b), np.full(a - 1, float(r))])

    def statistic(self, F):
        between = self.a - 1
        return 0.0 if F <= 1 else self.m * np.log((between * F + self.b) / self.m) - between * np.log(F)

    def tail(self, F, ratio=0.0):
        return f.sf(F / (1 + ratio * self.r), self.a - 1, self.b)

    def h2(self, F):
        return (F - 1) / self.r / (1 + (F - 1) / self.r) if F > 1 else 0.0


@pytest.fixture(scope="module")
def layout():
    return Layout(), boundary.reml_distribution(Layout.mu, seed=1)


@pytest.mark.parametrize("F", [1.05, 1.5, 2.0, 4.0, 8.0, 20.0])
def test_p_values_equal_the_F_distribution_down_to_tiny_ones(layout, F):
    """Within 4 of the reported Monte Carlo errors, which stay below a fifth of the p-value down to 1e-34."""
    exact, draws = layout
    t, p = exact.statistic(F), exact.tail(F)
    assert abs(draws.p_value(t) - p) < 4 * draws.p_value_error(t)
    assert draws.p_value_error(t) < 0.2 * p


def test_the_atom_and_the_size_of_the_mixture_equal_the_F_distribution(layout):
    exact, draws = layout
    assert_allclose(draws.probability_of_zero(), 1 - exact.tail(1.0), atol=0.01)
    F = brentq(lambda F: exact.statistic(F) - chi2.isf(0.1, 1), 1.01, 10)
    size = draws.mixture_size(0.05)
    assert_allclose(size, exact.tail(F), atol=4 * draws.p_value_error(chi2.isf(0.1, 1)))
    assert draws.p_value(0.0) == 1
    assert draws.p_value_error(0.0) == 0


@pytest.mark.parametrize("F", [0.8, 1.2, 1.8, 3.0, 6.0])
def test_intervals_equal_the_F_distribution(layout, F):
    """The lower limit is one-sided while an estimate of 0 is not rare; the rest is the textbook interval."""
    exact, draws = layout
    lower, upper = draws.confidence_interval(exact.h2(F))

    def limit(alpha, side):
        """The ratio whose test of size alpha just rejects F."""
        gap = (lambda q: exact.tail(F, q) - alpha) if side == "lower" else (lambda q: 1 - exact.tail(F, q) - alpha)
        return 0.0 if gap(0) * gap(1e3) > 0 else brentq(gap, 0, 1e3)

    first = brentq(lambda q: 1 - exact.tail(1.0, q) - 0.025, 0, 10)  # here an estimate of 0 gets rare
    low = limit(0.05, "lower")
    low = low if low <= first else max(first, limit(0.025, "lower"))
    F = max(F, 1.0)
    high = max(first, limit(0.025, "upper"))
    assert_allclose([lower, upper], [low / (1 + low), high / (1 + high)], atol=0.01)


@pytest.fixture(scope="module")
def mice(mouse_data):
    """A fifth of the eigenvalues of the mice, their contrasts and the distribution of REML."""
    data = mouse_data("CD8")
    data = RotatedData(data.s[::5], data.Y[::5], data.X[::5], data.k_scale)
    return data, boundary.reml_distribution(boundary.contrast_eigenvalues(data), seed=1, draws=10_000)


def fits(data, h2, count, seed):
    rng = np.random.default_rng(seed)
    d = h2 * data.s + 1 - h2
    noise = np.sqrt(d) * rng.standard_normal((count, len(d)))
    return [bl.reml(data._replace(Y=3 * data.X + one[:, None])) for one in noise]


@pytest.mark.slow
def test_p_values_of_true_nulls_are_uniform_above_the_atom(mice):
    """400 traits without heritability through `reml`; validation/boundary.py does 10,000 at full size."""
    data, draws = mice
    statistics = np.array([2 * (fit.loglik - fit.loglik_null) for fit in fits(data, 0.0, 400, 7)])
    atom = draws.probability_of_zero()
    assert_allclose((statistics <= 0).mean(), atom, atol=4 * np.sqrt(atom * (1 - atom) / 400))
    p = np.array([draws.p_value(t) for t in statistics[statistics > 0]])
    assert kstest(p / (1 - atom), "uniform").pvalue > 0.01
    assert p.max() < 1 - atom + 0.01


@pytest.mark.slow
@pytest.mark.parametrize("h2", [0.0, 0.5, 0.97])
def test_intervals_cover(mice, h2):
    """200 traits each: coverage 0.95 to 3 binomial standard errors; at 0.97 estimates of 1 are not rare."""
    data, draws = mice
    intervals = np.array([draws.confidence_interval(fit.h2) for fit in fits(data, h2, 200, 8)])
    covered = ((intervals[:, 0] <= h2) & (h2 <= intervals[:, 1])).mean()
    assert abs(covered - 0.95) < 3 * np.sqrt(0.95 * 0.05 / 200)


def test_intervals_equal_the_published_table(shared):
    """ALBI's and FIESTA's intervals, themselves random and up to 0.04 apart, to 0.03 of one of them."""
    s = np.sort(np.loadtxt(shared / "albi" / "eigenvalues.txt"))
    draws = boundary.reml_distribution(s[1:], seed=1)  # the intercept is the eigenvector of 0
    table = [line.split("|")[1:6] for line in (shared / "albi" / "README.md").read_text().splitlines() if "|" in line]
    rows = np.array(table[2:], dtype=float)
    assert len(rows) == 11
    for estimate, *published in rows:
        lower, upper = draws.confidence_interval(estimate)
        assert min(abs(lower - published[0]), abs(lower - published[2])) < 0.03, estimate
        assert min(abs(upper - published[1]), abs(upper - published[3])) < 0.03, estimate


@pytest.mark.parametrize(("draws", "twice"), [(1000, 180), (1280, 320)])
def test_weights_are_densities_over_the_mixture_drawn_from(draws, twice):
    """Of each draw, exactly: half the draws are from 0, the others once or twice from each of the 320 points."""
    found = boundary.reml_distribution(Layout.mu, seed=2, draws=draws)
    share = np.array([draws / 2, *np.where(np.arange(320) < twice, 2, 1)]) / draws
    assert_allclose(np.exp(found.log_weight) @ share, 1, rtol=1e-4)


def test_impossible_requests_are_refused(layout):
    _, draws = layout
    with pytest.raises(InputError, match=r"must lie between 0 and 1, but 1\.2 and 0\.95 were given"):
        draws.confidence_interval(1.2)
    with pytest.raises(InputError, match=r"but 0\.5 and 95\.0 were given"):
        draws.confidence_interval(0.5, level=95.0)
    with pytest.raises(InputError, match="at least 1000 draws are needed, but 10 was given"):
        boundary.reml_distribution(Layout.mu, seed=1, draws=10)


def test_the_mixture_is_gctas():
    assert_allclose(boundary.mixture_p_value(2.7055), 0.05, atol=1e-5)
    assert boundary.mixture_p_value(0.0) == 1
