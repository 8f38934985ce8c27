"""Estimates as text, a column for each method: what the command line and the report share."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
import pandas as pd

from bayeslmm.analyses.component_correlations import ComponentCorrelations
from bayeslmm.analyses.correlations import Correlations
from bayeslmm.analyses.heritability import METHODS, Heritability
from bayeslmm.analyses.table import Row
from bayeslmm.analyses.variance_components import COMPONENT_METHODS, VarianceComponents
from bayeslmm.base.numbers import decimals_of, fixed, significant
from bayeslmm.estimators.liability import Liability
from bayeslmm.posterior.diagnostics import Diagnostics
from bayeslmm.posterior.weighted import MAX_PARETO_K, Weighted
from bayeslmm.report.page import Headline, Shown

_METHODS = {**COMPONENT_METHODS, **METHODS}
Key = tuple[str, str]
"""Trait and parameter."""


def shown_effects(result: Heritability | Correlations | VarianceComponents | ComponentCorrelations) -> list[Shown]:
    """Return the table of fixed effects, if there are any: a column for each method, and the interval of the best."""
    rows = [row for row in result.rows if row.is_effect]
    if not rows:
        return []
    table = side_by_side(rows, keys(best_rows(rows, own=result.own)), own=result.own)
    if len({row.trait for row in result.rows}) == 1:
        table = table.droplevel("trait")
    return [Shown("fixed effects, in units of the trait for each unit of the covariate", table)]


def without_effects(rows: Iterable[Row]) -> list[Row]:
    """Return the rows that are not of fixed effects."""
    return [row for row in rows if not row.is_effect]


def side_by_side(rows: Sequence[Row], order: Sequence[Key], *, own: bool) -> pd.DataFrame:
    """Return a column for each method, and the interval of the best; rows are the traits and parameters in order.

    Args:
        rows: of the table of estimates.
        order: traits and parameters.
        own: whether NUTS sampled the user's program; the columns of all other methods then say "usual model".
    """
    columns: dict[str, dict[Key, str | float]] = {}
    for row in rows:
        columns.setdefault(_heading(row.method, own=own), {})[_key(row)] = _cell(row)
    best = best_rows(rows, own=own)
    columns[f"95% interval, {label_of(best[0].method)}"] = {_key(row): interval_cell(row) for row in best}
    index = pd.MultiIndex.from_tuples(order, names=["trait", "parameter"])
    return pd.DataFrame(columns).reindex(index).dropna(how="all").astype(object).fillna("")


def _heading(method: str, *, own: bool) -> str:
    spread = _METHODS[method].spread
    usual = ", usual model" if own and method != "nuts" else ""
    return f"{label_of(method)}{f' ({spread})' if spread else ''}{usual}"


def label_of(method: str) -> str:
    """Return what a method is called."""
    return _METHODS[method].label


def best_rows(rows: Sequence[Row], *, own: bool) -> list[Row]:
    """Return the rows of the best method among them: NUTS, if it sampled the user's program."""
    methods = {row.method for row in rows}
    best = "nuts" if own and "nuts" in methods else min(methods, key=lambda name: _METHODS[name].rank)
    return [row for row in rows if row.method == best]


def keys(rows: Iterable[Row]) -> list[Key]:
    """Return the trait and the parameter of each row."""
    return [_key(row) for row in rows]


def _key(row: Row) -> Key:
    return row.trait, row.parameter


def interval_words(row: Row) -> str:
    """Return ", with 95% probability between a and b", or confidence; nothing if there is no interval."""
    if np.isnan(row.lower):
        return ""
    kind = "probability" if row.interval == "eti95" else "confidence"
    lower, upper = in_words(row, row.lower), in_words(row, row.upper)
    return f", with 95% {kind} between {lower} and {upper}"


def in_words(row: Row, value: float) -> str:
    """Write a number of a row for a sentence: with three decimals, or more if its interval is narrow."""
    width = row.upper - row.lower
    return fixed(value, max(3, decimals_of(width, 2)) if width > 0 else 3)


