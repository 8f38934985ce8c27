"""Heritability of one trait, as the command line prints it and as the report shows it."""

from collections.abc import Sequence
from pathlib import Path

import arviz_stats
import pandas as pd

from bayeslmm.analyses.heritability import Heritability
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.posterior.diagnostics import MOST_OVERLAP
from bayeslmm.report.lights import (
    Light,
    light_of_prior,
    light_of_scale,
    lights_of_draws,
    lights_of_estimates,
)
from bayeslmm.report.page import Part, Report, Shown, together
from bayeslmm.report.people import cohort_lines
from bayeslmm.report.reading import H2, INTERVALS, WHOM
from bayeslmm.report.tables import (
    OWN_SITES,
    best_rows,
    diagnostics_lines,
    label_of,
    shown_effects,
    side_by_side,
    without_effects,
)


def heritability_part(result: Heritability, cohort: Cohort, spectrum: Spectrum, *, picture: Path, own: bool) -> Part:
    """Return what `h2` says about one trait; ``own`` if the program that was sampled is the user's."""
    drawn = result.posterior is not None
    return Part(
        name=result.trait,
        people=cohort_lines(cohort),
        sentences=heritability_answers(result),
        picture=picture,
        caption=OWN_SITES
        if own and drawn
        else f"heritability by each method, with the prior; {'draws; ' if drawn else ''}the fit in the eigenbasis of K",
        tables=[
            Shown("by each method; all digits in estimates.tsv", heritability_table(result).rename_axis("parameter")),
            *shown_effects(result),
        ],
        notes=heritability_notes(result),
        lights=[
            *lights_of_draws(result.diagnostics),
            *lights_of_estimates(result.estimates),
            *prior_lights(result),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=list(result.fits),
    )


def heritability_report(parts: Sequence[Part]) -> Report:
    """Return the report of `h2`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits}",
        question=f"How much of the variation of {traits} does kinship explain, and how sure is that?",
        parts=parts,
        reading=[H2, INTERVALS, WHOM],
    )


def prior_lights(result: Heritability) -> list[Light]:
    """Return whether the data say something about h2 that its prior does not; nothing for a user's own program."""
    if result.prior_overlap is None or result.own:
        return []
    return [light_of_prior(f"h2 of {result.trait}", result.prior_overlap, " ".join(about_prior(result)))]


_PARAMETERS = ("h2", "pve", "sigma2_u", "sigma2_e", "loglik")
_MOST_LINES = 30
_LITTLE = 2 * MOST_OVERLAP
"""An area that posterior and prior share above which the prior is most of what is seen."""


def result_lines(result: Heritability) -> str:
    """Return a short table of one trait: a column for each method, and the answer of the best one in a sentence."""
    table = heritability_table(result)
    more = [f"... and {len(table) - _MOST_LINES} more, in estimates.tsv"] if len(table) > _MOST_LINES else []
    lines = [table[:_MOST_LINES].to_string(), *more, *heritability_notes(result), *heritability_answers(result)]
    return "\n".join([*lines, *diagnostics_lines(result.diagnostics)])


def heritability_table(result: Heritability) -> pd.DataFrame:
    """Return the estimates of one trait as text: a column for each method, and the interval of the best one."""
    rows = without_effects(result.estimates)
    # A program of the user's own has what sites it likes.
    order = [(result.trait, parameter) for parameter in dict.fromkeys([*_PARAMETERS, *rows["parameter"]])]
    return side_by_side(rows, order, own=result.own).droplevel("trait").rename_axis(None)


def heritability_notes(result: Heritability) -> list[str]:
    """Return what the notes say about h2, by method: boundaries, ends that were not reached, impossible values."""
    table = result.estimates
    rows = table[(table["parameter"] == "h2") & (table["note"] != "")].to_dict("records")
    return [f"  {label_of(row['method'])}: {row['note']}" for row in rows]


def heritability_answers(result: Heritability) -> list[str]:
    """Return the heritability by the best method, with its interval, in a sentence; then what to know about it."""
    best = best_rows(result.estimates, own=result.own)
    rows = best[best["parameter"] == "h2"]
    if rows.empty:
        return [f'the program has no site called "h2"; add one to report a heritability of {result.trait}']
    row = rows.iloc[0]
    name = label_of(row["method"])
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
