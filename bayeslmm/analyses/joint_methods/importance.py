"""The posterior of several traits by importance sampling, missing values integrated out."""

from dataclasses import replace

import numpy as np

from bayeslmm.analyses.component_methods import importance
from bayeslmm.analyses.joint_methods.nuts import coords_of, program_of
from bayeslmm.analyses.joint_rows import OF_POSTERIORS, places
from bayeslmm.analyses.method import JointRequest, Method, Weighed
from bayeslmm.analyses.table import Row, weighted_row
from bayeslmm.base.defaults import CHAINS, DRAWS
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import BivariatePrior, MultivariatePrior
from bayeslmm.posterior.joint_importance import joint_importance
from bayeslmm.posterior.resampled import resampled_draws

_LEAST = 2048  # weighted draws; half as many as draws are kept, or more, so that there is a power of 2


def _fit(request: JointRequest) -> Weighed:
    t = len(request.traits)
    prior = request.prior or (BivariatePrior() if t == 2 else MultivariatePrior())
    sizes = {"chains": CHAINS, "draws": DRAWS} | {
        name: value for name, value in request.settings.items() if name in ("chains", "draws")
    }
    weighted = joint_importance(
        request.white,
        seed=request.seed,
        prior=prior,
        draws=max(_LEAST, 2 ** int(np.ceil(np.log2(sizes["chains"] * sizes["draws"] / 2)))),
        fit=request.reml,
        workers=request.workers,
    )
    posterior = resampled_draws(
        weighted,
        request.data,
        prior,
        seed=request.seed,
        dims=program_of(t).DIMS,
        coords=coords_of(request),
        attrs=request.attrs,
        **sizes,
    )
    return Weighed(posterior, weighted)


def _rows(fit: Weighed, request: JointRequest) -> list[Row]:
    """Return means, standard deviations and equal-tailed intervals, each with the error of the mean."""
    weighted = fit.weighted
    values = quantities.of_traits(weighted.Gamma_u, weighted.Gamma_e)
    rows = [
        weighted_row(place.trait, place.parameter, values[place.parameter][:, *place.at], weighted)
        for place in places(request.traits)
    ]
    names = [(trait, name) for trait, some in zip(request.traits, request.covariates, strict=True) for name in some]
    effects = zip(names, weighted.beta.T, strict=True)
    return rows + [weighted_row(trait, f"beta[{name}]", draws, weighted) for (trait, name), draws in effects]


METHOD: Method = replace(
    importance.METHOD,
    fit=_fit,
    rows=_rows,
    needs="reml",
    sources=(
        *OF_POSTERIORS,
        *importance.METHOD.sources,
    ),
)
