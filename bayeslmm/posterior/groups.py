"""What ArviZ asks of draws beside themselves: the prior, new data, and the density of each row of the data."""

from collections.abc import Sequence
from typing import Any

import arviz_base
import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import block_diag
from numpy import ndarray
from numpyro.infer import Predictive
from xarray import DataTree

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import DRAWS_GROUPS
from bayeslmm.base.float64 import in_float64
from bayeslmm.base.memory import check_memory
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import BivariatePrior, Flat, MultivariatePrior, in_units
from bayeslmm.likelihood.rotation import JointData, RotatedData, check_rows
from bayeslmm.likelihood.several_traits import multivariate
from bayeslmm.posterior.sampling import Program, default_prior
from bayeslmm.posterior.tree import ROTATED_ROW

OF_ROWS: tuple[str, ...] = ("posterior_predictive", "log_likelihood")
"""Groups that hold each row of the data."""
_COPIES = 3  # of these groups while they are computed, and while they are written: measured
_OF_EFFECTS = ("beta", "b", "b_base")
_ROWS = (
    "rows of the rotated data U'Y, along the eigenvectors of K: given the parameters they are independent, and each is "
    "a contrast of all individuals. To leave one out is not to leave out an individual"
)
_BATCH = 50


def check_groups(groups: Sequence[str], data: RotatedData | JointData, m: int) -> str:
    """Refuse groups that there cannot be; return how large those are that hold each row of the data, in words.

    Args:
        groups: of `DRAWS_GROUPS`.
        data: in the eigenbasis.
        m: number of draws.

    Raises:
        InputError: if one is unknown, values are missing, rows are no individuals' (`counts`), or memory is too small.
    """
    if unknown := [name for name in groups if name not in DRAWS_GROUPS]:
        raise InputError(f"groups of draws must be among {', '.join(DRAWS_GROUPS)}, but {unknown[0]!r} was given")
    of_rows = [name for name in groups if name in OF_ROWS]
    if not of_rows:
        return ""
    check_rows(data, what=of_rows[0])
    if isinstance(data, JointData) and (lacking := sum(E.shape[1] for E in data.E)):
        raise InputError(
            f"{of_rows[0]} needs traits without missing values, but {lacking} are missing, each in all rows "
            "of the rotated data: keep only individuals with all traits"
        )
    n, t = data.Y.shape
    size = 8.0 * m * n * sum(t if name == "posterior_predictive" else 1 for name in of_rows)
    words = f"{' and '.join(of_rows)} of {m:,} draws of {n:,} rows"
    check_memory(_COPIES * size, what=words, instead="ask for fewer draws, or leave them out")
    return f"{words}: {size / 1e6:,.0f} MB"


@in_float64
def with_groups(
    draws: DataTree,
    data: RotatedData | JointData,
    groups: Sequence[str],
    *,
    program: Program,
    seed: int,
    prior: Any = None,
) -> DataTree:
    """Return draws with further groups: of a posterior of `bayeslmm.models`, by NUTS or by quadrature.

    - ``prior``: as many draws of the prior of the same sites, but for those of fixed effects under a flat prior, which
      have none.
    - ``log_prior``: the log density of the prior at each draw, by number that has one: on the scale of the prior (see
      `VariancePrior`), and of correlations as such; for `arviz.psense`.
    - ``posterior_predictive``: y of new data for each draw, rows like those of ``observed_data``.
    - ``log_likelihood``: of each row of y. Rows of the rotated data are no individuals: `arviz.loo` leaves out what the
      data say along an eigenvector of K. Summed over rows it is the log-likelihood, as `arviz.psense` takes it.

    Args:
        draws: of `sample`, `heritability`, `correlations` or `exact_draws`.
        data: what they are conditional on.
        groups: which.
        program: `bayeslmm.models.univariate`, `bivariate` or `multivariate`, of which the draws are.
        seed: for draws of the prior and of new data.
        prior: under which the draws were made; by default the program's.

    Raises:
        InputError: if a group is unknown, values of a trait are missing (for groups of rows), or memory is too small.
    """
    if not groups:
        return draws
    sites = {str(name): values.to_numpy() for name, values in draws["posterior"].data_vars.items()}
    chains, kept = sites["h2"].shape[:2]
    check_groups(groups, data, chains * kept)
    prior = default_prior(program.model) if prior is None else prior
    key_prior, key_rows = jax.random.split(jax.random.key(seed))
    found: dict[str, dict[str, ndarray]] = {}
    if "prior" in groups:
        names = [name for name in sites if not (name in _OF_EFFECTS and isinstance(prior.beta, Flat))]
        drawn = _prior_draws(program, data, prior, names, chains * kept, key_prior)
        found["prior"] = {name: values.reshape(sites[name].shape) for name, values in drawn.items()}
    if "log_prior" in groups:
        found["log_prior"] = _log_prior(sites, program.prepare(data), prior)  # pyright: ignore[reportAttributeAccessIssue]
    if of_rows := [name for name in OF_ROWS if name in groups]:
        rows: dict[str, ndarray] = dict(zip(OF_ROWS, _rows(sites, data, key_rows), strict=True))
        found |= {name: {"y": rows[name]} for name in of_rows}
    dims = {str(name): list(values.dims[2:]) for name, values in draws["posterior"].data_vars.items()}
    dims |= {"y": [ROTATED_ROW, "trait"]}
    coords = {str(name): values.to_numpy() for name, values in draws["posterior"].coords.items()}
    added = draws
    for name, values in found.items():
        group = arviz_base.from_dict(
            {name: values},
            dims={site: dims[site][: drawn.ndim - 2] for site, drawn in values.items()},
            coords=coords,
        )
        group[name].attrs |= {"rows": _ROWS} if name in OF_ROWS else {}
        added = added.assign(group.children)
    return added


