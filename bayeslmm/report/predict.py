"""Breeding values of one trait, as the command line prints them and as the report shows them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.analyses.breeding_values import CrossValidation
from bayeslmm.analyses.heritability import Heritability
from bayeslmm.analyses.source import Source
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
    heritability_table,
)
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import write_pictures
from bayeslmm.report.plots.predict import prediction_panels
from bayeslmm.report.reading import H2
from bayeslmm.report.tables import shown_effects

_SOURCES = (Source("Henderson (1975)", "10.2307/2529430", "best linear unbiased prediction"),)
_OF_MARKERS = Source("Strandén and Garrick (2009)", "10.3168/jds.2008-1929", "effects of markers")
_ENDS = 10
_MOST_ERRORS = 3
_READING = (
    "A breeding value is the genetic part of a trait, in its units, as a difference from the mean of the kinship's "
    "base (or of those analysed, if K was centred on them). mean and sd are of its posterior, over the variances "
    "too; blup, pev (the variance of the prediction error) and reliability, 1 - pev / (sigma2_u K_ii), are at REML.",
    "record is a new record of the same individual: fixed effects, breeding value and a new residual. It is predicted "
    "of those whose covariates are known.",
    "In cross-validation the records of each fold are predicted from all others, fixed effects included. A slope of 1 "
    "says that predictions are neither too wide nor too narrow. The correlation with breeding values, which are not "
    "seen, is larger than that with records.",
)


@dataclass(frozen=True)
class Predicted:
    """What was predicted from the records of one trait.

    Attributes:
        result: its heritability.
        values: a `breeding_values_table` of everybody in the kinship, with IID and analysed.
        new_values: the same of new genotypes.
        markers: how many markers of the kinship the new genotypes have.
        effects: of markers, if they were asked for.
        validated: the cross-validation.
    """

    result: Heritability
    values: pd.DataFrame
    new_values: pd.DataFrame | None = None
    markers: Mapping[str, int] | None = None
    effects: pd.DataFrame | None = None
    validated: CrossValidation | None = None

    @property
    def files(self) -> dict[str, pd.DataFrame]:
        """The tables that are named after the trait."""
        every = {
            "breeding_values": self.values,
            "new_breeding_values": self.new_values,
            "snp_effects": self.effects,
            "folds": None if self.validated is None else self.validated.records,
        }
        return {name: table for name, table in every.items() if table is not None}

    @cached_property
    def skill(self) -> pd.DataFrame:
        """How well records were predicted, a row for REML and one for the posterior."""
        if self.validated is None:
            return pd.DataFrame()
        return skill_table(self.result.trait, self.validated)

    def record(self) -> dict[str, Any]:
        """Return what ``run.json`` says."""
        about: dict[str, Any] = {"predicted": len(self.values), "without_record": int((~self.values["analysed"]).sum())}
        if self.new_values is not None:
            about["new"] = {"individuals": len(self.new_values), **(self.markers or {})}
        return about


def skill_table(trait: str, validated: CrossValidation) -> pd.DataFrame:
    """Return rows of ``cross_validation.tsv``: how well the records of a trait were predicted, by each method."""
    records, summary = validated.records, validated.summary.reset_index()
    summary.insert(0, "trait", trait)
    summary.insert(2, "folds", records["fold"].nunique())
    summary.insert(3, "n", len(records))
    return summary.assign(note="")


def prediction_part(found: Predicted, cohort: Cohort, spectrum: Spectrum, folder: Path | None) -> Part:
    """Draw the pictures of one trait into a folder, if there is one; return what `predict` says about the trait."""
    result, trait = found.result, found.result.trait
    records = None if found.validated is None else found.validated.records
    panels = prediction_panels(found.values, records) if folder else []
    tables = [
        Shown(
            f"the {min(_ENDS, len(found.values))} largest and smallest; all in {trait}.breeding_values.tsv",
            _ends(found),
        ),
        Shown("heritability; all digits in estimates.tsv", heritability_table(result).rename_axis("parameter")),
        *shown_effects(result),
    ]
    if found.validated is not None:
        tables.insert(0, Shown("cross-validation; each record is in folds.tsv of the trait", skill_shown(found.skill)))
    return Part(
        name=trait,
        individuals=cohort_lines(cohort),
        headlines=[*_headlines(found), *heritability_headlines(result)],
        sentences=[*prediction_answers(found), *heritability_answers(result)],
        pictures=write_pictures(panels, folder, trait, of=trait) if folder else [],
        tables=tables,
        notes=heritability_notes(result),
        checks=[*_checks(found), *heritability_checks(result, spectrum)],
        sources=[*_SOURCES, *([_OF_MARKERS] if found.effects is not None else []), *heritability_sources(result)],
    )


def prediction_report(parts: Sequence[Part]) -> Report:
    """Return the report of `predict`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Breeding values of {traits}",
        question=f"What do kinship and records say about the genetic part of {traits} of each individual?",
        parts=parts,
        reading=[*_READING, H2],
    )


