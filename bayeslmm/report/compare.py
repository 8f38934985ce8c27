"""Every method on one trait, as the command line prints it and as the report shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from bayeslmm.analyses.compare import SOURCES, Comparison
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.posterior.diagnostics import Check
from bayeslmm.report.checks import check
from bayeslmm.report.h2 import (
    heritability_answers,
    heritability_checks,
    heritability_headlines,
    heritability_notes,
    heritability_sources,
)
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Part, Report, Shown, together
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots.compare import NAMES, comparison_panels
from bayeslmm.report.reading import H2, INTERVALS, WHOM
from bayeslmm.report.tables import range_cell, shown_effects

COMPARED = "every method (differences of h2 in posterior standard deviations)"
CONVENTIONS = "the same fit as other programs print it"


def files(trait: str) -> list[str]:
    """Return the files of the pictures of a trait."""
    return picture_names(trait, NAMES)


def comparison_part(comparison: Comparison, cohort: Cohort, spectrum: Spectrum, folder: Path | None) -> Part:
    """Draw the pictures of one trait into a folder, if there is one; return what `compare` says about the trait."""
    result = comparison.result
    answer, *more = comparison_answers(comparison)
    return Part(
        name=result.trait,
        individuals=cohort_lines(cohort),
        headlines=heritability_headlines(result),
        sentences=[answer, *(f"  {sentence}" for sentence in more)],
        pictures=write_pictures(comparison_panels(comparison), folder, result.trait, of=result.trait) if folder else [],
        tables=[
            Shown(f"{COMPARED}; all digits in comparison.tsv", comparison_table(comparison)),
            Shown(f"{CONVENTIONS}; all digits in conventions.tsv", conventions_table(comparison)),
            *shown_effects(result),
        ],
        notes=heritability_notes(result),
        checks=[*checks_of_agreement(verdicts(comparison)), *heritability_checks(result, spectrum)],
        sources=[*heritability_sources(result), *SOURCES],
        sampled=True,
    )


def comparison_report(parts: Sequence[Part]) -> Report:
    """Return the report of `compare`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits} by every method",
        question=f"Do all methods agree about the heritability of {traits}, as far as theory says that they should?",
        parts=parts,
        reading=[
            "A difference is the h2 of a method less that of the one it is compared with, in standard deviations of "
            "the exact posterior; allowed is how large theory allows it to be, and why gives the reason.",
            H2,
            INTERVALS,
            WHOM,
        ],
    )


def comparison_lines(comparison: Comparison) -> str:
    """Return the methods in a table with their differences, what disagrees, the boundary, and other programs."""
    lines = [
        f"{comparison.result.trait}: {COMPARED}",
        _plain(comparison_table(comparison), "{:.4f}"),
        *comparison_answers(comparison),
        CONVENTIONS + ":",
        _plain(conventions_table(comparison), "{:.5g}"),
    ]
    return "\n".join(lines)


def comparison_table(comparison: Comparison) -> pd.DataFrame:
    """Return the methods with what each is compared with."""
    liability = comparison.result.liability
    columns = ["method", "h2", "se", "interval", "against", "difference", "allowed", "agrees", "why"]
    if liability:
        columns.insert(2, "h2_liability")
    return comparison.table.assign(
        h2_liability=liability.factor * comparison.table["h2"] if liability else np.nan,
        interval=[range_cell(*ends) for ends in comparison.table[["lower", "upper"]].to_numpy(dtype=float)],
        difference=comparison.table["difference"].map("{:+.2g}".format).where(comparison.table["against"] != "", ""),
        allowed=comparison.table["allowed"].map("{:.2g}".format).where(comparison.table["agrees"] != "-", ""),
    )[columns]


def conventions_table(comparison: Comparison) -> pd.DataFrame:
    """Return the fit as other programs print it."""
    table = comparison.conventions.drop(columns="trait").rename(columns={"name": "which is"})
    return table.assign(loglik=table["loglik"].map("{:.3f}".format))


def comparison_answers(comparison: Comparison) -> list[str]:
    """Return the heritability by the best method, what disagrees, and what is known of the boundary, in sentences."""
    answer, *more = heritability_answers(comparison.result)
    judged = [verdict.sentence for verdict in verdicts(comparison)]
    return [answer, *(line.strip() for line in more), *judged, *_boundary(comparison)]


@dataclass(frozen=True)
class Verdict:
    """How many methods agree, or why one does not.

    Attributes:
        kind: what it is.
        text: the counts, or the methods with the reason.
        good: whether it is as it should be.
    """

    kind: Literal["counts", "disagrees", "not converged", "not judged"]
    text: str
    good: bool

    @property
    def sentence(self) -> str:
        """The verdict as the command line prints it."""
        before = {
            "counts": "",
            "disagrees": "DISAGREES: ",
            "not converged": "NOT CONVERGED, so not judged: ",
            "not judged": "not judged: ",
        }
        return f"{before[self.kind]}{self.text}"


def verdicts(comparison: Comparison) -> list[Verdict]:
    """Return how many comparisons could be judged and how many agree; what disagrees, and what could not be judged."""
    table = comparison.table[comparison.table["against"] != ""]
    counts = table["agrees"].value_counts().reindex(["yes", "no", "-"], fill_value=0)
    judged, failed = counts["yes"] + counts["no"], comparison.not_converged
    agree = "all of them agree" if counts["no"] == 0 else f"{counts['yes']} agree"
    text = f"{judged} of {len(table)} comparisons could be judged: {agree} as far as theory says that they should"
    listed = [Verdict("counts", text, bool(counts["no"] == 0 and not failed))]
    for row in table.to_dict("records"):
        about = f"{row['method']} and {row['against']}: {row['why']}"
        if row["agrees"] == "no":
            listed.append(Verdict("disagrees", about, good=False))
        elif row["method"] in failed:
            listed.append(Verdict("not converged", about, good=False))
        elif row["agrees"] == "-":
            listed.append(Verdict("not judged", about, good=True))
    return listed


def checks_of_agreement(judged: Sequence[Verdict]) -> list[Check]:
    """Return a check of how many methods agree, and one for each that does not, or that did not converge."""
    meaning = "each method is compared with the one that it should be near, by what theory allows"
    counts, *others = judged
    checks = [
        check("agreement", "fine", counts.text, meaning)
        if counts.good
        else check("agreement", "look", counts.text, meaning, "see which below")
    ]
    return checks + [
        check("agreement", "look", other.kind.capitalize(), meaning, other.text) for other in others if not other.good
    ]


def _boundary(comparison: Comparison) -> list[str]:
    (row,) = comparison.boundary.to_dict("records")
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
