"""A scan on disk while it runs: one file for each block of markers, so that a run that was stopped can go on."""

import gzip
import io
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

from bayeslmm.base.checkpoints import check_checkpoints, checkpoints, open_checkpoints
from bayeslmm.base.files import read_sealed, replacing, write_sealed
from bayeslmm.scan.conventions import Convention

_WHAT, _NAMES = "scan", "[0-9]*.parquet"
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
    with open_checkpoints(folder, run, names=_NAMES, what=_WHAT, resume=resume):
        yield Parts(folder)


def check_parts(folder: Path, run: Mapping[str, Any], *, resume: bool) -> None:
    """Refuse to go on with another scan, or to lose one.

    Raises:
        InputError: as `open_parts`.
    """
    check_checkpoints(folder, run, names=_NAMES, what=_WHAT, resume=resume)
    for path in checkpoints(folder, _NAMES):
        read_sealed(path, advice=_ADVICE)  # now, not when the others are tested
