"""What should be asked about a column before it is used: codes that were taken as values, stray values."""

import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputWarning, quoted
from bayeslmm.cohort.tables import Table

_OUTLYING = 20  # standard deviations of the middle 98%
_AT_ONCE = 512  # columns


def trait_words(y: Float64[ndarray, " rows"], *, two_values: bool = False) -> list[str]:
    """Return what should be asked about a trait before it is analysed; nothing for an ordinary one.

    Args:
        y: its values, NaN where missing, shape (rows,).
        two_values: whether it is known to have two values only.
    """
    values = np.sort(y[np.isfinite(y)])
    unit = float(np.abs(values).max(initial=0.0)) or 1.0
    distinct = values[np.diff(values, prepend=-np.inf) > 0]
    words: list[str] = []
    if count := int((values == -9).sum()):
        words.append(f"is -9 in {count} rows: is it a code of missing values (missing)? It is taken as a value")
    if distinct.size == 2 and not two_values:
        words.append(
            f"has two values only, {distinct[0]:g} and {distinct[1]:g}: h2 is that of the observed scale under a "
            "normal model, not that of a liability (which h2, compare and fit give for a prevalence)"
        )
    if distinct.tolist() == [0, 1, 2]:
        words.append("has the values 0, 1 and 2: is 0 a code of missing values beside 1 and 2? It is taken as a value")
    low, high = np.quantile(values, [0.01, 0.99]) if values.size else (0.0, 0.0)
    middle = values[(values >= low) & (values <= high)]
    if values.size >= 10 and distinct.size > 2 and (sd := (middle / unit).std()) > 0:
        far = np.abs(values / unit - np.median(values / unit)) / sd
        if far.max() > _OUTLYING:
            at = int(far.argmax())
            words.append(
                f"has {int((far > _OUTLYING).sum())} values that lie more than {_OUTLYING} standard deviations from "
                f"the others, the farthest {values[at]:g}: is it a mistake, or a code of missing values?"
            )
    return words


def words_of_traits(Y: Float64[ndarray, "rows t"]) -> dict[int, list[str]]:
    """Return what `trait_words` says of those of many traits that it has words for, by column.

    Args:
        Y: their values, NaN where missing, shape (rows, t).
    """
    found: dict[int, list[str]] = {}
    for start in range(0, Y.shape[1], _AT_ONCE):
        for j in start + np.flatnonzero(_may_need_words(Y[:, start : start + _AT_ONCE])):
            if words := trait_words(Y[:, j]):
                found[int(j)] = words
    return found


def _may_need_words(Y: Float64[ndarray, "rows t"]) -> Bool[ndarray, " t"]:
    """Return which columns are not ordinary: all that `trait_words` has words for, and some others."""
    largest = np.max(np.abs(Y), axis=0, initial=0.0, where=np.isfinite(Y))
    values = np.sort(np.where(np.isfinite(Y), Y, np.nan), axis=0)  # NaN come last
    few = (np.diff(values, axis=0) > 0).sum(axis=0) < 3
    code = (values == -9).any(axis=0)
    values /= np.where(largest > 0, largest, 1.0)
    last = np.maximum(np.isfinite(values).sum(axis=0) - 1, 0)
    columns = np.arange(Y.shape[1])
    centre = values[last // 2, columns]
    rank = np.arange(len(values))[:, None]
    middle = (rank >= 0.01 * last) & (rank <= 0.99 * last)
    sd = np.std(values, axis=0, where=middle | (last < 2))
    far = np.maximum(centre - values[0], values[last, columns] - centre)
    # Half as far as is said: equal values at the ends of the middle count for it there.
    return few | code | ~(far <= _OUTLYING / 2 * sd)


def warn_of_code(table: Table, name: str) -> None:
    """Warn of -9 where it may be a code of missing values."""
    warnings.warn(
        f"{table.path}: -9 in column {quoted(name)} looks like a missing code but is taken as a value: list it as one "
        "(missing) if it is",
        InputWarning,
        stacklevel=3,
    )


def warn_of_level(table: Table, name: str, levels: ndarray) -> None:
    """Warn of levels that elsewhere mean that nothing is known, such as the mother of a founder."""
    for code in ("0", "-9"):
        if count := int((levels == code).sum()):
            warnings.warn(
                f"{table.path}: {code} in column {quoted(name)}, in {count} rows, is taken as a level like any other: "
                "list it as a code of missing values (missing) if it is one",
                InputWarning,
                stacklevel=3,
            )


def warn_of_unseen_codes(columns: Sequence[tuple[Table, str]]) -> None:
    """Warn of codes of missing values that do not occur: they may be written in another way."""
    for code in dict.fromkeys(code for table, _ in columns for code in table.codes):
        if not any(table.holds_code(name, code) for table, name in columns):
            files = " and ".join(dict.fromkeys(str(table.path) for table, _ in columns))
            warnings.warn(
                f"the missing code {quoted(code)} does not occur in the columns used of {files}: is it spelled so?",
                InputWarning,
                stacklevel=3,
            )
