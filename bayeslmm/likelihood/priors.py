"""Priors shared by the NumPyro programs and the quadrature."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jaxtyping import ArrayLike, Float
from numpy import ndarray
from numpyro.distributions.transforms import AffineTransform, biject_to
from scipy.special import betaln, expit, log_expit, logit

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import PRIOR_EFFECT
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood import quantities


class Flat(dist.Distribution):
    """The improper uniform distribution on the real line.

    Draws (for a prior predictive distribution) come from a normal with a standard deviation of 1e5 instead.
    """

    support = dist.constraints.real  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def __init__(self) -> None:
        super().__init__(batch_shape=(), event_shape=())

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw from a normal with a standard deviation of 1e5."""
        if key is None:
            raise ValueError("sampling needs a key")
        return 1e5 * jax.random.normal(key, sample_shape)

    def log_prob(self, value: ArrayLike, intermediates: list[Any] | None = None) -> jax.Array:
        """Return 0."""
        return jnp.zeros_like(jnp.asarray(value))


class VariancePrior(NamedTuple):
    """Prior of the model of one trait; any field takes any NumPyro distribution of the right support.

    The first two are about a K with a mean diagonal of 1: any other K is divided by its mean diagonal for them, so that
    the unit of K does not matter. On that scale h2 is the share of the variance that K explains.

    Attributes:
        h2: of the heritability on that scale, on (0, 1) or a part of it. The default is Beta(1, 1), written as the
            uniform distribution that it is because NumPyro's Beta takes a second longer to compile.
        sigma2_p: of sigma2_u + sigma2_e on that scale, in units of the variance of y given X, on (0, inf) or a part of
            it. The default has a median of 1 and allows a factor of 50 either way.
        beta: of each fixed effect on the orthonormal design Q, in units of the standard deviation of y given X; flat
            by default. Q'Q = I, so the mean of y is sqrt(n) in these units when it is one standard deviation.
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = Flat()


class EffectPrior(NamedTuple):
    """Prior of the effect of one marker.

    Attributes:
        beta: in units of the standard deviation of the trait given its covariates, for one copy of the allele. The
            default is that of coloc (Giambartolomei et al. 2014, doi:10.1371/journal.pgen.1004383).
    """

    beta: dist.Normal = dist.Normal(0.0, PRIOR_EFFECT)


class BivariatePrior(NamedTuple):
    """Prior of the model of two traits; the first three as in `VariancePrior`, for each trait.

    Attributes:
        h2: of each heritability, where K has a mean diagonal of 1.
        sigma2_p: of each sigma2_u + sigma2_e there, in units of the variance of the trait given its covariates.
        beta: of each fixed effect on the orthonormal design, in units of the standard deviation of the trait.
        rho_u: of the genetic correlation, on (-1, 1).
        rho_e: of the residual correlation, on (-1, 1).
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = Flat()
    rho_u: dist.Distribution = dist.Uniform(-1.0, 1.0)
    rho_e: dist.Distribution = dist.Uniform(-1.0, 1.0)


class MultivariatePrior(NamedTuple):
    """Prior of the model of several traits; the first three as in `VariancePrior`, for each trait.

    Attributes:
        h2: of each heritability, where K has a mean diagonal of 1.
        sigma2_p: of each sigma2_u + sigma2_e there, in units of the variance of the trait given its covariates.
        beta: of each fixed effect on the orthonormal design, in units of the standard deviation of the trait.
        eta_u: concentration of the LKJ prior of the genetic correlations: 1 is uniform over correlation matrices, which
            is not uniform for each correlation (`correlation_prior`), more draws them to 0.
        eta_e: the same for the residual correlations.
    """

    h2: dist.Distribution = dist.Uniform(0.0, 1.0)
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    beta: dist.Distribution = Flat()
    eta_u: float = 1.0
    eta_e: float = 1.0


JointPrior = BivariatePrior | MultivariatePrior


