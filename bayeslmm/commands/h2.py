"""``bayeslmm h2``: files in, a folder of results out."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

from bayeslmm.analyses import component_methods, methods
from bayeslmm.analyses.component_effects import effects_table
from bayeslmm.analyses.heritability import METHODS as METHODS_OF_ONE
from bayeslmm.analyses.heritability import OF_INDIVIDUALS, heritability
from bayeslmm.analyses.hsq import write_hsq
from bayeslmm.analyses.liability_rows import with_liability_draws
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.analyses.table import write_table
from bayeslmm.analyses.variance_components import variance_components
from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import COMPONENT_METHODS, METHODS
from bayeslmm.base.threads import threads_allowed
from bayeslmm.cohort.align_records import PERMANENT, AlignedRecords
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.by_products import Summarised, each_summarised
from bayeslmm.commands.draws import (
    attributes,
    check_draws_groups,
    program_record,
    told_groups,
    user_program,
    write_draws,
)
from bayeslmm.commands.each_trait import EachTraitSettings, Outcome, run_each_trait
from bayeslmm.commands.inference import ComponentsPriorSettings
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.many import ManySettings
from bayeslmm.commands.many_h2 import run_many
from bayeslmm.commands.products_choice import ProductsChoice, ProductsSettings, about_matrix, about_rows
from bayeslmm.commands.random_effects import OPTIONS_OF_SEVERAL, RandomEffects
from bayeslmm.commands.record import cohort_record, records_record
from bayeslmm.commands.run import Analysed, Run
from bayeslmm.kinship.partition import markers_of
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.components import components
from bayeslmm.models import univariate
from bayeslmm.posterior.groups import with_groups
from bayeslmm.posterior.user_program import UserProgram, guarded
from bayeslmm.report.components import component_files, components_lines, components_part, components_report
from bayeslmm.report.h2 import files, heritability_part, heritability_report, result_lines


@dataclass(frozen=True)
class H2Settings(EachTraitSettings):
    """The options of `h2`."""

    products: ProductsSettings
    random: RandomEffects
    methods: tuple[str, ...] | None
    model: str | None
    draws_groups: tuple[str, ...]
    components_prior: ComponentsPriorSettings
    many: ManySettings

    def __post_init__(self) -> None:
        super().__post_init__()
        self.random.check(self.kinship)
        if self.many.asked:
            self._check_of_many()
        elif self.random.several:
            self._check_of_several()
        elif given := self.components_prior.given:
            raise InputError(f"{given[0]} is the prior of several components ({OPTIONS_OF_SEVERAL}): leave it out")
        elif wrong := [name for name in self.used_methods if name not in methods.NAMES]:
            raise InputError(f"--methods {wrong[0]} is one of several components ({OPTIONS_OF_SEVERAL})")
        else:
            self.check_methods(self.used_methods)
            check_draws_groups(self.draws_groups, self.used_methods, self.model)
        self.products.check(self.kinship, self.needs_matrix)

    @property
    def needs_matrix(self) -> str:
        """Why the options need K as a matrix, and what to do; empty if they do not."""
        if self.random.several:
            return f"several components of variance ({OPTIONS_OF_SEVERAL}) need each kinship as a matrix"
        if self.many.asked:
            return "traits that are analysed all at once (--all-traits, --trait-columns) need K as a matrix"
        if why := about_matrix(self.kinship):
            return why
        if of_rows := [name for name in self.used_methods if name in OF_INDIVIDUALS]:
            others = ", ".join(name for name in METHODS_OF_ONE if name not in OF_INDIVIDUALS)
            return f"--methods {of_rows[0]} needs the eigenvectors of all individuals: choose among {others}"
        if self.mom_se == "jackknife":
            return "--mom-se jackknife leaves out parts of the matrix: leave it out"
        return about_rows(self.model, self.draws_groups)

    @property
    def used_methods(self) -> tuple[str, ...]:
        """The methods that are asked for, or the default of these components."""
        return self.methods or (COMPONENT_METHODS if self.random.several else METHODS)

    def _check_of_many(self) -> None:
        """Refuse what is there for traits one by one only."""
        given = {
            OPTIONS_OF_SEVERAL: self.random.several,
            "--methods": self.methods,
            "--model": self.model,
            "--draws-groups": self.draws_groups,
            "--prevalence": self.tables.prevalence,
            "--resume": self.products.resume,
        }
        if wrong := [name for name, value in given.items() if value]:
            raise InputError(
                f"{wrong[0]}: traits that are analysed all at once (--all-traits, --trait-columns) have REML, the "
                "exact posterior and test: leave it out, or name traits (--trait)"
            )

    def _check_of_several(self) -> None:
        """Refuse what is there for one kinship only."""
        if wrong := [name for name in self.used_methods if name not in component_methods.NAMES]:
            raise InputError(
                f"--methods {wrong[0]} is one of a single kinship: of several components there are "
                f"{', '.join(component_methods.NAMES)}"
            )
        if (given := self.components_prior.given) and set(self.used_methods) == {"reml"}:
            raise InputError(f"{given[0]} is a prior, and REML has none: leave it out, or ask for importance or nuts")
        if self.random.bayes_factors and "importance" not in self.used_methods:
            raise InputError("--bayes-factors requires --methods importance")
        self.random.check_components(self.tables, self.components_prior)
        self.random.check_alone(
            {
                "--pcs": self.tables.pcs,
                "--model": self.model,
                "--draws-groups": self.draws_groups,
                "--mom-se": self.mom_se != "exact",
                "--prior-h2": self.prior.given,
            }
        )


SETTINGS = H2Settings


def run(settings: H2Settings) -> Answer:
    """Estimate the heritability of each trait.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    if settings.many.asked:
        return _run_of_many(settings)
    if settings.random.several:
        return _run_of_several(settings)
    program = user_program(settings.model, settings.prior, settings.used_methods)

    def each(run: Run, inputs: Inputs[Any]) -> Iterator[Analysed | Summarised]:
        if isinstance(inputs.kinship, Products):
            return each_summarised(run, inputs, settings.products, seed=settings.nuts.seed)
        return run.each_trait(inputs)

    return run_each_trait(
        settings,
        each,
        partial(_analyse, settings, program),
        heritability_report,
        prior=settings.prior.of_one_trait(),
        notes={"estimates": "note"},
        more=program_record(program, settings.prior) | {"options": {"methods": settings.used_methods}},
        names=_files,
        program=program,
        choice=ProductsChoice(settings.products, settings.needs_matrix),
    )


