"""Several traits with several components, as the command line prints them and as the report shows them."""

from pathlib import Path

import pandas as pd

from bayeslmm.analyses.component_correlations import ComponentCorrelations
from bayeslmm.analyses.heritability import METHODS
from bayeslmm.analyses.table import Row
from bayeslmm.cohort.align_records import AlignedJointRecords
from bayeslmm.posterior.diagnostics import Check
from bayeslmm.report.checks import check, checks_of_draws, checks_of_methods
from bayeslmm.report.individuals import joint_record_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots.component_correlations import NAMES, component_correlation_panels
from bayeslmm.report.reading import COMPONENTS, INTERVALS
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
    without_effects,
)

_STEM = "correlations"
PICTURES = tuple(picture_names(_STEM, NAMES))
"""The files of the pictures."""


def component_correlation_report(
    result: ComponentCorrelations, aligned: AlignedJointRecords, folder: Path | None
) -> Report:
    """Draw the picture of several traits into a folder, if there is one; return the report of `rg` with components."""
    traits, best = together(result.traits), _answers(result)
    part = Part(
        name=traits,
        individuals=joint_record_lines(aligned),
        headlines=_headlines(result),
        sentences=component_correlation_answers(result),
        pictures=write_pictures(component_correlation_panels(result, best), folder, _STEM, of=traits) if folder else [],
        tables=[Shown("by each method; all digits in estimates.tsv", _table(result)), *shown_effects(result)],
        notes=_notes(result),
        checks=_checks(result),
        sources=[source for name in ("reml", "nuts") if _has(result, name) for source in METHODS[name].sources],
        sampled=result.posterior is not None,
    )
    return Report(
        title=f"Correlations of {traits} through each component",
        question=f"How are {traits} related through genes and through other components, and how sure is that?",
        parts=[part],
        reading=[
            "rho[NAME] is the correlation of the effects of a component on two traits, cov[NAME] their covariance; "
            "rho_p is the correlation of all components together. Correlations have no unit and lie between -1 and 1.",
            COMPONENTS,
            INTERVALS,
        ],
    )


def component_correlation_lines(result: ComponentCorrelations) -> str:
    """Return a table of several traits, a column for each method, and the answers in sentences."""
    table = _table(result).rename_axis([None, None])
    lines = [table.to_string(), *_notes(result), *component_correlation_answers(result)]
    return "\n".join([*lines, *diagnostics_lines(result.diagnostics)])


def component_correlation_answers(result: ComponentCorrelations) -> list[str]:
    """Return the correlations of each pair through each component, in sentences."""
    best = _answers(result)
    lines = [
        f"correlation of {row.trait.replace(':', ' and ')} through {row.parameter[4:-1]}: "
        f"{in_words(row, row.estimate)}{interval_words(row)}"
        for row in best
        if row.parameter.startswith("rho[") and row.estimate == row.estimate
    ]
    return lines + [f"  {label_of(name)} FAILED: {why}" for name, why in result.failed.items()]


def _has(result: ComponentCorrelations, method: str) -> bool:
    return any(row.method == method for row in result.rows)


def _answers(result: ComponentCorrelations) -> list[Row]:
    """Return the rows of the best method that came to an end."""
    return best_rows([row for row in result.rows if row.method not in result.failed], own=False)


def _headlines(result: ComponentCorrelations) -> list[Headline]:
    main = f"rho[{result.heritable or result.data.names[0]}]"
    what = "genetic correlation" if result.heritable else "correlation"
    return [
        headline(row, row.trait.replace(":", " and "), f"{what} {main}", least=-1.0)
        if row.parameter == main
        else headline(row, row.trait, "heritability h2")
        for row in sorted(_answers(result), key=lambda row: row.parameter == "h2")
        if row.parameter in (main, "h2")
    ]


def _table(result: ComponentCorrelations) -> pd.DataFrame:
    """Return the estimates of traits and pairs as text: a column for each method, and the interval of the best one."""
    rows = [row for row in without_effects(result.rows) if row.method not in result.failed]
    return side_by_side(rows, list(dict.fromkeys(keys(rows))), own=False)


def _checks(result: ComponentCorrelations) -> list[Check]:
    """Return whether the correlations can be trusted."""
    checks = [*checks_of_draws(result.diagnostics), *checks_of_methods(result.failed)]
    if result.reml and result.reml.boundary:
        where = "; ".join(result.reml.boundary)
        advice = f"{where}: what is on the boundary has no standard error, prefer the posterior"
        checks.append(check("boundary", "look", "REML is on the boundary", "estimates that can go no further", advice))
    return checks


def _notes(result: ComponentCorrelations) -> list[str]:
    """Return what the methods warn of, each once with the rows that have it."""
    noted: dict[tuple[str, str], list[Row]] = {}
    for row in without_effects(result.rows):
        for note in row.notes if row.method not in result.failed else ():
            if note.warns:
                noted.setdefault((row.method, note.text), []).append(row)
    return [
        f"  {label_of(method)} ({', '.join(f'{row.parameter} of {row.trait}' for row in rows)}): {text}"
        for (method, text), rows in noted.items()
    ]
