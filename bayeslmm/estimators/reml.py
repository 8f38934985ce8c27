"""Restricted maximum likelihood."""

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.variance_ratio import maximise
from bayeslmm.likelihood.one_trait import log_reml
from bayeslmm.likelihood.whitened import OneTrait


@in_float64
def reml(data: OneTrait) -> Estimate:
    """Estimate the variance components of one trait by restricted maximum likelihood.

    Args:
        data: one trait (Y of shape (n, 1)) in the eigenbasis of K.

    Raises:
        InputError: if Y has more than one column.

    Source: Patterson and Thompson (1971), doi:10.1093/biomet/58.3.545; one-dimensional search as in
    Kang et al. (2008), doi:10.1534/genetics.107.080101.
    """
    return maximise(log_reml, data, method="reml")
