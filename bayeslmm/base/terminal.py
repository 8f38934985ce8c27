"""Standard output and error that cannot cost a result, and signals that end a run as an exception does."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any


class Terminated(KeyboardInterrupt):
    """SIGTERM: the run is to end, as by Ctrl-C."""


class Careful:
    """A stream that goes on if nobody reads it, its disk is full, or its encoding lacks a character.

    Attributes:
        failure: what happened when it could not be written; what comes after is dropped.
    """

    def __init__(self, stream: Any) -> None:
        self.stream: Any = stream
        self.failure: OSError | ValueError | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write a text, with escapes for characters that the encoding lacks."""
        encoding = self.stream.encoding or "utf-8"
        self._tried(self.stream.write, text.encode(encoding, "backslashreplace").decode(encoding))
        return len(text)

    def flush(self) -> None:
        """Write what waits."""
        self._tried(self.stream.flush)

    def _tried(self, do: Any, *arguments: str) -> None:
        if self.failure is not None:
            return
        try:
            do(*arguments)
        except (OSError, ValueError) as error:  # a closed stream is a ValueError
            self.failure = error
            if any(self.stream is ours for ours in (sys.__stdout__, sys.__stderr__)):
                # What waits in it would fail once more when Python ends.
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, self.stream.fileno())
                os.close(nowhere)


@contextmanager
def careful_streams() -> Iterator[Careful | None]:
    """Make standard output and error careful within a block; yield the first, if there is one."""
    out, err = (None if stream is None else Careful(stream) for stream in (sys.stdout, sys.stderr))
    with ExitStack() as stack:
        if out is not None:
            stack.enter_context(redirect_stdout(out))
            stack.callback(out.flush)
        # print(file=None) would print to standard output.
        stack.enter_context(redirect_stderr(err if err is not None else stack.enter_context(open(os.devnull, "w"))))
        yield out


@contextmanager
def termination() -> Iterator[None]:
    """Raise `Terminated` on SIGTERM within a block, so that what is half done is undone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
