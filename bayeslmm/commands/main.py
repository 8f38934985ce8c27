"""The command line. Imports what a command needs when it runs: ``--help`` must not wait for JAX."""

import argparse
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from bayeslmm.base.checks import InputWarning, one_line
from bayeslmm.base.terminal import Terminated, careful_streams, termination
from bayeslmm.commands.failures import ANALYSIS_FAILED, INTERRUPTED, TERMINATED, describe_error
from bayeslmm.commands.genotypes import genotype_file
from bayeslmm.commands.parser import parser
from bayeslmm.commands.ranges import check_values
from bayeslmm.commands.settings import as_typed, build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or another code after one line on stderr with the reason.

    1 if an analysis failed or standard output could not be written, 2 for an input error, 3 for draws that failed their
    checks, 70 for a bug, 130 for Ctrl-C, 143 for SIGTERM.
    """
    return _run(parser().parse_args(arguments))


def _run(options: argparse.Namespace) -> int:
    with careful_streams() as out, warnings.catch_warnings():
        warnings.simplefilter("always", InputWarning)
        warnings.showwarning = _show_warning
        code = _code(options)
        if out is not None:
            out.flush()
            # Who closes a pipe has read enough.
            if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
                print(f"bayeslmm: error: standard output cannot be written ({out.failure})", file=sys.stderr)
                code = code or ANALYSIS_FAILED
    return code


def _code(options: argparse.Namespace) -> int:
    """Run a command and print one line if it fails; return its exit code."""
    try:
        with termination():
            check_values(options)
            return _run_command(options)
    except KeyboardInterrupt as stopped:
        what, code = ("terminated", TERMINATED) if isinstance(stopped, Terminated) else ("interrupted", INTERRUPTED)
        print(f"bayeslmm: {': '.join([what, *getattr(stopped, '__notes__', [])])}", file=sys.stderr)
        return code
    except Exception as error:
        code, text = describe_error(error)
        print(f"bayeslmm: error: {one_line(text)}", file=sys.stderr)
        return code


def _run_command(options: argparse.Namespace) -> int:
    command = import_module(f"bayeslmm.commands.{options.command}")
    values = vars(options)
    return command.run(
        build(command.SETTINGS, values | {"genotypes": genotype_file(values), "options": as_typed(values)})
    )


def _show_warning(message: Warning | str, category: type[Warning], *where: object) -> None:
    kind = "warning" if issubclass(category, InputWarning) else category.__name__
    print(f"bayeslmm: {kind}: {one_line(str(message))}", file=sys.stderr)
