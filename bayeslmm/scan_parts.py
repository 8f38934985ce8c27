"""A scan on disk while it runs: one file for each block of markers, so that a run that was stopped can go on."""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from bayeslmm.checks import InputError
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
        """Yield the tables of some blocks, in order; some may be empty."""
        for number in numbers:
            yield pd.read_parquet(self.path(number))

    def join(self, path: Path, form: Format) -> None:
        """Write all blocks as one file, a block at a time. At least one must have a row."""
        numbers = sorted(int(part.stem) for part in self.folder.glob("*.parquet"))
        tables = (table for table in self.tables(numbers) if len(table))  # columns without rows have no type
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


def open_parts(folder: Path, run: Mapping[str, Any], *, resume: bool) -> Parts:
    """Open the folder of a scan, or make it.

    Args:
        folder: of the parts.
        run: what is tested and how: another run cannot be continued.
        resume: go on with the blocks that are there.

    Raises:
        InputError: if there are blocks and resume is false, or if they are of another run.
    """
    described, record = json.loads(json.dumps(run)), folder / "run.json"
    if any(folder.glob("*.parquet")):
        if not resume:
            raise InputError(
                f"{folder} holds a scan that was not finished: go on with --resume, or delete the folder to start anew"
            )
        before = json.loads(record.read_text())
        if other := [name for name in described if before.get(name) != described[name]]:
            name = other[0]
            raise InputError(
                f"{folder} is of another scan, with {name} {before.get(name)} where it is {described[name]} now: give "
                "the same options and files, or delete the folder to start anew"
            )
    output_folder(folder)
    with replacing(record) as temporary:
        temporary.write_text(json.dumps(described, indent=1) + "\n")
    return Parts(folder)
