r"""What sets of markers add to a model with covariates, whole blocks of them at a time.

A block is Z: k arrays of rotated markers, one for each place in b sets of k (k = 1: single markers). At one variance
ratio a set adds what is in the Schur complement of X,

.. math:: S = Z'PZ, \quad v = Z'Py, \quad P = V^{-1} - V^{-1}X (X'V^{-1}X)^{-1} X'V^{-1}:

the quadratic form falls by :math:`v'S^{-1}v`, the restricted likelihood has :math:`-\frac12 \log|S|` more, and the
effects are :math:`S^{-1}v` with covariance :math:`\sigma_p^2 S^{-1}`. S and v are matrix products over the block.

Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, for one marker; Searle, Casella and McCulloch (1992),
Variance Components, for P.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial, reduce
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64, Int64
from numpy import ndarray

from bayeslmm.likelihood.one_trait import UnitScale, at_unit_scale, gls, log_ml, log_reml, rescale, with_columns
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.small_matrices import cholesky, solve_lower

_COLLINEAR = 1e-8
"""A marker is taken for a combination of covariates, or of others in its set, if they leave less of z'z than this."""


class Weights(NamedTuple):
    """P at m variance ratios and total variance 1: diag(W) - A A' at each.

    Attributes:
        W: diagonal of V^-1, shape (n, m).
        A: V^-1 X R with R R' = (X'V^-1X)^-1, shape (n, m, c).
    """

    W: Float64[ndarray, "n m"]
    A: Float64[ndarray, "n m c"]


class Model(NamedTuple):
    """One trait without markers, at the same ratios.

    Attributes:
        Py: shape (n, m).
        ml, reml: both likelihoods, arrays of shape (m,).
    """

    Py: Float64[ndarray, "n m"]
    ml: UnitScale
    reml: UnitScale


class Sets(NamedTuple):
    """Sets of markers with the same rank r given the covariates, as r independent columns each.

    Attributes:
        members: where they are in the block, shape (b,).
        columns: r arrays of shape (n, b).
        T: markers in terms of columns, so that beta = T (effects of columns), shape (k, r, b).
        determined: whether a marker's effect does not depend on how those of the others are chosen, shape (b, k).
        log_det: log |Z'Z| of the columns, shape (b,).
    """

    members: Int64[ndarray, " b"]
    columns: list[Float64[ndarray, "n b"]]
    T: Float64[ndarray, "k r b"]
    determined: Bool[ndarray, "b k"]
    log_det: Float64[ndarray, " b"]


class Gains(NamedTuple):
    """What sets add to a model, at each of m ratios and total variance 1.

    Attributes:
        quad: v'S^-1 v, shape (b, m).
        log_det: log |S|, shape (b, m).
        beta: effects, k arrays of shape (b, m).
        variance: of those effects, k arrays of shape (b, m).
    """

    quad: Float64[ndarray, "b m"]
    log_det: Float64[ndarray, "b m"]
    beta: list[Float64[ndarray, "b m"]]
    variance: list[Float64[ndarray, "b m"]]


def weights_and_model(white: RotatedData, h2: Float[ndarray, " m"], e2: Float[ndarray, " m"]) -> tuple[Weights, Model]:
    """Return one trait without markers at m ratios.

    Args:
        white: the trait, with orthonormal X.
        h2: share of the genetic variance, shape (m,).
        e2: 1 - h2, kept apart so that no digits are lost near h2 = 1, shape (m,).
    """
    W, A, Py, ml, reml = jax.tree.map(np.asarray, _at_ratios(white, h2, e2))
    return Weights(W, A), Model(Py, ml, reml)


@jax.jit
@partial(jax.vmap, in_axes=(None, 0, 0), out_axes=(1, 1, 1, 0, 0))
def _at_ratios(data: RotatedData, h2: Array, e2: Array) -> tuple[Array, Array, Array, UnitScale, UnitScale]:
    fit = gls(data, h2, e2)
    w = 1 / (h2 * jnp.asarray(data.s) + e2)
    Py = w * (data.Y[:, 0] - data.X @ fit.beta)
    ml, reml = (at_unit_scale(loglik, data, h2, e2) for loglik in (log_ml, log_reml))
    return w, w[:, None] * data.X @ jnp.linalg.cholesky(fit.cov), Py, ml, reml


