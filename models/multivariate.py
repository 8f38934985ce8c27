r"""Several traits: genetic and residual correlations from the rotated likelihood.

.. math::

    h^2_j \sim U(0, 1), \qquad \sigma_{p,j}^2 / v_j \sim \text{LogNormal}(0, 2), \qquad
    b_{jk} / \sqrt{v_j} \sim N(0, 10^5), \qquad \rho_u \sim \text{LKJ}(\eta_u), \quad \rho_e \sim \text{LKJ}(\eta_e)

    \Gamma_u = \text{diag}(\sigma_u) \rho_u \text{diag}(\sigma_u), \quad \sigma_{u,j}^2 = h^2_j \sigma_{p,j}^2, \qquad
    \Gamma_e = \text{diag}(\sigma_e) \rho_e \text{diag}(\sigma_e), \quad \sigma_{e,j}^2 = (1 - h^2_j) \sigma_{p,j}^2

    Y^*_i \sim N_t\bigl((Q_1 b_1, \ldots, Q_t b_t)_i,\; s_i \Gamma_u + \Gamma_e \bigr)

v_j is the variance of trait j given its covariates, X*_j = Q_j R_j, and beta_j = R_j^-1 b_j. Missing values are sampled
beside the parameters, under a flat prior: to average over them is to integrate them out of the likelihood.
"""

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

from bayeslmm import likelihood, parameters
from bayeslmm.estimators.joint_reml import JointEstimate, Whitened, joint_reml, joint_whitened
from bayeslmm.precision import in_float64
from bayeslmm.priors import BivariatePrior, in_units
from bayeslmm.priors import MultivariatePrior as Prior
from bayeslmm.spectrum import JointData

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