def _files(trait: str) -> list[str]:
    return [f"{trait}.hsq", *files(trait), f"{trait}.posterior.nc", f"{trait}.threshold.nc"]


def _run_of_many(settings: H2Settings) -> Answer:
    """Estimate the heritability of all traits at once."""
    alone = ManySettings(all_traits=False, trait_columns=(), pictures=(), nuts_for=())

    def analyse(run: Run, inputs: Inputs, one: Analysed, nuts: bool) -> Outcome:
        methods = ("reml", "exact", "nuts") if nuts else ("reml", "exact")
        return _analyse(replace(settings, methods=methods, many=alone), None, run, inputs, one)

    return run_many(
        settings,
        settings.many,
        analyse,
        prior=settings.prior.of_one_trait(),
        given=bool(settings.prior.given),
        seed=settings.nuts.seed,
        names=_files,
    )


def _analyse(
    settings: H2Settings, program: UserProgram | None, run: Run, inputs: Inputs[Any], one: Analysed | Summarised
) -> Outcome:
    prior = settings.prior.of_one_trait()
    spectrum = one.spectrum if isinstance(one, Analysed) else None
    scale, error = (one.spectrum, None) if isinstance(one, Analysed) else (one.summary, one.error)
    about = {"probe_error": error.found, "probe_error_wanted": error.wanted, "passes": error.passes} if error else {}
    told_groups(settings.draws_groups, one.data, settings.nuts)
    with run.clock.step("inference"), guarded(program, one.data):
        result = heritability(
            one.data,
            trait=one.trait,
            covariates=one.cohort.covariates[0],
            methods=settings.used_methods,
            se_kind=settings.se,
            moments_se=settings.mom_se,
            prevalence=settings.tables.prevalence,
            prior=prior if settings.prior.given else None,
            program=program.program if program else univariate,
            **asdict(settings.nuts),
            attrs=attributes(inputs.kinship, settings.kinship, one.cohort.dropped, program) | about,
            cohort=one.cohort,
            markers=inputs.markers,
            spectrum=spectrum,
            probe_error=error,
        )
    with run.clock.step("writing"):
        write_hsq(run.out / f"{result.trait}.hsq", result.reml, one.data, result.liability)
        if result.posterior is not None:
            draws = with_groups(
                result.posterior,
                one.data,
                settings.draws_groups,
                program=univariate,
                prior=prior,
                seed=settings.nuts.seed,
            )
            draws = with_liability_draws(draws, None if result.own else result.liability)
            write_draws(draws, run.out / f"{result.trait}.posterior.nc")
        if result.threshold is not None:
            write_draws(result.threshold, run.out / f"{result.trait}.threshold.nc")
        part = heritability_part(result, one.data, prior, one.cohort, scale, run.pictures)
    return Outcome(
        tables={"estimates": result.estimates},
        lines=[
            result_lines(result),
            *(large_site_lines(result.posterior) if program and result.posterior is not None else ()),
        ],
        part=part,
        record=cohort_record(one.cohort, scale) | about,
        diagnostics=result.diagnostics,
        liability=result.liability,
    )


