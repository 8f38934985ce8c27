import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.special import gammaln, logsumexp

from bayeslmm.posterior.share_tree import ShareTree


@pytest.fixture
def tree(rng):
    A = rng.standard_normal((5, 8))
    return ShareTree.of(rng.standard_normal(5), A @ A.T)


def test_shares_and_coordinates_are_inverse(tree, rng):
    u = 3 * rng.standard_normal((7, 4))
    log_shares = tree.log_shares(u)
    assert_allclose(np.exp(log_shares).sum(axis=1), 1, rtol=1e-14)
    again = np.array([tree.coordinates(row + shift) for row, shift in zip(log_shares, range(7), strict=True)])
    assert_allclose(again, u, rtol=1e-10, atol=1e-12)


def test_slopes_and_volume_are_derivatives(tree, rng):
    """By central differences."""
    at, step = rng.standard_normal(5), 1e-5
    moved = [[tree.coordinates(at + sign * step * unit) for unit in np.eye(5)] for sign in (1, -1)]
    assert_allclose(tree.slopes(at), (np.array(moved[0]) - moved[1]).T / (2 * step), atol=1e-9)
    u = rng.standard_normal(4)
    up, down = (np.exp(tree.log_shares(u + sign * step * np.eye(4)))[:, :-1] for sign in (1, -1))
    assert_allclose(tree.log_volume(u[None])[0], np.linalg.slogdet((up - down) / (2 * step))[1], atol=1e-8)


def test_shares_that_the_data_hardly_tell_apart_are_joined_first():
    """Covariance of log variances of which the first and the third have a sum that is well known."""
    shares = np.array([0.3, 0.2, 0.3, 0.2])
    of_logs = np.diag([0.02, 0.02, 0.02, 0.02])
    of_logs += np.outer([1, 0, -1, 0], [1, 0, -1, 0])
    tree = ShareTree.of(np.log(shares) + 2, of_logs)
    joined = {frozenset(np.flatnonzero(node)) for node in tree.first | tree.second}
    assert frozenset({0, 2}) in joined
    assert (tree.first | tree.second)[0].all()


def test_a_dirichlet_density_integrates_to_one(rng):
    """Over the coordinates, by the trapezoid rule in two of them."""
    a = np.array([0.7, 2.0, 1.5])
    tree = ShareTree.of(np.zeros(3), np.eye(3))
    grid = np.linspace(-40, 40, 1601)
    u = np.stack(np.meshgrid(grid, grid, indexing="ij"), axis=-1).reshape(-1, 2)
    log_density = tree.log_shares(u) @ (a - 1) + tree.log_volume(u)
    log_integral = logsumexp(log_density) + 2 * np.log(grid[1] - grid[0])
    assert_allclose(log_integral, gammaln(a).sum() - gammaln(a.sum()), atol=1e-8)
