"""Priors shared by the NumPyro programs and the oracle."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import ArrayLike, Float
from numpy import ndarray
from numpyro.distributions.transforms import AffineTransform, biject_to

from bayeslmm.checks import InputError
from bayeslmm.design import orthonormal
from bayeslmm.precision import in_float64


class VariancePrior(NamedTuple):
    """Prior of the model of one trait; any field takes any NumPyro distribution of the right support.

    Attributes:
        h2: of the heritability, on (0, 1). The default is Beta(1, 1), written as the uniform distribution that it is
            because NumPyro's Beta takes a second longer to compile.
        sigma2_p: of sigma2_u + sigma2_e, in units of the variance of y given X, on (0, inf). The default has a
            median of 1 and allows a factor of 50 either way.
        beta: of each fixed effect on the orthonormal design Q, in units of the standard deviation of y given X.
            Q'Q = I, so the mean of y is sqrt(n) in these units when it is one standard deviation.
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = dist.Normal(0.0, 1e5)


class EffectPrior(NamedTuple):
    """Prior of the effect of one marker.

    Attributes:
        beta: in units of the standard deviation of the trait given its covariates, for one copy of the allele. The
            default is that of coloc (Giambartolomei et al. 2014, doi:10.1371/journal.pgen.1004383).
    """

    beta: dist.Normal = dist.Normal(0.0, 0.15)


class BivariatePrior(NamedTuple):
    """Prior of the model of two traits; the first three as in `VariancePrior`, for each trait.

    Attributes:
        h2: of each heritability.
        sigma2_p: of each sigma2_u + sigma2_e, in units of the variance of the trait given its covariates.
        beta: of each fixed effect on the orthonormal design, in units of the standard deviation of the trait.
        rho_u: of the genetic correlation, on (-1, 1).
        rho_e: of the residual correlation, on (-1, 1).
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = dist.Normal(0.0, 1e5)
    rho_u: dist.Distribution = dist.Uniform(-1.0, 1.0)
    rho_e: dist.Distribution = dist.Uniform(-1.0, 1.0)


class MultivariatePrior(NamedTuple):
    """Prior of the model of several traits; the first three as in `VariancePrior`, for each trait.

    Attributes:
        h2: of each heritability.
        sigma2_p: of each sigma2_u + sigma2_e, in units of the variance of the trait given its covariates.
        beta: of each fixed effect on the orthonormal design, in units of the standard deviation of the trait.
        eta_u: concentration of the LKJ prior of the genetic correlations: 1 is uniform over correlation matrices, more
            draws them to 0.
        eta_e: the same for the residual correlations.
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = dist.Normal(0.0, 1e5)
    eta_u: float = 1.0
    eta_e: float = 1.0


JointPrior = BivariatePrior | MultivariatePrior


def residual_variance(Y: Float[ndarray, "n t"], X: Float[ndarray, "n c"]) -> Float[ndarray, " t"]:
    """Return the variance of each trait given X by ordinary least squares: the unit of the priors, shape (t,)."""
    n, c = X.shape
    Q, _ = orthonormal(X)
    return np.square(Y - Q @ (Q.T @ Y)).sum(axis=0) / (n - c)


def in_units(prior: dist.Distribution, unit: ArrayLike) -> dist.Distribution:
    """Return the prior of a quantity whose prior is given in some unit."""
    return dist.TransformedDistribution(prior, AffineTransform(0.0, jnp.asarray(unit)))


@in_float64
def draws_of(prior: dist.Distribution, rng: np.random.Generator) -> Float[ndarray, " m"]:
    """Draw 1,000 values from a prior, and return those that rounding has not put on a bound of its support."""
    values = np.asarray(prior.sample(jax.random.key(int(rng.integers(2**31))), (1000,)))
    return values[np.isfinite(np.asarray(biject_to(prior.support).inv(values)))]


def spread_over(prior: dist.Distribution, m: int, rng: np.random.Generator) -> Float[ndarray, " m"]:
    """Return m values in random order, one from each of m parts of equal probability of a prior."""
    return np.quantile(draws_of(prior, rng), (rng.permutation(m) + rng.uniform(size=m)) / m)


def density_on(prior: dist.Distribution, points: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
    """Return the density of a prior, 0 outside its support."""
    density = np.zeros(len(points))
    inside = np.asarray(prior.support(points))  # pyright: ignore[reportOptionalCall]
    density[inside] = np.exp(np.asarray(prior.log_prob(points[inside])))
    return density


def describe(distribution: dist.Distribution | float) -> str:
    """Write a distribution with its parameters, ``Beta(concentration1=1, concentration0=1)``; a number as it is."""
    if not isinstance(distribution, dist.Distribution):
        return f"{distribution:g}"
    if type(distribution) is dist.TransformedDistribution:  # LogNormal is one of them, but has a name of its own
        return f"{describe(distribution.base_dist)} on {distribution.support}"
    parameters = ", ".join(f"{name}={getattr(distribution, name):g}" for name in distribution.arg_constraints)
    return f"{type(distribution).__name__}({parameters})"


def beta_prior(a: float, b: float) -> dist.Distribution:
    """Return Beta(a, b); Beta(1, 1) as the uniform distribution (see `VariancePrior`).

    Raises:
        InputError: if a or b is not positive.
    """
    if not (a > 0 and b > 0):
        raise InputError(f"the prior of h2 is Beta(a, b) with a and b above 0, but {a:g} and {b:g} were given")
    return dist.Uniform(0.0, 1.0) if a == b == 1 else dist.Beta(a, b)


def correlation_prior(eta: float, t: int) -> dist.Distribution:
    """Return the prior of one of the correlations of t traits under LKJ(eta).

    It is a symmetric Beta on (-1, 1), uniform if t = 2 and eta = 1.

    Raises:
        InputError: if eta is not positive.

    Source: Lewandowski, Kurowicka and Joe (2009), doi:10.1016/j.jmva.2009.04.008, theorem 5 and section 3.4.
    """
    if not eta > 0:
        raise InputError(f"the concentration of an LKJ prior must be above 0, but {eta:g} was given")
    a = eta - 1 + t / 2
    if a == 1:
        return dist.Uniform(-1.0, 1.0)
    return dist.TransformedDistribution(dist.Beta(a, a), AffineTransform(-1.0, 2.0, dist.constraints.unit_interval))
