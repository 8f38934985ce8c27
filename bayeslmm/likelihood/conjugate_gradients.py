"""Many systems of equations with symmetric positive definite matrices, solved together by conjugate gradients."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

type Multiply = Callable[[Float64[ndarray, "n k"], Int64[ndarray, " k"]], Float64[ndarray, "n k"]]
"""Products of matrices with columns; which systems the columns are of comes second."""


class Solved(NamedTuple):
    """Solutions, and how good they are.

    Attributes:
        x: shape (n, b).
        residuals: length of what is left of each right-hand side, over its own, shape (b,).
        products: how many times all unfinished systems were multiplied.
    """

    x: Float64[ndarray, "n b"]
    residuals: Float64[ndarray, " b"]
    products: int


def conjugate_gradients(
    multiply: Multiply,
    B: Float64[ndarray, "n b"],
    *,
    tolerance: float,
    most_products: int,
    tell: Callable[[int, float], None] | None = None,
) -> Solved:
    """Solve A_j x_j = b_j for each column, all columns in the same products.

    Each column has a matrix and steps of its own, and takes no part once it is solved. A product is a pass over what
    the matrices are made of, however many columns there are: solvers that take one right-hand side at a time, as
    those of `scipy.sparse.linalg`, would need a pass for each.

    Args:
        multiply: the matrices.
        B: right-hand sides.
        tolerance: of `Solved.residuals`.
        most_products: where to stop if it is not reached.
        tell: called after each product with their number and the largest of `Solved.residuals`.

    Source: Hestenes and Stiefel (1952), doi:10.6028/jres.049.044.
    """
    x, r = np.zeros_like(B), B.copy()
    p, squares = r.copy(), np.einsum("nb,nb->b", r, r)
    wanted, lengths = tolerance**2 * squares, np.where(squares > 0, squares, 1.0)
    products = 0
    left = np.flatnonzero(squares > wanted)
    while len(left) and products < most_products:
        direction = p[:, left]
        product = multiply(direction, left)
        products += 1
        step = squares[left] / np.einsum("nb,nb->b", direction, product)
        x[:, left] += step * direction
        r[:, left] -= step * product
        new = np.einsum("nb,nb->b", r[:, left], r[:, left])
        p[:, left] = r[:, left] + new / squares[left] * direction
        squares[left] = new
        left = left[new > wanted[left]]
        if tell:
            tell(products, float(np.sqrt((squares / lengths).max())))
    return Solved(x, np.sqrt(squares / lengths), products)
