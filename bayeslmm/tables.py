"""Phenotype, covariate and id tables: text in, named columns of numbers or categories out."""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.checks import InputError, check_unique, examples, quoted
from bayeslmm.files import open_text, read_lines

# What programs of the field write for "not measured", in any case: R, pandas, SAS, SQL, spreadsheets, ASReml.
MISSING = frozenset({"", "na", "n/a", "nan", "-nan", "<na>", "#n/a", "#na", "null", "none", ".", "-", "*"})
_LARGEST = 1e300  # of a number: sums over individuals must be numbers as well
_ID_COLUMNS = ("IID", "#IID")
_FAMILY_COLUMNS = ("FID", "#FID")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
_SEVERAL_RECORDS = (
    "several records of one individual are not modelled, give one row for each, such as their mean (individuals are "
    "matched by IID alone)"
)


@dataclass(frozen=True)
class Table:
    """A table with one row per individual, as text; columns become numbers when they are asked for.

    Attributes:
        path: where it was read, for messages.
        ids: the IID of each row.
        lines: the line of the file at which each row stands.
        columns: name -> the column's text, one entry per row.
        codes: what means "not measured", beside `MISSING`.
    """

    path: Path
    ids: tuple[str, ...]
    lines: list[int]
    columns: dict[str, ndarray]
    codes: tuple[str, ...] = ()

    def names(self) -> list[str]:
        """Return the names of the data columns, in the order of the file."""
        return list(self.columns)

    def text(self, name: str) -> ndarray:
        """Return one column as text.

        Raises:
            InputError: if there is no such column.
        """
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {quoted(name)}; it has {examples(self.columns, most=12)}")
        return self.columns[name]

    def is_missing(self, name: str) -> Bool[ndarray, " rows"]:
        """Return which rows of a column are missing."""
        return is_missing(self.text(name), self.codes)

    def is_numeric(self, name: str) -> bool:
        """Return whether a column holds numbers, and not categories.

        Raises:
            InputError: if it is numbers but for some values, naming these: one stray word must not make categories of
                all numbers.
        """
        values, missing, wrong = self._parsed(name)
        if not wrong.size:
            return True
        text = self.text(name)
        commas = np.array([bool(_DECIMAL_COMMA.fullmatch(value)) for value in text[wrong]])
        words = int((~commas & np.isnan(values[wrong])).sum())  # and not infinite numbers
        if words >= (len(text) - missing.sum()) / 2:
            return False
        row = int(wrong[0])
        advice = (
            "write decimals with a point"
            if commas.all()
            else "correct them, list them as codes of missing values, or say that the column is categorical"
        )
        shown = examples(map(quoted, dict.fromkeys(text[wrong])))
        raise InputError(
            f"{self.path} line {self.lines[row]} (id {examples([self.ids[row]])}): column {quoted(name)} holds "
            f"numbers, but {wrong.size} of {len(text)} values are none ({shown}): {advice}"
        )

    def numbers(self, name: str) -> Float[ndarray, " rows"]:
        """Return one column as numbers, NaN where it is missing.

        Raises:
            InputError: naming the line of the first value that is neither a finite number nor a missing code.
        """
        values, _, wrong = self._parsed(name)
        if wrong.size:
            row = int(wrong[0])
            raise InputError(
                f"{self.path} line {self.lines[row]} (id {examples([self.ids[row]])}): column {quoted(name)} must be a "
                f"number or NA, but {quoted(self.text(name)[row])} was found"
                + (f" ({wrong.size} such lines)" if wrong.size > 1 else "")
            )
        return values

    def missing_code_suspected(self, name: str) -> bool:
        """Return whether -9 in this column looks like PLINK's missing code taken for a value.

        It does when -9 is the smallest value and stands apart: all others are at least 3 of their standard
        deviations above it.
        """
        values, *_ = self._parsed(name)
        values = values[np.isfinite(values)]
        others = values[values != -9.0]
        if others.size in (0, values.size):
            return False
        unit = np.abs(others).max() or 1.0
        below = others.mean() / unit - 3 * (others / unit).std()
        return bool(others.min() > -9.0 and below > -9.0 / unit)

    def _parsed(self, name: str) -> tuple[Float[ndarray, " rows"], Bool[ndarray, " rows"], Int64[ndarray, " wrong"]]:
        """Return a column as numbers, where it is missing, and in which rows something else stands."""
        text, missing = self.text(name), self.is_missing(name)
        numbers = as_numbers(text)
        numbers[missing] = np.nan
        return numbers, missing, np.flatnonzero(~(np.abs(numbers) <= _LARGEST) & ~missing)


