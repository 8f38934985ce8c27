"""The main job: one trait of one cohort through every method asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Unpack

import numpy as np
import pandas as pd
from xarray import DataTree

from bayeslmm.analyses.liability_rows import with_liability_rows
from bayeslmm.analyses.method import Drawn, Settings, TraitRequest, methods_in
from bayeslmm.analyses.table import Note, Row, to_table
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.liability import Liability
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import VariancePrior, describe
from bayeslmm.likelihood.probe_error import ProbeError
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.likelihood.whitened import OneTrait, whitened
from bayeslmm.models import univariate
from bayeslmm.posterior.diagnostics import Diagnostics, disagreements, overlap_with, prior_overlap, worst
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.posterior.sampling import Program

METHODS = methods_in("methods")
"""The methods by name."""
OF_GENOTYPES = tuple(name for name, method in METHODS.items() if method.needs == "genotypes")
"""Those that need genotypes."""
OF_INDIVIDUALS = tuple(name for name, method in METHODS.items() if method.of_individuals)
"""Those that need a row of the rotated data for each individual: they do not take a `SpectralSummary`."""


@dataclass(frozen=True)
class Heritability:
    """What is known about one trait.

    Attributes:
        trait: its name.
        rows: the estimates of each method.
        reml: always there; the other methods need it.
        fits: what each method asked for returned.
        diagnostics: of the draws, if NUTS was asked for.
        own: whether NUTS sampled the user's program: then it is of another model than all other methods.
        prior_overlap: the area that posterior and prior of h2 share, by the quadrature, or by draws of our program;
            None without either.
        liability: of a trait of two values, if a prevalence was given: then each h2 has a row ``h2_liability`` beside
            it, but for that of a user's program, whose scale is not known.
        probe_error: of data from a `SpectralSummary`.
    """

    trait: str
    rows: tuple[Row, ...]
    reml: Estimate
    fits: Mapping[str, Any]
    diagnostics: Diagnostics | None
    own: bool = False
    prior_overlap: float | None = None
    liability: Liability | None = None
    probe_error: ProbeError | None = None

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The rows as a table, columns `table.COLUMNS`."""
        return to_table(self.rows)

    @property
    def exact(self) -> ExactPosterior | None:
        """The exact posterior, if asked for."""
        return self.fits.get("exact")

    @property
    def posterior(self) -> DataTree | None:
        """NUTS draws, if asked for."""
        return self.fits["nuts"].posterior if "nuts" in self.fits else None

    @property
    def threshold(self) -> DataTree | None:
        """Draws of the threshold model, if asked for."""
        return self.fits["threshold"].posterior if "threshold" in self.fits else None


def heritability(
    data: OneTrait,
    *,
    trait: str,
    covariates: Sequence[str],
    seed: int,
    methods: Sequence[str] = ("reml", "exact", "nuts"),
    program: Program | Callable[..., None] = univariate,
    attrs: Mapping[str, Any] | None = None,
    cohort: Cohort[Any] | None = None,
    markers: MarkerBlocks | None = None,
    spectrum: Spectrum | None = None,
    probe_error: ProbeError | None = None,
    **settings: Unpack[Settings],
) -> Heritability:
    """Estimate the heritability of one trait by several methods.

    Args:
        data: one trait in the eigenbasis.
        trait: its name.
        covariates: names of the columns of X.
        seed: for all random numbers: of the draws, and of the random vectors of "rhe".
        methods: which of `METHODS`.
        program: what NUTS samples. A user's program gets the prior if it takes one, and has rows of all its small
            sites.
        attrs: kept with the draws.
        cohort: the individuals before rotation, for "rhe", "lasso", "threshold" and the jackknife.
        markers: the genotypes, for "rhe" and "lasso". For "rhe" K must be their kinship, on any scale; centred only if
            X holds an intercept.
        spectrum: of the kinship of the cohort, for "threshold".
        probe_error: of the data if they are of a `SpectralSummary`: each h2 has a note of it.
        **settings: any of

            - se_kind: which information gives the standard errors of the likelihood methods: "average" (default),
              "expected" or "observed".
            - moments_se: whether standard errors of "mom" are those of normal data ("exact", default) or a "jackknife"
              (which needs the cohort).
            - prior: a `VariancePrior`, of the exact posterior and of NUTS; by default that of each.
            - chains, draws, warmup, target_accept: of NUTS, as in `sample`; if transitions diverge, it draws again at a
              higher acceptance rate (see `checked_draws`).
            - prevalence: share of cases in the population, for a trait of two values, the larger one that of cases
              (which needs the cohort). Each h2 then gets a row `h2_liability` beside it (see `estimators.liability`).

    Raises:
        InputError: if a method is unknown, or lacks what it needs, or none of them takes the prior that was given; if
            there is a prevalence and the trait is not of two values, or was transformed.
    """
    check_methods(methods, METHODS)
    white = whitened(data)
    check_cohort(cohort, trait, white.given.n)
    request = TraitRequest(
        seed=seed,
        settings=settings,
        program=program,
        own=program is not univariate,
        attrs=attrs,
        white=white,
        trait=trait,
        covariates=tuple(covariates),
        cohort=cohort,
        markers=markers,
        spectrum=spectrum,
    )
    request.check_prior(methods)
    liability = request.liability
    fits: dict[str, Any] = {name: METHODS[name].fit(request) for name in methods}
    rows = [
        row
        for name, fit in fits.items()
        for row in with_liability_rows(
            METHODS[name].rows(fit, request), None if request.own and name == "nuts" else liability
        )
    ]
    if probe_error:
        rows = [_with_error(row, probe_error) for row in rows]
    return Heritability(
        trait,
        tuple(rows),
        request.reml,
        fits,
        _diagnostics(fits, request),
        request.own,
        _overlap(fits, request),
        liability,
        probe_error,
    )


