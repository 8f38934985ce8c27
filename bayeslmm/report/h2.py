"""Heritability of one trait, as the command line prints it and as the report shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd

from bayeslmm.analyses.heritability import METHODS, Heritability
from bayeslmm.analyses.liability_rows import SOURCE, liability_row
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Row, select
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators.liability import Liability
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import RotatedData, Spectrum
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Check
from bayeslmm.report.checks import (
    check_of_prior,
    check_of_probes,
    check_of_scale,
    checks_of_draws,
    checks_of_estimates,
)
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots import h2, sites
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.reading import H2, INTERVALS, WHOM
from bayeslmm.report.tables import (
    best_rows,
    diagnostics_lines,
    factor_words,
    headline,
    in_words,
    interval_words,
    label_of,
    shown_effects,
    side_by_side,
    without_effects,
)

_PARAMETERS = ("h2_liability", "h2", "pve", "sigma2_u", "sigma2_e", "sigma2_u_liability", "loglik")
_MOST_LINES = 30
_LITTLE = 2 * MOST_OVERLAP
"""An area that posterior and prior share above which the prior is most of what is seen."""


def files(trait: str) -> list[str]:
    """Return the files of the pictures of a trait."""
    return picture_names(trait, [*h2.NAMES, *sites.NAMES])


def heritability_panels(result: Heritability, data: RotatedData, prior: VariancePrior) -> list[Panel]:
    """Return the pictures of one trait: of the sites of the user's program, or of the heritability."""
    if result.own and result.posterior is not None:
        return sites.site_panels(result.posterior, result.rows)
    return h2.heritability_panels(result, data, prior)


def heritability_part(
    result: Heritability,
    data: RotatedData,
    prior: VariancePrior,
    cohort: Cohort[Any],
    spectrum: Spectrum | SpectralSummary,
    folder: Path | None,
) -> Part:
    """Draw the pictures of one trait into a folder, if there is one; return what `h2` says about the trait.

    Args:
        result: the estimates.
        data: the trait in the eigenbasis.
        prior: of h2.
        cohort: the individuals.
        spectrum: of their kinship, or its summary.
        folder: of the pictures.
    """
    trait = result.trait
    panels = heritability_panels(result, data, prior) if folder else []
    return Part(
        name=trait,
        individuals=cohort_lines(cohort, how=_how(result)),
        headlines=heritability_headlines(result),
        sentences=heritability_answers(result),
        pictures=write_pictures(panels, folder, trait, of=trait) if folder else [],
        tables=[
            Shown("by each method; all digits in estimates.tsv", heritability_table(result).rename_axis("parameter")),
            *shown_effects(result),
        ],
        notes=heritability_notes(result),
        checks=heritability_checks(result, spectrum),
        sources=heritability_sources(result),
        sampled=result.posterior is not None or result.threshold is not None,
    )


def heritability_report(parts: Sequence[Part]) -> Report:
    """Return the report of `h2`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits}",
        question=f"How much of the variation of {traits} does kinship explain, and how sure is that?",
        parts=parts,
        reading=[H2, INTERVALS, WHOM],
    )


def heritability_checks(result: Heritability, spectrum: Spectrum | SpectralSummary) -> list[Check]:
    """Return whether the heritability can be trusted; the prior is checked unless the program is the user's."""
    checks = [*checks_of_draws(result.diagnostics), *checks_of_estimates(result.rows)]
    if result.prior_overlap is not None and not result.own:
        checks.append(check_of_prior(f"h2 of {result.trait}", result.prior_overlap, " ".join(_about_prior(result))))
    if result.probe_error:
        checks.append(check_of_probes(f"h2 of {result.trait}", result.probe_error))
    return [*checks, check_of_scale(spectrum.mean_diagonal)]


def _how(result: Heritability) -> str:
    """Say how the kinship was treated."""
    error = result.probe_error
    return f"K multiplied with, {error.passes} passes" if error else "kinship decomposed once"


def result_lines(result: Heritability) -> str:
    """Return a short table of one trait: a column for each method, and the answer of the best one in a sentence."""
    table = heritability_table(result)
    more = [f"... and {len(table) - _MOST_LINES} more, in estimates.tsv"] if len(table) > _MOST_LINES else []
    lines = [table[:_MOST_LINES].to_string(), *more, *heritability_notes(result), *heritability_answers(result)]
    return "\n".join([*lines, *diagnostics_lines(result.diagnostics)])


def heritability_table(result: Heritability) -> pd.DataFrame:
    """Return the estimates of one trait as text: a column for each method, and the interval of the best one."""
    rows = without_effects(result.rows)
    # A user's program has any sites.
    order = [(result.trait, name) for name in dict.fromkeys([*_PARAMETERS, *(row.parameter for row in rows)])]
    return side_by_side(rows, order, own=result.own).droplevel("trait").rename_axis(None)


