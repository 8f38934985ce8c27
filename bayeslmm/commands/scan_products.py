"""The scan of cohorts that have no room for K: what it costs, and what is solved before the tests."""

import time
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.memory import check_memory
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.products_forecast import check_disk, duration, told_left
from bayeslmm.commands.products_kept import products_folder
from bayeslmm.commands.scan_cohort import Job
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.kinship.left_out_products import LeftOutProducts
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.report.scan import calibration_line
from bayeslmm.scan.against import Task
from bayeslmm.scan.blocks import Markers, calibrated_tables
from bayeslmm.scan.calibrated import TOLERANCE, SolvedTraits, solve_traits
from bayeslmm.scan.gains import sets_by_rank

CALIBRATION = 96
"""Markers of the calibration: if z'Pz over z'Mz differs by 3% between markers, the error of its mean is 0.3%."""
_MOST_ERROR = 0.01  # of the variance of tests, relative: beyond, there is a warning
_CANDIDATES = 4  # times as many, as some may not pass the filters
_AT_ONCE = 32  # candidates that are read
_ARRAYS = 8  # as large as all columns, that conjugate gradients hold
_WHOLE = -1  # in place of a chromosome that K has no markers of
_USUAL = (5, 40)  # passes


def solved_cohort(
    job: Job, cohort: Cohort[Products], summary: SpectralSummary, spans: Mapping[int, range], *, seed: int
) -> tuple[SolvedTraits, dict[str, dict[str, Any]]]:
    """Solve for what the tests of one cohort need; return it, and by trait what ``run.json`` says about it.

    Args:
        job: the scan.
        cohort: the individuals.
        summary: of their traits with the whole kinship.
        spans: what kinships leave out, see `left_out`.
        seed: of the choice of markers for the calibration.

    Raises:
        InputError: if too few markers serve for the calibration, or memory has no room.
        AnalysisError: as `solve_traits`.
    """
    assert job.inputs.markers is not None  # without genotypes there is nothing to scan
    rows = job.markers.genotypes.rows(cohort.ids)
    out = sorted({number for _, number in _tested(job.markers, spans)})
    G, lines = _calibration_markers(job, cohort, rows, np.random.default_rng(seed))
    number_of = np.full(job.markers.genotypes.n_markers, _WHOLE)
    for number, span in spans.items():
        number_of[span.start : span.stop] = number
    _forecast(job, cohort, len(cohort.traits) * (len(out) + len(lines)))
    multiply = LeftOutProducts(job.inputs.markers, spans, rows, products_folder(job.run), job.makers).multiply
    with job.run.clock.step("conjugate gradients"):
        tell = told_left(time.perf_counter(), TOLERANCE)
        solved = solve_traits(multiply, summary, cohort.Y, cohort.X[0], out, G, number_of[lines], tell=tell)
    about: dict[str, dict[str, Any]] = {}
    for trait, calibration in zip(cohort.traits, solved.calibrations, strict=True):
        about[trait] = {
            "calibration": calibration._asdict()
            | {
                "markers": len(lines),
                "passes": solved.solved.products,
                "residual": float(solved.solved.residuals.max()),
            }
        }
        print(f"  {trait}: {calibration_line(about[trait]['calibration'])}")
        if calibration.error > _MOST_ERROR * calibration.ratio:
            warnings.warn(
                f"{trait}: the variance of its tests, calibrated on {len(lines)} markers, has a standard error of "
                f"{100 * calibration.error / calibration.ratio:.2g}%, and all its chi-squares with it: it differs "
                "between markers, as among close relatives; --kinship-as matrix computes it for each marker",
                InputWarning,
                stacklevel=2,
            )
    return solved, about


