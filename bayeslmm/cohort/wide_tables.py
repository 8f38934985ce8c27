"""Tables of thousands of traits, as numbers: a column for each, or a line for each in BED-style expression."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, check_unique, examples, one_line, quoted
from bayeslmm.base.files import open_text, reading
from bayeslmm.base.ids import individuals_of
from bayeslmm.base.text import MISSING, Cells, as_numbers, is_missing, separator_of, split_blanks, split_lines
from bayeslmm.cohort.layouts import Layout, layout_of
from bayeslmm.cohort.tables import SEVERAL_RECORDS, Table

_BLOCK = 2**26  # bytes, more than any line
_LARGEST = 1e300
_WORDS = sorted({spelled for word in MISSING for spelled in (word, word.upper(), word.title())} | {"NaN"})
_MOST_SHOWN = 12


@dataclass(frozen=True)
class WideTable:
    """Many traits of a table.

    Attributes:
        path: where it was read.
        traits: their names.
        Y: their values, NaN where one is missing, shape (rows, t).
        refused: why a trait cannot be analysed: something in it is no number.
        rows: whose rows they are, with the columns that are no traits as text.
    """

    path: Path
    traits: tuple[str, ...]
    Y: Float64[ndarray, "rows t"]
    refused: Mapping[str, str]
    rows: Table


def read_wide_table(
    path: str | Path,
    patterns: Sequence[str] | None = None,
    *,
    id: Sequence[str] = (),
    missing: Sequence[str] = (),
    apart: Sequence[str] = (),
) -> WideTable:
    """Read a table of many traits: text of any kind that `read_table` reads, Parquet, or BED-style expression.

    A BED-style table, as tensorQTL reads it, begins with the columns #chr, start, end and the names of the traits, and
    has a column for each individual; it may be Parquet too.

    Args:
        path: the file; text may be compressed.
        patterns: of the names of the traits, with ``*``, ``?`` and ``[...]``; by default all columns are traits.
        id: columns of ids, as for `read_table`.
        missing: further codes of missing values.
        apart: columns that are no traits: covariates.

    Raises:
        InputError: no such file, no ids, names or ids that repeat, lines of different lengths, or a pattern that
            matches nothing.
    """
    raw = _of_parquet(path, id) if Path(path).suffix.lower() in (".parquet", ".pq") else _of_text(path, id)
    if raw.layout is None:
        return _of_bed(raw, Path(path), patterns, missing)
    layout, columns = raw.layout, dict(zip(raw.layout.names, raw.columns, strict=True))
    iids = ["_".join(parts) for parts in zip(*(_text(columns[name]) for name in layout.ids), strict=True)]
    families = _text(columns[layout.family]) if layout.family else ["0"] * len(iids)
    if "" in iids:
        raise InputError(f"{path} {raw.unit} {raw.line + iids.index('')}: the id is empty")
    who = individuals_of(families, iids, where=path, advice=SEVERAL_RECORDS)
    known = [name for name in layout.data if name not in apart and name != layout.sex]
    chosen = _chosen(known, patterns, path)
    codes = (*missing, "-9") if layout.minus_nine else tuple(missing)
    Y, refused = np.empty((len(iids), len(chosen))), {}
    for j, name in enumerate(chosen):
        Y[:, j], wrong = _numbers(columns[name], codes, decimal_comma=raw.decimal_comma)
        if wrong:
            refused[name] = f"{path} {raw.unit} {raw.line + wrong[0]} (id {iids[wrong[0]]}): {wrong[1]} is no number"
    others = {name: np.array(_text(columns[name]), dtype=object) for name in layout.data if name in apart}
    lines = list(range(raw.line, raw.line + len(iids)))
    note = "; ".join(filter(None, [layout.note, f"{len(chosen):,} of {len(layout.data):,} columns are traits"]))
    rows = Table(
        Path(path),
        who.ids,
        lines,
        others,
        tuple(missing),
        raw.unit,
        who.families,
        decimal_comma=raw.decimal_comma,
        minus_nine=layout.minus_nine,
        note=note,
    )
    return WideTable(Path(path), tuple(chosen), Y, refused, rows)


def _of_bed(raw: "_Raw", path: Path, patterns: Sequence[str] | None, missing: Sequence[str]) -> WideTable:
    names, ids = _text(raw.columns[3]), raw.header[4:]
    check_unique(ids, where=path, what="individual")
    check_unique(names, where=path, what="trait name")
    chosen = _chosen(names, patterns, path)
    line_of = {name: line for line, name in enumerate(names)}
    lines = np.array([line_of[name] for name in chosen])
    Y, refused = np.empty((len(ids), len(chosen))), {}
    for i, column in enumerate(raw.columns[4:]):
        values, wrong = _numbers(column, missing, decimal_comma=raw.decimal_comma)
        Y[i] = values[lines]
        if wrong:  # one trait a line: each has its own
            text = np.array(_text(column), dtype=object)
            bad = ~is_missing(text, missing) & ~(np.abs(as_numbers(text)) <= _LARGEST)
            for line in lines[bad[lines]]:
                where = f"{path} {raw.unit} {raw.line + line} (id {ids[i]})"
                refused.setdefault(names[line], f"{where}: {quoted(str(text[line]))} is no number")
    of_lines = f"{len(chosen):,} of {len(names):,} lines are traits"
    note = f"it was read as a BED-style table: {len(ids):,} individuals, {of_lines}"
    rows = Table(path, tuple(ids), list(range(5, 5 + len(ids))), {}, tuple(missing), "column", note=note)
    return WideTable(path, tuple(chosen), Y, refused, rows)


class _Raw(NamedTuple):
    """Columns of a file as Arrow has them.

    Attributes:
        header: the first row.
        layout: what the columns are; None for a BED-style table.
        columns: strings or numbers, without the header.
        line: where the first row of data stands.
        unit: what is counted.
        decimal_comma: whether numbers may have a comma in place of the point.
    """

    header: list[str]
    layout: Layout | None
    columns: list[Any]
    line: int
    unit: str = "line"
    decimal_comma: bool = False


def _of_text(path: str | Path, id: Sequence[str]) -> _Raw:
    import pyarrow as pa
    from pyarrow import csv

    with open_text(path) as stream:
        text = stream.read()
    lines = text.split("\n", 9)
    blank = next((k for k, line in enumerate(lines) if line.strip()), 0)
    separator = separator_of(lines[blank])
    start = io.TextIOWrapper(io.BytesIO("\n".join(lines[blank : blank + 2]).encode()))
    head = [[field.strip() for field in fields] for _, fields in split_lines(start, path)]
    if not head:
        raise InputError(f"{path} is empty: a header line and data were expected")
    layout = _layout(Cells(head, [blank + 1, blank + 2][: len(head)]), path, id)
    skipped = blank + (layout.first if layout else 1)
    if separator is None:
        text = "\n".join("\t".join(split_blanks(line)) for line in text.split("\n"))
    names = [str(k) for k in range(len(head[0]))]
    try:
        table = csv.read_csv(
            pa.BufferReader(text.encode()),
            read_options=csv.ReadOptions(column_names=names, skip_rows=skipped, block_size=_BLOCK),
            parse_options=csv.ParseOptions(delimiter=separator or "\t"),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False
            ),
        )
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{path} cannot be split into {len(names)} columns: {one_line(str(error), most=300)}"
        ) from None
    if not table.num_rows:
        raise InputError(f"{path} has a header but no data")
    return _Raw(head[0], layout, table.columns, skipped + 1, decimal_comma=separator == ";")


def _of_parquet(path: str | Path, id: Sequence[str]) -> _Raw:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with reading(check_readable(path)):
            table = pq.read_table(path)
    except (pa.ArrowException, ValueError, NotImplementedError) as error:
        raise InputError(f"{path} cannot be read as a Parquet file ({error})") from None
    if not table.num_rows or not table.num_columns:
        raise InputError(f"{path} is empty: columns and rows were expected")
    columns = [
        column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
        for column in table.columns
    ]
    head = [list(table.column_names), [_text(column[:1])[0] for column in columns]]
    return _Raw(head[0], _layout(Cells(head, [0, 1], unit="row"), path, id), columns, 1, unit="row")


def _layout(cells: Cells, path: str | Path, id: Sequence[str]) -> Layout | None:
    return None if _is_bed(cells.rows[0]) else layout_of(cells, path, id=id, unnamed="PHENO")


def _is_bed(header: Sequence[str]) -> bool:
    return len(header) > 4 and [name.lower().lstrip("#") for name in header[:3]] in (
        ["chr", "start", "end"],
        ["chrom", "start", "end"],
    )


def _chosen(known: Sequence[str], patterns: Sequence[str] | None, path: str | Path) -> list[str]:
    """Return the names that patterns match, in the order of the file."""
    if patterns is None:
        if not known:
            raise InputError(f"{path} has no column of a trait")
        return list(known)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in known):
            raise InputError(
                f"{path}: no trait matches {quoted(pattern)}; there are {examples(known, most=_MOST_SHOWN)}"
            )
    return [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _text(column: Any) -> list[str]:
    """Return a column as text; whole numbers without a point, as ids are written."""
    values = column.to_pylist()
    return [
        ""
        if value is None
        else str(int(value))
        if isinstance(value, float) and value.is_integer()
        else str(value).strip()
        for value in values
    ]


def _numbers(
    column: Any, codes: Sequence[str], *, decimal_comma: bool
) -> tuple[Float64[ndarray, " rows"], tuple[int, str] | None]:
    """Return a column as numbers, NaN where it is missing, and the first row that holds something else, with it."""
    import pyarrow as pa

    pc: Any = import_module("pyarrow.compute")  # makes its functions when it is imported
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.replace_substring(column, ",", ".") if decimal_comma else column
        plain = pc.if_else(pc.is_in(column, value_set=pa.array([*_WORDS, *codes])), None, column)
        try:
            values = _as_float(pc.cast(plain, pa.float64()))
        except pa.ArrowInvalid:
            text = np.array(_text(column), dtype=object)
            absent = is_missing(text, codes)
            values = as_numbers(text)
            values[absent] = np.nan
            wrong = np.flatnonzero(~(np.abs(values) <= _LARGEST) & ~absent)
            return values, (int(wrong[0]), quoted(str(text[wrong[0]]))) if wrong.size else None
    elif pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type):
        values = _as_float(pc.cast(column, pa.float64(), safe=False))
    else:
        return np.full(len(column), np.nan), (0, quoted(str(column[0].as_py())))
    numeric = as_numbers(np.array([*codes], dtype=object)) if codes else np.empty(0)
    values[np.isin(values, numeric[np.isfinite(numeric)])] = np.nan
    wrong = np.flatnonzero(np.abs(values) > _LARGEST)
    return values, (int(wrong[0]), f"{values[wrong[0]]:g}") if wrong.size else None


def _as_float(column: Any) -> Float64[ndarray, " rows"]:
    return np.array(column.to_numpy(), dtype=float)
