"""``bayeslmm h2``: files in, a folder of results out."""

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.files import replacing
from bayeslmm.heritability import Heritability, heritability
from bayeslmm.job import Clock, analysed, attributes, cohort_record, own_program, read_inputs, settings, write_record
from bayeslmm.models import univariate
from bayeslmm.option_checks import check_options, one_trait_prior
from bayeslmm.own_program import OwnProgram, guarded
from bayeslmm.plots import plot_heritability
from bayeslmm.priors import VariancePrior
from bayeslmm.report import Part, write_report
from bayeslmm.report_parts import heritability_part, heritability_report
from bayeslmm.results import write_hsq, write_table
from bayeslmm.site_plots import plot_sites
from bayeslmm.site_results import large_site_lines
from bayeslmm.spectrum import RotatedData
from bayeslmm.summary import result_lines


def run(options: argparse.Namespace) -> bool:
    """Estimate the heritability of each trait; return whether draws of any failed their checks.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock = Clock()
    prior, out = one_trait_prior(options), check_options(options)
    own = own_program(options)
    estimates: list[pd.DataFrame] = []
    traits: dict[str, dict[str, Any]] = {}
    parts: list[Part] = []
    inputs = read_inputs(options, clock)
    for one in analysed(options, clock, inputs):
        with clock.step("inference"), guarded(own, one.data):
            result = heritability(
                one.data,
                trait=one.trait,
                covariates=one.cohort.covariates,
                seed=options.seed,
                methods=options.methods,
                program=own.program if own else univariate,
                **settings(options, prior),
                attrs=attributes(options, inputs.kinship, one.cohort.dropped),
                cohort=one.cohort,
                markers=inputs.markers,
            )
        print(f"\n{result_lines(result)}")
        for line in large_site_lines(result.posterior) if own and result.posterior is not None else ():
            print(line)
        estimates.append(result.estimates)
        diagnostics = asdict(result.diagnostics) if result.diagnostics else None
        traits[one.trait] = cohort_record(one.cohort, one.spectrum) | {"diagnostics": diagnostics}
        with clock.step("writing"):
            write_table(pd.concat(estimates), out / "estimates.tsv")
            _write_trait(out, result, one.data, prior, own)
        picture = out / f"{one.trait}.png"
        parts.append(
            heritability_part(
                result, one.cohort, one.spectrum, chains=options.chains, picture=picture, own=own is not None
            )
        )
    record = write_record(options, clock, inputs.kinship, prior, traits, out)
    write_report(heritability_report(parts), record, out / "report.html")
    print(f"\nresults are in {out}")
    return any(trait["diagnostics"]["failures"] for trait in traits.values() if trait["diagnostics"])


def _write_trait(
    out: Path, result: Heritability, data: RotatedData, prior: VariancePrior, own: OwnProgram | None
) -> None:
    write_hsq(out / f"{result.trait}.hsq", result.reml, data)
    if own and result.posterior is not None:
        title = f"{result.trait}: n = {len(data.s):,}, {own.path.name}:{own.name}"
        plot_sites(result.posterior, result.estimates, title, out / f"{result.trait}.png")
    else:
        plot_heritability(result, data, prior, out / f"{result.trait}.png")
    if result.posterior is not None:
        with replacing(out / f"{result.trait}.posterior.nc") as temporary:
            result.posterior.to_netcdf(temporary, engine="h5netcdf")
