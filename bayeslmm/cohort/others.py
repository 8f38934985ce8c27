"""Covariates of individuals who are not analysed, coded as those of the ones who are."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.ids import Individuals, in_common, known_places, places
from bayeslmm.cohort.measurements import Measurements, is_missing


def covariates_of_others(
    measurements: Measurements, analysed: Sequence[str], kinship: Individuals, others: Individuals
) -> Float64[ndarray, "N c"]:
    """Return X of N individuals: NaN where a covariate is not known, or has a value that nobody analysed has as a code.

    Args:
        measurements: traits and covariates.
        analysed: ids of those analysed.
        kinship: everybody in the kinship.
        others: the individuals.

    Raises:
        InputError: as `Formula.design`, or `in_common`.
    """
    rows = rows_of(measurements, kinship)[known_places(analysed, kinship.ids, where="kinship")]
    at = rows_of(measurements, others)
    names = list(measurements.covariates)
    known = at >= 0
    if not names:
        known = np.ones(len(at), dtype=bool)
    else:
        known &= ~measurements.absent[at]
        for name in names:
            known &= ~is_missing(measurements.covariates[name][at])
    there = at[known]
    if measurements.formula:
        before, after = ({name: measurements.covariates[name][of] for name in names} for of in (rows, there))
        formula, levels = measurements.formula, measurements.levels
        of_known = formula.design_of_others(before, after, len(rows), len(there), levels=levels)
    else:
        of_known = _coded(measurements, names, rows, there)
    X = np.full((len(at), of_known.shape[1]), np.nan)
    X[known] = of_known
    return X


def _coded(measurements: Measurements, names: Sequence[str], rows: ndarray, there: ndarray) -> Float64[ndarray, "m c"]:
    """Return intercept, numbers, and indicators of the levels of those analysed but the first."""
    blocks = [np.ones((len(there), int(measurements.intercept)))]
    for name in names:
        column = measurements.covariates[name]
        values = column[there]
        if column.dtype.kind != "U":
            blocks.append(values[:, None])
            continue
        levels = np.unique(column[rows])
        block = (values[:, None] == levels[1:]).astype(float)
        block[~np.isin(values, levels)] = np.nan
        blocks.append(block)
    X = np.column_stack(blocks)
    X[np.isnan(X).any(axis=1)] = np.nan
    return X


def rows_of(measurements: Measurements, who: Individuals) -> Int64[ndarray, " n"]:
    """Return the row of each individual in the table of phenotypes, -1 for none."""
    ids, measured = in_common(who, measurements.individuals, where=("kinship", measurements.source))
    return places(ids, measured)
