"""``bayeslmm rg``: files in, a folder with the correlations of two or more traits out."""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.analyses.component_correlations import component_correlations
from bayeslmm.analyses.correlations import correlations
from bayeslmm.analyses.joint_methods.nuts import program_of
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import JOINT_COMPONENT_METHODS, JOINT_METHODS
from bayeslmm.cohort.align_records import align_joint_records
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.cluster import on_cluster
from bayeslmm.commands.draws import (
    attributes,
    check_draws_groups,
    program_record,
    told_groups,
    user_program,
    write_draws,
)
from bayeslmm.commands.failures import ANALYSIS_FAILED
from bayeslmm.commands.inference import ComponentsPriorSettings, JointPriorSettings, NutsSettings
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.joint_cohort import Together, about_probes, covariates_of, decomposed, multiplied
from bayeslmm.commands.products_choice import ProductsChoice, ProductsSettings, about_matrix, about_rows
from bayeslmm.commands.products_kept import FOLDER, keep_products
from bayeslmm.commands.random_effects import KINSHIP, OPTIONS_OF_SEVERAL, RandomEffects
from bayeslmm.commands.record import cohort_record, joint_records_record
from bayeslmm.commands.run import Run, open_run
from bayeslmm.commands.settings import AnalysisSettings, TogetherTraits
from bayeslmm.estimators.information import Kind
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.joint_components import joint_components
from bayeslmm.posterior.groups import with_groups
from bayeslmm.posterior.user_program import guarded
from bayeslmm.report.component_correlations import PICTURES as COMPONENT_PICTURES
from bayeslmm.report.component_correlations import component_correlation_lines, component_correlation_report
from bayeslmm.report.failed import failed_report
from bayeslmm.report.individuals import joint_record_lines
from bayeslmm.report.rg import PICTURES, correlation_lines, correlation_report

_FILES = ("posterior.nc", "estimates.tsv", "pairs.tsv", *PICTURES, "report.html")


@dataclass(frozen=True)
class RgSettings(AnalysisSettings):
    """The options of `rg`."""

    tables: TogetherTraits
    products: ProductsSettings
    random: RandomEffects
    methods: tuple[str, ...] | None
    model: str | None
    draws_groups: tuple[str, ...]
    se: Kind
    prior: JointPriorSettings
    components_prior: ComponentsPriorSettings
    nuts: NutsSettings

    def __post_init__(self) -> None:
        super().__post_init__()
        self.random.check(self.kinship)
        if self.random.several:
            if "mom" in self.used_methods:
                raise InputError("--methods mom is one of a single kinship: of several components there are reml, nuts")
            self.random.check_components(self.tables, self.components_prior)
            self.random.check_alone(
                {
                    "--resume": self.products.resume,
                    "--pcs": self.tables.pcs,
                    "--model": self.model,
                    "--draws-groups": self.draws_groups,
                    "--complete-only": self.tables.complete_only,
                    "--prior-h2": "--prior-h2" in self.prior.given,
                }
            )
        elif given := self.components_prior.given:
            raise InputError(f"{given[0]} is the prior of several components ({OPTIONS_OF_SEVERAL}): leave it out")
        check_draws_groups(self.draws_groups, self.used_methods, self.model)
        self.products.check(self.kinship, self.needs_matrix)

    @property
    def needs_matrix(self) -> str:
        """Why the options need K as a matrix, and what to do; empty if they do not."""
        if self.random.several:
            return f"several components of variance ({OPTIONS_OF_SEVERAL}) need each kinship as a matrix"
        return about_matrix(self.kinship) or about_rows(self.model, self.draws_groups)

    @property
    def used_methods(self) -> tuple[str, ...]:
        """The methods that are asked for, or the default of these components."""
        return self.methods or (JOINT_COMPONENT_METHODS if self.random.several else JOINT_METHODS)


SETTINGS = RgSettings


