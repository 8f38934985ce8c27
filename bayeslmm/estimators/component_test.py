"""Likelihood-ratio tests of components of variance, whose null lies on the boundary."""

from dataclasses import dataclass

import numpy as np

from bayeslmm.estimators.boundary import mixture_p_value, reml_distribution
from bayeslmm.estimators.components_reml import ComponentsEstimate, components_reml

_DRAWS = 10_000
_CONVERGED = 1e-9
"""Of the fit without the component, of which only the likelihood is needed: its last steps are many and short."""


@dataclass(frozen=True)
class ComponentTest:
    """The test that a component of variance is 0.

    Attributes:
        statistic: twice the gain of the restricted log-likelihood over the fit without it.
        p_value: simulated from the model without it, in which the ratios of the other variances are those estimated.
            Exact in finite samples where there is no other component.
        p_value_error: Monte Carlo standard error of that.
        p_mixture: of the mixture 1/2 chi2_0 + 1/2 chi2_1, which holds for many levels if no other variance is 0; NaN
            where one is estimated to be, since the mixture is then another.
        null: the fit without it.
    """

    statistic: float
    p_value: float
    p_value_error: float
    p_mixture: float
    null: ComponentsEstimate


def component_test(estimate: ComponentsEstimate, name: str, *, seed: int) -> ComponentTest:
    """Test whether a component of variance is 0.

    With the ratios of the other variances given, error contrasts whitened by them have the covariance
    :math:`(1 - h) I + h W'PW` up to a scale: the problem of one component, whose null distribution is known from the
    eigenvalues of W'PW alone.

    Args:
        estimate: REML of all components.
        name: of the one to test.
        seed: of the simulation.

    Raises:
        InputError: if there is no component of this name besides the residual.

    Source: Crainiceanu and Ruppert (2004), doi:10.1111/j.1467-9868.2004.00438.x; Greven et al. (2008),
    doi:10.1198/106186008X386599, for several components.
    """
    data = estimate.data
    null = components_reml(data, without=[name], start=estimate, converged=_CONVERGED)
    statistic = max(2 * (estimate.loglik - null.loglik), 0.0)
    mu = np.maximum(np.linalg.eigvalsh(null.solved.between(data.names.index(name))), 0.0)
    df = data.n - data.c
    mu = np.append(np.zeros(max(df - len(mu), 0)), mu[max(len(mu) - df, 0) :])
    distribution = reml_distribution(mu, seed=seed, draws=_DRAWS)
    return ComponentTest(
        statistic=statistic,
        p_value=distribution.p_value(statistic),
        p_value_error=distribution.p_value_error(statistic),
        p_mixture=np.nan if null.boundary else mixture_p_value(statistic),
        null=null,
    )
