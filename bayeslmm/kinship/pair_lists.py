"""Kinships as lists: pairs of individuals with their relationship."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples


def matrix_of_pairs(
    first: Int64[ndarray, " m"],
    second: Int64[ndarray, " m"],
    values: Float64[ndarray, " m"],
    ids: tuple[str, ...],
    *,
    path: str | Path,
) -> tuple[Float64[ndarray, "n n"], int]:
    """Return the symmetric matrix of a list of pairs, 0 for those that are not in it, and how many these are.

    Args:
        first: row of each value, from 0, in any order.
        second: column of each value.
        values: the relationships.
        ids: of the rows.
        path: of the list, for messages.

    Raises:
        InputError: if somebody has no relationship with themselves, or a pair has two different values.
    """
    n = len(ids)
    K = np.full((n, n), np.nan)
    K[first, second] = values
    K[second, first] = values
    if (twice := (K[first, second] != values) & ~np.isnan(values)).any():
        at = int(twice.argmax())
        raise InputError(
            f"{path}: each pair must have one relationship, but {examples([ids[first[at]]])} and "
            f"{examples([ids[second[at]]])} have two, {values[at]:.6g} and {K[first[at], second[at]]:.6g}"
        )
    absent = np.isnan(K)
    if (alone := absent.diagonal()).any():
        raise InputError(
            f"{path}: a list of pairs must hold each individual with itself, but {int(alone.sum())} of {n} are not "
            f"there ({examples(np.array(ids)[alone])}): write the list with the diagonal"
        )
    K[absent] = 0.0
    return K, int(absent.sum()) // 2


def numbered_pairs(
    frame: pd.DataFrame, ids: tuple[str, ...], *, base: int, path: str | Path
) -> tuple[Float64[ndarray, "n n"], int]:
    """Return the matrix of a list whose first two columns are numbers of individuals; the rest as `matrix_of_pairs`.

    Args:
        frame: as `numeric_frame` returns it; the last column holds the relationships.
        ids: of the individuals.
        base: the number of the first individual.
        path: of the list, for messages.

    Raises:
        InputError: if one of the numbers is not that of an individual.
    """
    last = frame.shape[1] - 1
    numbers = [pd.to_numeric(frame[j], errors="coerce").to_numpy(float) for j in (0, 1, last)]
    n = len(ids)
    for what, column in zip(("first", "second"), numbers, strict=False):
        wrong = ~((column >= base) & (column < n + base) & (np.trunc(column) == column))
        if wrong.any():
            at = int(wrong.argmax())
            raise InputError(
                f"{path} row {at + 1}: the {what} individual must be a whole number from {base} to {n + base - 1}, as "
                f"there are {n} ids, but {examples([frame.iat[at, 0 if what == 'first' else 1]])} was found"
            )
    if not np.isfinite(numbers[2]).all():
        at = int((~np.isfinite(numbers[2])).argmax())
        raise InputError(
            f"{path} row {at + 1}: a relationship must be a number, but {examples([frame.iat[at, last]])} was found"
        )
    first, second = (column.astype(np.int64) - base for column in numbers[:2])
    return matrix_of_pairs(first, second, numbers[2], ids, path=path)


def named_pairs(
    first: pd.Series, second: pd.Series, values: Float64[ndarray, " m"], *, path: str | Path, diagonal: float | None
) -> tuple[tuple[str, ...], Float64[ndarray, "n n"], int]:
    """Return ids, in the order of their first occurrence, and the matrix of a list; the rest as `matrix_of_pairs`.

    Args:
        first: id of one individual of each pair.
        second: id of the other.
        values: the relationships.
        path: of the list, for messages.
        diagonal: of everybody, where the list holds pairs of two different individuals.
    """
    codes, names = pd.factorize(pd.concat([first, second]))
    ids = tuple(map(str, names))
    one, other = codes[: len(first)].astype(np.int64), codes[len(first) :].astype(np.int64)
    if diagonal is not None:
        everybody = np.arange(len(ids))
        one, other = np.concatenate([one, everybody]), np.concatenate([other, everybody])
        values = np.concatenate([values, np.full(len(ids), diagonal)])
    K, absent = matrix_of_pairs(one, other, values, ids, path=path)
    return ids, K, absent
