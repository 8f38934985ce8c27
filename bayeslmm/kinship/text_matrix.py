"""Kinships in text: square with ids or without, triangles, and lists of pairs."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import open_text
from bayeslmm.base.ids import Individuals, individuals_of
from bayeslmm.base.text import separator_of, split_lines
from bayeslmm.kinship.numbers import check_kinship_memory, floats, is_number, numeric_frame
from bayeslmm.kinship.pair_lists import named_pairs
from bayeslmm.kinship.triangles import mirrored, triangle

_PAIR = {"first": ("IID1", "#IID1", "ID1"), "second": ("IID2", "ID2"), "phi": ("KINSHIP",)}
_FAMILIES = (("FID1", "#FID1"), ("FID2",))


class TextMatrix(NamedTuple):
    """What a file holds.

    Attributes:
        individuals: whose relationships.
        K: the matrix, shape (rows, columns).
        words: what it was read as.
        king: whether its values are KING's phi.
    """

    individuals: Individuals
    K: Float64[ndarray, "rows columns"]
    words: str
    king: bool = False


class Beside(NamedTuple):
    """The ids of a matrix that holds numbers only.

    Attributes:
        individuals: whose relationships.
        path: where they were read.
        needed: whether the matrix has none of its own; otherwise these serve if it has none.
    """

    individuals: Individuals
    path: Path
    needed: bool


def read_text_matrix(path: str | Path, beside: Beside | None, *, king: bool) -> TextMatrix:
    """Read a matrix; its shapes are those of `files.read_kinship`.

    Args:
        path: the text.
        beside: the ids of a matrix without them.
        king: whether a triangle lacks the diagonal, which is 0.5.

    Raises:
        InputError: as `files.read_kinship`.
    """
    separator, header, first = _first_lines(path)
    check_kinship_memory(16.0 * len(first) ** 2, len(first), path)
    if len(header) == 1 and len(first) == 2 and is_number(header[0]) and is_number(first[0]):
        return _triangle(path, beside, king=king)
    names = [name.upper() for name in header]
    if all(any(name in names for name in known) for known in _PAIR.values()):
        return _kin0(path, separator, names)
    if beside and (beside.needed or (len(header) == len(first) and all(map(is_number, header)))):
        frame = numeric_frame(path, separator, skip=0)
        if beside.needed or frame.shape == (len(beside.individuals.ids),) * 2:
            return _numbers(frame, path, beside)
    return _with_ids(path, separator, header, first)


def _with_ids(path: str | Path, separator: str | None, header: list[str], first: list[str]) -> TextMatrix:
    """Read a square matrix with ids, or a list of pairs."""
    frame = numeric_frame(path, separator, skip=1)
    n, width = frame.shape
    if width == len(header) == 3 and n > 4:
        return _list(path, separator, named=not is_number(header[2]))
    if width == 4 and n > 5:
        raise InputError(
            f"{path} has {n} rows of 4 columns, like a list of pairs: name it X.grm.gz beside X.grm.id if it is "
            "GCTA's, or write it as a square matrix with a line of ids"
        )
    numeric = len(header) == len(first) and all(map(is_number, header[1:]))
    if numeric and n == width - 2:
        frame = numeric_frame(path, separator, skip=0)
        return _with_first_column(frame, path, "")
    if numeric and n == width - 1 and is_number(header[0]):
        raise InputError(
            f"{path} has no line of ids: add one, or give the ids beside it (fam, the .fam of the same run)"
        )
    if width == n + 1 and len(header) == 1:
        return _with_first_column(frame, path, " and their number above")
    if width not in (n, n + 1) or len(header) not in (n, n + 1):
        raise InputError(
            f"{path}: a kinship matrix must be square under its line of ids, but {len(header)} ids, {n} rows and "
            f"{width} columns were found"
        )
    ids, where = header[-n:], "line"
    if width == n + 1:
        rows, frame, where = frame[0].tolist(), frame.drop(columns=0), "line and column"
        if differing := [f"{row} / {column}" for row, column in zip(rows, ids, strict=True) if row != column]:
            raise InputError(f"{path}: rows and columns must have the same ids in one order ({examples(differing)})")
    return TextMatrix(_unrelated(ids, path), floats(frame, path), f"a square matrix with ids in its first {where}")


def _with_first_column(frame: pd.DataFrame, path: str | Path, more: str) -> TextMatrix:
    """Return a square matrix whose first column alone holds ids."""
    words = f"a square matrix with ids in its first column{more}"
    return TextMatrix(_unrelated(frame[0].tolist(), path), floats(frame.drop(columns=0), path), words)


def _unrelated(ids: Sequence[str], path: str | Path) -> Individuals:
    """Return individuals of whom no family is known."""
    return individuals_of(["0"] * len(ids), ids, where=path)


def _numbers(frame: pd.DataFrame, path: str | Path, beside: Beside) -> TextMatrix:
    """Return a square matrix without ids."""
    n = len(beside.individuals.ids)
    if frame.shape != (n, n):
        raise InputError(
            f"{path} is {frame.shape[0]} x {frame.shape[1]}, but {beside.path} has {n} individuals: give the .fam of "
            "the same run, and none if the matrix has ids of its own"
        )
    K = floats(frame, path)
    whole = mirrored(K)
    zeros = "" if whole is K else ", zeros above its diagonal filled from below"
    words = f"a square matrix of numbers with the ids of {beside.path}{zeros}"
    return TextMatrix(beside.individuals, whole, words)


def _triangle(path: str | Path, beside: Beside | None, *, king: bool) -> TextMatrix:
    """Read rows of 1, 2, 3 ... values."""
    if beside is None:
        raise InputError(
            f"{path} holds a triangle of a matrix, without ids: give the ids beside it (fam, the .rel.id or .fam of "
            "the same run)"
        )
    n = len(beside.individuals.ids)
    rows: list[ndarray] = []
    with open_text(path) as stream:
        for number, fields in split_lines(stream, path):
            if len(fields) != len(rows) + 1:
                raise InputError(
                    f"{path} line {number}: a triangle has one value more in each row, so {len(rows) + 1} were "
                    f"expected, but {len(fields)} were found"
                )
            try:
                rows.append(np.array(fields, dtype=float))
            except ValueError:
                wrong = [field for field in fields if not is_number(field)]
                raise InputError(
                    f"{path} line {number}: values must be numbers, but {examples(wrong)} was found"
                ) from None
    if len(rows) != n - king:
        raise InputError(
            f"{path}: a triangle of {n} individuals ({beside.path}) has {n - king} rows, but {len(rows)} were found: "
            "give the ids of the same run"
        )
    K = triangle(np.concatenate(rows), n, diagonal=0.5 if king else None)
    return TextMatrix(beside.individuals, K, f"a triangle of numbers with the ids of {beside.path}")


def _kin0(path: str | Path, separator: str | None, names: list[str]) -> TextMatrix:
    """Read a table of KING or plink2: all pairs of different individuals."""
    frame = numeric_frame(path, separator, skip=1, ids=len(names) - 1)
    if frame.shape[1] != len(names):
        raise InputError(f"{path}: {len(names)} columns are named, but lines have {frame.shape[1]}")
    frame.columns = pd.Index(names)
    first, second, phi = (frame[next(name for name in names if name in known)].astype(str) for known in _PAIR.values())
    families = [frame[name] for known in _FAMILIES for name in names if name in known]
    if len(families) == 2:
        first, second = families[0] + "\t" + first, families[1] + "\t" + second
    joined, listed = named_pairs(first, second, floats(phi.to_frame(), path)[:, 0], path=path, diagonal=0.5)
    if listed.absent:
        n = len(joined)
        raise InputError(
            f"{path} lists {len(frame):,} of the {n * (n - 1) // 2:,} pairs of its {n:,} individuals, like a table of "
            "relatives only: a kinship needs all of them (plink2 --make-rel square)"
        )
    pairs = [name.rpartition("\t") for name in joined]
    individuals = individuals_of([family or "0" for family, _, _ in pairs], [iid for *_, iid in pairs], where=path)
    return TextMatrix(individuals, listed.dense(), "a list of all pairs", king=True)


def _list(path: str | Path, separator: str | None, *, named: bool) -> TextMatrix:
    """Read a list of two ids and their relationship, with a line of names or without."""
    frame = numeric_frame(path, separator, skip=int(named), ids=2)
    values = floats(frame[[2]], path)[:, 0]
    ids, listed = named_pairs(frame[0], frame[1], values, path=path, diagonal=None)
    zeros = f": {listed.absent:,} pairs that it leaves out have the relationship 0" if listed.absent else ""
    return TextMatrix(_unrelated(ids, path), listed.dense(), f"a list of pairs with their relationship{zeros}")


def _first_lines(path: str | Path) -> tuple[str | None, list[str], list[str]]:
    """Return the separator, and the fields of the first two lines that are not blank."""
    with open_text(path) as stream:
        line = next((line for line in stream if line.strip()), "")
    separator = separator_of(line)
    with open_text(path) as stream:
        lines = (fields for _, fields in split_lines(stream, path))
        header, first = next(lines, []), next(lines, [])
    if not header:
        raise InputError(f"{path} cannot be read as a matrix: it is empty")
    return separator, [field.strip() for field in header], first