def model(data: JointData, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two or more traits; with ``observe=False`` from the prior predictive."""
    t = data.Y.shape[1]
    L_u = jnp.asarray(numpyro.sample("_L_u", dist.LKJCholesky(t, prior.eta_u)))
    L_e = jnp.asarray(numpyro.sample("_L_e", dist.LKJCholesky(t, prior.eta_e)))
    rho_u, rho_e = L_u @ L_u.T, L_e @ L_e.T
    numpyro.deterministic("rho_u", rho_u)
    numpyro.deterministic("rho_e", rho_e)
    numpyro.deterministic("rho_p", sample_traits(data, prior, rho_u, rho_e, observe=observe))


def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already)."""
    values = start_traits(data, fit or joint_reml(data))
    roots = {f"_L_{name[-1]}": np.linalg.cholesky(values.pop(name)) for name in ("rho_u", "rho_e")}
    return {**roots, **values}


def sample_traits(
    data: JointData,
    prior: Prior | BivariatePrior,
    rho_u: Float[Array, "t t"],
    rho_e: Float[Array, "t t"],
    *,
    observe: bool,
) -> Float[Array, "t t"]:
    """Sample all but the correlations, which are given, and the traits; return the phenotypic correlations."""
    # Host arithmetic on the data: done once when the program is traced, not at each leapfrog step.
    whitened = joint_whitened(data)
    Q, sd = whitened.data.X, whitened.sd
    t, sizes = len(sd), [X.shape[1] for X in Q]
    trait_of = np.repeat(np.arange(t), sizes)

    h2 = jnp.asarray(numpyro.sample("h2", prior.h2.expand([t]).to_event(1)))
    sigma2_p = jnp.asarray(numpyro.sample("sigma2_p", in_units(prior.sigma2_p, sd**2).to_event(1)))
    sigma2_u, sigma2_e = h2 * sigma2_p, (1 - h2) * sigma2_p
    Gamma_u = rho_u * jnp.sqrt(jnp.outer(sigma2_u, sigma2_u))
    Gamma_e = rho_e * jnp.sqrt(jnp.outer(sigma2_e, sigma2_e))
    for name, value in {"sigma2_u": sigma2_u, "sigma2_e": sigma2_e, "Gamma_u": Gamma_u, "Gamma_e": Gamma_e}.items():
        numpyro.deterministic(name, value)

    # As in the model of one trait: least squares, with its own standard errors, is what a standard normal maps to.
    with reparam(config={"_b": ExplicitReparam(_least_squares(data, whitened, sigma2_u, sigma2_e).inv)}):
        b = jnp.asarray(numpyro.sample("_b", in_units(prior.beta, sd[trait_of]).to_event(1)))
    numpyro.deterministic("beta", solve_triangular(block_diag(*whitened.R), b))

    unknown = _missing_values(data, whitened) if observe else 0.0
    parts = jnp.split(b, np.cumsum(sizes)[:-1])
    fixed = jnp.stack([basis @ part for basis, part in zip(Q, parts, strict=True)], axis=1)
    y = likelihood.multivariate(data.s, fixed + unknown, Gamma_u, Gamma_e)
    numpyro.sample("y", y, obs=data.Y if observe else None)
    return parameters.correlation(Gamma_u + Gamma_e)


@in_float64
def start_traits(data: JointData, fit: JointEstimate) -> dict[str, np.ndarray]:
    """Return values of the sites of `sample_traits`, and correlations, near REML and inside all bounds."""
    whitened = joint_whitened(data)
    h2 = np.clip(fit.h2, 0.01, 0.99)
    sigma2_p = np.diag(fit.Gamma_u + fit.Gamma_e)
    b = np.concatenate([upper @ beta for upper, beta in zip(whitened.R, fit.beta, strict=True)])
    to_base = _least_squares(data, whitened, h2 * sigma2_p, (1 - h2) * sigma2_p).inv
    values = {"h2": h2, "sigma2_p": sigma2_p, "_b_base": np.asarray(to_base(b))}
    for name, rho in (("rho_u", fit.rho_u), ("rho_e", fit.rho_e)):
        values[name] = 0.95 * np.nan_to_num(rho) + np.diag(1 - 0.95 * np.diag(np.nan_to_num(rho)))
    if m := sum(E.shape[1] for E in data.E):
        values["_missing"] = np.zeros(m)
    return values


def _least_squares(data: JointData, whitened: Whitened, sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> AffineTransform:
    """Map a standard normal to b: least squares gives Q'y, with variance sigma2_u diag(Q'SQ) + sigma2_e."""
    trait_of = np.repeat(np.arange(len(whitened.sd)), [X.shape[1] for X in data.X])
    along = np.concatenate([np.square(basis).T @ data.s for basis in whitened.data.X])
    variance = jnp.asarray(sigma2_u)[trait_of] * along + jnp.asarray(sigma2_e)[trait_of]
    return AffineTransform(np.concatenate(whitened.b), jnp.sqrt(variance))


def _missing_values(data: JointData, whitened: Whitened) -> Float[Array, "n t"] | float:
    """Sample the missing values; return what they add to the mean of the rotated traits.

    Sampled are coordinates in which they are independent standard normals if half of each variance is genetic and no
    traits are correlated but by chance: near enough for NUTS, whatever the truth.
    """
    sizes = [E.shape[1] for E in data.E]
    if not sum(sizes):
        return 0.0
    mean, root = _guess(whitened.data)
    z = numpyro.sample("_missing", dist.ImproperUniform(dist.constraints.real, (), (sum(sizes),)))
    values = mean + solve_triangular(root, z, lower=True, trans=1)
    parts = jnp.split(values, np.cumsum(sizes)[:-1])
    return jnp.stack([(E @ part) * scale for E, part, scale in zip(data.E, parts, whitened.sd, strict=True)], axis=1)


def _guess(white: JointData) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean of the missing values given the others, and the Cholesky factor of their precision."""
    with jax.ensure_compile_time_eval():
        t = white.Y.shape[1]
        fit = likelihood.joint_gls(white, np.eye(t) / 2, np.eye(t) / 2)
        X, E = ([part.shape[1] for part in parts] for parts in (white.X, white.E))
        missing = np.concatenate([np.repeat([False, True], [c, m]) for c, m in zip(X, E, strict=True)])
        precision = np.asarray(fit.root @ fit.root.T)[np.ix_(missing, missing)]
        return np.asarray(fit.coefficients)[missing], np.linalg.cholesky(precision)
