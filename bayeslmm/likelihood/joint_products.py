r"""The restricted likelihood of several traits at many covariance matrices: sums over individuals are made once.

Row i has the covariance matrix :math:`V(s_i) = s_i \Gamma_u + \Gamma_e`, and generalised least squares needs

.. math::

    F = Z' V^{-1} Z = \sum_i [V(s_i)^{-1}]_{j(a) j(b)} z_{ia} z_{ib}, \qquad Z = [E_1 \ldots E_t \; X_1 \ldots X_t \;
    y_1 \ldots y_t]

with j(a) the trait of column a, and missing values among the columns (`joint_log_reml`). Any :math:`V(s)^{-1}` is a
sum of functions :math:`1 / (1 + l s)`, l the eigenvalues of :math:`\Gamma_e^{-1} \Gamma_u`; and to rounding all of
these are linear combinations of their values at some of the eigenvalues of K, the nodes:

.. math::

    V(s_i)^{-1} = \sum_q \phi_q(s_i) V(s_q)^{-1}, \qquad F = \sum_q [V(s_q)^{-1}]_{j(a) j(b)} (N_q)_{ab}, \qquad
    N_q = Z' \text{diag}\{\phi_q(s_i)\} Z

A dozen nodes do for a genomic kinship, fifty where eigenvalues reach down to 0. What is left for each pair of matrices
is a Cholesky factor of F, whatever n is; and the slopes of the likelihood cost two more.

Source: Cheng, Gimbutas, Martinsson and Rokhlin (2005), doi:10.1137/030602678, for the interpolative decomposition.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from bayeslmm.base.memory import check_memory
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.small_matrices import cholesky, inverse

MOST_RATIO = 2e5
"""Eigenvalue of Gamma_e^-1 Gamma_u up to which the nodes serve, with a mean of s of 1; beyond it rows are summed."""
_RATIOS = np.concatenate([[0.0], np.geomspace(1e-4, MOST_RATIO, 240)])
_ACCURACY = 1e-10  # of (1 + l) / (1 + l s), which is 1 at the mean of s
_CHUNK = 256  # rows of F that are made together
_COLUMNS = 64  # of a Cholesky factor that are computed together
_ROOM = 2**24  # numbers in the matrices F that a thread has at a time


class Tail(NamedTuple):
    """Likelihoods at m pairs of covariance matrices, and what is left of F once the missing values are out of it.

    Attributes:
        loglik: restricted log-likelihoods, minus infinity where V or F is indefinite, if only by rounding, shape (m,).
        root: last rows and columns of the lower Cholesky factor of F, those of X and y, shape (m, C + t, C + t); not
            numbers where there is no likelihood.
    """

    loglik: Float64[ndarray, " m"]
    root: Float64[ndarray, "m tail tail"]


def effects_of(root: Float64[ndarray, "tail tail"], t: int) -> tuple[Float64[ndarray, " C"], Float64[ndarray, "C C"]]:
    """Return the coefficients of all X by generalised least squares, and the Cholesky factor of their precision.

    Args:
        root: of a `Tail`.
        t: traits.
    """
    c = len(root) - t
    of_X = root[:c, :c]
    return scipy.linalg.solve_triangular(of_X, root[c:, :c].sum(axis=0), lower=True, trans="T"), of_X


class _Block(NamedTuple):
    """A part of the lower triangle of F: rows of one trait, columns of one."""

    rows: slice
    columns: slice
    traits: tuple[int, int]
    N: Float64[ndarray, "k size"]


@dataclass(frozen=True, eq=False)
class JointProducts:
    """The products N_q of several traits of `joint_whitened`, C columns of X in all.

    Attributes:
        s: eigenvalues of K, shape (n,).
        nodes: those among them at which V is inverted, shape (k,).
        trait_of: the trait of each column of F: first missing values, then X, then the traits, shape (m + C + t,).
        t: traits.
        m: missing values.
        n: individuals.
        counts: how many eigenvalues each row stands for, shape (n,).
    """

    s: Float64[ndarray, " n"]
    nodes: Float64[ndarray, " k"]
    trait_of: Int[ndarray, " size"]
    t: int
    m: int
    n: int
    counts: Float64[ndarray, " n"]
    _sums: Float64[ndarray, "k 2"] = field(repr=False)
    _Z: tuple[tuple[int, Float64[ndarray, "n _"]], ...] = field(repr=False)
    _blocks: tuple[_Block, ...] = field(repr=False)

    @classmethod
    def of(cls, data: JointData) -> "JointProducts":
        """Make them, in O(k n (m + C)^2).

        Args:
            data: of `joint_whitened`.

        Raises:
            InputError: if memory does not suffice.
        """
        t = data.Y.shape[1]
        Z = [(j, part) for parts in (data.E, data.X, data.Y.T[:, :, None]) for j, part in enumerate(parts)]
        Z = tuple((j, np.asarray(part)) for j, part in Z if part.shape[1])
        chosen, phi = _interpolation(np.asarray(data.s))
        trait_of = np.repeat([j for j, _ in Z], [part.shape[1] for _, part in Z])
        size = len(trait_of)
        check_memory(
            8.0 * len(chosen) * size * (size + _CHUNK) / 2,
            what=f"the products of {size:,} covariates and missing values at {len(chosen)} eigenvalues of K",
            instead="keep only individuals with all traits, or use a machine with more memory",
        )
        blocks = []
        for rows, columns, traits, A, B in _pieces(Z):
            N = np.stack([(A * weight[:, None]).T @ B for weight in phi])
            blocks.append(_Block(rows, columns, traits, N.reshape(len(phi), -1)))
        s, m = np.asarray(data.s), sum(E.shape[1] for E in data.E)
        counts = np.asarray(data.weights, dtype=float)
        sums = phi @ np.column_stack([counts, counts * s])
        return cls(s, s[chosen], trait_of, t, m, data.n, counts, sums, Z, tuple(blocks))

    @property
    def size(self) -> int:
        """Rows of F."""
        return len(self.trait_of)

    def at(self, Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]) -> Tail:
        """Return restricted log-likelihoods at pairs of matrices."""
        log_det_v, tail = self._log_det_v(Gamma_u, Gamma_e), self.size - self.m
        loglik, tails = np.full(len(Gamma_u), -np.inf), np.full((len(Gamma_u), tail, tail), np.nan)
        for i, root in enumerate(self.roots(Gamma_u, Gamma_e)):
            if root is not None and np.isfinite(value := self._loglik(root, log_det_v[i])):
                loglik[i], tails[i] = value, np.tril(root[self.m :, self.m :])
        return Tail(loglik, tails)

    def roots(
        self, Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]
    ) -> Iterator[Float64[ndarray, "size size"] | None]:
        """Yield the lower Cholesky factor of F at each pair of matrices, nothing where there is none."""
        for F in self._matrices(Gamma_u, Gamma_e):
            try:
                yield _factorised(F)
            except np.linalg.LinAlgError:
                yield None

    def at_each(
        self,
        Gamma_u: Float[ndarray, "m t t"],
        Gamma_e: Float[ndarray, "m t t"],
        pool: Executor,
        done: Callable[[int], object],
    ) -> Tail:
        """Return the same as `at`, of many pairs of matrices.

        Args:
            Gamma_u: genetic covariances.
            Gamma_e: residual covariances.
            pool: whose workers have a share each; results do not depend on their number.
            done: is told how many more are done.
        """
        count = -(-len(Gamma_u) // max(1, _ROOM // self.size**2))
        parts = np.array_split(np.arange(len(Gamma_u)), count)

        def some(part: Int[ndarray, " b"]) -> Tail:
            found = self.at(Gamma_u[part], Gamma_e[part])
            done(len(part))
            return found

        return Tail(*(np.concatenate(found) for found in zip(*pool.map(some, parts), strict=True)))

    def with_slopes(
        self, Gamma_u: Float[ndarray, "t t"], Gamma_e: Float[ndarray, "t t"]
    ) -> tuple[float, Float64[ndarray, "t t"], Float64[ndarray, "t t"]]:
        r"""Return the restricted log-likelihood and its slopes along the elements of both matrices; NaN as `at`.

        With :math:`d V^{-1} = -V^{-1} dV V^{-1}` they are sums over nodes of :math:`V^{-1} G_q V^{-1}`, G_q the sums
        of the elements of N_q by trait, weighted by the slope of the likelihood along F.

        Source: Magnus and Neudecker (2019), Matrix Differential Calculus, section 8.4.
        """
        (inverses,) = _inverses(self.nodes, Gamma_u[None], Gamma_e[None])
        (root,) = self.roots(Gamma_u[None], Gamma_e[None])
        if root is None:
            nothing = np.full((self.t, self.t), np.nan)
            return np.nan, nothing, nothing
        loglik = self._loglik(root, self._log_det_v(Gamma_u[None], Gamma_e[None])[0])
        inverse, residual = self._slope_along(root)
        G = np.zeros_like(inverses)
        for block in self._blocks:
            weights = inverse[block.rows, block.columns] + np.outer(residual[block.rows], residual[block.columns])
            first = block.rows.start - block.columns.start
            weights = np.tril(weights, first) + np.tril(weights, first - 1)  # those below the diagonal stand for two
            sums = block.N @ weights.ravel() / 2
            j, k = block.traits
            G[:, j, k] += sums
            G[:, k, j] += sums
        slopes = inverses @ G @ inverses
        of_det_u, of_det_e = (np.tensordot(sums, inverses, 1) for sums in self._sums.T[::-1])
        return loglik, (np.tensordot(self.nodes, slopes, 1) - of_det_u) / 2, (slopes.sum(axis=0) - of_det_e) / 2

    @np.errstate(invalid="ignore", over="ignore")
    def _matrices(
        self, Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]
    ) -> Float64[ndarray, "m size size"]:
        """Return F at each pair, the lower triangles; not numbers where V is indefinite."""
        F = np.zeros((len(Gamma_u), self.size, self.size))
        inverses = _inverses(self.nodes, Gamma_u, Gamma_e)
        for block in self._blocks:
            part = F[:, block.rows, block.columns]
            part[...] = (inverses[:, :, *block.traits] @ block.N).reshape(part.shape)
        within = _factors(np.array([-1 / MOST_RATIO]), Gamma_u, Gamma_e)  # of what else has an eigenvalue below 0
        for i in np.flatnonzero(np.isnan([row[-1][:, 0] for row in within]).any(axis=0)):
            (of_rows,) = _inverses(self.s, Gamma_u[[i]], Gamma_e[[i]])
            for rows, columns, traits, A, B in _pieces(self._Z):
                F[i, rows, columns] = (A * of_rows[:, *traits][:, None]).T @ B
        return F

    def _log_det_v(self, Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]) -> Float64[ndarray, " m"]:
        return (log_dets(self.s, Gamma_u, Gamma_e) * self.counts).sum(axis=1)

    def _loglik(self, root: Float64[ndarray, "size size"], log_det_v: float) -> float:
        """Return the restricted log-likelihood; X'X = I adds nothing."""
        free, known = self.n * self.t - self.size + self.t, self.size - self.t
        quad = np.square(root[known:, known:].sum(axis=0)).sum()
        log_det = log_det_v + 2 * np.log(root.diagonal()[:known]).sum()
        return float(-(free * np.log(2 * np.pi) + log_det + quad) / 2)

    def _slope_along(
        self, root: Float64[ndarray, "size size"]
    ) -> tuple[Float64[ndarray, "size size"], Float64[ndarray, " size"]]:
        """Return A, of which the lower triangle counts, and v: -2 times the slope of the likelihood along F is A + vv'.

        A is the inverse of F without y, from log|F|; Zv is y less what generalised least squares fits.
        """
        known = self.size - self.t
        inverse = np.zeros_like(root)
        inverse[:known, :known], _ = scipy.linalg.lapack.dpotri(np.asfortranarray(root[:known, :known]), lower=1)
        beta = scipy.linalg.solve_triangular(
            root[:known, :known], root[known:, :known].sum(axis=0), lower=True, trans="T", check_finite=False
        )
        return inverse, np.concatenate([-beta, np.ones(self.t)])


