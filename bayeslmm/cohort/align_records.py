"""Records of one or several traits matched to their random effects: kinships, groups, individuals with several."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.ids import Individuals, in_common, places
from bayeslmm.cohort.align import id_advice, kinship_of, warn_of_near_ids
from bayeslmm.cohort.cohort import Drop
from bayeslmm.cohort.joint_records import JointRecords
from bayeslmm.cohort.measurements import Measurements, design_matrix, is_missing
from bayeslmm.cohort.records import Component, Records, grouped
from bayeslmm.cohort.transform import Transform, transformed
from bayeslmm.kinship.relation import Relation

PERMANENT = "pe"
"""Name of the permanent environment: what the records of an individual share beside its kinships."""


@dataclass(frozen=True, eq=False)
class AlignedRecords:
    """Records ready for inference, with what is to be said about them.

    Attributes:
        records: with their components.
        ids: whose each record is.
        dropped: records that are not analysed, and why.
        transform: which transformation of the trait y holds, see `transform.transformed`.
    """

    records: Records
    ids: tuple[str, ...]
    dropped: tuple[Drop, ...]
    transform: Transform | None

    @property
    def trait(self) -> str:
        """Its name."""
        return self.records.trait

    @property
    def individuals(self) -> int:
        """How many there are."""
        return len(set(self.ids))


@dataclass(frozen=True, eq=False)
class AlignedJointRecords:
    """Records of several traits ready for inference; the rest as in `AlignedRecords`."""

    records: JointRecords
    ids: tuple[str, ...]
    dropped: tuple[Drop, ...]
    transform: Transform | None


def align_records(
    measurements: Measurements,
    trait: str,
    relations: Sequence[Relation],
    *,
    repeated: bool = False,
    centred: bool = False,
    normalised: bool = False,
) -> AlignedRecords:
    """Return the records of a trait that have all that the model needs, in the order of the table.

    The groups are the random columns of the measurements.

    Args:
        measurements: traits, covariates and groups; individuals have several rows if records are repeated.
        trait: which of them.
        relations: kinships, each a component of its name.
        repeated: add the permanent environment `PERMANENT` of each individual.
        centred: replace each K of the levels analysed by J K J.
        normalised: divide each K of them (after centring) by its mean diagonal.

    Raises:
        InputError: if no id matches, nobody is left, no model can be fitted, or components are not identified.
    """
    one = measurements.take([trait])
    y = one.Y[:, 0]
    rows_of_k = {relation.name: _rows_of_k(relation, one) for relation in relations}
    lacking: dict[str, ndarray] = {f"without a value of {trait}": np.isnan(y)}
    lacking |= _without_covariates(one, list(one.covariates)) | _without_effects(one, relations, rows_of_k)
    used, dropped = _kept(one, lacking)
    rows = np.flatnonzero(used)
    where = _check_left(one, relations, rows, dropped, of=trait)
    names, X = design_matrix(one, list(one.covariates), rows)
    components = _components(one, relations, rows_of_k, rows, repeated, centred=centred, normalised=normalised)
    y = transformed(y[rows], one.transform) if one.transform else y[rows]
    records = Records(trait, y, X, tuple(names), components, where)
    return AlignedRecords(records, tuple(one.ids[i] for i in rows), dropped, one.transform)


def align_joint_records(
    measurements: Measurements,
    relations: Sequence[Relation],
    *,
    covariates_of: Mapping[str, Sequence[str]] | None = None,
    repeated: bool = False,
    centred: bool = False,
    normalised: bool = False,
) -> AlignedJointRecords:
    """Return the records that have one of the traits and all random effects, in the order of the table.

    Args:
        measurements: as for `align_records`, of two or more traits.
        relations: as for `align_records`.
        covariates_of: for some traits the covariates to use in place of all those measured.
        repeated: as for `align_records`.
        centred: as for `align_records`.
        normalised: as for `align_records`.

    Raises:
        InputError: as `align_records`, or if covariances cannot be told apart.
    """
    one, everything = measurements, list(measurements.covariates)
    rows_of_k = {relation.name: _rows_of_k(relation, one) for relation in relations}
    Y, dropped = one.Y.copy(), list[Drop]()
    chosen = {trait: list((covariates_of or {}).get(trait, everything)) for trait in one.traits}
    for trait, y in zip(one.traits, Y.T, strict=True):  # columns of Y, changed in place
        for reason, lacks in _without_covariates(one, chosen[trait]).items():
            dropped += _drop(one, ~np.isnan(y) & lacks, f"values of {trait} {reason}")
            y[lacks] = np.nan
    lacking: dict[str, ndarray] = {"without a value of any of the traits": np.isnan(Y).all(axis=1)}
    used, more = _kept(one, lacking | _without_effects(one, relations, rows_of_k))
    rows, dropped = np.flatnonzero(used), (*dropped, *more)
    where = _check_left(one, relations, rows, dropped, of=", ".join(one.traits))
    Y = Y[rows]
    X: list[Float64[ndarray, "n _"]] = []
    covariates: list[tuple[str, ...]] = []
    for j, trait in enumerate(one.traits):
        there = ~np.isnan(Y[:, j])
        if not there.any():
            raise InputError(f"{where}: no record of {trait} is left to analyse: {'; '.join(map(str, dropped))}")
        names, known = design_matrix(one, chosen[trait], rows[there])
        X.append(np.zeros((len(rows), len(names))))
        X[j][there] = known
        covariates.append(tuple(names))
        if one.transform:
            Y[:, j] = transformed(Y[:, j], one.transform)
    components = _components(one, relations, rows_of_k, rows, repeated, centred=centred, normalised=normalised)
    records = JointRecords(one.traits, Y, tuple(X), tuple(covariates), components, where)
    return AlignedJointRecords(records, tuple(one.ids[i] for i in rows), dropped, one.transform)


def _without_covariates(measurements: Measurements, covariates: Sequence[str]) -> dict[str, ndarray]:
    """Return which rows lack a covariate, by what is said of them."""
    if not covariates:
        return {}
    return {"without a row in the covariate file": measurements.absent} | {
        f"without a value of the covariate {name}": is_missing(measurements.covariates[name]) for name in covariates
    }


def _without_effects(
    measurements: Measurements, relations: Sequence[Relation], rows_of_k: Mapping[str, Int64[ndarray, " rows"]]
) -> dict[str, ndarray]:
    """Return which rows lack a random effect, by what is said of them."""
    lacking = {
        f"without a value of the random effect {name}": column == "" for name, column in measurements.random.items()
    }
    for relation in relations:
        whose = "" if relation.level_of is None else f", of whose effect ({relation.name}) it is"
        reason = f"in {measurements.source} but not in {relation.kinship.source}{whose}"
        lacking[reason] = rows_of_k[relation.name] < 0
    return lacking


def _check_left(
    measurements: Measurements,
    relations: Sequence[Relation],
    rows: Int64[ndarray, " n"],
    dropped: Sequence[Drop],
    *,
    of: str,
) -> str:
    """Return where records come from.

    Raises:
        InputError: if none is left.
    """
    sources = [str(measurements.source), *(relation.kinship.source for relation in relations)]
    where = " with ".join(dict.fromkeys(sources))
    if not rows.size:
        raise InputError(f"{where}: no record of {of} is left to analyse: {'; '.join(map(str, dropped))}")
    return where


def _components(
    measurements: Measurements,
    relations: Sequence[Relation],
    rows_of_k: Mapping[str, Int64[ndarray, " rows"]],
    rows: Int64[ndarray, " n"],
    repeated: bool,
    *,
    centred: bool,
    normalised: bool,
) -> tuple[Component, ...]:
    """Return kinships, the permanent environment if records are repeated, and groups."""
    components = [
        _related(relation, rows_of_k[relation.name][rows], centred=centred, normalised=normalised)
        for relation in relations
    ]
    components += [grouped(PERMANENT, [measurements.ids[i] for i in rows])] if repeated else []
    return (*components, *(grouped(name, column[rows]) for name, column in measurements.random.items()))


def _rows_of_k(relation: Relation, measurements: Measurements) -> Int64[ndarray, " rows"]:
    """Return the row of K of whose effect each record has, -1 for none.

    Raises:
        InputError: if no record has one.
    """
    kinship = relation.kinship
    related, measured = in_common(
        Individuals(kinship.families, kinship.ids),
        measurements.individuals,
        where=(kinship.source, measurements.source),
    )
    level_of = relation.level_of
    whose = measured if level_of is None else [level_of.get(name, "") for name in measured]
    rows = places(whose, related)
    if (rows < 0).all():
        effect = "" if level_of is None else f", of whose individuals {examples(level_of)} have one"
        raise InputError(
            f"no IID of {measurements.source} (such as {examples(measured)}) is in {kinship.source} (such as "
            f"{examples(related)}{effect}): individuals are matched by IID, {id_advice(kinship, measurements)}"
        )
    warn_of_near_ids(kinship, measurements, related, measured)
    return rows


def _kept(measurements: Measurements, lacking: dict[str, ndarray]) -> tuple[ndarray, tuple[Drop, ...]]:
    """Return which rows lack nothing, and what the others lack, each counted for the first of its reasons."""
    used = np.ones(len(measurements.ids), dtype=bool)
    dropped: list[Drop] = []
    for reason, lacks in lacking.items():
        dropped += _drop(measurements, used & lacks, f"records {reason}")
        used &= ~lacks
    return used, tuple(dropped)


def _drop(measurements: Measurements, rows: ndarray, reason: str) -> list[Drop]:
    """Return the record of rows left out for one reason; nothing if there are none."""
    at = np.flatnonzero(rows)
    return [Drop(reason, len(at), tuple(measurements.ids[i] for i in at[:3]))] if at.size else []


def _related(relation: Relation, rows: Int64[ndarray, " n"], *, centred: bool, normalised: bool) -> Component:
    """Return the component of a kinship: its levels are the individuals whose effects the records have."""
    levels, level_of = np.unique(rows, return_inverse=True)
    if len(levels) < 2:
        raise InputError(
            f"{relation.kinship.source}: all records have the effect of one individual in {relation.name!r}, "
            f"{examples([relation.kinship.ids[levels[0]]])}: leave it out"
        )
    K = kinship_of(relation.kinship, levels, centred=centred, normalised=normalised)
    return Component(relation.name, tuple(relation.kinship.ids[i] for i in levels), level_of, K)
