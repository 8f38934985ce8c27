"""Traits and covariates taken out of tables, before they meet a kinship matrix."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning, examples, quoted
from bayeslmm.base.ids import Individuals, in_common, near_matches, near_words, places, spelled_alike
from bayeslmm.cohort.columns import trait_words, warn_of_code, warn_of_level, warn_of_unseen_codes
from bayeslmm.cohort.design import INTERCEPT, treatment_coding
from bayeslmm.cohort.formula import Formula, read_formula
from bayeslmm.cohort.tables import Table
from bayeslmm.cohort.transform import Transform, transformed


@dataclass(frozen=True)
class Measurements:
    """Traits and covariates as the tables hold them, checked, before they meet a kinship matrix.

    Attributes:
        source: the phenotype file, for messages.
        ids: of each row of the phenotype table: IID or, if IIDs repeat, FID and IID with a blank between.
        traits: trait names.
        Y: trait values, NaN where missing, shape (rows, t).
        covariates: name -> values of a column (float, NaN where missing, or str with "" where missing).
        absent: rows that the covariate table does not have, shape (rows,).
        intercept: whether a column of ones is added; with a formula, that says it.
        formula: makes X of the covariates, in place of each as it is.
        levels: the order of the levels of some covariates in a formula, see `Formula.design`.
        families: FID of each row, 0 where there is none; empty if none is known.
        transform: of the traits, among those who are analysed; see `transform.transformed`.
        notes: what files were read as, where they are no ordinary tables.
        random: name -> levels of a column whose effects are random, "" where one is missing.
    """

    source: Path
    ids: tuple[str, ...]
    traits: tuple[str, ...]
    Y: Float64[ndarray, "rows t"]
    covariates: dict[str, ndarray]
    absent: Bool[ndarray, " rows"]
    intercept: bool = True
    formula: Formula | None = None
    levels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    families: tuple[str, ...] = ()
    transform: Transform | None = None
    notes: tuple[str, ...] = ()
    random: Mapping[str, ndarray] = field(default_factory=dict)

    @property
    def individuals(self) -> Individuals:
        """Whose rows they are."""
        return Individuals(self.families, self.ids)

    def take(self, traits: Sequence[str]) -> "Measurements":
        """Return the measurements with some of the traits."""
        return replace(self, traits=tuple(traits), Y=self.Y[:, [self.traits.index(trait) for trait in traits]])


def measure(
    phenotypes: Table,
    traits: Sequence[str],
    *,
    covariate_table: Table | None = None,
    quantitative_table: Table | None = None,
    covariates: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    intercept: bool = True,
    formula: str | None = None,
    transform: Transform | None = None,
    two_values: bool = False,
    random: Sequence[str] = (),
) -> Measurements:
    """Take traits and covariates out of tables, as numbers or categories.

    Args:
        phenotypes: table with the traits.
        traits: which columns to analyse.
        covariate_table: table with the covariates; without one, ``covariates`` are columns of ``phenotypes``.
        quantitative_table: a further one, whose columns must be numbers (GCTA's ``--qcovar``).
        covariates: which columns to use; by default all of the tables of covariates.
        categorical: covariates whose numbers are codes of categories; text is categorical anyway.
        intercept: add a column of ones.
        formula: ``~ sex * age + bs(weight, df=4)``, in place of covariates and intercept; of columns of all tables.
            Bases and categories are those of the rows that are analysed.
        transform: analyse ``log`` or ``rank``, the logarithms or the normal scores of each trait.
        two_values: whether it is known that traits have two values only: there is no warning then.
        random: columns of any of the tables whose effects are random: each distinct value is a level.

    Raises:
        InputError: unknown columns, a formula that is none, a trait that is not numeric, or a covariate that is but for
            some values and is not among the categorical ones; logarithms of values that are not positive.
    """
    if not traits or len(set(traits)) < len(traits):
        raise InputError(f"one or more different traits are needed, but {list(traits)} was given")
    Y = np.column_stack([phenotypes.numbers(name) for name in traits])
    if transform == "log":
        _check_positive(phenotypes, traits, Y)
    read = read_formula(formula) if formula is not None else None
    tables = [table for table in (covariate_table, quantitative_table) if table] or [phenotypes]
    sources = _sources(phenotypes, tables, covariates, read, random)
    codes = {name for name, table in sources.items() if table is not quantitative_table}
    if unused := sorted(set(categorical) - codes):
        raise InputError(
            f"{tables[0].path}: categorical names {examples(unused)}, not among the covariates {sorted(codes)}"
        )
    if both := sorted(name for name in set(traits) & set(sources) if sources[name] is phenotypes):
        raise InputError(f"{phenotypes.path}: {examples(both)} cannot be a trait and a covariate at once")
    if both := sorted(set(traits) & set(random)):
        raise InputError(f"{phenotypes.path}: {examples(both)} cannot be a trait and a random effect at once")
    for name, y in zip(traits, Y.T, strict=True):
        for text in trait_words(transformed(y, transform) if transform else y, two_values=two_values):
            warnings.warn(f"{phenotypes.path}: trait {quoted(name)} {text}", InputWarning, stacklevel=2)
    for name, table in sources.items():
        if table.missing_code_suspected(name):
            warn_of_code(table, name)
    absent = np.zeros(len(phenotypes.ids), dtype=bool)
    columns: dict[str, ndarray] = {}
    everywhere = list({id(table): table for table in (*tables, phenotypes)}.values())
    groups = _tables_of(random, everywhere, where="random effects: ")
    warn_of_unseen_codes(
        [(phenotypes, name) for name in traits]
        + [(table, name) for found in (sources, groups) for name, table in found.items()]
    )
    rows_in = {id(table): _rows_in(table, phenotypes) for table in (*sources.values(), *groups.values())}
    for name, table in sources.items():
        rows = rows_in[id(table)]
        absent |= rows < 0
        codes = name in categorical or (table.coded and formula is None)
        if table is quantitative_table or (not codes and table.is_numeric(name)):
            columns[name] = np.where(rows < 0, np.nan, table.numbers(name)[rows])
        else:
            columns[name] = _levels_of(table, name, rows)
    levels = {name: _levels_of(table, name, rows_in[id(table)]) for name, table in groups.items()}
    for name, table in groups.items():
        warn_of_level(table, name, levels[name])
    read_as = {table.path: table.note for table in (phenotypes, *tables) if table.note}
    return Measurements(
        phenotypes.path,
        phenotypes.ids,
        tuple(traits),
        Y,
        columns,
        absent,
        intercept,
        read,
        families=phenotypes.families,
        transform=transform,
        notes=tuple(f"{path}: {note}" for path, note in read_as.items()),
        random=levels,
    )


def _levels_of(table: Table, name: str, rows: Int64[ndarray, " rows"]) -> ndarray:
    """Return the categories of a column for each row of the phenotypes, "" where there is none."""
    text = np.where(table.is_missing(name), "", table.text(name).astype(str))
    if alike := spelled_alike(sorted(set(text) - {""})):
        shown = examples(f"{a} and {b}" for a, b in alike)
        warnings.warn(
            f"{table.path}: levels of {quoted(name)} are apart that may be one: {shown}",
            InputWarning,
            stacklevel=3,
        )
    return np.where(rows < 0, "", text[rows])


def _check_positive(table: Table, traits: Sequence[str], Y: Float64[ndarray, "rows t"]) -> None:
    """Refuse values of which there is no logarithm."""
    for name, y in zip(traits, Y.T, strict=True):
        wrong = np.flatnonzero(y <= 0)
        if wrong.size:
            row = int(wrong[0])
            raise InputError(
                f"{table.path} {table.unit} {table.lines[row]} (id {examples([table.ids[row]])}): trait {quoted(name)} "
                f"must be positive for its logarithm, but {y[row]:g} was found ({wrong.size} such values): list it as "
                "missing (missing) if it is a code, or rank-normalise the trait"
            )


def _sources(
    phenotypes: Table,
    tables: Sequence[Table],
    covariates: Sequence[str] | None,
    formula: Formula | None,
    random: Sequence[str],
) -> dict[str, Table]:
    """Return the table of each covariate: where none is named, of all columns but the random ones.

    Raises:
        InputError: if covariates are given beside a formula, or it has a left side, or two tables have a column.
    """
    if formula is None:
        everything = [
            name for table in tables if table is not phenotypes for name in table.names() if name not in random
        ]
        return _tables_of(everything if covariates is None else covariates, tables)
    if covariates is not None:
        raise InputError(
            f"covariates {list(covariates)} are given beside the formula {quoted(formula.text)}: leave one out"
        )
    if formula.traits:
        raise InputError(f"formula {quoted(formula.text)}: the traits are given apart, so it must begin with ~")
    everywhere = list({id(each): each for each in (*tables, phenotypes)}.values())
    named = formula.columns(
        [name for each in everywhere for name in each.names()],
        where=" and ".join(str(each.path) for each in everywhere),
    )
    return _tables_of(named, everywhere, where=f"formula {quoted(formula.text)}: ")


def _tables_of(names: Sequence[str], tables: Sequence[Table], *, where: str = "") -> dict[str, Table]:
    """Return the table of each column.

    Raises:
        InputError: if none of them has it, or two.
    """
    found: dict[str, Table] = {}
    for name in names:
        having = [table for table in tables if name in table.columns]
        if len(having) > 1:
            raise InputError(
                f"{where}both {having[0].path} and {having[1].path} have a column {quoted(name)}: rename one"
            )
        if not having and len(tables) > 1:
            known = [known for table in tables for known in table.columns]
            raise InputError(
                f"neither {' nor '.join(str(table.path) for table in tables)} has a column {quoted(name)}; they have "
                f"{examples(known, most=12)}"
            )
        found[name] = having[0] if having else tables[0]
    return found


def _rows_in(table: Table, phenotypes: Table) -> Int64[ndarray, " rows"]:
    """Return the row of a table for each row of the phenotypes, -1 for none; warn of ids that nearly match."""
    if table is phenotypes:  # in which an individual may have several rows
        return np.arange(len(phenotypes.ids))
    who, there = in_common(phenotypes.individuals, table.individuals, where=(phenotypes.path, table.path))
    if near := near_matches(set(who) - set(there), set(there) - set(who)):
        warnings.warn(
            f"{len(near)} ids of {phenotypes.path} have no row in {table.path} but for another case, zeros or .0 "
            f"({near_words(near)}): write them in one way if they are the same",
            InputWarning,
            stacklevel=3,
        )
    return places(who, there)


def design_matrix(
    measurements: Measurements, covariates: Sequence[str], rows: ndarray
) -> tuple[list[str], Float64[ndarray, "n c"]]:
    """Return names and columns of X for some rows of the phenotype table, complete there.

    Raises:
        InputError: if a category is the same for all of them, or as `Formula.design`.
    """
    columns = {name: measurements.covariates[name][rows] for name in covariates}
    for name, column in columns.items():
        if column.dtype.kind == "U" and (column == column[0]).all():
            raise InputError(f"the covariate {name} is {str(column[0])!r} for everybody analysed: leave it out")
    if measurements.formula:
        ids = [measurements.ids[i] for i in rows]
        return measurements.formula.design(columns, ids, levels=measurements.levels)
    names: list[str] = [INTERCEPT] if measurements.intercept else []
    blocks: list[ndarray] = [np.ones((len(rows), len(names)))]
    for name, column in columns.items():
        text = column.dtype.kind == "U"
        coded, block = treatment_coding(name, column) if text else ([name], column[:, None])
        names += coded
        blocks.append(block)
    return names, np.column_stack(blocks)


def is_missing(column: ndarray) -> Bool[ndarray, " rows"]:
    """Return where a column of a covariate has no value."""
    return column == "" if column.dtype.kind == "U" else np.isnan(column)
