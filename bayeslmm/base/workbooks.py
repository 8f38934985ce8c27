"""Tables in files that are no text, as the text that a file would hold: Excel and Parquet."""

import datetime
from contextlib import closing
from pathlib import Path
from typing import Any

from bayeslmm.base.checks import InputError, check_readable, examples, quoted
from bayeslmm.base.extras import optional
from bayeslmm.base.files import reading
from bayeslmm.base.text import ROW_NAMES, Cells

_INDEX = "__index_level_0__"  # as pandas calls an index without a name in Parquet


def read_workbook(path: str | Path) -> Cells:
    """Read the one sheet of an ``.xlsx`` file that is not empty.

    A cell of text keeps its text, such as 007; numbers have all their digits; formulas have the value that is stored.

    Raises:
        InputError: if openpyxl is not installed, this is no such file, no sheet or more than one has cells, a row is
            longer than the first, or a formula has no value.
    """
    openpyxl = optional("openpyxl", extra="excel", what=f"{path}: an Excel file")
    try:
        with reading(check_readable(path)):
            sheets, formulas = _sheets(openpyxl, path, values=True), _sheets(openpyxl, path, values=False)
    except InputError:
        raise
    except Exception as error:  # whatever openpyxl, zipfile and the parsers of XML make of bytes that are damaged
        raise InputError(f"{path} cannot be read as an Excel file ({error}): save it as text") from None
    filled = {title: rows for title, rows in sheets.items() if any(map(_there, formulas[title]))}
    if len(filled) != 1:
        what = f"{len(filled)} sheets with cells ({examples(map(quoted, filled))})" if filled else "no cells"
        raise InputError(f"{path} has {what}, but one is needed: save the sheet as a file of its own")
    ((title, rows),) = filled.items()
    for number, (row, written) in enumerate(zip(rows, formulas[title], strict=True), start=1):
        if any(value is None and cell is not None for value, cell in zip(row, written, strict=True)):
            raise InputError(f"{path} row {number}: a formula has no value: open the file in Excel, and save it again")
    kept = [(number, row) for number, row in enumerate(rows, start=1) if _there(row)]
    width = max(k for k, value in enumerate(kept[0][1], start=1) if value is not None)
    for number, row in kept:
        if _there(row[width:]):
            raise InputError(
                f"{path} row {number}: {width} columns were expected (as in its first row), but there are cells beyond"
            )
    cells = [[_text(value) for value in (*row, *[None] * width)[:width]] for _, row in kept]
    cells[0][0] = cells[0][0] or ROW_NAMES
    return Cells(cells, [number for number, _ in kept], unit="row")


def read_parquet(path: str | Path) -> Cells:
    """Read a Parquet file.

    Raises:
        InputError: if this is no such file, or it has no column.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with reading(check_readable(path)):
            table = pq.read_table(path)
        columns = [_plain(column).to_pylist() for column in table.columns]
    except InputError:
        raise
    except (pa.ArrowException, ValueError, TypeError, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read as a Parquet file ({error})") from None
    if not columns:
        raise InputError(f"{path} is empty: columns were expected")
    names = [ROW_NAMES if name in ("", _INDEX) else name for name in table.column_names]
    rows = [[_text(value) for value in row] for row in zip(*columns, strict=True)]
    return Cells([names, *rows], list(range(len(rows) + 1)), unit="row")


def _sheets(openpyxl: Any, path: str | Path, *, values: bool) -> dict[str, list[tuple[Any, ...]]]:
    """Return the rows of each sheet, with the values of formulas or with formulas as they are written."""
    with closing(openpyxl.load_workbook(path, read_only=True, data_only=values)) as book:
        return {sheet.title: list(sheet.iter_rows(values_only=True)) for sheet in book.worksheets}


def _plain(column: Any) -> Any:
    """Return a column of Arrow without its dictionary."""
    import pyarrow as pa

    return column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column


def _there(row: tuple[Any, ...]) -> bool:
    return any(value is not None and str(value).strip() for value in row)


def _text(value: Any) -> str:
    """Return a value as text; whole numbers without a point, as ids are written; "" for a missing one."""
    if value is None or value != value:
        return ""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, datetime.datetime) and value.time() == datetime.time():
        return str(value.date())
    return str(value).strip()
