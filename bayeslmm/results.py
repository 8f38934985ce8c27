"""Results as tables: one row per trait, method and parameter; and GCTA's .hsq."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm
from xarray import DataTree

from bayeslmm.boundary import mixture_p_value
from bayeslmm.conventions import without_constants
from bayeslmm.estimators.em import EmFit
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.moments import Moments
from bayeslmm.estimators.scaled_lasso import ScaledLasso
from bayeslmm.exact import ExactPosterior
from bayeslmm.files import replacing
from bayeslmm.information import Kind, Parameter, fisher, profile_interval, standard_errors
from bayeslmm.spectrum import RotatedData

COLUMNS = "trait method parameter estimate se se_kind lower upper interval ess_bulk r_hat note".split()
VARIANCES: tuple[Parameter, ...] = ("sigma2_u", "sigma2_e", "h2", "pve")
_ON: dict[str, tuple[Parameter, ...]] = {"h2 = 0": ("h2", "pve", "sigma2_u"), "h2 = 1": ("h2", "pve", "sigma2_e")}
"""Which parameters are at an end of their range on each boundary."""
MORE_MODES = "the likelihood has more than one maximum: another"
OUTSIDE = "the Wald interval leaves the parameter space: prefer the posterior"
_WALD = float(norm.ppf(0.975))
Row = dict[str, Any]


def to_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table with all the columns; NA where a column has no meaning."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"note": str, "trait": str})


def with_rows(tables: Sequence[pd.DataFrame], rows: Sequence[Row]) -> pd.DataFrame:
    """Return tables of the same columns as one, with further rows that have some of them."""
    columns = tables[0].columns if tables else pd.Index(COLUMNS)
    return pd.DataFrame([row for table in tables for row in table.to_dict("records")] + [*rows], columns=columns)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as tab-separated text with 10 digits, NA for what is missing."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="NA", float_format="%.10g")


Fit = Estimate | EmFit | Moments | ScaledLasso | ExactPosterior | DataTree


def rows_of(fit: Fit, data: RotatedData, *, trait: str, covariates: Sequence[str], se_kind: Kind) -> list[Row]:
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
    estimate: Estimate, data: RotatedData, trait: str, covariates: Sequence[str], se_kind: Kind
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


def draws_row(array: Float[ndarray, "chain draw"]) -> Row:
    """Return what a row says about draws of one number."""
    lower, upper = np.quantile(array, [0.025, 0.975])
    return {
        "estimate": array.mean(),
        "se": array.std(ddof=1),
        "se_kind": "sd",
        "lower": lower,
        "upper": upper,
        "interval": "eti95",
        "ess_bulk": float(arviz_stats.ess(array, method="bulk")),
        "r_hat": float(arviz_stats.rhat(array)) if len(array) > 1 else np.nan,
    }


def write_hsq(path: str | Path, estimate: Estimate, data: RotatedData) -> None:
    """Write a REML estimate as GCTA's ``.hsq``, in GCTA's convention of the log-likelihood (no constants).

    Average-information standard errors, as GCTA's; NA on the boundary. The p-value is GCTA's: the 50:50 mixture
    of a point mass at 0 and chi2_1.

    Source: Yang et al. (2011), doi:10.1016/j.ajhg.2010.11.011.
    """
    se: dict[str, str] = {}
    if not estimate.boundary:
        errors = standard_errors(estimate, data, kind="average")
        se_total = float(np.sqrt(np.linalg.inv(fisher(estimate, data, kind="average")).sum()))
        numbers = {"V(G)": errors["sigma2_u"], "V(e)": errors["sigma2_e"], "Vp": se_total, "V(G)/Vp": errors["h2"]}
        se = {name: _plain(value) for name, value in numbers.items()}
    estimates = {
        "V(G)": estimate.sigma2_u,
        "V(e)": estimate.sigma2_e,
        "Vp": estimate.sigma2_u + estimate.sigma2_e,
        "V(G)/Vp": estimate.h2,
    }
    lines = ["Source\tVariance\tSE"]
    lines += [f"{name}\t{_plain(value)}\t{se.get(name, 'NA')}" for name, value in estimates.items()]
    lines += [
        f"logL\t{without_constants(estimate, data, estimate.loglik):.3f}",
        f"logL0\t{without_constants(estimate, data, estimate.loglik_null):.3f}",
        f"LRT\t{estimate.likelihood_ratio:.3f}",
        "df\t1",
        f"Pval\t{min(mixture_p_value(estimate.likelihood_ratio), 0.5):.4e}",
        f"n\t{estimate.n}",
    ]
    with replacing(path) as temporary:
        temporary.write_text("\n".join(lines) + "\n")


def _plain(value: float) -> str:
    """Write a number without an exponent: GCTA's six decimals, and more where six digits need more."""
    return f"{value:.{6 if value == 0 else max(6, 5 - int(np.floor(np.log10(abs(value)))))}f}"


def wald(estimate: float, se: float) -> Row:
    """Return what a row says about an estimate that is about normal."""
    return {"se": se, "lower": estimate - _WALD * se, "upper": estimate + _WALD * se, "interval": "wald95"}


def _wald_note(name: Parameter, value: float, se: float) -> str:
    outside = value < _WALD * se or (name in ("h2", "pve") and value + _WALD * se > 1)
    return OUTSIDE if outside else ""


def _em_note(fit: EmFit) -> str:
    end = "" if fit.converged else f", NOT the maximum: stopped with a score of {fit.score:.2g}"
    return f"{fit.iterations:,} iterations with {fit.m:,} random effects{end}"


def joined(*notes: str) -> str:
    """Return several notes as one."""
    return "; ".join(filter(None, notes))


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
