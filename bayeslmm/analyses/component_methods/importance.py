"""The posterior of several components of variance by importance sampling."""

from bayeslmm.analyses.component_rows import ComponentsRequest, draws_of
from bayeslmm.analyses.method import Method
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Row, weighted_row
from bayeslmm.posterior.importance import ImportancePosterior, importance


def _rows(fit: ImportancePosterior, request: ComponentsRequest) -> list[Row]:
    """Return means, standard deviations and equal-tailed intervals, each with the error of the mean; the evidence."""
    draws = draws_of(fit.sigma2, request)
    rows = [weighted_row(request.trait, parameter, values, fit) for parameter, values in draws.items()]
    evidence = Row(request.trait, "importance", "log_evidence", fit.log_evidence, fit.log_evidence_error, "mc")
    return [*rows, evidence]


METHOD = Method(
    name="importance", label="importance sampling", spread="sd", rank=1, order=8,
    fit=lambda request: importance(
        request.data, seed=request.seed, prior=request.components_prior, workers=request.workers
    ),
    rows=_rows,
    sources=(
        Source("Vehtari et al. (2024)", "JMLR 25(72)", "Pareto-smoothed importance sampling and its k"),
        Source("Tierney and Kadane (1986)", "10.1080/01621459.1986.10478240", "the Laplace approximation"),
        Source("Geweke (1989)", "10.2307/1913710", "the split Student t"),
    ),
)  # fmt: skip
