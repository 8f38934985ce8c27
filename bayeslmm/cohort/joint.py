"""Several traits of one set of people, of whom some lack some of the traits: aligned, with every drop counted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.cohort.align import drop, kinship_of, matched
from bayeslmm.cohort.cohort import Drop, check_model
from bayeslmm.cohort.measurements import Measurements, design_matrix, is_missing
from bayeslmm.kinship.kinship import Kinship


@dataclass(frozen=True)
class JointCohort:
    """People with at least one of several traits, aligned and checked.

    Attributes:
        ids: IID of each individual, in the order of the kinship matrix.
        traits: names of the columns of Y.
        covariates: for each trait the names of the columns of its X, the intercept first.
        K: kinship of these people, shape (n, n).
        Y: traits, NaN where a person lacks one, shape (n, t).
        X: for each trait its covariates, shape (n, c_j), of full column rank; 0 where the trait is missing.
        dropped: who, or which records, were left out, and why.
        source: where K and Y come from, for messages.
    """

    ids: tuple[str, ...]
    traits: tuple[str, ...]
    covariates: tuple[tuple[str, ...], ...]
    K: Float64[ndarray, "n n"]
    Y: Float64[ndarray, "n t"]
    X: tuple[Float64[ndarray, "n _"], ...]
    dropped: tuple[Drop, ...] = ()
    source: str = "cohort"

    def __post_init__(self) -> None:
        for trait, names, y, X in zip(self.traits, self.covariates, self.Y.T, self.X, strict=True):
            has = ~np.isnan(y)
            if not has.any():
                raise InputError(
                    f"{self.source}: nobody is left with a value of {trait}: {'; '.join(map(str, self.dropped))}"
                )
            check_model(
                [trait], names, y[has, None], X[has], dropped=self.dropped, where=f"{self.source}, trait {trait}"
            )

    @property
    def missing(self) -> Bool[ndarray, "n t"]:
        """Where a person lacks a trait."""
        return np.isnan(self.Y)

    def with_covariates(self, names: Sequence[str], columns: Float[ndarray, "n k"]) -> "JointCohort":
        """Return the cohort with further columns in the X of every trait, such as principal components of K.

        Raises:
            InputError: if the new columns are collinear with old ones.
        """
        return replace(
            self,
            covariates=tuple((*old, *names) for old in self.covariates),
            X=tuple(
                np.column_stack([X, np.where(lacks[:, None], 0.0, columns)])
                for X, lacks in zip(self.X, self.missing.T, strict=True)
            ),
        )

    @property
    def coords(self) -> dict[str, list[str]]:
        """Coordinates of the named dimensions of a posterior."""
        named = zip(self.traits, self.covariates, strict=True)
        cells = zip(self.traits, self.missing.T, strict=True)
        return {
            "trait": list(self.traits),
            "trait_bis": list(self.traits),
            "coefficient": [f"{trait}:{name}" for trait, names in named for name in names],
            "missing_value": [f"{trait}:{self.ids[i]}" for trait, lacks in cells for i in np.flatnonzero(lacks)],
        }


def align_jointly(
    kinship: Kinship,
    measurements: Measurements,
    *,
    covariates_of: Mapping[str, Sequence[str]] | None = None,
    complete_only: bool = False,
    centred: bool = False,
    normalised: bool = False,
) -> JointCohort:
    """Align everybody who has at least one of the traits.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        covariates_of: for some traits the covariates to use in place of all those measured.
        complete_only: leave out people who lack any of the traits.
        centred: replace K of the people analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: if there are fewer than two traits, no id matches, nobody is left, or covariates_of names what
            was not measured.
    """
    traits, all_covariates = measurements.traits, list(measurements.covariates)
    if len(traits) < 2:
        raise InputError(f"two or more traits are needed for a correlation, but {', '.join(traits)} was given alone")
    chosen = {trait: all_covariates for trait in traits} | {k: list(v) for k, v in (covariates_of or {}).items()}
    for trait, names in chosen.items():
        if trait not in traits:
            raise InputError(f"covariates are given for {trait}, which is not among the traits {', '.join(traits)}")
        if unknown := [name for name in names if name not in all_covariates]:
            raise InputError(f"covariate {unknown[0]} of {trait} is not among those measured: {all_covariates}")
    in_k, rows, dropped = matched(kinship, measurements)
    ids = np.array(measurements.ids)[rows]
    used = ~np.isnan(measurements.Y[rows])
    dropped += drop(f"without a value of any of {', '.join(traits)}", ids[~used.any(axis=1)].tolist())
    for j, trait in enumerate(traits):
        reasons = {"without a row in the covariate file": measurements.absent[rows]} if chosen[trait] else {}
        for name in chosen[trait]:
            reasons[f"without a value of the covariate {name}"] = is_missing(measurements.covariates[name][rows])
        for reason, lacking in reasons.items():
            dropped += drop(f"values of {trait} {reason}", ids[used[:, j] & lacking].tolist())
            used[:, j] &= ~lacking
    keep = used.all(axis=1) if complete_only else used.any(axis=1)
    if complete_only:
        dropped += drop(f"without all of {', '.join(traits)}", ids[used.any(axis=1) & ~keep].tolist())
    if not keep.any():
        raise InputError(f"{measurements.source}: nobody is left to analyse: {'; '.join(map(str, dropped))}")
    in_k, rows, used = in_k[keep], rows[keep], used[keep]
    designs = [
        design_matrix(measurements, chosen[trait], rows[used[:, j]]) if used[:, j].any() else ([], np.empty((0, 0)))
        for j, trait in enumerate(traits)
    ]
    X = tuple(np.zeros((len(rows), len(names))) for names, _ in designs)
    for whole, (_, known), has in zip(X, designs, used.T, strict=True):
        whole[has] = known
    return JointCohort(
        ids=tuple(kinship.ids[i] for i in in_k),
        traits=traits,
        covariates=tuple(tuple(names) for names, _ in designs),
        K=kinship_of(kinship, in_k, centred=centred, normalised=normalised),
        Y=np.where(used, measurements.Y[rows], np.nan),
        X=X,
        dropped=tuple(dropped),
        source=f"{measurements.source} with {kinship.source}",
    )
