"""Kinships that are never held as a matrix: all that is known of them is what they multiply."""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import check_unique
from bayeslmm.base.memory import check_memory
from bayeslmm.kinship.origin import origin_words

_FEW = 4  # columns that are multiplied to see how long all take


class Products(ABC):
    """A kinship that multiplies a block of columns: a `Covariance`.

    Solvers of `scipy.sparse.linalg` take it as it is.

    Attributes:
        ids: of each row.
        source: where it comes from, for messages.
        families: FID of each row, 0 where it has none; empty if none is known.
    """

    dtype = np.dtype(float)

    def __init__(self, ids: Sequence[str], source: str, families: Sequence[str] = ()) -> None:
        check_unique(ids, where=source)
        self.ids, self.source, self.families = tuple(ids), source, tuple(families)

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.ids), len(self.ids)

    @property
    def details(self) -> Mapping[str, Any]:
        """How it was made, for the record of the run."""
        return {}

    def origin_line(self) -> str:
        """Say which markers or animals it is made of, or what its file is read as; empty if neither."""
        return origin_words(self.source, self.details)

    @abstractmethod
    def diagonal(self) -> Float64[ndarray, " n"]:
        """Return the diagonal."""

    @abstractmethod
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        """Return the product with the columns of V: in one pass over what it is made of, however many there are."""

    def seconds(self, columns: int) -> float:
        """Return about how long a product with so many columns takes, from a small part of one."""
        few = min(columns, _FEW)
        begun = time.perf_counter()
        _ = self @ np.ones((len(self.ids), few))
        return (time.perf_counter() - begun) * columns / few

    def working_bytes(self, columns: int) -> float:
        """Return about how much memory a product with so many columns takes, beside these columns and the product."""
        return 16.0 * len(self.ids) * columns

    def matvec(self, v: Float64[ndarray, " n"]) -> Float64[ndarray, " n"]:
        """Return the product with one column."""
        return (self @ v[:, None])[:, 0]

    rmatvec = matvec  # it is symmetric

    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "Products":
        """Return the kinship of some of the individuals."""
        return Restricted(self, np.asarray(rows, dtype=np.int64))

    def dense(self) -> Float64[ndarray, "n n"]:
        """Return the whole matrix.

        Raises:
            InputError: if it does not fit into memory.
        """
        n = len(self.ids)
        check_memory(
            24.0 * n**2, what=f"{self.source}: the kinship of {n:,} individuals", instead="multiply with it instead"
        )
        return self @ np.eye(n)


class Restricted(Products):
    """Some of the individuals of another kinship: Z K Z'.

    Args:
        whole: the other kinship.
        rows: which individuals.
        said: how they were selected.
    """

    def __init__(self, whole: Products, rows: Int64[ndarray, " m"], said: Sequence[str] = ()) -> None:
        ids, source, families = taken(whole, rows)
        super().__init__(ids, f"the selection of {source}" if said else source, families)
        self._whole, self._rows, self._said = whole, rows, list(said)

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return {**self._whole.details, "selection": self._said} if self._said else self._whole.details

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        return self._whole.diagonal()[self._rows]

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        padded = np.zeros((len(self._whole.ids), V.shape[1]))
        padded[self._rows] = V
        return (self._whole @ padded)[self._rows]

    @override
    def seconds(self, columns: int) -> float:
        return self._whole.seconds(columns)

    @override
    def working_bytes(self, columns: int) -> float:
        return self._whole.working_bytes(columns) + 16.0 * len(self._whole.ids) * columns

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "Products":
        return self._whole.take(self._rows[np.asarray(rows, dtype=np.int64)])


def taken(whole: Products, rows: Int64[ndarray, " m"]) -> tuple[list[str], str, list[str]]:
    """Return ids, source and FIDs of some of the individuals, from which another kinship is made."""
    return [whole.ids[i] for i in rows], whole.source, [whole.families[i] for i in rows] if whole.families else []
