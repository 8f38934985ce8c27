"""Phenotype and covariate tables: text in, named columns of numbers or categories out."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted
from bayeslmm.base.ids import Individuals, individuals_of
from bayeslmm.base.text import as_numbers, is_code, is_missing
from bayeslmm.cohort.layouts import Unnamed, layout_of, read_cells_of

_LARGEST = 1e300  # of a number: sums over individuals must be numbers as well
_DECIMAL_COMMA = re.compile(r"[+-]?[0-9]+,[0-9]+")
SEVERAL_RECORDS = "give one row for each, such as their mean, or the FIDs that tell them apart"


@dataclass(frozen=True)
class Table:
    """A table with one row per individual or record, as text; columns become numbers when they are asked for.

    Attributes:
        path: where it was read, for messages.
        ids: the IID of each row.
        lines: the line of the file at which each row stands.
        columns: name -> the column's text, one entry per row; or numbers, NaN where one is missing.
        codes: what means "not measured", beside `MISSING`.
        unit: what is counted in ``lines``, for messages.
        families: the FID of each row, 0 where there is none; empty if none is known.
        numbered: the columns that can be named by their number, from 1.
        decimal_comma: whether numbers may have a comma in place of the point.
        minus_nine: whether -9 is missing, as in files of PLINK and GCTA.
        coded: whether numbers are codes of categories, where they are covariates.
        note: what the file was read as; empty for an ordinary table.
    """

    path: Path
    ids: tuple[str, ...]
    lines: list[int]
    columns: dict[str, ndarray]
    codes: tuple[str, ...] = ()
    unit: str = "line"
    families: tuple[str, ...] = ()
    numbered: tuple[str, ...] = ()
    decimal_comma: bool = False
    minus_nine: bool = False
    coded: bool = False
    note: str = ""

    @property
    def individuals(self) -> Individuals:
        """Whose rows they are."""
        return Individuals(self.families, self.ids)

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
        codes = (*self.codes, "-9") if self.minus_nine else self.codes
        return np.isnan(column) if column.dtype.kind == "f" else is_missing(self._with_points(column), codes)

    def holds_code(self, name: str, code: str) -> bool:
        """Return whether a code of missing values occurs in a column."""
        return bool(is_code(self._with_points(self.text(name)), [code]).any())

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

    def _with_points(self, column: ndarray) -> ndarray:
        """Return the text of numbers with points in decimals."""
        if not self.decimal_comma:
            return column
        return np.array([re.sub(r"^([+-]?\d*),(\d+)", r"\1.\2", value) for value in column], dtype=object)

    def _column(self, name: str) -> ndarray:
        if name not in self.columns:
            raise InputError(f"{self.path} has no column {quoted(name)}; it has {examples(self.columns, most=12)}")
        return self.columns[name]

    def _parsed(self, name: str) -> tuple[Float[ndarray, " rows"], Bool[ndarray, " rows"], Int64[ndarray, " wrong"]]:
        """Return a column as numbers, where it is missing, and in which rows something else stands."""
        column, missing = self._column(name), self.is_missing(name)
        numbers = column.copy() if column.dtype.kind == "f" else as_numbers(self._with_points(column))
        numbers[missing] = np.nan
        return numbers, missing, np.flatnonzero(~(np.abs(numbers) <= _LARGEST) & ~missing)


def read_table(
    path: str | Path,
    *,
    missing: Sequence[str] = (),
    id: Sequence[str] = (),
    unnamed: Unnamed = "PHENO",
    repeated: bool = False,
    advice: str = SEVERAL_RECORDS,
) -> Table:
    """Read a table with one row for each individual, or for each record of one.

    Text with tabs, commas, semicolons (decimals may then have commas) or runs of blanks between its columns, as the
    first line shows, which may be compressed; Excel's ``.xlsx``; Parquet. Individuals are those of the column ``IID``
    or ``#IID``, or of ``id``; where IIDs repeat, ``FID`` or ``#FID`` tells them apart. Missing is empty or one of
    `MISSING` (``NA``, ``nan``, ``.``, ``null`` and so on).

    Files of GCTA and PLINK have no header: FID, IID, then values, which are called PHENO1, PHENO2 and so on (PC1 in an
    ``.eigenvec``); a ``.fam`` has SEX and, from its sixth column, PHENO1. In these files, and in a ``.psam``, -9 is
    missing.

    Args:
        path: the file.
        missing: further codes that mean "not measured", such as ``-9``, which is ``-9.0`` as well.
        id: the column of ids in place of IID, or several that are joined by ``_``, such as FID and IID; a table without
            them is read by its IID.
        unnamed: what columns without a name are called; those of COVAR hold categories, as in GCTA's ``--covar``.
        repeated: whether an individual may have several rows.
        advice: what to do where one has, and may not.

    Raises:
        InputError: no such file, no ids, repeated names or ids, rows of another length.
    """
    cells = read_cells_of(path)
    layout = layout_of(cells, path, id=id, unnamed=unnamed)
    rows = np.array(cells.rows[layout.first :], dtype=object)
    lines = cells.lines[layout.first :]
    columns = dict(zip(layout.names, rows.T, strict=True))
    iids = np.array(["_".join(parts) for parts in zip(*(columns[name] for name in layout.ids), strict=True)])
    for name in layout.ids:
        if (gap := columns[name] == "").any():
            raise InputError(f"{path} {cells.unit} {lines[int(np.argmax(gap))]}: the {name} is empty")
    families = columns[layout.family].tolist() if layout.family else ["0"] * len(lines)
    who = individuals_of(families, iids.tolist(), where=path, advice=advice, repeated=repeated)
    data = {name: columns[name] for name in layout.data}
    if layout.sex:
        data[layout.sex] = np.where(data[layout.sex] == "0", "NA", data[layout.sex])
    return Table(
        Path(path),
        who.ids,
        lines,
        data,
        tuple(missing),
        cells.unit,
        who.families,
        tuple(name for name in layout.data if name != layout.sex),
        decimal_comma=cells.decimal_comma,
        minus_nine=layout.minus_nine,
        coded=layout.coded,
        note=layout.note,
    )
