"""A DataFrame and a formula as the traits and covariates that they name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples, quoted
from bayeslmm.base.frames import as_text
from bayeslmm.cohort.formula import evaluate, read_formula, used_columns
from bayeslmm.cohort.measurements import Measurements, measure
from bayeslmm.cohort.tables import SEVERAL_RECORDS, Table
from bayeslmm.cohort.transform import Transform
from bayeslmm.kinship.kinship import Kinship

NAME = Path("data")
"""How messages call the DataFrame: it is the argument of this name."""


def measurements_of(
    formula: str,
    data: pd.DataFrame,
    *,
    id: str | None,
    kinship: Kinship,
    transform: Transform | None = None,
    two_values: bool = False,
) -> Measurements:
    """Return the traits and covariates of a formula.

    Args:
        formula: ``BWT ~ sex + age``; traits may be expressions, such as ``log(BWT)``. Covariates that pandas has as
            text or categories are categories, whatever they look like; True is 1 and False 0.
        data: one row for each individual.
        id: the column of ids; by default they are the index, unless that is of row numbers.
        kinship: of everybody, for what a message can advise.
        transform: of the traits among those who are analysed, see `transform.transformed`.
        two_values: whether it is known that traits have two values only, see `measure`.

    Raises:
        InputError: if the formula has no trait or names no column, ids repeat, or none of them is in K.
    """
    read = read_formula(formula)
    if not read.traits:
        raise InputError(f"formula {quoted(formula)}: a trait is needed before the ~, as in 'trait {formula.strip()}'")
    if not isinstance(data, pd.DataFrame):
        raise InputError(f"{NAME} must be a DataFrame, but is a {type(data).__name__}")
    names = [str(name) for name in data.columns]
    check_unique(names, where=NAME, what="column name")
    of_traits = used_columns(read.traits, names, where=f"{NAME}: formula {quoted(formula)}")
    used = dict.fromkeys([*of_traits, *read.columns(names, where=NAME)])
    series = {name: data.iloc[:, names.index(name)] for name in used}
    columns = {name: column_of(values) for name, values in series.items()}
    table = Table(NAME, ids_of(data, names, id, kinship), list(range(1, len(data) + 1)), columns, unit="row")
    for trait in read.traits:
        if trait not in columns:
            columns[trait] = _expression(trait, table, of_traits, formula)
    covariates = read.columns(names, where=NAME)
    for name in covariates:
        table.is_numeric(name)  # refuses numbers among which a few words stand
    people = measure(
        table,
        read.traits,
        formula=f"~{formula.partition('~')[2]}",
        categorical=[name for name in covariates if columns[name].dtype.kind == "O"],
        transform=transform,
        two_values=two_values,
    )
    return replace(people, levels=levels_of(series))


def ids_of(
    data: pd.DataFrame, names: Sequence[str], id: str | None, kinship: Kinship, *, called: Path = NAME
) -> tuple[str, ...]:
    """Return the ids of the rows of a DataFrame.

    Args:
        data: one row for each individual.
        names: of its columns.
        id: the column of ids; by default they are the index, unless that is of row numbers.
        kinship: of everybody, for what a message can advise.
        called: what messages call the DataFrame.

    Raises:
        InputError: if ids are missing or repeat, or none of them is in K.
    """
    if id is None and data.index.nlevels > 1:
        raise InputError(f"the index of {called} has {data.index.nlevels} levels: name the column of ids (id='...')")
    if id is not None and id not in names:
        raise InputError(f"{called} has no column {quoted(id)} of ids; it has {examples(names, most=12)}")
    if id is None and data.index.name is None and pd.api.types.is_integer_dtype(data.index.dtype):
        # Ids are whole numbers too, as a rule: rows would be taken for individuals of other names.
        raise InputError(
            f"the index of {called} has no name and holds whole numbers (such as {examples(data.index)}), as pandas "
            f"numbers rows: {_advice(data, names, kinship)}; or name the index if it is one (data.index.name = 'id')"
        )
    ids = tuple(as_text(data.index if id is None else data.iloc[:, names.index(id)]).tolist())
    where = f"the index of {called}" if id is None else f"column {quoted(id)} of {called}"
    if "" in ids:
        raise InputError(f"{where}, row {ids.index('') + 1}: the id is missing")
    check_unique(ids, where=where, advice=SEVERAL_RECORDS)
    if set(kinship.ids).isdisjoint(ids):
        raise InputError(
            f"no id of {where} (such as {examples(ids)}) is in {kinship.source} (such as {examples(kinship.ids)}): "
            f"{_advice(data, names, kinship)}"
        )
    return ids


def _advice(data: pd.DataFrame, names: Sequence[str], kinship: Kinship) -> str:
    """Say which column has ids of K, if one has."""
    known = set(kinship.ids)
    found = {name: sum(cell in known for cell in as_text(data.iloc[:, j])) for j, name in enumerate(names)}
    best = max(names, key=lambda name: (found[name], name.upper() != "FID"), default="")
    if found.get(best):
        return f"the column {quoted(best)} has ids of {kinship.source}: id={best!r}"
    return "give the column of ids (id='...')"


def column_of(values: pd.Series) -> ndarray:
    """Return a column as numbers, NaN where one is missing, or as text."""
    if pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_complex_dtype(values.dtype):
        return values.to_numpy(float, na_value=np.nan)
    return as_text(values)


def levels_of(series: Mapping[str, pd.Series]) -> dict[str, tuple[str, ...]]:
    """Return the levels of categorical columns, in their order."""
    return {
        name: tuple(as_text(values.dtype.categories).tolist())
        for name, values in series.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
    }


def _expression(trait: str, table: Table, names: Sequence[str], formula: str) -> ndarray:
    """Return an expression of columns, NaN where one of those that it uses is missing."""
    used = used_columns([trait], names, where=formula)
    numbers = {name: table.numbers(name) for name in used}
    there = ~np.isnan(np.column_stack([*numbers.values()])).any(axis=1) if used else np.ones(len(table.ids), dtype=bool)
    values = np.full(len(there), np.nan)
    values[there] = evaluate(trait, {name: column[there] for name, column in numbers.items()}, where=formula)
    if not np.isfinite(values[there]).all():
        wrong = np.flatnonzero(there & ~np.isfinite(values))
        raise InputError(
            f"formula {quoted(formula)}: {trait} must be a finite number, but is not for {len(wrong)} individuals "
            f"({examples(table.ids[int(i)] for i in wrong)}): look at their values"
        )
    return values
