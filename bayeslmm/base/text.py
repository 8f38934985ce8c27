"""Text tables as strings: header, separator, rows; and which words mean that a value is missing."""

import csv
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted
from bayeslmm.base.files import open_text

# What programs in the field write for "not measured", in any case: R, pandas, SAS, SQL, spreadsheets, ASReml.
MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "<na>", "#n/a", "#na", "null", "none", ".", "-", "*"})


ROW_NAMES = "row.names"
"""Name of a column without one, in which R and pandas write the names of rows."""
_FIELD = re.compile(r'"([^"]*)"(?=\s|$)|(\S+)')


def as_numbers(text: ndarray) -> Float[ndarray, " rows"]:
    """Return texts as numbers, NaN where they are not."""
    return pd.to_numeric(pd.Series(text, dtype=object), errors="coerce").to_numpy(float, copy=True)


def is_missing(text: ndarray, codes: Sequence[str] = ()) -> Bool[ndarray, " rows"]:
    """Return which texts mean "not measured": `MISSING`, or one of these codes."""
    return np.array([value.lower() in MISSING for value in text], dtype=bool) | is_code(text, codes)


def is_code(text: ndarray, codes: Sequence[str]) -> Bool[ndarray, " rows"]:
    """Return which texts are one of these codes; those that are numbers are compared as numbers."""
    if not codes:
        return np.zeros(len(text), dtype=bool)
    numbers = as_numbers(np.array(codes, dtype=object))
    return np.isin(text, list(codes)) | np.isin(as_numbers(text), numbers[np.isfinite(numbers)])


class Cells(NamedTuple):
    """Rows of a table as unchanged text, all of one length; the first may be a header.

    Attributes:
        rows: the text of each cell.
        lines: where each row stands in its file.
        unit: what is counted in ``lines``.
        decimal_comma: whether numbers may have a comma in place of the point.
    """

    rows: list[list[str]]
    lines: list[int]
    unit: str = "line"
    decimal_comma: bool = False


def read_cells(path: str | Path) -> Cells:
    """Read a text table; its first line decides the separator.

    Row names as R writes them get the name `ROW_NAMES`: their column has none in the header.

    Raises:
        InputError: an empty file, or a row of another length than the first.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    with open_text(path) as stream:
        header = next((line for line in stream if line.strip()), "")
    with open_text(path) as stream:
        for number, fields in split_lines(stream, path):
            if len(rows) == 1 and len(fields) == len(rows[0]) + 1 and header.lstrip().startswith('"'):
                rows[0] = ["", *rows[0]]
            if rows and len(fields) != len(rows[0]):
                raise InputError(
                    f"{path} line {number}: {len(rows[0])} columns were expected (as in the header), "
                    f"but {len(fields)} were found"
                )
            rows.append([field.strip() for field in fields])
            lines.append(number)
    if not rows:
        raise InputError(f"{path} is empty: a header line and data were expected")
    if not rows[0][0] and len(rows[0]) > 1:
        rows[0][0] = ROW_NAMES
    return Cells(rows, lines, decimal_comma=separator_of(header) == ";")


def check_header(cells: Cells, path: str | Path) -> None:
    """Refuse a table whose first row is no header.

    Raises:
        InputError: repeated column names, or no data.
    """
    if repeated := [name for name, count in Counter(cells.rows[0]).items() if count > 1]:
        raise InputError(
            f"{path} {cells.unit} {cells.lines[0]}: column names must be unique, but {examples(map(quoted, repeated))} "
            "occurs more than once: rename it, or add a header if this is a line of data"
        )
    if len(cells.rows) == 1:
        raise InputError(f"{path} has a header but no data")


def split_lines(stream: TextIOWrapper, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the lines that are not blank; the first decides what separates them.

    Raises:
        InputError: quotes that are not closed, or around more than one line, as they would swallow rows.
    """
    number, header = 1, stream.readline()
    while header and not header.strip():
        number, header = number + 1, stream.readline()
    separator = separator_of(header)

    def lines() -> Iterator[str]:
        yield header
        yield from stream

    if separator is None:
        yield from ((k, split_blanks(line)) for k, line in enumerate(lines(), start=number) if line.strip())
        return
    reader = csv.reader(lines(), delimiter=separator, strict=True)
    before = 0
    try:
        for fields in reader:
            if reader.line_num > before + 1:
                raise InputError(
                    f"{path} line {before + number}: a quote opens here that is closed on a later line, so that rows "
                    "would be lost: remove the quote"
                )
            if any(fields):
                yield before + number, fields
            before = reader.line_num
    except csv.Error as error:
        raise InputError(f"{path} line {before + number} cannot be split into columns ({error})") from None


def split_blanks(line: str) -> list[str]:
    """Return the fields of a line that blanks separate; those in quotes, as R writes them, without the quotes."""
    if '"' not in line:
        return line.split()
    return [inside or plain for inside, plain in _FIELD.findall(line)]


def separator_of(header: str) -> str | None:
    """Return the tab, comma or semicolon that separates the fields of a header, None for runs of blanks."""
    if header.count(";") > sum(map(header.count, "\t ,")):
        return ";"
    return "\t" if "\t" in header else "," if "," in header else None
