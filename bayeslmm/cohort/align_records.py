"""Records of one trait matched to their random effects: kinships, groups, several records of an individual."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.ids import Individuals, in_common
from bayeslmm.cohort.align import id_advice, kinship_of, warn_of_near_ids
from bayeslmm.cohort.cohort import Drop
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
    lacking: dict[str, ndarray] = {f"without a value of {trait}": np.isnan(y)}
    if one.covariates:
        lacking["without a row in the covariate file"] = one.absent
    lacking |= {
        f"without a value of the covariate {name}": is_missing(column) for name, column in one.covariates.items()
    }
    lacking |= {f"without a value of the random effect {name}": column == "" for name, column in one.random.items()}
    rows_of_k: dict[str, Int64[ndarray, " rows"]] = {}
    for relation in relations:
        rows_of_k[relation.name] = rows = _rows_of_k(relation, one)
        whose = "" if relation.level_of is None else f", of whose effect ({relation.name}) it is"
        lacking[f"in {one.source} but not in {relation.kinship.source}{whose}"] = rows < 0
    used, dropped = _kept(one, lacking)
    where = " with ".join(dict.fromkeys([str(one.source), *(relation.kinship.source for relation in relations)]))
    if not used.any():
        raise InputError(f"{where}: no record of {trait} is left to analyse: {'; '.join(map(str, dropped))}")
    rows = np.flatnonzero(used)
    names, X = design_matrix(one, list(one.covariates), rows)
    ids = tuple(one.ids[i] for i in rows)
    components = [
        _related(relation, rows_of_k[relation.name][rows], centred=centred, normalised=normalised)
        for relation in relations
    ]
    components += [grouped(PERMANENT, ids)] if repeated else []
    components += [grouped(name, column[rows]) for name, column in one.random.items()]
    records = Records(
        trait,
        transformed(y[rows], one.transform) if one.transform else y[rows],
        X,
        tuple(names),
        tuple(components),
        where,
    )
    return AlignedRecords(records, ids, dropped, one.transform)


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
    row_of = {name: i for i, name in enumerate(related)}
    rows = np.array([row_of.get(name, -1) for name in whose], dtype=int)
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
        if count := int((used & lacks).sum()):
            first = tuple(measurements.ids[i] for i in np.flatnonzero(used & lacks)[:3])
            dropped.append(Drop(f"records {reason}", count, first))
        used &= ~lacks
    return used, tuple(dropped)


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
