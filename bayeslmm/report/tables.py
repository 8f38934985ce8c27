"""Estimates as text, a column for each method: what the command line and the report share."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.analyses.correlations import Correlations
from bayeslmm.analyses.heritability import Heritability
from bayeslmm.posterior.diagnostics import Diagnostics
from bayeslmm.report.page import Shown

OWN_SITES = "the first numbers of the program: their draws, with the intervals of other methods; traces and ranks"


def shown_effects(result: Heritability | Correlations) -> list[Shown]:
    """Return the table of fixed effects, if there are any."""
    table = effects_table(result)
    if table.empty:
        return []
    if result.estimates["trait"].nunique() == 1:
        table = table.droplevel("trait")
    return [Shown("fixed effects, in units of the trait for each unit of the covariate", table)]


LABELS: dict[str, str] = {
    "reml": "REML (se)",
    "ml": "ML (se)",
    "em": "EM (se)",
    "pxem": "PX-EM (se)",
    "mom": "moments (se)",
    "rhe": "randomised moments (se)",
    "lasso": "scaled lasso",
    "exact": "exact (sd)",
    "nuts": "NUTS (sd)",
}
_MOST_DECIMALS, _LARGEST = 9, 1e9
"""Beyond these, numbers are written with an exponent."""
BEST_FIRST = ("exact", "nuts", "reml", "ml", "pxem", "em", "mom", "rhe", "lasso")
"""Quadrature before draws, which are its check; with a program of the user's own, its draws before all others."""


def effects_table(result: Heritability | Correlations) -> pd.DataFrame:
    """Return the fixed effects as text, a column for each method that gives them, and the interval of the best one."""
    rows = result.estimates[result.estimates["parameter"].str.startswith("beta")]
    return (
        side_by_side(rows, row_keys(best_rows(rows, own=result.own)), own=result.own) if len(rows) else pd.DataFrame()
    )


def side_by_side(estimates: pd.DataFrame, order: list[tuple[str, str]], *, own: bool) -> pd.DataFrame:
    """Return a column for each method, and the interval of the best; rows are the traits and parameters in order.

    Args:
        estimates: rows of the table of estimates.
        order: traits and parameters.
        own: whether NUTS sampled another model than all other methods are of, whose columns then say so.
    """
    columns: dict[str, dict[tuple[str, str], str | float]] = {
        LABELS[str(method)] + ", usual model" * (own and method != "nuts"): dict(
            zip(row_keys(rows), map(_cell, rows.itertuples()), strict=True)
        )
        for method, rows in estimates.groupby("method", sort=False)
    }
    best = best_rows(estimates, own=own)
    of = label_of(str(best["method"].iloc[0]))
    columns[f"95% interval, {of}"] = dict(zip(row_keys(best), map(interval_cell, best.itertuples()), strict=True))
    index = pd.MultiIndex.from_tuples(order, names=["trait", "parameter"])
    return pd.DataFrame(columns).reindex(index).dropna(how="all").astype(object).fillna("")


def without_effects(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return the rows that are not of fixed effects."""
    return estimates[~estimates["parameter"].str.startswith("beta")]


def best_rows(estimates: pd.DataFrame, *, own: bool) -> pd.DataFrame:
    """Return the rows of the best method among them: of draws, if they are of a program of the user's own."""
    there = set(estimates["method"])
    first = ("nuts",) * own + BEST_FIRST
    return estimates[estimates["method"] == next(method for method in first if method in there)]


def row_keys(estimates: pd.DataFrame) -> list[tuple[str, str]]:
    """Return the rows of the best method among them: of draws, if they are of a user's own program."""
    return list(zip(estimates["trait"], estimates["parameter"], strict=True))


def diagnostics_lines(d: Diagnostics | None) -> list[str]:
    """Return how the draws fared, in lines."""
    """Return the trait and the parameter of each row."""
    if d is None:
        return []
    sizes = f"bulk ESS {d.ess_bulk:,.0f}, tail ESS {d.ess_tail:,.0f}"
    return [
        f"draws: R-hat {d.r_hat:.3f}, {sizes}, {d.divergences} divergent transitions",
        *([d.drawn_again] if d.drawn_again else []),
        *(f"DIAGNOSTICS FAILED: {failure}" for failure in d.failures),
    ]


def label_of(method: str) -> str:
    """Return what a method is called."""
    return LABELS[method].split(" (")[0]


def _cell(row: Any) -> str:
    """Write an estimate with its standard error, or with its interval where there is none; and if it is on a bound."""
    if pd.isna(row.estimate):
        return "-"
    written = _writer(row)
    said = ["boundary"] * row.note.startswith("boundary: ")
    if pd.notna(row.se):
        said.append(written(row.se))
    elif pd.notna(row.lower):
        said.append(f"{written(row.lower)} to {written(row.upper)}")
    return f"{written(row.estimate)}{f' ({", ".join(said)})' if said else ''}"


def interval_cell(row: Any) -> str | float:
    """Write an interval with as many digits as its spread has."""
    if pd.isna(row.lower):
        return float("nan")
    written = _writer(row)
    return f"{written(row.lower)} to {written(row.upper)}"


def _writer(row: Any) -> Callable[[float], str]:
    """Return how the numbers of a row are written: three digits of the spread, whatever the unit of the trait."""
    spread = row.se if pd.notna(row.se) else (row.upper - row.lower) / 4
    if np.isfinite(spread) and spread > 0:
        decimals = int(2 - np.floor(np.log10(spread)))
    else:  # four digits of the number
        decimals = max(4, int(3 - np.floor(np.log10(abs(row.estimate))))) if row.estimate else 4
    largest = np.nanmax(np.abs([row.estimate, row.se, row.lower, row.upper]))

    def write(value: float) -> str:
        if not (decimals > _MOST_DECIMALS or largest >= _LARGEST) or not np.isfinite(value):
            return f"{value:.{max(decimals, 0)}f}"
        digits = int(np.clip(np.floor(np.log10(abs(value))) + decimals, 0, _MOST_DECIMALS)) if value else 0
        return f"{value:.{digits}e}" if value else "0"

    return write


def range_cell(lower: float, upper: float, digits: int = 4) -> str:
    """Write an interval with a given number of digits; empty if there is none."""
    return f"{lower:.{digits}f} to {upper:.{digits}f}" if pd.notna(lower) else ""
