r"""The restricted likelihood of several traits with several components of variance.

.. math::

    \ell = -\tfrac12 \bigl[ (N - C) \log 2\pi + \log|V| + \log|X'V^{-1}X| - \log|X'X| + y'Py \bigr], \qquad
    V_{ac} = \sum_j (\Sigma_j)_{ac} (Z_j K_j Z_j')_{ac}

over the N records, those of the first trait first; block ac has the rows with trait a and the columns with trait c, and
the residual is the component of which each row is a level. V is linear in the distinct elements of all Sigma_j, so that
its derivatives are those of one trait. A Cholesky factor of V costs O(N^3). Numbers are in units near 1, as in
`components`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement, pairwise
from typing import NamedTuple, override

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray
from scipy.linalg import block_diag

from bayeslmm.base.memory import check_memory
from bayeslmm.cohort.joint_records import JointRecords, residual
from bayeslmm.cohort.records import Component
from bayeslmm.likelihood.components import Components, components, mean_diagonals
from bayeslmm.likelihood.dense_covariance import AtCoefficients, Dense
from bayeslmm.likelihood.joint_whitened import check_distinct
from bayeslmm.likelihood.mixed_model_equations import rotated
from bayeslmm.likelihood.rotation import Spectrum


class JointComponentData(NamedTuple):
    """Rows of several traits in the eigenbasis of their leading component.

    Attributes:
        s, W, unseen, order: as in `ComponentData`.
        Y: the traits, 0 where one is missing before rotation, shape (rows, t).
        fixed: for each trait its X, and a column for each of its missing values, shapes (rows, c_j + m_j).
        units: what covariances of these data are to be multiplied by, in the order of the user, shape (k + 1, t, t).
        R, b, sd: for each trait as in `ComponentData`.
    """

    s: Float64[ndarray, " rows"]
    Y: Float64[ndarray, "rows t"]
    fixed: tuple[Float64[ndarray, "rows _"], ...]
    W: tuple[Float64[ndarray, "rows _"], ...]
    unseen: int
    order: Int[ndarray, " k"]
    units: Float64[ndarray, "k t t"]
    R: tuple[Float64[ndarray, "_ _"], ...]
    b: tuple[Float64[ndarray, " _"], ...]
    sd: Float64[ndarray, " t"]


@dataclass(frozen=True, eq=False)
class JointComponents:
    """Records of several traits in units in which their numbers are near 1.

    Attributes:
        records: as they were given.
        traits: each of them alone, with the scales that all have.
    """

    records: JointRecords
    traits: tuple[Components, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return self.records.names

    @property
    def t(self) -> int:
        """Number of traits."""
        return len(self.traits)

    @property
    def free(self) -> int:
        """Number of records less that of covariates."""
        return sum(one.n - one.c for one in self.traits)

    @property
    def scales(self) -> Float64[ndarray, " k"]:
        """By which each K was divided, and 1 for the residual, shape (k + 1,)."""
        return np.append(self.traits[0].scales, 1.0)

    @property
    def units(self) -> Float64[ndarray, "k t t"]:
        """What covariances in units of the data are to be multiplied by, the residual last."""
        sd = np.array([one.sd for one in self.traits])
        return np.outer(sd, sd) / self.scales[:, None, None]

    @cached_property
    def parts(self) -> tuple[Component, ...]:
        """The components of the rows, each K divided by its scale, and the residual."""
        pairs = zip(self.records.components, self.traits[0].scales, strict=True)
        return (*(one.rescaled(scale) for one, scale in pairs), residual(len(self.records.Y)))

    @cached_property
    def rotated(self) -> JointComponentData:
        """The rows in the eigenbasis of the leading component, which NUTS takes.

        Raises:
            InputError: if a K is not positive semi-definite.
        """
        known = self.records.known
        Y, fixed = np.zeros(known.shape), []
        for j, (one, there) in enumerate(zip(self.traits, known.T, strict=True)):
            Y[there, j] = one.y
            Q = np.zeros((len(Y), one.c))
            Q[there] = one.Q
            fixed.append(np.column_stack([Q, np.eye(len(Y))[:, ~there]]))
        found = rotated(self.parts[:-1], [Y, *fixed])
        R, b, sd = zip(*((one.R, one.b, one.sd) for one in self.traits), strict=True)
        return JointComponentData(
            s=found.s, Y=found.columns[0], fixed=found.columns[1:], W=found.W, unseen=found.unseen, order=found.order,
            units=self.units, R=R, b=b, sd=np.array(sd),
        )  # fmt: skip

    @cached_property
    def solver(self) -> "JointCovariance":
        """The way to V."""
        N, n, k = sum(one.n for one in self.traits), len(self.records.Y), len(self.names)
        check_memory(
            8.0 * (4 * N**2 + k * n**2 * self.t**2 * (1 + self.t)),
            what=f"a Cholesky factor of the covariance of {N:,} records",
            instead="analyse fewer traits at once, or use a machine with more memory",
        )
        rows = tuple(np.flatnonzero(known) for known in self.records.known.T)
        y, Q = (np.concatenate([one.y for one in self.traits]), block_diag(*(one.Q for one in self.traits)))
        return JointCovariance(y, Q, self.parts, rows)

    def loglik(self, solved: AtCoefficients) -> float:
        """Return the restricted log-likelihood in the user's units."""
        logs = sum((one.n - one.c) * np.log(2 * np.pi * one.sd**2) for one in self.traits)
        return float(-(logs + solved.deviance) / 2)


