"""Symmetric matrices of which one triangle is given."""

import numpy as np
from jaxtyping import Float, Float64, Num
from numpy import ndarray


def _quiet() -> np.errstate:
    """Damaged files hold NaN of which NumPy warns when it widens them: a `Kinship` refuses them by their place."""
    return np.errstate(invalid="ignore")


def triangle(lower: Float[ndarray, " m"], n: int, *, diagonal: float | None = None) -> Float64[ndarray, "n n"]:
    """Return the symmetric matrix whose lower triangle is given row by row.

    Args:
        lower: its values.
        n: how many rows it has.
        diagonal: of all rows, where ``lower`` does not hold it.
    """
    K = np.empty((n, n))
    start = 0
    with _quiet():
        for i in range(n):
            stop = start + i + (diagonal is None)
            row = lower[start:stop]
            K[i, : len(row)] = row
            K[: len(row), i] = row
            start = stop
    if diagonal is not None:
        np.fill_diagonal(K, diagonal)
    return K


def widened(K: Num[ndarray, "n n"]) -> Float64[ndarray, "n n"]:
    """Return a matrix in float64."""
    with _quiet():
        return K.astype(float)


def mirrored(K: Float64[ndarray, "n n"]) -> Float64[ndarray, "n n"]:
    """Return a matrix with zeros above its diagonal (plink's square0) with the values below it there; others as is."""
    if len(K) > 1 and not np.triu(K, 1).any() and np.tril(K, -1).any():
        return K + np.tril(K, -1).T
    return K
