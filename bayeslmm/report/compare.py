"""Every method on one trait, as the command line prints it and as the report shows it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.analyses.compare import Comparison
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.h2 import heritability_answers, heritability_notes, prior_lights
from bayeslmm.report.lights import (
    light_of_scale,
    lights_of_agreement,
    lights_of_draws,
    lights_of_estimates,
)
from bayeslmm.report.page import Part, Report, Shown, together
from bayeslmm.report.people import cohort_lines
from bayeslmm.report.reading import H2, INTERVALS, WHOM
from bayeslmm.report.tables import range_cell, shown_effects


def comparison_part(found: Comparison, cohort: Cohort, spectrum: Spectrum, *, picture: Path) -> Part:
    """Return what `compare` says about one trait."""
    answer, *more = comparison_answers(found)
    return Part(
        name=found.result.trait,
        people=cohort_lines(cohort),
        sentences=[answer, *(f"  {sentence}" for sentence in more)],
        picture=picture,
        caption="all methods with their intervals; traces of EM; the exact test of h2 = 0",
        tables=[
            Shown(f"{COMPARED}; all digits in comparison.tsv", comparison_table(found)),
            Shown(f"{CONVENTIONS}; all digits in conventions.tsv", conventions_table(found)),
            *shown_effects(found.result),
        ],
        notes=heritability_notes(found.result),
        lights=[
            *lights_of_agreement(verdicts(found)),
            *lights_of_draws(found.result.diagnostics),
            *lights_of_estimates(found.result.estimates),
            *prior_lights(found.result),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=[*found.result.fits, "boundary", "disagreement"],
    )


def comparison_report(parts: Sequence[Part]) -> Report:
    """Return the report of `compare`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits} by every method",
        question=f"Do all methods agree about the heritability of {traits}, as far as theory says that they should?",
        parts=parts,
        reading=[
            "A difference is the h2 of a method less that of the one it is held against, in standard deviations of "
            "the exact posterior; allowed is how large theory lets it be, and why says so in words.",
            H2,
            INTERVALS,
            WHOM,
        ],
    )


COMPARED = "every method (differences of h2 in posterior standard deviations)"
CONVENTIONS = "the same fit as other programs print it"


def comparison_lines(found: Comparison) -> str:
    """Return the methods in a table with their differences, what disagrees, the boundary, and other programs."""
    lines = [
        f"{found.result.trait}: {COMPARED}",
        _plain(comparison_table(found), "{:.4f}"),
        *comparison_answers(found),
        CONVENTIONS + ":",
        _plain(conventions_table(found), "{:.5g}"),
    ]
    return "\n".join(lines)


def comparison_table(found: Comparison) -> pd.DataFrame:
    """Return the methods with what each is held against."""
    return found.table.assign(
        interval=[range_cell(*ends) for ends in found.table[["lower", "upper"]].to_numpy(dtype=float)],
        difference=found.table["difference"].map("{:+.2g}".format).where(found.table["against"] != "", ""),
        allowed=found.table["allowed"].map("{:.2g}".format).where(found.table["agrees"] != "-", ""),
    )[["method", "h2", "se", "interval", "against", "difference", "allowed", "agrees", "why"]]


def conventions_table(found: Comparison) -> pd.DataFrame:
    """Return the fit as other programs print it."""
    table = found.conventions.drop(columns="trait").rename(columns={"name": "which is"})
    return table.assign(loglik=table["loglik"].map("{:.3f}".format))


def comparison_answers(found: Comparison) -> list[str]:
    """Return the heritability by the best method, what disagrees, and what is known of the boundary, in sentences."""
    answer, *more = heritability_answers(found.result)
    return [answer, *(line.strip() for line in more), *(said for _, said in verdicts(found)), *_boundary(found)]


def verdicts(found: Comparison) -> list[tuple[bool, str]]:
    """Return how many comparisons could be judged and how many agree; what disagrees, and what could not be judged.

    Returns:
        Sentences, each with whether it is good news.
    """
    table = found.table[found.table["against"] != ""]
    counts = table["agrees"].value_counts().reindex(["yes", "no", "-"], fill_value=0)
    judged, failed = counts["yes"] + counts["no"], found.not_converged
    agree = "all of them agree" if counts["no"] == 0 else f"{counts['yes']} agree"
    lines = [
        (
            bool(counts["no"] == 0 and not failed),
            f"{judged} of {len(table)} comparisons could be judged: {agree} as far as theory says that they should",
        )
    ]
    for row in table.to_dict("records"):
        about = f"{row['method']} and {row['against']}: {row['why']}"
        if row["agrees"] == "no":
            lines.append((False, f"DISAGREES: {about}"))
        elif row["method"] in failed:
            lines.append((False, f"NOT CONVERGED, so that nothing is said of it: {about}"))
        elif row["agrees"] == "-":
            lines.append((True, f"not judged: {about}"))
    return lines


def _boundary(found: Comparison) -> list[str]:
    (row,) = found.boundary.to_dict("records")
    evidence, factor = ("for", 1) if row["log10_bayes_factor"] > 0 else ("against", -1)
    return [
        f"h2 = 0: restricted likelihood ratio {row['rlrt']:.3f}, exact p = {row['p_exact']:.2g} (Monte Carlo error "
        f"{row['p_exact_error']:.1g}), 50:50 mixture p = {row['p_mixture']:.2g}, whose true size at 0.05 is "
        f"{row['mixture_size_at_0.05']:.3f} here; Bayes factor {evidence} h2 > 0: "
        f"10^{factor * row['log10_bayes_factor']:.2f}",
        "95% intervals of h2: "
        + ", ".join(
            f"{name} {range_cell(row[f'{key}_lower'], row[f'{key}_upper'])}"
            for key, name in (("posterior", "posterior"), ("inversion", "test inversion"), ("profile", "profile"))
        ),
    ]


def _plain(table: pd.DataFrame, number: str, **formatters: Any) -> str:
    # pandas aligns text to the right: words are padded first.
    for name in map(str, table.select_dtypes(exclude="number").columns):
        table = table.assign(**{name: table[name].str.ljust(int(table[name].str.len().max()))})
    return table.to_string(index=False, na_rep="", justify="left", float_format=number.format, formatters=formatters)