def heritability_sources(result: Heritability) -> list[Source]:
    """Return what to cite for the methods of one trait."""
    of_methods = [source for method in result.fits for source in METHODS[method].sources]
    return of_methods + ([SOURCE] if result.liability else [])


def heritability_notes(result: Heritability) -> list[str]:
    """Return what the notes say about h2, by method: boundaries, searches that stopped early, impossible values."""
    h2 = select(result.rows, parameter="h2")
    lines = [f"  {label_of(row.method)}: {row.own_note}" for row in h2 if row.own_note]
    lines += [f"  {result.probe_error.words()}"] if result.probe_error else []
    return lines + [
        f"  {label_of(row.method)}, h2_liability: {note.text}"
        for row in select(result.rows, parameter="h2_liability")
        for note in row.notes
        if note.kind == "outside" or row.method == "threshold"
    ]


def heritability_answers(result: Heritability) -> list[str]:
    """Return the heritability by the best method, with its interval, in a sentence; then what to know about it."""
    of_threshold = [
        f"heritability of the liability of {row.trait}: {in_words(row, row.estimate)} (posterior mean, threshold model)"
        f"{interval_words(row)}"
        for row in _threshold_rows(result)
    ]
    rows = select(best_rows(result.rows, own=result.own), parameter="h2")
    if not rows and of_threshold:
        return of_threshold
    if not rows:
        return [f'the program has no site called "h2"; add one to report a heritability of {result.trait}']
    (row,) = rows
    name = label_of(row.method)
    if np.isnan(row.lower):
        return [
            *of_threshold,
            f"no interval for the heritability of {result.trait} ({row.note}): ask for another method",
        ]
    mean = f"posterior mean, {name}{' of your own model' * result.own}"
    kind = mean if METHODS[row.method].spread == "sd" else f"{name} estimate"
    liability = None if result.own else result.liability
    of = f"the two values of {result.trait}" if liability else result.trait
    return [
        *of_threshold,
        *(_of_liability(result.trait, row, liability, kind) if liability else ()),
        f"{'  ' * bool(liability)}heritability of {of}: {in_words(row, row.estimate)} ({kind}){interval_words(row)}",
        *_checked_by_draws(result),
        *(f"  {about}" for about in _about_prior(result)),
    ]


def _threshold_rows(result: Heritability) -> list[Row]:
    return select(result.rows, method="threshold", parameter="h2_liability")


def _of_liability(trait: str, of_values: Row, liability: Liability, kind: str) -> list[str]:
    """Return the heritability of the liability in a sentence, and how that of the two values became it."""
    row = liability_row(of_values, liability)
    return [
        f"heritability of the liability of {trait}: {in_words(row, row.estimate)} ({kind}){interval_words(row)}",
        f"  {factor_words(trait, liability)}",
    ]


def heritability_headlines(result: Heritability) -> list[Headline]:
    """Return the heritability by the best method as the answer of a page, first that of the liability if there is."""
    best, what = best_rows(result.rows, own=result.own), "heritability h2"
    of_threshold = [
        headline(row, result.trait, "heritability of the liability, threshold model") for row in _threshold_rows(result)
    ]
    if not (rows := select(best, parameter="h2")):
        return of_threshold or [Headline(result.trait, what, "not estimated")]
    return [
        *of_threshold,
        *(
            headline(row, result.trait, "heritability of the liability")
            for row in select(best, parameter="h2_liability")
        ),
        headline(rows[0], result.trait, f"{what}{' of the two values' * (bool(result.liability) and not result.own)}"),
    ]


def _checked_by_draws(result: Heritability) -> list[str]:
    """Return what NUTS, which is the check of the quadrature, has for the same posterior."""
    if result.exact is None or result.posterior is None or result.own:
        return []
    draws = result.posterior["posterior"]["h2"].to_numpy()[..., 0]
    error = float(arviz_stats.mcse(draws))
    return [f"  NUTS, its check: posterior mean {draws.mean():.3f} (Monte Carlo error {error:.2g})"]


def _about_prior(result: Heritability) -> list[str]:
    """Return, where much of the posterior of h2 is its prior, how much: the usual model's."""
    overlap = result.prior_overlap
    if overlap is None or overlap <= MOST_OVERLAP or result.own:
        return []
    verdict = (
        "the data say LITTLE about h2, most of what is seen is the prior"
        if overlap > _LITTLE
        else "the prior influences this estimate"
    )
    return [f"posterior and prior of h2 share {overlap:.0%}: {verdict}"]
