"""Whether a result can be trusted: each thing that was checked, with what it means and what to do."""

from collections.abc import Iterable, Mapping

import numpy as np

from bayeslmm.analyses.table import Row
from bayeslmm.cohort.align import about_scale
from bayeslmm.likelihood.probe_error import ProbeError
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Check, Diagnostics, State
from bayeslmm.posterior.weighted import MAX_PARETO_K, Weighted
from bayeslmm.report.tables import label_of

_ON_BOUNDARY = "the likelihood is highest where the parameter cannot go further, so it has no curvature there"
_OF_LIABILITY = ("outside", "meaningless")
_WARNED = "the method warns about its estimate"


def check(
    name: str,
    state: State,
    text: str,
    meaning: str,
    advice: str = "",
    *,
    value: float = np.nan,
    limit: float = np.nan,
) -> Check:
    """Return a check, which need not be about a number."""
    return Check(name, text, value, limit, state, meaning, advice)


def checks_of_draws(diagnostics: Diagnostics | None) -> list[Check]:
    """Return the checks of draws; none if nothing was drawn."""
    if diagnostics is None:
        return []
    again = diagnostics.drawn_again
    return [*diagnostics.checks, *([check("drawn again", "fine", "drawn again", again)] if again else [])]


def checks_of_estimates(rows: Iterable[Row]) -> list[Check]:
    """Return a check for each h2, rho_u or share of a classical method whose method warns about it.

    And for the h2 of a liability by any method that is outside its range, or not that of the population; what else
    there is to know is said of h2.
    """
    return [
        _check_of_estimate(row)
        for row in rows
        if row.method != "nuts"
        and (
            (
                (row.parameter in ("h2", "rho_u") or row.parameter.startswith("share["))
                and any(note.warns for note in row.notes)
            )
            or (row.parameter == "h2_liability" and any(note.kind in _OF_LIABILITY for note in row.notes))
        )
    ]


def _check_of_estimate(row: Row) -> Check:
    value = "has no estimate" if np.isnan(row.estimate) else f"is {row.estimate:.3g}"
    meaning, advice = _WARNED, row.own_note
    if row.interval == "profile95":
        meaning, advice = _ON_BOUNDARY, f"{row.own_note}: its interval is one of likelihood; prefer the posterior"
    text = f"{row.parameter} of {row.trait} by {row.method} {value}"
    return check("estimate", "look", text, meaning, advice, value=row.estimate)


def checks_of_methods(failed: Mapping[str, str]) -> list[Check]:
    """Return a failed check for each method that did not come to an end, with the reason."""
    return [
        check("method", "failed", f"{label_of(name)} failed", "whether the method came to an end", why)
        for name, why in failed.items()
    ]


def check_of_weights(weighted: Weighted) -> Check:
    """Return the check of importance sampling, which fails by itself where the Pareto k is too large."""
    k = weighted.pareto_k
    meaning = f"the weights of importance sampling have a tail of this index; at most {MAX_PARETO_K}"
    return check("Pareto k", "fine", f"Pareto k {k:.2f}", meaning, value=k, limit=MAX_PARETO_K)


def check_of_scale(mean_diagonal: float) -> Check:
    """Return whether h2 is a share of variance on the scale of this K."""
    advice = about_scale(mean_diagonal)
    return check(
        "scale",
        "look" if advice else "fine",
        f"mean diagonal of K {mean_diagonal:.3f}",
        "on the scale where h2 is the share of variance that kinship explains, it is 1",
        advice,
        value=mean_diagonal,
    )


def check_of_probes(name: str, error: ProbeError) -> Check:
    """Return whether random probes leave the posterior mean of a number as sure as was asked for."""
    return check(
        "products",
        "fine" if error.reached else "look",
        f"Monte Carlo error {error.size} posterior sd of {name}",
        f"what other random probes of K would change in its posterior mean; {error.wanted:g} was asked for",
        "" if error.reached else "use a machine with more memory, more probe error, or K as a matrix",
        value=error.found,
        limit=error.wanted,
    )


def check_of_prior(parameter: str, overlap: float, advice: str) -> Check:
    """Return whether the data say something about a parameter that its prior does not; with advice unless they do."""
    return check(
        "prior",
        "look" if advice else "fine",
        f"{parameter} shares {overlap:.0%} with its prior",
        f"the area that prior and posterior have in common, 100% if the data moved nothing; at most {MOST_OVERLAP:.0%}",
        advice,
        value=overlap,
        limit=MOST_OVERLAP,
    )
