r"""Restricted likelihoods of many traits along the variance ratio, as interpolants.

At one ratio and total variance 1 all that differs between traits with the same people and X is the quadratic form: a
matrix product of :math:`1 / d` with squared rotated traits, less that of cross products with X. It is taken at the
Chebyshev points of a `RatioGrid`, between which the logarithm of the quadratic form and the determinants are known to
more digits than rounding leaves. A trait with missing values has a column of X for each (see `many_traits`), which adds
the Schur complement of `with_columns`, of the elements of P of all people where the values are missing.
"""

from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.many_traits import ManyTraits
from bayeslmm.likelihood.one_trait import UnitScale, gls_at_each, log_reml, rescale, traits_at_unit_scale, with_columns
from bayeslmm.likelihood.ratio_grid import RatioGrid
from bayeslmm.likelihood.rotation import RotatedData, Spectrum

NEAR_END, FAR_END = 4e-6, 1e-12
"""Values of sigma2_e / sigma2_u (K with a mean diagonal of 1): where the interpolant that REML searches ends, and the
one for the posterior beyond it."""
_ACCURACY = 1e-12
_NEGLIGIBLE = 45.0  # logarithm of a likelihood ratio
_BLOCK, _CELLS = 1024, 3e7  # most traits at once, and most products of them with covariates
_RATIOS = 16


class RatioLines(NamedTuple):
    """Restricted likelihoods of t traits along the ratio: in units of each, and of a K with a mean diagonal of 1.

    Attributes:
        near, far: grids of the ratio; the second only matters for traits that are likely beyond the first.
        log_dets, log_quads: as in `UnitScale`, coefficients of each grid, shapes (m, t).
        free: values less columns of X, shape (t,).
        k: mean diagonal of K of the people of each trait relative to that of all, shape (t,).
    """

    near: RatioGrid
    far: RatioGrid
    log_dets: tuple[Float64[ndarray, "_ t"], Float64[ndarray, "_ t"]]
    log_quads: tuple[Float64[ndarray, "_ t"], Float64[ndarray, "_ t"]]
    free: Float64[ndarray, " t"]
    k: Float64[ndarray, " t"]

    def take(self, traits: ndarray) -> "RatioLines":
        """Return some of the traits, by their places."""
        dets, quads = (tuple(each[:, traits] for each in pair) for pair in (self.log_dets, self.log_quads))
        return self._replace(log_dets=dets, log_quads=quads, free=self.free[traits], k=self.k[traits])

    def at(self, genetic: Float[ndarray, "t q"], residual: Float[ndarray, "t q"]) -> UnitScale:
        """Return the likelihood of each trait at shares of its own, arrays of shape (t, q).

        Args:
            genetic: share of the genetic variance.
            residual: 1 less that, with all its digits.
        """
        of_k = genetic / self.k[:, None]
        with np.errstate(divide="ignore", over="ignore"):
            x = self.near.at_ratio(of_k / residual)
        in_near = np.minimum(x, self.near.x[-1])
        log_dets, log_quads = (self.near.evaluate(part[0], in_near) for part in (self.log_dets, self.log_quads))
        beyond = (x > self.near.x[-1]).any(axis=1)
        if beyond.any():
            in_far = np.clip(x[beyond], self.far.x[0], self.far.x[-1])
            for values, part in ((log_dets, self.log_dets), (log_quads, self.log_quads)):
                of_far = self.far.evaluate(part[1][:, beyond], in_far)
                values[beyond] = np.where(x[beyond] > self.near.x[-1], of_far, values[beyond])
        # From total variance 1 where all people have a mean diagonal of 1 to that where those of the trait have it.
        total = of_k + residual
        return UnitScale(log_dets - self.free[:, None] / 2 * np.log(total), np.exp(log_quads) / total)

    def profile(self) -> Float64[ndarray, "m t"]:
        """Return log-likelihoods at the best total variance along the near grid, as coefficients."""
        m = len(self.near.x)
        x = np.broadcast_to(self.near.x, (len(self.free), m))
        log_dets, log_quads = (self.near.evaluate(part[0], x) for part in (self.log_dets, self.log_quads))
        return self.near.coefficients(_profile(log_dets, log_quads, self.free))


def ratio_lines(traits: ManyTraits, spectrum: Spectrum) -> RatioLines:
    """Return the likelihoods of many traits along the ratio.

    Args:
        traits: of the people of the spectrum; those with missing values may have any of their own.
        spectrum: of K, of which only the eigenvectors are used, and only for missing values.
    """
    s = traits.data.s
    near = RatioGrid(s, NEAR_END, accuracy=_ACCURACY)
    far = RatioGrid(s, FAR_END, first=NEAR_END, accuracy=_ACCURACY)
    free = traits.free.astype(float)
    dets, quads = _at_points(traits, spectrum, near)
    profile = _profile(dets, np.log(quads), free)
    likely = profile[:, -1] > profile.max(axis=1) - _NEGLIGIBLE
    likely |= profile[:, -1] > profile[:, -2]
    # Elsewhere it is continued by a constant: nothing of the posterior is there.
    far_dets, far_quads = (np.repeat(each[:, -1:], len(far.x), axis=1) for each in (dets, quads))
    if likely.any():
        far_dets[likely], far_quads[likely] = _at_points(traits.take(np.flatnonzero(likely)), spectrum, far)
    return RatioLines(
        near,
        far,
        (near.coefficients(dets), far.coefficients(far_dets)),
        (near.coefficients(np.log(quads)), far.coefficients(np.log(far_quads))),
        free,
        traits.k / traits.unit,
    )


