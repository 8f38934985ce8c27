"""The command line. Imports what a command needs when it runs: ``--help`` must not wait for JAX."""

import argparse
import shlex
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from importlib import import_module
from typing import Any

from bayeslmm.base.checks import InputWarning, one_line
from bayeslmm.base.log import diverted
from bayeslmm.base.terminal import Terminated, careful_streams, termination
from bayeslmm.base.threads import limit_threads
from bayeslmm.commands.answer import Answer, document
from bayeslmm.commands.failures import ANALYSIS_FAILED, INTERRUPTED, TERMINATED, describe_error
from bayeslmm.commands.genotypes import genotype_file
from bayeslmm.commands.parser import parse
from bayeslmm.commands.ranges import check_values
from bayeslmm.commands.settings import as_typed, build

_UNASKED = {"log_file": None, "threads": None, "config": None}
"""Options of the run before any are parsed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or another code after one line on stderr with the reason.

    1 if an analysis failed or standard output could not be written, 2 for an input error, 3 for draws that failed their
    checks, 70 for a bug, 130 for Ctrl-C, 143 for SIGTERM.
    """
    typed = [*(sys.argv[1:] if arguments is None else arguments)]
    options = argparse.Namespace(command=None, out=None, json="--json" in typed, quiet=False, **_UNASKED)
    with careful_streams() as out, _warnings() as warned:
        answer = _answer(typed, options)
        code = answer.code
        if options.json:
            where = str(options.out) if options.out else None
            print(document(answer, command=options.command, out=where, warnings=warned))
        if out is not None:
            out.flush()
            # Who closes a pipe has read enough.
            if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
                print(f"bayeslmm: error: standard output cannot be written ({out.failure})", file=sys.stderr)
                code = code or ANALYSIS_FAILED
    return code


def run_command(options: argparse.Namespace) -> Answer:
    """Run a command with its options.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    command = import_module(f"bayeslmm.commands.{options.command}")
    values = vars(options)
    if "mpheno" in values and not values["trait"]:
        many = values.get("all_traits") or values.get("trait_columns")
        values = values | {"trait": [] if many else _traits(values)}
    return command.run(
        build(command.SETTINGS, values | {"genotypes": genotype_file(values), "options": as_typed(values)})
    )


def _answer(typed: Sequence[str], options: argparse.Namespace) -> Answer:
    """Parse options, and run the command that says no more than they ask for; if it fails, print one line."""
    with ExitStack() as streams:
        try:
            with termination():
                parse(typed, options)
                check_values(options)
                if options.threads is not None:
                    limit_threads(options.threads)  # before a library is loaded
                streams.enter_context(_diverted(typed, options))
                return run_command(options)
        except KeyboardInterrupt as stopped:
            what, code = ("terminated", TERMINATED) if isinstance(stopped, Terminated) else ("interrupted", INTERRUPTED)
            answer = Answer(code, ": ".join([what, *getattr(stopped, "__notes__", [])]))
            print(f"bayeslmm: {answer.error}", file=sys.stderr)
        except Exception as error:
            code, text = describe_error(error)
            answer = Answer(code, one_line(text))
            print(f"bayeslmm: error: {answer.error}", file=sys.stderr)
        return answer


def _traits(values: Mapping[str, Any]) -> list[str]:
    """Return the traits where none is named, which the table of phenotypes tells."""
    from bayeslmm.commands.inputs import traits_of

    return [*traits_of(values["pheno"], values["mpheno"], id=values["id"], missing=values["missing"])]


@contextmanager
def _diverted(typed: Sequence[str], options: argparse.Namespace) -> Iterator[None]:
    """Let a command say, within a block, what ``--quiet``, ``--json`` and ``--log-file`` ask for."""
    title = shlex.join(["bayeslmm", *typed])
    silent, watched = options.quiet or options.json, not options.quiet
    with diverted(silent=silent, watched=watched, log=options.log_file, title=title):
        if options.config:
            print(f"options of {options.config['file']}: {shlex.join(options.config['options'])}")
        yield


@contextmanager
def _warnings() -> Iterator[list[str]]:
    """Print each warning within a block as one line; yield them."""
    said: list[str] = []

    def show(message: Warning | str, category: type[Warning], *where: object) -> None:
        kind = "warning" if issubclass(category, InputWarning) else category.__name__
        said.append(one_line(str(message)))
        print(f"bayeslmm: {kind}: {said[-1]}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = show
        yield said