def as_numbers(text: ndarray) -> Float[ndarray, " rows"]:
    """Return texts as numbers, NaN where they are none."""
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


def near_matches(unknown: Iterable[str], known: Collection[str]) -> dict[str, str]:
    """Return which unknown ids differ from a known one in nothing but case, leading zeros or ``.0`` at the end."""
    unknown = list(unknown)
    if not unknown:
        return {}
    alike = {_simplified(name): name for name in known}
    return {name: alike[key] for name in unknown if (key := _simplified(name)) in alike}


def spelled_alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of different names that are near matches, as in `near_matches`."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_simplified(name)].append(name)
    return [(group[0], other) for group in groups.values() for other in group[1:]]


def near_words(near: dict[str, str]) -> str:
    """Say which ids nearly match: ``811.0 for 811``."""
    return examples(f"{examples([name])} for {examples([other])}" for name, other in near.items())


def _simplified(name: str) -> str:
    return re.sub(r"(?<![0-9])0+(?=[0-9])", "", re.sub(r"(?<=[0-9])\.0*$", "", name.casefold()))


def read_table(path: str | Path, *, missing: Sequence[str] = ()) -> Table:
    """Read a table whose header names its columns, one of them ``IID`` (or ``#IID``).

    Tabs, commas or runs of blanks separate the columns: the header line decides. ``FID`` or ``#FID`` is accepted and
    not used: individuals are matched by IID. Missing is empty or one of `MISSING` (``NA``, ``nan``, ``.``, ``null``
    and so on).

    Args:
        path: the file, which may be compressed (gzip).
        missing: further codes that mean "not measured", such as ``-9``, which is ``-9.0`` as well.

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
    check_unique(iid.tolist(), where=path, advice=_SEVERAL_RECORDS)
    data = {name: column for name, column in columns.items() if name not in (*_ID_COLUMNS, *_FAMILY_COLUMNS)}
    return Table(Path(path), tuple(iid.tolist()), lines, data, tuple(missing))


class People(NamedTuple):
    """Individuals of a file without columns of data.

    Attributes:
        families: FID of each, shape (n,); 0 where the file has none.
        ids: IID of each, shape (n,).
    """

    families: tuple[str, ...]
    ids: tuple[str, ...]


def read_fam(path: str | Path) -> People:
    """Read a PLINK ``.fam``: six columns, or more where GEMMA's further phenotypes follow.

    Raises:
        InputError: no individual, fewer columns, lines of different widths, or repeated IIDs.
    """
    lines = _fields(path)
    for number, fields in lines:
        if len(fields) < 6:
            raise InputError(
                f"{path} line {number}: a .fam has six columns (FID IID father mother sex phenotype), but "
                f"{len(fields)} were found: write it with plink"
            )
    return _people(path, lines)


def read_ids(path: str | Path) -> People:
    """Read the ids beside a kinship matrix: a ``.fam``, GCTA's ``.grm.id`` (FID IID), or IIDs alone.

    A first line ``#FID IID`` or ``#IID``, which plink2 writes, is a header.

    Raises:
        InputError: no individual, lines of different widths, or repeated IIDs.
    """
    return _people(path, _fields(path))


def _fields(path: str | Path) -> list[tuple[int, list[str]]]:
    """Return (line, fields) of the lines of a table without a header that are not blank; all have the same width."""
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    if lines and lines[0][1][0] in ("#FID", "#IID"):
        del lines[0]
    if not lines:
        raise InputError(f"{path} holds no individual: write it with the program that wrote the files beside it")
    width = len(lines[0][1])
    for number, fields in lines:
        if len(fields) != width:
            raise InputError(
                f"{path} line {number}: {width} columns were expected, as in the first line, but {len(fields)} were "
                f"found ({quoted(' '.join(fields[:9]))}): ids hold no blanks"
            )
    return lines


def _people(path: str | Path, lines: list[tuple[int, list[str]]]) -> People:
    ids = tuple(fields[0] if len(fields) == 1 else fields[1] for _, fields in lines)
    check_unique(ids, where=path)
    return People(tuple("0" if len(fields) == 1 else fields[0] for _, fields in lines), ids)


def read_text(path: str | Path) -> tuple[list[str], ndarray, list[int]]:
    """Read a text table as strings, untouched; its header line decides the separator.

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
            f"{path} line {lines[0]}: each column needs its own name, but {examples(map(quoted, repeated))} stands "
            "twice: give each another, or add a header if this is a line of data"
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
