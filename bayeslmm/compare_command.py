"""``bayeslmm compare``: every method on each trait, side by side, in a folder of results."""

import argparse
from dataclasses import asdict
from typing import Any

import pandas as pd

from bayeslmm.compare import Comparison, compare
from bayeslmm.job import Clock, analysed, cohort_record, read_inputs, settings, write_record
from bayeslmm.option_checks import check_options, one_trait_prior
from bayeslmm.plots import plot_comparison
from bayeslmm.report import Part, write_report
from bayeslmm.report_parts import comparison_part, comparison_report
from bayeslmm.results import write_table
from bayeslmm.summary import comparison_lines


def run(options: argparse.Namespace) -> bool:
    """Compare all methods on each trait; return whether draws of any failed their checks.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock = Clock()
    prior, out = one_trait_prior(options), check_options(options)
    inputs = read_inputs(options, clock)
    tables: dict[str, list[pd.DataFrame]] = {}
    traits: dict[str, dict[str, Any]] = {}
    parts: list[Part] = []
    for one in analysed(options, clock, inputs):
        with clock.step("inference"):
            comparison = compare(
                one.data,
                one.cohort,
                trait=one.trait,
                seed=options.seed,
                markers=inputs.markers,
                **settings(options, prior),
            )
        print(f"\n{comparison_lines(comparison)}")
        diagnostics = comparison.result.diagnostics
        traits[one.trait] = cohort_record(one.cohort, one.spectrum) | {
            "diagnostics": asdict(diagnostics) if diagnostics else None
        }
        with clock.step("writing"):
            for name, table in _tables(comparison).items():
                tables[name] = [*tables.get(name, []), table]
                write_table(pd.concat(tables[name]), out / f"{name}.tsv")
            plot_comparison(comparison, picture := out / f"{one.trait}.compare.png")
        parts.append(comparison_part(comparison, one.cohort, one.spectrum, chains=options.chains, picture=picture))
    record = write_record(options, clock, inputs.kinship, prior, traits, out)
    write_report(comparison_report(parts), record, out / "report.html")
    print(f"\nresults are in {out}")
    return any(trait["diagnostics"]["failures"] for trait in traits.values())


def _tables(comparison: Comparison) -> dict[str, pd.DataFrame]:
    return {
        "estimates": comparison.result.estimates,
        "comparison": comparison.table,
        "boundary": comparison.boundary,
        "conventions": comparison.conventions,
    }