def joint_components(records: JointRecords, *, scales: Mapping[str, float] | None = None) -> JointComponents:
    """Prepare records of several traits for inference.

    Args:
        records: with their components.
        scales: see `components`; by default the mean diagonal of ZKZ' of all rows.

    Raises:
        InputError: as `components`, or if one trait is a combination of others.
    """
    chosen = mean_diagonals(records.components) | dict(scales or {})
    traits = tuple(components(one, scales=chosen) for one in records.of_traits)
    n = len(records.Y)
    check_distinct(Spectrum(np.ones(n), np.eye(n)).rotate_jointly(records.Y, records.X), records.traits)
    return JointComponents(records, traits)


Blocks = set[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class JointCovariance(Dense):
    """V of several traits, with the distinct elements of all Sigma_j as its coefficients.

    Attributes:
        y, X: records and covariates, those of the first trait first.
        components: of the rows, the residual last.
        rows: of each trait.
    """

    y: Float64[ndarray, " n"]
    X: Float64[ndarray, "n c"]
    components: tuple[Component, ...]
    rows: tuple[ndarray, ...]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """The distinct elements of one Sigma, row by row."""
        return list(combinations_with_replacement(range(len(self.rows)), 2))

    @cached_property
    def at_trait(self) -> list[slice]:
        """Records of each trait."""
        ends = np.cumsum([0, *map(len, self.rows)]).tolist()
        return [slice(a, b) for a, b in pairwise(ends)]

    @cached_property
    def _blocks(self) -> list[list[list[Float64[ndarray, "_ _"]]]]:
        """ZKZ' of each component, by traits of its rows and of its columns; of a pair, one is the other transposed."""
        whole: list[list[list[ndarray]]] = []
        for one in self.components:
            blocks = [[np.empty((0, 0))] * len(self.rows) for _ in self.rows]
            for a, c in self.pairs:
                blocks[a][c] = np.ascontiguousarray(one.covariance(self.rows[a])[:, self.rows[c]])
                blocks[c][a] = blocks[a][c].T
            whole.append(blocks)
        return whole

    def elements(self, Sigma: Float[ndarray, "k t t"]) -> Float64[ndarray, " m"]:
        """Return the distinct elements of all matrices."""
        return np.array([one[pair] for one in Sigma for pair in self.pairs], dtype=float)

    def matrices(self, theta: Float[ndarray, " m"]) -> Float64[ndarray, "k t t"]:
        """Return the matrices of distinct elements."""
        t, of_each = len(self.rows), np.reshape(theta, (len(self.components), -1))
        Sigma = np.empty((len(of_each), t, t))
        for at, (a, c) in enumerate(self.pairs):
            Sigma[:, a, c] = Sigma[:, c, a] = of_each[:, at]
        return Sigma

    def at(self, Sigma: Float[ndarray, "k t t"]) -> AtCoefficients:
        """Return V at covariance matrices in units of the data, that of the residual positive definite."""
        return AtCoefficients(self, self.elements(Sigma))

    @override
    def covariance(self, theta: Float64[ndarray, " m"]) -> Float64[ndarray, "n n"]:
        V, Sigma = np.empty((len(self.y), len(self.y))), self.matrices(theta)
        for a, c in self.pairs:
            V[self.at_trait[a], self.at_trait[c]] = sum(
                one[a, c] * blocks[a][c] for one, blocks in zip(Sigma, self._blocks, strict=True)
            )
        return V.T

    @override
    def products(self, v: Float64[ndarray, " n"]) -> Float64[ndarray, "n m"]:
        columns, at = [], self.at_trait
        for blocks in self._blocks:
            for a, c in self.pairs:
                column = np.zeros_like(v)
                column[at[a]] = blocks[a][c] @ v[at[c]]
                column[at[c]] = blocks[c][a] @ v[at[a]]
                columns.append(column)
        return np.column_stack(columns)

    @override
    def traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, " m"]:
        at = self.at_trait
        return np.array(
            [(1 + (a != c)) * (P[at[a], at[c]] * b[a][c]).sum() for b in self._blocks for a, c in self.pairs]
        )

    @override
    def paired_traces(self, P: Float64[ndarray, "n n"]) -> Float64[ndarray, "m m"]:
        # An element is one block of V, or two: (q, r) and (r, q). Of PV_i, block (p, r) is P_pq C_qr.
        t, at = len(self.rows), self.at_trait
        of_blocks = [
            {(p, q, r): P[at[p], at[q]] @ b[q][r] for p in range(t) for q in range(t) for r in range(t)}
            for b in self._blocks
        ]
        places = [(j, {(a, c), (c, a)}) for j in range(len(self.components)) for a, c in self.pairs]

        def trace(i: int, some: Blocks, j: int, others: Blocks) -> float:
            parts = [(of_blocks[i][p, q, r], of_blocks[j][r, m, p]) for q, r in some for m, p in others]
            return sum(float((A * B.T).sum()) for A, B in parts)

        found = np.empty((len(places), len(places)))
        for i, first in enumerate(places):
            for j in range(i + 1):
                found[i, j] = found[j, i] = trace(*first, *places[j])
        return found
