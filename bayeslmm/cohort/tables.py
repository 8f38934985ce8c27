"""Phenotype and covariate tables: text in, named columns of numbers or categories out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples, quoted
from bayeslmm.base.text import as_numbers, is_missing, read_text

_LARGEST = 1e300  # of a number: sums over individuals must be numbers as well
_ID_COLUMNS = ("IID", "#IID")
_FAMILY_COLUMNS = ("FID", "#FID")
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
SEVERAL_RECORDS = (
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
        columns: name -> the column's text, one entry per row; or numbers, NaN where one is missing.
        codes: what means "not measured", beside `MISSING`.
        unit: what is counted in ``lines``, for messages.
    """

    path: Path
    ids: tuple[str, ...]
    lines: list[int]
    columns: dict[str, ndarray]
    codes: tuple[str, ...] = ()
    unit: str = "line"

    def names(self) -> list[str]:
        """Return the names of the data columns, in the order of the file."""
        return list(self.columns)

    def text(self, name: str) -> ndarray:
        """Return one column as text.

        Raises:
            InputError: if there is no such column.
        """
        column = self._column(name)
        return column.astype(str).astype(object) if column.dtype.kind == "f" else column

    def is_missing(self, name: str) -> Bool[ndarray, " rows"]:
        """Return which rows of a column are missing."""
        column = self._column(name)
        return np.isnan(column) if column.dtype.kind == "f" else is_missing(column, self.codes)

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
            f"{self.path} {self.unit} {self.lines[row]} (id {examples([self.ids[row]])}): column {quoted(name)} holds "
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
                f"{self.path} {self.unit} {self.lines[row]} (id {examples([self.ids[row]])}): column {quoted(name)} "
                f"must be a number or NA, but {quoted(self.text(name)[row])} was found"
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

    def _column(self, name: str) -> ndarray:
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {quoted(name)}; it has {examples(self.columns, most=12)}")
        return self.columns[name]

    def _parsed(self, name: str) -> tuple[Float[ndarray, " rows"], Bool[ndarray, " rows"], Int64[ndarray, " wrong"]]:
        """Return a column as numbers, where it is missing, and in which rows something else stands."""
        column, missing = self._column(name), self.is_missing(name)
        numbers = column.copy() if column.dtype.kind == "f" else as_numbers(column)
        numbers[missing] = np.nan
        return numbers, missing, np.flatnonzero(~(np.abs(numbers) <= _LARGEST) & ~missing)


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
    check_unique(iid.tolist(), where=path, advice=SEVERAL_RECORDS)
    data = {name: column for name, column in columns.items() if name not in (*_ID_COLUMNS, *_FAMILY_COLUMNS)}
    return Table(Path(path), tuple(iid.tolist()), lines, data, tuple(missing))
