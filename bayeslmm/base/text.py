"""Text tables as strings: header, separator, rows; and which words mean that a value is missing."""

import csv
from collections import Counter
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted
from bayeslmm.base.files import open_text

# What programs in the field write for "not measured", in any case: R, pandas, SAS, SQL, spreadsheets, ASReml.
MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "<na>", "#n/a", "#na", "null", "none", ".", "-", "*"})


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


def read_text(path: str | Path) -> tuple[list[str], ndarray, list[int]]:
    """Read a text table as unchanged strings; its header line decides the separator.

    Returns:
        The column names, the rows as an array of str of shape (rows, columns), and the line of each row.

    Raises:
        InputError: an empty file, repeated column names, or a row of another length than the header.
    """
    rows: list[list[str]] = []
    lines: list[int] = []
    with open_text(path) as stream:
        for number, fields in split_lines(stream, path):
            if rows and len(fields) != len(rows[0]):
                raise InputError(
                    f"{path} line {number}: {len(rows[0])} columns were expected (as in the header), "
                    f"but {len(fields)} were found"
                )
            rows.append([field.strip() for field in fields])
            lines.append(number)
    if not rows:
        raise InputError(f"{path} is empty: a header line and data were expected")
    names = rows[0]
    if repeated := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(
            f"{path} line {lines[0]}: column names must be unique, but {examples(map(quoted, repeated))} occurs more "
            "than once: rename it, or add a header if this is a line of data"
        )
    if len(rows) == 1:
        raise InputError(f"{path} has a header but no data")
    return names, np.array(rows[1:], dtype=object), lines[1:]


def split_lines(stream: TextIOWrapper, path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, fields) of the lines that are not blank; the first decides what separates them.

    Raises:
        InputError: quotes that are not closed, or around more than one line, as they would swallow rows.
    """
    number, header = 1, stream.readline()
    while header and not header.strip():
        number, header = number + 1, stream.readline()
    separator = separator_of(header, path)

    def lines() -> Iterator[str]:
        yield header
        yield from stream

    if separator is None:
        yield from ((k, line.split()) for k, line in enumerate(lines(), start=number) if line.strip())
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


def separator_of(header: str, path: str | Path) -> str | None:
    """Return the tab or comma that separates the fields of a header, None for runs of blanks.

    Raises:
        InputError: if semicolons separate them: decimals may then have commas.
    """
    if header.count(";") > sum(map(header.count, "\t ,")):
        raise InputError(
            f"{path}: columns are separated by semicolons: save it with tabs or commas between columns and points in "
            "decimals"
        )
    return "\t" if "\t" in header else "," if "," in header else None