def write_calibrated_blocks(
    job: Job, cohort: Cohort[Products], solved: SolvedTraits, spans: Mapping[int, range], tasks: Sequence[Task]
) -> None:
    """Write the blocks of one cohort that are not yet there; they are read in one pass."""
    number_of = dict(_tested(job.markers, spans))
    with (
        progress_bar("scan", total=job.markers.genotypes.n_markers, unit="marker") as bar,
        job.run.clock.step("tests"),
    ):
        for task in tasks:
            todo = {number: span for number, span in task.blocks.items() if not job.parts.has(number)}
            bar.update(sum(map(len, task.blocks.values())) - sum(map(len, todo.values())))
            scan = solved.scans[number_of[task.chromosome]]
            for number, table in calibrated_tables(job.markers, cohort, scan, solved.plain, todo, job.tests):
                job.parts.write(number, table)
                bar.update(len(todo[number]))


def left_out(markers: Markers) -> dict[int, range]:
    """Return the chromosomes that K has markers of, by number.

    Raises:
        InputError: if there is only one.
    """
    used = markers.genotypes.used
    spans = {i: span for i, span in enumerate(markers.chromosomes.values()) if used[span.start : span.stop].any()}
    if len(spans) < 2:
        raise InputError(
            f"{markers.genotypes.path}: all markers used are on one chromosome, so that no kinship is left without it"
        )
    return spans


def _tested(markers: Markers, spans: Mapping[int, range]) -> list[tuple[str, int]]:
    """Return each chromosome, and the number of what its kinship leaves out."""
    return [(name, i if i in spans else _WHOLE) for i, name in enumerate(markers.chromosomes)]


def _calibration_markers(
    job: Job, cohort: Cohort[Products], rows: Int64[ndarray, " n"], rng: np.random.Generator
) -> tuple[Float64[ndarray, "n g"], Int64[ndarray, " g"]]:
    """Return the dosages, less their mean, of random markers that can be tested, and which they are.

    Raises:
        InputError: if there are fewer than two.
    """
    genotypes, tests = job.markers.genotypes, job.tests
    p = genotypes.n_markers
    candidates = rng.permutation(p)[: _CANDIDATES * CALIBRATION]
    parts = [np.sort(candidates[start : start + _AT_ONCE]) for start in range(0, len(candidates), _AT_ONCE)]
    X, _ = independent(cohort.X[0])
    G: list[ndarray] = []
    lines: list[ndarray] = []
    for block in dosages(genotypes, rows, parts, maf=tests.maf, geno=tests.geno):
        members = next((sets.members for sets in sets_by_rank(X, [block.G])), np.zeros(0, dtype=np.int64))
        G.append(block.G[:, members])
        lines.append(block.lines[members])
        if sum(map(len, lines)) >= CALIBRATION:
            break
    found = np.concatenate(lines)[:CALIBRATION]
    if len(found) < 2:
        raise InputError(
            f"{genotypes.path}: {len(found)} of {len(candidates)} markers chosen at random can be tested, too few "
            "to calibrate variances: relax --maf or --geno"
        )
    return np.concatenate(G, axis=1)[:, :CALIBRATION], found


def _forecast(job: Job, cohort: Cohort[Products], columns: int) -> None:
    """Say what conjugate gradients cost, before they begin.

    Raises:
        InputError: if memory has no room for them.
    """
    n = len(cohort.ids)
    memory = 8.0 * _ARRAYS * n * columns + cohort.K.working_bytes(columns)
    what = f"V^-1 y of {', '.join(cohort.traits)} without each chromosome"
    check_memory(memory, what=what, instead="use a machine with more memory, or fewer traits at once")
    kept = 8.0 * n * columns * _USUAL[1]
    check_disk(job.run.out, kept)
    with job.run.clock.step("forecast"):
        seconds = cohort.K.seconds(columns)
    print(
        f"  {what}: {columns} columns a pass, which takes {duration(seconds)} (measured on a part); usually "
        f"{_USUAL[0]} to {_USUAL[1]} passes, {duration(_USUAL[0] * seconds)} to {duration(_USUAL[1] * seconds)}; "
        f"{memory / 1e9:.2g} GB of memory, products kept for --resume, up to {kept / 1e9:.2g} GB"
    )
