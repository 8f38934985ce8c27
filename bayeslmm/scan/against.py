"""What markers are tested against: the kinship of all markers, or of other chromosomes; and who has genotypes."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.cohort.align import kinship_of
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.from_genotypes import without
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.scan.blocks import Markers

BLOCK = 1024
"""How many markers are tested at a time, at most."""
_VALUES = 1 << 27  # float64 dosages that are held at once: 1 GB


@dataclass(frozen=True)
class Task:
    """Markers to test against the same kinship.

    Attributes:
        chromosome: what the kinship leaves out, or "".
        blocks: number of each block in the whole scan -> its markers.
    """

    chromosome: str
    blocks: dict[int, range]


def tasks_of(markers: Markers, *, loco: bool, first: int = 0) -> list[Task]:
    """Return what to test on one cohort.

    Args:
        markers: all that are tested.
        loco: test each chromosome against the kinship of all others.
        first: number of the first block.
    """
    tasks: list[Task] = []
    size = int(np.clip(_VALUES // len(markers.genotypes.ids), 64, BLOCK))
    for chromosome, span in (markers.chromosomes if loco else {"": range(markers.genotypes.n_markers)}).items():
        spans = [range(start, min(start + size, span.stop)) for start in range(span.start, span.stop, size)]
        tasks.append(Task(chromosome, dict(enumerate(spans, start=first))))
        first += len(spans)
    return tasks


def blocks_of(tasks: Sequence[Task]) -> range:
    """Return the numbers of the blocks of tasks that follow each other."""
    numbers = [number for task in tasks for number in task.blocks]
    return range(numbers[0], numbers[-1] + 1)


def spectrum_against(
    task: Task,
    kinship: Kinship,
    markers: Markers,
    cohort: Cohort,
    spectrum: Spectrum,
    *,
    centred: bool,
    normalised: bool,
    bend: bool,
) -> Spectrum:
    """Return the decomposition of the kinship that a task tests against.

    Args:
        task: what is tested.
        kinship: of all markers and everybody.
        markers: all that are tested.
        cohort: the individuals.
        spectrum: of their kinship of all markers.
        centred: as for the kinship of all markers.
        normalised: the same.
        bend: the same.

    Raises:
        InputError: as `without` and `decompose`.
    """
    genotypes = markers.genotypes
    if not task.chromosome:
        return spectrum
    span = markers.chromosomes[task.chromosome]
    if not genotypes.used[span.start : span.stop].any():
        return spectrum
    left = without(kinship, genotypes, span)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it was said of the kinship of all markers
        K = kinship_of(left, left.rows(cohort.ids), centred=centred, normalised=normalised)
    return decompose(K, where=f"{left.source} without chromosome {task.chromosome}", bend=bend)


def genotyped(kinship: Kinship, genotypes: Genotypes) -> tuple[Kinship, list[str]]:
    """Leave individuals of a given kinship out that have no genotypes (a pedigree has many); return their ids too.

    Raises:
        InputError: if nobody has some.
    """
    known = set(genotypes.ids)
    rows = [i for i, name in enumerate(kinship.ids) if name in known]
    if len(rows) == len(kinship.ids):
        return kinship, []
    if not rows:
        raise InputError(
            f"no id of {kinship.source} (such as {examples(kinship.ids)}) is in {genotypes.path} (such as "
            f"{examples(genotypes.ids)}): check that both files use the same ids (IID)"
        )
    return kinship.take(rows), [name for name in kinship.ids if name not in known]
