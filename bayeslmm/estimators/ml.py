"""Maximum likelihood."""

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.variance_ratio import maximise
from bayeslmm.likelihood.one_trait import log_ml
from bayeslmm.likelihood.whitened import OneTrait


@in_float64
def ml(data: OneTrait) -> Estimate:
    """Estimate the variance components of one trait by maximum likelihood.

    With an intercept and a K that was centred on these individuals, K has a null direction in the span of X and the
    likelihood grows without bound as sigma2_e goes to 0; the search ends at sigma2_e = 1e-5 sigma2_u, and an
    estimate on that end has ``boundary = "h2 = 1"``.

    Args:
        data: one trait (Y of shape (n, 1)) in the eigenbasis of K.

    Raises:
        InputError: if Y has more than one column.

    Source: Hartley and Rao (1967), doi:10.1093/biomet/54.1-2.93; one-dimensional search as in
    Lippert et al. (2011), doi:10.1038/nmeth.1681.
    """
    return maximise(log_ml, data, method="ml")
