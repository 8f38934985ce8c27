"""Kinships that are never held as a matrix: all that is known of them is what they multiply."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import check_unique
from bayeslmm.base.memory import check_memory


class Products(ABC):
    """A kinship that multiplies a block of columns: a `Covariance`.

    Solvers of `scipy.sparse.linalg` take it as it is.

    Attributes:
        ids: IID of each row.
        source: where it comes from, for messages.
    """

    dtype = np.dtype(float)

    def __init__(self, ids: Sequence[str], source: str) -> None:
        check_unique(ids, where=source)
        self.ids, self.source = tuple(ids), source

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return len(self.ids), len(self.ids)

    @property
    def details(self) -> Mapping[str, Any]:
        """How it was made, for the record of the run."""
        return {}

    @abstractmethod
    def diagonal(self) -> Float64[ndarray, " n"]:
        """Return the diagonal."""

    @abstractmethod
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        """Return the product with the columns of V: in one pass over what it is made of, however many there are."""

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
    """Some of the individuals of another kinship: Z K Z'."""

    def __init__(self, whole: Products, rows: Int64[ndarray, " m"]) -> None:
        super().__init__([whole.ids[i] for i in rows], whole.source)
        self._whole, self._rows = whole, rows

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return self._whole.details

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        return self._whole.diagonal()[self._rows]

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        padded = np.zeros((len(self._whole.ids), V.shape[1]))
        padded[self._rows] = V
        return (self._whole @ padded)[self._rows]

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "Products":
        return self._whole.take(self._rows[np.asarray(rows, dtype=np.int64)])
