"""Progress bars for the long steps: on a terminal, and nothing in a pipe."""

import sys

from tqdm import tqdm


def on_terminal() -> bool:
    """Return whether standard error is a terminal that a person may be watching."""
    return sys.stderr is not None and sys.stderr.isatty()  # there is none if it was closed


def progress_bar(what: str, *, total: int, unit: str) -> tqdm:
    """Return a tqdm bar on standard error, disabled when that is not a terminal."""
    return tqdm(total=total, desc=what, unit=f" {unit}", disable=not on_terminal(), leave=False)
