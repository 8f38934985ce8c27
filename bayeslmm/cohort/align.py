"""Kinship, traits and covariates matched by id, with every drop counted."""

import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.base.ids import near_matches, near_words
from bayeslmm.base.memory import check_memory
from bayeslmm.cohort.cohort import Cohort, Drop, check_model
from bayeslmm.cohort.measurements import Measurements, design_matrix, is_missing
from bayeslmm.kinship.kinship import Kinship


def align(
    kinship: Kinship, measurements: Measurements, *, centred: bool = False, normalised: bool = False
) -> Iterator[Cohort]:
    """Yield one cohort for each distinct set of people: traits measured on the same people share one.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        centred: replace K of the people analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: before the first, if no id matches, or for any set nobody is left or no model can be fitted.
    """
    in_k, rows, always = matched(kinship, measurements)
    # All sets are looked at before the first is used: hours of work may come between them.
    people = [_people(kinship, measurements, columns, in_k, rows, always) for columns in _sets(measurements, rows)]
    for of_k, others in people:
        yield Cohort(K=kinship_of(kinship, of_k, centred=centred, normalised=normalised), **others)


def refusals(kinship: Kinship, measurements: Measurements) -> dict[str, InputError]:
    """Return the traits that `align` refuses, each with the reason.

    Raises:
        InputError: if no id matches.
    """
    in_k, rows, always = matched(kinship, measurements)
    refused: dict[str, InputError] = {}
    for columns in _sets(measurements, rows):
        try:
            _people(kinship, measurements, columns, in_k, rows, always)
        except InputError:  # of one of them, or of all
            for j in columns:
                try:
                    _people(kinship, measurements, [j], in_k, rows, always)
                except InputError as error:
                    refused[measurements.traits[j]] = error
    return refused


def _sets(measurements: Measurements, rows: ndarray) -> list[list[int]]:
    """Return which traits are measured on the same of some rows."""
    sets: dict[bytes, list[int]] = {}
    for j in range(len(measurements.traits)):
        sets.setdefault(np.isnan(measurements.Y[rows, j]).tobytes(), []).append(j)
    return list(sets.values())


def matched(kinship: Kinship, measurements: Measurements) -> tuple[ndarray, ndarray, list[Drop]]:
    """Return rows of K and of the phenotype table that belong to the same people, and who is in one file only.

    Raises:
        InputError: if no id matches.
    """
    row_of = {name: i for i, name in enumerate(measurements.ids)}
    in_k = np.array([i for i, name in enumerate(kinship.ids) if name in row_of], dtype=int)
    unmeasured = [name for name in kinship.ids if name not in row_of]
    known = set(kinship.ids)
    unrelated = [name for name in measurements.ids if name not in known]
    near = near_matches(unrelated, unmeasured)
    nearly = (
        f"{len(near)} ids of {measurements.source} are in {kinship.source} but for another case, zeros or .0 "
        f"({near_words(near)})"
    )
    if in_k.size == 0:
        raise InputError(
            f"no IID of {measurements.source} (such as {examples(measurements.ids)}) is in {kinship.source} "
            f"(such as {examples(kinship.ids)}): people are matched by IID, check that both files use the same ids"
            f"{(near and f'; {nearly}') or ''}"
        )
    rows = np.array([row_of[kinship.ids[i]] for i in in_k])
    if near:
        warnings.warn(f"{nearly}: write them in one way if they are the same", InputWarning, stacklevel=3)
    return (
        in_k,
        rows,
        [
            *drop(f"in {kinship.source} but not in {measurements.source}", unmeasured),
            *drop(f"in {measurements.source} but not in {kinship.source}", unrelated),
        ],
    )


def _people(
    kinship: Kinship,
    measurements: Measurements,
    columns: list[int],
    in_k: ndarray,
    rows: ndarray,
    always: list[Drop],
) -> tuple[ndarray, dict[str, Any]]:
    """Return where in K the people of a set are, and their cohort but for K."""
    traits = tuple(measurements.traits[j] for j in columns)
    keep = np.ones(len(rows), dtype=bool)
    dropped = list(always)
    reasons = {
        f"without a value of {', '.join(traits)}": np.isnan(measurements.Y[rows, columns[0]]),
        "without a row in the covariate file": measurements.absent[rows],
    }
    for name, column in measurements.covariates.items():
        reasons[f"without a value of the covariate {name}"] = is_missing(column[rows])
    for reason, lacking in reasons.items():
        dropped += drop(reason, [measurements.ids[i] for i in rows[keep & lacking]])
        keep &= ~lacking
    if not keep.any():
        raise InputError(f"{measurements.source}: nobody is left to analyse: {'; '.join(map(str, dropped))}")
    rows, in_k = rows[keep], in_k[keep]
    names, X = design_matrix(measurements, list(measurements.covariates), rows)
    cohort = {
        "ids": tuple(kinship.ids[i] for i in in_k),
        "traits": traits,
        "covariates": tuple(names),
        "Y": measurements.Y[np.ix_(rows, columns)],
        "X": X,
        "dropped": tuple(dropped),
        "source": f"{measurements.source} with {kinship.source}",
    }
    check_model(traits, names, cohort["Y"], X, dropped=dropped, where=cohort["source"])
    return in_k, cohort


def kinship_of(kinship: Kinship, in_k: ndarray, *, centred: bool, normalised: bool) -> Float64[ndarray, "n n"]:
    """Return K of the people in some of its rows; warn where h2 would not be a share of variance."""
    check_memory(
        (24.0 if centred else 16.0 if normalised else 8.0) * len(in_k) ** 2,
        what=f"{kinship.source}: the kinship of {len(in_k):,} individuals who are analysed",
        instead="use a machine with more memory, or fewer individuals",
    )
    kinship = kinship.take(in_k)
    if centred:
        kinship = kinship.centred()
    if normalised:
        kinship = kinship.normalised()
    elif text := about_scale(kinship.mean_diagonal):
        warnings.warn(f"{kinship.source}: {text}", InputWarning, stacklevel=3)
    return kinship.K


def about_scale(mean_diagonal: float) -> str:
    """Say what h2 is where the mean diagonal of K is not near 1; empty where it is."""
    if abs(mean_diagonal - 1) <= 0.1:
        return ""
    if 0.45 <= mean_diagonal <= 0.6:
        return (
            f"the mean diagonal of K is {mean_diagonal:.3g}, as that of kinship (coancestry) coefficients, half the "
            "relationship: h2 = sigma2_u / (sigma2_u + sigma2_e) is then not the share of variance explained: read "
            "pve for that, or use --normalise, or give 2 K"
        )
    return (
        f"the mean diagonal of K is {mean_diagonal:.3g}, not near 1, so h2 = sigma2_u / (sigma2_u + sigma2_e) is not "
        "the share of variance explained: read pve for that, or use --normalise"
    )


def drop(reason: str, ids: Sequence[str]) -> list[Drop]:
    """Return what is told about people who are left out for one reason; nothing if there is nobody."""
    return [Drop(reason, len(ids), tuple(ids[:3]))] if ids else []
