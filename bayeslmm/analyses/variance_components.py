"""Several components of the variance of one trait through every method asked for, with a test of each component."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import pandas as pd
from xarray import DataTree

from bayeslmm.analyses.component_rows import ComponentsRequest, draws_of, sigma2_of
from bayeslmm.analyses.heritability import check_methods
from bayeslmm.analyses.liability_rows import with_liability_rows
from bayeslmm.analyses.method import Drawn, JointSettings, methods_in
from bayeslmm.analyses.table import Note, Row, to_table
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.estimators.component_test import component_test
from bayeslmm.estimators.components_reml import ComponentsEstimate
from bayeslmm.estimators.liability import Liability
from bayeslmm.likelihood.components import Components
from bayeslmm.models import components as program
from bayeslmm.posterior.diagnostics import Diagnostics, disagreement
from bayeslmm.posterior.importance import ImportancePosterior

COMPONENT_METHODS = methods_in("component_methods")
"""The methods by name."""


@dataclass(frozen=True)
class Tested:
    """What is known about one component, beside its estimates.

    Attributes:
        component: its name.
        levels: how many it has.
        statistic, p_value, p_value_error, p_mixture: of the likelihood-ratio test, see `ComponentTest`; NaN without.
        log10_bayes_factor, log10_bayes_factor_error: decimal logarithm of the Bayes factor of the model over the one
            without the component, and its Monte Carlo error; NaN if it was not asked for.
        note: why something is not there.
    """

    component: str
    levels: int
    statistic: float = np.nan
    p_value: float = np.nan
    p_value_error: float = np.nan
    p_mixture: float = np.nan
    log10_bayes_factor: float = np.nan
    log10_bayes_factor_error: float = np.nan
    note: str = ""


@dataclass(frozen=True)
class VarianceComponents:
    """What is known about the components of variance of one trait.

    Attributes:
        request: the records, and what was asked.
        rows: the estimates of each method.
        reml: always there; the other methods need it.
        fits: what each method asked for returned.
        failed: which methods did not succeed, and why; their rows are empty but for a note.
        tested: each component but the residual.
        diagnostics: of the draws, if NUTS was asked for.
        liability: of a trait of two values, if a prevalence was given: each h2 has a row ``h2_liability`` beside it.
    """

    request: ComponentsRequest
    rows: tuple[Row, ...]
    reml: ComponentsEstimate
    fits: Mapping[str, Any]
    failed: Mapping[str, str]
    tested: tuple[Tested, ...]
    diagnostics: Diagnostics | None
    liability: Liability | None
    own: bool = field(default=False, init=False)

    @property
    def trait(self) -> str:
        """Its name."""
        return self.request.trait

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The rows as a table, columns `table.COLUMNS`."""
        return to_table(self.rows)

    @cached_property
    def components(self) -> pd.DataFrame:
        """What is known about each component beside its estimates, a row for each."""
        return pd.DataFrame([{"trait": self.trait} | asdict(one) for one in self.tested])

    @property
    def importance(self) -> ImportancePosterior | None:
        """Weighted draws of the posterior, if asked for."""
        return self.fits.get("importance")

    @property
    def posterior(self) -> DataTree | None:
        """NUTS draws, if asked for."""
        return self.fits["nuts"].posterior if "nuts" in self.fits else None


