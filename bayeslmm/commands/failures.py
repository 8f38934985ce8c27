"""How a command fails: exit codes, one line for each error, and traits that fail while others continue."""

import sys
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from bayeslmm.base.checks import AnalysisError, InputError, examples, one_line
from bayeslmm.base.cluster import ClusterError
from bayeslmm.base.files import WriteError

ANALYSIS_FAILED = 1
INPUT_ERROR = 2
DIAGNOSTICS_FAILED = 3
BUG = 70
INTERRUPTED = 130
TERMINATED = 143

EXIT_STATUS = {
    0: "success",
    ANALYSIS_FAILED: "an analysis of valid input failed, or standard output could not be written",
    INPUT_ERROR: "an input is wrong",
    DIAGNOSTICS_FAILED: "the draws fail their checks",
    BUG: "a fault of bayeslmm",
    INTERRUPTED: "Ctrl-C",
    TERMINATED: "SIGTERM",
}
"""What each exit code says."""

_LONGEST_NOTE = 500


def describe_error(error: Exception) -> tuple[int, str]:
    """Return the exit code of an error and its message; the traceback of an unexpected one is kept."""
    if isinstance(error, InputError):
        return INPUT_ERROR, str(error)
    if isinstance(error, AnalysisError):
        return ANALYSIS_FAILED, str(error)
    if isinstance(error, MemoryError):
        return ANALYSIS_FAILED, f"there is not enough memory ({error}): use fewer individuals, or a larger machine"
    what = f"{type(error).__name__}: {one_line(str(error), most=_LONGEST_NOTE)}"
    return BUG, f"{what} (this is a bug in bayeslmm: please report it with {_kept_traceback(error)})"


def _kept_traceback(error: Exception) -> str:
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="bayeslmm-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write("".join(traceback.format_exception(error)).encode(errors="backslashreplace").decode())
        return f"its traceback, in {file.name}"
    except OSError as unwritten:
        return f"its traceback, which could not be written ({unwritten.strerror})"


@dataclass
class Failures:
    """Traits that could not be analysed. Each is reported when it fails, and the others continue.

    Attributes:
        traits: all that were asked for.
        why: the reason for each that failed.
        codes: the exit codes of the reasons.
    """

    traits: Sequence[str]
    why: dict[str, str] = field(default_factory=dict)
    codes: set[int] = field(default_factory=set)

    @contextmanager
    def caught(self, traits: Sequence[str]) -> Iterator[None]:
        """Run a block that is about some of the traits; if it fails, they have failed.

        Raises:
            InputError: if the only trait cannot be analysed as it is, or results cannot be written.
            ClusterError: if there is nobody any more who computes.
        """
        try:
            yield
        except (WriteError, ClusterError):  # other traits would fare no better
            raise
        except Exception as error:
            self.add(traits, error)

    def add(self, traits: Sequence[str], error: Exception) -> None:
        """Record traits as failed, and report it.

        Raises:
            InputError: the error itself, if it is one and there is no other trait.
        """
        if len(self.traits) == 1 and isinstance(error, InputError):
            raise error
        code, text = describe_error(error)
        self.codes.add(code)
        self.why |= dict.fromkeys(traits, one_line(text, most=_LONGEST_NOTE))
        print(f"bayeslmm: {one_line(f'{examples(traits)} FAILED: {text}')}", file=sys.stderr)

    @property
    def error(self) -> str:
        """What has failed and why, in one line."""
        return "; ".join(f"{trait} FAILED: {why}" for trait, why in self.why.items())

    @property
    def code(self) -> int:
        """The exit code that failed traits ask for: 0 if there is none."""
        if not self.codes:
            return 0
        return INPUT_ERROR if self.codes == {INPUT_ERROR} else ANALYSIS_FAILED

    def check_any_left(self) -> None:
        """Refuse to continue if no trait can be analysed as it is: there are no results then.

        Raises:
            InputError: with what is wrong with the first.
        """
        if self.codes == {INPUT_ERROR} and set(self.why) == set(self.traits):
            raise InputError(f"none of the {len(self.traits)} traits can be analysed: {self.why[self.traits[0]]}")

    def rows(self, column: str = "note", **cells: Any) -> list[dict[str, Any]]:
        """Return a row of a table for each failed trait: its note in a column, and no estimate."""
        return [{"trait": trait, column: f"FAILED: {why}"} | cells for trait, why in self.why.items()]
