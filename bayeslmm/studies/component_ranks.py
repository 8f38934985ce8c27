r"""Simulation-based calibration of the posterior of several components of variance by importance sampling.

Shares and total are drawn from the prior, or shares are given, a trait given them, and the posterior given the trait.
The rank of a true value is its place in the posterior: the weight of the draws below it (`ranks` says what it shows).
Fixed effects have a flat prior: the restricted likelihood does not depend on them, and they are 0 here.

The prior of the total is in units of the variance of the trait given its covariates, which is not known before there
is a trait. Here the unit is 1: the posterior is given the same prior in its own units.
"""

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.float64 import in_float64
from bayeslmm.base.tasks import Task
from bayeslmm.likelihood.components import Components, components
from bayeslmm.likelihood.mixed_model_equations import factor
from bayeslmm.likelihood.priors import ComponentsPrior
from bayeslmm.posterior.importance import ImportancePosterior, importance

QUANTILES = (0.025, 0.25, 0.5, 0.75, 0.95, 0.975)
"""Of the posterior that are kept."""
_BATCH = 10
_AMONG = 100  # draws of equal weight, among which the log-likelihood is ranked
_MORE = 4  # times as many draws where the first did not suffice


def component_rank_tasks(
    datasets: int, *, seed: int, draws: int, shares: tuple[float, ...] | None = None
) -> list[Task]:
    """Return tasks of `component_ranks`, 10 data sets each.

    Args:
        datasets: how many; the first of more are those of fewer.
        seed: Seed for parameters, traits and draws.
        draws: of each posterior.
        shares: true shares of the total variance on the scale of the prior, the residual last: by default they are
            drawn from it, and so is the total, which is 1 otherwise.
    """
    given = None if shares is None else list(shares)
    return [
        {"shares": given, "seed": seed, "draws": draws, "first": first, "count": min(_BATCH, datasets - first)}
        for first in range(0, datasets, _BATCH)
    ]


@in_float64
def component_ranks(task: Task, data: Components) -> list[dict[str, Any]]:
    """Calibrate `importance` on the data sets of a task; the trait of the data is not used.

    Returns:
        For each data set, by quantity (share of each component, total, log-likelihood but where shares are given):
        ``rank``, whether the 95% interval ``holds`` the truth, its ``width``, ``ess``, ``quantiles`` and the ``truth``;
        ``pareto_k`` of the draws, and how many there were. If no draws sufficed: ``failed``, and why.
    """
    roots = [factor(one) for one in data.parts]
    return [_dataset(task, data, roots, number) for number in range(task["first"], task["first"] + task["count"])]


def _dataset(task: Task, data: Components, roots: list[Float64[ndarray, "_ _"] | None], number: int) -> dict[str, Any]:
    rng = np.random.default_rng(np.random.SeedSequence(task["seed"], spawn_key=(number,)))
    prior = ComponentsPrior()
    theta = _parameters(task["shares"], prior, len(data.names), rng)
    y = np.sqrt(theta[-1]) * rng.standard_normal(data.n)
    for variance, one, L in zip(theta[:-1], data.parts, roots, strict=True):
        z = rng.standard_normal(len(one.levels))
        y += np.sqrt(variance) * (z if L is None else L @ z)[one.level_of]
    simulated = components(replace(data.records, y=y))
    sigma2 = theta / np.append(simulated.scales, 1.0)
    posterior = _posterior(simulated, prior, task["draws"], int(rng.integers(2**31)))
    if isinstance(posterior, str):
        return {"failed": posterior}
    names = posterior.names
    truth = dict(zip(names, sigma2 / sigma2.sum(), strict=True)) | {"total": sigma2.sum()}
    drawn = {name: posterior.share(name) for name in names} | {"total": posterior.sigma2.sum(axis=1)}
    rank = {name: float(posterior.weights[drawn[name] < truth[name]].sum()) for name in truth}
    quantiles = {name: [posterior.quantile(drawn[name], p) for p in QUANTILES] for name in truth}
    if task["shares"] is None:
        draws = posterior.resampled(_AMONG, seed=int(rng.integers(2**31)))
        solved = (simulated.solver.at(row / simulated.units) for row in (sigma2, *draws))
        truth["loglik"], *others = map(simulated.loglik, solved)
        rank["loglik"] = float(((np.array(others) < truth["loglik"]).sum() + rng.uniform()) / (_AMONG + 1))
        quantiles["loglik"] = np.quantile(others, QUANTILES).tolist()
    return {
        "rank": rank,
        "holds": {name: bool(values[0] <= truth[name] <= values[-1]) for name, values in quantiles.items()},
        "width": {name: values[-1] - values[0] for name, values in quantiles.items()},
        "ess": dict.fromkeys(rank, posterior.ess),
        "quantiles": quantiles,
        "truth": {name: float(value) for name, value in truth.items()},
        "pareto_k": posterior.pareto_k,
        "draws": len(posterior.weights),
    }


def _parameters(
    shares: list[float] | None, prior: ComponentsPrior, k: int, rng: np.random.Generator
) -> Float64[ndarray, " k"]:
    """Return variances on the scale of the prior."""
    if shares is not None:
        return np.array(shares)
    total = prior.sigma2_p.sample(jax.random.key(int(rng.integers(2**31))))
    return float(np.asarray(total)) * rng.dirichlet(prior.concentrations(k))


def _posterior(data: Components, prior: ComponentsPrior, draws: int, seed: int) -> ImportancePosterior | str:
    """Draw from the posterior with the prior in units of 1, or return why it cannot be done."""
    total = prior.sigma2_p
    if not isinstance(total, dist.LogNormal):
        raise TypeError(f"the total must have a lognormal prior, not {total}")
    prior = prior._replace(sigma2_p=dist.LogNormal(total.loc - 2 * np.log(data.sd), total.scale))
    for many in (draws, _MORE * draws):
        try:
            return importance(data, seed=seed, prior=prior, draws=many)
        except AnalysisError as error:
            why = str(error)
    return why
