"""``bayeslmm h2``: files in, a folder of results out."""

from dataclasses import asdict, dataclass
from functools import partial

from bayeslmm.analyses.heritability import heritability
from bayeslmm.analyses.hsq import write_hsq
from bayeslmm.analyses.liability_rows import with_liability_draws
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.draws import attributes, check_draws_groups, told_groups, user_program, write_draws
from bayeslmm.commands.each_trait import EachTraitSettings, Outcome, run_each_trait
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.run import Analysed, Run
from bayeslmm.models import univariate
from bayeslmm.posterior.groups import with_groups
from bayeslmm.posterior.user_program import UserProgram, guarded
from bayeslmm.report.h2 import files, heritability_part, heritability_report, result_lines


@dataclass(frozen=True)
class H2Settings(EachTraitSettings):
    """The options of `h2`."""

    methods: tuple[str, ...]
    model: str | None
    draws_groups: tuple[str, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_methods(self.methods)
        check_draws_groups(self.draws_groups, self.methods, self.model)


SETTINGS = H2Settings


def run(settings: H2Settings) -> Answer:
    """Estimate the heritability of each trait.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    program = user_program(settings.model, settings.prior, settings.methods)
    return run_each_trait(
        settings,
        partial(_analyse, settings, program),
        heritability_report,
        notes={"estimates": "note"},
        names=lambda trait: [f"{trait}.hsq", *files(trait), f"{trait}.posterior.nc", f"{trait}.threshold.nc"],
        program=program,
    )


def _analyse(settings: H2Settings, program: UserProgram | None, run: Run, inputs: Inputs, one: Analysed) -> Outcome:
    prior = settings.prior.of_one_trait()
    told_groups(settings.draws_groups, one.data, settings.nuts)
    with run.clock.step("inference"), guarded(program, one.data):
        result = heritability(
            one.data,
            trait=one.trait,
            covariates=one.cohort.covariates[0],
            methods=settings.methods,
            se_kind=settings.se,
            moments_se=settings.mom_se,
            prevalence=settings.tables.prevalence,
            prior=prior if settings.prior.given else None,
            program=program.program if program else univariate,
            **asdict(settings.nuts),
            attrs=attributes(inputs.kinship, settings.kinship, one.cohort.dropped, program),
            cohort=one.cohort,
            markers=inputs.markers,
            spectrum=one.spectrum,
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
        part = heritability_part(result, one.data, prior, one.cohort, one.spectrum, run.pictures)
    return Outcome(
        tables={"estimates": result.estimates},
        lines=[
            result_lines(result),
            *(large_site_lines(result.posterior) if program and result.posterior is not None else ()),
        ],
        part=part,
        diagnostics=result.diagnostics,
        liability=result.liability,
    )
