"""What the command line says to a person."""

from typing import Any

import pandas as pd

from bayeslmm.cohort import Cohort
from bayeslmm.heritability import Heritability

_METHODS = {"reml": "REML (se)", "ml": "ML (se)", "exact": "exact (sd)", "nuts": "NUTS (sd)"}


def cohort_lines(cohort: Cohort) -> str:
    """Say who is analysed, and who is not."""
    lines = [
        f"{len(cohort.ids):,} people with {', '.join(cohort.traits)}, one decomposition of their kinship; "
        f"covariates: {', '.join(cohort.covariates) or 'none'}"
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    return "\n".join(lines)


def result_lines(result: Heritability) -> str:
    """Return a short table of one trait: a column for each method, and the answer in one sentence."""
    table = result.estimates[~result.estimates["parameter"].str.startswith("beta")]
    columns: dict[str, dict[str, str | float]] = {
        _METHODS[str(method)]: dict(zip(rows["parameter"], map(_cell, rows.itertuples()), strict=True))
        for method, rows in table.groupby("method", sort=False)
    }
    columns["95% interval"] = dict(zip(table["parameter"], map(_interval, table.itertuples()), strict=True))
    frame = pd.DataFrame(columns).reindex(["h2", "pve", "sigma2_u", "sigma2_e", "loglik"]).dropna(how="all").fillna("")
    lines = [frame.to_string(), _answer(result, table)]
    if result.diagnostics is not None:
        d = result.diagnostics
        sizes = f"bulk ESS {d.ess_bulk:,.0f}, tail ESS {d.ess_tail:,.0f}"
        lines.append(f"draws: R-hat {d.r_hat:.3f}, {sizes}, {d.divergences} divergences")
        lines += [f"DIAGNOSTICS FAILED: {failure}" for failure in d.failures]
    return "\n".join(lines)


def _cell(row: Any) -> str:
    spread = f" ({row.se:.4f})" if pd.notna(row.se) else " (boundary)" if row.note.startswith("boundary") else ""
    return f"{row.estimate:.4f}{spread}"


def _interval(row: Any) -> str | float:
    return f"{row.lower:.4f} to {row.upper:.4f}" if pd.notna(row.lower) else float("nan")


def _answer(result: Heritability, table: pd.DataFrame) -> str:
    row = table[table["parameter"] == "h2"].iloc[-1]
    kind = "with 95% probability" if row["interval"] == "eti95" else "with 95% confidence"
    interval = f"between {row['lower']:.3f} and {row['upper']:.3f}"
    return f"heritability of {result.trait}: {row['estimate']:.3f}, {kind} {interval}"
