r"""The likelihood of several components at many variances: what their number does not matter for is computed once.

In units of the residual variance, the products of all columns T = [X W_1 ... W_k y] in the mixed-model equations depend
on the variances by one number, the ratio of the leading variance to it:

.. math::

    H(x) = T' \text{diag}\{1 / (1 + s_i e^x)\} T, \qquad x = \log(\theta_1 / \theta_e)

Within a window of x of width 1, the polynomial through H at 14 Chebyshev points is H to rounding: the poles are at the
distance pi of the real line, so that its error falls as 12^-14. What is left for each draw is a Cholesky factor of m
columns.

Source: Trefethen (2013), Approximation Theory and Approximation Practice, theorem 8.2 and equation 5.9.
"""

from collections.abc import Callable
from concurrent.futures import Executor
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from bayeslmm.base.memory import check_memory

_NODES, _WIDTH = 14, 1.0
_LEAST = 1e-290  # a variance that is taken for 0: the penalty of its effects must be finite
_ROOM = 2**21  # numbers in the matrices that a thread has at a time


class Columns(NamedTuple):
    """The columns of the mixed-model equations, y the last one.

    Attributes:
        T: rows of levels of the leading component, shape (q, m).
        s: its eigenvalues, shape (q,).
        within: products of the columns over all other rows, shape (m, m).
        sizes: number of columns of X, and of each W_j.
    """

    T: Float64[ndarray, "q m"]
    s: Float64[ndarray, " q"]
    within: Float64[ndarray, "m m"]
    sizes: tuple[int, ...]


def at_each(
    columns: Columns, theta: Float[ndarray, "draws k"], pool: Executor, done: Callable[[int], object]
) -> tuple[Float64[ndarray, " draws"], Float64[ndarray, " draws"]]:
    """Return log|D| + log|C| over the rows of levels, and y'Py; infinity and 1 where rounding makes C indefinite.

    Args:
        columns: of the equations.
        theta: variances of the leading component, of those of W, and of the residual.
        pool: whose workers have a share each of nodes and of draws; results do not depend on their number.
        done: is told how many more draws are done.

    Raises:
        InputError: if memory does not suffice.
    """
    m = len(columns.within)
    check_memory(
        8.0 * (_NODES + 4) * m**2,
        what=f"the products of {m:,} columns at {_NODES} ratios of variances",
        instead="use fewer components, or a machine with more memory",
    )
    theta = np.maximum(theta, _LEAST)
    x = np.log(theta[:, 0] / theta[:, -1])
    log_dets, quad = np.full(len(x), np.inf), np.ones(len(x))
    window_of = np.floor(x / _WIDTH)
    for window in np.unique(window_of):
        some = np.flatnonzero(window_of == window)
        nodes, weights = _interpolation(x[some], (window + 0.5) * _WIDTH)
        H = np.empty((len(nodes), m, m))
        list(pool.map(lambda k, H=H, nodes=nodes: _products(columns, float(nodes[k]), H[k]), range(len(nodes))))
        parts = np.array_split(np.arange(len(some)), -(-len(some) // max(1, _ROOM // m**2)))

        def pivots(part: Int[ndarray, " b"], H=H, weights=weights, some=some) -> Float64[ndarray, "b m"]:
            C = (weights[part] @ H.reshape(len(H), -1)).reshape(-1, m, m)
            return np.array(
                [_pivots(C_of_one, columns.sizes, theta[i]) for C_of_one, i in zip(C, some[part], strict=True)]
            )

        for part, found in zip(parts, pool.map(pivots, parts), strict=True):
            at, good = some[part], np.isfinite(found[:, -1])
            log_dets[at[good]] = 2 * np.log(found[good, :-1]).sum(axis=1)
            quad[at[good]] = found[good, -1] ** 2 / theta[at[good], -1]
            done(len(part))
    of_levels = np.log1p(np.exp(x)[:, None] * columns.s).sum(axis=1) + len(columns.s) * np.log(theta[:, -1])
    of_columns = np.log(theta[:, 1:-1]) @ columns.sizes[1:] - (m - 1) * np.log(theta[:, -1])
    return log_dets + of_levels + of_columns, quad


def _interpolation(
    x: Float64[ndarray, " draws"], centre: float
) -> tuple[Float64[ndarray, " nodes"], Float64[ndarray, "draws nodes"]]:
    """Return Chebyshev points of a window and the weights of each at x; x itself if it has no more values."""
    if len(x) <= _NODES:
        return x, np.eye(len(x))
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    nodes = centre + _WIDTH / 2 * np.cos(angles)
    away = x[:, None] - nodes
    exact = away == 0
    weights = (-1.0) ** np.arange(_NODES) * np.sin(angles) / np.where(exact, 1.0, away)
    weights[exact.any(axis=1)] = exact[exact.any(axis=1)]
    return nodes, weights / weights.sum(axis=1, keepdims=True)


def _products(columns: Columns, x: float, out: Float64[ndarray, "m m"]) -> None:
    """Write H at one ratio, the rows within levels included."""
    scaled = columns.T / np.sqrt(1 + columns.s * np.exp(x))[:, None]
    np.matmul(scaled.T, scaled, out=out)
    out += columns.within


def _pivots(
    C: Float64[ndarray, "m m"], sizes: tuple[int, ...], theta: Float64[ndarray, " k"]
) -> Float64[ndarray, " m"]:
    """Return the diagonal of the Cholesky factor of H with the penalties, not a number if there is none."""
    diagonal = C.reshape(-1)[:: len(C) + 1]
    diagonal[sizes[0] : -1] += np.repeat(theta[-1] / theta[1:-1], sizes[1:])
    try:
        return np.diag(np.linalg.cholesky(C)).copy()  # SciPy's would not let other threads compute meanwhile
    except np.linalg.LinAlgError:
        return np.full(len(C), np.nan)
