"""The method of moments for several traits."""

from dataclasses import replace

import numpy as np

from bayeslmm.analyses.joint_rows import Place, places
from bayeslmm.analyses.method import JointRequest, Method
from bayeslmm.analyses.methods import mom
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.estimators.joint_information import errors_of_traits
from bayeslmm.estimators.joint_moments import JointMoments, joint_moments
from bayeslmm.likelihood import quantities


def _rows(fit: JointMoments, request: JointRequest) -> list[Row]:
    """Return estimates as the equations give them; what is outside the parameter space, or undefined, is noted."""
    with np.errstate(invalid="ignore", divide="ignore"):
        values = quantities.of_traits(fit.Gamma_u, fit.Gamma_e)
        errors = errors_of_traits(fit.Gamma_u, fit.Gamma_e, fit.unit_cov, fit.units)
    indefinite = (
        Note("info", f"{' and '.join(fit.outside)} not positive semi-definite") if fit.outside else None
    )  # fmt: skip
    rows: list[Row] = []
    for place in places(request.traits):
        value, se = (float(numbers[place.parameter][place.at]) for numbers in (values, errors))
        note = _outside(fit, request, place, value) or wald_note(place.parameter, value, se)
        row = wald_row(place.trait, "mom", place.parameter, value, se, "exact", note, indefinite)
        rows.append(row if np.isfinite(value) else Row(place.trait, "mom", place.parameter, value, notes=row.notes))
    return rows


def _outside(fit: JointMoments, request: JointRequest, place: Place, value: float) -> Note | None:
    """Return a note if a parameter is outside the parameter space, or the ratio of a negative variance."""
    beyond = [
        f"{name} of {request.traits[j]} is negative"
        for name, Gamma in (("sigma2_u", fit.Gamma_u), ("sigma2_e", fit.Gamma_e))
        for j in place.at
        if Gamma[j, j] < 0 and _depends(place.parameter, name)
    ]
    if beyond and np.isnan(value):
        return Note("outside", f"undefined: {' and '.join(beyond)}")
    if place.parameter.startswith("rho") and abs(value) > 1:
        beyond.append("beyond 1")
    return Note("outside", f"outside the parameter space: {' and '.join(beyond)}") if beyond else None


def _depends(parameter: str, variance: str) -> bool:
    """Whether a parameter depends on a variance: rho_u does not on sigma2_e."""
    return parameter[-2:] not in ("_u", "_e") or parameter[-1] == variance[-1]


METHOD: Method = replace(mom.METHOD, fit=lambda request: joint_moments(request.white), rows=_rows)
