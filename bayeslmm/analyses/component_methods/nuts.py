"""The posterior of several components of variance by NUTS."""

from dataclasses import replace

from xarray import DataTree

from bayeslmm.analyses.component_rows import ComponentsRequest, draws_of, sigma2_of
from bayeslmm.analyses.method import Drawn, Method
from bayeslmm.analyses.methods import nuts
from bayeslmm.analyses.table import Row, draws_row


def _fit(request: ComponentsRequest) -> Drawn:
    """Draw, and keep h2 and repeatability with the draws."""
    drawn = request.draw(request.data, {})
    posterior = drawn.posterior["posterior"].dataset
    sums = {name: names for name, names in request.shares.items() if not name.startswith("share[")}
    more = {name: posterior["share"].sel(component=list(names)).sum("component") for name, names in sums.items()}
    return drawn._replace(posterior=drawn.posterior.assign({"posterior": DataTree(posterior.assign(more))}))


def _rows(fit: Drawn, request: ComponentsRequest) -> list[Row]:
    sites = fit.posterior["posterior"]
    draws = dict(draws_of(sigma2_of(fit.posterior, request), request))
    draws |= {f"beta[{name}]": sites["beta"].sel(covariate=name).to_numpy() for name in request.covariates}
    return [draws_row(request.trait, name, values) for name, values in draws.items()]


METHOD: Method = replace(nuts.METHOD, fit=_fit, rows=_rows)
