"""What a command has found, and how ``--json`` prints it."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # `--help` does not wait for it
    import pandas as pd


@dataclass(frozen=True)
class Answer:
    """How a command has ended.

    Attributes:
        code: the exit code.
        error: why it failed, in one line.
        found: by name, the rows of a table as they are in the file of that name, or other facts.
    """

    code: int = 0
    error: str = ""
    found: "Mapping[str, pd.DataFrame | Mapping[str, Any]]" = field(default_factory=dict)


def document(answer: Answer, *, command: str | None, out: str | None, warnings: Sequence[str]) -> str:
    """Return an answer as one JSON document; null is what has no value, or none that is finite.

    Args:
        answer: of the command.
        command: its name, if one was typed.
        out: where its files are.
        warnings: what was warned of.
    """
    from importlib.metadata import version

    about = {"bayeslmm": version("bayeslmm"), "command": command, "exit_status": answer.code}
    about |= {"error": answer.error or None, "warnings": [*warnings], "out": out}
    return json.dumps(about | {name: _plain(value) for name, value in answer.found.items()}, indent=1, allow_nan=False)


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    if hasattr(value, "to_dict"):
        return _plain(value.astype(object).where(value.notna(), None).to_dict("records"))
    if isinstance(value, Mapping):
        return {str(name): _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    value = value.item() if hasattr(value, "item") else value  # a number of NumPy
    return None if isinstance(value, float) and not math.isfinite(value) else value