class ComponentsPrior(NamedTuple):
    """Prior of the model of several components; fixed effects have a flat one.

    As in `VariancePrior`, it is about kinships with a mean diagonal of 1 (`components` can leave them as they are).

    Attributes:
        shares: concentrations of the Dirichlet prior of the shares of the total variance, the residual last, or one
            number for all of them. 1 is uniform over all ways to share: each of k shares then has a mean of 1 / k.
        sigma2_p: of the sum of all variances, in units of the variance of y given X, on (0, inf) or a part of it.
    """

    shares: float | tuple[float, ...] = 1.0
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)

    def concentrations(self, k: int) -> Float[ndarray, " k"]:
        """Return the concentrations of k shares.

        Raises:
            InputError: if they are not positive, or of another number of shares.
        """
        given = np.asarray(self.shares, dtype=float)
        if given.shape not in ((), (k,)) or not (given > 0).all() or not np.isfinite(given).all():
            raise InputError(
                f"the prior of the shares of {k} components (the residual is one) needs a concentration above 0, or "
                f"{k} of them, but {self.shares} was given"
            )
        return np.broadcast_to(given, (k,))


class JointComponentsPrior(NamedTuple):
    """Prior of the model of several traits with several components; the first two as in `ComponentsPrior`.

    With one component it is the `MultivariatePrior` (of two traits the `BivariatePrior`), but that fixed effects have a
    flat prior; with one trait the `ComponentsPrior`.

    Attributes:
        shares: of the total variance of each trait, the same for all traits.
        sigma2_p: of the sum of all variances of each trait, in units of its variance given its covariates.
        eta: concentrations of the LKJ priors of the correlations of each component (`correlation_prior`), the residual
            last, or one number for all of them.
    """

    shares: float | tuple[float, ...] = 1.0
    sigma2_p: dist.Distribution = dist.LogNormal(0.0, 2.0)
    eta: float | tuple[float, ...] = 1.0

    def concentrations(self, k: int) -> Float[ndarray, " k"]:
        """Return the concentrations of k shares, as `ComponentsPrior` does."""
        return ComponentsPrior(self.shares, self.sigma2_p).concentrations(k)

    def etas(self, k: int) -> Float[ndarray, " k"]:
        """Return the concentrations of the correlations of k components.

        Raises:
            InputError: if they are not positive, or of another number of components.
        """
        given = np.asarray(self.eta, dtype=float)
        if given.shape not in ((), (k,)) or not (given > 0).all() or not np.isfinite(given).all():
            raise InputError(
                f"the LKJ priors of the correlations of {k} components (the residual is one) need a concentration "
                f"above 0, or {k} of them, but {self.eta} was given"
            )
        return np.broadcast_to(given, (k,))


def support_of(prior: dist.Distribution, name: str, *, within: tuple[float, float]) -> tuple[float, float]:
    """Return the interval on which a prior is defined.

    Args:
        prior: of one number.
        name: of that number, for messages.
        within: where it must lie.

    Raises:
        InputError: if the prior is not continuous on an interval inside ``within``.
    """
    support: Any = prior.support
    low, high = (getattr(support, f"{end}_bound", None) for end in ("lower", "upper"))
    ends = (-np.inf if low is None else float(low), np.inf if high is None else float(high))
    if prior.batch_shape or prior.event_shape or support.is_discrete or not within[0] <= ends[0] < ends[1] <= within[1]:
        given = "more than one number" if prior.batch_shape or prior.event_shape else f"{support}"
        raise InputError(
            f"the prior of {name} must be a continuous distribution of one number on {within[0]:g} to {within[1]:g} or "
            f"on a part of it, but {describe(prior)} has the support {given}: truncate it, or choose another"
        )
    return ends


