"""Draws of equal weight from weighted ones, as ArviZ has those of a sampler."""

from collections.abc import Mapping, Sequence
from typing import Any

from xarray import DataTree

from bayeslmm.base.checks import check_at_least
from bayeslmm.base.defaults import CHAINS, DRAWS
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import JointPrior
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.posterior.joint_importance import JointPosterior
from bayeslmm.posterior.sampling import describe_prior
from bayeslmm.posterior.tree import draws_tree


def resampled_draws(
    posterior: JointPosterior,
    data: JointData,
    prior: JointPrior,
    *,
    seed: int,
    dims: Mapping[str, Sequence[str]],
    chains: int = CHAINS,
    draws: int = DRAWS,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> DataTree:
    """Return draws of equal weight, with the sites of `bayeslmm.models.bivariate` or `multivariate`.

    A weighted draw may come more than once: the effective number of draws is that of the weighted ones, which is among
    the attributes of the tree, and not what ArviZ makes of these.

    Args:
        posterior: of the data.
        data: the traits in the eigenbasis.
        prior: under which it was computed.
        seed: for the draws.
        dims: of each site.
        chains: into which the draws are divided, for functions that compare chains.
        draws: of each.
        coords: names of traits and covariates.
        attrs: kept with the draws.

    Returns:
        DataTree with groups posterior, observed_data (y) and constant_data (s, X, E).

    Raises:
        InputError: if chains or draws is not positive.
    """
    check_at_least(1, chains=chains, draws=draws)
    at = posterior.places(chains * draws, seed=seed)
    Gamma_u, Gamma_e = posterior.Gamma_u[at], posterior.Gamma_e[at]
    found = quantities.of_traits(Gamma_u, Gamma_e)
    sites = {name: found[name] for name in ("sigma2_u", "sigma2_e", "h2")}
    sites |= {"sigma2_p": found["sigma2_u"] + found["sigma2_e"], "Gamma_u": Gamma_u, "Gamma_e": Gamma_e}
    for name in ("rho_u", "rho_e", "rho_p"):
        sites[name] = found[name] if name in dims else found[name][:, 0, 1]
    sites["beta"] = posterior.beta[at]
    given = {
        "model": "importance sampling",
        "seed": seed,
        "prior": describe_prior(prior),
        "pareto_k": posterior.pareto_k,
        "effective_draws": posterior.ess,
        "weighted_draws": len(posterior.weights),
        **(attrs or {}),
    }
    return draws_tree(
        {name: values.reshape(chains, draws, *values.shape[1:]) for name, values in sites.items()},
        data,
        dims={name: dims[name] for name in sites if name in dims},
        coords=coords,
        attrs=given,
    )
