r"""Simulation-based calibration: draw parameters from the prior, a trait given them, and the posterior given the trait.

The rank of each true parameter among its posterior draws is then uniform, if prior, simulation and sampler agree
(Talts et al. 2018, arXiv:1804.06788). The log-likelihood is ranked beside the parameters: it finds errors that
parameters alone can miss (Modrak et al. 2023, doi:10.1214/23-BA1404).

The programs give their priors in units of the variance of the trait given its covariates, which is not known
before there is a trait. Here the unit is 1: the same programs and the same priors, prepared with v = 1.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import arviz_stats
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
import pandas as pd
from arviz_stats.ecdf_utils import compute_ecdf, get_pointwise_confidence_band, simulate_confidence_bands
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.base.tasks import Task
from bayeslmm.likelihood import one_trait, quantities, several_traits
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.priors import BivariatePrior, VariancePrior, beta_prior
from bayeslmm.likelihood.rotation import JointData, RotatedData, check_rows
from bayeslmm.models import bivariate, univariate
from bayeslmm.posterior.sampling import Program, sample

_CHAINS, _DRAWS, _WARMUP = 4, 500, 500
_THIN = 20  # 100 of 2,000 draws, which are worth some 1,000 independent ones
_BATCH = 25
_SIMULATIONS = 5000

Values = Mapping[str, ndarray]
"""Parameters by name: an axis of draws may come before those of the parameter."""


@dataclass(frozen=True)
class _UnitVariance:
    """A program whose priors are in units of 1.

    It has no ``starts``: from draws of the posterior itself even chains that never moved would have uniform ranks.
    From about its ``start`` the chains have to find the posterior, and ranks show whether the warm-up did.
    """

    DIMS: Mapping[str, Sequence[str]]
    model: Callable[..., None]
    start: Callable[..., Any]
    prepare: Callable[..., Any]


def _prepare_univariate(data: RotatedData) -> univariate.Prepared:
    return univariate.prepare(data)._replace(v=np.ones(1), k=np.ones(1))


def _prepare_bivariate(data: JointData) -> bivariate.Prepared:
    return bivariate.prepare(data)._replace(sd=np.ones(2), k=np.ones(()))


def rank_tasks(datasets: int, *, seed: int, prior_h2: tuple[float, float] = (1.0, 1.0)) -> list[Task]:
    """Return tasks of `univariate_ranks` or `bivariate_ranks`, 25 data sets each.

    Args:
        datasets: how many; the first of more are those of fewer.
        seed: Seed for parameters, traits and draws.
        prior_h2: Beta(a, b) prior of each h2.
    """
    return [
        {"prior_h2": list(prior_h2), "seed": seed, "first": first, "count": min(_BATCH, datasets - first)}
        for first in range(0, datasets, _BATCH)
    ]


def univariate_ranks(task: Task, data: RotatedData) -> list[dict[str, Any]]:
    """Calibrate NUTS of `bayeslmm.models.univariate` on the data sets of a task; Y of the data is not used.

    Returns:
        For each data set, by quantity: ``rank`` (uniform on 0 to 1: among 100 draws, made continuous by a uniform
        number), whether the 95% interval ``holds`` the truth, its ``width``, and ``ess``; and ``divergences``.
    """
    prior = VariancePrior(h2=_beta_prior(*task["prior_h2"]))
    return [simulated_ranks(UNIVARIATE, data, prior, seed=task["seed"], number=number) for number in _numbers(task)]


def bivariate_ranks(task: Task, data: JointData) -> list[dict[str, Any]]:
    """Calibrate NUTS of `bayeslmm.models.bivariate`, as `univariate_ranks`; no value is missing."""
    prior = BivariatePrior(h2=_beta_prior(*task["prior_h2"]))
    return [simulated_ranks(BIVARIATE, data, prior, seed=task["seed"], number=number) for number in _numbers(task)]


class RankEcdf(NamedTuple):
    """The distribution of ranks, less uniform, and the band that holds all of it in 99% of uniform samples.

    Attributes:
        points: from 0 to 1, shape (m,).
        difference: share of ranks up to each point, less the point.
        lower, upper: the band, less the point.
        inside: whether no point is outside.
    """

    points: Float64[ndarray, " m"]
    difference: Float64[ndarray, " m"]
    lower: Float64[ndarray, " m"]
    upper: Float64[ndarray, " m"]
    inside: bool


def rank_ecdf(ranks: Float[ndarray, " datasets"], *, level: float = 0.99) -> RankEcdf:
    """Compare ranks with the uniform distribution.

    Args:
        ranks: between 0 and 1, one for each data set.
        level: of the band, simultaneous over all points.

    Source: Säilynoja, Bürkner and Vehtari (2022), doi:10.1007/s11222-022-10090-6, by simulation.
    """
    m = len(ranks)
    points = np.arange(1, m) / m
    lower, upper = get_pointwise_confidence_band(_pointwise_level(m, level), m, points)
    ecdf = compute_ecdf(ranks, points)
    inside = bool(((lower <= ecdf) & (ecdf <= upper)).all())
    return RankEcdf(points, ecdf - points, lower - points, upper - points, inside)


def rank_table(results: Sequence[Sequence[Mapping[str, Any]]]) -> pd.DataFrame:
    """Summarise results of `univariate_ranks` or `bivariate_ranks`: a row for each quantity.

    Returns:
        Columns quantity, datasets, coverage (of the 95% interval, averaged over the prior), se (if it is 0.95), width
        (median), inside (whether the rank ECDF stays inside its 99% band), ess and least_ess (effective draws, median
        and least).
    """
    records = [record for result in results for record in result]
    rows = []
    for name in records[0]["rank"]:
        rank, holds, width, ess = (
            np.array([record[key][name] for record in records], dtype=float)
            for key in ("rank", "holds", "width", "ess")
        )
        rows.append(
            {
                "quantity": name,
                "datasets": len(records),
                "coverage": holds.mean(),
                "se": np.sqrt(0.95 * 0.05 / len(records)),
                "width": np.median(width),
                "inside": rank_ecdf(rank).inside,
                "ess": np.median(ess),
                "least_ess": ess.min(),
            }
        )
    return pd.DataFrame(rows)


@functools.lru_cache
def _pointwise_level(m: int, level: float) -> float:
    points = np.arange(1, m) / m
    return float(simulate_confidence_bands(m, 1, points, level, _SIMULATIONS, np.random.default_rng(2022)))


@functools.lru_cache
def _beta_prior(a: float, b: float) -> dist.Distribution:
    """Return the same object each time: a sampler is compiled for a prior."""
    return beta_prior(a, b)


class Study(NamedTuple):
    """What is calibrated.

    Attributes:
        program: with priors in units of 1.
        quantities: which parameters are ranked.
        draw: (data, prior, rng) -> parameters from the prior, and data given them.
        logliks: (data, parameters with a leading axis) -> their log-likelihoods.
        given: the parameters that these need.
    """

    program: Program
    quantities: Sequence[str]
    draw: Callable[[Any, Any, np.random.Generator], tuple[Values, Any]]
    logliks: Callable[..., jax.Array]
    given: Sequence[str]


def _numbers(task: Task) -> range:
    return range(task["first"], task["first"] + task["count"])


@in_float64
def simulated_ranks(study: Study, data: Any, prior: Any, *, seed: int, number: int) -> dict[str, Any]:
    """Simulate a data set, draw from its posterior, and return the record that `univariate_ranks` describes.

    Args:
        study: what is calibrated.
        data: eigenvalues and rotated covariates; Y is not used.
        prior: of the parameters.
        seed: Seed for all data sets.
        number: which of them.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,)))
    truth, data = study.draw(data, prior, rng)
    run = int(rng.integers(2**31))
    tree = sample(study.program, data, prior=prior, seed=run, chains=_CHAINS, draws=_DRAWS, warmup=_WARMUP)
    chains = {name: tree["posterior"][name].to_numpy() for name in {*study.quantities, *study.given}}
    draws = {name: values.reshape(-1, *values.shape[2:]) for name, values in chains.items()}
    at = {name: np.concatenate([truth[name][None], draws[name]]) for name in study.given}
    logliks = np.asarray(study.logliks(data, at))
    truth, draws = {**truth, "loglik": logliks[0]}, {**draws, "loglik": logliks[1:]}
    record: dict[str, Any] = {"rank": {}, "holds": {}, "width": {}, "ess": {}}
    for name in (*study.quantities, "loglik"):
        values = np.ravel(truth[name])
        for j, (value, drawn) in enumerate(zip(values, np.reshape(draws[name], (-1, len(values))).T, strict=True)):
            key = name if len(values) == 1 else f"{name}[{j + 1}]"
            by_chain = drawn.reshape(_CHAINS, _DRAWS)
            kept = by_chain[:, ::_THIN]
            lower, upper = np.quantile(drawn, [0.025, 0.975])
            record["rank"][key] = float(((kept < value).sum() + rng.uniform()) / (kept.size + 1))
            record["holds"][key] = bool(lower <= value <= upper)
            record["width"][key] = float(upper - lower)
            record["ess"][key] = float(arviz_stats.ess(by_chain))
    return record | {"divergences": int(tree["sample_stats"].dataset["diverging"].sum())}


