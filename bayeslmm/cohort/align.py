"""Kinship, traits and covariates matched by id, with every drop counted."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.base.ids import Individuals, in_common, near_matches, near_words, plain_iids
from bayeslmm.base.memory import check_memory
from bayeslmm.cohort.cohort import Cohort, Drop, check_models
from bayeslmm.cohort.measurements import Measurements, design_matrix, is_missing
from bayeslmm.cohort.transform import Transform, transformed
from bayeslmm.kinship.covariance import Related
from bayeslmm.kinship.kinship import Kinship, centre


def align(
    kinship: Kinship, measurements: Measurements, *, centred: bool = False, normalised: bool = False
) -> Iterator[Cohort]:
    """Yield one complete cohort for each set of individuals: traits measured on the same ones share it, and one X.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        centred: replace K of the individuals analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: before the first cohort, if no id matches, or if for any set nobody is left or no model can be
            fitted.
    """
    for chosen in selections(kinship, measurements):
        yield chosen.cohort(kinship_of(kinship, chosen.in_k, centred=centred, normalised=normalised))


def selections(kinship: Related, measurements: Measurements) -> list["ChosenRows"]:
    """Return each set of individuals with the same traits, all of them checked: hours of work may lie between them.

    Raises:
        InputError: as `align`.
    """
    matches = _matched(kinship, measurements)
    return [_selected(measurements, matches, [part]) for part in _parts(measurements, matches.rows)]


def refusals(kinship: Related, measurements: Measurements) -> dict[str, InputError]:
    """Return the traits that `align` refuses, each with the reason.

    Raises:
        InputError: if no id matches.
    """
    matches = _matched(kinship, measurements)
    refused: dict[str, InputError] = {}
    for part in _parts(measurements, matches.rows):
        try:
            _selected(measurements, matches, [part])
        except InputError:  # of one of its traits, or of all
            for j in part.columns:
                try:
                    _selected(measurements, matches, [part._replace(columns=[j])])
                except InputError as error:
                    refused[measurements.traits[j]] = error
    return refused


def align_jointly(
    kinship: Kinship,
    measurements: Measurements,
    *,
    covariates_of: Mapping[str, Sequence[str]] | None = None,
    complete_only: bool = False,
    centred: bool = False,
    normalised: bool = False,
) -> Cohort:
    """Return one cohort of every individual with at least one of the traits.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        covariates_of: for some traits the covariates to use in place of all those measured.
        complete_only: leave out individuals without all of the traits.
        centred: replace K of the individuals analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: as `joint_selection`, or if memory does not suffice.
    """
    selection = joint_selection(kinship, measurements, covariates_of=covariates_of, complete_only=complete_only)
    return selection.cohort(kinship_of(kinship, selection.in_k, centred=centred, normalised=normalised))


def joint_selection(
    kinship: Related,
    measurements: Measurements,
    *,
    covariates_of: Mapping[str, Sequence[str]] | None,
    complete_only: bool,
) -> "ChosenRows":
    """Return the individuals of `align_jointly`, checked; arguments as there.

    Raises:
        InputError: if there are fewer than two traits, no id matches, nobody is left, no model can be fitted, or
            covariates_of names what was not measured.
    """
    traits, everything = measurements.traits, list(measurements.covariates)
    if len(traits) < 2:
        raise InputError(f"two or more traits are needed for a correlation, but {', '.join(traits)} was given alone")
    if measurements.formula and covariates_of:
        raise InputError(
            f"a formula is that of all traits, so {next(iter(covariates_of))} cannot have its own covariates"
        )
    chosen = dict.fromkeys(traits, everything) | {trait: list(names) for trait, names in (covariates_of or {}).items()}
    for trait, names in chosen.items():
        if trait not in traits:
            raise InputError(f"covariates are given for {trait}, which is not among the traits {', '.join(traits)}")
        if unknown := [name for name in names if name not in everything]:
            raise InputError(f"covariate {unknown[0]} of {trait} is not among those measured: {everything}")
    parts = [_Part([j], chosen[trait]) for j, trait in enumerate(traits)]
    return _selected(measurements, _matched(kinship, measurements), parts, complete_only=complete_only)


class _Matches(NamedTuple):
    """Individuals that are in both files, in the order of K.

    Attributes:
        ids: IID of each.
        in_k, rows: rows of K and of the phenotype table, shape (m,).
        dropped: individuals that are in one file only.
        source: both files, for messages.
    """

    ids: ndarray
    in_k: Int64[ndarray, " m"]
    rows: Int64[ndarray, " m"]
    dropped: list[Drop]
    source: str


def _matched(kinship: Related, measurements: Measurements) -> _Matches:
    """Match rows of K and of the phenotype table by id.

    Raises:
        InputError: if no id matches.
    """
    related, measured = in_common(
        Individuals(kinship.families, kinship.ids),
        Individuals(measurements.families, measurements.ids),
        where=(kinship.source, measurements.source),
    )
    row_of = {name: i for i, name in enumerate(measured)}
    in_k = np.array([i for i, name in enumerate(related) if name in row_of], dtype=int)
    unmeasured = [name for name in related if name not in row_of]
    known = set(related)
    unrelated = [name for name in measured if name not in known]
    if in_k.size == 0:
        raise InputError(
            f"no IID of {measurements.source} (such as {examples(measured)}) is in {kinship.source} "
            f"(such as {examples(related)}): individuals are matched by IID, {id_advice(kinship, measurements)}"
        )
    warn_of_near_ids(kinship, measurements, related, measured)
    return _Matches(
        np.array(kinship.ids)[in_k],
        in_k,
        np.array([row_of[related[i]] for i in in_k]),
        [
            *_drop(f"in {kinship.source} but not in {measurements.source}", unmeasured),
            *_drop(f"in {measurements.source} but not in {kinship.source}", unrelated),
        ],
        f"{measurements.source} with {kinship.source}",
    )


def id_advice(kinship: Related, measurements: Measurements) -> str:
    """Say what to do where no id of a table is in a kinship."""
    near = near_matches(measurements.ids, kinship.ids)
    advice = _joined(kinship, measurements) or "check that both files use the same ids"
    return f"{advice}; {_nearly(kinship, measurements, near)}" if near else advice


def warn_of_near_ids(
    kinship: Related, measurements: Measurements, related: Sequence[str], measured: Sequence[str]
) -> None:
    """Warn of ids that are in one of two files, and nearly those of the other."""
    known, there = set(related), set(measured)
    near = near_matches([name for name in dict.fromkeys(measured) if name not in known], known - there)
    if near:
        words = f"{_nearly(kinship, measurements, near)}: write them in one way if they are the same"
        warnings.warn(words, InputWarning, stacklevel=4)


def _nearly(kinship: Related, measurements: Measurements, near: dict[str, str]) -> str:
    return (
        f"{len(near)} ids of {measurements.source} are in {kinship.source} but for another case, zeros or .0 "
        f"({near_words(near)})"
    )


def _joined(kinship: Related, measurements: Measurements) -> str:
    """Say what to do where the ids of one file are FID and IID of the other with a _ between; empty if they are not."""
    table, related = (
        {f"{family}_{iid}" for family, iid in zip(who.families, plain_iids(who), strict=False)}
        for who in (Individuals(measurements.families, measurements.ids), Individuals(kinship.families, kinship.ids))
    )
    if not table.isdisjoint(kinship.ids):
        return f"and those of {kinship.source} are FID_IID: make such ids of the table (id FID IID)"
    if not related.isdisjoint(measurements.ids):
        return f"and those of {measurements.source} are FID_IID: write FID and IID into columns of their own"
    return ""


class _Part(NamedTuple):
    """Traits with the same missing values and covariates: columns of the measurements, and names of covariates."""

    columns: list[int]
    covariates: list[str]


def _parts(measurements: Measurements, rows: ndarray) -> list[_Part]:
    """Return the sets of traits that are measured on the same of some rows."""
    sets: dict[bytes, list[int]] = {}
    for j in range(len(measurements.traits)):
        sets.setdefault(np.isnan(measurements.Y[rows, j]).tobytes(), []).append(j)
    return [_Part(columns, list(measurements.covariates)) for columns in sets.values()]


class ChosenRows(NamedTuple):
    """A `Cohort` but for its K, which is that of the rows ``in_k``."""

    in_k: Int64[ndarray, " n"]
    ids: tuple[str, ...]
    traits: tuple[str, ...]
    covariates: tuple[tuple[str, ...], ...]
    Y: Float64[ndarray, "n t"]
    X: tuple[Float64[ndarray, "n _"], ...]
    dropped: tuple[Drop, ...]
    source: str
    transform: Transform | None

    def cohort[M](self, K: M) -> Cohort[M]:
        """Return the cohort with its K."""
        return Cohort(K=K, **{name: value for name, value in self._asdict().items() if name != "in_k"})


def _selected(
    measurements: Measurements, matches: _Matches, parts: Sequence[_Part], *, complete_only: bool = False
) -> ChosenRows:
    """Drop records without a value or a covariate and individuals without a record; make the design of each part.

    Raises:
        InputError: if nobody is left, or no model can be fitted.
    """
    ids, rows, dropped = matches.ids, matches.rows, list(matches.dropped)
    names = [", ".join(measurements.traits[j] for j in part.columns) for part in parts]
    every = ", ".join(names)
    used = np.column_stack([~np.isnan(measurements.Y[rows, part.columns[0]]) for part in parts])
    dropped += _drop(f"without a value of {'any of ' if len(parts) > 1 else ''}{every}", ids[~used.any(axis=1)])
    for part, name, has in zip(parts, names, used.T, strict=True):  # columns of `used`, changed in place
        reasons = {"without a row in the covariate file": measurements.absent[rows]} if part.covariates else {}
        for covariate in part.covariates:
            reasons[f"without a value of the covariate {covariate}"] = is_missing(
                measurements.covariates[covariate][rows]
            )
        for reason, lacking in reasons.items():
            dropped += _drop(f"values of {name} {reason}" if len(parts) > 1 else reason, ids[has & lacking])
            has &= ~lacking
    keep = used.all(axis=1) if complete_only else used.any(axis=1)
    if complete_only:
        partly = used.any(axis=1) & ~keep
        having = zip(names, used[partly].sum(axis=0), strict=True)
        words = ", ".join(f"{count:,} have {name}" for name, count in having if count)
        dropped += _drop(f"without all of {every} ({words})", ids[partly])
    if not keep.any():
        raise InputError(f"{measurements.source}: nobody is left to analyse: {'; '.join(map(str, dropped))}")
    rows, used = rows[keep], used[keep]
    columns = [j for part in parts for j in part.columns]
    Y = measurements.Y[np.ix_(rows, columns)]
    covariates: list[tuple[str, ...]] = []
    X: list[Float64[ndarray, "n _"]] = []
    for part, has in zip(parts, used.T, strict=True):
        named, known = design_matrix(measurements, part.covariates, rows[has]) if has.any() else ([], np.empty((0, 0)))
        whole = np.zeros((len(rows), len(named)))
        whole[has] = known
        here = slice(len(X), len(X) + len(part.columns))
        Y[~has, here] = np.nan
        if measurements.transform:
            Y[:, here] = np.column_stack([transformed(y, measurements.transform) for y in Y[:, here].T])
        covariates += [tuple(named)] * len(part.columns)
        X += [whole] * len(part.columns)
    traits = tuple(measurements.traits[j] for j in columns)
    check_models(traits, covariates, Y, X, dropped=dropped, where=matches.source)
    in_k, kept = matches.in_k[keep], tuple(ids[keep].tolist())
    fixed = (tuple(dropped), matches.source, measurements.transform)
    return ChosenRows(in_k, kept, traits, tuple(covariates), Y, tuple(X), *fixed)


def kinship_of(kinship: Kinship, in_k: ndarray, *, centred: bool, normalised: bool) -> Float64[ndarray, "n n"]:
    """Return K of the individuals in some of its rows; warn where h2 would not be a share of variance."""
    check_memory(
        (24.0 if centred else 8.0) * len(in_k) ** 2,
        what=f"{kinship.source}: the kinship of {len(in_k):,} individuals analysed",
        instead="use a machine with more memory, or fewer individuals",
    )
    # As arrays: each `Kinship` made on the way would be checked anew.
    K = kinship.dense()[np.ix_(in_k, in_k)]
    if centred:
        K = centre(K)
    mean_diagonal = float(np.trace(K) / len(K))
    if normalised:
        K /= mean_diagonal
    elif text := about_scale(mean_diagonal):
        warnings.warn(f"{kinship.source}: {text}", InputWarning, stacklevel=3)
    return K


def about_scale(mean_diagonal: float) -> str:
    """Say what h2 is where the mean diagonal of K is not near 1; empty where it is."""
    if abs(mean_diagonal - 1) <= 0.1:
        return ""
    if 0.45 <= mean_diagonal <= 0.6:
        return (
            f"the mean diagonal of K is {mean_diagonal:.3g}, as that of kinship (coancestry) coefficients, half the "
            "relationship: h2 = sigma2_u / (sigma2_u + sigma2_e) is then not the share of variance explained: read "
            "pve for that, or divide K by its mean diagonal, or give 2 K"
        )
    return (
        f"the mean diagonal of K is {mean_diagonal:.3g}, not near 1, so h2 = sigma2_u / (sigma2_u + sigma2_e) is not "
        "the share of variance explained: read pve for that, or divide K by its mean diagonal"
    )


def _drop(reason: str, ids: Sequence[str] | ndarray) -> list[Drop]:
    """Return the record of individuals left out for one reason; nothing if there are none."""
    return [Drop(reason, len(ids), tuple(map(str, ids[:3])))] if len(ids) else []
