"""The posterior of several traits by NUTS: of our program, or of the user's."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from bayeslmm.analyses.joint_rows import OF_POSTERIORS, draws_of_traits, places
from bayeslmm.analyses.method import Drawn, JointRequest, Method
from bayeslmm.analyses.methods import nuts
from bayeslmm.analyses.site_rows import site_rows
from bayeslmm.analyses.table import Row, draws_row
from bayeslmm.models import bivariate, multivariate
from bayeslmm.posterior.sampling import Program


def program_of(t: int) -> Program:
    """Return our program of t traits."""
    return bivariate if t == 2 else multivariate


def coords_of(request: JointRequest) -> dict[str, Sequence[Any]]:
    """Return the names of the dimensions of the draws."""
    pairs = zip(request.traits, request.covariates, strict=True)
    names = [f"{trait}:{name}" for trait, covariates in pairs for name in covariates]
    return {"trait": request.traits, "trait_bis": request.traits, "coefficient": names} | dict(request.coords)


def _fit(request: JointRequest) -> Drawn:
    coords = coords_of(request)
    if request.own:
        return request.draw(request.data, coords)
    start = program_of(len(request.traits)).start(request.data, request.reml)
    return request.draw(request.data, coords, start=start)


def _rows(fit: Drawn, request: JointRequest) -> list[Row]:
    """Return means, standard deviations, equal-tailed intervals, bulk ESS and R-hat."""
    if request.own:
        return site_rows(fit.posterior, ":".join(request.traits))
    values = draws_of_traits(fit.posterior)
    rows = [
        draws_row(place.trait, place.parameter, values[place.parameter][(..., *place.at)])
        for place in places(request.traits)
    ]
    beta = fit.posterior["posterior"]["beta"]
    return rows + [
        draws_row(trait, f"beta[{name}]", beta.sel(coefficient=f"{trait}:{name}").to_numpy())
        for trait, names in zip(request.traits, request.covariates, strict=True)
        for name in names
    ]


METHOD: Method = replace(
    nuts.METHOD,
    fit=_fit,
    rows=_rows,
    needs="reml",
    sources=(
        *OF_POSTERIORS,
        *nuts.METHOD.sources,
    ),
)
