import runpy

import numpy as np
import pytest
from numpy.testing import assert_allclose

from bayeslmm.base.checks import AnalysisError
from bayeslmm.likelihood.components import components
from bayeslmm.studies import component_ranks as studied
from bayeslmm.studies.component_ranks import QUANTILES, component_rank_tasks, component_ranks
from conftest import ROOT


def test_tasks_cover_all_data_sets():
    tasks = component_rank_tasks(23, seed=1, draws=256)
    assert [(task["first"], task["count"]) for task in tasks] == [(0, 10), (10, 10), (20, 3)]
    assert component_rank_tasks(1, seed=1, draws=256, shares=(0.5, 0.5))[0]["shares"] == [0.5, 0.5]


def test_traits_have_the_covariance_of_their_model(dense_records, monkeypatch):
    """Their quadratic form is chi-squared: of 200 traits with 60 records its mean is near 60 times 200."""
    data, seen = components(dense_records()), []
    monkeypatch.setattr(studied, "_posterior", lambda simulated, *_: seen.append(simulated.records.y) or "stopped here")
    shares = (0.1, 0.3, 0.2, 0.2, 0.2)
    (task,) = component_rank_tasks(10, seed=1, draws=256, shares=shares)
    assert component_ranks(task | {"count": 200}, data) == [{"failed": "stopped here"}] * 200
    V = sum(share * one.covariance() for share, one in zip(shares, data.parts, strict=False)) + 0.2 * np.eye(data.n)
    squares = np.square(np.linalg.solve(np.linalg.cholesky(V), np.array(seen).T)).sum(axis=0)
    assert_allclose(squares.sum(), 200 * data.n, rtol=4 * np.sqrt(2 / (200 * data.n)))


def test_a_data_set_has_ranks_quantiles_and_the_same_result_again(dense_records):
    data = components(dense_records())
    task = component_rank_tasks(2, seed=3, draws=256)[0]
    found = component_ranks(task, data)
    assert component_ranks(task, data) == found
    assert component_ranks(task | {"first": 1, "count": 1}, data) == found[1:]
    for one in found:
        assert set(one["rank"]) == {*data.names, "total", "loglik"}
        assert all(0 <= rank <= 1 for rank in one["rank"].values())
        for name, quantiles in one["quantiles"].items():
            assert quantiles == sorted(quantiles)
            assert one["holds"][name] == (quantiles[0] <= one["truth"][name] <= quantiles[-1])
            below = sum(value < one["truth"][name] for value in quantiles)
            lower, upper = (0, *QUANTILES)[below], (*QUANTILES, 1)[below]
            assert lower - 0.02 <= one["rank"][name] <= upper + 0.02


def test_more_draws_are_tried_and_failures_told(dense_records, monkeypatch):
    tried = []

    def failing(data, *, draws, **_):
        tried.append(draws)
        raise AnalysisError("no")

    monkeypatch.setattr(studied, "importance", failing)
    task = component_rank_tasks(1, seed=3, draws=256)[0]
    assert component_ranks(task, components(dense_records())) == [{"failed": "no"}]
    assert tried == [256, 1024]


@pytest.mark.slow
def test_confounded_components_do_not_defeat_the_proposal(monkeypatch):
    """Families of gryphons, where data tell little but the sum of animal and residual.

    With log ratios to the residual as coordinates the Pareto k was 0.82 and 0.99 here, of 4,096 draws too.
    """
    monkeypatch.syspath_prepend(str(ROOT / "validation"))
    data = runpy.run_path(str(ROOT / "validation" / "components_sbc.py"))["gryphons"](300)
    for number in (1, 22):
        (found,) = component_ranks({"shares": None, "seed": 3, "draws": 1024, "first": number, "count": 1}, data)
        assert found["draws"] == 1024
        assert found["ess"]["total"] > 500
