"""``bayeslmm compare``: every method on each trait, side by side, in a folder of results."""

import argparse
from typing import Any

import pandas as pd

from bayeslmm.analyses.compare import Comparison, compare
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.commands.checks import check_options, one_trait_prior
from bayeslmm.commands.failures import DIAGNOSTICS_FAILED, Failures
from bayeslmm.commands.run import Clock, analysed, cohort_record, finish, read_inputs, results_of, settings
from bayeslmm.report.compare import comparison_lines, comparison_part, comparison_report
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.page import Part
from bayeslmm.report.plots.compare import plot_comparison

_NOTES = {"estimates": "note", "comparison": "why", "boundary": "note", "conventions": "note"}
"""The tables, each with the column that says what is the matter with a row."""


def run(options: argparse.Namespace) -> int:
    """Compare all methods on each trait; return the exit code.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock, failures = Clock(), Failures(options.trait)
    prior = one_trait_prior(options)
    check_options(options)
    tables: dict[str, list[pd.DataFrame]] = {name: [] for name in _NOTES}
    traits: dict[str, dict[str, Any]] = {}
    parts: list[Part] = []
    with results_of(options, _files(options)) as results:
        inputs = read_inputs(options, clock)
        results.begin()
        for one in analysed(options, clock, inputs, failures):
            with failures.caught([one.trait]):
                with clock.step("inference"):
                    comparison = compare(
                        one.data,
                        one.cohort,
                        trait=one.trait,
                        seed=options.seed,
                        markers=inputs.markers,
                        **settings(options, prior),
                    )
                with clock.step("writing"):
                    plot_comparison(comparison, picture := results.path / f"{one.trait}.compare.png")
                part = comparison_part(comparison, one.cohort, one.spectrum, picture=picture)
                print(f"\n{comparison_lines(comparison)}")
                diagnostics = comparison.result.diagnostics
                traits[one.trait] = cohort_record(one.cohort, one.spectrum) | {
                    "diagnostics": diagnostics.record() if diagnostics else None
                }
                parts.append(part)
                with clock.step("writing"):
                    for name, table in _tables(comparison).items():
                        tables[name].append(table)
                        write_table(pd.concat(tables[name]), results.path / f"{name}.tsv")
        failures.check_any_left()
        for name, whole in tables.items():
            rows = [{"trait": trait, _NOTES[name]: note, "parameter": "h2"} for trait, note in failures.notes().items()]
            if whole or name == "estimates":
                write_table(with_rows(whole, rows), results.path / f"{name}.tsv")
        report = comparison_report([*parts, *failed_parts(failures.why)])
        finish(options, clock, inputs, prior, traits, results, failures, report=report)
    print(f"\nresults are in {options.out}")
    suspect = any(trait["diagnostics"]["failures"] for trait in traits.values() if trait["diagnostics"])
    return failures.code or (DIAGNOSTICS_FAILED if suspect else 0)


def _files(options: argparse.Namespace) -> list[str]:
    return [*(f"{name}.tsv" for name in _NOTES), *(f"{trait}.compare.png" for trait in options.trait), "report.html"]


def _tables(comparison: Comparison) -> dict[str, pd.DataFrame]:
    return {
        "estimates": comparison.result.estimates,
        "comparison": comparison.table,
        "boundary": comparison.boundary.assign(note=""),
        "conventions": comparison.conventions.assign(note=""),
    }
