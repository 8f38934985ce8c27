"""Kinships that are changed to those of the individuals analysed, as something that multiplies."""

from collections.abc import Mapping
from typing import Any, override

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.kinship.products import Products


class ChangedProducts(Products):
    """J K J with J = I - 11'/n, or K, divided by its mean diagonal or not.

    What that asks of K, its diagonal and K 1, comes with the first product: no pass is made for it alone.

    Args:
        of: K of the individuals analysed.
        centred: whether K is centred on them.
        normalised: whether it is divided by its mean diagonal, after that.
    """

    def __init__(self, of: Products, *, centred: bool, normalised: bool) -> None:
        super().__init__(of.ids, of.source, of.families)
        self._of, self._centred, self._normalised = of, centred, normalised
        self._sums: Float64[ndarray, " n"] | None = None  # K 1

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return self._of.details

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        return self._centred_diagonal() / self._divisor()

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        inner = V - V.mean(axis=0) if self._centred else V
        if self._centred and self._sums is None:
            product = self._of @ np.column_stack([inner, np.ones(len(V))])
            product, self._sums = product[:, :-1], product[:, -1]
        else:
            product = self._of @ inner
        if self._centred:
            product = product - product.mean(axis=0)
        return product / self._divisor()

    @override
    def seconds(self, columns: int) -> float:
        return self._of.seconds(columns)

    @override
    def working_bytes(self, columns: int) -> float:
        return self._of.working_bytes(columns) + 16.0 * len(self.ids) * columns

    def _centred_diagonal(self) -> Float64[ndarray, " n"]:
        if not self._centred:
            return self._of.diagonal()
        if self._sums is None:
            self._sums = self._of.matvec(np.ones(len(self.ids)))
        mean = self._sums / len(self.ids)
        return self._of.diagonal() - 2 * mean + mean.mean()

    def _divisor(self) -> float:
        return float(self._centred_diagonal().mean()) if self._normalised else 1.0