def _draw_univariate(data: RotatedData, prior: VariancePrior, rng: np.random.Generator) -> tuple[Values, RotatedData]:
    check_rows(data, what="a simulation")
    Q, R = orthonormal(data.X)
    n, c = Q.shape
    h2, sigma2_p, b = _draws(rng, (prior.h2, 1), (prior.sigma2_p, 1), (prior.beta, c))
    sigma2_u, sigma2_e = h2 * sigma2_p, (1 - h2) * sigma2_p
    y = Q @ b + np.sqrt(sigma2_u * data.s + sigma2_e) * rng.standard_normal(n)
    truth = {"h2": h2, "sigma2_p": sigma2_p, "sigma2_u": sigma2_u, "sigma2_e": sigma2_e}
    return truth | {"beta": np.linalg.solve(R, b)[:, None]}, data._replace(Y=y[:, None])


def _draw_bivariate(data: JointData, prior: BivariatePrior, rng: np.random.Generator) -> tuple[Values, JointData]:
    bases = [orthonormal(X) for X in data.X]
    h2, sigma2_p, rho_u, rho_e, *b = _draws(
        rng,
        (prior.h2, 2),
        (prior.sigma2_p, 2),
        (prior.rho_u, 1),
        (prior.rho_e, 1),
        *((prior.beta, Q.shape[1]) for Q, _ in bases),
    )
    sd_u, sd_e = np.sqrt(h2 * sigma2_p), np.sqrt((1 - h2) * sigma2_p)
    Gamma_u, Gamma_e = (
        np.outer(sd, sd) * np.array([[1, rho.item()], [rho.item(), 1]]) for sd, rho in ((sd_u, rho_u), (sd_e, rho_e))
    )
    n = len(data.s)
    g, e = (rng.standard_normal((n, 2)) @ np.linalg.cholesky(Gamma).T for Gamma in (Gamma_u, Gamma_e))
    fixed = np.column_stack([Q @ effects for (Q, _), effects in zip(bases, b, strict=True)])
    truth = {
        "h2": h2,
        "sigma2_p": sigma2_p,
        "rho_u": rho_u[0],
        "rho_e": rho_e[0],
        "Gamma_u": Gamma_u,
        "Gamma_e": Gamma_e,
    }
    truth["rho_p"] = np.asarray(quantities.correlation(Gamma_u + Gamma_e))[0, 1]
    truth["beta"] = np.concatenate([np.linalg.solve(R, effects) for (_, R), effects in zip(bases, b, strict=True)])
    return truth, data._replace(Y=fixed + np.sqrt(data.s)[:, None] * g + e)


