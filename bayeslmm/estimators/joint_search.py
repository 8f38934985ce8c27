"""Searches for the covariance matrices of several traits, with all parameters free or one of them given.

A search runs over Cholesky factors, so that both matrices stay positive semi-definite without constraints: Gamma_u =
L_u L_u' may become singular (a correlation of 1, a trait without heritability), and Gamma_e = L_e L_e' + `FLOOR`
Gamma_u, K with a mean eigenvalue of 1, ends where the search for one trait ends: no h2 is above 1 / (1 + `FLOOR`).

Source: Meyer (1991), doi:10.1186/1297-9686-23-1-67, for the Cholesky factors.
"""

import functools
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Float64
from numpy import ndarray
from scipy.optimize import minimize

from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood.joint_whitened import JointWhitened

FLOOR = DELTA_MIN
_SCORE = 1e-4  # largest score at which a search has arrived, of a log-likelihood of traits with unit variance
_RIDGE = 1e-3  # of the largest information of an element of a factor

Explicit = Literal["h2", "rho_u", "rho_e"]
"""Parameters that a search can be given; rho_e as the correlation of L_e L_e', which is within `FLOOR` of it."""


class Given(NamedTuple):
    """A parameter that is not free in a search.

    Attributes:
        parameter: which.
        at: of which trait, or of which two.
        value: from the lower to the upper bound of the parameter (`bounds_of`).
    """

    parameter: Explicit
    at: tuple[int, ...]
    value: float

    def order(self, t: int) -> tuple[int, ...]:
        """Return the traits with those that it is about first: the search runs over factors in this order."""
        return (*self.at, *(j for j in range(t) if j not in self.at))


def bounds_of(parameter: Explicit) -> tuple[float, float]:
    """Return the range that a parameter can be given in."""
    return (0.0, 1 / (1 + FLOOR)) if parameter == "h2" else (-1.0, 1.0)


class SearchError(AnalysisError):
    """A search that did not converge: no estimate is better than a wrong one."""


class End(NamedTuple):
    """Where a search arrived.

    Attributes:
        loglik: the height.
        theta: the point, shape (t (t + 1),).
        curvature: an approximation of the inverse of the Hessian there, with which the next search nearby starts.
    """

    loglik: float
    theta: Float64[ndarray, " k"]
    curvature: Float64[ndarray, "k k"]


@functools.partial(jax.jit, static_argnames=("parameter",))
def _point(
    theta: ArrayLike, order: ArrayLike, value: ArrayLike, parameter: Explicit | None
) -> tuple[jax.Array, jax.Array]:
    theta, order, value = jnp.asarray(theta), jnp.asarray(order), jnp.asarray(value)
    t = len(order)
    k = t * (t + 1) // 2
    L_u, L_e = (jnp.zeros((t, t)).at[np.tril_indices(t)].set(part) for part in (theta[:k], theta[k:]))
    if parameter == "rho_u":
        L_u = _correlated(L_u, value)
    elif parameter == "rho_e":
        L_e = _correlated(L_e, value)
    elif parameter == "h2":
        sd = L_u[0, 0]
        L_u = L_u.at[0, 0].set(jnp.sqrt(value) * sd)
        L_e = L_e.at[0, 0].set(jnp.sqrt(jnp.maximum(1 - value - FLOOR * value, 0.0)) * sd)
    back = jnp.argsort(order)
    Gamma_u = L_u @ L_u.T
    Gamma_e = L_e @ L_e.T + FLOOR * Gamma_u
    return Gamma_u[back][:, back], Gamma_e[back][:, back]


def _correlated(L: jax.Array, rho: jax.Array) -> jax.Array:
    # Roots: the likelihood has a kink where an unlikely correlation drives a variance, and a length, to 0.
    a, b = L[0, 0] ** 2, L[1, 1] ** 2
    return L.at[0, 0].set(a).at[1, :2].set(b * jnp.stack([rho, jnp.sqrt(1 - rho**2)]))


@functools.partial(jax.jit, static_argnames=("parameter",))
def _pulled_back(
    theta: ArrayLike, order: ArrayLike, value: ArrayLike, parameter: Explicit | None, slopes: tuple[jax.Array, ...]
) -> jax.Array:
    return jax.vjp(lambda theta: _point(theta, order, value, parameter), theta)[1](slopes)[0]


def _arguments(t: int, given: Given | None) -> tuple[ndarray, float, Explicit | None]:
    if given is None:
        return np.arange(t), 0.0, None
    return np.array(given.order(t)), float(given.value), given.parameter


def covariances(theta: Float[ArrayLike, " k"], t: int, given: Given | None = None) -> tuple[jax.Array, jax.Array]:
    """Return Gamma_u and Gamma_e at a point of the search.

    Args:
        theta: rows of L_u and of L_e one after the other; the point that `factors` makes.
        t: traits.
        given: what is not free. With a correlation the diagonal of the first two rows of its L holds roots of their
            lengths, and the rest of the second is not used; with h2 the first element of L_u is the standard deviation
            of the trait, and that of L_e is not used.
    """
    return _point(theta, *_arguments(t, given))


