r"""Several components of variance in the eigenbasis of one of them: Henderson's mixed-model equations.

The leading component is diagonal there; the others are columns W_j next to X, penalised where X is not. With
T = [X W_1 ... W_k], D the variances of the rows (residual and leading component) and E = diag(1, sigma_1, ...),

.. math::

    C = E T' D^{-1} T E + \text{diag}(0, I), \qquad \log|V| + \log|X'V^{-1}X| = \log|D| + \log|C|, \qquad
    P = D^{-1} - D^{-1} T E C^{-1} E T' D^{-1}

Nothing is divided by a variance of a component: 0 is a value like any other. A likelihood costs O(q m^2), with q levels
of the leading component and m columns of T; no n x n matrix is made.

Source: Henderson (1984), Applications of Linear Models in Animal Breeding, chapters 5 and 11; Harville (1977),
doi:10.1080/01621459.1977.10480998, for P and the derivatives.
"""

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, override

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from bayeslmm.cohort.records import Component
from bayeslmm.likelihood import ratio_windows
from bayeslmm.likelihood.rotation import decompose
from bayeslmm.likelihood.solved import ComponentSolver, SolvedComponents


class ComponentData(NamedTuple):
    """Records of one trait in the eigenbasis of their leading component.

    The first q rows are those of its levels. The others hold what varies within its levels, of which a QR decomposition
    leaves no more rows than there are columns; ``unseen`` is how many more rows of zeros there would be without it.

    Attributes:
        s: eigenvalues of the leading component, 0 in rows within its levels, shape (rows,).
        Y: the trait, shape (rows, 1).
        X: covariates, shape (rows, c).
        W: for each other component, shape (rows, q_j): its covariance is W_jW_j'.
        unseen: records less rows; negative if a row is empty.
        order: place of each component (the residual last) among the leading one, those of W and the residual.
        units: what variances of these data are to be multiplied by, in the order of the user, shape (k + 1,).
        R, b, sd: with which fixed effects return to the user's X: R^-1 (sd beta + b).
    """

    s: Float64[ndarray, " rows"]
    Y: Float64[ndarray, "rows 1"]
    X: Float64[ndarray, "rows c"]
    W: tuple[Float64[ndarray, "rows _"], ...]
    unseen: int
    order: Int[ndarray, " k"]
    units: Float64[ndarray, " k"]
    R: Float64[ndarray, "c c"]
    b: Float64[ndarray, " c"]
    sd: float


@dataclass(frozen=True, eq=False)
class Basis:
    """The eigenbasis of ZKZ' of one component: it is made of levels, whatever the number of records.

    With N the number of records of each level and :math:`N^{1/2} K N^{1/2} = U S U'`, the columns of
    :math:`Z N^{-1/2} U` are orthonormal, and the eigenvectors of ZKZ'. What is orthogonal to them varies within levels.

    Attributes:
        component: the leading one.
        s: eigenvalues, shape (q,).
        U: shape (q, q); None for independent levels, where it is the identity.
    """

    component: Component
    s: Float64[ndarray, " q"]
    U: Float64[ndarray, "q q"] | None

    @classmethod
    def of(cls, component: Component) -> "Basis":
        """Decompose a component.

        Raises:
            InputError: if its K is not positive semi-definite.
        """
        counts = component.counts.astype(float)
        if component.K is None:
            return cls(component, counts, None)
        root = np.sqrt(counts)
        spectrum = decompose(component.K * np.outer(root, root), where=component.name)
        return cls(component, spectrum.s, spectrum.U)

    def rotate(self, B: Float64[ndarray, "n m"]) -> tuple[Float64[ndarray, "q m"], Float64[ndarray, "rows m"]]:
        """Return the rows of levels, and those within levels."""
        counts, level_of = self.component.counts[:, None], self.component.level_of
        sums = self.component.Z.T @ B
        between = sums / np.sqrt(counts)
        between = between if self.U is None else self.U.T @ between
        if len(level_of) == len(counts):
            return between, B[:0]
        return between, np.linalg.qr(B - (sums / counts)[level_of], mode="r")

    def predicted(self, B: Float64[ndarray, "q m"]) -> Float64[ndarray, "q m"]:
        """Return KZ'B, from the rows of levels of B: with the eigenvectors, N^-1/2 U S B."""
        scaled = B * self.s[:, None]
        return (scaled if self.U is None else self.U @ scaled) / np.sqrt(self.component.counts)[:, None]


