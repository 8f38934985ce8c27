"""Products with a kinship that are kept in files, so that a run that was stopped does not make them again."""

import hashlib
import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputWarning
from bayeslmm.base.files import read_sealed, write_sealed
from bayeslmm.kinship.products import Products

_ADVICE = "delete it, and resume"
_ABOUT = "details.json"
NAMES = "*.product"
"""Of the files, one for each product."""


class KeptProducts(Products):
    """Another kinship, each of whose products is a file in a folder.

    A product is read if it is that of the same columns to the last bit, and made again otherwise, with a warning:
    whoever resumes gets the numbers of a run that was not stopped.

    Args:
        whole: the kinship; the folder must be of no other.
        folder: of the files, which are named after the individuals and the number of the product.
    """

    def __init__(self, whole: Products, folder: Path) -> None:
        super().__init__(whole.ids, whole.source, whole.families)
        self._whole, self._folder, self._made = whole, folder, 0

    @cached_property
    def _name(self) -> str:
        return name_of(self.ids)

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        return self._details

    @cached_property
    def _details(self) -> Mapping[str, Any]:
        about = self._folder / _ABOUT
        if not about.exists():
            write_sealed(about, json.dumps(dict(self._whole.details)).encode())
        return json.loads(read_sealed(about, advice=_ADVICE))

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        path = self._folder / f"{self._name}.diagonal"
        if not path.exists():
            write_sealed(path, self._whole.diagonal().tobytes())
        return np.frombuffer(read_sealed(path, advice=_ADVICE))

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        self._made += 1
        path = self._folder / f"{self._name}-{self._made:04d}.product"
        product = kept_product(path, V, lambda: self._whole @ V)
        if self._made == 1:  # they came with it, and would cost another
            self.diagonal()
            _ = self.details
        return product

    @override
    def seconds(self, columns: int) -> float:
        return self._whole.seconds(columns)

    @override
    def working_bytes(self, columns: int) -> float:
        return self._whole.working_bytes(columns) + 24.0 * len(self.ids) * columns

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "KeptProducts":
        return KeptProducts(self._whole.take(rows), self._folder)


def name_of(ids: Sequence[str]) -> str:
    """Return how the files of products of some individuals begin."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()[:12]


def kept_product(
    path: Path, V: Float64[ndarray, "n b"], make: Callable[[], Float64[ndarray, "n b"]]
) -> Float64[ndarray, "n b"]:
    """Return a product from a file if it is that of the same columns, else make it, and write it there.

    Args:
        path: of the file.
        V: the columns.
        make: returns their product.
    """
    mark = hashlib.sha256(np.ascontiguousarray(V)).digest()
    if path.exists():
        content = read_sealed(path, advice=_ADVICE)
        if content.startswith(mark):
            return np.frombuffer(content, offset=len(mark)).reshape(V.shape).copy()
        warnings.warn(
            f"{path} is the product of other columns, such as another number of threads makes: it is made again",
            InputWarning,
            stacklevel=3,
        )
    product = np.ascontiguousarray(make())  # as it is read, or sums over it would differ in their last digits
    write_sealed(path, mark + product.tobytes())
    return product
