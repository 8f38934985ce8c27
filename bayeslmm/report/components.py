"""Several components of variance, as the command line prints them and as the report shows them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpyro.distributions as dist
import pandas as pd

from bayeslmm.analyses.liability_rows import SOURCE
from bayeslmm.analyses.table import Row, select
from bayeslmm.analyses.variance_components import COMPONENT_METHODS, VarianceComponents
from bayeslmm.base.numbers import significant
from bayeslmm.cohort.align_records import AlignedRecords
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Check, prior_overlap
from bayeslmm.report.checks import check, check_of_weights, checks_of_draws, checks_of_estimates, checks_of_methods
from bayeslmm.report.individuals import record_lines
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import picture_names, write_pictures
from bayeslmm.report.plots.components import NAMES, components_panels, equal_draws, trade_offs
from bayeslmm.report.reading import COMPONENTS, INTERVALS, WHOM
from bayeslmm.report.tables import (
    best_rows,
    diagnostics_lines,
    factor_words,
    headline,
    in_words,
    interval_words,
    label_of,
    shown_effects,
    side_by_side,
    weights_words,
    without_effects,
)

_LITTLE = 2 * MOST_OVERLAP
"""An area that posterior and prior of a share have in common, above which the data have said little about it."""
_WORDS = {"h2_liability": "heritability of the liability", "h2": "heritability", "repeatability": "repeatability"}


def component_files(trait: str) -> list[str]:
    """Return the files of the pictures of a trait."""
    return picture_names(trait, NAMES)


def components_part(result: VarianceComponents, aligned: AlignedRecords, folder: Path | None) -> Part:
    """Draw the pictures of one trait into a folder, if there is one; return what is said about the trait."""
    trait, best = result.trait, _answers(result)
    panels = components_panels(result, best) if folder else []
    return Part(
        name=trait,
        individuals=record_lines(aligned),
        headlines=_headlines(result),
        sentences=components_answers(result),
        pictures=write_pictures(panels, folder, trait, of=trait) if folder else [],
        tables=[
            Shown("by each method; all digits in estimates.tsv", _table(result).rename_axis("parameter")),
            Shown("each component; all digits in components.tsv", _tests(result).rename_axis("component")),
            *shown_effects(result),
        ],
        notes=_notes(result),
        checks=components_checks(result),
        sources=[
            *(source for method in result.fits for source in COMPONENT_METHODS[method].sources),
            *([SOURCE] if result.liability else []),
        ],
        sampled=result.posterior is not None,
    )


def components_report(parts: Sequence[Part]) -> Report:
    """Return the report of `h2` with several components."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Components of the variance of {traits}",
        question=f"What share of the variation of {traits} does each component explain, and how sure is that?",
        parts=parts,
        reading=[COMPONENTS, INTERVALS, WHOM],
    )


def components_checks(result: VarianceComponents) -> list[Check]:
    """Return whether the shares can be trusted: draws, weights, boundaries, and what the prior decides."""
    checks = [
        *checks_of_draws(result.diagnostics),
        *checks_of_estimates(result.rows),
        *checks_of_methods(result.failed),
    ]
    if result.importance is not None:
        checks.append(check_of_weights(result.importance))
    shares = equal_draws(result)
    if shares is None:
        return checks
    a = result.request.components_prior.concentrations(len(result.request.names))
    for j, name in enumerate(result.request.names):
        overlap = prior_overlap(shares[:, j], dist.Beta(float(a[j]), float(a.sum() - a[j])), 0.0, 1.0)
        little = overlap > _LITTLE
        advice = f"the data say LITTLE about the share of {name}, most of what is seen is the prior: leave it out, or "
        checks.append(
            check(
                "prior",
                "look" if little else "fine",
                f"share of {name} shares {overlap:.0%} with its prior",
                "the area that prior and posterior have in common, 100% if the data moved nothing; at most "
                f"{_LITTLE:.0%}",
                f"{advice}say what is known of it by the prior" if little else "",
                value=overlap,
                limit=_LITTLE,
            )
        )
    return checks


def components_lines(result: VarianceComponents) -> list[str]:
    """Return tables of one trait, a column for each method and a row for each component, and the answers in words."""
    lines = [_table(result).to_string(), "", _tests(result).to_string()]
    return [*lines, *_notes(result), *components_answers(result), *diagnostics_lines(result.diagnostics)]


