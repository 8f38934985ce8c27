"""What the columns of a table are: named in its header, or as programs that write none have them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.text import ROW_NAMES, Cells, as_numbers, check_header, is_missing, read_cells
from bayeslmm.base.workbooks import read_parquet, read_workbook

Unnamed = Literal["PHENO", "QCOVAR", "COVAR"]
"""What the columns of a file without a header are called, with their number."""

_IIDS, _FIDS = ("IID", "#IID"), ("FID", "#FID")
_PSAM = ("SID", "PAT", "MAT")  # columns of a .psam that are no data
_FAM = ("FID", "IID", "PAT", "MAT", "SEX")


class Layout(NamedTuple):
    """What the columns of a table are.

    Attributes:
        names: of all columns.
        first: the first row of data: 1 below a header.
        ids: the columns of which ids are made.
        family: the column of FIDs; empty if there is none.
        data: the columns of traits and covariates.
        sex: the column of sex of a ``.fam`` or ``.psam``, in which 0 is missing; empty for other files.
        minus_nine: whether -9 is missing.
        coded: whether numbers are codes of categories.
        note: what it was read as; empty for an ordinary table.
    """

    names: list[str]
    first: int
    ids: tuple[str, ...]
    family: str
    data: list[str]
    sex: str = ""
    minus_nine: bool = False
    coded: bool = False
    note: str = ""


def read_cells_of(path: str | Path) -> Cells:
    """Read a file of any kind that tables have.

    Raises:
        InputError: as the readers, or for a kind that is not read.
    """
    suffix = Path(path).suffix.lower()
    if suffix in (".xlsx", ".xlsm"):
        return read_workbook(path)
    if suffix in (".parquet", ".pq"):
        return read_parquet(path)
    if suffix in (".xls", ".ods", ".rds", ".rda", ".rdata", ".sav", ".dta"):
        raise InputError(f"{path}: files of the kind {suffix} are not read: save it as .csv, .xlsx or .parquet")
    return read_cells(path)


def layout_of(cells: Cells, path: str | Path, *, id: Sequence[str], unnamed: Unnamed) -> Layout:
    """Return what the columns of a table are; arguments and errors as for `tables.read_table`."""
    suffix, header = Path(path).suffix.lower(), cells.rows[0]
    named = any(name in header for name in (*_IIDS, *id))
    if suffix in (".fam", ".psam") and not named:
        return _fam(cells, path, id)
    if named or not _is_data(cells):
        return _with_header(cells, path, id, psam=suffix == ".psam")
    if suffix == ".eigenvec":
        names, coded = [f"PC{k}" for k in range(1, len(header) - 1)], False
        what = f"FID, IID and principal components {_span(names)}"
    else:
        names, coded = [f"{unnamed}{k}" for k in range(1, len(header) - 1)], unnamed == "COVAR"
        what = f"FID, IID and {_span(names)}{' (codes of categories)' if coded else ''}, where -9 is missing"
    whole = ["FID", "IID", *names]
    ids = _ids(whole, path, cells, id)
    note = f"it has no header and was read as {what}"
    return Layout(whole, 0, ids, "FID" * ("FID" not in ids), names, minus_nine=True, coded=coded, note=note)


def _with_header(cells: Cells, path: str | Path, id: Sequence[str], *, psam: bool) -> Layout:
    check_header(cells, path)
    header = cells.rows[0]
    ids = _ids(header, path, cells, id)
    families = [name for name in header if name in _FIDS and name not in ids]
    apart = {*ids, *_IIDS, *_FIDS, ROW_NAMES, *(_PSAM if psam else ())}
    data = [name for name in header if name not in apart]
    if not psam:
        unused = ROW_NAMES in header and ROW_NAMES not in ids
        note = f"its row names are not used (id {ROW_NAMES} makes them ids)" if unused else ""
        return Layout(header, 1, ids, families[0] if families else "", data, note=note)
    note = "it is a .psam, where -9 (and 0 of SEX) is missing"
    sex = "SEX" * ("SEX" in data)
    return Layout(header, 1, ids, families[0] if families else "", data, sex, minus_nine=True, note=note)


def _fam(cells: Cells, path: str | Path, id: Sequence[str]) -> Layout:
    width = len(cells.rows[0])
    if width < 6:
        raise InputError(
            f"{path} line {cells.lines[0]}: a .fam has six columns (FID IID father mother sex phenotype), but {width} "
            "were found: write it with plink"
        )
    names = [f"PHENO{k}" for k in range(1, width - 4)]
    ids = _ids([*_FAM, *names], path, cells, id)
    note = f"it was read as FID, IID, parents, SEX and {_span(names)}, where -9 (and 0 of SEX) is missing"
    family, data = "FID" * ("FID" not in ids), ["SEX", *names]
    return Layout([*_FAM, *names], 0, ids, family, data, "SEX", minus_nine=True, note=note)


def _ids(names: Sequence[str], path: str | Path, cells: Cells, id: Sequence[str]) -> tuple[str, ...]:
    """Return the columns of which ids are made."""
    hashed = {name.removeprefix("#"): name for name in names}
    if id and all(name in hashed or name in names for name in id):
        return tuple(name if name in names else hashed[name] for name in id)
    found = [name for name in names if name in _IIDS]
    if len(found) != 1:
        wanted = f"the columns of ids {', '.join(id)}, or " if id else ""
        raise InputError(
            f"{path} {cells.unit} {cells.lines[0]}: the header must name {wanted}one column IID (or #IID), but it "
            f"names {examples(names, most=8)}: add a header such as 'FID IID trait', or name the column of ids (id)"
        )
    return (found[0],)


def _is_data(cells: Cells) -> bool:
    """Return whether the first row holds data: from the third column on numbers, or words that occur again below."""
    columns = list(zip(*cells.rows, strict=True))[2:]
    for value, *others in columns:
        text = np.array([value], dtype=object)
        if not is_missing(text)[0] and np.isnan(as_numbers(text)[0]) and value not in others:
            return False
    return bool(columns)


def _span(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} to {names[-1]}"
