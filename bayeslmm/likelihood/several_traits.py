r"""Several traits in the eigenbasis of K: what they are distributed as, and their likelihood.

Row i of Y* has the covariance matrix :math:`V_i = s_i \Gamma_u + \Gamma_e`, independently of other rows. Every
method for several traits calls this file.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import ArrayLike, Float

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.one_trait import NO_ROWS
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.small_matrices import Matrices, cholesky, inverse, solve_lower


def multivariate(
    s: Float[ArrayLike, " n"],
    mean: Float[ArrayLike, "n t"],
    Gamma_u: Float[ArrayLike, "t t"],
    Gamma_e: Float[ArrayLike, "t t"],
    counts: Float[ArrayLike, " n"] | None = None,
) -> "NormalRows":
    r"""Several traits: :math:`Y^*_i \sim N_t(\mu_i,\; s_i \Gamma_u + \Gamma_e)`, rows independent.

    Args:
        s: eigenvalues of K.
        mean: of each row.
        Gamma_u: genetic covariances.
        Gamma_e: residual covariances.
        counts: of a `joint_summary`, which has a row for many individuals.

    Source: Zhou and Stephens (2014), doi:10.1038/nmeth.2848.
    """
    return NormalRows(mean, row_covariances(s, Gamma_u, Gamma_e), counts)


def row_covariances(
    s: Float[ArrayLike, " n"], Gamma_u: Float[ArrayLike, "t t"], Gamma_e: Float[ArrayLike, "t t"]
) -> Matrices:
    """Return V_i = s_i Gamma_u + Gamma_e, for all i at once."""
    s, Gamma_u, Gamma_e = jnp.asarray(s), jnp.asarray(Gamma_u), jnp.asarray(Gamma_e)
    t = len(Gamma_u)
    return [[s * Gamma_u[j, k] + Gamma_e[j, k] for k in range(t)] for j in range(t)]


class NormalRows(dist.Distribution):
    """Independent normal rows, each with a covariance matrix of its own; event shape (n, t).

    With counts a row stands for that number of individuals, whose density is the same but for the determinants.
    """

    support = dist.constraints.real_matrix  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    pytree_data_fields = ("loc", "L", "counts")

    def __init__(
        self, mean: Float[ArrayLike, "n t"], V: Matrices, counts: Float[ArrayLike, " n"] | None = None
    ) -> None:
        self.loc = jnp.asarray(mean)
        self.L = cholesky(V)
        self.counts = counts
        super().__init__(batch_shape=(), event_shape=self.loc.shape)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Draw all rows.

        Raises:
            InputError: if rows stand for many individuals.
        """
        if key is None:
            raise ValueError("sampling needs a key")
        if self.counts is not None:
            raise InputError(NO_ROWS)
        z = jax.random.normal(key, (*sample_shape, *self.event_shape))
        rows = [sum(element * z[..., k] for k, element in enumerate(row)) for row in self.L]
        return self.loc + jnp.stack([jnp.asarray(row) for row in rows], axis=-1)

    def log_prob(self, value: Float[ArrayLike, "n t"], intermediates: list[Any] | None = None) -> Array:
        """Return the log density of all rows."""
        return self.log_prob_of_rows(value).sum()

    def log_prob_of_rows(self, value: Float[ArrayLike, "n t"]) -> Array:
        """Return the log density of each row, or of all individuals that it stands for, shape (n,)."""
        r = jnp.asarray(value) - self.loc
        z = solve_lower(self.L, [r[:, j] for j in range(r.shape[1])])
        of_each = sum(jnp.log(row[-1]) for row in self.L) + r.shape[1] / 2 * jnp.log(2 * jnp.pi)
        weights = 1.0 if self.counts is None else jnp.asarray(self.counts)
        return -sum(jnp.square(part) for part in z) / 2 - weights * of_each


