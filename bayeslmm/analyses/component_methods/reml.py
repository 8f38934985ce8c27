"""Restricted maximum likelihood of several components of variance."""

from dataclasses import replace

import numpy as np

from bayeslmm.analyses.component_rows import ComponentsRequest
from bayeslmm.analyses.method import Method
from bayeslmm.analyses.methods import reml
from bayeslmm.analyses.rows import beta_rows
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.components_reml import ComponentsEstimate


def _rows(fit: ComponentsEstimate, request: ComponentsRequest) -> list[Row]:
    """Return Wald intervals; what is made of components on the boundary alone has no error, and says so."""
    kind, failed = request.se_kind, ""
    try:
        errors = fit.standard_errors(kind)
    except AnalysisError as error:
        errors, failed = np.full(len(fit.names), np.nan), str(error)
    rows: list[Row] = []
    for parameter, j in request.variances.items():
        rows.append(_row(fit, request, parameter, float(fit.sigma2[j]), float(errors[j]), (fit.names[j],), failed))
    rows.append(Row(request.trait, "reml", "sigma2_p", float(fit.sigma2.sum())))
    for parameter, names in request.shares.items():
        se = np.nan if failed else fit.share_error(*names, kind=kind)
        rows.append(_row(fit, request, parameter, fit.share(*names), se, names, failed))
    for parameter, (name, of_markers) in request.enrichments.items():
        value = fit.share(name, among=request.heritable) / of_markers
        se = np.nan if failed else fit.share_error(name, among=request.heritable, kind=kind) / of_markers
        rows.append(_row(fit, request, parameter, value, se, (name,), failed))
    if request.heritable:
        se = np.nan if failed else fit.pve_error(*request.heritable, kind=kind)
        rows.append(_row(fit, request, "pve", fit.pve(*request.heritable), se, request.heritable, failed))
    rows.append(Row(request.trait, "reml", "loglik", fit.loglik))
    return rows + beta_rows(request.trait, "reml", request.covariates, fit.beta, fit.se_beta)


def _row(
    fit: ComponentsEstimate,
    request: ComponentsRequest,
    parameter: str,
    value: float,
    se: float,
    names: tuple[str, ...],
    failed: str,
) -> Row:
    if failed:
        return Row(request.trait, "reml", parameter, value, notes=(Note("failed", f"no standard error: {failed}"),))
    if set(names) <= set(fit.boundary):
        end = " (where the search ends, 1e-5 of the variance of y given X)" if names == (fit.names[-1],) else ""
        text = f"boundary: the variance of {', '.join(names)} is estimated at 0{end}, no standard error exists"
        return Row(request.trait, "reml", parameter, value, notes=(Note("boundary", text),))
    given = [name for name in fit.boundary if name not in names]
    if np.isnan(se):  # a share of 1
        text = f"boundary: the variance of {', '.join(given)} is estimated at 0, no standard error exists"
        return Row(request.trait, "reml", parameter, value, notes=(Note("boundary", text),))
    about = Note("info", f"its error is that given no variance of {', '.join(given)}") if given else None
    note = wald_note(parameter, value, se)
    return wald_row(request.trait, "reml", parameter, value, se, request.se_kind, note, about)


METHOD: Method = replace(
    reml.METHOD,
    fit=lambda request: request.reml,
    rows=_rows,
    sources=(
        reml.SOURCE,
        Source("Gilmour, Thompson and Cullis (1995)", "10.2307/2533274", "average information"),
        Source("Henderson (1984)", "Applications of Linear Models in Animal Breeding", "mixed-model equations"),
        Source("Greven et al. (2008)", "10.1198/106186008X386599", "tests of components"),
    ),
)