def _profile(log_dets: ndarray, log_quads: ndarray, free: ndarray) -> ndarray:
    quads = np.exp(log_quads)
    return rescale(UnitScale(log_dets, quads), free[:, None], quads / free[:, None])


@in_float64
def _at_points(traits: ManyTraits, spectrum: Spectrum, grid: RatioGrid) -> tuple[ndarray, ndarray]:
    """Return determinants and quadratic forms at the points of a grid, shapes (t, m)."""
    shares = grid.shares(grid.x)
    (n, t), c = traits.data.Y.shape, traits.data.X.shape[1]
    most = _width(min(_BLOCK, int(_CELLS / (n * c))))
    quads, log_dets = np.empty((t, len(grid.x))), np.empty(0)
    for start in range(0, t, most):
        block = traits.data.Y[:, start : start + most]
        width = block.shape[1]
        # Always of a few widths, so that it is compiled for a few.
        padded = np.pad(block, ((0, 0), (0, _width(width) - width)), constant_values=1.0)
        log_dets, found = _compiled(traits.data._replace(Y=padded), *shares)
        quads[start : start + width] = np.asarray(found)[:, :width].T
    dets = np.repeat(np.asarray(log_dets)[None], t, axis=0)  # those of the last block are those of all
    patterns = _patterns(traits)
    if patterns:
        _add_missing(traits, spectrum, grid, patterns, dets, quads)
    return dets, quads


def _width(traits: int) -> int:
    return min(_BLOCK, max(16, 1 << max(traits - 1, 0).bit_length()))


@jax.jit
def _compiled(data: RotatedData, h2: jax.Array, e2: jax.Array) -> tuple[jax.Array, jax.Array]:
    return jax.vmap(lambda u, e: traits_at_unit_scale(log_reml, data, u, e))(h2, e2)


def _patterns(traits: ManyTraits) -> list[tuple[ndarray, ndarray]]:
    """Return the sets of missing values, each with the traits that have it."""
    sets: dict[bytes, list[int]] = {}
    for j in np.flatnonzero(traits.missing.any(axis=0)):
        sets.setdefault(traits.missing[:, j].tobytes(), []).append(int(j))
    return [(np.flatnonzero(traits.missing[:, those[0]]), np.array(those)) for those in sets.values()]


def _add_missing(
    traits: ManyTraits,
    spectrum: Spectrum,
    grid: RatioGrid,
    patterns: list[tuple[ndarray, ndarray]],
    dets: Float64[ndarray, "t m"],
    quads: Float64[ndarray, "t m"],
) -> None:
    """Add the columns of missing values, in place."""
    Q = spectrum.U @ traits.data.X
    clear = [np.linalg.slogdet(np.eye(len(rows)) - Q[rows] @ Q[rows].T)[1] for rows, _ in patterns]
    for points, P, weights, A in _projections(traits.data, spectrum, grid):
        for (rows, those), log_det_zz in zip(patterns, clear, strict=True):
            S = P[:, rows[:, None], rows]
            Y, UE = traits.data.Y[:, those], spectrum.U[rows]
            left = np.einsum("rnc,nt->rct", A, Y)
            Py = weights[:, :, None] * Y - A @ left
            v = (UE @ Py.transpose(1, 0, 2).reshape(len(Y), -1)).reshape(len(rows), len(points), -1).transpose(1, 0, 2)
            L = np.linalg.cholesky(S)
            half = np.linalg.solve(L, v)
            unit = with_columns(
                UnitScale(dets[np.ix_(those, points)], quads[np.ix_(those, points)]),
                np.square(half).sum(axis=1).T,
                2 * np.log(np.diagonal(L, axis1=1, axis2=2)).sum(axis=1),
                log_det_zz,
                len(rows),
            )
            dets[np.ix_(those, points)], quads[np.ix_(those, points)] = unit


def _projections(
    data: RotatedData, spectrum: Spectrum, grid: RatioGrid
) -> Iterator[tuple[ndarray, ndarray, ndarray, ndarray]]:
    """Yield some points of the grid at a time, P of the people there, shape (r, n, n), and what it is made of.

    In the eigenbasis P is diag(w) - A A', with w of shape (r, n) and A of shape (r, n, c).
    """
    h2, e2 = grid.shares(grid.x)
    weights = 1 / (h2[:, None] * data.s + e2[:, None])
    X = np.asarray(data.X)
    none = data._replace(Y=np.zeros((len(data.s), 1)))
    cov = np.asarray(gls_at_each(none, jnp.asarray(h2), jnp.asarray(e2)).cov)
    A = weights[:, :, None] * (X @ np.linalg.cholesky(cov))
    U = spectrum.U
    for start in range(0, len(h2), _RATIOS):
        points = np.arange(start, min(start + _RATIOS, len(h2)))
        P = np.empty((len(points), *U.shape))
        for i, point in enumerate(points):
            half, UA = U * np.sqrt(weights[point]), U @ A[point]
            P[i] = half @ half.T - UA @ UA.T
        yield points, P, weights[points], A[points]
