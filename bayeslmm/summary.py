"""What the command line says to a person."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from bayeslmm.cohort import Cohort
from bayeslmm.compare import Comparison
from bayeslmm.correlations import Correlations
from bayeslmm.diagnostics import Diagnostics
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
_PARAMETERS = ("h2", "pve", "sigma2_u", "sigma2_e", "loglik")
_MOST_LINES = 30
_BEST_FIRST = ("nuts", "exact", "reml", "ml", "pxem", "em", "mom", "rhe", "lasso")


def cohort_lines(cohort: Cohort) -> str:
    """Say who is analysed, and who is not."""
    lines = [
        f"{len(cohort.ids):,} people with {', '.join(cohort.traits)}, one decomposition of their kinship; "
        f"covariates: {', '.join(cohort.covariates) or 'none'}"
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    return "\n".join(lines)


def joint_cohort_lines(cohort: JointCohort) -> str:
    """Say who is analysed for several traits, who is not, and what is done about values that are missing."""
    counts = zip(cohort.traits, (~cohort.missing).sum(axis=0), strict=True)
    everything = int((~cohort.missing).all(axis=1).sum())
    lines = [
        f"{len(cohort.ids):,} people: {', '.join(f'{count:,} with {trait}' for trait, count in counts)}, "
        f"{everything:,} with {'both' if len(cohort.traits) == 2 else 'all'}; one decomposition of their kinship"
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
            f"the parameters; --complete-only would drop {len(cohort.ids) - everything:,} people instead"
        )
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
    # A program of the user's own has what sites it likes.
    rows = list(dict.fromkeys([*_PARAMETERS, *table["parameter"]]))
    frame = pd.DataFrame(columns).reindex(rows).dropna(how="all").fillna("")
    more = [f"... and {len(frame) - _MOST_LINES} more, in estimates.tsv"] if len(frame) > _MOST_LINES else []
    lines = [frame[:_MOST_LINES].to_string(), *more, *_notes(table), _answer(result, best)]
    return "\n".join([*lines, *_diagnostics(result.diagnostics)])


def correlation_lines(result: Correlations) -> str:
    """Return a table of several traits: a column for each method; and what is known of each pair, in sentences."""
    table = result.estimates[~result.estimates["parameter"].str.startswith("beta")]
    best = table[table["method"] == next(method for method in _BEST_FIRST if method in result.fits)]
    shown = pd.concat([best, table]).drop_duplicates(["trait", "parameter"])
    keys = list(zip(shown["trait"], shown["parameter"], strict=True))
    columns: dict[str, dict[tuple[str, str], str | float]] = {
        _METHODS[str(method)]: dict(
            zip(zip(rows["trait"], rows["parameter"], strict=True), map(_cell, rows.itertuples()), strict=True)
        )
        for method, rows in table.groupby("method", sort=False)
    }
    columns["95% interval"] = dict(zip(keys[: len(best)], map(_interval, best.itertuples()), strict=True))
    frame = pd.DataFrame(columns).reindex(pd.MultiIndex.from_tuples(keys)).fillna("")
    lines = [frame.to_string(), *_joint_notes(table)]
    for pair in result.pairs.to_dict("records"):
        rho_u = shown[(shown["trait"] == pair["pair"]) & (shown["parameter"] == "rho_u")]
        lines += _about_pair(pair, rho_u.iloc[0]) if len(rho_u) else []
    lines.append("took: " + ", ".join(f"{_name(method)} {spent:.1f} s" for method, spent in result.seconds.items()))
    return "\n".join([*lines, *_diagnostics(result.diagnostics)])


def _joint_notes(table: pd.DataFrame) -> list[str]:
    """What the notes say, each once, with the rows that have it unless all of the method do."""
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


def _about_pair(pair: Mapping[Any, Any], rho_u: pd.Series) -> list[str]:
    kind = "probability" if rho_u["interval"] == "eti95" else "confidence"
    interval = (
        f", with 95% {kind} between {rho_u['lower']:.3f} and {rho_u['upper']:.3f}" if pd.notna(rho_u["lower"]) else ""
    )
    lines = [f"genetic correlation of {pair['pair'].replace(':', ' and ')}: {rho_u['estimate']:.3f}{interval}"]
    if "identified" in pair:
        lines.append(f"  {rho_u['note']}")
    if "ratio_zero" in pair:
        lines.append(
            f"  likelihood ratio of rho_u = 0: {pair['ratio_zero']:.3f} (p = {pair['p_zero']:.2g}, chi2); of |rho_u| = "
            f"1: {pair['ratio_one']:.3f} (p = {pair['p_one']:.2g}, half chi2); {pair['both']:,} people have both traits"
        )
    return lines


def _diagnostics(d: Diagnostics | None) -> list[str]:
    if d is None:
        return []
    sizes = f"bulk ESS {d.ess_bulk:,.0f}, tail ESS {d.ess_tail:,.0f}"
    return [
        f"draws: R-hat {d.r_hat:.3f}, {sizes}, {d.divergences} divergences",
        *(f"DIAGNOSTICS FAILED: {failure}" for failure in d.failures),
    ]


def _notes(table: pd.DataFrame) -> list[str]:
    """What the notes say about h2, method by method: boundaries, ends that were not reached, impossible values."""
    rows = table[(table["parameter"] == "h2") & (table["note"] != "")].to_dict("records")
    return [f"  {_name(row['method'])}: {row['note']}" for row in rows]


def _name(method: str) -> str:
    return _METHODS[method].split(" (")[0]


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
    rows = best[best["parameter"] == "h2"]
    if rows.empty:
        return f"the heritability of {result.trait} is not among the sites of the program: name one h2 to see it here"
    row = rows.iloc[0]
    if pd.isna(row["lower"]):
        return f"no interval for the heritability of {result.trait} ({row['note']}): ask for another method"
    kind = "with 95% probability" if row["interval"] == "eti95" else "with 95% confidence"
    interval = f"between {row['lower']:.3f} and {row['upper']:.3f}"
    return f"heritability of {result.trait}: {row['estimate']:.3f}, {kind} {interval}"


def scan_lines(
    numbers: Mapping[str, Mapping[str, Any]], top: pd.DataFrame, effects: pd.DataFrame, epistasis: pd.DataFrame
) -> str:
    """Say what was tested for each trait and what came out first."""
    lines = []
    for trait, of in numbers.items():
        counts = of["markers"]
        lines.append(
            f"{trait}: {of['tested']:,} of {counts['read']:,} markers tested; not tested: {counts['monomorphic']:,} "
            f"monomorphic, {counts['below_maf']:,} rare, {counts['above_missing']:,} with too many missing, "
            f"{of['undetermined']:,} that the covariates determine or that leave nothing of the trait"
        )
        if not of["tested"]:
            continue
        first = top[top["trait"] == trait].iloc[0]
        lines += [
            f"  lambda_GC {of['lambda_gc']:.3f}; {of['below_bonferroni']:,} markers below 0.05 / {of['tested']:,}",
            f"  first: {first['snp']} (chromosome {first['chrom']}, {first['pos']:,}), effect of {first['a1']} "
            f"{first['beta']:.4g} (se {first['se']:.2g}), p = {first['p_wald']:.3g}, log10 BF {first['log10_bf']:.1f}",
        ]
        if len(epistasis):
            own = epistasis[epistasis["trait"] == trait]
            lines.append(
                f"  {own['p_lrt'].notna().sum():,} of {len(own):,} pairs tested; the others have a marker that is not "
                "tested, or a product that both markers and the covariates determine"
            )
    for _, row in effects.iterrows():
        lines.append(
            f"posterior of {row['snp']} on {row['trait']}: {row['mean']:.4g} (sd {row['sd']:.2g}), with 95% "
            f"probability between {row['lower']:.4g} and {row['upper']:.4g}; P(> 0) = {row['p_positive']:.4g}"
        )
    return "\n".join(lines)
