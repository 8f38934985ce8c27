r"""The scaled lasso: residual variance from sparse effects, :math:`p \gg n`.

It alternates between the noise level, :math:`\sigma^2 = |y - W b|^2 / m`, and the lasso with penalty
:math:`\lambda = \sigma \lambda_0`, a joint convex problem. What it estimates is the variance that no *few* markers
explain. A polygenic trait has no few markers: none passes the penalty, b stays 0 and sigma2_e is the whole variance
of the trait given X, whatever the heritability (that is what the source report found for all its traits; the study in
``validation/scaled_lasso.py`` shows where it begins to see sparse effects).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.likelihood.bases import orthonormal

_TOLERANCE = 1e-6
_ROUNDS = 100
_GAP = 1e-12  # sigma^2 is off by up to the root of this
_SWEEPS = 100_000
_MOST_NEW = 100


@dataclass(frozen=True)
class ScaledLasso:
    """The noise level that a sparse model of the trait leaves.

    Attributes:
        sigma2_e: residual variance, in squared units of the trait.
        sigma2_y: variance of the trait given X.
        lambda0: penalty per unit of sigma, on markers with variance 1.
        selected: markers with an effect.
        rounds: alternations done.
        converged: whether sigma converged.
        n, c: individuals and covariates.
        p: markers that vary among these individuals given X.
        counts: markers that the filters of the genotypes kept and dropped.
    """

    sigma2_e: float
    sigma2_y: float
    lambda0: float
    selected: int
    rounds: int
    converged: bool
    n: int
    c: int
    p: int
    counts: MarkerCounts

    @property
    def dropped(self) -> int:
        """Markers that passed the filters of the genotypes, but do not vary among these individuals given X."""
        return self.counts.kept - self.p

    @property
    def interpolates(self) -> bool:
        """Whether there are as many effects as contrasts: lambda0 is too small, and sigma2_e means nothing."""
        return self.selected >= self.n - self.c

    @property
    def h2(self) -> float:
        """Share of the variance given X that the selected markers explain: not the heritability of all markers."""
        return 1 - self.sigma2_e / self.sigma2_y


def scaled_lasso(
    blocks: MarkerBlocks,
    ids: Sequence[str],
    Y: Float64[ndarray, "n 1"],
    X: Float64[ndarray, "n c"],
    *,
    lambda0: float | None = None,
) -> ScaledLasso:
    r"""Estimate the residual variance of one trait by the scaled lasso on all markers; X is not penalised.

    Holds the genotypes of the individuals analysed in memory, 4 n p bytes.

    Args:
        blocks: the genotypes.
        ids: IID of each individual analysed, in the order of Y and X.
        Y: one trait.
        X: covariates.
        lambda0: penalty per unit of sigma; :math:`\sqrt{2 \log(p) / (n - c)}` by default, the universal penalty.

    Raises:
        InputError: if an individual has no genotypes, no marker is left, or lambda0 is not positive.

    Source: Sun and Zhang (2012), doi:10.1093/biomet/ass043, equations 3 to 5 (the alternation) and section 5 (lambda0).
    """
    if lambda0 is not None and not lambda0 > 0:
        raise InputError(f"lambda0 must be positive, but {lambda0} was given")
    n, c = X.shape
    Q, _ = orthonormal(X)
    W, counts = _projected_markers(blocks, ids, Q)
    p, m = W.shape[1], n - c
    lambda0 = float(np.sqrt(2 * np.log(max(p, 2)) / m)) if lambda0 is None else lambda0
    y = Y[:, 0] - Q @ (Q.T @ Y[:, 0])
    sigma2_y = float(y @ y) / m
    selected, share, rounds = _alternate(W, y / np.sqrt(sigma2_y), m, lambda0)
    return ScaledLasso(
        sigma2_e=share * sigma2_y,
        sigma2_y=sigma2_y,
        lambda0=lambda0,
        selected=selected,
        rounds=rounds,
        converged=rounds < _ROUNDS,
        n=n,
        c=c,
        p=p,
        counts=counts,
    )


def _projected_markers(
    blocks: MarkerBlocks, ids: Sequence[str], Q: Float64[ndarray, "n c"]
) -> tuple[Float32[ndarray, "n p"], MarkerCounts]:
    """Return the markers without what X explains, each of length sqrt(n - c); those that X explains are left out."""
    rows, Q32 = blocks.genotypes.rows(ids), Q.astype(np.float32)
    n, c = Q.shape
    projected, p = np.empty((n, blocks.genotypes.n_markers), dtype=np.float32, order="F"), 0
    counts = MarkerCounts()
    for block in blocks.tracked("genotypes", rows):
        W = block.G
        counts += block.tally.counts
        before = np.linalg.norm(W, axis=0)
        W -= Q32 @ (Q32.T @ W)
        length = np.linalg.norm(W, axis=0)
        varies = length > 1e-3 * before.max(initial=1.0)
        kept = int(varies.sum())
        projected[:, p : p + kept] = W[:, varies] * (np.sqrt(n - c) / length[varies]).astype(np.float32)
        p += kept
    if p == 0:
        raise InputError(f"{blocks.genotypes.path}: no marker varies among the {n} individuals analysed, given X")
    return projected[:, :p], counts


def _alternate(W: Float32[ndarray, "n p"], y: Float64[ndarray, " n"], m: int, lambda0: float) -> tuple[int, float, int]:
    """Return the number of effects, sigma^2 and the rounds; y has a mean square of 1 over m."""
    sigma, last, rounds = 1.0, np.inf, 0
    b = np.zeros(W.shape[1])
    while abs(sigma - last) > _TOLERANCE * sigma and rounds < _ROUNDS:
        # scikit-learn's objective is |y - W b|^2 / (2 n) + alpha |b|_1, with the number of rows n.
        b, residual = _lasso(W, y, sigma * lambda0 * m / len(y), b)
        last, sigma = sigma, float(np.sqrt(residual @ residual / m))
        rounds += 1
    return int(np.count_nonzero(b)), sigma**2, rounds


def _lasso(
    W: Float32[ndarray, "n p"], y: Float64[ndarray, " n"], alpha: float, b: Float64[ndarray, " p"]
) -> tuple[Float64[ndarray, " p"], Float64[ndarray, " n"]]:
    """Return the effects and the residual, from those of another penalty.

    Only a working set of markers is solved for, in float64 and tightly; it grows until no marker left out has a
    gradient above the penalty.
    """
    from sklearn.linear_model import lasso_path  # takes a second to import

    working = np.flatnonzero(b)
    while True:
        columns = W[:, working].astype(np.float64)
        if working.size:
            settings = {"alphas": np.array([alpha]), "coef_init": b[working], "tol": _GAP, "max_iter": _SWEEPS}
            _, path, _ = lasso_path(columns, y, **settings)
            b = np.zeros(W.shape[1])
            b[working] = path[:, 0]
        residual = y - columns @ b[working]
        gradient = np.abs(W.T @ residual.astype(np.float32)) / len(y)
        gradient[working] = 0
        violators = np.flatnonzero(gradient > alpha * (1 + 1e-5))
        if violators.size == 0:
            return b, residual
        working = np.union1d(working, violators[np.argsort(-gradient[violators])[:_MOST_NEW]])
