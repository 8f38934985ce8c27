"""A scan on disk while it runs: one file for each block of markers, so that a run that was stopped can go on."""

import fcntl
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayeslmm.checks import InputError, examples
from bayeslmm.files import output_folder, replacing

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
        with replacing(self.path(number)) as temporary:
            table.to_parquet(temporary, index=False)

    def tables(self, numbers: Iterable[int]) -> Iterator[pd.DataFrame]:
        """Yield the tables of some blocks, in order; some may be empty.

        Raises:
            InputError: if a file is damaged.
        """
        for number in numbers:
            path = self.path(number)
            try:
                yield pd.read_parquet(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise InputError(f"{path} cannot be read ({error}): delete it, and go on with --resume") from None

    def join(self, blocks: int, path: Path, form: Format) -> None:
        """Write so many blocks as one file, a block at a time, without the column line. At least one has a row."""
        # Columns without rows have no type.
        tables = (table.drop(columns="line") for table in self.tables(range(blocks)) if len(table))
        with replacing(path) as temporary:
            if form == "tsv":
                with temporary.open("w", newline="") as stream:
                    for k, table in enumerate(tables):
                        table.to_csv(stream, sep="\t", index=False, header=k == 0, na_rep="NA", float_format="%.8g")
            else:
                plain = (pa.Table.from_pandas(t, preserve_index=False).replace_schema_metadata() for t in tables)
                first = next(plain)
                with pq.ParquetWriter(temporary, first.schema) as writer:
                    writer.write_table(first)
                    for table in plain:
                        writer.write_table(table)

    def remove(self) -> None:
        """Delete the folder, once its tables are joined."""
        shutil.rmtree(self.folder)


@contextmanager
def open_parts(folder: Path, run: Mapping[str, Any], *, resume: bool) -> Iterator[Parts]:
    """Open the folder of a scan, or make it, and keep other runs out of it.

    Args:
        folder: of the parts.
        run: what is tested and how: another run cannot be continued.
        resume: go on with the blocks that are there.

    Raises:
        InputError: if there are blocks and resume is false, if they are of another run, or if one is writing there.
    """
    described, record = json.loads(json.dumps(run)), folder / "run.json"
    with (output_folder(folder) / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # released when the process ends, however it ends
        except OSError:
            raise InputError(f"another scan is writing to {folder}: let it end, or choose another --out") from None
        if any(folder.glob("*.parquet")):
            if not resume:
                raise InputError(
                    f"{folder} holds a scan that was not finished: go on with --resume, or delete the folder to start "
                    "anew"
                )
            _check_same(record, described)
        with replacing(record) as temporary:
            temporary.write_text(json.dumps(described, indent=1) + "\n")
        yield Parts(folder)


def _check_same(record: Path, described: Mapping[str, Any]) -> None:
    """Refuse to go on with another scan."""
    anew = "delete the folder to start anew"
    try:
        before = json.loads(record.read_text())
    except (OSError, ValueError):
        raise InputError(f"{record} does not say which scan was begun there: {anew}") from None
    for name, value in described.items():
        if (was := before.get(name)) == value:
            continue
        if name == "files":
            raise InputError(
                f"{record.parent} is of another scan: {examples(_changed(was, value))} changed since: {anew}"
            )
        raise InputError(
            f"{record.parent} is of another scan, with {name} {was} where it is {value} now: give the same options and "
            f"files, or {anew}"
        )


def _changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
