"""The posterior by quadrature."""

from bayeslmm.analyses.method import Method, TraitRequest
from bayeslmm.analyses.rows import VARIANCES
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Row
from bayeslmm.posterior import exact
from bayeslmm.posterior.exact import ExactPosterior


def _rows(fit: ExactPosterior, request: TraitRequest) -> list[Row]:
    """Return means, standard deviations and equal-tailed intervals."""
    marginals = {name: getattr(fit, name) for name in VARIANCES}
    values = {name: (marginal.mean, marginal.sd, *marginal.interval()) for name, marginal in marginals.items()}
    for j, name in enumerate(request.covariates):
        values[f"beta[{name}]"] = fit.beta[j], fit.se_beta[j], *fit.beta_interval(j)
    return [
        Row(request.trait, "exact", name, float(mean), float(sd), "sd", float(lower), float(upper), "eti95")
        for name, (mean, sd, lower, upper) in values.items()
    ]


METHOD = Method(
    name="exact", label="exact", spread="sd", rank=1, order=8,
    fit=lambda request: exact.posterior(request.white, request.prior),
    rows=_rows,
    why=lambda fit, fitted: "the unit of the differences",
    sources=(
        Source("Trefethen and Weideman (2014)", "10.1137/130932132", "the quadrature of the exact posterior"),
    ),
)  # fmt: skip
