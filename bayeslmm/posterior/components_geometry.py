r"""Several components: what their program computes once, coordinates that suit NUTS, and starting values.

Given the variances, the effects v of a component have a normal posterior; with effects and variances sampled together,
NUTS would have to follow how the first depends on the second. So what it samples is :math:`z_k = (v_k - m_k) p_k^{1/2}`
with the mean and the precision that v_k would have if it was the only effect,

.. math::

    p_k = 1 + \theta_j \sum_i B_{ik}^2 / d_i, \qquad m_k = \sqrt{\theta_j} \sum_i B_{ik} y_i / d_i / p_k

where y is less what the others contribute at the mode, and B = WQ are coordinates in which W'D^-1W is diagonal at the
mode: then z is nearly N(0, 1), whatever the variances, and they have nearly the density that integrates v out. Any m
and p give the same posterior, so rows of nearly the same eigenvalue, and so nearly the same d, count as one.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.mixed_model_equations import ComponentData
from bayeslmm.likelihood.priors import ComponentsPrior
from bayeslmm.posterior.components_laplace import laplace

_BINS = 32  # of rows


class Block(NamedTuple):
    """Columns whose coefficients are sampled together: X, or W of a component.

    Attributes:
        B: columns, shape (rows, q).
        squares: sums of squares of each over rows of nearly the same eigenvalue, shape (bins, q).
        products: the same of its products with y, less what other blocks contribute at the mode.
        penalty: prior precision of the coefficients in units of their standard deviation: 1, or 0 for X.
    """

    B: Float[ArrayLike, "rows q"]
    squares: Float[ArrayLike, "bins q"]
    products: Float[ArrayLike, "bins q"]
    penalty: Float[ArrayLike, ""]


class Prepared(NamedTuple):
    """What the program takes.

    Attributes:
        data: the records in the eigenbasis of their leading component.
        blocks: X, then the others.
        s: eigenvalue of each bin of rows, shape (bins,).
    """

    data: ComponentData
    blocks: tuple[Block, ...]
    s: Float[ArrayLike, " bins"]


def prepare(data: Components | Prepared) -> Prepared:
    """Do what no parameter takes part in, unless it is done."""
    if isinstance(data, Prepared):
        return data
    rows, theta = data.rotated, np.exp(laplace(data, ComponentsPrior()).mode)
    fitted, lead = data.equations.at(theta).fitted, int(np.argmin(rows.order))
    d = theta[lead] * rows.s + theta[-1]
    bins = np.array_split(np.argsort(rows.s), min(_BINS, len(d)))
    blocks: list[Block] = []
    for j, W in enumerate((rows.X, *rows.W)):
        B = W @ np.linalg.eigh(W.T @ (W / d[:, None]))[1] if j else W
        By = B * (rows.Y - np.delete(fitted, j, axis=1).sum(axis=1, keepdims=True))
        squares, products = (np.array([of_rows[some].sum(axis=0) for some in bins]) for of_rows in (B**2, By))
        blocks.append(Block(B, squares, products, np.array(float(j > 0))))
    return Prepared(rows, tuple(blocks), np.array([rows.s[some].mean() for some in bins]))


def about_its_mean(site: str, block: Block, variance: ArrayLike, d: ArrayLike) -> reparam:
    """Return a context in which the coefficients of a site are sampled as ``<site>_base``: nearly N(0, 1).

    Args:
        site: its name.
        block: its columns.
        variance: of the effects, which are in units of their standard deviation.
        d: variances of the bins of rows, shape (bins,).
    """
    precision = block.penalty + variance * (1 / jnp.asarray(d) @ block.squares)
    mean = jnp.sqrt(variance) * (1 / jnp.asarray(d) @ block.products) / precision
    return reparam(config={site: ExplicitReparam(AffineTransform(mean, precision**-0.5).inv)})


def in_order(ready: Prepared, theta: ArrayLike) -> jax.Array:
    """Return variances of the leading component, of those of W, and of the residual, from those in the user's order."""
    return jnp.asarray(theta)[jnp.argsort(jnp.asarray(ready.data.order))]


def start(data: Components) -> dict[str, ArrayLike]:
    """Return values of all sites at the mode."""
    theta = np.exp(laplace(data, ComponentsPrior()).mode)
    sizes = [data.c, *(W.shape[1] for W in data.rotated.W)]
    effects = {f"_effects_{j}_base": np.zeros(size) for j, size in enumerate(sizes)}
    return {"_shares": theta / theta.sum(), "_total": theta.sum(), **effects}


def starts(data: Components, prior: ComponentsPrior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: of the Laplace approximation, and standard normal ones."""
    rng, about, places = np.random.default_rng(seed), laplace(data, prior or ComponentsPrior()), start(data)
    draws = np.exp(rng.multivariate_normal(about.mode, about.covariance, chains, method="cholesky"))
    effects = [name for name in places if name.startswith("_effects")]
    return [
        {"_shares": theta / theta.sum(), "_total": theta.sum()}
        | {name: rng.standard_normal(np.shape(places[name])) for name in effects}
        for theta in draws
    ]
