"""Kinships as lists: pairs of individuals with their relationship."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from numpy import ndarray
from scipy.sparse import csr_array

from bayeslmm.base.checks import InputError, examples


class Pairs(NamedTuple):
    """A list of pairs, each of them once, and everybody with themselves among them.

    Attributes:
        first: row of each relationship, from 0, shape (m,).
        second: its column, not above its row.
        values: the relationships.
        n: how many individuals there are.
    """

    first: Int64[ndarray, " m"]
    second: Int64[ndarray, " m"]
    values: Float64[ndarray, " m"]
    n: int

    @property
    def absent(self) -> int:
        """How many pairs are not in the list."""
        return self.n * (self.n + 1) // 2 - len(self.values)

    def dense(self) -> Float64[ndarray, "n n"]:
        """Return the symmetric matrix, 0 for pairs that are not in the list."""
        K = np.zeros((self.n, self.n))
        K[self.first, self.second] = self.values
        K[self.second, self.first] = self.values
        return K

    def sparse(self) -> csr_array:
        """Return the same matrix, without its zeros."""
        below = self.first != self.second
        row = np.concatenate([self.first, self.second[below]])
        column = np.concatenate([self.second, self.first[below]])
        return csr_array((np.concatenate([self.values, self.values[below]]), (row, column)), shape=(self.n, self.n))


def unique_pairs(
    first: Int64[ndarray, " m"],
    second: Int64[ndarray, " m"],
    values: Float64[ndarray, " m"],
    ids: tuple[str, ...],
    *,
    path: str | Path,
) -> Pairs:
    """Return a list of pairs, in any order and some of them twice, with each of them once.

    Args:
        first: number of one individual of each pair, from 0.
        second: number of the other.
        values: the relationships.
        ids: of the individuals.
        path: of the list, for messages.

    Raises:
        InputError: if somebody has no relationship with themselves, or a pair has two different values.
    """
    n = len(ids)
    key = np.maximum(first, second) * n + np.minimum(first, second)
    order = np.argsort(key, kind="stable")
    key, sorted_values = key[order], values[order]
    again = key[1:] == key[:-1]
    if (twice := again & (sorted_values[1:] != sorted_values[:-1]) & ~np.isnan(sorted_values[:-1])).any():
        at = int(twice.argmax())
        one, other = order[at], order[at + 1]
        raise InputError(
            f"{path}: each pair must have one relationship, but {examples([ids[first[one]]])} and "
            f"{examples([ids[second[one]]])} have two, {values[one]:.6g} and {values[other]:.6g}"
        )
    kept = np.concatenate([[True], ~again]) if key.size else np.zeros(0, dtype=bool)
    row, column = np.divmod(key[kept], n)
    alone = np.ones(n, dtype=bool)
    alone[row[row == column]] = False
    if alone.any():
        raise InputError(
            f"{path}: a list of pairs must hold each individual with itself, but {int(alone.sum())} of {n} are not "
            f"there ({examples(np.array(ids)[alone])}): write the list with the diagonal"
        )
    return Pairs(row, column, sorted_values[kept], n)


def numbered_pairs(frame: pd.DataFrame, ids: tuple[str, ...], *, base: int, path: str | Path) -> Pairs:
    """Return the pairs of a list whose first two columns are numbers of individuals; the rest as `unique_pairs`.

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
    return unique_pairs(first, second, numbers[2], ids, path=path)


def named_pairs(
    first: pd.Series, second: pd.Series, values: Float64[ndarray, " m"], *, path: str | Path, diagonal: float | None
) -> tuple[tuple[str, ...], Pairs]:
    """Return ids, in the order of their first occurrence, and the pairs of a list; the rest as `unique_pairs`.

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
    return ids, unique_pairs(one, other, values, ids, path=path)
