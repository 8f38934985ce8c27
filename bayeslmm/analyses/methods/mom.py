"""The method of moments (Haseman-Elston)."""

import numpy as np

from bayeslmm.analyses.method import Fitted, Method, Near, TraitRequest
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row, wald_note, wald_row
from bayeslmm.base.checks import InputError
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import standard_errors, standard_errors_from
from bayeslmm.estimators.moments import Moments, moments, moments_covariance, moments_jackknife
from bayeslmm.likelihood.rotation import check_rows
from bayeslmm.likelihood.whitened import Whitened

_JACKKNIFE = Note("info", "standard error too small unless individuals of different blocks are unrelated")


def _fit(request: TraitRequest) -> Moments:
    if request.settings.get("moments_se", "exact") == "exact":
        return moments(request.white)
    if request.cohort is None:
        raise InputError("the jackknife leaves out individuals, and needs the cohort before rotation")
    check_rows(request.data, what="the jackknife")
    return moments_jackknife(request.cohort.K, *request.measured(request.cohort))


def moments_rows(fit: Moments, request: TraitRequest) -> list[Row]:
    """Return estimates as the equations give them, with Wald intervals; a negative variance is noted."""
    monte_carlo = fit.monte_carlo_errors()
    outside = Note("outside", f"outside the parameter space: {fit.outside} is negative") if fit.outside else None
    rows: list[Row] = []
    for name, se in fit.standard_errors().items():
        value, error = float(getattr(fit, name)), monte_carlo[name]
        rows.append(
            wald_row(
                request.trait,
                fit.method,
                name,
                value,
                se,
                fit.cov_kind,
                Note("monte_carlo", f"Monte Carlo error {error:.2g}", error) if fit.method == "rhe" else None,
                outside or wald_note(name, value, se),
                _JACKKNIFE if fit.cov_kind == "jackknife" else None,
            )
        )
    return rows


def _near(fit: Moments, fitted: Fitted) -> Near:
    """REML is efficient: the variance of the difference is that of moments less that of REML (Hausman)."""
    allowed = 3 * _hausman(fitted.reml, fitted.white) + fitted.slack
    return Near("reml", fitted.reml.h2, allowed)


def _hausman(reml: Estimate, white: Whitened) -> float:
    """Return the standard error of h2 by moments less h2 by REML, at the REML estimate."""
    at = reml.sigma2_u, reml.sigma2_e
    of_moments = standard_errors_from(moments_covariance(white, *at), *at, white.given.k_scale)["h2"]
    of_reml = 0.0 if reml.boundary else standard_errors(reml, white, kind="expected")["h2"]
    return float(np.sqrt(max(of_moments**2 - of_reml**2, 0.0)))


METHOD = Method(
    name="mom", label="moments", spread="se", rank=7, order=5,
    fit=_fit,
    rows=moments_rows,
    near=_near,
    why=lambda fit, fitted: (
        "moments are less efficient: 3 standard errors of the difference (Hausman); more would fault the model"
    ),
    wide=True,
    sources=(
        Source("Haseman and Elston (1972)", "10.1007/BF01066731", "moments"),
        Source("Zhou (2017)", "10.1214/17-AOAS1052", "their equations"),
    ),
)  # fmt: skip
