"""``bayeslmm completion``: a script by which a shell completes commands, options, their values, and names of files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import shtab

from bayeslmm.commands.answer import Answer
from bayeslmm.commands.parser import commands_of, parser

_FILES: tuple[Any, ...] = ("F", "X", "FILE.py:FUNCTION", ("D", "U"))
_PATHS = dict.fromkeys(_FILES, shtab.FILE) | {"DIR": shtab.DIRECTORY}
"""What is a path, by how its value is called in ``--help``."""


@dataclass(frozen=True)
class CompletionSettings:
    """The options of `completion`."""

    shell: str


SETTINGS = CompletionSettings


def run(settings: CompletionSettings) -> Answer:
    """Print the script."""
    print(completion(settings.shell))
    return Answer()


def completion(shell: str) -> str:
    """Return the script for a shell: bash, zsh or tcsh."""
    whole = parser()
    for command in commands_of(whole).values():
        for action in command._actions:
            if action.type in (None, Path) and (kind := _PATHS.get(action.metavar)):
                action.complete = kind  # pyright: ignore[reportAttributeAccessIssue]
    return shtab.complete(whole, shell)