def log_dets(
    s: Float64[ndarray, " k"], Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]
) -> Float64[ndarray, "m k"]:
    """Return log |V(s)| of each s at pairs of matrices, not a number where V is indefinite."""
    with np.errstate(divide="ignore"):
        return 2 * np.sum([np.log(row[-1]) for row in _factors(s, Gamma_u, Gamma_e)], axis=0)


def _factorised(F: Float64[ndarray, "size size"]) -> Float64[ndarray, "size size"]:
    """Replace a matrix by its lower Cholesky factor, and return it; what is above the diagonal is left as it is.

    By blocks of columns: it is as fast as LAPACK's, but SciPy would not let other threads compute meanwhile, and NumPy
    works on a copy and takes half as long again.

    Raises:
        LinAlgError: if it is not positive definite.

    Source: Golub and Van Loan (2013), Matrix Computations, section 4.2.6.
    """
    for a in range(0, len(F), _COLUMNS):
        b = min(a + _COLUMNS, len(F))
        F[a:, a:b] -= F[a:, :a] @ F[a:b, :a].T
        F[a:b, a:b] = np.linalg.cholesky(F[a:b, a:b])
        F[b:, a:b] = F[b:, a:b] @ np.linalg.inv(F[a:b, a:b]).T
    return F


def _factors(
    s: Float64[ndarray, " k"], Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]
) -> list[list[Float64[ndarray, "m k"]]]:
    """Return the Cholesky factors of all V(s), not a number where there is none."""
    t = Gamma_u.shape[-1]
    V = [
        [np.multiply.outer(Gamma_u[:, j, k], s) + Gamma_e[:, j, k, None] for k in range(j + 1)] for j in range(t)
    ]  # fmt: skip
    with np.errstate(invalid="ignore", divide="ignore"):
        return cholesky(V)


