r"""Records of one trait with several components of variance: shares of the total.

.. math::

    \pi \sim \text{Dirichlet}(1, \ldots, 1), \qquad \tilde\sigma_p^2 \sim \text{LogNormal}(0, 2), \qquad
    \theta_j = \pi_j \tilde\sigma_p^2, \qquad b \sim \text{flat}

    v_{jl} \sim N(0, 1), \qquad
    y^*_i \sim N\Bigl((Q b)_i + \sum_j \sqrt{\theta_j} (W_j v_j)_i,\; \theta_1 s_i + \theta_e \Bigr)

The first component is the one with most levels, in whose eigenbasis the rows are: its effects are integrated out. W_j
are the levels of another, in the eigenbasis of its own K if it has one. The trait is in units of its residual standard
deviation, kinships have a mean diagonal of 1: :math:`\sigma_j^2 = v \theta_j / k_j` is in the user's.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.priors import ComponentsPrior as Prior
from bayeslmm.likelihood.priors import Flat
from bayeslmm.posterior.components_geometry import Prepared, about_its_mean, in_order, prepare
from bayeslmm.posterior.components_geometry import start as start
from bayeslmm.posterior.components_geometry import starts as starts

DIMS = {"sigma2": ["component"], "share": ["component"], "sigma2_p": [], "beta": ["covariate"]}


def model(data: Components | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample one trait; with ``observe=False`` the rows of the prior predictive."""
    ready = prepare(data)
    rows = ready.data
    shares = numpyro.sample("_shares", dist.Dirichlet(prior.concentrations(len(rows.W) + 2)))
    theta = jnp.asarray(shares) * numpyro.sample("_total", prior.sigma2_p)
    ordered = in_order(ready, theta)
    d, d_of_bins = (ordered[0] * s + ordered[-1] for s in (rows.s, ready.s))
    mean, coefficients = jnp.zeros_like(d), []
    for j, block in enumerate(ready.blocks):  # that of X has no variance: its prior is flat
        variance, law = (ordered[j], dist.Normal(0.0, 1.0)) if j else (jnp.ones(()), Flat())
        with about_its_mean(f"_effects_{j}", block, variance, d_of_bins):
            v = jnp.asarray(numpyro.sample(f"_effects_{j}", law.expand([jnp.shape(block.B)[1]]).to_event(1)))
        mean = mean + block.B @ (jnp.sqrt(variance) * v)
        coefficients.append(v)

    sigma2 = theta * rows.units
    numpyro.deterministic("sigma2", sigma2)
    numpyro.deterministic("share", sigma2 / sigma2.sum())
    numpyro.deterministic("sigma2_p", sigma2.sum())
    numpyro.deterministic("beta", solve_triangular(rows.R, rows.b + rows.sd * coefficients[0]))
    numpyro.sample("y", dist.Normal(mean, jnp.sqrt(d)).to_event(1), obs=rows.Y[:, 0] if observe else None)
    numpyro.factor("unseen", -rows.unseen / 2 * jnp.log(2 * jnp.pi * ordered[-1]))
