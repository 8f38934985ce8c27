r"""A trait of two values: cases are those whose liability exceeds 0.

.. math::

    \tilde h^2 \sim \text{Beta}(1, 1) = U(0, 1), \qquad b_j \sim \text{flat}, \qquad z_j \sim N(0, 1)

    \tilde l = Q b + \sqrt{\tilde h^2} \, U (S / k)^{1/2} z + \sqrt{1 - \tilde h^2} \, e, \qquad e \sim N(0, I), \qquad
    y_i = [\tilde l_i > 0]

k is the mean diagonal of K, so that the liability has a variance of 1 given the covariates; X = Q R, and e is
integrated out. What is reported is in units of the residual, :math:`l = X \beta + g + e` with :math:`g \sim N(0,
\sigma_u^2 K)` and :math:`e \sim N(0, I)`:

.. math::

    \sigma_u^2 = \frac{\tilde h^2}{k (1 - \tilde h^2)}, \qquad h^2 = \frac{\sigma_u^2}{\sigma_u^2 + 1}, \qquad
    \beta = R^{-1} b / \sqrt{1 - \tilde h^2}

A flat prior is one on b, in units of the whole liability. In units of the residual it would have an infinite mass where
:math:`\tilde h^2` nears 1, as soon as there are two covariates.

The sample is modelled as it is: where cases are more frequent than in the population, h2 is not that of the population.

Source: Wright (1934), doi:10.1093/genetics/19.6.506; Albert and Chib (1993), doi:10.1080/01621459.1993.10476321.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import VariancePrior as Prior
from bayeslmm.likelihood.two_values import Threshold, TwoValues
from bayeslmm.posterior.threshold_geometry import Prepared, about_first_order, prepare
from bayeslmm.posterior.threshold_geometry import start as start
from bayeslmm.posterior.threshold_geometry import starts as starts

DIMS = {"h2_liability": [], "sigma2_u_liability": [], "beta_liability": ["covariate"]}


def model(data: TwoValues | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample one trait, with h2 and beta of the prior; with ``observe=False`` from the prior predictive."""
    ready = prepare(data)
    n, c = jnp.shape(ready.Q)
    share = jnp.asarray(numpyro.sample("_share", prior.h2))
    with about_first_order(ready, share):
        b = jnp.asarray(numpyro.sample("b", prior.beta.expand([c]).to_event(1)))
        z = jnp.asarray(numpyro.sample("_z", dist.Normal(0.0, 1.0).expand([n]).to_event(1)))
    sd = jnp.sqrt(1 - share)
    sigma2_u = share / (1 - share) / ready.k
    numpyro.deterministic("h2_liability", quantities.h2(sigma2_u, 1.0))
    numpyro.deterministic("sigma2_u_liability", sigma2_u)
    numpyro.deterministic("beta_liability", solve_triangular(ready.R, b) / sd)
    law = Threshold(ready.Q @ b + jnp.sqrt(share) * (ready.L @ z), sd)
    numpyro.sample("y", law, obs=ready.case if observe else None)
