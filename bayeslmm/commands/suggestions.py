"""What to type in place of an option or a command that there is not: a near name, or what another program calls so."""

import re
from argparse import ArgumentParser
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import get_close_matches

from bayeslmm.base.checks import InputError, quoted
from bayeslmm.commands.other_programs import OTHER_PROGRAMS

_OPTION = re.compile(r"--?[A-Za-z]\S*")  # -9 is a number, and - a code of missing values
_LIST = "; bayeslmm --help lists all"


def check_typed(whole: ArgumentParser, commands: Mapping[str, ArgumentParser], typed: Sequence[str]) -> None:
    """Refuse commands and options that there are not, before anything that is missing is asked for.

    Args:
        whole: the parser of the command line.
        commands: that of each command.
        typed: the arguments.

    Raises:
        InputError: naming what was probably meant.
    """
    at = command_at(typed)
    before, command, after = typed[:at], "".join(typed[at : at + 1]), typed[at + 1 :]
    general = whole._option_string_actions
    for option in options_in(before):
        if option not in general:
            raise InputError(_unknown(option, "", general, commands))
    if command and command not in commands:
        raise InputError(f"there is no command {quoted(command)}{did_you_mean(command, commands) or _LIST}")
    for option in options_in(after):
        own = commands[command]._option_string_actions
        if option not in own and option in general:
            raise InputError(f"{option} belongs to bayeslmm itself: bayeslmm {option}")
        if option not in own:
            raise InputError(_unknown(option, command, own, commands))


def command_at(typed: Sequence[str]) -> int:
    """Return the place of the command among arguments; after the last where there is none."""
    return next((at for at, word in enumerate(typed) if not word.startswith("-")), len(typed))


def options_in(typed: Sequence[str]) -> Iterator[str]:
    """Yield the names of the options among arguments."""
    for word in typed:
        if word == "--":
            return
        if _OPTION.fullmatch(name := word.partition("=")[0]):
            yield name


def did_you_mean(name: str, known: Collection[str]) -> str:
    """Return a question after one or two known names that are near, or nothing."""
    longer = [other for other in known if len(name.strip("-")) > 1 and other.startswith(name)]
    near = longer[:2] or get_close_matches(name, known, n=1, cutoff=0.7)
    return f": did you mean {' or '.join(near)}?" if near else ""


def _unknown(option: str, command: str, own: Collection[str], commands: Mapping[str, ArgumentParser]) -> str:
    """Return what to say about an option that cannot be typed there."""
    where = f"bayeslmm {command}".strip()
    others = [name for name, parser in commands.items() if option in parser._option_string_actions]
    if others and not command:
        return f"{option} comes after the command: bayeslmm {'COMMAND' if len(others) > 1 else others[0]} {option}"
    if others:
        return f"{option} belongs to bayeslmm {' and '.join(others)}, not to {command}"
    for program, answers in OTHER_PROGRAMS.items():
        if option in answers:
            return f"{option} is an option of {program}; here: {answers[option]}"
    return f"{where} has no option {quoted(option)}{did_you_mean(option, own) or f'; {where} --help lists all'}"
