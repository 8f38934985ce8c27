"""The eigenbasis of K, in which observations are independent: the only O(n^3) of the package."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Float, Float64, ScalarLike
from numpy import ndarray

from bayeslmm.base.array_checks import check_finite, check_square
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.memory import check_memory
from bayeslmm.likelihood.solver import Spectral

_FLOAT32_EPS = float(np.finfo(np.float32).eps)
# What pairwise missing genotypes make: at a missing rate of 0.1, an eigenvalue of -0.1 and, with more individuals than
# markers, a sum of 0.05 of the trace (simulated).
_LEAST, _MOST_SUM = -0.1, -0.05
_SMALLEST_SCALE = 1e-75  # of K, whose square must be a number


class RotatedData(NamedTuple):
    """What all inference takes: one cohort in the eigenbasis of its K. It never sees K again.

    Attributes:
        s: eigenvalues of K, ascending, shape (n,).
        Y: U'Y, shape (n, t).
        X: U'X, shape (n, c), of full column rank.
        k_scale: mean diagonal of J K J, which turns sigma2_u into variance among these individuals (see `pve`).
        counts: how many eigenvalues each row stands for where there is not a row for each individual
            (`spectral_summary`), shape (n,): the sum is the number of individuals. Rows of X and Y are then those of
            vectors that make the same products X'f(K)X, X'f(K)Y and Y'f(K)Y.
    """

    s: Float[ndarray, " n"]
    Y: Float[ndarray, "n t"]
    X: Float[ndarray, "n c"]
    k_scale: float = 1.0
    counts: Float[ndarray, " n"] | None = None

    @property
    def n(self) -> int:
        """How many individuals there are."""
        return _individuals(self.s, self.counts)

    def solver(self, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Spectral:
        """Return V of one trait at given variances, for its likelihood."""
        return Spectral(self.s, sigma2_u * self.s + sigma2_e, self.counts)


def _individuals(s: ndarray, counts: ndarray | None) -> int:
    return len(s) if counts is None else round(float(np.sum(counts)))


def check_rows(data: "RotatedData | JointData", *, what: str) -> None:
    """Refuse data that do not have a row for each individual.

    Raises:
        InputError: naming what needs them.
    """
    if data.counts is not None:
        raise InputError(
            f"{what} needs the rotated data of each individual, but these are a summary of {data.n:,} of them in "
            f"{len(data.s):,} rows: use reml, ml, moments, exact or sample"
        )


class JointData(NamedTuple):
    """What inference of several traits at once takes: one cohort in the eigenbasis of its K.

    Each trait has its own covariates, and an individual may lack some of the traits. A missing value is 0 in Y before
    rotation, with a column of E that is 1 there: with the unknown value as the coefficient of that column, Y is
    complete, and the rotation applies. Methods then integrate over those coefficients, which is exact.

    Attributes:
        s: eigenvalues of K, ascending, shape (n,).
        Y: U'Y, shape (n, t).
        X: U'X of each trait, shapes (n, c_j); before rotation 0 where the trait is missing, of full column rank.
        E: U'E of each trait, shapes (n, m_j): one column for each missing value, so that E'E = I and E'X = 0.
        k_scale: see `RotatedData`.
        counts: see `RotatedData`; where they are, no value is missing.
    """

    s: Float[ndarray, " n"]
    Y: Float[ndarray, "n t"]
    X: tuple[Float[ndarray, "n _"], ...]
    E: tuple[Float[ndarray, "n _"], ...]
    k_scale: float = 1.0
    counts: Float[ndarray, " n"] | None = None

    @property
    def n(self) -> int:
        """How many individuals there are."""
        return _individuals(self.s, self.counts)

    @property
    def weights(self) -> Float[ndarray, " n"]:
        """How many eigenvalues each row stands for: `counts`, or 1."""
        return np.ones(len(self.s)) if self.counts is None else self.counts

    def take(self, traits: Sequence[int]) -> "JointData":
        """Return some of the traits, in the order given, on the same individuals."""
        X, E = tuple(self.X[j] for j in traits), tuple(self.E[j] for j in traits)
        return self._replace(Y=self.Y[:, list(traits)], X=X, E=E)


@dataclass(frozen=True)
class Spectrum:
    """K = U diag(s) U'.

    Attributes:
        s: eigenvalues, ascending, none negative, shape (n,).
        U: eigenvectors in columns, shape (n, n).
    """

    s: Float64[ndarray, " n"]
    U: Float64[ndarray, "n n"]

    @property
    def mean_diagonal(self) -> float:
        """Mean diagonal of K."""
        return float(self.s.mean())

    @property
    def k_scale(self) -> float:
        """Mean diagonal of J K J: of K after centring on these individuals, whether or not K itself was centred."""
        along_ones = self.U.sum(axis=0)
        n = len(self.s)
        return self.mean_diagonal - float(self.s @ along_ones**2) / n**2

    def rotate(
        self, Y: Float[ndarray, "..."], X: Float[ndarray, "..."] | Sequence[Float[ndarray, "..."]]
    ) -> RotatedData:
        """Return U'Y and U'X with the eigenvalues.

        Args:
            Y: traits, shape (n, t).
            X: covariates, shape (n, c), or for each trait the same ones, as a complete `Cohort` has them.

        Raises:
            InputError: if traits have different covariates, Y or X have another number of rows, hold NaN, or X has more
                columns than memory is there for.
        """
        if not isinstance(X, ndarray):
            if any(other is not X[0] and not np.array_equal(other, X[0]) for other in X):
                raise InputError("the traits have different covariates: rotate them jointly, or one at a time")
            X = X[0]
        for name, array in (("Y", Y), ("X", X)):
            if array.ndim != 2 or len(array) != len(self.s):
                raise InputError(
                    f"{name} must have shape ({len(self.s)}, columns) like K, but it has {array.shape}: one trait is "
                    "a column, y[:, None]"
                )
            check_finite(array, name=name, where="rotate")
        n, c = X.shape
        check_memory(
            16.0 * n * c**2,
            what=f"a likelihood of {n:,} individuals with {c:,} covariates",
            instead="use fewer covariates or principal components",
        )
        return RotatedData(self.s, self.U.T @ Y, self.U.T @ X, self.k_scale)

    def rotate_jointly(self, Y: Float[ndarray, "n t"], X: Sequence[Float[ndarray, "n _"]]) -> JointData:
        """Rotate several traits, each with its own covariates.

        Args:
            Y: traits, NaN where an individual lacks one, shape (n, t).
            X: for each trait its covariates, shape (n, c_j); rows of individuals who lack the trait are ignored.

        Raises:
            InputError: if shapes do not match, a covariate is missing where its trait is not, or a row has no trait.
        """
        missing = np.isnan(Y)
        if missing.all(axis=1).any():
            raise InputError(f"row {int(missing.all(axis=1).argmax()) + 1} of Y lacks all traits: leave it out")
        if len(X) != Y.shape[1]:
            raise InputError(f"each of the {Y.shape[1]} traits needs its covariates, but {len(X)} matrices were given")
        known = [np.where(lacks[:, None], 0.0, columns) for columns, lacks in zip(X, missing.T, strict=True)]
        rotated = [self.rotate(np.where(missing, 0.0, Y), columns) for columns in known]
        return JointData(
            self.s,
            rotated[0].Y,
            tuple(data.X for data in rotated),
            tuple(np.ascontiguousarray(self.U[lacks].T) for lacks in missing.T),
            self.k_scale,
        )

    def principal_components(self, k: int) -> Float64[ndarray, "n k"]:
        """Return the k leading eigenvectors of K, leading first, shape (n, k), each of length 1.

        Raises:
            InputError: if k is not between 0 and n.
        """
        if not 0 <= k < len(self.s):
            raise InputError(f"pcs must lie between 0 and {len(self.s) - 1} for {len(self.s)} individuals, but is {k}")
        return self.U[:, ::-1][:, :k]


def decompose(K: Float[ndarray, "n n"], *, where: str = "K", bend: bool = False) -> Spectrum:
    """Decompose a symmetric positive semi-definite K.

    Eigenvalues that are negative by no more than rounding explains are set to 0. Rounding of K to float32 (what
    .grm.bin holds) moves eigenvalues by up to about sqrt(n) eps32 s_max: that is the tolerance. So are, with a warning,
    those that products over the markers which both individuals have can explain (GCTA's matrix where genotypes are
    missing): none below -0.1 of the mean eigenvalue, and all together at most 0.05 of the trace. That gives the
    positive semi-definite matrix nearest to K.

    Args:
        K: shape (n, n).
        where: the source of K, for messages.
        bend: set all negative eigenvalues to 0, with a warning, however large they are.

    Raises:
        InputError: NaN or inf in K, a K that is not symmetric or is 0, or eigenvalues that are more negative.

    Source: Higham (1988), doi:10.1016/0024-3795(88)90223-6 (the nearest positive semi-definite matrix).
    """
    check_square(K, where=where)
    n = len(K)
    check_memory(
        24.0 * n**2,
        what=f"{where}: the decomposition of the kinship of {n:,} individuals",
        instead="use a machine with more memory, or fewer individuals",
    )
    scale = float(np.abs(np.diag(K)).mean())
    if not scale > _SMALLEST_SCALE:
        what = "0 everywhere" if not K.any() else f"{scale:.3g} on average on its diagonal"
        raise InputError(f"{where}: a kinship must hold relationships of about 1, but it is {what}: rescale it")
    s, U = scipy.linalg.eigh(K, driver="evd", check_finite=False)
    if problem := negative_eigenvalues(s, where=where, bend=bend):
        problem.tell(stacklevel=2)
    return Spectrum(np.maximum(s, 0.0), U)


class NegativeEigenvalues(NamedTuple):
    """Eigenvalues of a kinship that are negative by more than rounding explains.

    Attributes:
        text: how many, and how large.
        excused: why they can be set to 0; None if they cannot.
    """

    text: str
    excused: str | None

    def refuse(self) -> None:
        """Refuse a kinship of which they cannot be set to 0.

        Raises:
            InputError: saying what to do.
        """
        if self.excused is None:
            raise InputError(
                f"{self.text}: it must be positive semi-definite, and neither rounding nor missing genotypes explain "
                "this: compute it again from complete data (by plink2 --make-rel, not --make-king), or bend it (bend), "
                "which sets them to 0"
            )

    def tell(self, stacklevel: int) -> None:
        """Warn that they are set to 0; the rest as for `refuse`."""
        self.refuse()
        warnings.warn(f"{self.text}{self.excused}", InputWarning, stacklevel=stacklevel + 1)


def negative_eigenvalues(
    s: Float[ndarray, " k"], counts: Float[ndarray, " k"] | None = None, *, where: str, bend: bool
) -> NegativeEigenvalues | None:
    """Return the eigenvalues that are negative by more than rounding explains; None if there are none.

    Args:
        s: eigenvalues, ascending.
        counts: how many there are of each.
        where: the source of the kinship.
        bend: whether any may be set to 0.
    """
    counts = np.ones(len(s)) if counts is None else counts
    n, total = round(counts.sum()), float(counts @ s)
    below = s < -2 * np.sqrt(n) * _FLOAT32_EPS * max(s[-1], 0.0)
    if not below.any():
        return None
    text = (
        f"{where}: {max(1, round(counts[below].sum()))} of {n} eigenvalues of the kinship matrix are negative, the "
        f"smallest {s[0]:.3g} (the largest is {s[-1]:.3g}, their mean {total / n:.3g})"
    )
    due_to_missing = s[0] >= _LEAST * total / n and float(counts[below] @ s[below]) >= _MOST_SUM * total
    if not (due_to_missing or (bend and s[-1] > 0)):
        return NegativeEigenvalues(text, None)
    why = "" if bend else ", as they are where each pair has other markers missing"
    change = np.sqrt(counts[below] @ s[below] ** 2) / np.sqrt(counts @ s**2)
    return NegativeEigenvalues(text, f"{why}: they are set to 0, which changes K by {change:.2g} of its size")
