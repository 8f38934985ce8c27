r"""Several traits with several components of variance: shares of the total of each trait, and correlations.

.. math::

    \pi_a \sim \text{Dirichlet}(1, \ldots, 1), \qquad \tilde\sigma_{p,a}^2 \sim \text{LogNormal}(0, 2), \qquad
    \rho_j \sim \text{LKJ}(\eta_j), \qquad b_a \sim \text{flat}

    \Sigma_j = F_j F_j' = \text{diag}(\sigma_j) \rho_j \text{diag}(\sigma_j), \qquad
    \sigma_{ja}^2 = \pi_{aj} \tilde\sigma_{p,a}^2, \qquad v_{jl} \sim N_t(0, I)

    Y^*_i \sim N_t\Bigl( (Q_1 b_1, \ldots, Q_t b_t)_i + \sum_j (W_j v_j F_j')_i,\; s_i \Sigma_1 + \Sigma_e \Bigr)

As in :mod:`bayeslmm.models.components`, rows are in the eigenbasis of the component with most levels, whose effects are
integrated out, and traits and kinships in units in which their numbers are near 1. A missing value is sampled beside
the fixed effects of its trait, under a flat prior: to average over it is to integrate it out.
"""

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular

from bayeslmm.likelihood import quantities, several_traits
from bayeslmm.likelihood.joint_components import JointComponents
from bayeslmm.likelihood.priors import JointComponentsPrior as Prior
from bayeslmm.posterior.joint_components_geometry import (
    Prepared,
    correlation_root,
    effects,
    fixed_effects,
    inverses_of_bins,
    prepare,
)
from bayeslmm.posterior.joint_components_geometry import start as start
from bayeslmm.posterior.joint_components_geometry import starts as starts

DIMS = {
    "sigma2": ["component", "trait"],
    "share": ["component", "trait"],
    "sigma2_p": ["trait"],
    "cov": ["component", "trait", "trait_bis"],
    "rho": ["component", "trait", "trait_bis"],
    "rho_p": ["trait", "trait_bis"],
    "beta": ["coefficient"],
}


def model(data: JointComponents | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two or more traits; with ``observe=False`` the rows of the prior predictive."""
    ready = prepare(data)
    rows = ready.data
    t, k = len(rows.R), len(rows.W) + 2
    shares = jnp.asarray(numpyro.sample("_shares", dist.Dirichlet(prior.concentrations(k)).expand([t]).to_event(1)))
    total = jnp.asarray(numpyro.sample("_total", prior.sigma2_p.expand([t]).to_event(1)))
    roots = [correlation_root(f"_L_{j}", t, eta) for j, eta in enumerate(prior.etas(k))]
    F = jnp.sqrt(shares * total[:, None]).T[:, :, None] * jnp.stack(roots)
    Sigma, back = F @ F.transpose(0, 2, 1), jnp.argsort(jnp.asarray(rows.order))
    lead, residual = Sigma[back[0]], Sigma[back[-1]]
    inverses = inverses_of_bins(ready, lead, residual)

    means, beta = [], []
    for a, block in enumerate(ready.fixed):
        coefficients = fixed_effects(f"_fixed_{a}", block, a, inverses)
        of_X = ready.of_X[a] @ coefficients
        means.append(block.B @ coefficients if observe else rows.fixed[a][:, : len(of_X)] @ of_X)
        beta.append(solve_triangular(rows.R[a], rows.b[a] + rows.sd[a] * of_X))
    mean = jnp.stack(means, axis=1)
    for j, block in enumerate(ready.groups):
        mean = mean + block.B @ effects(f"_effects_{j}", block, F[back[1 + j]], inverses, observe=observe)

    for name, value in quantities.of_components(Sigma * rows.units).items():
        numpyro.deterministic(name, value)
    numpyro.deterministic("sigma2_p", quantities.diagonal(Sigma * rows.units).sum(axis=0))
    numpyro.deterministic("beta", jnp.concatenate(beta))
    numpyro.sample("y", several_traits.multivariate(rows.s, mean, lead, residual), obs=rows.Y if observe else None)
    log_det = jnp.linalg.slogdet(residual)[1]
    numpyro.factor("unseen", -rows.unseen / 2 * (t * jnp.log(2 * jnp.pi) + log_det))
