"""A folder of what a run has finished, so that one that was stopped can go on; and what that run was."""

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import output_folder, remove_stale, replacing

_RECORD = "run.json"


@contextmanager
def open_checkpoints(folder: Path, run: Mapping[str, Any], *, names: str, what: str, resume: bool) -> Iterator[None]:
    """Open a folder of checkpoints, or make it; whoever does must keep other runs out of it. It goes if it stays empty.

    Args:
        folder: of the checkpoints.
        run: what is computed and how: another run cannot be continued.
        names: of the files, as a pattern.
        what: the run is, in a word.
        resume: go on with the files that are there.

    Raises:
        InputError: as `check_checkpoints`.
    """
    check_checkpoints(folder, run, names=names, what=what, resume=resume)
    remove_stale(output_folder(folder))
    with replacing(folder / _RECORD) as temporary:
        temporary.write_text(json.dumps(_described(run), indent=1) + "\n")
    try:
        yield
    except KeyboardInterrupt as stopped:
        if checkpoints(folder, names):
            stopped.add_note(f"resume the {what} to go on")
        raise
    finally:
        if folder.is_dir() and not checkpoints(folder, names):
            shutil.rmtree(folder)


def check_checkpoints(folder: Path, run: Mapping[str, Any], *, names: str, what: str, resume: bool) -> None:
    """Refuse to go on with another run, or to lose one.

    Raises:
        InputError: if there are checkpoints and resume is false, or if they are of another run.
    """
    if not checkpoints(folder, names):
        return
    if not resume:
        raise InputError(f"{folder} holds an unfinished {what}: resume it, or start again and overwrite it")
    _check_same(folder / _RECORD, _described(run), what)


def checkpoints(folder: Path, names: str) -> list[Path]:
    """Return the checkpoints of a folder, in order."""
    return sorted(folder.glob(names))


def _described(run: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(run))


def _check_same(record: Path, described: Mapping[str, Any], what: str) -> None:
    """Refuse to continue another run."""
    anew = "start again and overwrite it"
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        before = None
    if not isinstance(before, dict) or not isinstance(before.get("files", {}), dict):
        raise InputError(f"{record} does not say which {what} was started there: {anew}")
    for name, value in described.items():
        if (was := before.get(name)) == value:
            continue
        if name == "files" and was:
            raise InputError(
                f"{record.parent} is of another {what}: {examples(_changed(was, value))} changed since: {anew}"
            )
        raise InputError(
            f"{record.parent} is of another {what}, with {name} {was} where it is {value} now: give the same options "
            f"and files, or {anew}"
        )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
