r"""One trait: heritability from the rotated likelihood.

.. math::

    \tilde h^2 \sim \text{Beta}(1, 1) = U(0, 1), \qquad \tilde\sigma_p^2 \sim \text{LogNormal}(0, 2), \qquad
    b_j / \sqrt v \sim \text{flat}

    y^*_i \sim N\bigl((Q b)_i,\; \sigma_u^2 s_i + \sigma_e^2 \bigr), \qquad
    \sigma_u^2 = v \tilde h^2 \tilde\sigma_p^2 / k, \quad \sigma_e^2 = v (1 - \tilde h^2) \tilde\sigma_p^2

v is the variance of y given X, k the mean of s (the mean diagonal of K), X* = Q R, and beta = R^-1 b are the fixed
effects in the user's units. So the priors are about a trait of unit variance and a K with a mean diagonal of 1, where
:math:`\tilde h^2` is h2; neither the unit of the trait nor that of K matters.
"""

import jax.numpy as jnp
import numpyro
from jax.scipy.linalg import solve_triangular

from bayeslmm.likelihood import one_trait, quantities
from bayeslmm.likelihood.priors import VariancePrior as Prior
from bayeslmm.likelihood.priors import in_units
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.posterior.geometry import Prepared, about_least_squares, prepare
from bayeslmm.posterior.geometry import start as start
from bayeslmm.posterior.geometry import starts as starts

DIMS = {
    "h2": ["trait"],
    "sigma2_p": ["trait"],
    "sigma2_u": ["trait"],
    "sigma2_e": ["trait"],
    "pve": ["trait"],
    "beta": ["covariate", "trait"],
    "b": ["orthonormal_covariate", "trait"],
    "b_base": ["orthonormal_covariate", "trait"],
}


def model(data: RotatedData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample one trait; with ``observe=False`` from the prior predictive."""
    ready = prepare(data)
    s, Y, Q, k_scale, counts = ready.data

    share = jnp.asarray(numpyro.sample("_share", prior.h2.expand([1]).to_event(1)))
    total = jnp.asarray(numpyro.sample("_total", prior.sigma2_p.expand([1]).to_event(1)))
    sigma2_u, sigma2_e = ready.v * share * total / ready.k, ready.v * (1 - share) * total
    with about_least_squares("b", ready, sigma2_u, sigma2_e):
        b = numpyro.sample("b", in_units(prior.beta, jnp.sqrt(ready.v)).expand([Q.shape[1], 1]).to_event(2))

    for name, value in {"sigma2_u": sigma2_u, "sigma2_e": sigma2_e, "sigma2_p": sigma2_u + sigma2_e}.items():
        numpyro.deterministic(name, value)
    numpyro.deterministic("h2", quantities.h2(sigma2_u, sigma2_e))
    numpyro.deterministic("pve", quantities.pve(sigma2_u, sigma2_e, k_scale))
    numpyro.deterministic("beta", solve_triangular(ready.R, b))
    y = one_trait.univariate(s, (Q @ b)[:, 0], sigma2_u[0], sigma2_e[0], counts)
    numpyro.sample("y", y, obs=Y[:, 0] if observe else None)
