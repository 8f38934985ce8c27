"""Independent draws of the exact posterior, as ArviZ has those of a sampler."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from xarray import DataTree

from bayeslmm.base.checks import check_at_least
from bayeslmm.base.defaults import CHAINS, DRAWS
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.posterior.sampling import describe_prior
from bayeslmm.posterior.tree import draws_tree


def exact_draws(
    posterior: ExactPosterior,
    data: RotatedData,
    prior: VariancePrior,
    *,
    seed: int,
    dims: Mapping[str, Sequence[str]],
    chains: int = CHAINS,
    draws: int = DRAWS,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> DataTree:
    """Return independent draws of the exact posterior, with the sites of `bayeslmm.models.univariate`.

    Args:
        posterior: of the data.
        data: one trait in the eigenbasis.
        prior: under which it was computed.
        seed: for the draws.
        dims: of each site.
        chains: into which the draws are divided, for functions that compare chains.
        draws: of each.
        coords: names of traits and covariates.
        attrs: kept with the draws.

    Returns:
        DataTree with groups posterior, observed_data (y) and constant_data (s, X).

    Raises:
        InputError: if chains or draws is not positive.
    """
    check_at_least(1, chains=chains, draws=draws)
    drawn = posterior.sample(chains * draws, np.random.default_rng(seed))
    sites = {name: values.reshape(chains, draws, -1) for name, values in drawn.items()}
    sites["beta"] = sites["beta"][..., None]
    given = {"model": "quadrature", "seed": seed, "prior": describe_prior(prior), **(attrs or {})}
    return draws_tree(sites, data, dims={name: dims[name] for name in sites}, coords=coords, attrs=given)