def _prior_draws(
    program: Program, data: RotatedData | JointData, prior: Any, names: Sequence[str], m: int, key: jax.Array
) -> dict[str, ndarray]:
    """Return draws of some sites from the prior, leading axis m."""
    predictive = Predictive(program.model, num_samples=m, return_sites=list(names))
    # Compiled: the traits that the model draws are then not kept, nor made.
    draw = jax.jit(lambda key: predictive(key, program.prepare(data), prior, observe=False))  # pyright: ignore[reportAttributeAccessIssue]
    return {name: np.asarray(values) for name, values in draw(key).items()}


def _log_prior(sites: dict[str, ndarray], ready: Any, prior: Any) -> dict[str, ndarray]:
    """Return the log density of the prior at draws, shapes (chain, draw, t) or (chain, draw)."""
    joint = isinstance(prior, BivariatePrior | MultivariatePrior)
    sd = np.asarray(ready.sd if joint else np.sqrt(ready.v))
    k, u, e = np.asarray(ready.k), sites["sigma2_u"], sites["sigma2_e"]
    densities = {
        "h2": prior.h2.log_prob(quantities.pve(u, e, k)),
        "sigma2_p": prior.sigma2_p.log_prob((k * u + e) / sd**2),
    }
    if isinstance(prior, BivariatePrior):
        densities |= {name: getattr(prior, name).log_prob(sites[name]) for name in ("rho_u", "rho_e")}
    elif isinstance(prior, MultivariatePrior):
        t = len(sd)
        densities["rho_u"] = dist.LKJ(t, prior.eta_u).log_prob(sites["rho_u"])
        densities["rho_e"] = dist.LKJ(t, prior.eta_e).log_prob(sites["rho_e"])
    if not isinstance(prior.beta, Flat):
        R, of_trait = (block_diag(*ready.R), sd[ready.trait_of]) if joint else (jnp.asarray(ready.R), sd)
        beta = sites["beta"] if joint else sites["beta"][..., 0]
        densities["beta"] = jnp.asarray(in_units(prior.beta, of_trait).log_prob(beta @ R.T)).sum(axis=-1)
    return {name: np.asarray(values) for name, values in densities.items()}


def _rows(sites: dict[str, ndarray], data: RotatedData | JointData, key: jax.Array) -> tuple[ndarray, ndarray]:
    """Return new data, shape (chain, draw, n, t), without the last axis for one trait; and log densities of rows."""
    joint = isinstance(data, JointData)
    X = data.X if joint else (data.X,)
    chains, draws = sites["h2"].shape[:2]
    Gamma = [sites[f"Gamma_{part}"] if joint else sites[f"sigma2_{part}"][..., None] for part in ("u", "e")]
    of_traits = np.split(sites["beta"].reshape(chains * draws, -1), np.cumsum([x.shape[1] for x in X])[:-1], axis=1)

    def at(values: tuple[Any, ...]) -> tuple[jax.Array, jax.Array]:
        key, Gamma_u, Gamma_e, *beta = values
        mean = jnp.stack([x @ b for x, b in zip(X, beta, strict=True)], axis=1)
        law = multivariate(data.s, mean, Gamma_u, Gamma_e)
        return law.sample(key), law.log_prob_of_rows(data.Y)

    flat = tuple(values.reshape(chains * draws, *values.shape[2:]) for values in Gamma)
    keys = jax.random.split(key, chains * draws)
    run = jax.jit(lambda values: jax.lax.map(at, values, batch_size=_BATCH))
    parts = (np.asarray(part) for part in run((keys, *flat, *of_traits)))
    new, log_density = (part.reshape(chains, draws, *part.shape[1:]) for part in parts)
    return new if joint else new[..., 0], log_density
