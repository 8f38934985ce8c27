import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.optimize import minimize_scalar

import bayeslmm as bl
from bayeslmm.likelihood.priors import beta_prior
from bayeslmm.studies.coverage import (
    LABELS,
    OVER_PRIOR,
    coverage_table,
    coverage_tasks,
    individuals_of,
    shortest,
    simulated_intervals,
)
from bayeslmm.studies.simulate import rotated_trait

S = np.linspace(0.2, 3, 40)


@pytest.fixture
def individuals(rng):
    return individuals_of(rotated_trait(S, h2=0.5, rng=rng))


@pytest.mark.slow
def test_intervals_are_those_of_the_methods_by_themselves(individuals):
    task = {"h2": 0.5, "prior_h2": [2.0, 3.0], "seed": 4, "first": 1, "count": 1}
    (found,) = simulated_intervals(task, individuals)
    rng = np.random.default_rng(np.random.SeedSequence(4, spawn_key=(1,)))
    data = individuals.data._replace(Y=(np.sqrt(0.5 * S + 0.5) * rng.standard_normal(40))[:, None])
    fit = bl.reml(data)
    prior = bl.VariancePrior(h2=beta_prior(2.0, 3.0))
    assert found["h2"] == 0.5
    assert set(found["intervals"]) == set(LABELS)
    assert_allclose(found["intervals"]["posterior"], bl.exact.posterior(data, prior).h2.interval(), rtol=1e-9)
    for kind in ("average", "expected", "observed"):
        se = bl.information.standard_errors(fit, data, kind=kind)["h2"]
        expected = np.clip([fit.h2 - 1.959964 * se, fit.h2 + 1.959964 * se], 0, 1)
        assert_allclose(found["intervals"][f"wald_{kind}"], expected, atol=1e-6)


def test_the_shortest_interval_is_the_best_of_a_search_over_its_lower_tail(small_data):
    h2 = bl.exact.posterior(small_data).h2
    best = minimize_scalar(
        lambda p: h2.quantile(p + 0.95) - h2.quantile(p), bounds=(1e-6, 0.05 - 1e-6), method="bounded"
    )
    lower, upper = shortest(h2)
    assert_allclose(upper - lower, best.fun, rtol=2e-3)
    assert upper - lower < np.subtract(*h2.interval()[::-1])


@pytest.mark.slow
def test_where_h2_is_0_the_shortest_interval_can_hold_it_and_equal_tails_cannot(individuals):
    tasks = coverage_tasks([0.0], 10, seed=1)
    table = coverage_table(tasks, [simulated_intervals(task, individuals) for task in tasks]).set_index("method")
    assert table.loc["posterior", "coverage"] == 0
    assert table.loc["posterior", "too_high"] == 1
    # 10 data sets: 4 binomial standard errors from 0.95.
    assert table.loc[["shortest", "inversion"], "coverage"].min() > 0.95 - 4 * np.sqrt(0.95 * 0.05 / 10)


def test_the_table_counts_hits_sides_and_intervals_that_are_not_there():
    nan = float("nan")
    ends = [(0.1, 0.3), (0.3, 0.4), (0.0, 0.1), (nan, nan)]
    results = [[{"h2": 0.2, "intervals": dict.fromkeys(LABELS, pair)} for pair in ends]]
    row = coverage_table([{"h2": 0.2}], results).iloc[0]
    assert (row["coverage"], row["too_high"], row["too_low"], row["none"]) == (0.25, 0.25, 0.25, 0.25)
    assert row["width"] == pytest.approx((0.2 + 0.1 + 0.1) / 3)
    assert row["se"] == pytest.approx(np.sqrt(3 / 8 * 5 / 8 / 8))


@pytest.mark.slow
def test_over_the_prior_each_data_set_has_a_truth_of_its_own(individuals):
    task = {"h2": OVER_PRIOR, "prior_h2": [1.0, 1.0], "seed": 1, "first": 0, "count": 4}
    found = simulated_intervals(task, individuals)
    assert len({one["h2"] for one in found}) == 4
    assert found[2:] == simulated_intervals({**task, "first": 2, "count": 2}, individuals)
