"""Several traits and their pairs, as the command line prints them and as the report shows them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.analyses.correlations import JOINT_METHODS, Correlations
from bayeslmm.analyses.joint_probes import largest
from bayeslmm.analyses.pairs import Pair
from bayeslmm.analyses.table import Note, Row, select
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.posterior.diagnostics import Check
from bayeslmm.report.checks import (
    check_of_prior,
    check_of_probes,
    check_of_scale,
    check_of_weights,
    checks_of_draws,
    checks_of_estimates,
    checks_of_methods,
)
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots import rg, sites
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.reading import H2, INTERVALS
from bayeslmm.report.tables import (
    best_rows,
    diagnostics_lines,
    headline,
    in_words,
    interval_words,
    keys,
    label_of,
    shown_effects,
    side_by_side,
    weights_words,
    without_effects,
)

_STEM = "correlations"
PICTURES = tuple(picture_names(_STEM, [*rg.NAMES, *sites.NAMES]))
"""The files of the pictures."""


def correlation_panels(result: Correlations) -> list[Panel]:
    """Return the pictures of several traits: of the sites of the user's program, or of the correlations."""
    if result.own and result.posterior is not None:
        return sites.site_panels(result.posterior, select(result.rows, trait=":".join(result.traits)))
    return rg.correlation_panels(result)


def correlation_report(
    result: Correlations, cohort: Cohort[Any], spectrum: Spectrum | SpectralSummary, folder: Path | None
) -> Report:
    """Draw the pictures of several traits into a folder, if there is one; return the report of `rg`.

    Args:
        result: the estimates.
        cohort: the individuals.
        spectrum: of their kinship, or its summary.
        folder: of the pictures.
    """
    traits = together(result.traits)
    part = Part(
        name=traits,
        individuals=cohort_lines(cohort, how=_how(result)),
        headlines=_headlines(result),
        sentences=correlation_answers(result),
        pictures=write_pictures(correlation_panels(result), folder, _STEM, of=traits) if folder else [],
        tables=[
            Shown("by each method; all digits in estimates.tsv", correlation_table(result)),
            *shown_effects(result),
        ],
        notes=correlation_notes(result),
        checks=correlation_checks(result, spectrum),
        sources=[source for method in result.fits for source in JOINT_METHODS[method].sources],
        sampled="nuts" in result.fits,
    )
    return Report(
        title=f"Genetic correlation of {traits}",
        question=f"How are {traits} genetically related, and how sure is that?",
        parts=[part],
        reading=[
            "rho_u, the genetic correlation, is that of the effects of the whole genome on two traits; rho_e is that "
            "of what is left, rho_p that of both together, and cov_u and cov_e are covariances. Correlations have no "
            "unit and lie between -1 and 1.",
            "Where one of two traits is hardly heritable, the data do not determine rho_u: its posterior is then about "
            "its prior, and REML ends at a bound.",
            H2,
            INTERVALS,
        ],
    )


def correlation_checks(result: Correlations, spectrum: Spectrum | SpectralSummary) -> list[Check]:
    """Return whether the correlations can be trusted."""
    checks = [*checks_of_draws(result.diagnostics), *checks_of_methods(result.failed)]
    if result.importance is not None:
        checks.append(check_of_weights(result.importance))
    for pair in result.known:
        if pair.evidence:
            advice = "" if pair.evidence.identified else "; ".join(note.text for note in pair.evidence.notes)
            checks.append(check_of_prior(f"rho_u of {pair.name}", pair.evidence.prior_overlap, advice))
    if result.probe_errors:
        checks.append(check_of_probes(*largest(result.probe_errors)))
    return [*checks, *checks_of_estimates(result.rows), check_of_scale(spectrum.mean_diagonal)]


def _how(result: Correlations) -> str:
    """Say how the kinship was treated."""
    error = next(iter(result.probe_errors.values()), None)
    return f"K multiplied with, {error.passes} passes" if error else "kinship decomposed once"


