"""Many small symmetric matrices at once: t by t, one for each eigenvalue of K, as a t by t list of arrays over n.

The loops over t are unrolled when JAX traces them and arrays carry the loop over n: for two to four traits and
thousands of individuals this is 10 to 20 times as fast as one call of LAPACK for each matrix, with its gradient.
NumPy's arrays stay NumPy's, of any shape.
"""

from collections.abc import Sequence
from typing import Any

from jaxtyping import ArrayLike, Float

Matrices = Sequence[Sequence[Float[ArrayLike, "..."]]]


def cholesky(V: Matrices) -> list[list[Any]]:
    """Return the lower triangles L of V = L L', row i with its i + 1 elements.

    Source: Golub and Van Loan (2013), Matrix Computations, section 4.2.5.
    """
    L: list[list[Any]] = []
    for i in range(len(V)):
        row: list[Any] = []
        for j in range(i):
            row.append((V[i][j] - sum(row[k] * L[j][k] for k in range(j))) / L[j][j])
        L.append([*row, (V[i][i] - sum(element**2 for element in row)) ** 0.5])
    return L


def solve_lower(L: Matrices, r: Sequence[Float[ArrayLike, "..."]]) -> list[Any]:
    """Return z with L z = r, by forward substitution."""
    z: list[Any] = []
    for i, row in enumerate(L):
        z.append((r[i] - sum(row[k] * z[k] for k in range(i))) / row[i])
    return z


def solve_upper(L: Matrices, r: Sequence[Float[ArrayLike, "..."]]) -> list[Any]:
    """Return z with L'z = r, by back substitution."""
    t = len(L)
    z: list[Any] = [None] * t
    for i in reversed(range(t)):
        z[i] = (r[i] - sum(L[k][i] * z[k] for k in range(i + 1, t))) / L[i][i]
    return z


def inverse(L: Matrices) -> list[list[Any]]:
    """Return V^-1 = L'^-1 L^-1 of V = L L', all t by t elements."""
    t, one = len(L), L[0][0] ** 0  # pyright: ignore[reportOperatorIssue]
    # Column j of L^-1 is 0 above row j.
    columns = [solve_lower([row[j:] for row in L[j:]], [one, *[0 * one] * (t - j - 1)]) for j in range(t)]
    M = [[columns[j][i - j] for j in range(i + 1)] for i in range(t)]
    return [[sum(M[k][i] * M[k][j] for k in range(max(i, j), t)) for j in range(t)] for i in range(t)]
