import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError


def proximal_gradient(W, y, lambda0, rounds=20, steps=4000):
    """The same alternation in float64, the lasso by accelerated soft thresholding."""
    m = len(y) - 2
    step = m / np.linalg.eigvalsh(W.T @ W)[-1]
    b, sigma = np.zeros(W.shape[1]), np.sqrt(y @ y / m)
    for _ in range(rounds):
        z, t, old = b.copy(), 1.0, b.copy()
        for _ in range(steps):
            moved = z + step * W.T @ (y - W @ z) / m
            b = np.sign(moved) * np.maximum(np.abs(moved) - step * sigma * lambda0, 0)
            t, last = (1 + np.sqrt(1 + 4 * t**2)) / 2, t
            z, old = b + (last - 1) / t * (b - old), b
        sigma = np.sqrt(np.square(y - W @ b).sum() / m)
    return sigma**2, np.count_nonzero(b)


@pytest.fixture
def cohort(tmp_path, rng):
    """120 people, 300 markers of which three matter, one covariate; genotypes of 150 in the file."""
    G = rng.binomial(2, rng.uniform(0.2, 0.5, 300), (150, 300)).astype(float)
    ids = [f"p{i}" for i in range(150)]
    to_bed(tmp_path / "toy.bed", G, properties={"fid": ids, "iid": ids, "chromosome": ["1"] * 300})
    X = np.column_stack([np.ones(120), rng.standard_normal(120)])
    g = G[30:, :3] @ [1.0, -1.0, 1.0]
    Y = (100 + 30 * g + X[:, 1] + 20 * rng.standard_normal(120))[:, None]
    return bl.MarkerBlocks(bl.open_genotypes(tmp_path / "toy")), ids[30:], Y, X, G[30:]


def test_it_solves_the_joint_problem(cohort):
    blocks, ids, Y, X, G = cohort
    fit = bl.scaled_lasso(blocks, ids, Y, X)
    M = np.eye(120) - X @ np.linalg.pinv(X)
    W = M @ G
    W *= np.sqrt(118) / np.linalg.norm(W, axis=0)
    y = M @ Y[:, 0]
    assert_allclose(fit.lambda0, np.sqrt(2 * np.log(300) / 118))
    sigma2_e, selected = proximal_gradient(W, y, fit.lambda0)
    assert_allclose(fit.sigma2_e, sigma2_e, rtol=1e-4)
    assert_allclose(fit.sigma2_y, y @ y / 118, rtol=1e-12)
    assert fit.selected == selected
    assert fit.p == 300
    assert 0.2 < fit.h2 < 0.8


def test_a_polygenic_trait_keeps_its_whole_variance(cohort):
    """What the source report found: h2 = 0.5 spread over all the markers, and not one passes the penalty."""
    blocks, ids, _, X, G = cohort
    rng = np.random.default_rng(12)
    Y = (G - G.mean(axis=0)) @ rng.standard_normal((300, 1)) / 12
    Y += np.std(Y) * rng.standard_normal((120, 1))
    fit = bl.scaled_lasso(blocks, ids, Y, X)
    assert fit.selected <= 1
    assert fit.h2 < 0.05


def test_the_penalty_must_be_positive(cohort):
    blocks, ids, Y, X, _ = cohort
    with pytest.raises(InputError, match="lambda0 must be positive, but 0"):
        bl.scaled_lasso(blocks, ids, Y, X, lambda0=0.0)
    assert bl.scaled_lasso(blocks, ids, Y, X, lambda0=10.0).selected == 0


def test_markers_that_do_not_vary_are_told(cohort):
    blocks, ids, Y, _, _ = cohort
    with pytest.raises(InputError, match="no marker varies among the 3 individuals analysed, given X"):
        bl.scaled_lasso(blocks, ids[:3], Y[:3], np.eye(3))
