"""``bayeslmm compare``: every method on each trait, side by side, in a folder of results."""

from dataclasses import asdict, dataclass
from functools import partial

from bayeslmm.analyses.compare import compare
from bayeslmm.analyses.heritability import OF_GENOTYPES
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.each_trait import EachTraitSettings, Outcome, run_each_trait
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import Analysed, Run
from bayeslmm.report.compare import comparison_lines, comparison_part, comparison_report, files


@dataclass(frozen=True)
class CompareSettings(EachTraitSettings):
    """The options of `compare`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.check_methods(["mom", *(OF_GENOTYPES if self.kinship.genotypes else ())])


SETTINGS = CompareSettings


def run(settings: CompareSettings) -> Answer:
    """Compare all methods on each trait.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    return run_each_trait(
        settings,
        Run.each_trait,
        partial(_analyse, settings),
        comparison_report,
        prior=settings.prior.of_one_trait(),
        more={},
        notes={"estimates": "note", "comparison": "why", "boundary": "note", "conventions": "note"},
        names=files,
    )


def _analyse(settings: CompareSettings, run: Run, inputs: Inputs, one: Analysed) -> Outcome:
    with run.clock.step("inference"):
        comparison = compare(
            one.data,
            one.cohort,
            trait=one.trait,
            markers=inputs.markers,
            se_kind=settings.se,
            moments_se=settings.mom_se,
            prevalence=settings.tables.prevalence,
            prior=settings.prior.of_one_trait() if settings.prior.given else None,
            **asdict(settings.nuts),
        )
    with run.clock.step("writing"):
        part = comparison_part(comparison, one.cohort, one.spectrum, run.pictures)
    return Outcome(
        tables={
            "estimates": comparison.result.estimates,
            "comparison": comparison.table,
            "boundary": comparison.boundary.assign(note=""),
            "conventions": comparison.conventions.assign(note=""),
        },
        lines=[comparison_lines(comparison)],
        part=part,
        record=cohort_record(one.cohort, one.spectrum),
        diagnostics=comparison.result.diagnostics,
        liability=comparison.result.liability,
    )