def _inverses(
    s: Float64[ndarray, " k"], Gamma_u: Float[ndarray, "m t t"], Gamma_e: Float[ndarray, "m t t"]
) -> Float64[ndarray, "m k t t"]:
    """Return all V(s)^-1, not a number where there is none."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.moveaxis(np.array(inverse(_factors(s, Gamma_u, Gamma_e))), (0, 1), (2, 3))


def _pieces(
    Z: tuple[tuple[int, Float64[ndarray, "n _"]], ...],
) -> Iterator[tuple[slice, slice, tuple[int, int], Float64[ndarray, "n _"], Float64[ndarray, "n _"]]]:
    """Yield parts of the lower triangle of Z'Z: places, traits, and the columns of Z whose products they are."""
    ends = np.cumsum([0, *(part.shape[1] for _, part in Z)])
    for a, (j, A) in enumerate(Z):
        for first in range(0, A.shape[1], _CHUNK):
            last = min(first + _CHUNK, A.shape[1])
            rows = slice(ends[a] + first, ends[a] + last)
            for b, (k, B) in enumerate(Z[: a + 1]):
                width = last if b == a else B.shape[1]
                yield rows, slice(ends[b], ends[b] + width), (j, k), A[:, first:last], B[:, :width]


def _interpolation(s: Float64[ndarray, " n"]) -> tuple[Int[ndarray, " k"], Float64[ndarray, "k n"]]:
    """Return the places of the nodes among eigenvalues, and phi."""
    functions = (1 + _RATIOS)[:, None] / (1 + _RATIOS[:, None] * s)
    R, order = scipy.linalg.qr(functions, mode="r", pivoting=True)
    k = max(1, int((np.abs(R.diagonal()) > _ACCURACY).sum()))
    phi = np.empty((k, len(s)))
    phi[:, order] = np.column_stack([np.eye(k), scipy.linalg.solve_triangular(R[:k, :k], R[:k, k:])])
    return order[:k], phi