def components_answers(result: VarianceComponents) -> list[str]:
    """Return heritability, repeatability and shares by the best method in sentences, and what to know about them."""
    best = _answers(result)
    label = label_of(best[0].method)
    kind = f"posterior mean, {label}" if COMPONENT_METHODS[best[0].method].spread == "sd" else f"{label} estimate"
    lines = [
        f"{words} of {result.trait}: {in_words(row, row.estimate)} ({kind}){interval_words(row)}"
        for parameter, words in _WORDS.items()
        for row in select(best, parameter=parameter)
    ]
    if result.liability and select(best, parameter="h2_liability"):
        lines.insert(1, f"  {factor_words(result.trait, result.liability)}")
    shares = [select(best, parameter=f"share[{name}]")[0] for name in result.request.names]
    each = (f"{name} {_share_words(row)}" for name, row in zip(result.request.names, shares, strict=True))
    lines.append(f"shares of the variance of {result.trait} ({kind}): {', '.join(each)}")
    if (weighted := result.importance) is not None:
        lines.append(f"  {weights_words(weighted)}")
    for pair in trade_offs(result):
        lines.append(
            f"  {pair.names[0]} and {pair.names[1]} trade off (correlation {pair.correlation:.2f}): their sum is known "
            f"better, {pair.lower:.3f} to {pair.upper:.3f}"
        )
    return lines + [f"  {label_of(name)} FAILED: {why}" for name, why in result.failed.items()]


def _answers(result: VarianceComponents) -> list[Row]:
    """Return the rows of the best method that came to an end."""
    return best_rows([row for row in result.rows if row.method not in result.failed], own=False)


def _share_words(row: Row) -> str:
    value = in_words(row, row.estimate)
    return value if np.isnan(row.lower) else f"{value} ({in_words(row, row.lower)} to {in_words(row, row.upper)})"


def _headlines(result: VarianceComponents) -> list[Headline]:
    best = _answers(result)
    asked = {parameter: f"{words} {'h2' * (parameter == 'h2')}".strip() for parameter, words in _WORDS.items()}
    found = [(row, asked[row.parameter]) for row in best if row.parameter in asked]
    if not found:
        found = [(row, f"share of {row.parameter[6:-1]}") for row in best if row.parameter.startswith("share[")]
    return [headline(row, result.trait, what) for row, what in found]


def _table(result: VarianceComponents) -> pd.DataFrame:
    """Return the estimates as text: a column for each method, and the interval of the best one."""
    rows = [row for row in without_effects(result.rows) if row.method not in result.failed]
    order = sorted(dict.fromkeys(row.parameter for row in rows), key=_place)
    return side_by_side(rows, [(result.trait, name) for name in order], own=False).droplevel("trait").rename_axis(None)


def _place(parameter: str) -> int:
    """Return what sorts answers before shares, shares before variances, and the rest last."""
    kinds = ("h2", "repeatability", "share", "enrichment", "sigma2", "pve", "log")
    return [parameter.startswith(kind) for kind in kinds].index(True)


def _tests(result: VarianceComponents) -> pd.DataFrame:
    """Return the tests of the components as text."""
    rows: dict[str, dict[str, str]] = {}
    for one in result.tested:
        cells = {
            "levels": f"{one.levels:,}",
            "likelihood ratio": _cell(one.statistic),
            "p (simulated)": _cell(one.p_value),
            "p (50:50 mixture)": _cell(one.p_mixture),
        }
        if not np.isnan(one.log10_bayes_factor):
            cells["log10 Bayes factor"] = f"{one.log10_bayes_factor:.2f} ({one.log10_bayes_factor_error:.2g})"
        rows[one.component] = cells | ({"note": one.note} if one.note else {})
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


def _cell(value: float) -> str:
    return "" if np.isnan(value) else significant(value, 3)


def _notes(result: VarianceComponents) -> list[str]:
    """Return what the methods warn of, by component."""
    return [
        f"  {label_of(row.method)}, {row.parameter}: {row.note}"
        for row in result.rows
        if row.method not in result.failed and row.parameter.startswith("share") and any(n.warns for n in row.notes)
    ]
