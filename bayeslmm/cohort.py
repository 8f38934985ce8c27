"""Who is analysed: kinship, traits and covariates aligned by id, with every drop counted."""

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from bayeslmm.checks import InputError, InputWarning, check_unique, examples, quoted
from bayeslmm.design import INTERCEPT, check_full_rank, lengths, treatment_coding
from bayeslmm.kinship import Kinship, centre
from bayeslmm.memory import check_memory
from bayeslmm.tables import Table, is_code, near_matches, near_words, spelled_alike

_OUTLYING = 20  # standard deviations of the middle 98%


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
    X = X / lengths(X)
    for name, y in zip(traits, (Y / lengths(Y)).T, strict=True):
        left = y - X @ np.linalg.lstsq(X, y, rcond=None)[0]
        if np.linalg.norm(left) < 1e-10:
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
        InputError: unknown columns, a trait that is not numeric, or a covariate that is but for some values and is not
            among the categorical ones.
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
    for name, y in zip(traits, Y.T, strict=True):
        for text in trait_words(y):
            warnings.warn(f"{phenotypes.path}: trait {quoted(name)} {text}", InputWarning, stacklevel=2)
    for name in chosen:
        if table.missing_code_suspected(name):
            _warn_of_code(table, name)
    _warn_of_unseen_codes([(phenotypes, name) for name in traits] + [(table, name) for name in chosen])
    if near := near_matches(set(phenotypes.ids) - set(table.ids), set(table.ids) - set(phenotypes.ids)):
        warnings.warn(
            f"{len(near)} ids of {phenotypes.path} have no row in {table.path} but for another case, zeros or .0 "
            f"({near_words(near)}): write them in one way if they are the same",
            InputWarning,
            stacklevel=2,
        )
    row_of = {name: i for i, name in enumerate(table.ids)}
    rows = np.array([row_of.get(name, -1) for name in phenotypes.ids])
    columns: dict[str, ndarray] = {}
    for name in chosen:
        if name not in categorical and table.is_numeric(name):
            columns[name] = np.where(rows < 0, np.nan, table.numbers(name)[rows])
        else:
            text = np.where(table.is_missing(name), "", table.text(name).astype(str))
            if alike := spelled_alike(sorted(set(text) - {""})):
                shown = examples(f"{a} and {b}" for a, b in alike)
                warnings.warn(
                    f"{table.path}: levels of the covariate {quoted(name)} are apart that may be one: {shown}",
                    InputWarning,
                    stacklevel=2,
                )
            columns[name] = np.where(rows < 0, "", text[rows])
    return Measurements(phenotypes.path, phenotypes.ids, tuple(traits), Y, columns, rows < 0, intercept)


def trait_words(y: Float64[ndarray, " rows"]) -> list[str]:
    """Return what should be asked about a trait before it is analysed; nothing for an ordinary one.

    Args:
        y: its values, NaN where missing, shape (rows,).
    """
    values = y[np.isfinite(y)]
    unit = float(np.abs(values).max(initial=0.0)) or 1.0
    distinct = np.unique(values)
    words: list[str] = []
    if count := int((values == -9).sum()):
        words.append(f"is -9 in {count} rows: is it a code of missing values (missing)? It is taken as a value")
    if distinct.size == 2:
        words.append(
            f"has two values only, {distinct[0]:g} and {distinct[1]:g}: h2 is that of the observed scale under a "
            "normal model, not that of a liability"
        )
    if distinct.tolist() == [0, 1, 2]:
        words.append("has the values 0, 1 and 2: is 0 a code of missing values beside 1 and 2? It is taken as a value")
    middle = (
        values[(values >= np.quantile(values, 0.01)) & (values <= np.quantile(values, 0.99))] if values.size else values
    )
    if values.size >= 10 and distinct.size > 2 and (sd := (middle / unit).std()) > 0:
        far = np.abs(values / unit - np.median(values / unit)) / sd
        if far.max() > _OUTLYING:
            at = int(far.argmax())
            words.append(
                f"has {int((far > _OUTLYING).sum())} values that lie more than {_OUTLYING} standard deviations from "
                f"the others, the farthest {values[at]:g}: is it a mistake, or a code of missing values?"
            )
    return words


def _warn_of_code(table: Table, name: str) -> None:
    warnings.warn(
        f"{table.path}: -9 in column {quoted(name)} looks like a missing code but is taken as a value: list it as one "
        "(missing) if it is",
        InputWarning,
        stacklevel=3,
    )


def _warn_of_unseen_codes(columns: Sequence[tuple[Table, str]]) -> None:
    """Say which codes of missing values stand nowhere: they may be written in another way."""
    for code in dict.fromkeys(code for table, _ in columns for code in table.codes):
        if not any(is_code(table.text(name), [code]).any() for table, name in columns):
            files = " and ".join(dict.fromkeys(str(table.path) for table, _ in columns))
            warnings.warn(
                f"the missing code {quoted(code)} stands nowhere in the columns used of {files}: is it written so?",
                InputWarning,
                stacklevel=3,
            )


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
        (24.0 if centred else 8.0) * len(in_k) ** 2,
        what=f"{kinship.source}: the kinship of {len(in_k):,} individuals who are analysed",
        instead="use a machine with more memory, or fewer individuals",
    )
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
