"""Kinships of GCTA as something that multiplies: ``.grm.bin`` in slabs, and the sparse ``.grm.sp``."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, override

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray
from scipy.sparse import csr_array

from bayeslmm.base.checks import InputError, check_readable
from bayeslmm.base.files import reading
from bayeslmm.base.ids import Individuals, read_ids
from bayeslmm.kinship.grm import check_size, listed_pairs
from bayeslmm.kinship.names import grm_files
from bayeslmm.kinship.products import Products, taken

_SLAB = 1 << 24  # float32 values that are held at once: 64 MB


class SlabProducts(Products):
    """The lower triangle in float32 of a ``.grm.bin``, mapped into memory and read in slabs of rows.

    Products run in float32 within a slab and are added up in float64.
    """

    def __init__(self, values: Path, individuals: Individuals) -> None:
        super().__init__(individuals.ids, str(values), individuals.families)
        check_size(values, len(self.ids))
        with reading(values):
            self._lower = np.memmap(values, dtype="<f4", mode="r")

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return {"read_as": "GCTA's matrix in float32, in slabs"}

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        i = np.arange(len(self.ids))
        return self._lower[i * (i + 3) // 2].astype(float)

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        total, narrow = np.zeros(V.shape), V.astype(np.float32)
        for rows, slab in self._slabs():
            total[rows] += slab @ narrow[: rows.stop]
            np.fill_diagonal(slab[:, rows], 0.0)  # each pair of different individuals is there once
            total[: rows.stop] += slab.T @ narrow[rows]
        if not np.isfinite(total).all():
            raise InputError(f"{self.source}: relationships must be numbers, but some are not: compute it again")
        return total

    @override
    def seconds(self, columns: int) -> float:
        n, V = len(self.ids), np.ones((len(self.ids), columns), dtype=np.float32)
        begun = time.perf_counter()
        _, slab = next(self._slabs(max(0, n - self._height)))
        _ = slab @ V[: slab.shape[1]], slab.T @ V[: len(slab)]
        return (time.perf_counter() - begun) * n * n / (2 * slab.size)

    @override
    def working_bytes(self, columns: int) -> float:
        return 4.0 * len(self.ids) * (self._height + 4 * columns)

    @property
    def _height(self) -> int:
        return max(1, _SLAB // len(self.ids))

    def _slabs(self, first: int = 0) -> Iterator[tuple[slice, Float32[ndarray, "_ _"]]]:
        n, height = len(self.ids), self._height
        for start in range(first, n, height):
            stop = min(start + height, n)
            slab = np.zeros((stop - start, stop), dtype=np.float32)
            for i in range(start, stop):
                slab[i - start, : i + 1] = self._lower[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]
            yield slice(start, stop), slab


class SparseProducts(Products):
    """A sparse kinship: pairs that are not in it have the relationship 0."""

    def __init__(self, K: csr_array, individuals: Individuals, source: str, read_as: str) -> None:
        super().__init__(individuals.ids, source, individuals.families)
        self.K, self._read_as = K, read_as

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return {"read_as": self._read_as}

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        return self.K.diagonal()

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        return self.K @ V

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "SparseProducts":
        at = np.asarray(rows, dtype=np.int64)
        ids, source, families = taken(self, at)
        return SparseProducts(self.K[at][:, at], Individuals(tuple(families), tuple(ids)), source, self._read_as)


def grm_products(prefix: str | Path) -> Products:
    """Return GCTA's kinship as something that multiplies, for more people than a matrix has room for.

    Args:
        prefix: of ``prefix.grm.bin`` or ``prefix.grm.sp``, with ``prefix.grm.id``; or the whole name of one of them.

    Raises:
        InputError: as `read_grm`, or for a ``.grm.gz``, which cannot be read in parts.
    """
    path, id_path = grm_files(prefix)
    values, individuals = check_readable(path), read_ids(id_path)
    if path.suffix == ".bin":
        return SlabProducts(values, individuals)
    if path.suffix == ".sp":
        pairs, words = listed_pairs(path, individuals.ids)
        return SparseProducts(pairs.sparse(), individuals, str(values), words)
    raise InputError(f"{path} is a whole matrix in text: read it with read_grm, or write it as .grm.bin or .grm.sp")