def correlation_lines(result: Correlations) -> str:
    """Return a table of several traits: a column for each method; and what is known of each pair, in sentences."""
    table = correlation_table(result).rename_axis([None, None])
    lines = [table.to_string(), *correlation_notes(result), *correlation_answers(result)]
    if result.probe_errors:
        name, error = largest(result.probe_errors)
        lines.append(f"largest {error._replace(parameter=name).words()}")
    lines.append("took: " + ", ".join(f"{label_of(method)} {spent:.1f} s" for method, spent in result.seconds.items()))
    return "\n".join([*lines, *diagnostics_lines(result.diagnostics)])


def correlation_table(result: Correlations) -> pd.DataFrame:
    """Return the estimates of traits and pairs as text: a column for each method, and the interval of the best one."""
    rows = without_effects(result.rows)
    order = list(dict.fromkeys(keys(best_rows(rows, own=result.own)) + keys(rows)))
    return side_by_side(rows, order, own=result.own)


def correlation_answers(result: Correlations) -> list[str]:
    """Return what is known of each pair, in sentences: by another method if the user's program has no rho_u."""
    lines: list[str] = []
    for pair in result.known:
        names = pair.name.replace(":", " and ")
        rows = select(result.rows, trait=pair.name, parameter="rho_u")
        if not rows:
            lines.append(f'the program has no site called "rho_u"; add one to report a genetic correlation of {names}')
            continue
        (rho_u,) = best_rows(rows, own=result.own)
        lacking = result.own and rho_u.method != "nuts"
        by = f" by {label_of(rho_u.method)}" if lacking else ""
        lines += [f"genetic correlation of {names}{by}: {_estimate(rho_u)}", *_about_pair(pair, rho_u)]
    if result.importance is not None:
        lines.append(f"  {weights_words(result.importance)}")
    return lines + ([result.choice] if result.choice else [])


def _headlines(result: Correlations) -> list[Headline]:
    """Return the genetic correlation of each pair, and the heritability of each trait, by the best method."""
    rows = best_rows(result.rows, own=result.own)
    correlations = [row for row in rows if row.parameter == "rho_u"]
    heritabilities = [row for row in rows if row.parameter == "h2"]
    return [
        *(
            headline(row, row.trait.replace(":", " and "), "genetic correlation rho_u", least=-1.0)
            for row in correlations
        ),
        *(headline(row, row.trait.replace(":", " and "), "heritability h2") for row in heritabilities),
    ]


def _estimate(row: Row) -> str:
    return "not estimated" if np.isnan(row.estimate) else f"{in_words(row, row.estimate)}{interval_words(row)}"


def _about_pair(pair: Pair, rho_u: Row) -> list[str]:
    lines = [f"  {rho_u.note}"] if pair.evidence else []
    if pair.tests:
        tests = pair.tests
        lines.append(
            f"  likelihood ratio of rho_u = 0: {tests.ratio_zero:.3f} (p = {tests.p_zero:.2g}, chi2); of |rho_u| = "
            f"1: {tests.ratio_one:.3f} (p = {tests.p_one:.2g}, half chi2); {pair.both:,} individuals have both"
        )
    return lines + ([f"  {pair.note}"] if pair.note else [])


def correlation_notes(result: Correlations) -> list[str]:
    """Return what the notes say, each once, with the rows that have it unless all of the method do."""
    rows = without_effects(result.rows)
    noted: dict[tuple[str, Note], list[Row]] = {}
    for row in rows:
        # What draws say about rho_u is printed beside it; the Monte Carlo errors of each number are in the table.
        if row.parameter != "rho_u" or row.method not in ("nuts", "importance") or np.isnan(row.estimate):
            for note in row.notes:
                if note.kind not in ("monte_carlo", "probes"):
                    noted.setdefault((row.method, note), []).append(row)
    lines: list[str] = []
    for (method, note), having in noted.items():
        names = ", ".join(f"{row.parameter} of {row.trait}" for row in having)
        of_all = len(having) == len(select(rows, method=method))
        lines.append(f"  {label_of(method)}{'' if of_all else f' ({names})'}: {note.text}")
    return lines
