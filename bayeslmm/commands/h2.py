"""``bayeslmm h2``: files in, a folder of results out."""

import argparse
import itertools
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.analyses.heritability import Heritability, heritability
from bayeslmm.analyses.hsq import write_hsq
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.commands.checks import check_options, one_trait_prior
from bayeslmm.commands.failures import DIAGNOSTICS_FAILED, Failures
from bayeslmm.commands.run import (
    Clock,
    analysed,
    attributes,
    cohort_record,
    finish,
    own_program,
    read_inputs,
    results_of,
    settings,
    write_draws,
)
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.models import univariate
from bayeslmm.posterior.user_program import guarded
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.h2 import heritability_part, heritability_report, picture_names, result_lines
from bayeslmm.report.page import Part


def run(options: argparse.Namespace) -> int:
    """Estimate the heritability of each trait; return the exit code.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock, failures = Clock(), Failures(options.trait)
    prior = one_trait_prior(options)
    check_options(options)
    own = own_program(options)
    estimates: list[pd.DataFrame] = []
    traits: dict[str, dict[str, Any]] = {}
    parts: list[Part] = []
    with results_of(options, _files(options)) as results:
        inputs = read_inputs(options, clock)
        results.begin()
        for one in analysed(options, clock, inputs, failures):
            with failures.caught([one.trait]):
                with clock.step("inference"), guarded(own, one.data):
                    result = heritability(
                        one.data,
                        trait=one.trait,
                        covariates=one.cohort.covariates,
                        seed=options.seed,
                        methods=options.methods,
                        program=own.program if own else univariate,
                        **settings(options, prior),
                        attrs=attributes(options, inputs.kinship, one.cohort.dropped, own),
                        cohort=one.cohort,
                        markers=inputs.markers,
                    )
                with clock.step("writing"):
                    _write_trait(results.path, result, one.data)
                    part = heritability_part(
                        result,
                        one.data,
                        prior,
                        one.cohort,
                        one.spectrum,
                        results.path,
                        program=f"{own.path.name}:{own.name}" if own else "",
                    )
                print(f"\n{result_lines(result)}")
                for line in large_site_lines(result.posterior) if own and result.posterior is not None else ():
                    print(line)
                diagnostics = result.diagnostics.record() if result.diagnostics else None
                traits[one.trait] = cohort_record(one.cohort, one.spectrum) | {"diagnostics": diagnostics}
                parts.append(part)
                estimates.append(result.estimates)
                with clock.step("writing"):
                    write_table(pd.concat(estimates), results.path / "estimates.tsv")
        failures.check_any_left()
        write_table(with_rows(estimates, failures.rows(parameter="h2")), results.path / "estimates.tsv")
        report = heritability_report([*parts, *failed_parts(failures.why)])
        finish(options, clock, inputs, prior, traits, results, failures, report=report, own=own)
    print(f"\nresults are in {options.out}")
    suspect = any(trait["diagnostics"]["failures"] for trait in traits.values() if trait["diagnostics"])
    return failures.code or (DIAGNOSTICS_FAILED if suspect else 0)


def _files(options: argparse.Namespace) -> list[str]:
    names = [[f"{trait}.hsq", *picture_names(trait), f"{trait}.posterior.nc"] for trait in options.trait]
    return ["estimates.tsv", *itertools.chain(*names), "report.html"]


def _write_trait(out: Path, result: Heritability, data: RotatedData) -> None:
    write_hsq(out / f"{result.trait}.hsq", result.reml, data)
    if result.posterior is not None:
        write_draws(result.posterior, out / f"{result.trait}.posterior.nc")
