"""A scan on disk while it runs: one file for each block of markers, so that a run that was stopped can go on."""

import gzip
import io
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import batched
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import output_folder, read_sealed, remove_stale, replacing, write_sealed
from bayeslmm.scan.conventions import Convention

_RECORD = "run.json"
_MOST_OPEN = 200  # files at a time: systems allow few
_ADVICE = "delete it, and resume the scan"

Format = Literal["tsv", "parquet"]


@dataclass(frozen=True)
class Parts:
    """The tables of the blocks that were tested so far, in a folder; made by `open_parts`.

    Attributes:
        folder: holds ``run.json``, what is tested and how, and ``000000.parquet`` and so on.
    """

    folder: Path

    def path(self, number: int) -> Path:
        """Return the name of the file of a block."""
        return self.folder / f"{number:06d}.parquet"

    def has(self, number: int) -> bool:
        """Return whether a block was tested."""
        return self.path(number).exists()

    def write(self, number: int, table: pd.DataFrame) -> None:
        """Keep the table of a block, with its `attrs`."""
        block = io.BytesIO()
        table.to_parquet(block, index=False)
        write_sealed(self.path(number), block.getvalue())

    def tables(self, numbers: Iterable[int]) -> Iterator[pd.DataFrame]:
        """Yield the tables of some blocks, in order; some may be empty.

        Raises:
            InputError: if a file is damaged.
        """
        for number in numbers:
            yield pd.read_parquet(io.BytesIO(read_sealed(self.path(number), advice=_ADVICE)))

    def join(self, numbers: Iterable[int], paths: Mapping[str, Path], form: Format, convention: Convention) -> None:
        """Write blocks as one file for each trait, a block at a time, without the columns trait and line.

        Args:
            numbers: of the blocks.
            paths: trait -> its file; a trait without a row has none.
            form: of the files.
            convention: their columns.
        """
        for some in batched(paths, _MOST_OPEN):
            with ExitStack() as files:
                writers: dict[str, _Writer] = {}
                for whole in self.tables(numbers):
                    for trait, table in whole[whole["trait"].isin(some)].groupby("trait", sort=False):
                        name = str(trait)
                        if name not in writers:
                            writers[name] = files.enter_context(_opened(paths[name], form, convention))
                        writers[name](table.drop(columns=["trait", "line"]))

    def remove(self) -> None:
        """Delete the folder, once its tables are joined."""
        shutil.rmtree(self.folder)


type _Writer = Callable[[pd.DataFrame], None]
"""Adds rows to a file."""


@contextmanager
def _opened(path: Path, form: Format, convention: Convention) -> Iterator[_Writer]:
    """Yield what adds tables to a file, which is whole or absent."""
    with replacing(path) as temporary:
        if form == "parquet":
            with _parquet(temporary) as writer:
                yield writer
            return
        # Without a time, so that a scan that was resumed has the same bytes.
        packed = temporary.open("wb") if path.suffix != ".gz" else gzip.GzipFile(temporary, "wb", mtime=0)
        with io.TextIOWrapper(packed, encoding="utf-8", newline="") as stream:
            first = True

            def write(table: pd.DataFrame) -> None:
                nonlocal first
                shown = convention.columns(table)
                shown.to_csv(
                    stream, sep="\t", index=False, header=first, na_rep=convention.missing, float_format="%.8g"
                )
                first = False

            yield write


@contextmanager
def _parquet(path: Path) -> Iterator[_Writer]:
    with ExitStack() as stack:
        opened: list[pq.ParquetWriter] = []

        def write(table: pd.DataFrame) -> None:
            plain = pa.Table.from_pandas(table, preserve_index=False).replace_schema_metadata()
            if not opened:
                opened.append(stack.enter_context(pq.ParquetWriter(path, plain.schema)))
            opened[0].write_table(plain)

        yield write


@contextmanager
def open_parts(folder: Path, run: Mapping[str, Any], *, resume: bool) -> Iterator[Parts]:
    """Open the folder of a scan, or make it; whoever does must keep other runs out of it.

    Args:
        folder: of the parts.
        run: what is tested and how: another run cannot be continued.
        resume: go on with the blocks that are there.

    Raises:
        InputError: if there are blocks and resume is false, or if they are of another run.
    """
    check_parts(folder, run, resume=resume)
    remove_stale(output_folder(folder))
    with replacing(folder / _RECORD) as temporary:
        temporary.write_text(json.dumps(_described(run), indent=1) + "\n")
    try:
        yield Parts(folder)
    except KeyboardInterrupt as stopped:
        if _blocks(folder):
            stopped.add_note("resume the scan to go on")
        raise
    finally:
        if folder.is_dir() and not _blocks(folder):
            shutil.rmtree(folder)


def check_parts(folder: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse to go on with another scan, or to lose one.

    Raises:
        InputError: as `open_parts`.
    """
    if not _blocks(folder):
        return
    if not resume:
        raise InputError(f"{folder} holds an unfinished scan: resume it, or start again and overwrite it")
    _check_same(folder / _RECORD, _described(run))
    for path in _blocks(folder):
        read_sealed(path, advice=_ADVICE)  # now, not when the others are tested


def _blocks(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.parquet"))


def _described(run: Mapping[str, Any]) -> dict[str, Any]:
    return json.loads(json.dumps(run))


def _check_same(record: Path, described: Mapping[str, Any]) -> None:
    """Refuse to continue another scan."""
    anew = "start again and overwrite it"
    try:
        before = json.loads(record.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        before = None
    if not isinstance(before, dict) or not isinstance(before.get("files", {}), dict):
        raise InputError(f"{record} does not say which scan was started there: {anew}")
    for name, value in described.items():
        if (was := before.get(name)) == value:
            continue
        if name == "files" and was:
            raise InputError(
                f"{record.parent} is of another scan: {examples(_changed(was, value))} changed since: {anew}"
            )
        raise InputError(
            f"{record.parent} is of another scan, with {name} {was} where it is {value} now: give the same options and "
            f"files, or {anew}"
        )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
