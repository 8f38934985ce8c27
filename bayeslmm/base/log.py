"""What a run says: as much as was asked for, and all of it in a log."""

import io
import os
import re
import stat
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.terminal import Careful

_FIRST_LINE = re.compile(r"\d{4}-\d\d-\d\dT\S+ \$ bayeslmm\b")


class Diverted(io.TextIOBase):
    """A stream that leads to another, or nowhere, and whose lines are told to a log too."""

    def __init__(self, stream: Any, log: Callable[[str], None] | None, *, watched: bool) -> None:
        self._stream, self._log, self._watched, self._line = stream, log, watched, ""

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """That of the other stream."""
        return getattr(self._stream, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write a text, and log the lines that it completes."""
        if self._stream is not None:
            self._stream.write(text)
        if self._log is not None:
            *whole, self._line = (self._line + text).split("\n")
            for line in whole:
                self._log(line.rpartition("\r")[2])  # a progress bar draws over itself
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        if self._stream is not None:
            self._stream.flush()

    def isatty(self) -> bool:
        """Return whether somebody watches, for whom progress is shown."""
        return self._watched and self._stream is not None and self._stream.isatty()


@contextmanager
def diverted(*, silent: bool, watched: bool, log: Path | None, title: str) -> Iterator[None]:
    """Say no more than asked for within a block, and add all of it to a log, each line after its time.

    Args:
        silent: drop what goes to standard output.
        watched: whether progress is shown on standard error, if that is a terminal.
        log: a file, if there is to be one; what it holds is kept.
        title: the first line that is added.

    Raises:
        InputError: if the log cannot be written, or is another kind of file.
    """
    if not silent and watched and log is None:
        yield
        return
    with ExitStack() as stack:
        kept = _Log(stack, log, title) if log is not None else None
        tell = kept.write_line if kept else None
        stack.enter_context(redirect_stdout(Diverted(None if silent else sys.stdout, tell, watched=watched)))
        stack.enter_context(redirect_stderr(Diverted(sys.stderr, tell, watched=watched)))
        try:
            yield
        finally:
            if kept and (failure := kept.file.failure):
                why = getattr(failure, "strerror", None) or failure
                warnings.warn(f"the log {log} is not complete ({why})", InputWarning, stacklevel=2)


class _Log:
    """A log that is added to until a stack is left."""

    def __init__(self, stack: ExitStack, path: Path, title: str) -> None:
        opened = _opened(path)
        stack.callback(_closed, opened)
        self.file = Careful(opened)
        self.write_line(f"$ {title}")

    def write_line(self, line: str) -> None:
        """Add a line that is not empty, after the time."""
        if line.strip():
            self.file.write(f"{datetime.now().astimezone().isoformat(timespec='seconds')} {line}\n")


def _opened(log: Path) -> io.TextIOWrapper:
    """Open a log, at its end."""
    try:
        file = open(log, "a+", encoding="utf-8", errors="backslashreplace", buffering=1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise InputError(f"the log {log} cannot be written ({why}): choose another file") from None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.seek(0)
        if (first := file.readline(200)) and not _FIRST_LINE.match(first):
            file.close()
            raise InputError(f"{log} is no log of bayeslmm, and would be added to: choose another file")
        file.seek(0, os.SEEK_END)
    return file


def _closed(file: io.TextIOWrapper) -> None:
    with suppress(OSError):  # what could not be written waits, and would fail once more
        file.close()
