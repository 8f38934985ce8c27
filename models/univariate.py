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

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood import one_trait, quantities
from bayeslmm.likelihood.priors import VariancePrior as Prior
from bayeslmm.likelihood.priors import in_units
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import whitened
from bayeslmm.posterior import exact

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


class Prepared(NamedTuple):
    """What the program computes of the data once.

    Attributes:
        data: as given, but X is orthonormal: Q.
        R: with X = Q R.
        v: variance of y given X, shape (1,).
        k: mean of s, shape (1,).
        least_squares: Q'y, shape (c, 1).
        along: diagonal of Q'SQ, shape (c, 1).
    """

    data: RotatedData
    R: Float[ArrayLike, "c c"]
    v: Float[ArrayLike, " 1"]
    k: Float[ArrayLike, " 1"]
    least_squares: Float[ArrayLike, "c 1"]
    along: Float[ArrayLike, "c 1"]


def prepare(data: RotatedData) -> Prepared:
    """Do the arithmetic on X and y that no parameter has a part in."""
    of = whitened(data)
    Q = of.data.X
    along = (np.square(Q).T @ data.s)[:, None]
    return Prepared(data._replace(X=Q), of.R, np.array([of.sd**2]), np.array([of.k]), of.b[:, None], along)


def model(data: RotatedData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample one trait; with ``observe=False`` from the prior predictive."""
    ready = data if isinstance(data, Prepared) else prepare(data)
    s, Y, Q, k_scale = ready.data
    c = Q.shape[1]

    share = jnp.asarray(numpyro.sample("_share", prior.h2.expand([1]).to_event(1)))
    total = jnp.asarray(numpyro.sample("_total", prior.sigma2_p.expand([1]).to_event(1)))
    sigma2_u, sigma2_e = ready.v * share * total / ready.k, ready.v * (1 - share) * total
    with reparam(config={"b": ExplicitReparam(_least_squares(ready, sigma2_u, sigma2_e).inv)}):
        b = numpyro.sample("b", in_units(prior.beta, jnp.sqrt(ready.v)).expand([c, 1]).to_event(2))

    for name, value in {"sigma2_u": sigma2_u, "sigma2_e": sigma2_e, "sigma2_p": sigma2_u + sigma2_e}.items():
        numpyro.deterministic(name, value)
    numpyro.deterministic("h2", quantities.h2(sigma2_u, sigma2_e))
    numpyro.deterministic("pve", quantities.pve(sigma2_u, sigma2_e, k_scale))
    numpyro.deterministic("beta", solve_triangular(ready.R, b))
    y = one_trait.univariate(s, (Q @ b)[:, 0], sigma2_u[0], sigma2_e[0])
    numpyro.sample("y", y, obs=Y[:, 0] if observe else None)


def start(data: RotatedData) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate, a hundredth inside the bounds of the share."""
    fit, ready = reml(data), prepare(data)
    u, e = fit.sigma2_u * ready.k / ready.v, fit.sigma2_e / ready.v
    share, total = np.clip(u / (u + e), 0.01, 0.99), u + e
    to_base = _least_squares(ready, ready.v * share * total / ready.k, ready.v * (1 - share) * total).inv
    return {"_share": share, "_total": total, "b_base": to_base((ready.R @ fit.beta)[:, None])}


def _least_squares(ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> AffineTransform:
    """Map a standard normal to b: least squares gives Q'y, with variance sigma2_u diag(Q'SQ) + sigma2_e.

    With an intercept and a centred K that variance is sigma2_e alone: sampled as it is, b would be the neck of a
    funnel where h2 nears 1.
    """
    return AffineTransform(jnp.asarray(ready.least_squares), jnp.sqrt(sigma2_u * ready.along + sigma2_e))


def starts(data: RotatedData, prior: Prior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: draws of the quadrature, and b about least squares.

    Chains that start in all parts of the posterior find its modes, or disagree.
    """
    rng = np.random.default_rng(seed)
    share, total = exact.posterior(data, prior).draws(chains, rng)
    b = rng.standard_normal((chains, data.X.shape[1], 1))
    return [{"_share": share[[c]], "_total": total[[c]], "b_base": b[c]} for c in range(chains)]
