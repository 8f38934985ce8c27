import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

from bayeslmm.likelihood.ratio_grid import RatioGrid


@pytest.fixture(params=[1.5, 80.0, 3000.0])
def s(request, rng):
    """Eigenvalues over many orders of magnitude, some 0."""
    return np.concatenate([[0.0, 0.0], np.geomspace(1e-4, request.param, 300)])


def weights(s, grid, x):
    h2, e2 = grid.shares(np.asarray(x))
    return 1 / (h2[..., None] * s + e2[..., None])


def test_shares_run_from_no_heritability_to_the_end_of_the_search(s):
    h2, e2 = RatioGrid(s, 1e-5).shares(RatioGrid(s, 1e-5).x)
    assert h2[0] == 0
    assert e2[-1] / h2[-1] == pytest.approx(1e-5)
    assert_allclose(h2 + e2, 1, rtol=1e-14)


def test_logarithms_of_weighted_sums_are_interpolated_to_ten_digits(s, rng):
    grid = RatioGrid(s, 1e-5)
    g = np.where(s > 0, rng.standard_normal(len(s)), 0)
    x = rng.uniform(0, grid.x[-1], 1000)
    of_points, exact = (np.log(weights(s, grid, at) @ g**2) for at in (grid.x, x))
    assert_allclose(grid.basis(x) @ of_points, exact, atol=1e-8)


def test_argmax_finds_the_best_of_several_maxima(s):
    grid = RatioGrid(s, 1e-5)
    places = np.array([0.12, 0.5, 0.93]) * grid.x[-1]

    def function(x, height):
        return sum(h * np.exp(-(((x - place) / 2) ** 2)) for h, place in zip(height, places, strict=True)) + 0.01 * x

    heights = [(3.0, 2.0, 1.0), (1.0, 2.0, 1.9), (0.1, 0.2, 0.3), (0.0, 0.0, 0.0)]
    found = grid.argmax(np.array([function(grid.x, height) for height in heights]))
    for x, height in zip(found, heights, strict=True):
        fine = np.linspace(0, grid.x[-1], 2001)
        near = fine[function(fine, height).argmax()]
        best = minimize_scalar(
            lambda x, height=height: -function(x, height),
            bounds=(max(near - 0.05, 0), min(near + 0.05, grid.x[-1])),
            method="bounded",
            options={"xatol": 1e-10},
        )
        assert x == pytest.approx(best.x, abs=2e-5)


def test_argmax_stays_at_an_end(s):
    grid = RatioGrid(s, 1e-5)
    assert_allclose(grid.argmax(np.array([-grid.x, grid.x])), grid.x[[0, -1]], atol=1e-12)
