"""Restricted maximum likelihood of several traits."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy import ndarray

from bayeslmm.analyses.joint_rows import Place, places
from bayeslmm.analyses.method import JointRequest, Method
from bayeslmm.analyses.methods import reml
from bayeslmm.analyses.rows import beta_rows
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.joint_information import joint_standard_errors, likelihood_interval
from bayeslmm.estimators.joint_reml import JointEstimate
from bayeslmm.likelihood import quantities

_WITH_INTERVAL = ("h2", "rho_u", "rho_e")
"""What has a likelihood interval on the boundary."""


def _rows(fit: JointEstimate, request: JointRequest) -> list[Row]:
    """Return Wald intervals inside the parameter space; on its boundary likelihood intervals.

    What has no interval says why: a search that fails leaves the other rows their intervals.
    """
    errors: Mapping[str, ndarray] = {}
    failed = ""
    if not fit.boundary:
        try:
            errors = joint_standard_errors(fit, request.white, kind=request.se_kind)
        except AnalysisError as error:
            failed = f"no standard error: {error}"
    with np.errstate(invalid="ignore"):
        values = quantities.of_traits(fit.Gamma_u, fit.Gamma_e)
    rows: list[Row] = []
    for place in places(request.traits):
        value = float(values[place.parameter][place.at])
        if zero := [request.traits[j] for j in place.at if fit.unknown(place.parameter)[j]]:
            row = _unknown_row(place, zero)
        elif fit.boundary:
            row = _boundary_row(fit, request, place, value)
        elif failed:
            row = Row(place.trait, "reml", place.parameter, value, notes=(Note("failed", failed),))
        else:
            se = float(errors[place.parameter][place.at])
            note = wald_note(place.parameter, value, se)
            row = wald_row(place.trait, "reml", place.parameter, value, se, request.se_kind, note)
        others = fit.others_of(request.traits) if place.parameter in _WITH_INTERVAL else ""
        rows.append(replace(row, notes=(*row.notes, Note("more_modes", others))) if others else row)
    for trait, names, beta, se_beta in zip(request.traits, request.covariates, fit.beta, fit.se_beta, strict=True):
        rows += beta_rows(trait, "reml", names, beta, se_beta)
    return rows


def _unknown_row(place: Place, zero: list[str]) -> Row:
    """Return the row of a correlation that is a ratio of zeros."""
    kind = "genetic" if place.parameter == "rho_u" else "residual"
    text = f"not identified: the {kind} variance of {' and '.join(zero)} is estimated at 0"
    return Row(place.trait, "reml", place.parameter, notes=(Note("not_identified", text),))


def _boundary_row(fit: JointEstimate, request: JointRequest, place: Place, value: float) -> Row:
    """Return the row of a parameter where the estimate of something is on a bound: without a standard error."""
    where = fit.boundary_of(request.traits)
    note = (
        Note("boundary", f"boundary: {where}, no standard error exists")
        if _on_bound(fit, place)
        else Note("info", f"no standard error exists: REML is on a bound, {where}")
    )
    row = Row(place.trait, "reml", place.parameter, value, notes=(note,))
    apart = place.parameter == "rho_e" and fit.overlaps[place.at] == 0
    if place.parameter not in _WITH_INTERVAL or apart:
        return row
    try:
        lower, upper = likelihood_interval(fit, request.white, place.parameter, place.at)  # pyright: ignore[reportArgumentType]
    except AnalysisError as error:
        return replace(row, notes=(note, Note("failed", f"no interval: {error}")))
    everything = place.parameter != "h2" and (lower, upper) == (-1.0, 1.0)
    notes = (note, Note("info", "no value of it is excluded")) if everything else (note,)
    return replace(row, lower=lower, upper=upper, interval="profile95", notes=notes)


def _on_bound(fit: JointEstimate, place: Place) -> bool:
    """Whether a parameter is itself at a bound, where the estimate of something is."""
    at, genetic = list(place.at), place.parameter.endswith("_u")
    zero, one = bool(fit.at_zero[at].any()), bool(fit.at_one[at].any())
    if place.parameter == "h2":
        return zero or one
    if place.parameter == "rho_p":
        return False
    if place.parameter.startswith("sigma2"):
        return zero if genetic else one
    kind, rho = ("genetic", fit.rho_u) if genetic else ("residual", fit.rho_e)
    singular = any(words.startswith(f"the {kind}") for words in fit.boundary)
    return (zero if genetic else one) or singular or bool(abs(rho[place.at]) > 1 - 1e-4)


METHOD: Method = replace(
    reml.METHOD,
    fit=lambda request: request.reml,
    rows=_rows,
    needs="reml",
    sources=(
        reml.SOURCE,
        Source("Meyer (1991)", "10.1186/1297-9686-23-1-67", "REML of several traits"),
        reml.BOUND,
    ),
)
