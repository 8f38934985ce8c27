"""The method of moments with random vectors in place of the kinship matrix."""

from bayeslmm.analyses.method import Fitted, Method, Near, TraitRequest
from bayeslmm.analyses.methods.mom import moments_rows
from bayeslmm.analyses.source import Source
from bayeslmm.estimators.moments import Moments, randomised_moments


def _fit(request: TraitRequest) -> Moments:
    # It sees the genotypes, not whether K was divided by its mean diagonal.
    fit = randomised_moments(*request.genotyped("rhe"), seed=request.seed)
    return fit.with_k_scale(request.data.k_scale)


def _near(fit: Moments, fitted: Fitted) -> Near:
    return Near("mom", fitted.get("mom", Moments).h2, 3 * fit.monte_carlo_errors()["h2"])


METHOD = Method(
    name="rhe", label="randomised moments", spread="se", rank=8, order=6,
    fit=_fit,
    rows=moments_rows,
    near=_near,
    why=lambda fit, fitted: "3 Monte Carlo standard errors of the random vectors",
    needs="genotypes",
    wide=True,
    sources=(Source("Wu and Sankararaman (2018)", "10.1093/bioinformatics/bty253", "randomised moments"),),
)  # fmt: skip
