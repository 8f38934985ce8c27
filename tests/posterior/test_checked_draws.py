import arviz_base
import numpy as np
import pytest

from bayeslmm.models import univariate
from bayeslmm.posterior.checked_draws import checked_draws
from bayeslmm.report.tables import diagnostics_lines


@pytest.fixture
def drawn(monkeypatch, rng):
    """Stand-ins of `sample`: as many divergences as a list says, one number for each call."""
    calls = []

    def sampler(divergences, *, apart=0.0):
        def sample(program, data, **settings):
            flags = np.zeros((4, 1000), dtype=bool)
            flags.ravel()[: divergences[len(calls)]] = True
            calls.append(settings)
            draws = rng.standard_normal((4, 1000)) + apart * np.arange(4)[:, None]
            return arviz_base.from_dict({"posterior": {"h2": draws}, "sample_stats": {"diverging": flags}})

        monkeypatch.setattr("bayeslmm.posterior.checked_draws.sample", sample)
        return calls

    return sampler


def test_draws_without_divergence_are_the_first(drawn, small_data):
    calls = drawn([0])
    tree, checks = checked_draws(univariate, small_data, warmup=500, target_accept=0.9, seed=3)
    assert calls == [{"warmup": 500, "target_accept": 0.9, "seed": 3}]
    assert (checks.failures, checks.drawn_again) == ((), "")
    assert "drawn_again" not in tree.attrs


def test_one_divergence_is_drawn_again_with_shorter_steps_and_told(drawn, small_data):
    calls = drawn([1, 0])
    tree, checks = checked_draws(univariate, small_data, warmup=500, target_accept=0.9, seed=3)
    assert [call["target_accept"] for call in calls] == pytest.approx([0.9, 0.98])
    assert [call["warmup"] for call in calls] == [500, 1000]
    assert checks.failures == ()
    words = (
        "1 of 4000 transitions diverged at an acceptance rate of 0.9: drawn again at 0.98 with 1000 steps of warm-up"
    )
    assert checks.drawn_again == tree.attrs["drawn_again"] == words
    assert diagnostics_lines(checks)[1] == words


def test_what_remains_after_two_more_runs_fails(drawn, small_data):
    calls = drawn([9, 5, 2])
    _, checks = checked_draws(univariate, small_data, warmup=100, target_accept=0.99, seed=3)
    assert [call["target_accept"] for call in calls] == pytest.approx([0.99, 0.998, 0.9996])
    assert checks.failures[0].startswith("2 divergent transitions")
    assert "0.99, then 5 of 4000 transitions diverged at an acceptance rate of 0.998: drawn again" in checks.drawn_again


def test_chains_that_disagree_are_not_drawn_again(drawn, small_data):
    """By luck the next ones might agree, in one of two modes."""
    calls = drawn([0], apart=3.0)
    _, checks = checked_draws(univariate, small_data, warmup=100, target_accept=0.9, seed=3)
    assert len(calls) == 1
    assert checks.failures[0].startswith("R-hat is")