def _run_of_several(settings: H2Settings) -> Answer:
    """Estimate the components of variance of each trait."""
    random = settings.random
    _, repeated = random.of_table(settings.tables)
    return run_each_trait(
        settings,
        partial(Run.each_records, repeated=repeated),
        partial(_analyse_several, settings),
        components_report,
        prior=settings.components_prior.of_components(),
        notes={"estimates": "note", "components": "note"},
        names=lambda trait: [f"{trait}.effects.tsv", *component_files(trait), f"{trait}.posterior.nc"],
        more={"options": {"methods": settings.used_methods}, "prior": settings.components_prior.of_some},
        random=random,
    )


def _analyse_several(settings: H2Settings, run: Run, inputs: Inputs, one: AlignedRecords) -> Outcome:
    relations = [relation.name for relation in inputs.relations]
    own = [relation.name for relation in inputs.relations if relation.level_of is None]
    with run.clock.step("inference"):
        data = components(one.records)
        result = variance_components(
            data,
            heritable=settings.random.heritable(relations, data.names[:-1]),
            lasting=[*own, PERMANENT] if PERMANENT in data.names else [],
            methods=settings.used_methods,
            bayes_factors=settings.random.bayes_factors,
            workers=threads_allowed(),
            prevalence=settings.tables.prevalence,
            markers={one.name: count for one in inputs.relations if (count := markers_of(one.kinship))},
            se_kind=settings.se,
            prior=settings.components_prior.of_components(data.names),
            **asdict(settings.nuts),
            attrs={"dropped": json.dumps([asdict(drop) for drop in one.dropped])},
        )
    with run.clock.step("writing"):
        write_table(effects_table(result.reml), run.out / f"{one.trait}.effects.tsv")
        if result.posterior is not None:
            with_h2 = "h2" in result.posterior["posterior"]
            draws = with_liability_draws(result.posterior, result.liability if with_h2 else None)
            write_draws(draws, run.out / f"{one.trait}.posterior.nc")
        part = components_part(result, one, run.pictures)
    return Outcome(
        tables={"estimates": result.estimates, "components": result.components},
        lines=components_lines(result),
        part=part,
        record=records_record(one)
        | {
            "h2": list(result.request.heritable),
            "repeatability": list(result.request.lasting),
            "failed_methods": dict(result.failed),
        },
        diagnostics=result.diagnostics,
        liability=result.liability,
    )
