"""Who is analysed: individuals with their traits, covariates and kinship, aligned and checked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Generic

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples
from bayeslmm.cohort.design import check_full_rank, lengths
from bayeslmm.cohort.transform import Transform

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    K_ = TypeVar("K_", default=Float64[ndarray, "n n"])
else:
    from typing import TypeVar

    K_ = TypeVar("K_")


@dataclass(frozen=True)
class Drop:
    """Individuals or records that are not analysed, and why."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} {self.reason} ({', '.join(self.examples)}{', ...' if self.count > 3 else ''})"


@dataclass(frozen=True)
class Cohort(Generic[K_]):  # noqa: UP046 (a default, which that syntax does not have in Python 3.12)
    """Individuals with one or more traits, each with its own covariates; values of traits may be missing.

    Attributes:
        ids: IID of each individual, in the order of the kinship matrix.
        traits: names of the columns of Y.
        covariates: for each trait the names of the columns of its X, the intercept first.
        K: kinship of these individuals, shape (n, n): a matrix, or `Products` (`align_products`).
        Y: traits, NaN where a value is missing, shape (n, t).
        X: for each trait its covariates, shape (n, c_j), of full column rank; 0 where the trait is missing. Traits with
            the same covariates and the same missing values share one array.
        dropped: which individuals or records were left out, and why.
        source: where K and Y come from, for messages.
        transform: which transformation of the traits Y holds, see `transform.transformed`.
    """

    ids: tuple[str, ...]
    traits: tuple[str, ...]
    covariates: tuple[tuple[str, ...], ...]
    K: K_
    Y: Float64[ndarray, "n t"]
    X: tuple[Float64[ndarray, "n _"], ...]
    dropped: tuple[Drop, ...] = ()
    source: str = "cohort"
    transform: Transform | None = None

    def __post_init__(self) -> None:
        check_models(self.traits, self.covariates, self.Y, self.X, dropped=self.dropped, where=self.source)

    @property
    def missing(self) -> Bool[ndarray, "n t"]:
        """Where the value of a trait is missing."""
        return np.isnan(self.Y)

    @property
    def uniform(self) -> bool:
        """Whether all traits share one X and no value is missing."""
        return _shared(self.X) and not self.missing.any()

    def with_covariates(self, names: Sequence[str], columns: Float[ndarray, "n k"]) -> "Cohort[K_]":
        """Return the cohort with further columns in the X of every trait, such as principal components of K.

        Raises:
            InputError: if the new columns are collinear with old ones.
        """
        wider: dict[tuple[int, bytes], Float64[ndarray, "n _"]] = {}
        keys = [(id(X), lacks.tobytes()) for X, lacks in zip(self.X, self.missing.T, strict=True)]
        for key, X, lacks in zip(keys, self.X, self.missing.T, strict=True):
            if key not in wider:
                wider[key] = np.column_stack([X, np.where(lacks[:, None], 0.0, columns)])
        covariates = tuple((*old, *names) for old in self.covariates)
        return replace(self, covariates=covariates, X=tuple(wider[key] for key in keys))

    @property
    def coords(self) -> dict[str, list[str]]:
        """Coordinates of the named dimensions of a posterior."""
        named = list(zip(self.traits, self.covariates, strict=True))
        cells = zip(self.traits, self.missing.T, strict=True)
        return {
            "trait": list(self.traits),
            "trait_bis": list(self.traits),
            "covariate": list(dict.fromkeys(name for names in self.covariates for name in names)),
            "coefficient": [f"{trait}:{name}" for trait, names in named for name in names],
            "missing_value": [f"{trait}:{self.ids[i]}" for trait, lacks in cells for i in np.flatnonzero(lacks)],
        }


JointCohort = Cohort


def check_models(
    traits: Sequence[str],
    covariates: Sequence[Sequence[str]],
    Y: Float64[ndarray, "n t"],
    X: Sequence[Float64[ndarray, "n _"]],
    *,
    dropped: Sequence[Drop],
    where: str,
) -> None:
    """Refuse traits that no model can be fitted to, each with its covariates.

    Raises:
        InputError: too few values, a trait that does not vary or that the covariates explain, collinear covariates.
    """
    shared = _shared(X)
    for trait, names, y, design in zip(traits, covariates, Y.T, X, strict=True):
        known = ~np.isnan(y)
        if not known.any():
            raise InputError(f"{where}: nobody is left with a value of {trait}: {'; '.join(map(str, dropped))}")
        at = where if shared else f"{where}, trait {trait}"
        _check_model(trait, names, y[known], design[known], dropped=dropped, where=at)


def _shared(X: Sequence[ndarray]) -> bool:
    return all(design is X[0] for design in X)


def _check_model(
    trait: str,
    covariates: Sequence[str],
    y: Float64[ndarray, " n"],
    X: Float64[ndarray, "n c"],
    *,
    dropped: Sequence[Drop],
    where: str,
) -> None:
    check_unique(covariates, where=where, what="covariate")
    n, c = X.shape
    if n < c + 2:
        raise InputError(
            f"{where}: {n} individuals are left for {c} covariates ({examples(covariates)}), but at least "
            f"{c + 2} are needed: use fewer covariates, or look at who was dropped: "
            f"{'; '.join(map(str, dropped)) or 'nobody'}"
        )
    if np.ptp(y) == 0:
        raise InputError(f"{where}: trait {trait!r} is {y[0]:g} for all {n} individuals: it has no variation")
    check_full_rank(X, covariates, where=where)
    X, y = X / lengths(X), y / lengths(y[:, None])
    if np.linalg.norm(y - X @ np.linalg.lstsq(X, y, rcond=None)[0]) < 1e-10:
        raise InputError(f"{where}: trait {trait!r} is a combination of the covariates: nothing is left")
