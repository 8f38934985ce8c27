"""Rows of the table of estimates that several methods share."""

from collections.abc import Sequence

from jaxtyping import Float
from numpy import ndarray

from bayeslmm.analyses.method import TraitRequest
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import Parameter, profile_interval, standard_errors

VARIANCES: tuple[Parameter, ...] = ("sigma2_u", "sigma2_e", "h2", "pve")
_ON: dict[str, tuple[Parameter, ...]] = {"h2 = 0": ("h2", "pve", "sigma2_u"), "h2 = 1": ("h2", "pve", "sigma2_e")}
"""Which parameters are at an end of their range on each boundary."""


def likelihood_rows(estimate: Estimate, request: TraitRequest) -> list[Row]:
    """Return Wald intervals inside the parameter space, profile intervals on its boundary; other maxima are noted."""
    modes = _modes_note(estimate)
    if estimate.boundary:
        rows = [_profile_row(estimate, request, name, modes) for name in VARIANCES]
    else:
        se = standard_errors(estimate, request.white, kind=request.se_kind)
        rows = [_wald_row(estimate, request, name, se[name], modes) for name in VARIANCES]
    rows.append(Row(request.trait, estimate.method, "loglik", estimate.loglik))
    return rows + beta_rows(request.trait, estimate.method, request.covariates, estimate.beta, estimate.se_beta)


def _profile_row(estimate: Estimate, request: TraitRequest, name: Parameter, modes: tuple[Note, ...]) -> Row:
    lower, upper = profile_interval(estimate, request.white, name)
    return Row(
        request.trait,
        estimate.method,
        name,
        float(getattr(estimate, name)),
        lower=lower,
        upper=upper,
        interval="profile95",
        notes=boundary_notes(estimate, name) + modes,
    )


def _wald_row(estimate: Estimate, request: TraitRequest, name: Parameter, se: float, modes: tuple[Note, ...]) -> Row:
    value = float(getattr(estimate, name))
    return wald_row(
        request.trait, estimate.method, name, value, se, request.se_kind, wald_note(name, value, se), *modes
    )


def beta_rows(
    trait: str,
    method: str,
    covariates: Sequence[str],
    beta: Float[ndarray, " c"],
    se_beta: Float[ndarray, " c"],
) -> list[Row]:
    """Return the rows of the fixed effects of one trait, with Wald intervals."""
    return [
        wald_row(trait, method, f"beta[{name}]", float(value), float(se), "gls")
        for name, value, se in zip(covariates, beta, se_beta, strict=True)
    ]


def boundary_notes(estimate: Estimate, name: str) -> tuple[Note, ...]:
    """Say that a parameter is on the boundary, or that another one is; nothing inside the parameter space."""
    if estimate.boundary is None or name not in VARIANCES:
        return ()
    end = " (where the search ends, sigma2_e = 1e-5 sigma2_u)" if estimate.boundary == "h2 = 1" else ""
    if name in _ON[estimate.boundary]:
        return (Note("boundary", f"boundary: {estimate.boundary}{end}, no standard error exists"),)
    return (Note("info", f"{estimate.boundary} is on the boundary{end}, no standard error exists"),)


def _modes_note(estimate: Estimate) -> tuple[Note, ...]:
    """Name other local maxima of the likelihood: which one is the highest may be chance."""
    modes = [
        f"h2 = {h2:.3g}, {max(estimate.loglik - loglik, 0.0):.2g} lower in log-likelihood"
        for h2, loglik in estimate.other_modes
    ]
    if not modes:
        return ()
    return (
        Note("more_modes", f"the likelihood has more than one maximum: another at {' and at '.join(modes)}"),
    )  # fmt: skip
