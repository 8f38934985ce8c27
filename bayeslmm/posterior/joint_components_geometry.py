r"""Several traits with several components: what their program computes once, and coordinates that suit NUTS.

As in `components_geometry`, coefficients are sampled as what is left of them once the mean and the precision are taken
out that they would have if they were the only ones. For a component with effects :math:`F v_k`, v_k of t independent
standard normals for each of its levels, and :math:`\Sigma = F F'`, these are

.. math::

    P_k = I + F' \Bigl( \sum_i B_{ik}^2 V_i^{-1} \Bigr) F, \qquad m_k = P_k^{-1} F' \sum_i B_{ik} V_i^{-1} y_i, \qquad
    V_i = s_i \Sigma_1 + \Sigma_e

with y less what all others contribute at the mode. Fixed effects of a trait, its missing values among them, have a flat
prior and the element of :math:`V_i^{-1}` that is theirs. Rows of nearly the same eigenvalue count as one.

Partial correlations are sampled on the real line as probits: where data leave one near a bound, NUTS has the tail of a
normal to explore.
"""

import itertools
from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
import scipy.linalg
from jax.scipy.special import expit, log_ndtr, ndtri
from jax.scipy.stats import norm
from jax.typing import ArrayLike
from jaxtyping import Float, Float64
from numpy import ndarray
from numpyro.distributions.transforms import ComposeTransform, CorrCholeskyTransform, ParameterFreeTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_components_reml import joint_components_reml
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_components import JointComponentData, JointComponents
from bayeslmm.likelihood.priors import ComponentsPrior, Flat, JointComponentsPrior
from bayeslmm.likelihood.several_traits import row_covariances
from bayeslmm.likelihood.small_matrices import Matrices, cholesky, inverse, solve_lower, solve_upper
from bayeslmm.posterior.components_laplace import laplace

_BINS = 32  # of rows
_LEAST_SHARE = 0.02  # of the variance of a trait, and what correlations are less than 1 by: the geometry is that inside
_LESS = 0.95


class Block(NamedTuple):
    """Columns whose coefficients are sampled together.

    Attributes:
        B: columns, shape (rows, q).
        squares: sums of squares of each over rows of nearly the same eigenvalue, shape (bins, q).
        products: the same of its products with the traits, less what other blocks contribute at the mode.
    """

    B: Float[ArrayLike, "rows q"]
    squares: Float[ArrayLike, "bins q"]
    products: Float[ArrayLike, "bins q t"]


class Prepared(NamedTuple):
    """What the program takes.

    Attributes:
        data: the rows in the eigenbasis of their leading component.
        fixed: for each trait, X and missing values.
        of_X: for each trait the coefficients of X from those of its block, shapes (c_j, c_j + m_j).
        groups: the components but the leading one.
        s: eigenvalue of each bin of rows, shape (bins,).
    """

    data: JointComponentData
    fixed: tuple[Block, ...]
    of_X: tuple[Float[ArrayLike, "c q"], ...]
    groups: tuple[Block, ...]
    s: Float[ArrayLike, " bins"]


def prepare(data: JointComponents | Prepared) -> Prepared:
    """Do what no parameter takes part in, unless it is done.

    Raises:
        InputError: if there is one trait.
    """
    if isinstance(data, Prepared):
        return data
    if data.t < 2:
        raise InputError("joint_components is a program of two or more traits, but one was given: use components")
    rows, Sigma = data.rotated, inside(data)
    ordered = Sigma[np.argsort(rows.order)]
    inverses = np.linalg.inv(rows.s[:, None, None] * ordered[0] + ordered[-1])
    fitted = _fitted(rows, ordered, inverses)
    bins = np.array_split(np.argsort(rows.s), min(_BINS, len(rows.s)))

    def block(B: ndarray, others: ndarray) -> Block:
        left = rows.Y - others
        squares = np.array([np.square(B[some]).sum(axis=0) for some in bins])
        return Block(B, squares, np.array([B[some].T @ left[some] for some in bins]))

    def along(T: ndarray, weights: ndarray) -> ndarray:
        return np.linalg.eigh(T.T @ (T * weights[:, None]))[1]

    total = sum(fitted)
    fixed, of_X = [], []
    for a, (T, R) in enumerate(zip(rows.fixed, rows.R, strict=True)):
        turn = along(T, inverses[:, a, a])
        fixed.append(block(T @ turn, total - fitted[a]))
        of_X.append(turn[: len(R)])
    mean_weights = np.trace(inverses, axis1=1, axis2=2) / data.t
    groups = [block(W @ along(W, mean_weights), total - own) for W, own in zip(rows.W, fitted[data.t :], strict=True)]
    return Prepared(rows, tuple(fixed), tuple(of_X), tuple(groups), np.array([rows.s[some].mean() for some in bins]))


