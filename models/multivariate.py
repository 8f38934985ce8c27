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

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.linalg import block_diag, solve_triangular
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml, joint_whitened
from bayeslmm.likelihood import quantities, several_traits
from bayeslmm.likelihood.priors import BivariatePrior, VariancePrior, draws_of, in_units, spread_over
from bayeslmm.likelihood.priors import MultivariatePrior as Prior
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.posterior import exact

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
    "X": ["eigenvector", "coefficient"],
    "E": ["eigenvector", "missing_value"],
}


class Prepared(NamedTuple):
    """What the program computes of the data once. There are C coefficients of all traits, one trait after the other.

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


def prepare(data: JointData) -> Prepared:
    """Do the arithmetic on X and Y that no parameter has a part in."""
    whitened = joint_whitened(data)
    Q = whitened.data.X
    along = np.concatenate([np.square(basis).T @ data.s for basis in Q])
    return Prepared(
        data._replace(X=Q),
        whitened.R,
        whitened.sd,
        np.asarray(whitened.k),
        np.concatenate(whitened.b),
        along,
        _guess(whitened.data),
    )


def model(data: JointData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two or more traits; with ``observe=False`` from the prior predictive."""
    ready = data if isinstance(data, Prepared) else prepare(data)
    t = ready.data.Y.shape[1]
    L_u = jnp.asarray(numpyro.sample("_L_u", dist.LKJCholesky(t, prior.eta_u)))
    L_e = jnp.asarray(numpyro.sample("_L_e", dist.LKJCholesky(t, prior.eta_e)))
    rho_u, rho_e = L_u @ L_u.T, L_e @ L_e.T
    numpyro.deterministic("rho_u", rho_u)
    numpyro.deterministic("rho_e", rho_e)
    numpyro.deterministic("rho_p", sample_traits(ready, prior, rho_u, rho_e, observe=observe))


