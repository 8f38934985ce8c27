"""The heritability of thousands of traits of a DataFrame: one column each, one row of results each."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.analyses.many_traits import many_heritabilities
from bayeslmm.analyses.principal_components import with_principal_components
from bayeslmm.base.checks import InputError, check_unique, examples
from bayeslmm.base.ids import known_places
from bayeslmm.cohort.align import align
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.formula import read_formula
from bayeslmm.cohort.measurements import Measurements, measure
from bayeslmm.cohort.tables import Table
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_text, dropped_of, with_tables
from bayeslmm.dataframes.tables import NAME, column_of, ids_of, levels_of
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import decompose

_TRAITS = Path("traits")
_ANY = "any trait"


@dataclass(frozen=True, repr=False)
class ManyFit:
    """The heritabilities of many traits, made by `fit_many`.

    Attributes:
        estimates: one row for each trait, columns as in `many_heritabilities`.
        cohort: the individuals, matched; in place of the traits it has one column that tells who has any of them.
        origin: which markers or animals K was computed from, or what its file was read as; empty if neither.
    """

    estimates: pd.DataFrame
    cohort: Cohort
    origin: str = ""

    def __repr__(self) -> str:
        table = self.estimates
        complete = int((table["n"] == len(self.cohort.ids)).sum())
        sentences = [
            f"{len(table):,} traits, {complete:,} of them without missing values",
            f"h2 by its posterior mean: median {table['h2_mean'].median():.3g}, middle half "
            f"{table['h2_mean'].quantile(0.25):.3g} to {table['h2_mean'].quantile(0.75):.3g}",
            f"h2 = 0 is rejected for {int((table['q'] < 0.05).sum()):,} traits at a false discovery rate of 5%",
        ]
        return as_text(sentences, self.cohort, self.origin)

    def _repr_html_(self) -> str:
        return with_tables(repr(self), {"": self.estimates})

    @property
    def dropped(self) -> pd.DataFrame:
        """Who was not analysed for any trait, and why: reason, count, examples."""
        return dropped_of(self.cohort)


def fit_many(
    traits: pd.DataFrame,
    *,
    kinship: KinshipLike,
    formula: str = "~ 1",
    data: pd.DataFrame | None = None,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    prior: VariancePrior | None = None,
    level: float = 0.95,
    seed: int = 1,
    pcs: int = 0,
    centre: bool = False,
    normalise: bool = False,
    bend: bool = False,
) -> ManyFit:
    """Estimate the heritability of each of many traits, all at once: REML, exact posterior, and exact test of h2 = 0.

    The numbers are those of `fit` for each trait; thousands take seconds. Values may be missing: for each trait the
    people who lack it are left out.

    Args:
        traits: one row for each individual, one column of numbers for each trait.
        kinship: as for `fit`.
        formula: of the covariates of all traits, ``~ sex + age``.
        data: the covariates, one row for each individual; individuals without one of those in the formula are dropped,
            and counted.
        id: the column of ids of both tables; by default they are the index.
        ids: of the rows of a kinship that is an array.
        prior: of h2 and sigma2_p, by default that of `fit`.
        level: of the intervals.
        seed: of the draws of the exact p-values.
        pcs: how many leading principal components of K to add to the covariates.
        centre: centre K on the individuals analysed.
        normalise: divide it by its mean diagonal.
        bend: set all its negative eigenvalues to 0.

    Raises:
        InputError: for what the user can fix in the tables, the formula or the kinship; traits that cannot be analysed
            are named.
    """
    K, _ = kinship_of(kinship, ids=ids)
    names, of_rows, Y = _traits_of(traits, id, K)
    people = _people(of_rows, Y, formula, data, id, K)
    (cohort,) = align(K, people, centred=centre, normalised=normalise)
    Y = Y[known_places(cohort.ids, of_rows, where="traits")]
    spectrum = decompose(cohort.K, where=cohort.source, bend=bend)
    cohort = with_principal_components(cohort, spectrum, pcs)
    estimates = many_heritabilities(spectrum, Y, cohort.X[0], names=names, prior=prior, level=level, seed=seed)
    return ManyFit(estimates, cohort, K.origin_line())


def _traits_of(
    traits: pd.DataFrame, id: str | None, kinship: Kinship
) -> tuple[tuple[str, ...], tuple[str, ...], Float64[ndarray, "rows t"]]:
    """Return names, ids of the rows, and values."""
    if not isinstance(traits, pd.DataFrame):
        raise InputError(f"{_TRAITS} must be a DataFrame, but is a {type(traits).__name__}")
    every = [str(name) for name in traits.columns]
    check_unique(every, where=_TRAITS, what="column name")
    rows = ids_of(traits, every, id, kinship, called=_TRAITS)
    values = traits.drop(columns=[name for name in traits.columns if str(name) == id])
    words = [str(name) for name, kind in values.dtypes.items() if not pd.api.types.is_numeric_dtype(kind)]
    if words:
        raise InputError(
            f"{_TRAITS}: each column must hold numbers, but {len(words)} hold something else ({examples(words)}): "
            "leave them out, or name the column of ids (id='...')"
        )
    if values.shape[1] == 0:
        raise InputError(f"{_TRAITS} has no column of a trait")
    return tuple(map(str, values.columns)), rows, values.to_numpy(float, na_value=np.nan)


def _people(
    of_rows: tuple[str, ...], Y: ndarray, formula: str, data: pd.DataFrame | None, id: str | None, kinship: Kinship
) -> Measurements:
    """Return the covariates of those who have any trait, with one trait that tells who they are."""
    # Of any values: `align` wants a trait that varies and that covariates do not explain.
    marker = np.where(np.isnan(Y).all(axis=1), np.nan, np.random.default_rng(0).standard_normal(len(Y)))
    table = Table(_TRAITS, of_rows, list(range(1, len(Y) + 1)), {_ANY: marker}, unit="row")
    if data is None:
        return measure(table, [_ANY], formula=formula)
    names = [str(name) for name in data.columns]
    check_unique(names, where=NAME, what="column name")
    read = read_formula(formula)
    series = {name: data.iloc[:, names.index(name)] for name in read.columns(names, where=NAME)}
    columns = {name: column_of(values) for name, values in series.items()}
    covariates = Table(NAME, ids_of(data, names, id, kinship), list(range(1, len(data) + 1)), columns, unit="row")
    text = [name for name, values in columns.items() if values.dtype.kind == "O"]
    people = measure(table, [_ANY], covariate_table=covariates, formula=formula, categorical=text)
    return replace(people, levels=levels_of(series))
