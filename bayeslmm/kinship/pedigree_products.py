"""The relationships of a pedigree as something that multiplies: for a million animals, A is never formed."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, override

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.kinship.descent import Descent, ancestors, births, inbreeding, mendelian_variances
from bayeslmm.kinship.pedigree_files import Pedigree, read_pedigree
from bayeslmm.kinship.products import Products


class PedigreeProducts(Products):
    """A = T D T' of some animals; O(n) a column, n counting these animals and their ancestors."""

    def __init__(
        self, pedigree: Pedigree, F: Float64[ndarray, " animals"], rows: Int64[ndarray, " n"] | None = None
    ) -> None:
        rows = np.arange(len(pedigree.ids)) if rows is None else rows
        super().__init__([pedigree.ids[i] for i in rows], pedigree.source)
        self.pedigree, self.F, self._animals = pedigree, F, rows
        used = np.flatnonzero(ancestors(rows, pedigree.sires, pedigree.dams))
        place = np.full(len(pedigree.ids) + 1, -1)  # the last one for -1, the unknown
        place[used] = np.arange(len(used))
        family = place[pedigree.sires[used]], place[pedigree.dams[used]]
        self._size, self._rows = len(used), place[rows]
        self._T, self._D = Descent.of(*family, births(*family)), mendelian_variances(F[used], *family)[:, None]

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        """As those of `pedigree_kinship`."""
        return self.pedigree.details(int((self.F > 0).sum()))

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        return 1 + self.F[self._animals]

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        whole = np.zeros((self._size, V.shape[1]))
        whole[self._rows] = V
        self._T.backward(whole)
        whole *= self._D
        self._T.forward(whole)
        return whole[self._rows]

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "PedigreeProducts":
        return PedigreeProducts(self.pedigree, self.F, self._animals[np.asarray(rows, dtype=np.int64)])


def pedigree_products(pedigree: str | Path | pd.DataFrame, *, missing: Sequence[str] = ()) -> PedigreeProducts:
    """Return A of `pedigree_kinship` as something that multiplies, for more animals than a matrix has room for.

    Args:
        pedigree: as in `pedigree_kinship`.
        missing: further codes of an unknown parent.

    Raises:
        InputError: as `pedigree_kinship`, but for memory.
    """
    animals = read_pedigree(pedigree, missing=missing)
    return PedigreeProducts(animals, inbreeding(animals.sires, animals.dams, births(animals.sires, animals.dams)))