def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already)."""
    values = start_traits(data, fit or joint_reml(data))
    roots = {f"_L_{name[-1]}": np.linalg.cholesky(values.pop(name)) for name in ("rho_u", "rho_e")}
    return {**roots, **values}


def sample_traits(
    ready: Prepared,
    prior: Prior | BivariatePrior,
    rho_u: Float[Array, "t t"],
    rho_e: Float[Array, "t t"],
    *,
    observe: bool,
) -> Float[Array, "t t"]:
    """Sample all but the correlations, which are given, and the traits; return the phenotypic correlations."""
    data, sd = ready.data, jnp.asarray(ready.sd)
    t, sizes = len(sd), [Q.shape[1] for Q in data.X]

    share = jnp.asarray(numpyro.sample("_share", prior.h2.expand([t]).to_event(1)))
    total = jnp.asarray(numpyro.sample("_total", prior.sigma2_p.expand([t]).to_event(1)))
    sigma2_u, sigma2_e = sd**2 * share * total / ready.k, sd**2 * (1 - share) * total
    numpyro.deterministic("h2", quantities.h2(sigma2_u, sigma2_e))
    numpyro.deterministic("sigma2_p", sigma2_u + sigma2_e)
    Gamma_u = rho_u * jnp.sqrt(jnp.outer(sigma2_u, sigma2_u))
    Gamma_e = rho_e * jnp.sqrt(jnp.outer(sigma2_e, sigma2_e))
    for name, value in {"sigma2_u": sigma2_u, "sigma2_e": sigma2_e, "Gamma_u": Gamma_u, "Gamma_e": Gamma_e}.items():
        numpyro.deterministic(name, value)

    # As in the model of one trait: least squares, with its own standard errors, is what a standard normal maps to.
    with reparam(config={"_b": ExplicitReparam(_least_squares(ready, sigma2_u, sigma2_e).inv)}):
        b = jnp.asarray(numpyro.sample("_b", in_units(prior.beta, sd[_trait_of(ready)]).to_event(1)))
    numpyro.deterministic("beta", solve_triangular(block_diag(*ready.R), b))

    unknown = _missing_values(ready) if observe else 0.0
    parts = jnp.split(b, np.cumsum(sizes)[:-1])
    fixed = jnp.stack([Q @ part for Q, part in zip(data.X, parts, strict=True)], axis=1)
    y = several_traits.multivariate(data.s, fixed + unknown, Gamma_u, Gamma_e)
    numpyro.sample("y", y, obs=data.Y if observe else None)
    return quantities.correlation(Gamma_u + Gamma_e)


@in_float64
def start_traits(data: JointData, fit: JointEstimate) -> dict[str, np.ndarray]:
    """Return values of the sites of `sample_traits`, and correlations, near REML and inside all bounds."""
    ready = prepare(data)
    v = np.square(ready.sd)
    u, e = np.diag(fit.Gamma_u) * ready.k / v, np.diag(fit.Gamma_e) / v
    share, total = np.clip(u / (u + e), 0.01, 0.99), u + e
    b = np.concatenate([np.asarray(upper) @ beta for upper, beta in zip(ready.R, fit.beta, strict=True)])
    to_base = _least_squares(ready, v * share * total / ready.k, v * (1 - share) * total).inv
    values = {"_share": share, "_total": total, "_b_base": np.asarray(to_base(b))}
    for name, rho in (("rho_u", fit.rho_u), ("rho_e", fit.rho_e)):
        values[name] = 0.95 * np.nan_to_num(rho) + np.diag(1 - 0.95 * np.diag(np.nan_to_num(rho)))
    if m := sum(E.shape[1] for E in data.E):
        values["_missing"] = np.zeros(m)
    return values


def _trait_of(ready: Prepared) -> np.ndarray:
    """Return which trait each coefficient is of, shape (C,)."""
    return np.repeat(np.arange(len(ready.data.X)), [Q.shape[1] for Q in ready.data.X])


def _least_squares(ready: Prepared, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> AffineTransform:
    """Map a standard normal to b: least squares gives Q'y, with variance sigma2_u diag(Q'SQ) + sigma2_e."""
    trait_of = _trait_of(ready)
    variance = jnp.asarray(sigma2_u)[trait_of] * ready.along + jnp.asarray(sigma2_e)[trait_of]
    return AffineTransform(jnp.asarray(ready.least_squares), jnp.sqrt(variance))


def _missing_values(ready: Prepared) -> Float[Array, "n t"] | float:
    """Sample the missing values; return what they add to the mean of the rotated traits.

    Sampled are coordinates in which they are independent standard normals if the guess is right.
    """
    E, sizes = ready.data.E, [of_trait.shape[1] for of_trait in ready.data.E]
    if not sum(sizes):
        return 0.0
    mean, root = ready.guess
    z = numpyro.sample("_missing", dist.ImproperUniform(dist.constraints.real, (), (sum(sizes),)))
    values = mean + solve_triangular(root, z, lower=True, trans=1)
    parts = jnp.split(values, np.cumsum(sizes)[:-1])
    scaled = [(of_trait @ part) * scale for of_trait, part, scale in zip(E, parts, jnp.asarray(ready.sd), strict=True)]
    return jnp.stack(scaled, axis=1)


def _guess(white: JointData) -> tuple[np.ndarray, np.ndarray]:
    """Return the guess of the missing values, of data in units of their own."""
    X, E = ([part.shape[1] for part in parts] for parts in (white.X, white.E))
    if not sum(E):
        return np.zeros(0), np.zeros((0, 0))
    with jax.ensure_compile_time_eval(), jax.enable_x64(True):
        t = white.Y.shape[1]
        fit = several_traits.joint_gls(white, np.eye(t) / 2, np.eye(t) / 2)
        missing = np.concatenate([np.repeat([False, True], [c, m]) for c, m in zip(X, E, strict=True)])
        precision = np.asarray(fit.root @ fit.root.T)[np.ix_(missing, missing)]
        return np.asarray(fit.coefficients)[missing], np.linalg.cholesky(precision)


def starts(data: JointData, prior: Prior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: correlations from their prior, the others as `starts_of_traits`."""
    prior, t = prior or Prior(), data.Y.shape[1]
    roots = {f"_L_{name}": dist.LKJCholesky(t, eta) for name, eta in (("u", prior.eta_u), ("e", prior.eta_e))}
    keys = jax.random.split(jax.random.key(seed), chains)
    return [
        {name: law.sample(jax.random.fold_in(key, k)) for k, (name, law) in enumerate(roots.items())} | values
        for key, values in zip(keys, starts_of_traits(data, prior, chains, seed), strict=True)
    ]


def starts_of_traits(
    data: JointData, prior: Prior | BivariatePrior, chains: int, seed: int
) -> list[dict[str, ArrayLike]]:
    """Return values of the sites of `sample_traits` for each chain, apart from each other.

    What a standard normal scales is drawn from it. h2 and the total of a trait that nobody lacks are draws of its own
    quadrature; of the others each h2 is spread over its prior, and the logarithm of a total has a standard deviation of
    a half about that of the variance given the covariates, or as near as the prior has values.
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
            alone = RotatedData(data.s, data.Y[:, [j]], X, data.k_scale)
            of_one = VariancePrior(h2=prior.h2, sigma2_p=prior.sigma2_p)
            share[:, j], total[:, j] = exact.posterior(alone, of_one).draws(chains, rng)
    C, m = sum(X.shape[1] for X in data.X), sum(E.shape[1] for E in data.E)
    return [
        {"_share": share[c], "_total": total[c], "_b_base": rng.standard_normal(C)}
        | ({"_missing": rng.standard_normal(m)} if m else {})
        for c in range(chains)
    ]
