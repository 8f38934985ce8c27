"""Options from a TOML file that several commands share: keys for all of them, and a table for each."""

import argparse
import hashlib
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bayeslmm.base.checks import InputError, check_readable, quoted
from bayeslmm.commands.suggestions import did_you_mean, options_in

_APART = ("--help", "--config")


class Configured(NamedTuple):
    """What a file adds to what was typed.

    Attributes:
        arguments: its options, but for those that were typed.
        record: what ``run.json`` says about it.
    """

    arguments: list[str]
    record: dict[str, Any]


def read_config(
    path: Path, command: str, commands: Mapping[str, argparse.ArgumentParser], typed: Sequence[str]
) -> Configured:
    """Return the options of a file for a command; those that were typed, or exclude it, take the place of one.

    Args:
        path: of the file.
        command: its name.
        commands: the parser of each.
        typed: the arguments after the command.

    Raises:
        InputError: for a file that is no TOML, or keys and values that no option has.
    """
    content = check_readable(path).read_bytes()
    try:
        whole = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path} is no TOML ({error})") from None
    tables = {name: value for name, value in whole.items() if isinstance(value, dict)}
    for name in tables:
        if name not in commands:
            raise InputError(f"{path}: [{name}] must be a command{did_you_mean(name, commands)}")
    shared = {name: value for name, value in whole.items() if name not in tables}
    known = {name: _names(parser) for name, parser in commands.items()}
    for where, keys, names in (
        ("above all tables", shared, set().union(*known.values())),
        *((f"[{name}]", table, known[name]) for name, table in tables.items()),
    ):
        for key in keys:
            if key not in names:
                raise InputError(f"{path}, {where}: there is no option {quoted(key)}{did_you_mean(key, names)}")
    parser = commands[command]
    here = {name: value for name, value in shared.items() if name in known[command]} | tables.get(command, {})
    given = {parser._option_string_actions[name] for name in options_in(typed)}
    displaced = given.union(
        *(group._group_actions for group in parser._mutually_exclusive_groups if given & {*group._group_actions})
    )
    actions = {name: parser._option_string_actions[f"--{name}"] for name in here}
    used = {name: value for name, value in here.items() if actions[name] not in displaced}
    arguments = [word for name, value in used.items() for word in _typed(path, name, value, actions[name])]
    return Configured(
        arguments, {"file": str(path), "sha256": hashlib.sha256(content).hexdigest(), "options": arguments}
    )


def _names(parser: argparse.ArgumentParser) -> set[str]:
    """Return the names of the options that a file may have."""
    names = {name for name in parser._option_string_actions if name.startswith("--")}
    return {name.removeprefix("--") for name in names.difference(_APART)}


def _typed(path: Path, name: str, value: Any, action: argparse.Action) -> Iterator[str]:
    """Yield an option as it would be typed."""
    if (action.nargs == 0) != isinstance(value, bool):
        raise InputError(f"{path}: {name} must {'be true or false' if action.nargs == 0 else 'have a value'}")
    if value is True:
        yield f"--{name}"
    elif value is not False:
        several = isinstance(value, list) and any(isinstance(part, list) for part in value)
        if several and not isinstance(action, argparse._AppendAction):
            raise InputError(f"{path}: {name} must be one list, not several")
        for part in value if several else [value]:
            words = [_word(path, name, word) for word in (part if isinstance(part, list) else [part])]
            if action.nargs is None and len(words) != 1:
                raise InputError(f"{path}: {name} must be one value, but {part!r} was given")
            # A single value may begin with a dash.
            yield from [f"--{name}", *words] if action.nargs else [f"--{name}={words[0]}"]


def _word(path: Path, name: str, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise InputError(f"{path}: {name} must be text or numbers, or a list of these, but {value!r} was given")
    return str(value)