def _draws(rng: np.random.Generator, *priors: tuple[dist.Distribution, int]) -> list[Float64[ndarray, " _"]]:
    """Draw from each prior as many values as are asked for."""
    keys = jax.random.split(jax.random.key(int(rng.integers(2**31))), len(priors))
    return [
        np.asarray(prior.sample(key, (size,)), dtype=float) for key, (prior, size) in zip(keys, priors, strict=True)
    ]


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0))
def _univariate_logliks(data: RotatedData, at: Any) -> jax.Array:
    mean = data.X @ at["beta"][:, 0]
    y = one_trait.univariate(data.s, mean, at["sigma2_u"][0], at["sigma2_e"][0])
    return jnp.asarray(y.log_prob(data.Y[:, 0]))


@jax.jit
@functools.partial(jax.vmap, in_axes=(None, 0))
def _bivariate_logliks(data: JointData, at: Any) -> jax.Array:
    parts = jnp.split(at["beta"], [data.X[0].shape[1]])
    mean = jnp.stack([X @ part for X, part in zip(data.X, parts, strict=True)], axis=1)
    return jnp.asarray(several_traits.multivariate(data.s, mean, at["Gamma_u"], at["Gamma_e"]).log_prob(data.Y))


UNIVARIATE = Study(
    program=_UnitVariance(univariate.DIMS, univariate.model, univariate.start, _prepare_univariate),
    quantities=("h2", "sigma2_p", "sigma2_u", "sigma2_e", "beta"),
    draw=_draw_univariate,
    logliks=_univariate_logliks,
    given=("beta", "sigma2_u", "sigma2_e"),
)
BIVARIATE = Study(
    program=_UnitVariance(bivariate.DIMS, bivariate.model, bivariate.start, _prepare_bivariate),
    quantities=("h2", "sigma2_p", "rho_u", "rho_e", "rho_p", "beta"),
    draw=_draw_bivariate,
    logliks=_bivariate_logliks,
    given=("beta", "Gamma_u", "Gamma_e"),
)
