"""Checks of arrays."""

from pathlib import Path

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError

_LARGEST_RELATIONSHIP = 1e75  # whose squares are numbers


def check_square(K: ndarray, *, where: str | Path) -> None:
    """Refuse a kinship matrix that is not square, finite and symmetric (PSD is seen at decomposition).

    Raises:
        InputError: naming the first offending element.
    """
    if K.ndim != 2 or K.shape[0] != K.shape[1]:
        raise InputError(f"{where}: a kinship matrix must be square, but it has shape {K.shape}")
    check_finite(K, name="the kinship matrix", where=where)
    n = len(K)
    largest = float(max(K.max(initial=0.0), -K.min(initial=0.0)))
    if largest > _LARGEST_RELATIONSHIP:
        raise InputError(
            f"{where}: a kinship matrix must hold relationships of about 1, but the largest is {largest:.3g}: "
            "rescale it"
        )
    # Blocks of rows: the comparison must not cost a second n x n matrix.
    for start in range(0, n, 512):
        block = slice(start, min(start + 512, n))
        gap = np.abs(K[block] - K[:, block].T)
        if gap.max(initial=0.0) > 1e-6 * largest:
            i, j = np.unravel_index(np.argmax(gap), gap.shape)
            i = int(i) + start
            raise InputError(
                f"{where}: a kinship matrix must be symmetric, but row {i + 1} column {j + 1} is {K[i, j]:.6g} "
                f"and row {j + 1} column {i + 1} is {K[j, i]:.6g}"
            )


def check_finite(array: Float[ndarray, "..."], *, name: str, where: str | Path) -> None:
    """Refuse NaN and infinite values.

    Raises:
        InputError: with the count and the position of the first.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(array.sum()):  # cheap, and a sum of finite numbers that overflows is looked at below
            return
    bad = ~np.isfinite(array)
    if bad.any():
        first = tuple(int(i) + 1 for i in np.argwhere(bad)[0])
        value = array[tuple(i - 1 for i in first)]
        raise InputError(
            f"{where}: {name} must hold finite numbers only, but {int(bad.sum())} of {array.size} are not, "
            f"first {value} at position {first}"
        )
