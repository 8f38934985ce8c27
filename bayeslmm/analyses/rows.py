"""What each method returned for one trait, as rows of the table of estimates."""

from collections.abc import Sequence

from jaxtyping import Float
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.table import WALD, Row, draws_row, joined, wald
from bayeslmm.estimators.em import EmFit
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import Kind, Parameter, profile_interval, standard_errors
from bayeslmm.estimators.moments import Moments
from bayeslmm.estimators.scaled_lasso import ScaledLasso
from bayeslmm.likelihood.whitened import OneTrait
from bayeslmm.posterior.exact import ExactPosterior

VARIANCES: tuple[Parameter, ...] = ("sigma2_u", "sigma2_e", "h2", "pve")
_ON: dict[str, tuple[Parameter, ...]] = {"h2 = 0": ("h2", "pve", "sigma2_u"), "h2 = 1": ("h2", "pve", "sigma2_e")}
"""Which parameters are at an end of their range on each boundary."""
MORE_MODES = "the likelihood has more than one maximum: another"
OUTSIDE = "the Wald interval leaves the parameter space: prefer the posterior"


Fit = Estimate | EmFit | Moments | ScaledLasso | ExactPosterior | DataTree


def rows_of(fit: Fit, data: OneTrait, *, trait: str, covariates: Sequence[str], se_kind: Kind) -> list[Row]:
    """Return the rows of a fit of any method."""
    match fit:
        case Estimate():
            return _estimate_rows(fit, data, trait, covariates, se_kind)
        case EmFit():
            if fit.converged:
                rows = _estimate_rows(fit.estimate, data, trait, covariates, se_kind)
            else:
                rows = _points(fit.estimate, trait, covariates)
            return [row | {"note": joined(_em_note(fit), row["note"])} for row in rows]
        case Moments():
            return _moments_rows(fit, trait)
        case ScaledLasso():
            return _lasso_rows(fit, trait)
        case ExactPosterior():
            return _exact_rows(fit, trait, covariates)
        case DataTree():
            return _nuts_rows(fit, trait, covariates)


def _estimate_rows(
    estimate: Estimate, data: OneTrait, trait: str, covariates: Sequence[str], se_kind: Kind
) -> list[Row]:
    """Wald intervals inside the parameter space, profile intervals on its boundary; other maxima are told."""
    common = {"trait": trait, "method": estimate.method, "note": ""}
    rows: list[Row] = []
    se = {} if estimate.boundary else standard_errors(estimate, data, kind=se_kind)
    for name in VARIANCES:
        value = float(getattr(estimate, name))
        if estimate.boundary:
            lower, upper = profile_interval(estimate, data, name)
            row = {"lower": lower, "upper": upper, "interval": "profile95", "note": _boundary_note(estimate, name)}
        else:
            row = wald(value, se[name]) | {"se_kind": se_kind, "note": _wald_note(name, value, se[name])}
        row["note"] = joined(row["note"], _modes_note(estimate))
        rows.append(common | {"parameter": name, "estimate": value} | row)
    rows.append(common | {"parameter": "loglik", "estimate": estimate.loglik})
    return rows + beta_rows(common, covariates, estimate.beta, estimate.se_beta)


def beta_rows(
    common: Row, covariates: Sequence[str], beta: Float[ndarray, " c"], se_beta: Float[ndarray, " c"]
) -> list[Row]:
    """Return the rows of the fixed effects of one trait, with Wald intervals."""
    return [
        common | {"parameter": f"beta[{name}]", "estimate": value, "se_kind": "gls"} | wald(value, se)
        for name, value, se in zip(covariates, beta, se_beta, strict=True)
    ]


def _points(estimate: Estimate, trait: str, covariates: Sequence[str]) -> list[Row]:
    """Estimates alone: away from a maximum neither curvature nor a drop from it means anything."""
    values = {name: getattr(estimate, name) for name in (*VARIANCES, "loglik")}
    values |= {f"beta[{name}]": beta for name, beta in zip(covariates, estimate.beta, strict=True)}
    common = {"trait": trait, "method": estimate.method}
    return [
        common | {"parameter": name, "estimate": value, "note": _boundary_note(estimate, name)}
        for name, value in values.items()
    ]


