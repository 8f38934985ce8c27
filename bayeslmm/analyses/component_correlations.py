"""Several traits with several components of variance: the correlations of the traits through each component."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from typing import Any, Unpack

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.heritability import check_methods
from bayeslmm.analyses.joint_rows import pair_name
from bayeslmm.analyses.method import JointSettings
from bayeslmm.analyses.rows import beta_rows
from bayeslmm.analyses.table import Note, Row, draws_row, to_table, wald_note, wald_row
from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.joint_components_estimate import JointComponentsEstimate, Quantity
from bayeslmm.estimators.joint_components_reml import joint_components_reml
from bayeslmm.likelihood.joint_components import JointComponents
from bayeslmm.likelihood.priors import JointComponentsPrior
from bayeslmm.models import joint_components as program
from bayeslmm.posterior.checked_draws import checked_draws
from bayeslmm.posterior.diagnostics import Diagnostics

METHODS = ("reml", "nuts")
"""The methods by name."""
_OF_TRAIT: tuple[Quantity, ...] = ("sigma2", "share")
_OF_PAIR: tuple[Quantity, ...] = ("rho", "cov")


@dataclass(frozen=True)
class ComponentCorrelations:
    """What is known about several traits.

    Attributes:
        data: the records.
        heritable: the component whose share is h2; "" if there is none.
        rows: the estimates of each method: of each trait, and of each pair as ``A:B``.
        reml: there unless it failed or was not asked for.
        posterior: draws of NUTS, if asked for.
        diagnostics: of these.
        failed: which methods did not succeed, and why.
    """

    data: JointComponents
    heritable: str
    rows: tuple[Row, ...]
    reml: JointComponentsEstimate | None
    posterior: DataTree | None
    diagnostics: Diagnostics | None
    failed: Mapping[str, str]
    own: bool = field(default=False, init=False)

    @property
    def traits(self) -> tuple[str, ...]:
        """Their names."""
        return self.data.records.traits

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The rows as a table, columns `table.COLUMNS`."""
        return to_table(self.rows)


def component_correlations(
    data: JointComponents,
    *,
    seed: int,
    heritable: str = "",
    methods: Sequence[str] = METHODS,
    attrs: Mapping[str, Any] | None = None,
    **settings: Unpack[JointSettings],
) -> ComponentCorrelations:
    """Estimate the correlations of two or more traits through each component.

    Args:
        data: the records.
        seed: for all random numbers.
        heritable: the component whose share of the variance of a trait is its h2.
        methods: which of `METHODS`.
        attrs: kept with the draws.
        **settings: as in `heritability` without moments_se; the prior is a `JointComponentsPrior`.

    Raises:
        InputError: if a method is unknown.
        AnalysisError: if no method succeeds.
    """
    check_methods(methods, dict.fromkeys(METHODS))
    rows: list[Row] = []
    failed: dict[str, str] = {}
    reml = posterior = diagnostics = None
    if "reml" in methods:
        try:
            reml = joint_components_reml(data)
            rows += _reml_rows(reml, data, heritable, settings)
        except AnalysisError as error:
            if "nuts" not in methods:
                raise
            reml, failed["reml"] = None, str(error)
            empty = Note("failed", f"failed: {error}")
            rows += [Row(place.trait, "reml", place.parameter, notes=(empty,)) for place in _places(data, heritable)]
    if "nuts" in methods:
        sampling: dict[str, Any] = {name: value for name, value in settings.items() if name not in ("se_kind", "prior")}
        prior = settings.get("prior") or JointComponentsPrior()
        records = data.records
        names = [f"{trait}:{name}" for trait, of in zip(records.traits, records.covariates, strict=True) for name in of]
        coords = {"component": data.names, "trait": records.traits, "trait_bis": records.traits, "coefficient": names}
        posterior, diagnostics = checked_draws(
            program, data, seed=seed, prior=prior, coords=coords, attrs=attrs, **sampling
        )
        rows += _draws_rows(posterior, data, heritable)
    return ComponentCorrelations(data, heritable, tuple(rows), reml, posterior, diagnostics, failed)


@dataclass(frozen=True)
class _Place:
    """Where a row stands: its name in the table, the parameter, and the element of a quantity."""

    trait: str
    parameter: str
    quantity: Quantity
    at: tuple[int, ...]


def _places(data: JointComponents, heritable: str) -> Iterator[_Place]:
    """Yield the rows of a fit in their order: each trait, then each pair."""
    traits, names = data.records.traits, data.names
    for a, trait in enumerate(traits):
        if heritable:
            yield _Place(trait, "h2", "share", (names.index(heritable), a))
        for quantity in _OF_TRAIT:
            for j, name in enumerate(names):
                yield _Place(trait, f"{quantity}[{name}]", quantity, (j, a))
    for pair in combinations(range(len(traits)), 2):
        trait = pair_name(traits, pair)
        for quantity in _OF_PAIR:
            for j, name in enumerate(names):
                yield _Place(trait, f"{quantity}[{name}]", quantity, (j, *pair))
        yield _Place(trait, "rho_p", "rho_p", pair)


def _reml_rows(
    fit: JointComponentsEstimate, data: JointComponents, heritable: str, settings: JointSettings
) -> list[Row]:
    """Return Wald intervals; what is on the boundary, or not identified, has none, and says so."""
    kind = settings.get("se_kind", "average")
    quantities: tuple[Quantity, ...] = (*_OF_TRAIT, *_OF_PAIR, "rho_p")
    values: dict[str, Float[ndarray, ...]] = {name: fit.values(name) for name in quantities}
    try:
        errors = {name: fit.errors(name, kind) for name in quantities}
        failed = ""
    except AnalysisError as error:
        errors, failed = {name: np.full_like(value, np.nan) for name, value in values.items()}, str(error)
    rows: list[Row] = []
    for place in _places(data, heritable):
        value, se = float(values[place.quantity][place.at]), float(errors[place.quantity][place.at])
        if np.isnan(value):
            why = "not identified: a variance is estimated at 0, or no records inform the covariance"
            rows.append(Row(place.trait, "reml", place.parameter, notes=(Note("not_identified", why),)))
        elif failed:
            rows.append(Row(place.trait, "reml", place.parameter, value, notes=(Note("failed", failed),)))
        elif np.isnan(se) or (se == 0 and place.quantity == "rho"):
            where = "; ".join(fit.boundary) or "a bound"
            note = Note("boundary", f"boundary: {where}; no standard error exists")
            rows.append(Row(place.trait, "reml", place.parameter, value, notes=(note,)))
        else:
            note = wald_note(place.parameter, value, se)
            rows.append(wald_row(place.trait, "reml", place.parameter, value, se, kind, note))
    rows.append(Row(":".join(data.records.traits), "reml", "loglik", fit.loglik))
    records = data.records
    for trait, names, beta, se_beta in zip(records.traits, records.covariates, fit.beta, fit.se_beta, strict=True):
        rows += beta_rows(trait, "reml", names, beta, se_beta)
    return rows


def _draws_rows(posterior: DataTree, data: JointComponents, heritable: str) -> list[Row]:
    """Return means, standard deviations, equal-tailed intervals, bulk ESS and R-hat."""
    sites, records = posterior["posterior"], data.records
    rows = [
        draws_row(place.trait, place.parameter, sites[place.quantity].to_numpy()[(..., *place.at)])
        for place in _places(data, heritable)
    ]
    return rows + [
        draws_row(trait, f"beta[{name}]", sites["beta"].sel(coefficient=f"{trait}:{name}").to_numpy())
        for trait, names in zip(records.traits, records.covariates, strict=True)
        for name in names
    ]