@lru_cache(maxsize=1)  # the same data come for the geometry, for the Laplace approximation, and for the chains
def inside(data: JointComponents) -> Float64[ndarray, "k t t"]:
    """Return covariance matrices near REML, in units of the data, and inside all bounds."""
    Sigma = joint_components_reml(data).Sigma / data.units
    variances = quantities.diagonal(Sigma)
    sd = np.sqrt(np.maximum(variances, _LEAST_SHARE * variances.sum(axis=0)))
    with np.errstate(invalid="ignore", divide="ignore"):
        rho = _LESS * np.nan_to_num(quantities.correlation(Sigma), posinf=0.0, neginf=0.0)
    rho[:, *np.diag_indices(data.t)] = 1.0
    return rho * sd[:, :, None] * sd[:, None, :]


def _fitted(
    rows: JointComponentData, ordered: Float64[ndarray, "k t t"], inverses: Float64[ndarray, "rows t t"]
) -> list[Float64[ndarray, "rows t"]]:
    """Return what the fixed effects of each trait, and each group, contribute to the rows at given covariances."""
    t = rows.Y.shape[1]
    designs = [np.column_stack([T, *rows.W]) for T in rows.fixed]
    ends = np.cumsum([0, *(T.shape[1] for T in designs)]).tolist()
    at = [slice(a, b) for a, b in itertools.pairwise(ends)]
    sizes = [W.shape[1] for W in rows.W]
    C, right = np.empty((ends[-1], ends[-1])), np.empty(ends[-1])
    penalties = np.array([np.linalg.inv(one) for one in ordered[1:-1]]).reshape(len(sizes), t, t)
    for a in range(t):
        right[at[a]] = designs[a].T @ np.einsum("ic,ic->i", inverses[:, a], rows.Y)
        for c in range(t):
            C[at[a], at[c]] = designs[a].T @ (designs[c] * inverses[:, a, c, None])
            penalty = np.repeat(penalties[:, a, c], sizes)
            i = np.arange(len(penalty))
            C[at[a], at[c]][rows.fixed[a].shape[1] + i, rows.fixed[c].shape[1] + i] += penalty
    coefficients = scipy.linalg.solve(C, right, assume_a="pos")
    contributions = [np.zeros_like(rows.Y) for _ in range(t + len(sizes))]
    for a, own in enumerate(at):
        parts = np.split(coefficients[own], np.cumsum([rows.fixed[a].shape[1], *sizes])[:-1])
        contributions[a][:, a] = rows.fixed[a] @ parts[0]
        for j, (W, part) in enumerate(zip(rows.W, parts[1:], strict=True)):
            contributions[t + j][:, a] = W @ part
    return contributions


class _Probit(ParameterFreeTransform):
    """Map the real line to itself, so that tanh of the one is 2 Phi - 1 of the other."""

    domain = dist.constraints.real  # pyright: ignore
    codomain = dist.constraints.real  # pyright: ignore

    def __call__(self, x: ArrayLike) -> jax.Array:
        return ndtri(expit(2 * jnp.asarray(x)))

    def _inverse(self, y: ArrayLike) -> jax.Array:
        return (log_ndtr(jnp.asarray(y)) - log_ndtr(-jnp.asarray(y))) / 2

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike, intermediates: None = None) -> jax.Array:
        x, y = jnp.asarray(x), jnp.asarray(y)
        return jnp.log(2.0) - jax.nn.softplus(2 * x) - jax.nn.softplus(-2 * x) - norm.logpdf(y)


_AS_PROBITS = ComposeTransform([CorrCholeskyTransform().inv, _Probit()])


def correlation_root(site: str, t: int, eta: ArrayLike) -> jax.Array:
    """Sample the Cholesky factor of a correlation matrix under LKJ(eta), shape (t, t)."""
    with reparam(config={site: ExplicitReparam(_AS_PROBITS)}):
        return jnp.asarray(numpyro.sample(site, dist.LKJCholesky(t, eta)))


def inverses_of_bins(ready: Prepared, lead: ArrayLike, residual: ArrayLike) -> Matrices:
    """Return V^-1 of the bins of rows, given the covariance matrices of the leading component and of the residual."""
    return inverse(cholesky(row_covariances(ready.s, lead, residual)))