def factor(component: Component) -> Float64[ndarray, "q q"] | None:
    """Return L with K = LL', in the eigenbasis of K; None for independent levels, where it is the identity.

    Raises:
        InputError: if K is not positive semi-definite.
    """
    if component.K is None:
        return None
    spectrum = decompose(component.K, where=component.name)
    return spectrum.U * np.sqrt(spectrum.s)


class Rotated(NamedTuple):
    """Columns, and all components but the leading one, in the eigenbasis of that.

    Attributes:
        basis: of the leading component: the one with the most levels, a kinship before a group as large.
        factors: of the others.
        s, W, unseen, order: see `ComponentData`.
        columns: as they were given, side by side.
    """

    basis: Basis
    factors: list[Float64[ndarray, "_ _"] | None]
    s: Float64[ndarray, " rows"]
    W: tuple[Float64[ndarray, "rows _"], ...]
    unseen: int
    order: Int[ndarray, " k"]
    columns: tuple[Float64[ndarray, "rows _"], ...]


def leading(parts: Sequence[Component]) -> int:
    """Return the component in whose eigenbasis the equations are smallest."""
    return max(range(len(parts)), key=lambda j: (len(parts[j].levels), parts[j].K is not None))


def rotated(parts: Sequence[Component], columns: Sequence[Float64[ndarray, "n _"]]) -> Rotated:
    """Rotate columns into the eigenbasis of the leading component.

    Raises:
        InputError: if a K is not positive semi-definite.
    """
    lead = leading(parts)
    others = [j for j in range(len(parts)) if j != lead]
    basis, factors = Basis.of(parts[lead]), [factor(parts[j]) for j in others]
    whole = list(columns)
    for j, L in zip(others, factors, strict=True):
        whole.append(parts[j].Z.toarray() if L is None else L[parts[j].level_of])
    between, within = basis.rotate(np.column_stack(whole))
    ends = np.cumsum([block.shape[1] for block in whole])[:-1]
    blocks = np.split(np.concatenate([between, within]), ends, axis=1)
    return Rotated(
        basis,
        factors,
        s=np.append(basis.s, np.zeros(len(within))),
        W=tuple(blocks[len(columns) :]),
        unseen=len(parts[lead].level_of) - len(between) - len(within),
        order=np.append(np.argsort([lead, *others]), len(parts)),
        columns=tuple(blocks[: len(columns)]),
    )


@dataclass(frozen=True, eq=False)
class MixedModelEquations(ComponentSolver):
    """V in the eigenbasis of the leading component.

    Attributes:
        data: the records there.
        basis: of the leading component.
        factors: of the others.
    """

    data: ComponentData
    basis: Basis
    factors: Sequence[Float64[ndarray, "_ _"] | None]

    @cached_property
    def T(self) -> Float64[ndarray, "rows m"]:
        """X, all W_j and y side by side."""
        return np.column_stack([self.data.X, *self.data.W, self.data.Y])

    @cached_property
    def within(self) -> Float64[ndarray, "m m"]:
        """Products of the columns of T over the rows within levels, which all have the residual variance."""
        rows = self.T[len(self.basis.s) :]
        return rows.T @ rows

    @cached_property
    def blocks(self) -> list[slice]:
        """Columns of T of X, of each W_j, and of y."""
        ends = np.cumsum([0, self.data.X.shape[1], *(W.shape[1] for W in self.data.W), 1]).tolist()
        return [slice(a, b) for a, b in itertools.pairwise(ends)]

    @override
    def at(self, theta: Float[ndarray, " k"]) -> "AtVariances":
        return AtVariances(self, np.asarray(theta, dtype=float))

    @override
    def at_each(
        self, theta: Float[ndarray, "draws k"], pool: Executor, done: Callable[[int], object]
    ) -> tuple[Float64[ndarray, " draws"], Float64[ndarray, " draws"]]:
        ordered, q = np.empty_like(theta), len(self.basis.s)
        ordered[:, self.data.order] = theta
        sizes = tuple(block.stop - block.start for block in self.blocks[:-1])
        columns = ratio_windows.Columns(self.T[:q], self.basis.s, self.within, sizes)
        log_dets, quad = ratio_windows.at_each(columns, ordered, pool, done)
        within = len(self.data.s) + self.data.unseen - q
        return log_dets + within * np.log(ordered[:, -1]), quad