def sets_by_rank(X: Float[ndarray, "n c"], Z: Sequence[Float[ndarray, "n b"]]) -> Iterator[Sets]:
    """Yield the sets of each rank above 0, as independent columns.

    Ranks are those of markers scaled to unit length once X is projected out, so that units do not matter: a product of
    a marker with a covariate has any. Where markers of a set depend on each other, columns are combinations along an
    orthonormal basis of the row space of the set: with them effects are those of least length, whatever the ratio.
    """
    k = len(Z)
    left = [clear_of(X, z) for z in Z]
    cross = np.array([[np.einsum("nb,nb->b", y, z) for y in left] for z in left]).transpose(2, 0, 1)
    squares = np.column_stack([np.einsum("nb,nb->b", z, z) for z in Z])
    remaining = np.einsum("bii->bi", cross)
    vary = remaining > _COLLINEAR * squares
    length = np.where(vary, np.sqrt(remaining), 1.0)
    unit = cross * (vary / length)[:, :, None] * (vary / length)[:, None, :]
    sizes, vectors = np.linalg.eigh(unit)
    rank = (sizes > _COLLINEAR).sum(axis=1)
    for r in np.unique(rank[rank > 0]):
        members = np.flatnonzero(rank == r)
        members_left = left if members.size == rank.size else [z[:, members] for z in left]
        leading, scale = vectors[members][:, :, k - r :], length[members][:, :, None]
        if k == 1:
            T = np.ones((members.size, 1, 1))
            columns = members_left
        else:
            T = leading / scale if r == k else np.linalg.qr(scale * leading)[0]
            columns = [_total(z * T[:, i, j] for i, z in enumerate(members_left)) for j in range(r)]
        products = T.transpose(0, 2, 1) @ cross[members] @ T
        determined = np.isclose((leading**2).sum(axis=2), 1)
        yield Sets(members, columns, T.transpose(1, 2, 0), determined, np.linalg.slogdet(products)[1])


def clear_of(X: Float[ndarray, "n c"], z: Float[ndarray, "n b"]) -> Float[ndarray, "n b"]:
    """Return z less its projection on orthonormal X, with one temporary array."""
    projection = X @ (X.T @ z)
    return np.subtract(z, projection, out=projection)


def schur_factor(weights: Weights, sets: Sets) -> list[list[ndarray]]:
    """Return the Cholesky factor of S, r by r elements of shape (b, m)."""
    n, m, c = weights.A.shape
    ZA = [(z.T @ weights.A.reshape(n, m * c)).reshape(-1, m, c) for z in sets.columns]
    products = [[(z * y).T @ weights.W for y in sets.columns[: i + 1]] for i, z in enumerate(sets.columns)]
    return cholesky([[S - (ZA[i] * ZA[j]).sum(axis=2) for j, S in enumerate(row)] for i, row in enumerate(products)])


def gains_of(model: Model, sets: Sets, L: list[list[ndarray]]) -> Gains:
    """Return what sets add to a model, from the factor of `schur_factor`."""
    z = solve_lower(L, [column.T @ model.Py for column in sets.columns])
    of_markers = [solve_lower(L, [t[:, None] for t in row]) for row in sets.T]
    return Gains(
        quad=_total(part**2 for part in z),
        log_det=2 * _total(np.log(row[-1]) for row in L),
        beta=[_total(a * b for a, b in zip(z, t, strict=True)) for t in of_markers],
        variance=[_total(part**2 for part in t) for t in of_markers],
    )


def profile_ml(model: Model, gain: Float[ndarray, "..."], n: int) -> Float[ndarray, "..."]:
    """Return the log-likelihood at each ratio, maximised over scale and effects."""
    quad = model.ml.quad - gain
    return rescale(UnitScale(model.ml.log_dets, quad), n, quad / n)


def profile_reml(model: Model, gains: Gains, sets: Sets, k: int) -> Float[ndarray, "b m"]:
    """Return the restricted log-likelihood at each ratio, maximised over scale and effects."""
    unit = with_columns(model.reml, gains.quad, gains.log_det, sets.log_det[:, None], len(sets.columns))
    return rescale(unit, k, unit.quad / k)


def _total(parts: Iterable[ndarray]) -> ndarray:
    return reduce(np.add, parts)
