import arviz_base
import numpy as np
import numpyro.distributions as dist
import pytest
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.posterior import exact
from bayeslmm.posterior.diagnostics import check_values, disagreements, prior_overlap
from conftest import two_modes


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
    assert diagnostics.failures == ("3 divergent transitions: raise the acceptance rate, or reconsider the prior",)


def test_a_single_chain_fails(rng):
    assert any("one chain only" in failure for failure in bl.diagnose(tree(rng.standard_normal((1, 1000)))).failures)


def test_draws_too_few_for_a_number_fail(rng):
    failures = bl.diagnose(tree(rng.standard_normal((2, 3)))).failures
    assert [failure.split(" is ")[0] for failure in failures] == ["R-hat", "bulk ESS", "tail ESS"]


def test_checks_that_pass_by_less_than_twice_ask_for_a_look():
    def states(*values, chains=4):
        return [check.state for check in check_values(*values, chains=chains)]

    assert states(1.004, 900.0, 801.0, 0, np.nan) == ["fine"] * 4
    assert states(1.006, 799.0, 500.0, 0, 0.9) == ["look"] * 3 + ["fine"] * 2
    assert states(1.02, 90.0, 80.0, 3, 0.2) == ["failed"] * 5
    assert states(np.nan, 900.0, 900.0, 0, np.nan, chains=1) == ["failed"] + ["fine"] * 3


def test_all_that_is_checked_is_listed_and_recorded(rng):
    diagnostics = bl.diagnose(tree(rng.standard_normal((4, 1000)), diverging=3))
    names = ["finite draws", "moving chains", "R-hat", "bulk ESS", "tail ESS", "divergences"]
    assert [check.name for check in diagnostics.checks] == names
    assert [check.value for check in diagnostics.checks if check.state == "failed"] == [3]
    keys = ["r_hat", "ess_bulk", "ess_tail", "divergences", "e_bfmi", "drawn_again", "failures"]
    assert list(diagnostics.record()) == keys
    assert diagnostics.record()["failures"] == diagnostics.failures


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


def test_chains_that_never_moved_fail():
    """All at one value, or each at its own: R-hat is 0 / 0 for the first, and ArviZ counts each draw as independent."""
    for draws in (np.full((4, 1000), 0.5), np.repeat(np.arange(4.0)[:, None], 1000, axis=1)):
        diagnostics = bl.diagnose(tree(draws))
        assert (diagnostics.r_hat, diagnostics.ess_bulk, diagnostics.ess_tail) == (np.inf, 0, 0)
        words = [failure.split(" and ")[0] for failure in diagnostics.failures]
        assert words[0].startswith("4 of 4 chains never moved (number 1, 2, 3 and 1 more)") or "never moved" in words[0]
        assert [word.split(" is ")[0] for word in words[1:]] == ["R-hat", "bulk ESS", "tail ESS"]


def test_one_chain_that_never_moved_fails(rng):
    """Where the others have their median and the median of their distance from it, R-hat sees least of it."""
    draws = rng.standard_normal((4, 1000))
    draws[2] = 0.674
    diagnostics = bl.diagnose(tree(draws))
    assert diagnostics.failures[0].startswith("1 of 4 chains never moved (number 3)")
    assert diagnostics.r_hat == np.inf


def test_a_site_that_is_constant_by_its_nature_does_not_fail(rng):
    draws = {"h2": rng.standard_normal((4, 500)), "n": np.full((4, 500), 40.0)}
    flags = {"diverging": np.zeros((4, 500), dtype=bool)}
    assert bl.diagnose(arviz_base.from_dict({"posterior": draws, "sample_stats": flags})).failures == ()


@pytest.mark.parametrize(("step", "fails"), [(0.1, True), (2.0, False)])
def test_energy_that_changes_slowly_fails(rng, step, fails):
    """E-BFMI of an autoregression with coefficient r is 2 (1 - r) in the limit; 0.02 and 0.8 here."""
    r = 1 - step**2 if fails else 0.6
    noise = rng.standard_normal((4, 1000))
    energy = np.empty_like(noise)
    energy[:, 0] = noise[:, 0]
    for k in range(1, 1000):
        energy[:, k] = r * energy[:, k - 1] + np.sqrt(1 - r**2) * noise[:, k]
    flags = {"diverging": np.zeros((4, 1000), dtype=bool), "energy": energy}
    draws = {"h2": rng.standard_normal((4, 1000))}
    diagnostics = bl.diagnose(arviz_base.from_dict({"posterior": draws, "sample_stats": flags}))
    assert diagnostics.e_bfmi == pytest.approx(2 * (1 - r), rel=0.6 if fails else 0.2)
    assert any("E-BFMI is" in failure for failure in diagnostics.failures) == fails


def test_draws_of_one_mode_disagree_with_the_quadrature_of_two(rng):
    oracle = exact.posterior(two_modes((300, 100, 6), 1e4))
    right, _ = oracle.draws(4000, rng)
    assert disagreements("h2", right.reshape(4, 1000), oracle.h2) == []
    low = rng.choice(right[right < 0.5], (4, 1000))  # 99% of all, whose mean is off by a quarter
    assert any("mean of h2 is" in check.advice for check in disagreements("h2", low, oracle.h2))


def test_a_tail_that_is_missing_disagrees_where_the_mean_does_not(small_data, rng):
    """Less than the lower 4% is moved to just above them: the mean is not 5 errors off, the interval is."""
    oracle = exact.posterior(small_data).h2
    draws = np.array([oracle.quantile(p) for p in (rng.permutation(2000) + 0.5) / 2000]).reshape(4, 500)
    assert disagreements("h2", draws, oracle) == []
    (check,) = disagreements("h2", np.maximum(draws, oracle.quantile(0.04)), oracle)
    assert check.value > 5
    assert check.advice.startswith(
        f"probability below {oracle.quantile(0.025):.4g} of h2 is 0 by NUTS and 0.025 by quadrature"
    )
