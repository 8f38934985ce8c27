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


def read_text_matrix(
    path: str | Path, beside: Individuals | None, ids_path: Path | None, *, required: bool, king: bool
) -> TextMatrix:
    """Read a matrix; arguments and shapes as for `files.read_kinship`.

    Args:
        path: the text.
        beside: the ids of a matrix without them.
        ids_path: where they were read.
        required: the matrix has no ids of its own; otherwise those beside it serve if it has none.
        king: whether a triangle lacks the diagonal, which is 0.5.

    Raises:
        InputError: as `files.read_kinship`.
    """
    separator, header, first = _first_lines(path)
    check_kinship_memory(16.0 * len(first) ** 2, len(first), path)
    if len(header) == 1 and len(first) == 2 and is_number(header[0]) and is_number(first[0]):
        return _triangle(path, beside, ids_path, king=king)
    names = [name.upper() for name in header]
    if all(any(name in names for name in known) for known in _PAIR.values()):
        return _kin0(path, separator, names)
    alike, numeric = len(header) == len(first), all(map(is_number, header[1:]))
    no_header = required
    if beside and ids_path and not required and alike and numeric and is_number(header[0]):
        frame = numeric_frame(path, separator, skip=0)
        if frame.shape == (len(beside.ids), len(beside.ids)):
            return _numbers(frame, path, beside, ids_path)
    frame = numeric_frame(path, separator, skip=0 if no_header else 1)
    if alike and numeric and not no_header and len(frame) == frame.shape[1] - 2:
        no_header, frame = True, numeric_frame(path, separator, skip=0)  # ids precede the rows only
    n, width = frame.shape
    if width == len(header) == 3 and n > 4:
        return _list(path, separator, named=not is_number(header[2]))
    if width == 4 and n > 5:
        raise InputError(
            f"{path} has {n} rows of 4 columns, like a list of pairs: name it X.grm.gz beside X.grm.id if it is "
            "GCTA's, or write it as a square matrix with a line of ids"
        )
    if required and beside and ids_path:
        return _numbers(frame, path, beside, ids_path)
    if not no_header and alike and numeric and n == width - 1 and is_number(header[0]):
        raise InputError(
            f"{path} has no line of ids: add one, or give the ids beside it (fam, the .fam of the same run)"
        )
    if width == n + 1 and (no_header or len(header) == 1):
        words = f"a square matrix with ids in its first column{' and their number above' if not no_header else ''}"
        return TextMatrix(_unrelated(frame[0].tolist(), path), floats(frame.drop(columns=0), path), words)
    if no_header or width not in (n, n + 1) or len(header) not in (n, n + 1):
        above = f"{len(header)} ids, " if not no_header else ""
        raise InputError(
            f"{path}: a kinship matrix must be square under its line of ids, but {above}{n} rows and "
            f"{width} columns were found"
        )
    ids, words = header[-n:], "a square matrix with ids in its first line"
    if width == n + 1:
        rows, frame = frame[0].tolist(), frame.drop(columns=0)
        if differing := [f"{row} / {column}" for row, column in zip(rows, ids, strict=True) if row != column]:
            raise InputError(f"{path}: rows and columns must have the same ids in one order ({examples(differing)})")
        words = "a square matrix with ids in its first line and column"
    return TextMatrix(_unrelated(ids, path), floats(frame, path), words)


def _unrelated(ids: Sequence[str], path: str | Path) -> Individuals:
    """Return individuals of whom no family is known."""
    return individuals_of(["0"] * len(ids), ids, where=path)


def _numbers(frame: pd.DataFrame, path: str | Path, beside: Individuals, ids_path: Path) -> TextMatrix:
    """Return a square matrix without ids."""
    n = len(beside.ids)
    if frame.shape != (n, n):
        raise InputError(
            f"{path} is {frame.shape[0]} x {frame.shape[1]}, but {ids_path} has {n} individuals: give the .fam of the "
            "same run, and none if the matrix has ids of its own"
        )
    K = floats(frame, path)
    whole = mirrored(K)
    zeros = "" if whole is K else ", zeros above its diagonal filled from below"
    return TextMatrix(beside, whole, f"a square matrix of numbers with the ids of {ids_path}{zeros}")


def _triangle(path: str | Path, beside: Individuals | None, ids_path: Path | None, *, king: bool) -> TextMatrix:
    """Read rows of 1, 2, 3 ... values."""
    if beside is None:
        raise InputError(
            f"{path} holds a triangle of a matrix, without ids: give the ids beside it (fam, the .rel.id or .fam of "
            "the same run)"
        )
    n = len(beside.ids)
    rows: list[ndarray] = []
    with open_text(path) as stream:
        for number, fields in split_lines(stream, path):
            if len(fields) != len(rows) + 1:
                raise InputError(
                    f"{path} line {number}: a triangle has one value more in each row, so {len(rows) + 1} were "
                    f"expected, but {len(fields)} were found"
                )
            if wrong := [field for field in fields if not is_number(field)]:
                raise InputError(f"{path} line {number}: values must be numbers, but {examples(wrong)} was found")
            rows.append(np.array(fields, dtype=float))
    if len(rows) != n - king:
        raise InputError(
            f"{path}: a triangle of {n} individuals ({ids_path}) has {n - king} rows, but {len(rows)} were found: give "
            "the ids of the same run"
        )
    K = triangle(np.concatenate(rows), n, diagonal=0.5 if king else None)
    return TextMatrix(beside, K, f"a triangle of numbers with the ids of {ids_path}")


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
    joined, K, absent = named_pairs(first, second, floats(phi.to_frame(), path)[:, 0], path=path, diagonal=0.5)
    if absent:
        n = len(joined)
        raise InputError(
            f"{path} lists {len(frame):,} of the {n * (n - 1) // 2:,} pairs of its {n:,} individuals, like a table of "
            "relatives only: a kinship needs all of them (plink2 --make-rel square)"
        )
    pairs = [name.rpartition("\t") for name in joined]
    individuals = individuals_of([family or "0" for family, _, _ in pairs], [iid for *_, iid in pairs], where=path)
    return TextMatrix(individuals, K, "a list of all pairs", king=True)


def _list(path: str | Path, separator: str | None, *, named: bool) -> TextMatrix:
    """Read a list of two ids and their relationship, with a line of names or without."""
    frame = numeric_frame(path, separator, skip=int(named), ids=2)
    values = floats(frame[[2]], path)[:, 0]
    ids, K, absent = named_pairs(frame[0], frame[1], values, path=path, diagonal=None)
    zeros = f": {absent:,} pairs that it leaves out have the relationship 0" if absent else ""
    return TextMatrix(_unrelated(ids, path), K, f"a list of pairs with their relationship{zeros}")


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
