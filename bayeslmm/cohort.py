"""Who is analysed: kinship, traits and covariates aligned by id, with every drop counted."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from bayeslmm.checks import InputError, InputWarning, check_unique, examples
from bayeslmm.design import INTERCEPT, check_full_rank, treatment_coding
from bayeslmm.kinship import Kinship, centre
from bayeslmm.tables import Table


@dataclass(frozen=True)
class Drop:
    """People who are not analysed, and why."""

    reason: str
    count: int
    examples: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.count} {self.reason} ({', '.join(self.examples)}{', ...' if self.count > 3 else ''})"


@dataclass(frozen=True)
class Measurements:
    """Traits and covariates as the tables hold them, checked, before they meet a kinship matrix.

    Attributes:
        source: the phenotype file, for messages.
        ids: IID of each row of the phenotype table.
        traits: trait names.
        Y: trait values, NaN where missing, shape (rows, t).
        covariates: name -> values of a column (float, NaN where missing, or str with "" where missing).
        absent: rows that the covariate table does not have, shape (rows,).
        intercept: whether a column of ones is added.
    """

    source: Path
    ids: tuple[str, ...]
    traits: tuple[str, ...]
    Y: Float64[ndarray, "rows t"]
    covariates: dict[str, ndarray]
    absent: Bool[ndarray, " rows"]
    intercept: bool = True

    def take(self, traits: Sequence[str]) -> "Measurements":
        """Return the measurements with some of the traits."""
        return replace(self, traits=tuple(traits), Y=self.Y[:, [self.traits.index(trait) for trait in traits]])


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
    for name, y in zip(traits, Y.T, strict=True):
        left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
        if np.linalg.norm(left) < 1e-10 * np.linalg.norm(y):
            raise InputError(f"{where}: trait {name!r} is a combination of the covariates: nothing is left")


def measure(
    phenotypes: Table,
    traits: Sequence[str],
    *,
    covariate_table: Table | None = None,
    covariates: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    intercept: bool = True,
) -> Measurements:
    """Take traits and covariates out of tables, as numbers or categories.

    Args:
        phenotypes: table with the traits.
        traits: which columns to analyse.
        covariate_table: table with the covariates; without it, ``covariates`` are columns of ``phenotypes``.
        covariates: which columns to use; by default all of ``covariate_table``.
        categorical: covariates whose numbers are codes of categories; text is categorical anyway.
        intercept: add a column of ones.

    Raises:
        InputError: unknown columns, or a trait that is not numeric.
    """
    if not traits or len(set(traits)) < len(traits):
        raise InputError(f"one or more different traits are needed, but {list(traits)} was given")
    Y = np.column_stack([phenotypes.numbers(name) for name in traits])
    table = covariate_table or phenotypes
    chosen = list(covariates) if covariates is not None else covariate_table.names() if covariate_table else []
    if unused := sorted(set(categorical) - set(chosen)):
        raise InputError(f"{table.path}: --categorical names {examples(unused)}, not among the covariates {chosen}")
    if both := sorted(set(traits) & set(chosen)) if table is phenotypes else []:
        raise InputError(f"{table.path}: {examples(both)} cannot be a trait and a covariate at once")
    for name, of in [(name, phenotypes) for name in traits] + [(name, table) for name in chosen]:
        if of.missing_code_suspected(name):
            warnings.warn(
                f"{of.path}: -9 in column {name!r} looks like a missing code but is taken as a value: "
                "give --missing -9 if it is one",
                InputWarning,
                stacklevel=2,
            )
    row_of = {name: i for i, name in enumerate(table.ids)}
    rows = np.array([row_of.get(name, -1) for name in phenotypes.ids])
    columns: dict[str, ndarray] = {}
    for name in chosen:
        if table.is_numeric(name) and name not in categorical:
            columns[name] = np.where(rows < 0, np.nan, table.numbers(name)[rows])
        else:
            text = np.where(table.is_missing(name), "", table.text(name).astype(str))
            columns[name] = np.where(rows < 0, "", text[rows])
    return Measurements(phenotypes.path, phenotypes.ids, tuple(traits), Y, columns, rows < 0, intercept)


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
    if in_k.size == 0:
        raise InputError(
            f"no IID of {measurements.source} (such as {examples(measurements.ids)}) is in {kinship.source} "
            f"(such as {examples(kinship.ids)}): people are matched by IID, check that both files use the same ids"
        )
    rows = np.array([row_of[kinship.ids[i]] for i in in_k])
    unmeasured = [name for name in kinship.ids if name not in row_of]
    known = set(kinship.ids)
    unrelated = [name for name in measurements.ids if name not in known]
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
    K = kinship.take(in_k)
    if centred:
        K = centre(K)
    mean_diagonal = np.trace(K) / len(K)
    if normalised:
        K /= mean_diagonal
    elif text := about_scale(float(mean_diagonal)):
        warnings.warn(f"{kinship.source}: {text}", InputWarning, stacklevel=3)
    return K


def about_scale(mean_diagonal: float) -> str:
    """Say what h2 is where the mean diagonal of K is not near 1; empty where it is."""
    if abs(mean_diagonal - 1) <= 0.1:
        return ""
    return (
        f"the mean diagonal of K is {mean_diagonal:.3g}, not near 1, so h2 = sigma2_u / (sigma2_u + sigma2_e) is not "
        "the share of variance explained: read pve for that, or use --normalise"
    )


def design_matrix(
    measurements: Measurements, covariates: Sequence[str], rows: ndarray
) -> tuple[list[str], Float64[ndarray, "n c"]]:
    """Return names and columns of X for some rows of the phenotype table, complete there.

    Raises:
        InputError: if a category is the same for all of them.
    """
    names: list[str] = [INTERCEPT] if measurements.intercept else []
    blocks: list[ndarray] = [np.ones((len(rows), len(names)))]
    for name in covariates:
        column = measurements.covariates[name][rows]
        if column.dtype.kind == "U":
            coded, block = treatment_coding(name, column)
            if not coded:
                raise InputError(f"the covariate {name} is {str(column[0])!r} for everybody analysed: leave it out")
        else:
            coded, block = [name], column[:, None]
        names += coded
        blocks.append(block)
    return names, np.column_stack(blocks)


def is_missing(column: ndarray) -> Bool[ndarray, " rows"]:
    """Return where a column of a covariate has no value."""
    return column == "" if column.dtype.kind == "U" else np.isnan(column)


def drop(reason: str, ids: Sequence[str]) -> list[Drop]:
    """Return what is told about people who are left out for one reason; nothing if there is nobody."""
    return [Drop(reason, len(ids), tuple(ids[:3]))] if ids else []
