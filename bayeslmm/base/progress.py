"""Progress bars for the long steps: on a terminal, and nothing in a pipe."""

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from tqdm import tqdm

_PATIENCE = 2.0
"""Seconds after which a person wonders."""
_LONG = 30.0
"""Seconds from which a person wants to know beforehand."""


def on_terminal() -> bool:
    """Return whether standard error is a terminal that a person may be watching."""
    return sys.stderr is not None and sys.stderr.isatty()  # there is none if it was closed


def progress_bar(what: str, *, total: int, unit: str) -> tqdm:
    """Return a tqdm bar on standard error, disabled when that is not a terminal."""
    return tqdm(total=total, desc=what, unit=f" {unit}", disable=not on_terminal(), leave=False)


def forecast(what: str, *, count: int, unit: str, seconds: float, workers: int) -> None:
    """Say on a terminal how long a step takes at most, before it begins; nothing of less than half a minute.

    Args:
        what: is going to begin, in a word or a few.
        count: how many of its units there are.
        unit: what one of them is.
        seconds: that one took.
        workers: how many are done at a time.
    """
    whole = seconds * -(-count // workers)
    if whole >= _LONG and on_terminal():
        long = f"{whole:.0f} seconds" if whole < 120 else f"{whole / 60:.0f} minutes"
        at_a_time = f", {workers} at a time" if workers > 1 else ""
        sys.stderr.write(f"{what}: {count:,} {unit}s of {seconds:.2g} s{at_a_time}: at most {long}\n")


@contextmanager
def stage(what: str) -> Iterator[None]:
    """Show on a terminal what is going on, from two seconds after a block began until it ends.

    Args:
        what: is going on, in a word or a few.
    """
    if not on_terminal():
        yield
        return
    stream, said = sys.stderr, threading.Event()

    def say() -> None:
        said.set()
        stream.write(f"\r{what} ...")
        stream.flush()

    timer = threading.Timer(_PATIENCE, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        if said.is_set():
            stream.write(f"\r{' ' * (len(what) + 4)}\r")
            stream.flush()
