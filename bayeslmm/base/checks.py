"""Exceptions for errors the user can fix and for failed analyses, and checks that raise the first."""

import os
import stat
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path


class InputError(ValueError):
    """An error the user can fix: names the file, what was found, what was expected and what to do."""


class AnalysisError(RuntimeError):
    """An analysis of valid input that did not succeed: says what failed, and what to try."""


class InputWarning(UserWarning):
    """What can be computed but may not mean what the user thinks."""


_LONGEST_MESSAGE = 2000


def one_line(text: str, *, most: int = _LONGEST_MESSAGE) -> str:
    """Return a text as one line that a terminal can show: no control characters, no more than so many characters."""
    words = " ".join(text.split())
    shown = "".join(c if unicodedata.category(c)[0] != "C" else ascii(c)[1:-1] for c in words)
    return shown if len(shown) <= most else f"{shown[: most // 2]} [...] {shown[-most // 2 :]}"


_LONGEST_ITEM = 200


def quoted(text: str) -> str:
    """Write a piece of a file between quotes, in one line of bounded length."""
    return f"'{one_line(text, most=_LONGEST_ITEM)}'"


def examples(items: Iterable[object], *, most: int = 3) -> str:
    """Write the first few of many items, each of bounded length: ``a, b, c and 7 more``."""
    items = list(items)
    shown = ", ".join(one_line(str(item), most=_LONGEST_ITEM) for item in items[:most])
    return shown if len(items) <= most else f"{shown} and {len(items) - most} more"


def check_at_least(least: int, **numbers: int) -> None:
    """Refuse the first of the numbers, by the names of arguments, that is below a bound."""
    for name, value in numbers.items():
        if value < least:
            raise InputError(f"{name} must be at least {least}, but {value} was given")


def check_readable(path: str | Path) -> Path:
    """Return the path of an existing file that may be read.

    Raises:
        InputError: if there is no file of this name, or no right to read it.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError, ValueError):
        raise InputError(f"{path} does not exist: check the name and the folder") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}): check the name and the permissions") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path} is a folder, a file is needed: check the name")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a pipe or a device, which cannot be read twice: save it as a file")
    if not os.access(path, os.R_OK):
        raise InputError(f"{path} cannot be read (permission denied): ask for the right to read it")
    return path


_RENAME = "remove or rename the extra ones"


def check_unique(
    ids: Sequence[str],
    *,
    where: str | Path,
    what: str = "id",
    advice: str = _RENAME,
) -> None:
    """Refuse ids (or other names) that occur more than once.

    Raises:
        InputError: naming the repeated ids.
    """
    repeated = [name for name, count in Counter(ids).items() if count > 1]
    if repeated:
        raise InputError(
            f"{where}: {what}s must be unique, but {len(repeated)} occur{'s' * (len(repeated) == 1)} more than once "
            f"({examples(repeated)}): "
            f"{advice if what == 'id' else _RENAME}"
        )
