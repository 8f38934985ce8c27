import arviz_base
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.diagnostics import prior_overlap


def tree(draws, *, diverging=0):
    flags = np.zeros(draws.shape[:2], dtype=bool)
    flags.ravel()[:diverging] = True
    return arviz_base.from_dict({"posterior": {"h2": draws}, "sample_stats": {"diverging": flags}})


def test_independent_draws_pass(rng):
    diagnostics = bl.diagnose(tree(rng.standard_normal((4, 1000))))
    assert diagnostics.failures == ()
    assert 3000 < diagnostics.ess_bulk < 5000


def test_chains_that_disagree_fail(rng):
    diagnostics = bl.diagnose(tree(rng.standard_normal((4, 1000)) + np.arange(4)[:, None]))
    assert "R-hat is" in diagnostics.failures[0]
    assert diagnostics.r_hat > 1.1


def test_sticky_chains_fail_on_effective_samples(rng):
    diagnostics = bl.diagnose(tree(np.repeat(rng.standard_normal((4, 50)), 20, axis=1)))
    assert any("bulk ESS is" in failure for failure in diagnostics.failures)
    assert any("tail ESS is" in failure for failure in diagnostics.failures)


def test_divergences_fail(rng):
    diagnostics = bl.diagnose(tree(rng.standard_normal((4, 1000)), diverging=3))
    assert diagnostics.failures == ("3 divergent transitions: raise --target-accept, or reconsider the prior",)


def test_a_single_chain_fails(rng):
    assert any("one chain only" in failure for failure in bl.diagnose(tree(rng.standard_normal((1, 1000)))).failures)


def test_draws_too_few_for_a_number_fail(rng):
    failures = bl.diagnose(tree(rng.standard_normal((2, 3)))).failures
    assert [failure.split(" is ")[0] for failure in failures] == ["R-hat", "bulk ESS", "tail ESS"]


def test_prior_overlap_is_the_shared_area(rng):
    """Against integrals: nothing moved, all moved, and half of a uniform prior left."""
    uniform = dist.Uniform(-1.0, 1.0)
    assert prior_overlap(rng.uniform(-1, 1, 100_000), uniform, -1.0, 1.0) > 0.98
    assert prior_overlap(np.full(1000, 0.99), uniform, -1.0, 1.0) == pytest.approx(0.05)
    assert prior_overlap(rng.uniform(0, 1, 100_000), uniform, -1.0, 1.0) == pytest.approx(0.5, abs=1e-6)
    normal = np.clip(0.2 * rng.standard_normal(200_000), -0.999, 0.999)
    points = np.linspace(-1, 1, 20_001)
    exact = np.minimum(norm.pdf(points, scale=0.2), 0.5).mean() * 2
    assert prior_overlap(normal, uniform, -1.0, 1.0) == pytest.approx(exact, abs=0.02)


def test_constant_elements_do_not_fail_the_checks(rng):
    """The diagonal of a correlation matrix: no variance, no R-hat, and no complaint."""
    draws = {"rho": np.stack([np.ones((4, 500)), rng.standard_normal((4, 500))], axis=-1)}
    flags = {"diverging": np.zeros((4, 500), dtype=bool)}
    posterior = arviz_base.from_dict({"posterior": draws, "sample_stats": flags})
    assert bl.diagnose(posterior).failures == ()
