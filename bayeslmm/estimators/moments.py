"""The method of moments (Haseman-Elston regression): no likelihood, no normality, one linear system.

With M = I - X (X'X)^-1 X' the quadratic forms y'MKMy and y'My have expectations that are linear in the variances:

    [ tr(MKMK)  tr(MK) ; tr(MK)  n - c ] [sigma2_u; sigma2_e] = [ y'MKMy ; y'My ]

Three ways to the same numbers: `moments` from rotated data; `moments_jackknife` from K itself, with standard errors
that do not assume the model; `randomised_moments` from genotypes that are streamed, without K.

Sources: Haseman and Elston (1972), doi:10.1007/BF01066731; Zhou (2017), doi:10.1214/17-AOAS1052, for the moment
equations; Wu and Sankararaman (2018), doi:10.1093/bioinformatics/bty253, for the randomised trace.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.estimators.information import Parameter, standard_errors_from
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.kinship.genotype_products import GenotypeProducts
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.traces import Traces, check_identified, rotated_traces
from bayeslmm.likelihood.whitened import OneTrait, whitened


@dataclass(frozen=True)
class Moments:
    """Variance components by the method of moments: unbiased, and for that not confined to the parameter space.

    Attributes:
        method: "mom", or "rhe" with a randomised trace.
        sigma2_u, sigma2_e: variance components as the equations give them, in squared units of the trait.
        cov: sampling covariance of (sigma2_u, sigma2_e).
        cov_kind: "exact", of the quadratic forms of normal data with these variances, or "jackknife".
        monte_carlo_cov: covariance that the random vectors of "rhe" add; 0 for "mom".
        k_scale: see `RotatedData`.
        n, c: individuals and covariates.
    """

    method: Literal["mom", "rhe"]
    sigma2_u: float
    sigma2_e: float
    cov: Float64[ndarray, "2 2"]
    cov_kind: Literal["exact", "jackknife"]
    monte_carlo_cov: Float64[ndarray, "2 2"]
    k_scale: float
    n: int
    c: int

    @property
    def h2(self) -> float:
        """sigma2_u / (sigma2_u + sigma2_e), outside 0 to 1 if one of them is negative."""
        return quantities.h2(self.sigma2_u, self.sigma2_e)

    @property
    def pve(self) -> float:
        """Variance explained among the individuals analysed."""
        return quantities.pve(self.sigma2_u, self.sigma2_e, self.k_scale)

    @property
    def outside(self) -> Literal["sigma2_u", "sigma2_e"] | None:
        """Which variance is negative, if one is: the estimate is then outside the parameter space."""
        return "sigma2_u" if self.sigma2_u < 0 else "sigma2_e" if self.sigma2_e < 0 else None

    def with_k_scale(self, k_scale: float) -> "Moments":
        """Return the same fit for the multiple of K that has this k_scale."""
        factor = self.k_scale / k_scale
        D = np.diag([factor, 1.0])
        return replace(
            self,
            sigma2_u=self.sigma2_u * factor,
            cov=D @ self.cov @ D,
            monte_carlo_cov=D @ self.monte_carlo_cov @ D,
            k_scale=k_scale,
        )

    def standard_errors(self) -> dict[Parameter, float]:
        """Return sampling standard errors by the delta method."""
        return standard_errors_from(self.cov, self.sigma2_u, self.sigma2_e, self.k_scale)

    def monte_carlo_errors(self) -> dict[Parameter, float]:
        """Return the standard deviations over other random vectors, the data being the same."""
        return standard_errors_from(self.monte_carlo_cov, self.sigma2_u, self.sigma2_e, self.k_scale)


def moments(data: OneTrait) -> Moments:
    """Estimate the variance components of one trait by the method of moments, in O(n c^2).

    Args:
        data: one trait in the eigenbasis.

    Raises:
        InputError: if Y has more than one column.
    """
    white = whitened(data)
    n, c = white.data.n, white.data.X.shape[1]
    s, r = np.asarray(white.data.s), white.data.Y[:, 0]
    traces = rotated_traces(s, white.data.X, white.data.counts)
    theta = _solve(traces, float(s @ r**2), float(r @ r))
    unit, none = np.array([white.unit_u, white.unit_e]), np.zeros((2, 2))
    cov = _sampling_cov(traces, theta) * np.outer(unit, unit)
    u, e = theta[0] * white.unit_u, theta[1] * white.unit_e
    return Moments("mom", u, e, cov, "exact", none, white.given.k_scale, n, c)


def moments_covariance(data: OneTrait, sigma2_u: float, sigma2_e: float) -> Float64[ndarray, "2 2"]:
    """Return the sampling covariance of `moments` of normal data where these are the true variances."""
    white = whitened(data)
    unit = np.array([white.unit_u, white.unit_e])
    theta = sigma2_u / white.unit_u, sigma2_e / white.unit_e
    return _sampling_cov(rotated_traces(np.asarray(white.data.s), white.data.X, white.data.counts), theta) * np.outer(
        unit, unit
    )


def moments_jackknife(
    K: Float64[ndarray, "n n"], Y: Float64[ndarray, "n 1"], X: Float64[ndarray, "n c"], *, blocks: int | None = None
) -> Moments:
    """Estimate as `moments` does, with standard errors by leaving out blocks of rows in turn, in O(n^2 c blocks).

    The standard error needs no normal trait, but it needs individuals of different blocks to be hardly related: among
    the mice of the tests, which all descend from eight lines, it is a third of the exact one.
    Between strangers it is on average somewhat too large (Efron and Stein 1981, doi:10.1214/aos/1176345462).

    Args:
        K: kinship, not rotated.
        Y: one trait of the same individuals.
        X: their covariates.
        blocks: how many; 100 by default, or one for each individual if there are fewer.

    Raises:
        InputError: if there are fewer than 2 blocks, or so many that one would be empty.
    """
    n, c = X.shape
    blocks = min(100, n) if blocks is None else blocks
    if not 2 <= blocks <= n:
        raise InputError(
            f"the jackknife needs between 2 blocks and one for each of {n} individuals, but {blocks} was given"
        )
    K_squares = np.square(K)
    row_squares, total_squares = K_squares.sum(axis=1), K_squares.sum()
    del K_squares

    def without(left_out: ndarray) -> tuple[float, float]:
        keep = np.ones(n, dtype=bool)
        keep[left_out] = False
        Q, r = np.zeros((n, c)), np.zeros(n)
        Q[keep], _ = orthonormal(X[keep])
        r[keep] = Y[keep, 0] - Q[keep] @ (Q[keep].T @ Y[keep, 0])
        KQ = K @ Q
        KQ[left_out] = 0
        block = K[np.ix_(left_out, left_out)]
        squares = total_squares - 2 * row_squares[left_out].sum() + np.square(block).sum()
        A1 = Q.T @ KQ
        t0, t1 = float(keep.sum() - c), np.trace(K) - np.trace(block) - np.trace(A1)
        t2 = squares - 2 * np.square(KQ).sum() + np.square(A1).sum()
        return _solve(Traces(t0, t1, t2, np.nan, np.nan), float(r @ (K @ r)), float(r @ r))

    theta = without(np.arange(0))
    replicates = np.array([without(rows) for rows in np.array_split(np.arange(n), blocks)])
    cov = (blocks - 1) * np.cov(replicates.T, bias=True)
    k_scale = float(np.trace(K) / n - K.sum() / n**2)
    return Moments("mom", *theta, cov, "jackknife", np.zeros((2, 2)), k_scale, n, c)


def randomised_moments(
    blocks: MarkerBlocks,
    ids: Sequence[str],
    Y: Float64[ndarray, "n 1"],
    X: Float64[ndarray, "n c"],
    *,
    seed: int,
    vectors: int = 100,
) -> Moments:
    """Estimate as `moments` does from genotypes, without K: memory is O(n (vectors + c + block)), whatever p.

    tr(MKMK) is the mean of |MKMz|^2 over standard normal vectors z; all else is exact. Two passes over the genotypes:
    the second gives the traces that the sampling covariance needs.

    Args:
        blocks: the genotypes, standardised among all individuals in the file.
        ids: IID of each individual analysed, in the order of Y and X.
        Y: one trait.
        X: covariates.
        seed: Seed for the random vectors.
        vectors: how many.

    Raises:
        InputError: if an individual has no genotypes, no marker is left, or there are fewer than 2 vectors.
    """
    if vectors < 2:
        raise InputError(f"at least 2 random vectors are needed for a Monte Carlo error, but {vectors} was given")
    n, c = X.shape
    rows = blocks.genotypes.rows(ids)
    Q, _ = orthonormal(X)

    def project(A: ndarray) -> ndarray:
        return A - Q @ (Q.T @ A)

    r = project(Y)
    Z = project(np.random.default_rng(seed).standard_normal((n, vectors)))
    K = GenotypeProducts(blocks).take(rows)
    KV, diagonal = K @ np.column_stack([r, np.ones(n), Q, Z]), K.diagonal()
    Kr, K1, KQ, GZ = KV[:, 0], KV[:, 1], KV[:, 2 : c + 2], project(KV[:, c + 2 :])
    GGZ = project(K @ GZ)
    squares = np.square(GZ).sum(axis=0)
    traces = Traces(
        t0=float(n - c),
        t1=float(diagonal.sum() - np.trace(Q.T @ KQ)),
        t2=float(squares.mean()),
        t3=float((GZ * GGZ).sum() / vectors),
        t4=float(np.square(GGZ).sum() / vectors),
    )
    theta = _solve(traces, float(r[:, 0] @ Kr), float(r[:, 0] @ r[:, 0]))
    by_t2 = -np.linalg.solve(_system(traces), [theta[0], 0.0])
    monte_carlo = np.outer(by_t2, by_t2) * squares.var(ddof=1) / vectors
    k_scale = float(diagonal.mean() - K1.mean() / n)
    return Moments("rhe", *theta, _sampling_cov(traces, theta), "exact", monte_carlo, k_scale, n, c)


def _system(t: Traces) -> Float64[ndarray, "2 2"]:
    return np.array([[t.t2, t.t1], [t.t1, t.t0]])


def _solve(t: Traces, rKr: float, rr: float) -> tuple[float, float]:
    check_identified(t)
    sigma2_u, sigma2_e = np.linalg.solve(_system(t), [rKr, rr])
    return float(sigma2_u), float(sigma2_e)


def _sampling_cov(t: Traces, theta: tuple[float, float]) -> Float64[ndarray, "2 2"]:
    """Return the covariance of the solution: Cov(y'Ay, y'By) = 2 tr(AVBV), A and B each MKM or M, V at theta."""
    u, e = theta
    forms = 2 * np.array(
        [
            [u**2 * t.t4 + 2 * u * e * t.t3 + e**2 * t.t2, u**2 * t.t3 + 2 * u * e * t.t2 + e**2 * t.t1],
            [u**2 * t.t3 + 2 * u * e * t.t2 + e**2 * t.t1, u**2 * t.t2 + 2 * u * e * t.t1 + e**2 * t.t0],
        ]
    )
    inverse = np.linalg.inv(_system(t))
    return inverse @ forms @ inverse
