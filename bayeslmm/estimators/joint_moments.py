r"""The method of moments for several traits: one linear system for each pair, without a likelihood.

With M_j = I - Z_j (Z_j'Z_j)^-1 Z_j', Z_j = [X_j E_j] (covariates, and cells without a value), for traits j and k

    [ tr(M_j K M_k K)  tr(M_j K M_k) ; tr(M_j K M_k)  tr(M_j M_k) ] [cov_u; cov_e] =
        [ y_j'M_j K M_k y_k ; y_j'M_j M_k y_k ]

whose diagonal cases j = k are the equations of `moments`: six parameters for a pair. The right-hand sides are bilinear
forms of normal vectors, so that all their covariances are traces: :math:`Cov(y_j'Ay_k, y_i'By_m) =
tr(A V_{ki} B V_{mj}) + tr(A V_{km} B' V_{ij})`.

Sources: Haseman and Elston (1972), doi:10.1007/BF01066731; Searle, Casella and McCulloch (1992), Variance Components,
appendix S.5, for the covariances of quadratic forms.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations_with_replacement, product
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.joint_whitened import SeveralTraits, joint_whitened
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.traces import Traces, check_identified

_ROWS = 256
Name = tuple[int, int, int]  # the matrix M_j S^a M_k, as j, k, a


@dataclass(frozen=True)
class JointMoments:
    """Covariance matrices by the method of moments: unbiased, and for that not confined to the parameter space.

    Attributes:
        Gamma_u, Gamma_e: as the equations give them, shape (t, t): they need not be positive semi-definite. Elements
            that the records do not identify (`overlaps`) are NaN.
        unit_cov: sampling covariance of `elements`, for normal data with these matrices, in squares of `units`: the
            square of a variance of 1e200 is no number.
        units: of `elements`.
    """

    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    unit_cov: Float64[ndarray, "k k"]
    units: Float64[ndarray, " k"]

    @property
    def cov(self) -> Float64[ndarray, "k k"]:
        """Sampling covariance of `elements`."""
        return self.unit_cov * self.units * self.units[:, None]

    @property
    def outside(self) -> tuple[str, ...]:
        """Which matrices are not positive semi-definite."""
        sd = np.sqrt(np.abs(np.diag(self.Gamma_u)) + np.abs(np.diag(self.Gamma_e)))
        named = {"Gamma_u": self.Gamma_u, "Gamma_e": np.nan_to_num(self.Gamma_e)}
        named = {name: Gamma / sd / sd[:, None] for name, Gamma in named.items()}
        return tuple(name for name, Gamma in named.items() if np.linalg.eigvalsh(Gamma)[0] < 0)


def elements(Gamma_u: ndarray, Gamma_e: ndarray) -> Float64[ndarray, " k"]:
    """Return the distinct elements of both matrices: the upper triangles row by row, Gamma_u first."""
    upper = np.triu_indices(len(Gamma_u))
    return np.concatenate([Gamma_u[upper], Gamma_e[upper]])


def overlaps(data: JointData) -> Float64[ndarray, "t t"]:
    """Return how many individuals have both traits of each pair; where none has, cov_e is not identified."""
    m = [E.shape[1] for E in data.E]
    both_missing = [[float(np.square(a.T @ b).sum()) for b in data.E] for a in data.E]
    return np.round(data.n - np.add.outer(m, m) + np.array(both_missing))


class Solutions(NamedTuple):
    """Solutions of the moment equations, without the sampling covariance that most of the work goes into.

    Attributes:
        Gamma_u, Gamma_e: as in `JointMoments`, but 0 where an element is not identified.
        pairs: of traits, j <= k, in the order of `elements`.
        inverses: of the system of each pair; what is not identified has rows and columns of 0.
        design: which of the bases each trait has.
        bases: orthonormal, of the distinct Z.
    """

    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    pairs: list[tuple[int, int]]
    inverses: list[Float64[ndarray, "2 2"]]
    design: list[int]
    bases: list[Float64[ndarray, "n _"]]


def moment_solutions(data: JointData) -> Solutions:
    """Solve the moment equations, in O(n C^2).

    Args:
        data: the traits in the eigenbasis.

    Raises:
        InputError: if the individuals with a trait, or with both of two, are all equally related; or if two traits have
            no individual in common and no relatives among those who have one and those who have the other.
    """
    t, s = data.Y.shape[1], np.asarray(data.s)
    design, bases = _distinct_designs(data)
    R = np.column_stack([y - bases[d] @ (bases[d].T @ y) for y, d in zip(data.Y.T, design, strict=True)])
    pairs = list(combinations_with_replacement(range(t), 2))
    systems = {(j, k): _system(s, data.weights, bases[design[j]], bases[design[k]]) for j, k in pairs}
    for j in range(t):
        (t2, t1), (_, t0) = systems[j, j]
        check_identified(Traces(t0, t1, t2, np.nan, np.nan))
    apart = overlaps(data) == 0
    solutions, inverses = [], []
    for j, k in pairs:
        system = systems[j, k]
        informed = system[0, 0] > 1e-10 * np.sqrt(systems[j, j][0, 0] * systems[k, k][0, 0])
        if not informed or (not apart[j, k] and np.linalg.det(system) <= 1e-10 * system[0, 0] * system[1, 1]):
            raise InputError(
                f"the individuals with trait {j + 1} and those with trait {k + 1} are unrelated, or all equally "
                "related, so the genetic covariance is not identified: analyse the traits separately"
            )
        inverse = np.diag([1 / system[0, 0], 0.0]) if apart[j, k] else np.linalg.inv(system)
        inverses.append(inverse)
        solutions.append(inverse @ [R[:, j] @ (s * R[:, k]), R[:, j] @ R[:, k]])
    Gamma_u, Gamma_e = (_symmetric(column, t) for column in np.array(solutions).T)
    return Solutions(Gamma_u, Gamma_e, pairs, inverses, design, bases)


def joint_moments(data: SeveralTraits) -> JointMoments:
    """Estimate the covariance matrices of several traits by the method of moments.

    The estimates cost O(n C^2), their sampling covariance O(n^2 C) and, for d different sets of covariates and missing
    values, some 4 d^4 products of n x n matrices, in blocks of rows.

    Args:
        data: the traits in the eigenbasis.

    Raises:
        InputError: as `moment_solutions`.
    """
    whitened = joint_whitened(data)
    data = whitened.data
    found = moment_solutions(data)
    s, design = np.asarray(data.s), set(found.design)
    names = {(d, e, a) for d, e, a in product(design, design, (0, 1))}
    words: dict[tuple[Name, Name], ndarray] = {}
    powers, further = np.column_stack([np.ones(len(s)), s]), data.weights - 1
    for rows, N in _row_blocks(s, found.bases, names):
        for one, other in product(N, N):
            word = powers[rows].T @ (N[one] * N[other]) @ powers
            # Of eigenvalues beside the first that a row stands for no covariate has a part.
            diagonal = further[rows] * s[rows] ** (one[2] + other[2])
            word += (powers[rows].T * diagonal) @ powers[rows]
            words[one, other] = words.get((one, other), 0) + word
    apart = overlaps(data) == 0
    cov = _sampling_cov(found, words)
    unknown = elements(np.zeros_like(found.Gamma_u), apart.astype(float)) > 0
    cov[unknown], cov[:, unknown] = np.nan, np.nan
    return JointMoments(
        found.Gamma_u * whitened.unit_u,
        np.where(apart, np.nan, found.Gamma_e) * whitened.unit_e,
        cov,
        elements(whitened.unit_u, whitened.unit_e),
    )


def _system(s: ndarray, counts: ndarray, Qd: ndarray, Qe: ndarray) -> Float64[ndarray, "2 2"]:
    """Return tr(M_d S^a M_e S^b) for a, b in (1, 0), from words of S and the bases."""

    def trace(a: int, b: int) -> float:
        of_bases = sum(float(np.square(Q).sum(axis=1) @ s ** (a + b)) for Q in (Qd, Qe))
        crossed = (Qd.T @ (s[:, None] ** a * Qe)) * (Qd.T @ (s[:, None] ** b * Qe))
        return float((s ** (a + b) * counts).sum() - of_bases + crossed.sum())

    return np.array([[trace(a, b) for b in (1, 0)] for a in (1, 0)])


def _distinct_designs(data: JointData) -> tuple[list[int], list[ndarray]]:
    """Return which design each trait has, and an orthonormal basis of each: traits often share one."""
    design: list[int] = []
    kept: list[int] = []
    for j, (X, E) in enumerate(zip(data.X, data.E, strict=True)):
        same = (i for i, k in enumerate(kept) if np.array_equal(X, data.X[k]) and np.array_equal(E, data.E[k]))
        design.append(next(same, len(kept)))
        kept += [j] if design[-1] == len(kept) else []
    return design, [np.column_stack([orthonormal(data.X[j])[0], data.E[j]]) for j in kept]


def _row_blocks(
    s: ndarray, bases: list[ndarray], names: set[Name]
) -> Iterator[tuple[ndarray, dict[Name, Float64[ndarray, "rows n"]]]]:
    """Yield M_j S^a M_k in blocks of rows: whole, they would be n x n each."""
    right: dict[Name, ndarray] = {}
    for d, e, a in names:
        Qd, Qe = bases[d], bases[e]
        right[d, e, a] = (s[:, None] ** a * Qd).T - (Qd.T @ (s[:, None] ** a * Qe)) @ Qe.T
    for rows in np.array_split(np.arange(len(s)), max(len(s) // _ROWS, 1)):
        N: dict[Name, ndarray] = {}
        for d, e, a in names:
            block = -bases[d][rows] @ right[d, e, a] - (s[rows, None] ** a * bases[e][rows]) @ bases[e].T
            block[np.arange(len(rows)), rows] += s[rows] ** a
            N[d, e, a] = block
        yield rows, N


def _sampling_cov(found: Solutions, words: dict[tuple[Name, Name], ndarray]) -> Float64[ndarray, "k k"]:
    """Return the covariance of the solutions: that of the bilinear forms, through the inverse of each system."""
    gamma = np.stack([found.Gamma_e, found.Gamma_u])  # by power of S
    pairs, design, inverses = found.pairs, found.design, found.inverses

    def covariance(j: int, k: int, a: int, i: int, m: int, b: int) -> float:
        # tr(N_1 D N_2 D') is a sum of products of elements of N_1 and of N_2', which is M_m S^b M_i.
        straight = words[(design[j], design[k], a), (design[m], design[i], b)]
        crossed = words[(design[j], design[k], a), (design[i], design[m], b)]
        return float(gamma[:, m, j] @ straight @ gamma[:, k, i] + gamma[:, i, j] @ crossed @ gamma[:, k, m])

    cov = np.empty((2, len(pairs), 2, len(pairs)))
    for (x, (j, k)), (y, (i, m)) in product(enumerate(pairs), enumerate(pairs)):
        forms = np.array([[covariance(j, k, a, i, m, b) for b in (1, 0)] for a in (1, 0)])
        cov[:, x, :, y] = inverses[x] @ forms @ inverses[y].T
    return cov.reshape(2 * len(pairs), 2 * len(pairs))


def _symmetric(upper: ndarray, t: int) -> Float64[ndarray, "t t"]:
    matrix = np.empty((t, t))
    matrix[np.triu_indices(t)] = upper
    return np.where(np.triu(np.ones((t, t), dtype=bool)), matrix, matrix.T)
