"""The scan of one cohort: its blocks of tests, in files, then pictures, numbers, and posteriors of effects."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.base.checks import InputWarning
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.align import kinship_of
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.run import Run
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.kinship.from_genotypes import without
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.report.plots.scan import PValues, plot_scan
from bayeslmm.scan.blocks import Markers, ScanSettings, block_tables, effect_rows, least_allele_counts
from bayeslmm.scan.checkpoints import Parts

BLOCK = 1024
TOP = 100
_HOW = {"exact": "variance ratio estimated with each marker", "null": "variance ratio of the model without markers"}


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
    """

    run: Run
    tests: ScanSettings
    loco: bool
    posterior_top: int
    markers: Markers
    inputs: Inputs
    parts: Parts


@dataclass(frozen=True)
class Task:
    """Markers to test against the same kinship.

    Attributes:
        chromosome: what the kinship leaves out, or "".
        blocks: number of each block in the whole scan -> its markers.
    """

    chromosome: str
    blocks: dict[int, range]


def tasks_of(job: Job, first: int) -> list[Task]:
    """Return what to test on one cohort, with blocks numbered from the first."""
    tasks: list[Task] = []
    for chromosome, span in (
        job.markers.chromosomes if job.loco else {"": range(job.markers.genotypes.n_markers)}
    ).items():
        spans = [range(start, min(start + BLOCK, span.stop)) for start in range(span.start, span.stop, BLOCK)]
        tasks.append(Task(chromosome, dict(enumerate(spans, start=first))))
        first += len(spans)
    return tasks


def _spectrum(job: Job, cohort: Cohort, spectrum: Spectrum, chromosome: str) -> Spectrum:
    """Return the decomposition of the kinship without a chromosome, or that of all markers."""
    if not chromosome:
        return spectrum
    options, genotypes = job.run.settings.kinship, job.markers.genotypes
    span = job.markers.chromosomes[chromosome]
    if not genotypes.used[span.start : span.stop].any():
        return spectrum
    kinship = without(job.inputs.kinship, genotypes, span)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it was said of the kinship of all markers
        rows = genotypes.rows(cohort.ids)
        K = kinship_of(kinship, rows, centred=options.centre, normalised=options.normalise)
    return decompose(K, where=f"{kinship.source} without chromosome {chromosome}", bend=options.bend)


def write_blocks(job: Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[Task]) -> None:
    """Write the blocks of one cohort that are not yet there."""
    with progress_bar("scan", total=job.markers.genotypes.n_markers, unit="marker") as bar:
        for task in tasks:
            todo = {number: span for number, span in task.blocks.items() if not job.parts.has(number)}
            bar.update(sum(map(len, task.blocks.values())) - sum(map(len, todo.values())))
            if not todo:
                continue
            with job.run.clock.step("decomposition"):
                against = _spectrum(job, cohort, spectrum, task.chromosome)
            with job.run.clock.step("tests"):
                for number, table in block_tables(job.markers, cohort, against, todo, job.tests):
                    job.parts.write(number, table)
                    bar.update(len(todo[number]))


def summarise(job: Job, cohort: Cohort, blocks: range) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Draw each trait of a cohort; return the markers with the smallest p-values, and numbers about each trait."""
    along = {trait: [] for trait in cohort.traits}
    top = {trait: pd.DataFrame() for trait in cohort.traits}
    counts, most = MarkerCounts(), max(TOP, job.posterior_top)
    for table in job.parts.tables(blocks):
        counts += MarkerCounts(**table.attrs["markers"])
        for trait in cohort.traits:
            rows = table[table["trait"] == trait]
            along[trait].append(rows[["chrom", "pos", "p_wald", "af", "n_miss"]])
            top[trait] = pd.concat([top[trait], rows.dropna(subset="p_wald")]).nsmallest(most, "p_wald")
    numbers: dict[str, dict[str, Any]] = {}
    least = least_allele_counts(cohort)
    for trait, tables in along.items():
        everything = pd.concat(tables)
        tested = everything.dropna()
        numbers[trait] = {
            "markers": asdict(counts),
            "tested": len(tested),
            "undetermined": len(everything) - len(tested),
        }
        if tested.empty:
            text = f"{job.markers.genotypes.path}: no marker could be tested for {trait}: {why_untested(job, numbers)}"
            warnings.warn(text, InputWarning, stacklevel=2)
            continue
        p = PValues.of(tested["chrom"], tested["pos"], tested["p_wald"], order=list(job.markers.chromosomes))
        if folder := job.run.pictures:
            plot_scan(p, trait=trait, test=_HOW[job.tests.test], path=folder / f"{trait}.png")
        called = len(cohort.ids) - tested["n_miss"]
        copies = 2 * called * np.minimum(tested["af"], 1 - tested["af"])
        numbers[trait] |= {"least_allele_count": least[trait], "below_least": int((copies < least[trait]).sum())}
        numbers[trait] |= {"lambda_gc": p.lambda_gc, "below_bonferroni": int((p.p < 0.05 / len(tested)).sum())}
    return pd.concat(top.values()), numbers


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
            against = _spectrum(job, cohort, spectrum, task.chromosome)
            yield from effect_rows(job.markers, cohort, against, here)
