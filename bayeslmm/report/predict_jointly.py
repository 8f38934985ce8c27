"""Breeding values of several traits from one joint model, in print and in the report."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.analyses.breeding_values import CrossValidation
from bayeslmm.analyses.correlations import JOINT_METHODS, Correlations
from bayeslmm.analyses.source import Source
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import write_pictures
from bayeslmm.report.plots.predict import prediction_panels
from bayeslmm.report.predict import check_of_coverage, skill_shown, skill_table
from bayeslmm.report.reading import H2
from bayeslmm.report.rg import correlation_checks, correlation_lines, correlation_table

_SOURCES = (Source("Henderson and Quaas (1976)", "10.2527/jas1976.4361188x", "prediction of several traits"),)
_READING = (
    "A breeding value is the genetic part of a trait, in its units. blup, pev (the variance of the prediction error) "
    "and reliability are from the joint model at REML: records of each trait say something of the others, by the "
    "genetic and the residual covariances.",
    "record is the one that an individual with other traits lacks, and then the residuals of these count too; of all "
    "others it is a new record, with a new residual.",
    "In cross-validation the records that a fold has of one trait are predicted from all others, those of the same "
    "individuals' other traits among them; below are the predictions from this trait alone.",
)


def joint_lines(result: Correlations, values: Mapping[str, pd.DataFrame], skill: Mapping[str, CrossValidation]) -> str:
    """Return what is printed.

    Args:
        result: joint REML.
        values: the breeding values of each trait.
        skill: the cross-validation of each trait, if it was asked for.
    """
    lines = [correlation_lines(result), *joint_answers(values)]
    for trait, validated in skill.items():
        shown = skill_shown(skill_table(trait, validated)).rename_axis(None).to_string()
        lines += [f"cross-validation of {trait} in {validated.records['fold'].nunique()} folds:", shown]
    return "\n".join(lines)


def joint_answers(values: Mapping[str, pd.DataFrame]) -> list[str]:
    """Return what was predicted, in sentences."""
    lines: list[str] = []
    for trait, table in values.items():
        recorded, others = table[table["recorded"]], table[~table["recorded"]]
        lines.append(
            f"breeding values of {trait} for {len(table):,} individuals, {len(others):,} of them without a record: "
            f"median reliability {_median(recorded)} with a record"
            + (f", {_median(others)} without" if len(others) else "")
        )
        if unknown := int(table["record"].isna().sum()):
            lines.append(f"  records are not predicted of {unknown:,} individuals whose covariates are not known")
    return lines


def joint_report(
    result: Correlations,
    cohort: Cohort,
    spectrum: Spectrum,
    values: Mapping[str, pd.DataFrame],
    skill: Mapping[str, CrossValidation],
    folder: Path | None,
) -> Report:
    """Draw the pictures into a folder, if there is one; return the report.

    Args:
        result: joint REML.
        cohort: the individuals.
        spectrum: of their kinship.
        values: the breeding values of each trait.
        skill: the cross-validation of each trait, if it was asked for.
        folder: of the pictures.
    """
    whole = Part(
        name=together(result.traits),
        individuals=cohort_lines(cohort),
        sentences=joint_answers(values),
        tables=[Shown("the joint model; all digits in estimates.tsv", correlation_table(result))],
        checks=correlation_checks(result, spectrum),
        sources=[*_SOURCES, *JOINT_METHODS["reml"].sources],
    )
    parts = [_part(trait, table, skill.get(trait), folder) for trait, table in values.items()]
    traits = together(result.traits)
    return Report(
        title=f"Breeding values of {traits}, predicted together",
        question=f"What do kinship and the records of all traits say about the genetic part of {traits}?",
        parts=[whole, *parts],
        reading=[*_READING, H2],
    )


def _part(trait: str, table: pd.DataFrame, validated: CrossValidation | None, folder: Path | None) -> Part:
    values = table.assign(mean=table["blup"], sd=np.sqrt(table["pev"]), analysed=table["recorded"])
    headlines = [Headline(trait, "median reliability of breeding values", _median(table))]
    tables, checks, records = [], [], None
    if validated is not None:
        records = validated.records.assign(mean=validated.records["joint"], sd=validated.records["joint_sd"])
        skill = validated.of("joint")
        what = "correlation of records with predictions, other traits known"
        headlines.insert(0, Headline(trait, what, f"{skill['correlation']:.3f}", f"slope {skill['slope']:.3f}"))
        tables = [Shown("cross-validation; each record is in folds.tsv", skill_shown(skill_table(trait, validated)))]
        checks = [check_of_coverage(len(records), skill["coverage"])]
    pictures = write_pictures(prediction_panels(values, records), folder, trait, of=trait) if folder else []
    return Part(name=trait, headlines=headlines, pictures=pictures, tables=tables, checks=checks)


def _median(table: pd.DataFrame) -> str:
    median = table["reliability"].median()
    return f"{median:.3f}" if np.isfinite(median) else "unknown (no genetic variance)"
