"""What numbers and names on the command line may be, whatever the command."""

import argparse
import math
from collections.abc import Iterator
from pathlib import Path

from bayeslmm.base.checks import InputError
from bayeslmm.commands.settings import option

_RANGES: dict[str, tuple[float, float]] = {
    "pcs": (0, 10_000),
    "mpheno": (1, 1_000_000),
    "chains": (1, 1_000),
    "draws": (1, 1_000_000),
    "warmup": (1, 1_000_000),
    "seed": (0, 2**32 - 1),
    "prior_h2": (0.01, 1e6),
    "prior_eta": (0.01, 1e6),
    "posterior_top": (0, 1_000_000),
    "folds": (2, 1_000_000),
    "datasets": (2, 1_000_000),
    "workers": (1, 1_000),
    "threads": (1, 1_000),
    "coalescent": (1, 10_000_000),
    "siblings": (1, 1_000_000),
    "chromosomes": (1, 1_000),
    "causal": (1, 100_000_000),
    "covariates": (0, 1_000),
}
"""What a number may be: beyond it no computer, or no floating point number, will do."""


def check_values(options: argparse.Namespace) -> None:
    """Refuse numbers and names that no command can use, whatever it is.

    Raises:
        InputError: a number outside its range or not finite, an empty name, or a name that is not UTF-8.
    """
    for key, whole in vars(options).items():
        name = option(key)
        least, most = _RANGES.get(key, (-math.inf, math.inf))
        for value in _values(whole):
            if isinstance(value, bool):
                continue
            if isinstance(value, int | float):
                if isinstance(value, float) and not math.isfinite(value):
                    raise InputError(f"{name} must be a finite number, but {value} was given")
                if value < least:
                    raise InputError(f"{name} must be at least {least:,}, but {_short(value)} was given")
                if value > most:
                    raise InputError(f"{name} must be at most {most:,}, but {_short(value)} was given")
            elif isinstance(value, str | Path):
                text = str(value)
                if not text or "\0" in text:
                    raise InputError(f"{name} needs a name, but {text!r} was given")
                try:
                    text.encode()
                except UnicodeEncodeError:
                    raise InputError(f"{name} {text!r} is not UTF-8, as names must be: rename it") from None


def _values(whole: object) -> Iterator[object]:
    if isinstance(whole, list | tuple):
        for part in whole:
            yield from _values(part)
    else:
        yield whole


def _short(value: int | float) -> str:
    """Write a number, which may have thousands of digits."""
    return f"{value:g}" if isinstance(value, float) or abs(value) < 10**15 else f"about {_exponent(value)}"


def _exponent(value: int) -> str:
    return f"{'-' if value < 0 else ''}10^{int(abs(value).bit_length() * math.log10(2))}"
