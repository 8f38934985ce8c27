"""``bayeslmm rg``: files in, a folder with the correlations of two or more traits out."""

import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from bayeslmm.analyses.correlations import correlations
from bayeslmm.analyses.joint_methods.nuts import program_of
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.cohort.align import align_jointly
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.draws import (
    attributes,
    check_draws_groups,
    program_record,
    told_groups,
    user_program,
    write_draws,
)
from bayeslmm.commands.failures import ANALYSIS_FAILED
from bayeslmm.commands.inference import JointPriorSettings, NutsSettings
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import Run, open_run
from bayeslmm.commands.settings import AnalysisSettings, TogetherTraits
from bayeslmm.estimators.information import Kind
from bayeslmm.likelihood.rotation import JointData, Spectrum
from bayeslmm.posterior.groups import with_groups
from bayeslmm.posterior.user_program import guarded
from bayeslmm.report.failed import failed_report
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.rg import PICTURES, correlation_lines, correlation_report

_FILES = ("posterior.nc", "estimates.tsv", "pairs.tsv", *PICTURES, "report.html")


@dataclass(frozen=True)
class RgSettings(AnalysisSettings):
    """The options of `rg`."""

    tables: TogetherTraits
    methods: tuple[str, ...]
    model: str | None
    draws_groups: tuple[str, ...]
    se: Kind
    prior: JointPriorSettings
    nuts: NutsSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        check_draws_groups(self.draws_groups, self.methods, self.model)


SETTINGS = RgSettings


def run(settings: RgSettings) -> Answer:
    """Estimate the correlations of the traits.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    name, prior = ":".join(settings.tables.trait), settings.prior.of_traits(len(settings.tables.trait))
    program = user_program(settings.model, settings.prior, settings.methods)
    result = report = None
    tables: dict[str, pd.DataFrame] = {}
    with open_run(settings, _FILES, traits=[name], more=[program.path] if program else []) as run:
        inputs, failures = run.read_inputs(), run.failures
        run.results.begin()
        with failures.caught([name]):
            data, cohort, spectrum = _rotated(settings, run, inputs)
            told_groups(settings.draws_groups, data, settings.nuts)
            with run.clock.step("inference"), guarded(program, data):
                result = correlations(
                    data,
                    traits=cohort.traits,
                    covariates=cohort.covariates,
                    methods=settings.methods,
                    se_kind=settings.se,
                    prior=prior if settings.prior.given else None,
                    program=program.program if program else None,
                    **asdict(settings.nuts),
                    coords=cohort.coords,
                    attrs=attributes(inputs.kinship, settings.kinship, cohort.dropped, program),
                )
            tables = {"estimates": result.estimates, "pairs": result.pairs}
            with run.clock.step("writing"):
                if result.posterior is not None:
                    draws = with_groups(
                        result.posterior,
                        data,
                        settings.draws_groups,
                        program=program_of(len(result.traits)),
                        prior=prior,
                        seed=settings.nuts.seed,
                    )
                    write_draws(draws, run.out / "posterior.nc")
                _write(tables, run.out)
                report = correlation_report(result, cohort, spectrum, run.pictures)
            print(f"\n{correlation_lines(result)}")
            for line in large_site_lines(result.posterior) if program and result.posterior is not None else ():
                print(line)
            run.traits[name] = cohort_record(cohort, spectrum) | {
                "records": dict(zip(result.traits, (~cohort.missing).sum(axis=0).tolist(), strict=True)),
                "pairs": result.pairs.to_dict("records"),
                "failed": dict(result.failed),
                "loglik": result.reml.loglik if result.reml else None,
                "diagnostics": result.diagnostics.record() if result.diagnostics else None,
            }
        if failures.why:
            report = failed_report(failures.why)
            tables = {"estimates": with_rows([], failures.rows(parameter="rho_u"))}
            _write(tables, run.out)
        run.finish(inputs, prior, report=report, more=program_record(program, settings.prior))
    if result and result.failed:
        lost = "; ".join(f"{method} failed: {why}" for method, why in result.failed.items())
        print(f"bayeslmm: error: {lost}", file=sys.stderr)
        return Answer(ANALYSIS_FAILED, lost, tables)
    return run.answer(tables)


def _write(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    for name, table in tables.items():
        write_table(table, out / f"{name}.tsv")


def _rotated(settings: RgSettings, run: Run, inputs: Inputs) -> tuple[JointData, Cohort, Spectrum]:
    """Return all traits at once, of everybody who has at least one of them; say who is analysed.

    Raises:
        InputError: if ids do not match, nobody is left, covariates are collinear, or K is no kinship matrix.
    """
    cohort = align_jointly(
        inputs.kinship,
        inputs.measurements,
        covariates_of=_covariates_of(settings.tables, inputs.measurements),
        complete_only=settings.tables.complete_only,
        centred=settings.kinship.centre,
        normalised=settings.kinship.normalise,
    )
    spectrum = run.spectrum_of(cohort)
    run.keep_spectra([(cohort.ids, spectrum)])
    cohort = run.with_principal_components(cohort, spectrum)
    print(f"\n{cohort_lines(cohort)}")
    with run.clock.step("rotation"):
        return spectrum.rotate_jointly(cohort.Y, cohort.X), cohort, spectrum


def _covariates_of(tables: TogetherTraits, measurements: Measurements) -> dict[str, list[str]]:
    """Return the covariates of each trait: those given for it, or those for all; nothing where a formula says it."""
    if tables.formula is not None:
        return {}
    for_all = (
        list(measurements.covariates) if tables.of_covariates and tables.covariates is None else tables.covariates or ()
    )
    return {trait: [*for_all] for trait in tables.trait} | {trait: names for trait, *names in tables.covariates_of}