class JointGls(NamedTuple):
    """Generalised least squares of several traits at given covariance matrices, missing values among the coefficients.

    Attributes:
        coefficients: of [X_1 E_1 ... X_t E_t], shape (C,).
        root: lower Cholesky factor of their precision, that is of the inverse of their covariance, shape (C, C).
        log_det_v: sum of log |V_i|.
        quad: the quadratic form of what is left.
    """

    coefficients: Float[Array, " C"]
    root: Float[Array, "C C"]
    log_det_v: Float[Array, ""]
    quad: Float[Array, ""]


@jax.jit  # called outside of compiled functions as well, where each of its many small operations would be compiled
def joint_gls(data: JointData, Gamma_u: Float[ArrayLike, "t t"], Gamma_e: Float[ArrayLike, "t t"]) -> JointGls:
    """Fit the fixed effects of all traits, and the missing values, by generalised least squares.

    One Cholesky factor of [Z y]' V^-1 [Z y], Z block-diagonal in the traits, holds all results; O(n C^2).
    """
    t = data.Y.shape[1]
    L = cholesky(row_covariances(data.s, Gamma_u, Gamma_e))
    W, weights = inverse(L), 1.0 if data.counts is None else jnp.asarray(data.counts)
    Z = joint_design(data)
    Wy = [sum(W[j][k] * data.Y[:, k] for k in range(t)) for j in range(t)]
    # The blocks below the diagonal are transposes: they are most of the work.
    block = {(j, k): (Z[j] * W[j][k][:, None]).T @ Z[k] for j in range(t) for k in range(j, t)}
    rows = [jnp.concatenate([block[j, k] if k >= j else block[k, j].T for k in range(t)], axis=1) for j in range(t)]
    Zy = jnp.concatenate([Z[j].T @ Wy[j] for j in range(t)])
    yy = sum(data.Y[:, j] @ Wy[j] for j in range(t))
    bordered = jnp.block([[jnp.concatenate(rows), Zy[:, None]], [Zy[None, :], jnp.asarray(yy).reshape(1, 1)]])
    root = jnp.linalg.cholesky(bordered)
    return JointGls(
        coefficients=jax.scipy.linalg.solve_triangular(root[:-1, :-1].T, root[-1, :-1], lower=False),
        root=root[:-1, :-1],
        log_det_v=2 * jnp.asarray(sum(jnp.sum(jnp.log(row[-1]) * weights) for row in L)),
        quad=root[-1, -1] ** 2,
    )


def joint_design(data: JointData) -> list[Float[Array, "n _"]]:
    """Return [X_j E_j] of each trait: what has a coefficient, known cells and unknown ones."""
    return [jnp.concatenate([X, E], axis=1) for X, E in zip(data.X, data.E, strict=True)]


def joint_log_reml(
    data: JointData, Gamma_u: Float[ArrayLike, "t t"], Gamma_e: Float[ArrayLike, "t t"]
) -> Float[Array, ""]:
    r"""Restricted log-likelihood of all records of several traits, in the convention of `log_reml`.

    A missing value enters as a fixed effect of its own cell. That is exact: with Z = [X E],
    :math:`|V| |Z'V^{-1}Z| = |V_o| |X_o'V_o^{-1}X_o|` (o: the records that are there), :math:`|Z'Z| = |X_o'X_o|`, and
    the quadratic form is that of the records.

    Source: Harville (1974), doi:10.1093/biomet/61.2.383; Bartlett (1937), Supplement to the JRSS 4:137, for missing
    values as covariates.
    """
    fit = joint_gls(data, Gamma_u, Gamma_e)
    log_det_xx = sum(jnp.linalg.slogdet(jnp.asarray(X).T @ X)[1] for X in data.X)
    log_det = fit.log_det_v + 2 * jnp.log(jnp.diag(fit.root)).sum()
    t, n = data.Y.shape[1], len(data.Y) if data.counts is None else jnp.sum(data.counts)
    free = n * t - len(fit.coefficients)
    return -(free * jnp.log(2 * jnp.pi) + log_det + fit.quad - log_det_xx) / 2
