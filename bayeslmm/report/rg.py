"""Several traits and their pairs, as the command line prints them and as the report shows them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.analyses.correlations import Correlations
from bayeslmm.cohort.joint import JointCohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.lights import (
    light_of_overlap,
    light_of_scale,
    lights_of_draws,
    lights_of_estimates,
)
from bayeslmm.report.page import Part, Report, Shown, together
from bayeslmm.report.people import joint_cohort_lines
from bayeslmm.report.reading import H2, INTERVALS
from bayeslmm.report.tables import (
    OWN_SITES,
    best_rows,
    diagnostics_lines,
    label_of,
    row_keys,
    shown_effects,
    side_by_side,
    without_effects,
)

_OF_PAIR = "correlations by each method, with their priors; heritabilities; what the draws look like"
_JOINT = {"mom": "mom", "reml": "joint reml", "nuts": "joint nuts"}


def correlation_report(
    result: Correlations, cohort: JointCohort, spectrum: Spectrum, *, picture: Path, own: bool
) -> Report:
    """Return the report of `rg`; ``own`` if the program that was sampled is the user's."""
    drawn = result.posterior is not None
    traits = together(result.traits)
    rho_u = result.estimates.query("method == 'nuts' and parameter == 'rho_u'")
    told = dict(zip(rho_u["trait"], rho_u["note"], strict=True))
    pairs = [pair for pair in result.pairs.to_dict("records") if "identified" in pair]
    part = Part(
        name=traits,
        people=joint_cohort_lines(cohort),
        sentences=correlation_answers(result),
        picture=picture,
        caption=OWN_SITES
        if own and drawn
        else _OF_PAIR
        if drawn and len(result.traits) == 2
        else "genetic and residual correlations with their intervals",
        tables=[
            Shown("by each method; all digits in estimates.tsv", correlation_table(result)),
            *shown_effects(result),
        ],
        notes=correlation_notes(result),
        lights=[
            *lights_of_draws(result.diagnostics),
            *(light_of_overlap(pair, told[pair["pair"]]) for pair in pairs),
            *lights_of_estimates(result.estimates),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=[_JOINT[method] for method in result.fits] + ["nuts"] * drawn,
    )
    return Report(
        title=f"Genetic correlation of {traits}",
        question=f"How are {traits} genetically related, and how sure is that?",
        parts=[part],
        reading=[
            "rho_u, the genetic correlation, is that of the effects of the whole genome on two traits; rho_e is that "
            "of what is left, rho_p that of both together, and cov_u and cov_e are covariances. Correlations have no "
            "unit and lie between -1 and 1.",
            "Where one of two traits is hardly heritable the data cannot tell rho_u: its posterior is then about its "
            "prior, and REML ends at a bound.",
            H2,
            INTERVALS,
        ],
    )


def correlation_lines(result: Correlations) -> str:
    """Return a table of several traits: a column for each method; and what is known of each pair, in sentences."""
    table = correlation_table(result).rename_axis([None, None])
    lines = [table.to_string(), *correlation_notes(result), *correlation_answers(result)]
    lines.append("took: " + ", ".join(f"{label_of(method)} {spent:.1f} s" for method, spent in result.seconds.items()))
    return "\n".join([*lines, *diagnostics_lines(result.diagnostics)])


def correlation_table(result: Correlations) -> pd.DataFrame:
    """Return the estimates of traits and pairs as text: a column for each method, and the interval of the best one."""
    rows = without_effects(result.estimates)
    order = list(dict.fromkeys(row_keys(best_rows(rows, own=result.own)) + row_keys(rows)))
    return side_by_side(rows, order, own=result.own)


def correlation_answers(result: Correlations) -> list[str]:
    """Return what is known of each pair, in sentences: by another method if the user's own program has no rho_u."""
    lines: list[str] = []
    for pair in result.pairs.to_dict("records"):
        of_pair = result.estimates[result.estimates["trait"] == pair["pair"]]
        rows = of_pair[of_pair["parameter"] == "rho_u"]
        if rows.empty:
            lines.append(
                f'the program has no site called "rho_u"; add one to report a genetic correlation of {_of_pair(pair)}'
            )
        else:
            rho_u = best_rows(rows, own=result.own).iloc[0]
            lacking = result.posterior is not None and rho_u["method"] != "nuts"
            lines += _about_pair(pair, rho_u, f" by {label_of(rho_u['method'])}" if lacking else "")
    return lines


def correlation_notes(result: Correlations) -> list[str]:
    """Return what the notes say, each once, with the rows that have it unless all of the method do."""
    table = without_effects(result.estimates)
    # What draws say about rho_u is told beside it.
    noted = table[(table["note"] != "") & ~((table["method"] == "nuts") & (table["parameter"] == "rho_u"))]
    parts = noted.assign(note=noted["note"].str.split("; ")).explode("note")
    lines: list[str] = []
    for (method, note), rows in parts.groupby(["method", "note"], sort=False):
        method = str(method)
        names = ", ".join(f"{row.parameter} of {row.trait}" for row in rows.itertuples())
        of_all = len(rows) == (table["method"] == method).sum()
        lines.append(f"  {label_of(method)}{'' if of_all else f' ({names})'}: {note}")
    return lines


def _of_pair(pair: Mapping[Any, Any]) -> str:
    return pair["pair"].replace(":", " and ")


def _about_pair(pair: Mapping[Any, Any], rho_u: pd.Series, by: str) -> list[str]:
    kind = "probability" if rho_u["interval"] == "eti95" else "confidence"
    interval = (
        f", with 95% {kind} between {rho_u['lower']:.3f} and {rho_u['upper']:.3f}" if pd.notna(rho_u["lower"]) else ""
    )
    estimate = f"{rho_u['estimate']:.3f}{interval}" if pd.notna(rho_u["estimate"]) else "not estimated"
    lines = [f"genetic correlation of {_of_pair(pair)}{by}: {estimate}"]
    if "identified" in pair:
        lines.append(f"  {rho_u['note']}")
    if pair.get("note"):
        lines.append(f"  {pair['note']}")
    elif "ratio_zero" in pair:
        lines.append(
            f"  likelihood ratio of rho_u = 0: {pair['ratio_zero']:.3f} (p = {pair['p_zero']:.2g}, chi2); of |rho_u| = "
            f"1: {pair['ratio_one']:.3f} (p = {pair['p_one']:.2g}, half chi2); {pair['both']:,} individuals have both"
        )
    return lines