def fixed_effects(site: str, block: Block, trait: int, inverses: Matrices) -> jax.Array:
    """Sample the coefficients of a block of fixed effects, under a flat prior, and return them, shape (q,)."""
    weights = [jnp.asarray(part) for part in inverses[trait]]
    precision = weights[trait] @ block.squares
    mean = sum(w @ jnp.asarray(block.products)[..., c] for c, w in enumerate(weights)) / precision
    z = jnp.asarray(numpyro.sample(site, Flat().expand([len(mean)]).to_event(1)))
    numpyro.factor(f"{site}_slope", -jnp.log(precision).sum() / 2)
    return mean + z / jnp.sqrt(precision)


def effects(
    site: str, block: Block, F: Float[jax.Array, "t t"], inverses: Matrices, *, observe: bool = True
) -> jax.Array:
    """Sample standard normal effects of a component, and return F times them, shape (q, t).

    Args:
        site: its name.
        block: its columns.
        F: lower triangle with FF' the covariance matrix of the traits.
        inverses: of the bins of rows.
        observe: whether there are records; else the effects are not about the mean that these give them.
    """
    t = len(F)
    if not observe:
        return jnp.asarray(numpyro.sample(site, dist.Normal().expand([jnp.shape(block.B)[1], t]).to_event(2))) @ F.T
    A = [[jnp.asarray(inverses[a][c]) @ block.squares for c in range(t)] for a in range(t)]
    h = [sum(jnp.asarray(inverses[a][c]) @ jnp.asarray(block.products)[..., c] for c in range(t)) for a in range(t)]
    P = [
        [sum(F[a, p] * A[a][c] * F[c, r] for a in range(p, t) for c in range(r, t)) + (p == r) for r in range(t)]
        for p in range(t)
    ]
    L = cholesky(P)
    half = solve_lower(L, [sum(F[a, p] * h[a] for a in range(p, t)) for p in range(t)])
    z = jnp.asarray(numpyro.sample(site, Flat().expand([jnp.shape(block.B)[1], t]).to_event(2)))
    v = jnp.stack(solve_upper(L, [half[p] + z[:, p] for p in range(t)]), axis=1)
    log_slope = -sum(jnp.log(L[p][p]).sum() for p in range(t))
    numpyro.factor(f"{site}_prior", dist.Normal(0.0, 1.0).log_prob(v).sum() + log_slope)
    return v @ F.T


@in_float64
def start(data: JointComponents) -> dict[str, ArrayLike]:
    """Return values of all sites near REML."""
    Sigma, rows = inside(data), data.rotated
    variances = quantities.diagonal(Sigma)
    values: dict[str, ArrayLike] = {
        "_shares": (variances / variances.sum(axis=0)).T,
        "_total": variances.sum(axis=0),
    }
    roots = np.linalg.cholesky(quantities.correlation(Sigma))
    values |= {f"_L_{j}_base": np.asarray(_AS_PROBITS(jnp.asarray(root))) for j, root in enumerate(roots)}
    values |= {f"_fixed_{a}": np.zeros(T.shape[1]) for a, T in enumerate(rows.fixed)}
    values |= {f"_effects_{j}": np.zeros((W.shape[1], data.t)) for j, W in enumerate(rows.W)}
    return values


@in_float64
def starts(
    data: JointComponents, prior: JointComponentsPrior | None, chains: int, seed: int
) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain, apart from each other.

    Variances are draws of the Laplace approximation of each trait alone, correlations of their prior, and all others
    standard normal.
    """
    prior, rng = prior or JointComponentsPrior(), np.random.default_rng(seed)
    alone = [laplace(one, ComponentsPrior(prior.shares, prior.sigma2_p)) for one in data.traits]
    theta = [np.exp(rng.multivariate_normal(one.mode, one.covariance, chains, method="cholesky")) for one in alone]
    variances, places = np.stack(theta, axis=1), start(data)  # (chains, t, k + 1)
    found: list[dict[str, ArrayLike]] = []
    for c, key in enumerate(jax.random.split(jax.random.key(seed), chains)):
        total = variances[c].sum(axis=-1)
        values: dict[str, ArrayLike] = {"_shares": variances[c] / total[:, None], "_total": total}
        for j, eta in enumerate(prior.etas(len(data.names))):
            values[f"_L_{j}_base"] = _AS_PROBITS(dist.LKJCholesky(data.t, eta).sample(jax.random.fold_in(key, j)))
        values |= {name: rng.standard_normal(np.shape(value)) for name, value in places.items() if name not in values}
        found.append(values)
    return found