def variance_components(
    data: Components,
    *,
    seed: int,
    heritable: Sequence[str] = (),
    lasting: Sequence[str] = (),
    methods: Sequence[str] = ("reml", "importance"),
    bayes_factors: bool = False,
    attrs: Mapping[str, Any] | None = None,
    workers: int = 1,
    prevalence: float | None = None,
    markers: Mapping[str, int] | None = None,
    **settings: Unpack[JointSettings],
) -> VarianceComponents:
    """Estimate the components of the variance of one trait, and test each.

    Args:
        data: the records.
        seed: for all random numbers: of the draws, and of the null distributions of the tests.
        heritable: the components whose shares together are h2, the additive genetic ones.
        lasting: those whose shares together are the repeatability: all that records of an individual have in common.
        methods: which of `COMPONENT_METHODS`.
        bayes_factors: sample once more without each component.
        attrs: kept with the draws of NUTS.
        workers: of importance sampling.
        prevalence: share of cases in the population, for a trait of two values: each h2 gets that of the liability.
        markers: of components that are sets of markers, how many each has: each gets a row ``enrichment[NAME]``, its
            share of h2 over its share of the markers.
        **settings: as in `heritability` without moments_se; the prior is a `ComponentsPrior`.

    Raises:
        InputError: if a method is unknown, the trait has no two values for a prevalence, or Bayes factors are asked
            for without importance sampling.
        AnalysisError: if REML fails.
    """
    check_methods(methods, COMPONENT_METHODS)
    if bayes_factors and "importance" not in methods:
        raise InputError("Bayes factors are those of the evidence, which needs the method importance")
    for names in (heritable, lasting, markers or {}):
        if unknown := [name for name in names if name not in data.names[:-1]]:
            raise InputError(f"components are {', '.join(data.names[:-1])}, but {unknown[0]!r} was given")
    request = ComponentsRequest(
        seed=seed,
        settings=settings,
        program=program,
        own=False,
        attrs=attrs,
        data=data,
        heritable=tuple(heritable),
        lasting=tuple(lasting),
        workers=workers,
        markers=markers or {},
    )
    request.components_prior.concentrations(len(data.names))
    liability = None if prevalence is None else Liability.of(data.records.y, request.trait, prevalence)
    fits: dict[str, Any] = {}
    failed: dict[str, str] = {}
    rows: list[Row] = []
    _ = request.reml  # an error of it is one of all methods
    for name in dict.fromkeys(methods):
        try:
            fits[name] = COMPONENT_METHODS[name].fit(request)
        except AnalysisError as error:
            failed[name] = str(error)
            rows += _empty_rows(name, str(error), request)
        else:
            rows += COMPONENT_METHODS[name].rows(fits[name], request)
    weighted = fits.get("importance") if bayes_factors else None
    tested = tuple(_tested(request, j, weighted) for j in range(len(data.names) - 1))
    rows = with_liability_rows(rows, liability)
    diagnostics = _diagnostics(fits, request)
    return VarianceComponents(request, tuple(rows), request.reml, fits, failed, tested, diagnostics, liability)


def _empty_rows(method: str, why: str, request: ComponentsRequest) -> list[Row]:
    note = Note("failed", f"failed: {why}")
    return [Row(request.trait, method, name, notes=(note,)) for name in (*request.variances, *request.shares)]


def _tested(request: ComponentsRequest, j: int, weighted: ImportancePosterior | None) -> Tested:
    """Return a component with its test and, from weighted draws, its Bayes factor, or why there are none."""
    name = request.names[j]
    tested = Tested(name, len(request.data.parts[j].levels))

    def attempt(what: str, of: Callable[[], dict[str, float]]) -> None:
        nonlocal tested
        try:
            tested = replace(tested, **of())
        except AnalysisError as error:  # the other components keep theirs
            tested = replace(tested, note="; ".join(filter(None, [tested.note, f"no {what}: {error}"])))

    def test() -> dict[str, float]:
        found = component_test(request.reml, name, seed=request.seed)
        kept = ("statistic", "p_value", "p_value_error", "p_mixture")
        return {one: getattr(found, one) for one in kept}

    attempt("test", test)
    if weighted is not None:

        def bayes_factor() -> dict[str, float]:
            value, error = np.array(
                weighted.log_bayes_factor(name, seed=request.seed, workers=request.workers)
            ) / np.log(10)
            return {"log10_bayes_factor": float(value), "log10_bayes_factor_error": float(error)}

        attempt("Bayes factor", bayes_factor)
    return tested


def _diagnostics(fits: Mapping[str, Any], request: ComponentsRequest) -> Diagnostics | None:
    """Return the checks of the draws, compared with importance sampling if both are there."""
    drawn: Drawn | None = fits.get("nuts")
    weighted: ImportancePosterior | None = fits.get("importance")
    if drawn is None or weighted is None:
        return drawn.diagnostics if drawn else None
    nuts = draws_of(sigma2_of(drawn.posterior, request), request)
    other = draws_of(weighted.sigma2, request)
    apart = [
        check
        for name in request.shares
        if (check := disagreement(name, nuts[name], weighted.mean(other[name]), weighted.error(other[name])))
    ]
    return replace(drawn.diagnostics, checks=(*drawn.diagnostics.checks, *apart))
