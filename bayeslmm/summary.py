"""What the command line says to a person."""

from collections.abc import Callable, Mapping
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd

from bayeslmm.cohort import Cohort
from bayeslmm.compare import Comparison
from bayeslmm.correlations import Correlations
from bayeslmm.diagnostics import MOST_OVERLAP, Diagnostics
from bayeslmm.heritability import Heritability
from bayeslmm.joint_cohort import JointCohort

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
COMPARED = "every method (differences of h2 in posterior standard deviations)"
_PARAMETERS = ("h2", "pve", "sigma2_u", "sigma2_e", "loglik")
_MOST_LINES = 30
_MOST_DECIMALS, _LARGEST = 9, 1e9
"""Beyond these, numbers are written with an exponent."""
CONVENTIONS = "the same fit as other programs print it"
_BEST_FIRST = ("exact", "nuts", "reml", "ml", "pxem", "em", "mom", "rhe", "lasso")
"""Quadrature before draws, which are its check; with a program of the user's own, its draws before all others."""
_LITTLE = 2 * MOST_OVERLAP
"""An area that posterior and prior share above which the prior is most of what is seen."""


def cohort_lines(cohort: Cohort) -> str:
    """Say who is analysed, and who is not."""
    lines = [
        f"{len(cohort.ids):,} individuals with {', '.join(cohort.traits)} (kinship decomposed once); "
        f"covariates: {', '.join(cohort.covariates) or 'none'}"
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    return "\n".join(lines)


def joint_cohort_lines(cohort: JointCohort) -> str:
    """Say who is analysed for several traits, who is not, and what is done about values that are missing."""
    counts = zip(cohort.traits, (~cohort.missing).sum(axis=0), strict=True)
    everything = int((~cohort.missing).all(axis=1).sum())
    lines = [
        f"{len(cohort.ids):,} individuals: {', '.join(f'{count:,} with {trait}' for trait, count in counts)}, "
        f"{everything:,} with {'both' if len(cohort.traits) == 2 else 'all'} (kinship decomposed once)"
    ]
    lines += [
        f"  covariates of {trait}: {', '.join(names) or 'none'}"
        for trait, names in zip(cohort.traits, cohort.covariates, strict=True)
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    if m := int(cohort.missing.sum()):
        c = sum(map(len, cohort.covariates))
        lines.append(
            f"  {m:,} missing values are integrated over exactly: REML takes each as a fixed effect of its own "
            f"({len(cohort.ids) * (c + m) ** 2 / 1e9:.2g} billion operations a likelihood), NUTS samples them beside "
            f"the parameters; --complete-only would drop {len(cohort.ids) - everything:,} individuals instead"
        )
    return "\n".join(lines)


def result_lines(result: Heritability) -> str:
    """Return a short table of one trait: a column for each method, and the answer of the best one in a sentence."""
    table = heritability_table(result)
    more = [f"... and {len(table) - _MOST_LINES} more, in estimates.tsv"] if len(table) > _MOST_LINES else []
    lines = [table[:_MOST_LINES].to_string(), *more, *heritability_notes(result), *heritability_answers(result)]
    return "\n".join([*lines, *_diagnostics(result.diagnostics)])


def heritability_table(result: Heritability) -> pd.DataFrame:
    """Return the estimates of one trait as text: a column for each method, and the interval of the best one."""
    rows = _without_effects(result.estimates)
    # A program of the user's own has what sites it likes.
    order = [(result.trait, parameter) for parameter in dict.fromkeys([*_PARAMETERS, *rows["parameter"]])]
    return _side_by_side(rows, order, own=result.own).droplevel("trait").rename_axis(None)


def effects_table(result: Heritability | Correlations) -> pd.DataFrame:
    """Return the fixed effects as text, a column for each method that gives them, and the interval of the best one."""
    rows = result.estimates[result.estimates["parameter"].str.startswith("beta")]
    return _side_by_side(rows, _keys(_best(rows, own=result.own)), own=result.own) if len(rows) else pd.DataFrame()


def _side_by_side(estimates: pd.DataFrame, order: list[tuple[str, str]], *, own: bool) -> pd.DataFrame:
    """Return a column for each method, and the interval of the best; rows are the traits and parameters in order.

    Args:
        estimates: rows of the table of estimates.
        order: traits and parameters.
        own: whether NUTS sampled another model than all other methods are of, whose columns then say so.
    """
    columns: dict[str, dict[tuple[str, str], str | float]] = {
        _METHODS[str(method)] + ", usual model" * (own and method != "nuts"): dict(
            zip(_keys(rows), map(_cell, rows.itertuples()), strict=True)
        )
        for method, rows in estimates.groupby("method", sort=False)
    }
    best = _best(estimates, own=own)
    of = _name(str(best["method"].iloc[0]))
    columns[f"95% interval, {of}"] = dict(zip(_keys(best), map(_interval, best.itertuples()), strict=True))
    index = pd.MultiIndex.from_tuples(order, names=["trait", "parameter"])
    return pd.DataFrame(columns).reindex(index).dropna(how="all").astype(object).fillna("")


def _without_effects(estimates: pd.DataFrame) -> pd.DataFrame:
    return estimates[~estimates["parameter"].str.startswith("beta")]


def _best(estimates: pd.DataFrame, *, own: bool) -> pd.DataFrame:
    """Return the rows of the best method among them: of draws, if they are of a program of the user's own."""
    there = set(estimates["method"])
    first = ("nuts",) * own + _BEST_FIRST
    return estimates[estimates["method"] == next(method for method in first if method in there)]


def _keys(estimates: pd.DataFrame) -> list[tuple[str, str]]:
    return list(zip(estimates["trait"], estimates["parameter"], strict=True))


def correlation_lines(result: Correlations) -> str:
    """Return a table of several traits: a column for each method; and what is known of each pair, in sentences."""
    table = correlation_table(result).rename_axis([None, None])
    lines = [table.to_string(), *correlation_notes(result), *correlation_answers(result)]
    lines.append("took: " + ", ".join(f"{_name(method)} {spent:.1f} s" for method, spent in result.seconds.items()))
    return "\n".join([*lines, *_diagnostics(result.diagnostics)])


def correlation_table(result: Correlations) -> pd.DataFrame:
    """Return the estimates of traits and pairs as text: a column for each method, and the interval of the best one."""
    rows = _without_effects(result.estimates)
    order = list(dict.fromkeys(_keys(_best(rows, own=result.own)) + _keys(rows)))
    return _side_by_side(rows, order, own=result.own)


def correlation_answers(result: Correlations) -> list[str]:
    """Return what is known of each pair, in sentences: by another method if the user's own program has no rho_u."""
    lines: list[str] = []
    for pair in result.pairs.to_dict("records"):
        of_pair = result.estimates[result.estimates["trait"] == pair["pair"]]
        rows = of_pair[of_pair["parameter"] == "rho_u"]
        if rows.empty:
            lines.append(
                f'the program has no site called "rho_u"; add one to report a genetic correlation of {_of_pair(pair)}'
            )
        else:
            rho_u = _best(rows, own=result.own).iloc[0]
            lacking = result.posterior is not None and rho_u["method"] != "nuts"
            lines += _about_pair(pair, rho_u, f" by {_name(rho_u['method'])}" if lacking else "")
    return lines


def correlation_notes(result: Correlations) -> list[str]:
    """Return what the notes say, each once, with the rows that have it unless all of the method do."""
    table = _without_effects(result.estimates)
    # What draws say about rho_u is told beside it.
    noted = table[(table["note"] != "") & ~((table["method"] == "nuts") & (table["parameter"] == "rho_u"))]
    parts = noted.assign(note=noted["note"].str.split("; ")).explode("note")
    lines: list[str] = []
    for (method, note), rows in parts.groupby(["method", "note"], sort=False):
        method = str(method)
        names = ", ".join(f"{row.parameter} of {row.trait}" for row in rows.itertuples())
        of_all = len(rows) == (table["method"] == method).sum()
        lines.append(f"  {_name(method)}{'' if of_all else f' ({names})'}: {note}")
    return lines


def _of_pair(pair: Mapping[Any, Any]) -> str:
    return pair["pair"].replace(":", " and ")


def _about_pair(pair: Mapping[Any, Any], rho_u: pd.Series, by: str) -> list[str]:
    kind = "probability" if rho_u["interval"] == "eti95" else "confidence"
    interval = (
        f", with 95% {kind} between {rho_u['lower']:.3f} and {rho_u['upper']:.3f}" if pd.notna(rho_u["lower"]) else ""
    )
    estimate = f"{rho_u['estimate']:.3f}{interval}" if pd.notna(rho_u["estimate"]) else "not estimated"
    lines = [f"genetic correlation of {_of_pair(pair)}{by}: {estimate}"]
    if "identified" in pair:
        lines.append(f"  {rho_u['note']}")
    if pair.get("note"):
        lines.append(f"  {pair['note']}")
    elif "ratio_zero" in pair:
        lines.append(
            f"  likelihood ratio of rho_u = 0: {pair['ratio_zero']:.3f} (p = {pair['p_zero']:.2g}, chi2); of |rho_u| = "
            f"1: {pair['ratio_one']:.3f} (p = {pair['p_one']:.2g}, half chi2); {pair['both']:,} individuals have both"
        )
    return lines


def _diagnostics(d: Diagnostics | None) -> list[str]:
    if d is None:
        return []
    sizes = f"bulk ESS {d.ess_bulk:,.0f}, tail ESS {d.ess_tail:,.0f}"
    return [
        f"draws: R-hat {d.r_hat:.3f}, {sizes}, {d.divergences} divergent transitions",
        *([d.drawn_again] if d.drawn_again else []),
        *(f"DIAGNOSTICS FAILED: {failure}" for failure in d.failures),
    ]


def heritability_notes(result: Heritability) -> list[str]:
    """Return what the notes say about h2, by method: boundaries, ends that were not reached, impossible values."""
    table = result.estimates
    rows = table[(table["parameter"] == "h2") & (table["note"] != "")].to_dict("records")
    return [f"  {_name(row['method'])}: {row['note']}" for row in rows]


def _name(method: str) -> str:
    return _METHODS[method].split(" (")[0]


def comparison_lines(found: Comparison) -> str:
    """Return the methods in a table with their differences, what disagrees, the boundary, and other programs."""
    lines = [
        f"{found.result.trait}: {COMPARED}",
        _plain(comparison_table(found), "{:.4f}"),
        *comparison_answers(found),
        CONVENTIONS + ":",
        _plain(conventions_table(found), "{:.5g}"),
    ]
    return "\n".join(lines)


def comparison_table(found: Comparison) -> pd.DataFrame:
    """Return the methods with what each is held against."""
    return found.table.assign(
        interval=[_range(*ends) for ends in found.table[["lower", "upper"]].to_numpy(dtype=float)],
        difference=found.table["difference"].map("{:+.2g}".format).where(found.table["against"] != "", ""),
        allowed=found.table["allowed"].map("{:.2g}".format).where(found.table["agrees"] != "-", ""),
    )[["method", "h2", "se", "interval", "against", "difference", "allowed", "agrees", "why"]]


def conventions_table(found: Comparison) -> pd.DataFrame:
    """Return the fit as other programs print it."""
    table = found.conventions.drop(columns="trait").rename(columns={"name": "which is"})
    return table.assign(loglik=table["loglik"].map("{:.3f}".format))


def comparison_answers(found: Comparison) -> list[str]:
    """Return the heritability by the best method, what disagrees, and what is known of the boundary, in sentences."""
    answer, *more = heritability_answers(found.result)
    return [answer, *(line.strip() for line in more), *(said for _, said in verdicts(found)), *_boundary(found)]


def verdicts(found: Comparison) -> list[tuple[bool, str]]:
    """Return how many comparisons could be judged and how many agree; what disagrees, and what could not be judged.

    Returns:
        Sentences, each with whether it is good news.
    """
    table = found.table[found.table["against"] != ""]
    counts = table["agrees"].value_counts().reindex(["yes", "no", "-"], fill_value=0)
    judged, failed = counts["yes"] + counts["no"], found.not_converged
    agree = "all of them agree" if counts["no"] == 0 else f"{counts['yes']} agree"
    lines = [
        (
            bool(counts["no"] == 0 and not failed),
            f"{judged} of {len(table)} comparisons could be judged: {agree} as far as theory says that they should",
        )
    ]
    for row in table.to_dict("records"):
        about = f"{row['method']} and {row['against']}: {row['why']}"
        if row["agrees"] == "no":
            lines.append((False, f"DISAGREES: {about}"))
        elif row["method"] in failed:
            lines.append((False, f"NOT CONVERGED, so that nothing is said of it: {about}"))
        elif row["agrees"] == "-":
            lines.append((True, f"not judged: {about}"))
    return lines


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


def _interval(row: Any) -> str | float:
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


def _range(lower: float, upper: float, digits: int = 4) -> str:
    return f"{lower:.{digits}f} to {upper:.{digits}f}" if pd.notna(lower) else ""


def heritability_answers(result: Heritability) -> list[str]:
    """Return the heritability by the best method, with its interval, in a sentence; then what to know about it."""
    best = _best(result.estimates, own=result.own)
    rows = best[best["parameter"] == "h2"]
    if rows.empty:
        return [f'the program has no site called "h2"; add one to report a heritability of {result.trait}']
    row = rows.iloc[0]
    name = _name(row["method"])
    if pd.isna(row["lower"]):
        return [f"no interval for the heritability of {result.trait} ({row['note']}): ask for another method"]
    of_posterior = row["interval"] == "eti95"
    what = f"posterior mean, {name}{' of your own model' * result.own}" if of_posterior else f"{name} estimate"
    kind = "with 95% probability" if of_posterior else "with 95% confidence"
    interval = f"between {row['lower']:.3f} and {row['upper']:.3f}"
    return [
        f"heritability of {result.trait}: {row['estimate']:.3f} ({what}), {kind} {interval}",
        *_checked_by_draws(result),
        *(f"  {about}" for about in about_prior(result)),
    ]


def _checked_by_draws(result: Heritability) -> list[str]:
    """Return what NUTS, which is the check of the quadrature, has for the same posterior."""
    if result.exact is None or result.posterior is None or result.own:
        return []
    draws = result.posterior["posterior"]["h2"].to_numpy()[..., 0]
    error = float(arviz_stats.mcse(draws))
    return [f"  NUTS, its check: posterior mean {draws.mean():.3f} (Monte Carlo error {error:.2g})"]


def about_prior(result: Heritability) -> list[str]:
    """Return, where much of the posterior of h2 is its prior, how much: the usual model's."""
    overlap = result.prior_overlap
    if overlap is None or overlap <= MOST_OVERLAP or result.own:
        return []
    verdict = (
        "the data say LITTLE about h2, most of what is seen is the prior"
        if overlap > _LITTLE
        else "the prior influences this estimate"
    )
    return [f"posterior and prior of h2 share {overlap:.0%}: {verdict}"]
