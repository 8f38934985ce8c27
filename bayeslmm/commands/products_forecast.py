"""What products with a kinship cost, said before they begin; and how far they are, said while they are made."""

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bayeslmm.base.checks import InputError
from bayeslmm.base.memory import check_memory
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.run import Run
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.joint_summary import starting_columns
from bayeslmm.likelihood.probe_error import ProbeError
from bayeslmm.likelihood.spectral_summary import PROBES, SINGLES, summary_bytes

_USUAL = (8, 40)  # times the columns of a pass: where the first probes are enough, and where others follow
_OF_PCS = (4, 12)
_PATIENCE = 30.0  # seconds after which it is said how far the error is


def forecast_products(run: Run, cohorts: Sequence[Cohort[Products]], *, folder: Path) -> None:
    """Say what each set of individuals will cost, before anything long begins.

    Args:
        run: of the command.
        cohorts: the sets.
        folder: of the products that are kept.

    Raises:
        InputError: if memory or disk have no room for it.
    """
    pcs = run.settings.tables.pcs
    disk = 0.0
    if len(cohorts) > 1:
        print(
            f"{len(cohorts)} sets of individuals, as traits are missing in different ones: each has passes of its own"
        )
    for cohort in cohorts:
        n, t = cohort.Y.shape
        own = t + starting_columns(cohort.X).shape[1] + pcs
        columns = own + 1 + PROBES
        memory = summary_bytes(n, own) + cohort.K.working_bytes(columns + SINGLES)
        what = f"{', '.join(cohort.traits)} of {n:,} individuals by products"
        check_memory(memory, what=what, instead="use a machine with more memory, or fewer traits at once")
        kept = 8.0 * n * (SINGLES + columns * _USUAL[1])
        disk += kept
        with run.clock.step("forecast"):
            seconds = cohort.K.seconds(columns)
        times = tuple(a + (b if pcs else 0) for a, b in zip(_USUAL, _OF_PCS, strict=True))
        took = " to ".join(dict.fromkeys(duration(count * seconds) for count in times))
        print(
            f"  {what}: {columns} columns a pass, which takes {duration(seconds)} (measured on a part); usually "
            f"{times[0]} to {times[1]} times that in all, {took}; {memory / 1e9:.2g} GB of memory, products kept for "
            f"--resume in {folder}, up to {kept / 1e9:.2g} GB"
        )
    check_disk(run.out, disk)


def check_disk(folder: Path, needed: float) -> None:
    """Refuse products of a run for which a folder has no room.

    Raises:
        InputError: saying how many bytes are free.
    """
    if needed > (free := shutil.disk_usage(folder).free):
        raise InputError(
            f"{folder}: products of this run need up to {needed / 1e9:.3g} GB of disk, but {free / 1e9:.3g} GB are "
            "free: make room, choose another --out, or analyse fewer traits at once"
        )


def told(begun: float) -> Callable[[ProbeError], None]:
    """Return what says how far a summary is, if it takes long."""

    def tell(error: ProbeError) -> None:
        how_far = f"Monte Carlo error {error.size} posterior sd of h2 ({error.wanted:g} asked for)"
        _tell_if_long(begun, error.passes, how_far)

    return tell


def told_left(begun: float, tolerance: float) -> Callable[[int, float], None]:
    """Return what says how far conjugate gradients for V^-1 y are, if they take long."""

    def tell(passes: int, left: float) -> None:
        _tell_if_long(begun, passes, f"{left:.1e} of V^-1 y is left (until {tolerance:g})")

    return tell


def _tell_if_long(begun: float, passes: int, how_far: str) -> None:
    if (seconds := time.perf_counter() - begun) > _PATIENCE:
        print(f"  after {passes} passes, {duration(seconds)}: {how_far}", flush=True)


def duration(seconds: float) -> str:
    """Return a time in words."""
    if seconds < 1:
        return "less than a second"
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:.2g} seconds"