def headline(row: Row, of: str, what: str, *, least: float = 0.0) -> Headline:
    """Return an estimate as the answer of a page.

    Args:
        row: the estimate.
        of: what it is about.
        what: the quantity.
        least: lower end of its range, which ends at 1.
    """
    if np.isnan(row.estimate):
        return Headline(of, what, "not estimated")
    value = in_words(row, row.estimate)
    if np.isnan(row.lower):
        return Headline(of, what, value)
    interval = f"{in_words(row, row.lower)} to {in_words(row, row.upper)}"
    at, lower, upper = ((number - least) / (1 - least) for number in (row.estimate, row.lower, row.upper))
    return Headline(of, what, value, interval, bar=(at, lower, upper, f"{least:g}", "1"))


def factor_words(trait: str, liability: Liability) -> str:
    """Say how the h2 of a trait of two values becomes that of its liability."""
    return (
        f"{liability.cases:,} of {liability.n:,} are cases ({trait} = {liability.case:g}), "
        f"{significant(100 * liability.share, 3)}%, and {significant(100 * liability.prevalence, 3)}% of the "
        f"population: factor {liability.factor:.4g} of the h2 of the two values"
    )


def weights_words(weighted: Weighted) -> str:
    """Say how importance sampling fared."""
    return (
        f"importance sampling: {weighted.ess:,.0f} effective of {len(weighted.weights):,} independent draws, Pareto k "
        f"{weighted.pareto_k:.2f} (at most {MAX_PARETO_K})"
    )


def diagnostics_lines(diagnostics: Diagnostics | None) -> list[str]:
    """Return how the draws fared, in lines."""
    if diagnostics is None:
        return []
    sizes = f"bulk ESS {diagnostics.ess_bulk:,.0f}, tail ESS {diagnostics.ess_tail:,.0f}"
    return [
        f"draws: R-hat {diagnostics.r_hat:.3f}, {sizes}, {diagnostics.divergences} divergent transitions",
        *([diagnostics.drawn_again] if diagnostics.drawn_again else []),
        *(f"DIAGNOSTICS FAILED: {failure}" for failure in diagnostics.failures),
    ]


def _cell(row: Row) -> str:
    """Write an estimate with its standard error, or with its interval where there is none; and if it is on a bound."""
    if np.isnan(row.estimate):
        return "-"
    write = _writer(row)
    beside = ["boundary"] * row.on_boundary
    if not np.isnan(row.se):
        beside.append(write(row.se))
    elif not np.isnan(row.lower):
        beside.append(f"{write(row.lower)} to {write(row.upper)}")
    return f"{write(row.estimate)}{f' ({", ".join(beside)})' if beside else ''}"


def interval_cell(row: Row) -> str | float:
    """Write an interval with as many digits as its spread has."""
    if np.isnan(row.lower):
        return float("nan")
    write = _writer(row)
    return f"{write(row.lower)} to {write(row.upper)}"


def _writer(row: Row) -> Callable[[float], str]:
    """Return how the numbers of a row are written: three digits of the spread, whatever the unit of the trait."""
    spread = (row.upper - row.lower) / 4 if np.isnan(row.se) else row.se
    if np.isfinite(spread) and spread > 0:
        decimals = decimals_of(spread)
    else:  # four digits of the number
        decimals = max(4, decimals_of(abs(row.estimate), 4)) if row.estimate else 4
    largest = float(np.nanmax(np.abs([row.estimate, row.se, row.lower, row.upper])))
    return partial(fixed, decimals=decimals, largest=largest)


def range_cell(lower: float, upper: float, digits: int = 4) -> str:
    """Write an interval with a given number of digits; empty if there is none."""
    return f"{lower:.{digits}f} to {upper:.{digits}f}" if pd.notna(lower) else ""
