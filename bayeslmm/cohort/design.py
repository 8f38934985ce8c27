"""The covariate matrix X: intercept, treatment coding, collinearity."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import qr, solve_triangular

from bayeslmm.base.checks import InputError, examples

INTERCEPT = "intercept"
RANK_TOLERANCE = 1e-9


def treatment_coding(name: str, levels: Sequence[str] | ndarray) -> tuple[list[str], Float[ndarray, "n k"]]:
    """Code a categorical covariate against its first level (in sorted order).

    Args:
        name: of the covariate.
        levels: the level of each individual, complete.

    Returns:
        The column names ``name[level]``, and indicators of shape (n, levels - 1).
    """
    levels = np.asarray(levels, dtype=str)
    distinct = np.unique(levels)[1:]
    return [f"{name}[{level}]" for level in distinct], (levels[:, None] == distinct).astype(float)


def lengths(X: Float[ndarray, "n c"]) -> Float[ndarray, " c"]:
    """Return the length of each column, in units whose squares are no numbers as well."""
    unit = np.abs(X).max(axis=0, initial=0.0)
    unit[unit == 0] = 1
    return unit * np.linalg.norm(X / unit, axis=0)


def check_full_rank(X: Float[ndarray, "n c"], names: Sequence[str], *, where: str) -> None:
    """Refuse covariates that are linear combinations of others.

    Raises:
        InputError: naming each redundant column and the columns it is made of.

    Source: Golub and Van Loan (2013), Matrix Computations, section 5.4.2 (QR with column pivoting).
    """
    n, c = X.shape
    length = lengths(X)
    if (length == 0).any():
        empty = [names[int(j)] for j in np.flatnonzero(length == 0)]
        raise InputError(f"{where}: the covariate {examples(empty)} is 0 for everybody analysed: leave it out")
    scaled = X / length
    R, order = qr(scaled, mode="r", pivoting=True)
    diagonal = np.abs(np.diag(R))
    rank = int((diagonal > RANK_TOLERANCE * diagonal.max(initial=0.0)).sum())
    if rank == c:
        return
    kept, redundant = order[:rank], order[rank:]
    weights = solve_triangular(R[:rank, :rank], R[:rank, rank:])
    words = [
        f"{examples([names[int(j)]])} is a combination of "
        + examples(sorted(str(names[int(kept[i])]) for i in np.flatnonzero(np.abs(w) > 1e-6)), most=6)
        for j, w in zip(redundant, weights.T, strict=True)
    ]
    more = f"; and {len(words) - 3} more" if len(words) > 3 else ""
    raise InputError(
        f"{where}: the covariates must be linearly independent among the {n} individuals analysed, but "
        f"{'; '.join(words[:3])}{more}: leave one out"
    )
