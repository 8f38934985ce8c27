"""Thousands of traits at once, as the command line prints them and as the report shows them: its size does not grow."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from bayeslmm.analyses.many_traits import Survivors
from bayeslmm.analyses.source import Source
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.checks import check, check_of_scale
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Headline, Part, Report, Shown
from bayeslmm.report.pictures import write_pictures
from bayeslmm.report.plots.many import many_panels
from bayeslmm.report.reading import H2, INTERVALS, WHOM

_MOST = 20
_FDR = 0.05
_SOURCES = (
    Source("Crainiceanu and Ruppert (2004)", "10.1111/j.1467-9868.2004.00438.x", "exact tests of h2 = 0"),
    Source("Benjamini and Hochberg (1995)", "10.1111/j.2517-6161.1995.tb02031.x", "false discovery rates"),
)
_READING = (
    "p is that of the exact restricted likelihood ratio test of h2 = 0, by 40,000 simulated statistics that serve all "
    "traits with the same people; a p of 0 is one below what these can tell. q is the smallest false discovery rate at "
    "which a trait is among those found.",
)


def many_part(
    found: Survivors, remarks: Mapping[str, str], cohort: Cohort, spectrum: Spectrum, folder: Path | None, *, stem: str
) -> Part:
    """Draw the pictures of all traits into a folder, if there is one; return what `h2` says about them.

    Args:
        found: the estimates, and traits that failed.
        remarks: what should be asked about traits, by name.
        cohort: the individuals, with one trait that stands for all.
        spectrum: of their kinship.
        folder: of the pictures.
        stem: of their names.
    """
    table = found.estimates
    failed = len(found.refused)
    name = f"{len(table):,} traits"
    checks = [check_of_scale(spectrum.mean_diagonal)]
    tables = [Shown("the smallest p-values, by Bayes factors; all in estimates.tsv and .parquet", _top(table))]
    if failed:
        tables.append(_words(found.refused, "why", "traits that failed", "failed.tsv"))
        text = f"{failed:,} of {failed + len(table):,} traits failed"
        meaning = "traits that cannot be analysed have no row"
        checks.append(check("traits", "look", text, meaning, "failed.tsv says why", value=float(failed)))
    if remarks:
        tables.append(_words(remarks, "remark", "traits to look at", "remarks.tsv"))
        text = f"{len(remarks):,} traits have stray values, two values only, or values that may be codes"
        meaning = "they are analysed as they are"
        checks.append(check("values", "look", text, meaning, "remarks.tsv names them", value=float(len(remarks))))
    return Part(
        name=name,
        individuals=cohort_lines(cohort),
        headlines=[
            Headline(name, "median heritability (posterior mean)", f"{table['h2_mean'].median():.3f}", _middle(table)),
            Headline(name, f"traits with h2 > 0 at a false discovery rate of {_FDR:.0%}", f"{_found(table):,}"),
        ],
        sentences=many_answers(found),
        pictures=write_pictures(many_panels(table), folder, stem, of=name) if folder else [],
        tables=tables,
        checks=checks,
        sources=_SOURCES,
    )


def many_report(parts: Sequence[Part], count: int) -> Report:
    """Return the report of `h2` of many traits."""
    return Report(
        title=f"Heritability of {count:,} traits",
        question=f"How much of the variation of each of {count:,} traits does kinship explain, and how sure is that?",
        parts=parts,
        reading=[*_READING, H2, INTERVALS, WHOM],
        facts=[("Analysed at once", f"{count:,} traits, by REML, the exact posterior and the exact test of h2 = 0")],
    )


def many_lines(found: Survivors) -> list[str]:
    """Return what is printed of all traits."""
    shown = _top(found.estimates).head(5).to_string(float_format="{:.4g}".format)
    return [*many_answers(found), "smallest p-values, by Bayes factors:", shown]


def many_answers(found: Survivors) -> list[str]:
    """Return what was found of all traits, in sentences."""
    table = found.estimates
    complete = int((table["n"] == table["n"].max()).sum())
    lines = [
        f"{len(table):,} traits, {complete:,} of them with {int(table['n'].max()):,} values, the fewest "
        f"{int(table['n'].min()):,}",
        f"h2 by its posterior mean: median {table['h2_mean'].median():.3f}, {_middle(table)}",
        f"h2 = 0 is rejected for {_found(table):,} traits at a false discovery rate of {_FDR:.0%} (exact p-values)",
    ]
    if found.refused:
        trait, why = next(iter(found.refused.items()))
        lines.append(f"{len(found.refused):,} traits FAILED, the first {trait}: {why}; all are in failed.tsv")
    return lines


def _words(words: Mapping[str, str], column: str, what: str, file: str) -> Shown:
    """Return the first of a table of what is said about traits."""
    table = pd.DataFrame({"trait": words.keys(), column: words.values()}).set_index("trait")
    return Shown(f"{what}, the first {min(_MOST, len(table))} of {len(table):,}; all in {file}", table[:_MOST])


def _found(table: pd.DataFrame) -> int:
    return int((table["q"] < _FDR).sum())


def _middle(table: pd.DataFrame) -> str:
    low, high = table["h2_mean"].quantile([0.25, 0.75])
    return f"middle half {low:.3f} to {high:.3f}"


def _top(table: pd.DataFrame) -> pd.DataFrame:
    ordered = table.sort_values(["p", "log_bayes_factor"], ascending=[True, False], kind="stable").head(_MOST)
    return ordered[["n", "h2_reml", "h2_mean", "h2_lower", "h2_upper", "log_bayes_factor", "p", "q"]]
