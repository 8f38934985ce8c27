import arviz_base
import numpy as np

import bayeslmm as bl


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
    assert diagnostics.failures == ("3 divergent transitions: raise target_accept, or reconsider the prior",)


def test_a_single_chain_fails(rng):
    assert any("one chain only" in failure for failure in bl.diagnose(tree(rng.standard_normal((1, 1000)))).failures)
