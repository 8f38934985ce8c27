r"""Several traits: genetic and residual correlations from the rotated likelihood.

.. math::

    \tilde h^2_j \sim U(0, 1), \qquad \tilde\sigma_{p,j}^2 \sim \text{LogNormal}(0, 2), \qquad
    b_{jk} / \sqrt{v_j} \sim \text{flat}, \qquad \rho_u \sim \text{LKJ}(\eta_u), \quad \rho_e \sim \text{LKJ}(\eta_e)

    \Gamma_u = \text{diag}(\sigma_u) \rho_u \text{diag}(\sigma_u), \qquad
    \sigma_{u,j}^2 = v_j \tilde h^2_j \tilde\sigma_{p,j}^2 / k

    \Gamma_e = \text{diag}(\sigma_e) \rho_e \text{diag}(\sigma_e), \qquad
    \sigma_{e,j}^2 = v_j (1 - \tilde h^2_j) \tilde\sigma_{p,j}^2

    Y^*_i \sim N_t\bigl((Q_1 b_1, \ldots, Q_t b_t)_i,\; s_i \Gamma_u + \Gamma_e \bigr)

v_j is the variance of trait j given its covariates, k the mean of s, X*_j = Q_j R_j, and beta_j = R_j^-1 b_j: as in
:mod:`bayeslmm.models.univariate`, no unit of a trait or of K matters. Missing values are sampled beside the parameters,
under a flat prior: to average over them is to integrate them out of the likelihood.
"""

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import block_diag, solve_triangular
from jaxtyping import Array, Float

from bayeslmm.likelihood import quantities, several_traits
from bayeslmm.likelihood.priors import JointPrior, in_units
from bayeslmm.likelihood.priors import MultivariatePrior as Prior
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.posterior.joint_geometry import Prepared, about_least_squares, from_guess, prepare
from bayeslmm.posterior.joint_geometry import start as start
from bayeslmm.posterior.joint_geometry import starts as starts

DIMS = {
    "h2": ["trait"],
    "sigma2_p": ["trait"],
    "sigma2_u": ["trait"],
    "sigma2_e": ["trait"],
    "Gamma_u": ["trait", "trait_bis"],
    "Gamma_e": ["trait", "trait_bis"],
    "rho_u": ["trait", "trait_bis"],
    "rho_e": ["trait", "trait_bis"],
    "rho_p": ["trait", "trait_bis"],
    "beta": ["coefficient"],
    "X": ["rotated_row", "coefficient"],
    "E": ["rotated_row", "missing_value"],
}


def model(data: JointData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two or more traits; with ``observe=False`` from the prior predictive."""
    ready = prepare(data)
    t = ready.data.Y.shape[1]
    L_u = jnp.asarray(numpyro.sample("_L_u", dist.LKJCholesky(t, prior.eta_u)))
    L_e = jnp.asarray(numpyro.sample("_L_e", dist.LKJCholesky(t, prior.eta_e)))
    rho_u, rho_e = L_u @ L_u.T, L_e @ L_e.T
    numpyro.deterministic("rho_u", rho_u)
    numpyro.deterministic("rho_e", rho_e)
    numpyro.deterministic("rho_p", sample_traits(ready, prior, rho_u, rho_e, observe=observe))


def sample_traits(
    ready: Prepared, prior: JointPrior, rho_u: Float[Array, "t t"], rho_e: Float[Array, "t t"], *, observe: bool
) -> Float[Array, "t t"]:
    """Sample all but the correlations, which are given, and the traits; return the phenotypic correlations."""
    data, sd = ready.data, jnp.asarray(ready.sd)
    t = len(sd)

    share = jnp.asarray(numpyro.sample("_share", prior.h2.expand([t]).to_event(1)))
    total = jnp.asarray(numpyro.sample("_total", prior.sigma2_p.expand([t]).to_event(1)))
    sigma2_u, sigma2_e = sd**2 * share * total / ready.k, sd**2 * (1 - share) * total
    numpyro.deterministic("h2", quantities.h2(sigma2_u, sigma2_e))
    numpyro.deterministic("sigma2_p", sigma2_u + sigma2_e)
    Gamma_u = rho_u * jnp.sqrt(jnp.outer(sigma2_u, sigma2_u))
    Gamma_e = rho_e * jnp.sqrt(jnp.outer(sigma2_e, sigma2_e))
    for name, value in {"sigma2_u": sigma2_u, "sigma2_e": sigma2_e, "Gamma_u": Gamma_u, "Gamma_e": Gamma_e}.items():
        numpyro.deterministic(name, value)

    with about_least_squares("_b", ready, sigma2_u, sigma2_e):
        b = jnp.asarray(numpyro.sample("_b", in_units(prior.beta, sd[ready.trait_of]).to_event(1)))
    numpyro.deterministic("beta", solve_triangular(block_diag(*ready.R), b))

    parts = jnp.split(b, np.cumsum([Q.shape[1] for Q in data.X])[:-1])
    mean = jnp.stack([Q @ part for Q, part in zip(data.X, parts, strict=True)], axis=1)
    if observe and ready.missing:
        z = numpyro.sample("_missing", dist.ImproperUniform(dist.constraints.real, (), (ready.missing,)))
        mean = mean + from_guess(ready, z)
    y = several_traits.multivariate(data.s, mean, Gamma_u, Gamma_e, data.counts)
    numpyro.sample("y", y, obs=data.Y if observe else None)
    return quantities.correlation(Gamma_u + Gamma_e)
