"""Priors shared by the NumPyro programs and the oracle."""

from typing import NamedTuple

import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.checks import InputError
from bayeslmm.design import orthonormal


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


def residual_variance(Y: Float[ndarray, "n t"], X: Float[ndarray, "n c"]) -> Float[ndarray, " t"]:
    """Return the variance of each trait given X by ordinary least squares: the unit of the priors, shape (t,)."""
    n, c = X.shape
    Q, _ = orthonormal(X)
    return np.square(Y - Q @ (Q.T @ Y)).sum(axis=0) / (n - c)


def describe(distribution: dist.Distribution) -> str:
    """Write a distribution with its parameters: ``Beta(concentration1=1, concentration0=1)``."""
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