def prediction_lines(found: Predicted) -> list[str]:
    """Return what is printed of one trait."""
    lines = [heritability_table(found.result).to_string(), *heritability_notes(found.result)]
    lines += [*heritability_answers(found.result), *prediction_answers(found)]
    if found.validated is not None:
        lines.append(skill_shown(found.skill).rename_axis(None).to_string())
    return lines


def prediction_answers(found: Predicted) -> list[str]:
    """Return what was predicted, in sentences."""
    trait, values = found.result.trait, found.values
    others = values[~values["analysed"]]
    lines = [
        f"breeding values of {trait} for {len(values):,} individuals, {len(others):,} of them without a record: median "
        f"reliability {_median(values[values['analysed']])} with a record"
        + (f", {_median(others)} without" if len(others) else "")
    ]
    if unknown := int(values["record"].isna().sum()):
        lines.append(f"  new records are not predicted of {unknown:,} individuals whose covariates are not known")
    if found.new_values is not None and found.markers is not None:
        of = found.markers
        lines.append(
            f"breeding values of {len(found.new_values):,} new individuals by {of['markers'] - of['absent']:,} of "
            f"{of['markers']:,} markers ({of['swapped']:,} counted by the other allele there): median reliability "
            f"{_median(found.new_values)}"
        )
    if found.effects is not None:
        lines.append(f"effects of {len(found.effects):,} markers are in {trait}.snp_effects.tsv")
    if found.validated is not None:
        skill = found.validated.of("integrated")
        lines.append(
            f"cross-validation of {trait} in {found.validated.records['fold'].nunique()} folds: correlation of records "
            f"with predictions {skill['correlation']:.3f}, slope {skill['slope']:.3f}, {skill['coverage']:.1%} of "
            "records in their 95% interval"
        )
    return lines


def _median(values: pd.DataFrame) -> str:
    median = values["reliability"].median()
    return f"{median:.3f}" if np.isfinite(median) else "unknown (sigma2_u is 0)"


def _headlines(found: Predicted) -> list[Headline]:
    trait = found.result.trait
    lines = [Headline(trait, "median reliability of breeding values", _median(found.values))]
    if found.validated is not None:
        skill = found.validated.of("integrated")
        what = "correlation of records with predictions from other folds"
        lines.insert(0, Headline(trait, what, f"{skill['correlation']:.3f}", f"slope {skill['slope']:.3f}"))
    return lines


def _ends(found: Predicted) -> pd.DataFrame:
    """Return those with the largest and the smallest breeding values."""
    ordered = found.values.sort_values("mean", ascending=False, kind="stable")
    if len(ordered) > 2 * _ENDS:
        ordered = pd.concat([ordered.head(_ENDS), ordered.tail(_ENDS)])
    shown = ordered[["IID", "analysed", "mean", "sd", "reliability", "record", "record_lower", "record_upper"]]
    return shown.assign(analysed=shown["analysed"].map({True: "yes", False: "no"})).set_index("IID")


def skill_shown(skill: pd.DataFrame) -> pd.DataFrame:
    """Return a `skill_table` with headings to read."""
    names = {"joint": "jointly, at REML", "reml": "at REML", "integrated": "over the posterior"}
    skill = skill.set_index("method")[["correlation", "slope", "mse", "coverage"]]
    return skill.rename(index=names, columns={"coverage": "in 95% interval"})


def _checks(found: Predicted) -> list[Check]:
    if found.validated is None:
        return []
    return [check_of_coverage(len(found.validated.records), found.validated.of("integrated")["coverage"])]


def check_of_coverage(n: int, coverage: float) -> Check:
    """Return whether intervals of n records that were left out hold as many as they say, beyond chance."""
    error = np.sqrt(0.95 * 0.05 / n)
    apart = abs(coverage - 0.95) > _MOST_ERRORS * error
    return check(
        "coverage",
        "look" if apart else "fine",
        f"{coverage:.1%} of records of other folds are in their 95% interval",
        f"it is 95% if the model is right; more than {_MOST_ERRORS} standard errors ({error:.1%} each) from that "
        "is worth a look",
        "look at outliers and the distribution of the trait (--rank-normalise), and at covariates that are left out"
        if apart
        else "",
        value=coverage,
        limit=0.95,
    )
