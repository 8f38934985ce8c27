"""The scan of one cohort: its blocks of tests, in files, then pictures, numbers, and posteriors of effects."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bayeslmm.base.checks import InputWarning
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.run import Run
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.kinship.marker_pass import Makers
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.pictures import Picture, write_pictures
from bayeslmm.report.plots.scan import scan_panels
from bayeslmm.report.scan_numbers import numbers_of
from bayeslmm.scan.against import Task, spectrum_against
from bayeslmm.scan.blocks import Markers, ScanSettings, block_tables, effect_rows, least_allele_counts
from bayeslmm.scan.checkpoints import Parts

TOP = 100


@dataclass(frozen=True)
class Job:
    """What the scan of every cohort needs.

    Attributes:
        run: the command.
        tests: what is tested.
        loco: test each chromosome against the kinship of all others.
        posterior_top: how many markers of each trait get a posterior.
        markers: all that are tested.
        inputs: what was read.
        parts: the blocks that were tested.
        makers: of passes over genotypes; None for this process.
    """

    run: Run
    tests: ScanSettings
    loco: bool
    posterior_top: int
    markers: Markers
    inputs: Inputs[Any]
    parts: Parts
    makers: Makers | None = None


def _spectrum(job: Job, cohort: Cohort, spectrum: Spectrum, task: Task) -> Spectrum:
    """Return the decomposition of the kinship that a task tests against."""
    options = job.run.settings.kinship
    return spectrum_against(
        task,
        job.inputs.kinship,
        job.markers,
        cohort,
        spectrum,
        centred=options.centre,
        normalised=options.normalise,
        bend=options.bend,
    )


def write_blocks(job: Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[Task]) -> None:
    """Write the blocks of one cohort that are not yet there."""
    with progress_bar("scan", total=job.markers.genotypes.n_markers, unit="marker") as bar:
        for task in tasks:
            todo = {number: span for number, span in task.blocks.items() if not job.parts.has(number)}
            bar.update(sum(map(len, task.blocks.values())) - sum(map(len, todo.values())))
            if not todo:
                continue
            with job.run.clock.step("decomposition"):
                against = _spectrum(job, cohort, spectrum, task)
            with job.run.clock.step("tests"):
                for number, table in block_tables(job.markers, cohort, against, todo, job.tests):
                    job.parts.write(number, table)
                    bar.update(len(todo[number]))


def summarise(
    job: Job, cohort: Cohort[Any], blocks: range
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]], dict[str, list[Picture]]]:
    """Draw each trait of a cohort; return the markers with the smallest p-values; numbers and pictures by trait."""
    along = {trait: [] for trait in cohort.traits}
    top = {trait: pd.DataFrame() for trait in cohort.traits}
    counts, most = MarkerCounts(), max(TOP, job.posterior_top)
    for table in job.parts.tables(blocks):
        counts += MarkerCounts(**table.attrs["markers"])
        for trait in cohort.traits:
            rows = table[table["trait"] == trait]
            along[trait].append(rows[["chrom", "pos", "snp", "p_wald", "af", "n_miss"]])
            top[trait] = pd.concat([top[trait], rows.dropna(subset="p_wald")]).nsmallest(most, "p_wald")
    numbers: dict[str, dict[str, Any]] = {}
    pictures: dict[str, list[Picture]] = {trait: [] for trait in cohort.traits}
    least, order = least_allele_counts(cohort), list(job.markers.chromosomes)
    for trait, tables in along.items():
        p, numbers[trait] = numbers_of(
            pd.concat(tables), counts, n=len(cohort.ids), least_count=least[trait], order=order
        )
        if p is None:
            text = f"{job.markers.genotypes.path}: no marker could be tested for {trait}: {why_untested(job, numbers)}"
            warnings.warn(text, InputWarning, stacklevel=2)
            continue
        if folder := job.run.pictures:
            pictures[trait] = write_pictures(scan_panels(p), folder, trait, of=trait)
    return pd.concat(top.values()), numbers, pictures


def why_untested(job: Job, numbers: dict[str, dict[str, Any]]) -> str:
    """Say why no marker was tested."""
    counts = MarkerCounts(**next(iter(numbers.values()))["markers"])
    return f"{counts.line(maf=job.tests.maf, geno=job.tests.geno)}; covariates may determine the others"


def lines_of_effects(cohort: Cohort, top: pd.DataFrame, chosen: Sequence[int], k: int) -> dict[str, list[int]]:
    """Return the markers whose posterior is asked for by name, and the first k of each trait, as numbers."""
    first = {trait: top.loc[top["trait"] == trait, "line"].head(k).tolist() for trait in cohort.traits}
    return {trait: list(dict.fromkeys([*chosen, *lines])) for trait, lines in first.items()}


def effects_of(
    job: Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[Task], lines: dict[str, list[int]]
) -> Iterator[dict[str, Any]]:
    """Yield the posterior of each effect, against the kinship that its marker was tested against."""
    for task in tasks:
        of_task = {line for span in task.blocks.values() for line in span}
        here = {trait: [line for line in of_trait if line in of_task] for trait, of_trait in lines.items()}
        if any(here.values()):
            against = _spectrum(job, cohort, spectrum, task)
            yield from effect_rows(job.markers, cohort, against, here)
