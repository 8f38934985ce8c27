"""Who is analysed: individuals with everything known about them, complete and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples
from bayeslmm.cohort.design import check_full_rank, lengths


@dataclass(frozen=True)
class Drop:
    """People who are not analysed, and why."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} {self.reason} ({', '.join(self.examples)}{', ...' if self.count > 3 else ''})"


@dataclass(frozen=True)
class Cohort:
    """One set of people with everything known about them: complete, aligned, checked.

    Attributes:
        ids: IID of each individual, in the order of the kinship matrix.
        traits: names of the columns of Y.
        covariates: names of the columns of X, the intercept first.
        K: kinship of these people, shape (n, n).
        Y: traits, shape (n, t), no missing value.
        X: covariates, shape (n, c), of full column rank.
        dropped: who was left out, and why.
        source: where K and Y come from, for messages.
    """

    ids: tuple[str, ...]
    traits: tuple[str, ...]
    covariates: tuple[str, ...]
    K: Float64[ndarray, "n n"]
    Y: Float64[ndarray, "n t"]
    X: Float64[ndarray, "n c"]
    dropped: tuple[Drop, ...] = ()
    source: str = "cohort"

    def __post_init__(self) -> None:
        check_model(self.traits, self.covariates, self.Y, self.X, dropped=self.dropped, where=self.source)

    def with_covariates(self, names: Sequence[str], columns: Float[ndarray, "n k"]) -> "Cohort":
        """Return the cohort with further columns of X, such as principal components of K.

        Raises:
            InputError: if the new columns are collinear with the old ones.
        """
        return replace(self, covariates=(*self.covariates, *names), X=np.column_stack([self.X, columns]))

    @property
    def coords(self) -> dict[str, list[str]]:
        """Coordinates of the named dimensions of a posterior."""
        return {"trait": list(self.traits), "covariate": list(self.covariates)}


def check_model(
    traits: Sequence[str],
    covariates: Sequence[str],
    Y: Float64[ndarray, "n t"],
    X: Float64[ndarray, "n c"],
    *,
    dropped: Sequence[Drop],
    where: str,
) -> None:
    """Refuse traits and covariates of the same people that no model can be fitted to.

    Raises:
        InputError: too few people, a trait that does not vary or that the covariates explain, collinear covariates.
    """
    check_unique(covariates, where=where, what="covariate")
    n, c = X.shape
    if n < c + 2:
        raise InputError(
            f"{where}: {n} people are left for {c} covariates ({examples(covariates)}), but at least "
            f"{c + 2} are needed: use fewer covariates, or look at who was dropped: "
            f"{'; '.join(map(str, dropped)) or 'nobody'}"
        )
    for name, y in zip(traits, Y.T, strict=True):
        if np.ptp(y) == 0:
            raise InputError(f"{where}: trait {name!r} is {y[0]:g} for all {n} people: it has no variation")
    check_full_rank(X, covariates, where=where)
    X = X / lengths(X)
    for name, y in zip(traits, (Y / lengths(Y)).T, strict=True):
        left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
        if np.linalg.norm(left) < 1e-10:
            raise InputError(f"{where}: trait {name!r} is a combination of the covariates: nothing is left")