def _with_error(row: Row, error: ProbeError) -> Row:
    """Add the error of the probes to the h2 of a method that takes the counts."""
    if row.parameter != "h2" or METHODS[row.method].needs == "genotypes":
        return row
    return replace(row, notes=(*row.notes, Note("probes", error.words(), error.found)))


def check_methods(methods: Sequence[str], known: Mapping[str, Any]) -> None:
    """Refuse unknown methods.

    Raises:
        InputError: if one is not known.
    """
    if unknown := [method for method in methods if method not in known]:
        raise InputError(f"methods must be among {', '.join(known)}, but {unknown[0]!r} was given")


def check_cohort(cohort: Cohort[Any] | None, trait: str, n: int) -> None:
    """Refuse a cohort that is not that of the data.

    Raises:
        InputError: if it lacks the trait, or has another number of individuals.
    """
    if cohort is not None and (trait not in cohort.traits or len(cohort.ids) != n):
        raise InputError(
            f"the data must be those of the cohort: {trait} of {n} individuals was given, with a cohort of "
            f"{len(cohort.ids)} individuals and the traits {', '.join(cohort.traits)}"
        )


def _diagnostics(fits: Mapping[str, Any], request: TraitRequest) -> Diagnostics | None:
    """Return the checks of all draws."""
    by_nuts, threshold = _nuts_diagnostics(fits, request), fits.get("threshold")
    if threshold is None:
        return by_nuts
    return worst({"NUTS": by_nuts, "threshold": threshold.diagnostics}) if by_nuts else threshold.diagnostics


def _nuts_diagnostics(fits: Mapping[str, Any], request: TraitRequest) -> Diagnostics | None:
    """Return the checks of the draws, which are compared with the quadrature if both are of the same model."""
    drawn: Drawn | None = fits.get("nuts")
    exact: ExactPosterior | None = fits.get("exact")
    if drawn is None or exact is None or request.own:
        return drawn.diagnostics if drawn else None
    default = VariancePrior()
    if describe((request.prior or default).beta) != describe(default.beta):
        return drawn.diagnostics  # the quadrature takes the prior of the fixed effects as flat
    apart = disagreements("h2", drawn.posterior["posterior"]["h2"].to_numpy()[..., 0], exact.h2)
    return replace(drawn.diagnostics, checks=(*drawn.diagnostics.checks, *apart))


def _overlap(fits: Mapping[str, Any], request: TraitRequest) -> float | None:
    prior = request.prior or VariancePrior()
    if "exact" in fits:
        return overlap_with(fits["exact"].share, prior.h2)
    if "nuts" in fits and not request.own:
        h2 = fits["nuts"].posterior["posterior"]["h2"].to_numpy()
        # The prior is about a K with a mean diagonal of 1.
        return prior_overlap(
            quantities.pve(h2, 1 - h2, float(np.average(request.data.s, weights=request.data.counts))),
            prior.h2,
            0.0,
            1.0,
        )
    return None
