"""Restricted maximum likelihood."""

import numpy as np

from bayeslmm.analyses.method import Fitted, Method, Near
from bayeslmm.analyses.rows import likelihood_rows
from bayeslmm.analyses.source import Source
from bayeslmm.estimators.estimate import Estimate

SOURCE = Source("Patterson and Thompson (1971)", "10.1093/biomet/58.3.545", "restricted maximum likelihood")
BOUND = Source("Self and Liang (1987)", "10.1080/01621459.1987.10478472", "likelihood ratios on the boundary")


def _near(fit: Estimate, fitted: Fitted) -> Near:
    """About the mode of the posterior under a flat prior: a mode is within sqrt(3) sd of the mean."""
    return Near("exact, flat prior", fitted.flat.mean, np.sqrt(3) * fitted.flat.sd)


def _why(fit: Estimate, fitted: Fitted) -> str:
    why = f"on the boundary ({fit.boundary}), where a mean cannot be" if fit.boundary else "a mode is not a mean"
    return f"{why}: sqrt(3) posterior sd"


METHOD = Method(
    name="reml", label="REML", spread="se", rank=3, order=1,
    fit=lambda request: request.reml,
    rows=likelihood_rows,
    near=_near,
    why=_why,
    sources=(SOURCE, BOUND),
)  # fmt: skip
