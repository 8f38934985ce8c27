"""The error of random probes beside each number of several traits, where K was multiplied with."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bayeslmm.analyses.joint_rows import places
from bayeslmm.analyses.method import Drawn, Weighed
from bayeslmm.analyses.table import Note, Row
from bayeslmm.base.checks import InputWarning
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_summary import JointSummary
from bayeslmm.likelihood.probe_error import ProbeError

_DRAWS = 1000  # of NUTS are enough

type ProbeErrors = Mapping[tuple[str, str], ProbeError]
"""By trait, or pair of traits, and parameter."""


def probe_errors(fit: Any, traits: Sequence[str], summary: JointSummary) -> ProbeErrors:
    """Return the errors of what a method has found.

    Those of a posterior are of each of its numbers but fixed effects. Of other methods they are of each h2: what the
    probes change in its posterior mean, the trait analysed by itself with a flat prior.

    Args:
        fit: what the method returned.
        traits: their names.
        summary: of these traits.
    """
    if isinstance(fit, Weighed):
        Gamma_u, Gamma_e, weights = fit.weighted.Gamma_u, fit.weighted.Gamma_e, fit.weighted.weights
    elif isinstance(fit, Drawn):
        draws, t, weights = fit.posterior["posterior"], len(traits), None
        Gamma_u, Gamma_e = (draws[name].to_numpy().reshape(-1, t, t) for name in ("Gamma_u", "Gamma_e"))
        some = np.unique(np.linspace(0, len(Gamma_u) - 1, _DRAWS).astype(int))
        Gamma_u, Gamma_e = Gamma_u[some], Gamma_e[some]
    else:
        return {(trait, "h2"): summary.summary.error(j) for j, trait in enumerate(traits)}
    found, rows = quantities.of_traits(Gamma_u, Gamma_e), list(places(traits))
    values = np.column_stack([found[row.parameter][:, *row.at] for row in rows])
    errors = summary.errors(values, Gamma_u, Gamma_e, weights)
    return {
        (row.trait, row.parameter): summary.error(error, row.parameter) for row, error in zip(rows, errors, strict=True)
    }


def with_probe_errors(rows: Sequence[Row], errors: ProbeErrors) -> list[Row]:
    """Return the rows of a method with the error of each number that has one among its notes."""
    return [
        replace(row, notes=(*row.notes, Note("probes", error.words(), error.found)))
        if (error := errors.get((row.trait, row.parameter)))
        else row
        for row in rows
    ]


def largest(errors: ProbeErrors) -> tuple[str, ProbeError]:
    """Return the largest error, and of what it is."""
    trait, parameter = max(errors, key=lambda of: errors[of].found)
    return f"{parameter} of {trait}", errors[trait, parameter]


def warn_of_errors(errors: ProbeErrors) -> None:
    """Warn if an error is larger than was asked for: passes end when that of each h2 by itself is as small."""
    name, error = largest(errors)
    if not error.reached:
        warnings.warn(
            f"the posterior mean of {name} has a Monte Carlo error of {error.size} posterior standard deviations, not "
            f"{error.wanted:g}, which is asked of the h2 of each trait by itself: ask for less (probe_error)",
            InputWarning,
            stacklevel=3,
        )
