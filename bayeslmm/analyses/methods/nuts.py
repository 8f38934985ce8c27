"""The posterior by NUTS: of our program, or of the user's."""

import arviz_stats

from bayeslmm.analyses.method import Drawn, Fitted, Method, Near, TraitRequest
from bayeslmm.analyses.rows import VARIANCES
from bayeslmm.analyses.site_rows import site_rows
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Row, draws_row


def _fit(request: TraitRequest) -> Drawn:
    return request.draw(request.data, {"trait": [request.trait], "covariate": list(request.covariates)})


def _rows(fit: Drawn, request: TraitRequest) -> list[Row]:
    if request.own:
        return site_rows(fit.posterior, request.trait)
    sites = fit.posterior["posterior"].sel(trait=request.trait)
    draws = {name: sites[name] for name in VARIANCES}
    draws |= {f"beta[{name}]": sites["beta"].sel(covariate=name) for name in request.covariates}
    return [draws_row(request.trait, name, values.to_numpy()) for name, values in draws.items()]


def _near(fit: Drawn, fitted: Fitted) -> Near:
    error = float(arviz_stats.mcse(fit.posterior["posterior"]["h2"].to_numpy()[..., 0]))
    return Near("exact", fitted.posterior.mean, 4 * error)


METHOD = Method(
    name="nuts", label="NUTS", spread="sd", rank=2, order=9,
    fit=_fit, rows=_rows, near=_near,
    why=lambda fit, fitted: "4 Monte Carlo standard errors of the draws",
    sources=(
        Source("Hoffman and Gelman (2014)", "JMLR 15:1593", "NUTS"),
        Source("Phan et al. (2019)", "arXiv:1912.11554", "NumPyro"),
        Source("Vehtari et al. (2021)", "10.1214/20-BA1221", "R-hat and effective sample sizes"),
    ),
)  # fmt: skip
