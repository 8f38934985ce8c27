"""A trait of two values, which the rotation leaves as it is: cases are where a liability exceeds a threshold."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jaxtyping import ArrayLike, Bool, Float
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.rotation import Spectrum


class TwoValues(NamedTuple):
    """A trait of two values, with the eigenvectors of K: y and X are of individuals, not rotated.

    Attributes:
        s: eigenvalues of K, ascending, shape (n,).
        U: eigenvectors in columns, shape (n, n).
        case: whether each individual is a case, shape (n,).
        X: covariates, shape (n, c), of full column rank.
        k_scale: see `RotatedData`.
    """

    s: Float[ndarray, " n"]
    U: Float[ndarray, "n n"]
    case: Bool[ndarray, " n"]
    X: Float[ndarray, "n c"]
    k_scale: float = 1.0

    @classmethod
    def of(cls, spectrum: Spectrum, case: Bool[ndarray, " n"], X: Float[ndarray, "n c"]) -> "TwoValues":
        """Return a trait with the spectrum of its kinship.

        Raises:
            InputError: if shapes do not match, or nobody is a case, or everybody.
        """
        n = len(spectrum.s)
        if case.shape != (n,) or X.shape[:1] != (n,):
            raise InputError(f"case and X must have {n} rows like K, but they have {len(case)} and {len(X)}")
        if not 0 < case.sum() < n:
            raise InputError(f"a trait of two values needs cases and others, but {case.sum()} of {n} are cases")
        return cls(spectrum.s, spectrum.U, case, X, spectrum.k_scale)


class Threshold(dist.Distribution):
    r"""Whether a normal liability exceeds 0: :math:`P(y_i = 1) = \Phi(\mu_i / \sigma)`."""

    support = dist.constraints.boolean  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]

    def __init__(self, mean: ArrayLike, sd: ArrayLike) -> None:
        self.ratio = jnp.asarray(mean) / sd
        super().__init__(batch_shape=(), event_shape=self.ratio.shape)

    def sample(self, key: jax.Array | None, sample_shape: tuple[int, ...] = ()) -> jax.Array:
        """Draw who is a case."""
        if key is None:
            raise ValueError("sampling needs a key")
        return jax.random.normal(key, sample_shape + self.event_shape) < self.ratio

    def log_prob(self, value: ArrayLike, intermediates: list[Any] | None = None) -> jax.Array:
        """Return the sum of the logarithms of the probabilities of all values."""
        return jax.scipy.special.log_ndtr(jnp.where(jnp.asarray(value), self.ratio, -self.ratio)).sum(axis=-1)