def run(settings: RgSettings) -> Answer:
    """Estimate the correlations of the traits.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    if settings.random.several:
        return _run_of_several(settings)
    name, prior = ":".join(settings.tables.trait), settings.prior.of_traits(len(settings.tables.trait))
    program = user_program(settings.model, settings.prior, settings.used_methods)
    result = report = None
    tables: dict[str, pd.DataFrame] = {}
    choice = ProductsChoice(settings.products, settings.needs_matrix, together=True)
    read, resume = [program.path] if program else [], settings.products.resume
    folder = open_run(settings, [*_FILES, f"{FOLDER}/"], traits=[name], more=read, resume=resume)
    with folder as run, settings.products.cluster.opened() as passes:
        inputs, failures = on_cluster(run.read_inputs(products=choice.chooser(run)), passes), run.failures
        run.results.begin()
        with keep_products(run, inputs, resume=resume) as inputs, failures.caught([name]):
            one = _together(settings, run, inputs)
            data, cohort = one.data, one.cohort
            told_groups(settings.draws_groups, data, settings.nuts)
            with run.clock.step("inference"), guarded(program, data):
                result = correlations(
                    data,
                    traits=cohort.traits,
                    covariates=cohort.covariates,
                    summary=one.summary,
                    methods=settings.methods,
                    se_kind=settings.se,
                    prior=prior if settings.prior.given else None,
                    program=program.program if program else None,
                    **asdict(settings.nuts),
                    coords=cohort.coords,
                    attrs=attributes(inputs.kinship, settings.kinship, cohort.dropped, program),
                )
            tables, about = {"estimates": result.estimates, "pairs": result.pairs}, about_probes(result)
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
                    draws.attrs.update(about)
                    write_draws(draws, run.out / "posterior.nc")
                _write(tables, run.out)
                report = correlation_report(result, cohort, one.spectrum, run.pictures)
            print(f"\n{correlation_lines(result)}")
            for line in large_site_lines(result.posterior) if program and result.posterior is not None else ():
                print(line)
            run.traits[name] = cohort_record(cohort, one.spectrum) | {
                "records": dict(zip(result.traits, (~cohort.missing).sum(axis=0).tolist(), strict=True)),
                "pairs": result.pairs.to_dict("records"),
                "failed": dict(result.failed),
                "loglik": result.reml.loglik if result.reml else None,
                "diagnostics": result.diagnostics.record() if result.diagnostics else None,
                **about,
            }
        if failures.why:
            report = failed_report(failures.why)
            tables = {"estimates": with_rows([], failures.rows(parameter="rho_u"))}
            _write(tables, run.out)
        methods = settings.used_methods if result is None else (*result.fits, *result.failed)
        more = program_record(program, settings.prior) | {"options": {"methods": methods}}
        run.finish(inputs, prior, report=report, more=more)
    if result and result.failed:
        lost = "; ".join(f"{method} failed: {why}" for method, why in result.failed.items())
        print(f"bayeslmm: error: {lost}", file=sys.stderr)
        return Answer(ANALYSIS_FAILED, lost, tables)
    return run.answer(tables)


def _together(settings: RgSettings, run: Run, inputs: Inputs[Any]) -> Together:
    if isinstance(inputs.kinship, Products):
        return multiplied(settings.tables, run, inputs, settings.products, seed=settings.nuts.seed)
    return decomposed(
        run,
        inputs,
        covariates_of=covariates_of(settings.tables, inputs.measurements),
        complete_only=settings.tables.complete_only,
    )


def _run_of_several(settings: RgSettings) -> Answer:
    """Estimate the correlations of the traits through each component."""
    name, random = ":".join(settings.tables.trait), settings.random
    _, repeated = random.of_table(settings.tables)
    report = None
    tables: dict[str, pd.DataFrame] = {}
    files = ("posterior.nc", "estimates.tsv", *COMPONENT_PICTURES, "report.html")
    with open_run(settings, files, traits=[name], more=random.files) as run:
        inputs, failures = run.read_inputs(random=random), run.failures
        run.results.begin()
        with failures.caught([name]):
            with run.clock.step("components"):
                aligned = align_joint_records(
                    inputs.measurements,
                    inputs.relations,
                    covariates_of=covariates_of(settings.tables, inputs.measurements),
                    repeated=repeated,
                    centred=settings.kinship.centre,
                    normalised=settings.kinship.normalise,
                )
                print(f"\n{joint_record_lines(aligned)}")
                data = joint_components(aligned.records)
            prior = settings.prior.of_components(settings.components_prior.of_components(data.names), data.names)
            with run.clock.step("inference"):
                result = component_correlations(
                    data,
                    heritable=KINSHIP if KINSHIP in data.names else "",
                    methods=settings.used_methods,
                    se_kind=settings.se,
                    prior=prior,
                    **asdict(settings.nuts),
                    attrs={"dropped": json.dumps([asdict(drop) for drop in aligned.dropped])},
                )
            tables = {"estimates": result.estimates}
            with run.clock.step("writing"):
                if result.posterior is not None:
                    write_draws(result.posterior, run.out / "posterior.nc")
                _write(tables, run.out)
                report = component_correlation_report(result, aligned, run.pictures)
            print(f"\n{component_correlation_lines(result)}")
            run.traits[name] = joint_records_record(aligned) | {
                "failed_methods": dict(result.failed),
                "loglik": result.reml.loglik if result.reml else None,
                "diagnostics": result.diagnostics.record() if result.diagnostics else None,
            }
        if failures.why:
            report = failed_report(failures.why)
            tables = {"estimates": with_rows([], failures.rows(parameter=f"rho[{KINSHIP}]"))}
            _write(tables, run.out)
        of_all = settings.prior.of_components(settings.components_prior.of_components(), ("", ""))
        more = {"options": {"methods": settings.used_methods}, "prior": settings.components_prior.of_some}
        run.finish(inputs, of_all, report=report, more=more)
    return run.answer(tables)


def _write(tables: Mapping[str, pd.DataFrame], out: Path) -> None:
    for name, table in tables.items():
        write_table(table, out / f"{name}.tsv")
