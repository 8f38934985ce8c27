"""The geometry of the programs of several traits: what is computed once, coordinates for NUTS, and starting values."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.linalg import solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.likelihood import several_traits
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.priors import JointPrior, MultivariatePrior, VariancePrior, draws_of, spread_over
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.posterior import exact


class Prepared(NamedTuple):
    """What the programs compute of the data once. There are C coefficients of all traits, one trait after the other.

    Attributes:
        data: as given, but each X is orthonormal: Q_j.
        R: with X_j = Q_j R_j, for each trait.
        sd: standard deviation of each trait given its covariates, shape (t,).
        k: mean of s, shape ().
        least_squares: all Q_j'y_j, shape (C,).
        along: all diagonals of Q_j'SQ_j, shape (C,).
        guess: of missing values the mean given the others, shape (m,), and the Cholesky factor of their precision,
            shape (m, m), if half of each variance is genetic and no traits are correlated but by chance: near enough
            for NUTS, whatever the truth. Empty where none is missing.
    """

    data: JointData
    R: tuple[Float[ArrayLike, "c c"], ...]
    sd: Float[ArrayLike, " t"]
    k: Float[ArrayLike, ""]
    least_squares: Float[ArrayLike, " C"]
    along: Float[ArrayLike, " C"]
    guess: tuple[Float[ArrayLike, " m"], Float[ArrayLike, "m m"]]

    @property
    def trait_of(self) -> np.ndarray:
        """Which trait each coefficient belongs to, shape (C,)."""
        return np.repeat(np.arange(len(self.data.X)), [Q.shape[1] for Q in self.data.X])

    @property
    def missing(self) -> int:
        """How many values are missing: m."""
        return sum(E.shape[1] for E in self.data.E)


def prepare(data: JointData | Prepared) -> Prepared:
    """Do the arithmetic on X and Y that no parameter takes part in, unless it is done."""
    if isinstance(data, Prepared):
        return data
    white = joint_whitened(data)
    Q = white.data.X
    along = np.concatenate([np.square(basis).T @ data.s for basis in Q])
    b = np.concatenate(white.b)
    return Prepared(data._replace(X=Q), white.R, white.sd, np.asarray(white.k), b, along, _guess(white.data))


def about_least_squares(site: str, ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> reparam:
    """Return a context in which the fixed effects of a site are sampled as for one trait, shapes (C,)."""
    return reparam(config={site: ExplicitReparam(_least_squares(ready, sigma2_u, sigma2_e).inv)})


def from_guess(ready: Prepared, z: Float[ArrayLike, " m"]) -> Float[Array, "n t"]:
    """Return what the missing values add to the mean of the rotated traits.

    Args:
        ready: the data.
        z: coordinates in which the missing values are independent standard normals if the guess is right.
    """
    mean, root = ready.guess
    values = mean + solve_triangular(root, z, lower=True, trans=1)
    parts = jnp.split(values, np.cumsum([E.shape[1] for E in ready.data.E])[:-1])
    by_trait = zip(ready.data.E, parts, jnp.asarray(ready.sd), strict=True)
    return jnp.stack([(E @ part) * sd for E, part, sd in by_trait], axis=1)


def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already)."""
    values = start_traits(data, fit or joint_reml(data))
    roots = {f"_L_{name[-1]}": np.linalg.cholesky(values.pop(name)) for name in ("rho_u", "rho_e")}
    return {**roots, **values}


