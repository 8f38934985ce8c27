"""How often an interval of h2 contains the truth, and how wide it is, on a given kinship with given covariates.

Traits are simulated in the eigenbasis at a true h2. Their total variance is 1 and their fixed effects are 0, without
loss of generality: no interval of h2 changes with either.
"""

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray
from scipy.stats import norm

from bayeslmm.base.defaults import PRIOR_H2
from bayeslmm.base.tasks import Task
from bayeslmm.estimators import boundary, information
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood.priors import VariancePrior, beta_prior
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.posterior import exact
from bayeslmm.posterior.marginal import Marginal

LABELS = {
    "posterior": "posterior, equal tails",
    "shortest": "posterior, shortest",
    "inversion": "test inversion",
    "profile": "profile likelihood",
    "wald_average": "Wald, average information",
    "wald_expected": "Wald, expected information",
    "wald_observed": "Wald, observed information",
}
LEVEL = 0.95
_BATCH = 25
_NEAR = 1e-6  # of the boundary, where GCTA stops and prints its standard error
_SEED_OF_INVERSION = 2016
OVER_PRIOR = "prior"
"""In place of a true h2: each data set draws its own from the prior."""

Interval = tuple[float, float]


class Individuals(NamedTuple):
    """What coverage depends on, besides the true h2.

    Attributes:
        data: eigenvalues and rotated covariates; Y is 0.
        mu: eigenvalues of the error contrasts (`boundary.contrast_eigenvalues`), shape (n - c,).
    """

    data: RotatedData
    mu: Float64[ndarray, " m"]


def individuals_of(data: RotatedData) -> Individuals:
    """Return what coverage depends on, without the trait."""
    return Individuals(data._replace(Y=np.zeros((len(data.s), 1))), boundary.contrast_eigenvalues(data))


def coverage_tasks(
    h2: Sequence[float | str], datasets: int, *, seed: int, prior_h2: tuple[float, float] = PRIOR_H2
) -> list[Task]:
    """Return tasks of `simulated_intervals`, 25 data sets each.

    Args:
        h2: the true values, or `OVER_PRIOR`.
        datasets: for each true value; the first of more are those of fewer.
        seed: Seed for the traits.
        prior_h2: Beta(a, b), of the posterior and of `OVER_PRIOR`.
    """
    return [
        {
            "h2": value,
            "prior_h2": list(prior_h2),
            "seed": seed,
            "first": first,
            "count": min(_BATCH, datasets - first),
        }
        for value in h2
        for first in range(0, datasets, _BATCH)
    ]


def simulated_intervals(task: Task, individuals: Individuals) -> list[dict[str, Any]]:
    """Simulate the traits of a task; return the true ``h2`` of each and its ``intervals`` by method."""
    s, prior = individuals.data.s, VariancePrior(h2=beta_prior(*task["prior_h2"]))
    distribution = _distribution(individuals.mu.tobytes())
    results: list[dict[str, Any]] = []
    for number in range(task["first"], task["first"] + task["count"]):
        rng = np.random.default_rng(np.random.SeedSequence(task["seed"], spawn_key=(number,)))
        z = rng.standard_normal(len(s))
        h2 = float(rng.beta(*task["prior_h2"])) if task["h2"] == OVER_PRIOR else task["h2"]
        data = individuals.data._replace(Y=(np.sqrt(h2 * s + 1 - h2) * z)[:, None])
        results.append({"h2": h2, "intervals": intervals(data, distribution, prior)})
    return results


def intervals(data: RotatedData, distribution: boundary.RemlDistribution, prior: VariancePrior) -> dict[str, Interval]:
    """Return the 95% intervals of h2 of one trait, by every method of `LABELS`.

    Wald intervals are cut to 0 to 1. Where REML is on the boundary they are those of an estimate 1e-6 inside, as GCTA
    prints them; where the information is not positive definite there is none, and both ends are NaN.
    """
    fit = reml(data)
    h2 = exact.posterior(data, prior).h2
    others = {
        "posterior": h2.interval(LEVEL),
        "shortest": shortest(h2),
        "inversion": distribution.confidence_interval(fit.h2, level=LEVEL),
        "profile": information.profile_interval(fit, data, "h2", level=LEVEL),
    }
    return others | {f"wald_{kind}": _wald(fit, data, kind) for kind in information.KINDS}


def shortest(marginal: Marginal) -> Interval:
    """Return the shortest interval of a share that has 95%, to a 50th of what the tails have.

    It contains 0 or 1 where the density is highest there, which an interval with equal tails never does.
    """
    below = np.linspace(0, 1 - LEVEL, 51)
    lower = np.array([0.0, *(marginal.quantile(p) for p in below[1:])])
    upper = np.array([*(marginal.quantile(p + LEVEL) for p in below[:-1]), 1.0])
    best = int(np.argmin(upper - lower))
    return float(lower[best]), float(upper[best])


def coverage_table(tasks: Sequence[Task], results: Sequence[Sequence[dict[str, Any]]]) -> pd.DataFrame:
    """Summarise results of `simulated_intervals`: a row for each true h2, or `OVER_PRIOR`, and method.

    Returns:
        Columns h2, method, datasets, coverage, se (binomial, with two hits and two misses added), too_high and too_low
        (shares of intervals that lie above and below the truth), width (mean) and none (share of data sets without an
        interval, which count as misses).

    Source: Agresti and Coull (1998), doi:10.1080/00031305.1998.10480550, for se, which is not 0 where all are hits.
    """
    rows = []
    for h2 in dict.fromkeys(task["h2"] for task in tasks):
        records = [record for task, result in zip(tasks, results, strict=True) if task["h2"] == h2 for record in result]
        truth = np.array([record["h2"] for record in records])
        for method in LABELS:
            lower, upper = np.array([record["intervals"][method] for record in records], dtype=float).T
            holds, none = float(((lower <= truth) & (truth <= upper)).mean()), np.isnan(lower)
            centre = (holds * len(records) + 2) / (len(records) + 4)
            rows.append(
                {
                    "h2": h2,
                    "method": method,
                    "datasets": len(records),
                    "coverage": holds,
                    "se": float(np.sqrt(centre * (1 - centre) / (len(records) + 4))),
                    "too_high": float((lower > truth).mean()),
                    "too_low": float((upper < truth).mean()),
                    "width": float((upper - lower)[~none].mean()) if not none.all() else float("nan"),
                    "none": float(none.mean()),
                }
            )
    return pd.DataFrame(rows)


def _wald(fit: Estimate, data: RotatedData, kind: information.Kind) -> Interval:
    if fit.boundary:
        h2, total = float(np.clip(fit.h2, _NEAR, 1 - _NEAR)), fit.sigma2_u + fit.sigma2_e
        fit = replace(fit, boundary=None, h2=h2, sigma2_u=h2 * total, sigma2_e=(1 - h2) * total)
    matrix = information.fisher(fit, data, kind=kind)
    if np.linalg.eigvalsh(matrix)[0] <= 0:
        return float("nan"), float("nan")
    se = information.standard_errors_from(np.linalg.inv(matrix), fit.sigma2_u, fit.sigma2_e, data.k_scale)["h2"]
    half = norm.isf((1 - LEVEL) / 2) * se
    return float(max(fit.h2 - half, 0.0)), float(min(fit.h2 + half, 1.0))


@functools.lru_cache(maxsize=2)
def _distribution(mu: bytes) -> boundary.RemlDistribution:
    """Return the distribution of REML, once for all tasks of a worker."""
    return boundary.reml_distribution(np.frombuffer(mu), seed=_SEED_OF_INVERSION)
