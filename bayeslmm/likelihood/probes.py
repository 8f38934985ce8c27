r"""The spectrum of K from random probes: eigenvalues, and how many of each there are.

A sum of a smooth function over all eigenvalues is a trace, tr f(K) = E z'f(K)z for random signs z, and block Lanczos
gives z'f(K)z as a sum over Ritz values. Three things make few probes enough:

- Directions whose part of the trace is known exactly are taken out of the probes: the covariates, and eigenvectors that
  the space has found.
- Counts are multiplied by :math:`1 + a + b \theta + c \theta^2`, so that the moments tr I, tr K and tr K^2 are right:
  the first two are exact, and the third comes from many more probes of a single product.
- The jackknife over probes tells what error is left.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int8
from numpy import ndarray

from bayeslmm.likelihood.krylov import BlockLanczos

_APART = 0.1  # of the distance to the next Ritz value: an eigenvector whose residual is below it is not its neighbours
_ROUNDING = 1e-6  # of the largest eigenvalue
_BESIDE = 0.1  # of the length of a covariate


class Moments(NamedTuple):
    """tr I, tr K and tr K^2, with the standard error of the last."""

    t0: float
    t1: float
    t2: float
    t2_error: float = 0.0


class Nodes(NamedTuple):
    """What one block Lanczos run says of the spectrum of K.

    Attributes:
        s: Ritz values, ascending, shape (k,).
        exact: of how many known directions each is the eigenvalue, shape (k,).
        powers: squared length of what is left of each probe along each Ritz vector, shape (k, q).
        vectors: Ritz vectors in the basis of the space, in columns, shape (k, k).
        found: which are eigenvectors, shape (k,).
    """

    s: Float64[ndarray, " k"]
    exact: Float64[ndarray, " k"]
    powers: Float64[ndarray, "k q"]
    vectors: Float64[ndarray, "k k"]
    found: Bool[ndarray, " k"]


def nodes(
    space: BlockLanczos, q: Float64[ndarray, "b c"], z: Float64[ndarray, "b q"], *, deflate: bool = True
) -> Nodes:
    """Return the nodes of a space that began with the covariates and the probes.

    A Ritz vector is taken for an eigenvector if its residual is small beside the distance to the next Ritz value: of an
    eigenvalue that many eigenvectors share, or nearly share, the space holds what the probes have of them, which no
    other probe has.

    Args:
        space: it began with the covariates and the probes.
        q: an orthonormal basis of the covariates, in the basis of its first block.
        z: the probes in that basis.
        deflate: take eigenvectors that are found out of the probes.
    """
    s, S = np.linalg.eigh(space.T)
    last = space.V[-1].shape[1]
    residual = np.linalg.norm(space.R @ S[-last:], axis=0) if space.R.size else np.zeros(len(s))
    gap = np.minimum(np.diff(s, prepend=-np.inf), np.diff(s, append=np.inf))
    whole = len(s) == space.n
    found = (residual + _ROUNDING * s[-1] < _APART * gap) | whole if deflate else np.zeros(len(s), dtype=bool)
    q, z = (S[: len(first)].T @ first for first in (q, z))
    # The rest of the covariates, beside eigenvectors that are found: without what is a rounding error of these.
    beside, lengths, _ = np.linalg.svd(np.where(found[:, None], 0.0, q), full_matrices=False)
    beside = beside[:, lengths > _BESIDE]
    exact = found + np.square(beside).sum(axis=1)
    z = np.where(found[:, None], 0.0, z)
    z -= beside @ (beside.T @ z)
    # Rounding splits an eigenvalue of 0: where h2 is near 1, what it leaves of it would count.
    return Nodes(np.where(s > _ROUNDING * s[-1], s, 0.0), exact, np.square(z), S, found)


def counts(nodes: Nodes, moments: Moments, *, left_out: int | None = None) -> Float64[ndarray, " k"]:
    """Return how many eigenvalues each node stands for, so that the moments hold.

    Args:
        nodes: of one space.
        moments: of K.
        left_out: number of a probe that is not used.

    Source: Deville and Sarndal (1992), doi:10.1080/01621459.1992.10475217 (calibration).
    """
    powers = nodes.powers if left_out is None else np.delete(nodes.powers, left_out, axis=1)
    rest = moments.t0 - nodes.exact.sum()
    if rest < 0.5:  # all eigenvectors are found
        return nodes.exact
    mean = powers.mean(axis=1)
    mean *= rest / mean.sum()
    monomials = (nodes.s / nodes.s[-1]) ** np.arange(3)[:, None]
    wanted = np.array([moments.t0, moments.t1 / nodes.s[-1], moments.t2 / nodes.s[-1] ** 2])
    missing = wanted - monomials @ (nodes.exact + mean)
    change = np.linalg.lstsq((monomials * mean) @ monomials.T, missing, rcond=1e-12)[0]
    return nodes.exact + mean * (1 + change @ monomials)


class Singles:
    """Probes of a single product each, for tr K^2 = E |Kg|^2.

    What lies in a space whose products are known is known exactly, and what is left of g is regressed on its two
    moments that are known.
    """

    def __init__(self) -> None:
        self.G: list[Int8[ndarray, "n m"]] = []
        self.KG: list[Float64[ndarray, "n m"]] = []

    def add(self, G: Int8[ndarray, "n m"], KG: Float64[ndarray, "n m"]) -> None:
        """Add probes with their products."""
        self.G.append(G)
        self.KG.append(KG)

    def moments(self, space: BlockLanczos, trace: float) -> Moments:
        """Return the moments of K.

        Args:
            space: as large as there is one.
            trace: of K.
        """
        n, k = space.n, len(space.T)
        inside = float(np.square(space.T).sum() + np.square(space.R).sum())  # |KV|^2
        if k == n:
            return Moments(n, trace, inside)
        values = np.concatenate([_outside(space, G, KG) for G, KG in zip(self.G, self.KG, strict=True)])
        means = values.mean(axis=0)
        controls, squares = values[:, :2] - means[:2], values[:, 2] - means[2]
        slope = np.linalg.lstsq(controls, squares, rcond=1e-12)[0]
        known = np.array([n - k, trace - np.trace(space.T)])
        t2 = inside + means[2] + slope @ (known - means[:2])
        error = np.linalg.norm(squares - controls @ slope) / np.sqrt(len(values) * (len(values) - 3))
        return Moments(n, trace, float(t2), float(error))


def _outside(space: BlockLanczos, G: Int8[ndarray, "n m"], KG: Float64[ndarray, "n m"]) -> Float64[ndarray, "m 3"]:
    """Return |g|^2, g'Kg and |Kg|^2 of what is left of each probe outside the space."""
    signs = G.astype(float)
    inside = space.coordinates(signs)
    outside = signs - space.vectors(inside)
    product = KG - space.vectors(space.T @ inside)
    last = space.V[-1].shape[1]
    product -= space.next @ (space.R @ inside[-last:])
    return np.stack(
        [np.square(outside).sum(axis=0), (outside * product).sum(axis=0), np.square(product).sum(axis=0)], 1
    )