def starts(data: JointData, prior: MultivariatePrior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: correlations from their prior, the others as `starts_of_traits`."""
    prior, t = prior or MultivariatePrior(), data.Y.shape[1]
    roots = {f"_L_{name}": dist.LKJCholesky(t, eta) for name, eta in (("u", prior.eta_u), ("e", prior.eta_e))}
    keys = jax.random.split(jax.random.key(seed), chains)
    return [
        {name: law.sample(jax.random.fold_in(key, k)) for k, (name, law) in enumerate(roots.items())} | values
        for key, values in zip(keys, starts_of_traits(data, prior, chains, seed), strict=True)
    ]


@in_float64
def start_traits(data: JointData, fit: JointEstimate) -> dict[str, np.ndarray]:
    """Return values of the sites that the programs share, and correlations, near REML and inside all bounds."""
    ready = prepare(data)
    v = np.square(ready.sd)
    u, e = np.diag(fit.Gamma_u) * ready.k / v, np.diag(fit.Gamma_e) / v
    share, total = np.clip(u / (u + e), 0.01, 0.99), u + e
    b = np.concatenate([np.asarray(upper) @ beta for upper, beta in zip(ready.R, fit.beta, strict=True)])
    to_base = _least_squares(ready, v * share * total / ready.k, v * (1 - share) * total).inv
    values = {"_share": share, "_total": total, "_b_base": np.asarray(to_base(b))}
    for name, rho in (("rho_u", fit.rho_u), ("rho_e", fit.rho_e)):
        values[name] = 0.95 * np.nan_to_num(rho) + np.diag(1 - 0.95 * np.diag(np.nan_to_num(rho)))
    if ready.missing:
        values["_missing"] = np.zeros(ready.missing)
    return values


def starts_of_traits(data: JointData, prior: JointPrior, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of the sites that the programs share for each chain, apart from each other.

    What a standard normal scales is drawn from it. h2 and the total of a trait without missing values are draws of its
    own quadrature; of the others each h2 is spread over its prior, and the logarithm of a total has a standard
    deviation of a half about that of the variance given the covariates, or as near as the prior has values.
    """
    rng, t = np.random.default_rng(seed), data.Y.shape[1]
    share, total = np.empty((2, chains, t))
    for j, (X, E) in enumerate(zip(data.X, data.E, strict=True)):
        if E.shape[1]:
            share[:, j] = spread_over(prior.h2, chains, rng)
            possible = draws_of(prior.sigma2_p, rng)
            # The largest of log weights with Gumbel noise is a draw in proportion to the weights.
            noisy = rng.gumbel(size=(chains, len(possible))) - np.square(np.log(possible) / 0.5) / 2
            total[:, j] = possible[np.argmax(noisy, axis=1)]
        else:
            trait = RotatedData(data.s, data.Y[:, [j]], X, data.k_scale, data.counts)
            posterior = exact.posterior(trait, VariancePrior(h2=prior.h2, sigma2_p=prior.sigma2_p))
            share[:, j], total[:, j] = posterior.draws(chains, rng)
    C, m = sum(X.shape[1] for X in data.X), sum(E.shape[1] for E in data.E)
    return [
        {"_share": share[c], "_total": total[c], "_b_base": rng.standard_normal(C)}
        | ({"_missing": rng.standard_normal(m)} if m else {})
        for c in range(chains)
    ]


def _least_squares(ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> AffineTransform:
    """Map a standard normal to b: least squares gives Q'y, with variance sigma2_u diag(Q'SQ) + sigma2_e."""
    variance = jnp.asarray(sigma2_u)[ready.trait_of] * ready.along + jnp.asarray(sigma2_e)[ready.trait_of]
    return AffineTransform(jnp.asarray(ready.least_squares), jnp.sqrt(variance))


def _guess(white: JointData) -> tuple[np.ndarray, np.ndarray]:
    """Return the guess of the missing values of whitened data."""
    X, E = ([part.shape[1] for part in parts] for parts in (white.X, white.E))
    if not sum(E):
        return np.zeros(0), np.zeros((0, 0))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        t = white.Y.shape[1]
        fit = several_traits.joint_gls(white, np.eye(t) / 2, np.eye(t) / 2)
        missing = np.concatenate([np.repeat([False, True], [c, m]) for c, m in zip(X, E, strict=True)])
        precision = np.asarray(fit.root @ fit.root.T)[np.ix_(missing, missing)]
        return np.asarray(fit.coefficients)[missing], np.linalg.cholesky(precision)