def log_reml_at(white: JointWhitened, Gamma_u: Float[ndarray, "t t"], Gamma_e: Float[ndarray, "t t"]) -> float:
    """Return the restricted log-likelihood in units of the data; minus infinity where it cannot be computed."""
    return float(white.products.at(Gamma_u[None], Gamma_e[None]).loglik[0])


def factors(
    Gamma_u: ndarray, Gamma_e: ndarray, given: Given | None = None, *, least: float = 0.05, most: float = 10.0
) -> Float64[ndarray, " k"]:
    """Return the point of the search at two matrices, bent where they are not well inside the positive definite.

    Args:
        Gamma_u: genetic covariances, in units of the search.
        Gamma_e: residual covariances.
        given: what is not free: the point is as near as the parameter allows.
        least: eigenvalue that smaller ones are set to: at 0 an element of a factor has no slope to leave by.
        most: eigenvalue that larger ones are set to.
    """
    t = len(Gamma_u)
    order, _, parameter = _arguments(t, given)
    chosen, lower = np.ix_(order, order), np.tril_indices(t)

    def factor(Gamma: ndarray) -> ndarray:
        values, vectors = np.linalg.eigh(Gamma[chosen])
        return np.linalg.cholesky(vectors * np.clip(values, least, most) @ vectors.T)

    L_u, L_e = factor(Gamma_u), factor(Gamma_e - FLOOR * Gamma_u)
    if parameter == "h2":
        L_u[0, 0] = np.hypot(L_u[0, 0], L_e[0, 0])
    elif parameter is not None:
        L = L_u if parameter == "rho_u" else L_e
        L[0, 0], L[1, 1] = np.sqrt(L[0, 0]), np.hypot(L[1, 0], L[1, 1]) ** 0.5
    return np.concatenate([L_u[lower], L_e[lower]])


def maximise(
    white: JointWhitened,
    start: Float64[ndarray, " k"],
    given: Given | None = None,
    *,
    curvature: Float64[ndarray, "k k"] | None = None,
) -> End:
    """Return where the restricted log-likelihood is largest, searched from a starting point.

    Args:
        white: the traits.
        start: of the search, a point of `factors`.
        given: what is not free.
        curvature: of an `End` nearby.

    Raises:
        SearchError: if the score does not vanish where the search ends.
    """
    n, t = white.data.n, len(white.sd)
    order, value, parameter = _arguments(t, given)

    def objective(theta: ndarray) -> tuple[float, ndarray]:
        Gammas = (np.asarray(Gamma) for Gamma in _point(theta, order, value, parameter))
        loglik, *slopes = white.products.with_slopes(*Gammas)
        if not np.isfinite(loglik):
            # Outside what can be computed the search must turn round.
            return np.inf, np.zeros_like(theta)
        return -loglik / n, -np.asarray(_pulled_back(theta, order, value, parameter, tuple(slopes))) / n

    guess = _expected_curvature(white, start, given) if curvature is None else curvature
    options: Any = {"gtol": 1e-9, "maxiter": 500, "hess_inv0": _positive_definite(guess)}
    found = minimize(objective, start, jac=True, method="BFGS", options=options)
    score = float(np.abs(np.asarray(found.jac)).max())
    if not np.isfinite(found.fun) or score > _SCORE:
        raise SearchError(
            f"REML of {t} traits did not converge: its score is {score * n:.3g} after {found.nit} iterations: look for "
            "outliers and for traits that are nearly the same, or analyse fewer traits at once"
        )
    return End(-float(found.fun) * n, found.x, np.asarray(found.hess_inv, dtype=float))


def _expected_curvature(
    white: JointWhitened, theta: Float64[ndarray, " k"], given: Given | None
) -> Float64[ndarray, "k k"]:
    """Return the inverse of the expected information for one row, if all were complete and without covariates.

    With it a search takes half as many steps as without. Where the likelihood has next to no slope along an element of
    a factor, as where that is 0, its steps are kept short.
    """
    s, t = white.data.s, len(white.sd)
    order, value, parameter = _arguments(t, given)
    Gamma_u, Gamma_e = (np.asarray(Gamma) for Gamma in _point(theta, order, value, parameter))
    basis, none = np.eye(t * t).reshape(-1, t, t), np.zeros((t, t))
    of_u, of_e = (
        np.array([np.asarray(_pulled_back(theta, order, value, parameter, slopes)) for slopes in each]).reshape(
            t, t, -1
        )
        for each in ([(one, none) for one in basis], [(none, one) for one in basis])
    )
    with np.errstate(all="ignore"):
        W = np.linalg.pinv(s[:, None, None] * Gamma_u + Gamma_e, hermitian=True)
        along = np.einsum("nab,nbck->nkac", W, s[:, None, None, None] * of_u + of_e)
        information = np.einsum("nkac,nlca->kl", along, along) / (2 * len(s))
    largest = information.diagonal().max()
    return np.linalg.inv(information + _RIDGE * largest * np.eye(len(theta)))


def _positive_definite(curvature: Float64[ndarray, "k k"] | None) -> Float64[ndarray, "k k"] | None:
    """Return it symmetric, or nothing if rounding has left no positive definite matrix."""
    if curvature is None:
        return None
    symmetric = (curvature + curvature.T) / 2
    return symmetric if np.linalg.eigvalsh(symmetric)[0] > 0 else None
