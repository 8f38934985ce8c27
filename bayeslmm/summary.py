"""What the command line says to a person."""

from typing import Any

import pandas as pd

from bayeslmm.cohort import Cohort
from bayeslmm.compare import Comparison
from bayeslmm.heritability import Heritability

_METHODS: dict[str, str] = {
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
_BEST_FIRST = ("nuts", "exact", "reml", "ml", "pxem", "em", "mom", "rhe", "lasso")


def cohort_lines(cohort: Cohort) -> str:
    """Say who is analysed, and who is not."""
    lines = [
        f"{len(cohort.ids):,} people with {', '.join(cohort.traits)}, one decomposition of their kinship; "
        f"covariates: {', '.join(cohort.covariates) or 'none'}"
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    return "\n".join(lines)


def result_lines(result: Heritability) -> str:
    """Return a short table of one trait: a column for each method, and the answer of the best one in a sentence."""
    table = result.estimates[~result.estimates["parameter"].str.startswith("beta")]
    best = table[table["method"] == next(method for method in _BEST_FIRST if method in result.fits)]
    columns: dict[str, dict[str, str | float]] = {
        _METHODS[str(method)]: dict(zip(rows["parameter"], map(_cell, rows.itertuples()), strict=True))
        for method, rows in table.groupby("method", sort=False)
    }
    columns["95% interval"] = dict(zip(best["parameter"], map(_interval, best.itertuples()), strict=True))
    frame = pd.DataFrame(columns).reindex(["h2", "pve", "sigma2_u", "sigma2_e", "loglik"]).dropna(how="all").fillna("")
    lines = [frame.to_string(), *_notes(table), _answer(result, best)]
    if result.diagnostics is not None:
        d = result.diagnostics
        sizes = f"bulk ESS {d.ess_bulk:,.0f}, tail ESS {d.ess_tail:,.0f}"
        lines.append(f"draws: R-hat {d.r_hat:.3f}, {sizes}, {d.divergences} divergences")
        lines += [f"DIAGNOSTICS FAILED: {failure}" for failure in d.failures]
    return "\n".join(lines)


def _notes(table: pd.DataFrame) -> list[str]:
    """What the notes say about h2, method by method: boundaries, ends that were not reached, impossible values."""
    rows = table[(table["parameter"] == "h2") & (table["note"] != "")].to_dict("records")
    return [f"  {_METHODS[row['method']].split(' (')[0]}: {row['note']}" for row in rows]


def comparison_lines(found: Comparison) -> str:
    """Return the methods in a table with their differences, what disagrees, the boundary, and other programs."""
    table = found.table.assign(
        interval=[_range(*ends) for ends in found.table[["lower", "upper"]].to_numpy(dtype=float)],
        difference=found.table["difference"].map("{:+.2g}".format).where(found.table["against"] != "", ""),
        allowed=found.table["allowed"].map("{:.2g}".format).where(found.table["agrees"] != "-", ""),
    )[["method", "h2", "se", "interval", "against", "difference", "allowed", "agrees", "why"]]
    programs = found.conventions.drop(columns="trait").rename(columns={"name": "which is"})
    lines = [
        f"{found.result.trait}: every method (differences of h2 in posterior standard deviations)",
        _plain(table, "{:.4f}"),
        *_verdict(found),
        *_boundary(found),
        "the same fit as other programs print it:",
        _plain(programs, "{:.5g}", loglik="{:.3f}".format),
    ]
    return "\n".join(lines)


def _verdict(found: Comparison) -> list[str]:
    rows = found.table[found.table["agrees"] == "no"].to_dict("records")
    return [f"DISAGREES: {row['method']} and {row['against']}: {row['why']}" for row in rows] or [
        "all methods agree as far as theory says that they should"
    ]


def _boundary(found: Comparison) -> list[str]:
    (row,) = found.boundary.to_dict("records")
    evidence, factor = ("for", 1) if row["log10_bayes_factor"] > 0 else ("against", -1)
    return [
        f"h2 = 0: restricted likelihood ratio {row['rlrt']:.3f}, exact p = {row['p_exact']:.2g} (Monte Carlo error "
        f"{row['p_exact_error']:.1g}), 50:50 mixture p = {row['p_mixture']:.2g}, whose true size at 0.05 is "
        f"{row['mixture_size_at_0.05']:.3f} here; Bayes factor {evidence} h2 > 0: "
        f"10^{factor * row['log10_bayes_factor']:.2f}",
        "95% intervals of h2: "
        + ", ".join(
            f"{name} {_range(row[f'{key}_lower'], row[f'{key}_upper'])}"
            for key, name in (("posterior", "posterior"), ("inversion", "test inversion"), ("profile", "profile"))
        ),
    ]


def _plain(table: pd.DataFrame, number: str, **formatters: Any) -> str:
    # pandas aligns text to the right: words are padded first.
    for name in map(str, table.select_dtypes(exclude="number").columns):
        table = table.assign(**{name: table[name].str.ljust(int(table[name].str.len().max()))})
    return table.to_string(index=False, na_rep="", justify="left", float_format=number.format, formatters=formatters)


def _cell(row: Any) -> str:
    spread = (
        f" ({row.se:.4f})"
        if pd.notna(row.se)
        else " (boundary)"
        if "boundary: " in row.note and row.parameter != "loglik"
        else ""
    )
    return f"{row.estimate:.4f}{spread}"


def _interval(row: Any) -> str | float:
    return _range(row.lower, row.upper) if pd.notna(row.lower) else float("nan")


def _range(lower: float, upper: float) -> str:
    return f"{lower:.4f} to {upper:.4f}" if pd.notna(lower) else ""


def _answer(result: Heritability, best: pd.DataFrame) -> str:
    row = best[best["parameter"] == "h2"].iloc[0]
    if pd.isna(row["lower"]):
        return f"no interval for the heritability of {result.trait} ({row['note']}): ask for another method"
    kind = "with 95% probability" if row["interval"] == "eti95" else "with 95% confidence"
    interval = f"between {row['lower']:.3f} and {row['upper']:.3f}"
    return f"heritability of {result.trait}: {row['estimate']:.3f}, {kind} {interval}"