@dataclass(frozen=True, eq=False)
class AtVariances(SolvedComponents):
    """V at given variances: likelihood and derivatives, each computed when it is asked for."""

    equations: MixedModelEquations
    theta: Float64[ndarray, " k"]

    @cached_property
    def _ordered(self) -> Float64[ndarray, " k"]:
        """Variances of the leading component, of those of W, of the residual."""
        ordered = np.empty_like(self.theta)
        ordered[self.equations.data.order] = self.theta
        return ordered

    @cached_property
    def _d(self) -> Float64[ndarray, " q"]:
        return self._ordered[0] * self.equations.basis.s + self._ordered[-1]

    def _gram(self, weights: Float64[ndarray, " q"]) -> Float64[ndarray, "m m"]:
        scaled = self.equations.T[: len(weights)] * np.sqrt(weights)[:, None]
        return scaled.T @ scaled

    @cached_property
    def _G(self) -> Float64[ndarray, "m m"]:
        """T'D^-1T, y among the columns of T."""
        return self._gram(1 / self._d) + self.equations.within / self._ordered[-1]

    @cached_property
    def _E(self) -> Float64[ndarray, " m"]:
        sizes = [block.stop - block.start for block in self.equations.blocks[:-1]]
        return np.sqrt(np.repeat([1.0, *self._ordered[1:-1]], sizes))

    @cached_property
    def _L(self) -> Float64[ndarray, "m m"]:
        """Cholesky factor of C."""
        C = self._G[:-1, :-1] * self._E[:, None] * self._E
        c = self.equations.data.X.shape[1]
        C.flat[c * (len(C) + 1) :: len(C) + 1] += 1
        return scipy.linalg.cholesky(C.T, lower=True, overwrite_a=True, check_finite=False)

    @cached_property
    def _half(self) -> Float64[ndarray, " m"]:
        return scipy.linalg.solve_triangular(self._L, self._E * self._G[:-1, -1], lower=True, check_finite=False)

    @cached_property
    @override
    def log_dets(self) -> float:
        data, theta_e = self.equations.data, self._ordered[-1]
        within = len(data.s) + data.unseen - len(self._d)
        log_D = np.log(self._d).sum() + within * np.log(theta_e)
        return float(log_D + 2 * np.log(np.diag(self._L)).sum())

    @cached_property
    @override
    def quad(self) -> float:
        return float(self._G[-1, -1] - self._half @ self._half)

    @cached_property
    def _inverse(self) -> Float64[ndarray, "m m"]:
        """E C^-1 E, without y."""
        inverse = scipy.linalg.lapack.dpotri(self._L, lower=1)[0]
        inverse = np.tril(inverse) + np.tril(inverse, -1).T
        return inverse * self._E[:, None] * self._E

    @cached_property
    @override
    def beta(self) -> Float64[ndarray, " c"]:
        c = self.equations.data.X.shape[1]
        return self._inverse[:c] @ self._G[:-1, -1]

    @cached_property
    @override
    def cov_beta(self) -> Float64[ndarray, "c c"]:
        c = self.equations.data.X.shape[1]
        return self._inverse[:c, :c]

    @cached_property
    def _Py(self) -> Float64[ndarray, " rows"]:
        T = self.equations.T
        residual = T[:, -1] - T[:, :-1] @ (self._inverse @ self._G[:-1, -1])
        return residual / self._d_of_rows

    @cached_property
    def _d_of_rows(self) -> Float64[ndarray, " rows"]:
        return self._ordered[0] * self.equations.data.s + self._ordered[-1]

    @cached_property
    def _H(self) -> Float64[ndarray, "m m"]:
        """T'PT, y among the columns of T."""
        return self._G - self._G[:, :-1] @ self._inverse @ self._G[:-1]

    @cached_property
    def _VPy(self) -> Float64[ndarray, "rows k"]:
        """V_jPy of the leading component, of those of W, of the residual."""
        data = self.equations.data
        of_W = [W @ (W.T @ self._Py) for W in data.W]
        return np.column_stack([data.s * self._Py, *of_W, self._Py])

    def _as_given(self, M: Float64[ndarray, "..."]) -> Float64[ndarray, "..."]:
        order = self.equations.data.order
        return M[order] if M.ndim == 1 else M[np.ix_(order, order)]

    @cached_property
    @override
    def quads(self) -> Float64[ndarray, " k"]:
        return self._as_given(self._VPy.T @ self._Py)

    @cached_property
    @override
    def average(self) -> Float64[ndarray, "k k"]:
        v, T = self._VPy, self.equations.T[:, :-1]
        weighted = v / self._d_of_rows[:, None]
        along = T.T @ weighted
        return self._as_given(v.T @ weighted - along.T @ self._inverse @ along) / 2

    @cached_property
    def _S1(self) -> Float64[ndarray, "m m"]:
        return self._gram(self.equations.basis.s / self._d**2)

    @cached_property
    def _traces(self) -> Float64[ndarray, " k"]:
        """tr(PV_j); that of the residual follows from tr(PV) = n - c."""
        data, s = self.equations.data, self.equations.basis.s
        lead = (s / self._d).sum() - np.vdot(self._inverse, self._S1[:-1, :-1])
        of_W = [np.trace(self._H[block, block]) for block in self.equations.blocks[1:-1]]
        known = np.array([lead, *of_W])
        df = len(data.s) + data.unseen - data.X.shape[1]
        return np.append(known, (df - self._ordered[:-1] @ known) / self._ordered[-1])

    @cached_property
    @override
    def traces(self) -> Float64[ndarray, " k"]:
        return self._as_given(self._traces)

    @cached_property
    @override
    def expected(self) -> Float64[ndarray, "k k"]:
        # With PVP = P, what involves the residual follows from the traces and from the other components.
        theta, blocks, s, d = self._ordered, self.equations.blocks[1:-1], self.equations.basis.s, self._d
        k = len(theta)
        M = np.empty((k, k))
        inverse, S1 = self._inverse, self._S1[:-1, :-1]
        product = inverse @ S1
        S2 = self._gram(s**2 / d**3)[:-1, :-1]
        M[0, 0] = np.square(s / d).sum() - 2 * np.vdot(inverse, S2) + np.vdot(product, product.T)
        left = np.eye(len(inverse)) - self._G[:-1, :-1] @ inverse
        PSP = left @ S1 @ left.T
        for i, a in enumerate(blocks, start=1):
            M[0, i] = M[i, 0] = np.trace(PSP[a, a])
            for j, b in enumerate(blocks, start=1):
                M[i, j] = np.square(self._H[a, b]).sum()
        M[-1, :-1] = M[:-1, -1] = (self._traces[:-1] - M[:-1, :-1] @ theta[:-1]) / theta[-1]
        M[-1, -1] = (self._traces[-1] - M[-1, :-1] @ theta[:-1]) / theta[-1]
        return self._as_given(M) / 2

    @property
    def fitted(self) -> Float64[ndarray, "rows blocks"]:
        """What X, and each W, contribute to the best linear unbiased prediction of the rows."""
        coefficients = self._inverse @ self._G[:-1, -1]
        blocks = self.equations.blocks[:-1]
        return np.column_stack([self.equations.T[:, block] @ coefficients[block] for block in blocks])

    @override
    def between(self, component: int) -> Float64[ndarray, "q q"]:
        place = int(self.equations.data.order[component])
        if place:
            block = self.equations.blocks[place]
            return self._H[block, block]
        root, T = np.sqrt(self.equations.basis.s), self.equations.T[: len(self._d), :-1]
        weighted = T * (root / self._d)[:, None]
        return np.diag(root**2 / self._d) - weighted @ self._inverse @ weighted.T

    @cached_property
    @override
    def effects(self) -> tuple[Float64[ndarray, " _"], ...]:
        lead = self.equations.basis.predicted(self._Py[: len(self._d), None])[:, 0]
        pairs = zip(self.equations.data.W, self.equations.factors, strict=True)
        others = [W.T @ self._Py if L is None else L @ (W.T @ self._Py) for W, L in pairs]
        return tuple([lead, *others][place] for place in self.equations.data.order[:-1])

    @cached_property
    @override
    def reductions(self) -> tuple[Float64[ndarray, " _"], ...]:
        basis, d, data = self.equations.basis, self._d, self.equations.data
        along = basis.predicted(self.equations.T[: len(d), :-1] / d[:, None])
        lead = np.square(basis.predicted(np.diag(d**-0.5))).sum(axis=1)
        lead -= np.einsum("ij,ij->i", along @ self._inverse, along)
        others = []
        for block, L in zip(self.equations.blocks[1:-1], self.equations.factors, strict=True):
            H = self._H[block, block]
            others.append(np.diag(H) if L is None else np.einsum("ij,ij->i", L @ H, L))
        return tuple([lead, *others][place] for place in data.order[:-1])
