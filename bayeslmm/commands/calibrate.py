"""``bayeslmm calibrate``: how reliable intervals of h2 are with this sample, before looking at the trait."""

from dataclasses import dataclass

import pandas as pd

from bayeslmm.analyses.table import write_table
from bayeslmm.base.checks import InputError
from bayeslmm.base.tasks import check_engine, run_tasks
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.inference import PriorSettings
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import open_run
from bayeslmm.commands.settings import AnalysisSettings, EachTrait
from bayeslmm.report.calibrate import calibration_lines, calibration_report
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots.calibration import NAMES, calibration_panels
from bayeslmm.studies.coverage import (
    OVER_PRIOR,
    coverage_table,
    coverage_tasks,
    individuals_of,
    simulated_intervals,
)
from bayeslmm.studies.ranks import rank_table, rank_tasks, univariate_ranks

_FILES = ("calibration.tsv", "ranks.tsv", *picture_names("calibration", NAMES), "report.html")


@dataclass(frozen=True)
class CalibrateSettings(AnalysisSettings):
    """The options of `calibrate`."""

    tables: EachTrait
    h2: tuple[float, ...]
    datasets: int
    prior: PriorSettings
    seed: int
    workers: int
    cluster: str

    def __post_init__(self) -> None:
        super().__post_init__()
        check_engine(self.cluster, self.workers)
        if wrong := [h2 for h2 in self.h2 if not 0 <= h2 <= 1]:
            raise InputError(f"--h2 must lie between 0 and 1, but {wrong[0]:g} was given")


SETTINGS = CalibrateSettings


def run(settings: CalibrateSettings) -> Answer:
    """Simulate traits of this sample, and compare intervals of h2 and draws with the truth.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    found: dict[str, pd.DataFrame] = {}
    report = None
    with open_run(settings, _FILES) as run:
        inputs, clock, out = run.read_inputs(), run.clock, run.out
        run.results.begin()
        for one in run.each_trait(inputs):
            sample = individuals_of(one.data)
            given = {"seed": settings.seed, "prior_h2": settings.prior.prior_h2}
            on = {"checkpoints": out / "checkpoints", "cluster": settings.cluster, "workers": settings.workers}
            with clock.step("intervals"):
                tasks = coverage_tasks([*dict.fromkeys(settings.h2), OVER_PRIOR], settings.datasets, **given)
                intervals = coverage_table(
                    tasks, run_tasks(simulated_intervals, tasks, sample, label="intervals", **on)
                )
            with clock.step("ranks"):
                tasks = rank_tasks(settings.datasets, **given)
                ranked = run_tasks(univariate_ranks, tasks, sample.data, label="ranks", **on)
                ranks = rank_table(ranked)
            n, c = one.data.X.shape
            who = f"{n:,} individuals with {one.trait}, {c} covariate{'s' * (c != 1)}"
            with clock.step("writing"):
                write_table(intervals, out / "calibration.tsv")
                write_table(ranks, out / "ranks.tsv")
                panels = calibration_panels(intervals, ranked) if run.pictures else []
                pictures = write_pictures(panels, out, "calibration", of=who)
            found |= {"calibration": intervals, "ranks": ranks}
            print(f"\n{calibration_lines(intervals, ranks)}")
            run.traits[one.trait] = cohort_record(one.cohort, one.spectrum)
            individuals = cohort_lines(one.cohort)
            report = calibration_report(one.trait, intervals, ranks, individuals=individuals, pictures=pictures)
        run.finish(inputs, settings.prior.of_one_trait(), report=report)
    return run.answer(found)
