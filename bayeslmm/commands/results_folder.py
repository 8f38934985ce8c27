"""The folder that a command writes its results to: of one run, of one command at a time, and of nothing else.

``run.json`` lists the files of the run. While the run goes on it lists all that it may write and does not say that it
has finished, so that the next run knows what one that was killed has left.
"""

import errno
import fcntl
import json
import os
import shutil
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.base.files import WriteError, output_folder, remove_stale, replacing

RECORD = "run.json"
_LOCK = ".bayeslmm.lock"


@dataclass(frozen=True)
class ResultsFolder:
    """The folder of a run; made by `open_results`.

    Attributes:
        path: of the folder.
        names: what the run may write there, beside ``run.json``; the names of folders end with a slash.
        about: what ``run.json`` says of the run while it goes on.
        old: what is removed when the run begins.
    """

    path: Path
    names: Sequence[str]
    about: Mapping[str, Any]
    old: Sequence[str]

    def begin(self) -> None:
        """Remove what an earlier run left, and say in ``run.json`` that this one has begun."""
        for name in self.old:
            shutil.rmtree(self.path / name) if name.endswith("/") else (self.path / name).unlink(missing_ok=True)
        self._record({**self.about, "files": list(self.names)})

    def finish(self, record: Mapping[str, Any]) -> None:
        """Write ``run.json``, the last file of a run, with the names of all others."""
        files = [name for name in self.names if _exists(self.path / name)]
        self._record({**self.about, **record, "files": files, "finished": _now()})

    def _record(self, record: Mapping[str, Any]) -> None:
        with replacing(self.path / RECORD) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n")


@contextmanager
def open_results(
    path: Path,
    names: Sequence[str],
    *,
    command: str,
    inputs: Iterable[Path],
    overwrite: bool = False,
    resume: bool = False,
) -> Iterator[ResultsFolder]:
    """Make or open a folder for the results of a run, and keep other runs out of it.

    Nothing in it is changed before `ResultsFolder.begin`. If the block fails and has written nothing, the folder is as
    it was before.

    Args:
        path: of the folder.
        names: what the run may write there, beside ``run.json``; the names of folders end with a slash.
        command: the name of the command.
        inputs: files that the run reads.
        overwrite: remove the results of an earlier run, and replace files that are in the way.
        resume: continue an unfinished run of the same command.

    Raises:
        InputError: if the folder holds results of another run or a file that would be replaced, and overwrite is false;
            if a file that would be replaced is an input, whatever overwrite; or if another run is writing there.
    """
    made = [folder for folder in (path, *path.parents) if not folder.exists()]
    output_folder(path)
    try:
        with locked(path / _LOCK, where=path):
            remove_stale(path)
            old = _to_remove(path, names, command, [*inputs], overwrite=overwrite, resume=resume)
            results = ResultsFolder(path, names, {"name": command, "started": _now()}, old)
            try:
                yield results
            except BaseException:
                _forget_unless_written(results)
                raise
    except BaseException:
        with suppress(OSError):  # the first that is not empty, and those above it, stay
            for folder in made:
                folder.rmdir()
        raise


@contextmanager
def new_files(paths: Sequence[Path], *, inputs: Iterable[Path], lock: Path, overwrite: bool) -> Iterator[None]:
    """Keep other runs from files that a block writes, which have no folder of results.

    Raises:
        InputError: if one of them is there and overwrite is false; if one is an input; or if another run writes them.
    """
    with locked(lock, where=paths[0]):
        remove_stale(lock.parent)
        _check_no_input(paths, [*inputs])
        _check_free([path for path in paths if _exists(path)], overwrite=overwrite)
        yield