class OnLine(NamedTuple):
    """A number with a prior, mapped from the support of that to the real line: t.

    By a logit from an interval, by a logarithm from a half-line; so that densities are smooth and decay at both ends.

    Attributes:
        low, high: the support.
        prior: of the number.
    """

    low: float
    high: float
    prior: dist.Distribution

    @classmethod
    def of(cls, prior: dist.Distribution, name: str, *, within: tuple[float, float]) -> "OnLine":
        """Return the map for a prior; arguments and errors as for `support_of`."""
        return cls(*support_of(prior, name, within=within), prior)

    def to_value(self, t: ndarray) -> ndarray:
        """Return the number at t."""
        if np.isinf(self.high):
            return self.low + np.exp(t)
        return self.low + (self.high - self.low) * expit(t)

    def inside(self, t: ndarray) -> ndarray:
        """Return the number at t, or one that does not round to an end of the support where that at t would."""
        return self.to_value(np.clip(t, -30.0 if self.low else -700.0, 30.0 if np.isfinite(self.high) else 700.0))

    def from_value(self, value: ndarray) -> ndarray:
        """Return t; numbers outside the support, or on its ends, are taken for ones just inside."""
        if np.isinf(self.high):
            return np.log(np.maximum(value - self.low, 1e-16 * self.low + np.finfo(float).tiny))
        return logit(np.clip((value - self.low) / (self.high - self.low), 1e-16, 1 - 1e-16))

    def log_slope(self, t: ndarray) -> ndarray:
        """Return the logarithm of d value / d t."""
        if np.isinf(self.high):
            return np.asarray(t, dtype=float)
        return np.log(self.high - self.low) + log_expit(t) + log_expit(-t)

    def log_density(self, t: ndarray) -> ndarray:
        """Return the log density of t."""
        prior: Any = self.prior
        match prior:
            # In closed form: values near an end of the support round to it, their logarithms do not.
            case dist.Uniform():
                return log_expit(t) + log_expit(-t)
            case dist.Beta():
                a, b = (float(np.asarray(shape)) for shape in (prior.concentration1, prior.concentration0))
                return a * log_expit(t) + b * log_expit(-t) - betaln(a, b)
            case dist.LogNormal():
                z = (t - float(prior.loc)) / float(prior.scale)
                return -np.square(z) / 2 - np.log(float(prior.scale)) - np.log(2 * np.pi) / 2
        with jax.enable_x64(True):
            return np.asarray(_log_prob(prior, jnp.asarray(self.inside(t)))) + self.log_slope(t)


_log_prob = jax.jit(lambda prior, value: prior.log_prob(value))


def in_units(prior: dist.Distribution, unit: ArrayLike) -> dist.Distribution:
    """Return the prior of a quantity whose prior is given in some unit."""
    return dist.TransformedDistribution(prior, AffineTransform(0.0, jnp.asarray(unit)))


@in_float64
def draws_of(prior: dist.Distribution, rng: np.random.Generator) -> Float[ndarray, " m"]:
    """Draw 1,000 values from a prior, and return those that rounding has not put on a bound of its support."""
    values = jnp.asarray(prior.sample(jax.random.key(int(rng.integers(2**31))), (1000,)))
    to_line: Any = biject_to(prior.support)
    return np.asarray(values[jnp.isfinite(to_line.inv(values))])


def spread_over(prior: dist.Distribution, m: int, rng: np.random.Generator) -> Float[ndarray, " m"]:
    """Return m values in random order, one from each of m parts of equal probability of a prior."""
    return np.quantile(draws_of(prior, rng), (rng.permutation(m) + rng.uniform(size=m)) / m)


def density_on(prior: dist.Distribution, points: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
    """Return the density of a prior, 0 outside its support."""
    density = np.zeros(len(points))
    inside = np.asarray(prior.support(points))  # pyright: ignore[reportOptionalCall]
    density[inside] = np.exp(np.asarray(_log_prob(prior, points[inside])))
    return density


def density_of_h2(prior: VariancePrior, mean_diagonal: float, h2: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
    """Return the prior density of h2 on the user's scale of K.

    Args:
        prior: about a K with a mean diagonal of 1.
        mean_diagonal: of the user's K.
        h2: where, between 0 and 1.
    """
    slope = mean_diagonal / (mean_diagonal * h2 + 1 - h2) ** 2
    return density_on(prior.h2, quantities.pve(h2, 1 - h2, mean_diagonal)) * slope


def describe(distribution: dist.Distribution | float | tuple[float, ...]) -> str:
    """Write a distribution with its parameters, ``Beta(concentration1=1, concentration0=1)``; numbers as they are."""
    if isinstance(distribution, tuple):
        return ", ".join(map(describe, distribution))
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

    It is a symmetric Beta on (-1, 1), uniform if t = 2 and eta = 1. The LKJ distribution with eta = 1 is uniform over
    correlation matrices: each correlation has a standard deviation of 1 / sqrt(t + 1), 0.58, 0.50 and 0.45 for t = 2,
    3 and 4.

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
