"""Phenotype, covariate and id tables: text in, named columns of numbers or categories out."""

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.checks import InputError, check_readable, check_unique, examples
from bayeslmm.files import read_lines

MISSING = frozenset({"", "NA", "na", "N/A", "NaN", "nan", "NAN"})
_ID_COLUMNS = ("IID", "#IID")
_FAMILY_COLUMNS = ("FID", "#FID")


@dataclass(frozen=True)
class Table:
    """A table with one row per individual, as text; columns become numbers when they are asked for.

    Attributes:
        path: where it was read, for messages.
        ids: the IID of each row.
        lines: the line of the file at which each row stands.
        columns: name -> the column's text, one entry per row.
        missing: the codes that mean "not measured".
    """

    path: Path
    ids: tuple[str, ...]
    lines: list[int]
    columns: dict[str, ndarray]
    missing: frozenset[str] = MISSING

    def names(self) -> list[str]:
        """Return the names of the data columns, in the order of the file."""
        return list(self.columns)

    def text(self, name: str) -> ndarray:
        """Return one column as text.

        Raises:
            InputError: if there is no such column.
        """
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {name!r}; it has {examples(self.columns, most=12)}")
        return self.columns[name]

    def is_missing(self, name: str) -> ndarray:
        """Return which rows of a column are missing, shape (rows,)."""
        return np.isin(self.text(name), list(self.missing))

    def is_numeric(self, name: str) -> bool:
        """Return whether every value of a column that is present is a number."""
        return not self._not_numbers(name).any()

    def numbers(self, name: str) -> Float[ndarray, " rows"]:
        """Return one column as numbers, NaN where it is missing.

        Raises:
            InputError: naming the line of the first value that is neither a finite number nor a missing code.
        """
        wrong = np.flatnonzero(self._not_numbers(name))
        if wrong.size:
            row = int(wrong[0])
            raise InputError(
                f"{self.path} line {self.lines[row]} (id {self.ids[row]}): column {name!r} must be a number "
                f"or NA, but {self.text(name)[row]!r} was found"
                + (f" ({wrong.size} such lines)" if wrong.size > 1 else "")
            )
        return self._parsed(name)

    def missing_code_suspected(self, name: str) -> bool:
        """Return whether -9 in this column looks like PLINK's missing code taken for a value.

        It does when -9 is the smallest value and stands apart: all others are at least 3 of their standard
        deviations above it.
        """
        values = self._parsed(name)
        values = values[np.isfinite(values)]
        others = values[values != -9.0]
        if others.size in (0, values.size):
            return False
        return bool(others.min() > -9.0 and others.mean() - 3 * others.std() > -9.0)

    def _parsed(self, name: str) -> ndarray:
        present = pd.Series(np.where(self.is_missing(name), "nan", self.text(name)))
        return pd.to_numeric(present, errors="coerce").to_numpy(float)

    def _not_numbers(self, name: str) -> ndarray:
        return ~np.isfinite(self._parsed(name)) & ~self.is_missing(name)


def read_table(path: str | Path, *, missing: Sequence[str] = ()) -> Table:
    """Read a table whose header names its columns, one of them ``IID`` (or ``#IID``).

    Tabs, commas or runs of blanks separate the columns: the header line decides. ``FID`` or ``#FID`` is
    accepted and not used: people are matched by IID. Missing is ``NA``, empty or ``nan``.

    Args:
        path: the file; ``.gz`` is opened too.
        missing: further codes that mean "not measured", such as ``-9``.

    Raises:
        InputError: no such file, no header with IID, repeated names or ids, rows of another length.
    """
    names, rows, lines = read_text(path)
    ids = [name for name in names if name in _ID_COLUMNS]
    if len(ids) != 1:
        raise InputError(
            f"{path} line 1: the header must name one column IID (or #IID), but it names {examples(names, most=8)}: "
            "add a header line such as 'FID IID trait'"
        )
    columns = dict(zip(names, rows.T, strict=True))
    iid = columns[ids[0]]
    if (iid == "").any():
        raise InputError(f"{path} line {lines[int(np.argmax(iid == ''))]}: the IID is empty")
    check_unique(iid.tolist(), where=path)
    data = {name: column for name, column in columns.items() if name not in (*_ID_COLUMNS, *_FAMILY_COLUMNS)}
    return Table(Path(path), tuple(iid.tolist()), lines, data, MISSING | set(missing))


def read_fam(path: str | Path) -> tuple[str, ...]:
    """Read the IIDs of a PLINK ``.fam`` (six columns, no header) or a GCTA ``.grm.id`` (two columns).

    Raises:
        InputError: fewer than two columns, or repeated IIDs.
    """
    ids = []
    for number, line in enumerate(read_lines(path), start=1):
        fields = line.split()
        if not fields:
            continue
        if len(fields) < 2:
            raise InputError(f"{path} line {number}: FID and IID are needed, but {line.strip()!r} was found")
        ids.append(fields[1])
    check_unique(ids, where=path)
    return tuple(ids)


def read_text(path: str | Path) -> tuple[list[str], ndarray, list[int]]:
    """Read a text table as strings, untouched; its header line decides the separator.

    Returns:
        The column names, the rows as an array of str of shape (rows, columns), and the line of each row.

    Raises:
        InputError: an empty file, repeated column names, or a row of another length than the header.
    """
    path = check_readable(path)
    rows: list[list[str]] = []
    lines: list[int] = []
    try:
        with open_text(path) as stream:
            separator = separator_of(stream.readline())
            stream.seek(0)
            for number, fields in split_lines(stream, separator):
                if rows and len(fields) != len(rows[0]):
                    raise InputError(
                        f"{path} line {number}: {len(rows[0])} columns were expected (as in the header), "
                        f"but {len(fields)} were found"
                    )
                rows.append([field.strip() for field in fields])
                lines.append(number)
    except (UnicodeDecodeError, gzip.BadGzipFile, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a text table: {error}") from None
    if not rows:
        raise InputError(f"{path} is empty: a header line and data were expected")
    if len(rows) == 1:
        raise InputError(f"{path} has a header but no data")
    names = rows[0]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(f"{path} line 1: each column needs its own name, but {examples(repeated)} stands twice")
    return names, np.array(rows[1:], dtype=object), lines[1:]


def open_text(path: Path) -> TextIOWrapper:
    """Open a text file for reading, through gzip if its name ends in ``.gz``."""
    if path.suffix == ".gz":
        return cast(TextIOWrapper, gzip.open(path, "rt", encoding="utf-8-sig"))
    return path.open(encoding="utf-8-sig")


def split_lines(stream: TextIOWrapper, separator: str | None) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the lines that are not blank."""
    if separator is None:
        yield from ((number, line.split()) for number, line in enumerate(stream, start=1) if line.strip())
    else:
        reader = csv.reader(stream, delimiter=separator)
        yield from ((reader.line_num, fields) for fields in reader if any(fields))


def separator_of(header: str) -> str | None:
    """Return the tab or comma that separates the fields of a header, None for runs of blanks."""
    return "\t" if "\t" in header else "," if "," in header else None