@contextmanager
def locked(lock: Path, *, where: Path) -> Iterator[None]:
    """Hold a lock file within a block; the system releases it when the process ends, however it ends.

    Raises:
        InputError: if another process holds it, or it cannot be made.
    """
    while True:
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            raise WriteError(f"{where} cannot be written ({error.strerror}): choose another --out") from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise InputError(f"another run is writing to {where}: wait for it, or choose another --out") from None
        except OSError as error:
            text = f"{where} cannot be locked ({error.strerror}): make sure that no other run writes there"
            warnings.warn(text, InputWarning, stacklevel=4)
        if os.fstat(descriptor).st_nlink:
            break
        os.close(descriptor)  # its last holder removed it between the two
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def _to_remove(
    path: Path, names: Sequence[str], command: str, inputs: Sequence[Path], *, overwrite: bool, resume: bool
) -> list[str]:
    """Return what an earlier run left; refuse what must not be lost."""
    before = _read(path / RECORD)
    listed = before.get("files")
    listed = [name for name in listed if _is_plain(name)] if isinstance(listed, list) else []
    left = [name for name in listed if _exists(path / name)]
    goes_on = resume and "finished" not in before and before.get("name") == command
    there = [name for name in names if _exists(path / name)]
    _check_no_input([path / name for name in {*names, RECORD, *(left if overwrite else [])}], inputs)
    if not overwrite and not goes_on and (left or "finished" in before):
        kind = f"the results of another run ({before.get('name')}, {before.get('started')})"
        way = "choose another --out, or remove them with --overwrite"
        if "finished" not in before:
            kind = f"the results of an unfinished run ({before.get('name')}, begun {before.get('started')})"
            way = f"{'continue with --resume, ' if any(name.endswith('/') for name in left) else ''}{way}"
        raise InputError(f"{path} holds {kind}: {examples(left) or RECORD}: {way}")
    foreign = [name for name in there if name not in listed]
    foreign += [RECORD] if not before and _exists(path / RECORD) else []
    for name in foreign:
        if not name.endswith("/") and (path / name).is_dir() and not (path / name).is_symlink():
            raise InputError(f"{path / name} is a folder where a file is to be written: choose another --out")
    _check_free([path / name for name in foreign], overwrite=overwrite)
    return [] if goes_on else list(dict.fromkeys([*left, *there]))


def _check_free(paths: Sequence[Path], *, overwrite: bool) -> None:
    if paths and not overwrite:
        raise InputError(
            f"{examples(paths)} would be replaced: choose another --out, or replace what is there with --overwrite"
        )


def _check_no_input(outputs: Iterable[Path], inputs: Sequence[Path]) -> None:
    places = {os.path.realpath(path): path for path in inputs}
    files = {(status.st_dev, status.st_ino): path for path in inputs if (status := _status(path))}
    for path in outputs:
        status = _status(path)
        read = places.get(os.path.realpath(path)) or (status and files.get((status.st_dev, status.st_ino)))
        if read:
            raise InputError(f"{read} is read by this run, and would be replaced by its results: choose another --out")


def _forget_unless_written(results: ResultsFolder) -> None:
    """Remove ``run.json`` of a run that has written nothing else."""
    before = _read(results.path / RECORD)
    ours = before.get("started") == results.about["started"] and "finished" not in before
    if ours and not any(_exists(results.path / name) for name in results.names):
        (results.path / RECORD).unlink(missing_ok=True)


def _read(record: Path) -> dict[str, Any]:
    """Return what ``run.json`` holds; nothing if bayeslmm did not write it."""
    try:
        found = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and isinstance(found.get("files"), list) else {}


def _is_plain(name: object) -> bool:
    """Return whether a name is of something in the folder itself: a damaged record must not remove anything else."""
    return isinstance(name, str) and Path(name).name == name.removesuffix("/") and name not in ("", "/", "..", "../")


def _exists(path: Path) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except (OSError, ValueError) as error:
        long = isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG
        why = "is too long" if long else str(error)
        raise InputError(f"{path.name!r} cannot be the name of a file ({why}): rename the trait") from None
    return True


def _status(path: Path) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):
        return None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
