"""Orthonormal bases of the columns of X."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.cohort.design import RANK_TOLERANCE, lengths


def orthonormal(X: Float[ndarray, "n c"]) -> tuple[Float[ndarray, "n c"], Float[ndarray, "c c"]]:
    """Return Q, R with X = Q R and Q'Q = I: coefficients on Q have comparable scales whatever the units of X."""
    X = np.asarray(X, dtype=float)
    unit = np.abs(X).max(axis=0, initial=0.0)
    unit[unit == 0] = 1  # squares of large and of small numbers leave the range of floating point
    Q, R = np.linalg.qr(X / unit)
    return Q, R * unit


def independent(X: Float[ndarray, "n c"]) -> tuple[Float[ndarray, "n r"], Float[ndarray, "c r"]]:
    """Return an orthonormal basis Q of the columns of X, whatever their rank r, and a map back to X.

    With a the coefficients on Q, those on X are ``back @ a``: of all that fit equally well, the ones of least length.

    Source: Golub and Van Loan (2013), Matrix Computations, section 5.5.2 (least squares by the SVD).
    """
    X = np.asarray(X, dtype=float)
    length = lengths(X)
    length[length == 0] = 1
    # The rank is that of columns of unit length, as in `check_full_rank`: a date has any unit.
    Q, sizes, directions = np.linalg.svd(X / length, full_matrices=False)
    kept = sizes > RANK_TOLERANCE * sizes.max(initial=0.0)
    back = (directions[kept] / sizes[kept, None]).T / length[:, None]
    if not kept.all():
        rows, _ = np.linalg.qr(length[:, None] * directions[kept].T)
        back = rows @ (rows.T @ back)
    return Q[:, kept], back
