"""The geometry of the program of one trait: what is computed once, coordinates that suit NUTS, and starting values."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import whitened
from bayeslmm.posterior import exact


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


def prepare(data: RotatedData | Prepared) -> Prepared:
    """Do the arithmetic on X and y that no parameter takes part in, unless it is done."""
    if isinstance(data, Prepared):
        return data
    white = whitened(data)
    Q = white.data.X
    along = (np.square(Q).T @ data.s)[:, None]
    return Prepared(data._replace(X=Q), white.R, np.array([white.sd**2]), np.array([white.k]), white.b[:, None], along)


def about_least_squares(site: str, ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> reparam:
    """Return a context in which the fixed effects of a site are sampled as ``<site>_base``: b less Q'y, in its errors.

    With an intercept and a centred K their variance is sigma2_e alone: sampled as they are, they would be the neck of
    a funnel where h2 nears 1.
    """
    return reparam(config={site: ExplicitReparam(_least_squares(ready, sigma2_u, sigma2_e).inv)})


def start(data: RotatedData) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate, a hundredth inside the bounds of the share."""
    fit, ready = reml(data), prepare(data)
    u, e = fit.sigma2_u * ready.k / ready.v, fit.sigma2_e / ready.v
    share, total = np.clip(u / (u + e), 0.01, 0.99), u + e
    to_base = _least_squares(ready, ready.v * share * total / ready.k, ready.v * (1 - share) * total).inv
    return {"_share": share, "_total": total, "b_base": to_base((ready.R @ fit.beta)[:, None])}


def starts(data: RotatedData, prior: VariancePrior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: draws of the quadrature, and b about least squares.

    Chains that start in all parts of the posterior find its modes, or disagree.
    """
    rng = np.random.default_rng(seed)
    share, total = exact.posterior(data, prior).draws(chains, rng)
    b = rng.standard_normal((chains, data.X.shape[1], 1))
    return [{"_share": share[[c]], "_total": total[[c]], "b_base": b[c]} for c in range(chains)]


def _least_squares(ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> AffineTransform:
    """Map a standard normal to b: least squares gives Q'y, with variance sigma2_u diag(Q'SQ) + sigma2_e."""
    return AffineTransform(jnp.asarray(ready.least_squares), jnp.sqrt(sigma2_u * ready.along + sigma2_e))