def _moments_rows(fit: Moments, trait: str) -> list[Row]:
    """Estimates as the equations give them, with Wald intervals; a negative variance is told."""
    outside = f"outside the parameter space: {fit.outside} is negative" if fit.outside else ""
    monte_carlo = fit.monte_carlo_errors()
    rows: list[Row] = []
    for name, se in fit.standard_errors().items():
        value = getattr(fit, name)
        noise = f"Monte Carlo error {monte_carlo[name]:.2g}" if fit.method == "rhe" else ""
        jackknife = (
            "standard error too small unless individuals of different blocks are unrelated"
            if fit.cov_kind == "jackknife"
            else ""
        )
        note = joined(noise, outside or _wald_note(name, value, se), jackknife)
        common = {"trait": trait, "method": fit.method, "parameter": name, "estimate": value, "note": note}
        rows.append(common | wald(value, se) | {"se_kind": fit.cov_kind})
    return rows


def _lasso_rows(fit: ScaledLasso, trait: str) -> list[Row]:
    note = joined(
        f"what {fit.selected:,} selected of {fit.p:,} markers explain, not the heritability of all",
        f"{fit.dropped:,} markers do not vary among these individuals" if fit.dropped else "",
        "" if fit.converged else f"NOT converged in {fit.rounds} rounds",
        "MEANINGLESS: it interpolates the data, lambda0 is too small" if fit.interpolates else "",
    )
    common = {"trait": trait, "method": "lasso", "note": note}
    return [common | {"parameter": name, "estimate": getattr(fit, name)} for name in ("sigma2_e", "h2")]


def _exact_rows(posterior: ExactPosterior, trait: str, covariates: Sequence[str]) -> list[Row]:
    """Means, standard deviations and equal-tailed intervals."""
    common = {"trait": trait, "method": "exact", "se_kind": "sd", "interval": "eti95", "note": ""}
    rows: list[Row] = []
    for name in VARIANCES:
        marginal = getattr(posterior, name)
        lower, upper = marginal.interval()
        rows.append(
            common | {"parameter": name, "estimate": marginal.mean, "se": marginal.sd, "lower": lower, "upper": upper}
        )
    for j, name in enumerate(covariates):
        lower, upper = posterior.beta_interval(j)
        values = {"estimate": posterior.beta[j], "se": posterior.se_beta[j], "lower": lower, "upper": upper}
        rows.append(common | {"parameter": f"beta[{name}]"} | values)
    return rows


def _nuts_rows(posterior: DataTree, trait: str, covariates: Sequence[str]) -> list[Row]:
    """Means, standard deviations, equal-tailed intervals, bulk ESS and R-hat."""
    draws = {name: posterior["posterior"][name].sel(trait=trait) for name in VARIANCES}
    beta = posterior["posterior"]["beta"].sel(trait=trait)
    draws |= {f"beta[{name}]": beta.sel(covariate=name) for name in covariates}
    return [
        {"trait": trait, "method": "nuts", "parameter": name, "note": ""} | draws_row(values.to_numpy())
        for name, values in draws.items()
    ]


def _wald_note(name: Parameter, value: float, se: float) -> str:
    outside = value < WALD * se or (name in ("h2", "pve") and value + WALD * se > 1)
    return OUTSIDE if outside else ""


def _em_note(fit: EmFit) -> str:
    end = "" if fit.converged else f", NOT the maximum: stopped with a score of {fit.score:.2g}"
    return f"{fit.iterations:,} iterations with {fit.m:,} random effects{end}"


def _boundary_note(estimate: Estimate, name: str) -> str:
    """Say that a parameter is on the boundary, or that another one is; nothing inside the parameter space."""
    if estimate.boundary is None or name not in VARIANCES:
        return ""
    end = " (where the search ends, sigma2_e = 1e-5 sigma2_u)" if estimate.boundary == "h2 = 1" else ""
    on_it = name in _ON[estimate.boundary]
    where = f"boundary: {estimate.boundary}{end}" if on_it else f"{estimate.boundary} is on the boundary{end}"
    return f"{where}, no standard error exists"


def _modes_note(estimate: Estimate) -> str:
    """Name other local maxima of the likelihood: which one is the highest may be chance."""
    modes = [
        f"h2 = {h2:.3g}, {max(estimate.loglik - loglik, 0.0):.2g} lower in log-likelihood"
        for h2, loglik in estimate.other_modes
    ]
    return f"{MORE_MODES} at {' and at '.join(modes)}" if modes else ""
