"""How results read: a table of numbers, and a piece of HTML for notebooks with the interval first."""

from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd

from bayeslmm.analyses.table import Row
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.report.individuals import cohort_lines

_INTERVAL = "95% interval"


def summary_of(rows: Sequence[Row]) -> pd.DataFrame:
    """Return estimates of one method as a table of numbers, the interval first; without columns that hold nothing."""
    columns = ["trait", "parameter", "lower", "upper", "estimate", "se", "interval", "method", "ess_bulk", "r_hat"]
    table = pd.DataFrame([vars(row) for row in rows], columns=columns).dropna(axis="columns", how="all")
    return table.set_index(["trait", "parameter"])


def dropped_of(cohort: Cohort) -> pd.DataFrame:
    """Return who was not analysed, and why, as a table."""
    return pd.DataFrame([vars(drop) for drop in cohort.dropped], columns=["reason", "count", "examples"])


def as_text(sentences: Sequence[str], cohort: Cohort, origin: str) -> str:
    """Return an answer, who was analysed, and where K comes from if that is to be told, for a terminal."""
    return "\n".join([*sentences, *_told(cohort, origin)])


def as_html(sentences: Sequence[str], table: pd.DataFrame, cohort: Cohort, origin: str) -> str:
    """Return the same for a notebook, with a table of estimates as text."""
    first = [name for name in table.columns if str(name).startswith(_INTERVAL)]
    shown = table[[*first, *(name for name in table.columns if name not in first)]]
    lines = "".join(f"<div>{escape(line)}</div>" for line in sentences)
    who = "".join(f"<div>{escape(line)}</div>" for line in _told(cohort, origin))
    return f'<div class="bayeslmm">{lines}{shown.to_html(border=0)}<small>{who}</small></div>'


def with_tables(text: str, tables: Mapping[str, pd.DataFrame]) -> str:
    """Return a text and the first rows of tables for a notebook, each below its name if it has one."""
    lines = "".join(f"<div>{escape(line)}</div>" for line in text.splitlines())
    shown = "".join(
        (f"<div>{escape(name)}</div>" if name else "") + table.head(10).to_html(border=0)
        for name, table in tables.items()
    )
    return f'<div class="bayeslmm">{lines}{shown}</div>'


def _told(cohort: Cohort, origin: str) -> list[str]:
    return [*cohort_lines(cohort).splitlines(), *([origin] if origin else [])]
