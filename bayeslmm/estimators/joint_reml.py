"""Restricted maximum likelihood of several traits: all elements of two covariance matrices at once.

The search runs over Cholesky factors, so that both matrices stay positive semi-definite without constraints: Gamma_u =
L_u L_u' may become singular (a correlation of 1, a trait without heritability), and Gamma_e = L_e L_e' + `FLOOR` I, in
units of the variances of the traits given their covariates, ends where the search for one trait ends.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Float64
from numpy import ndarray
from scipy.optimize import minimize

from bayeslmm import parameters
from bayeslmm.checks import AnalysisError, InputError
from bayeslmm.design import orthonormal
from bayeslmm.estimators.joint_moments import moment_solutions, overlaps
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import joint_gls, joint_log_reml
from bayeslmm.precision import in_float64
from bayeslmm.spectrum import JointData

FLOOR = DELTA_MIN
_SINGULAR = 1e-5  # an eigenvalue below it, in units of phenotypic variances, is 0
_SCORE = 1e-4  # largest score at which a search has arrived, of a log-likelihood of traits with unit variance


@dataclass(frozen=True)
class JointEstimate:
    """Point estimates of several traits by the restricted likelihood of all their records.

    Attributes:
        Gamma_u, Gamma_e: genetic and residual covariance matrices, shape (t, t); an element of Gamma_e that no
            person informs (`overlaps`) is given as 0.
        overlaps: how many people have both traits of each pair, shape (t, t); the diagonal counts records.
        loglik: the restricted log-likelihood, in the convention of `likelihood.log_reml`.
        beta: fixed effects of each trait, shapes (c_j,).
        se_beta: their standard errors at these covariance matrices.
        n: individuals.
        boundary: which bounds the estimate sits on, with {0}, {1}, ... for the traits (`boundary_of` names them); empty
            inside the parameter space.
    """

    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    overlaps: Float64[ndarray, "t t"]
    loglik: float
    beta: tuple[Float64[ndarray, " _"], ...]
    se_beta: tuple[Float64[ndarray, " _"], ...]
    n: int
    boundary: tuple[str, ...]

    @property
    def h2(self) -> Float64[ndarray, " t"]:
        """Heritability of each trait."""
        return parameters.of_traits(self.Gamma_u, self.Gamma_e)["h2"]

    @property
    def rho_u(self) -> Float64[ndarray, "t t"]:
        """Genetic correlations; NaN beside a trait whose genetic variance is 0."""
        with np.errstate(invalid="ignore"):
            return parameters.correlation(self.Gamma_u)

    @property
    def rho_e(self) -> Float64[ndarray, "t t"]:
        """Residual correlations."""
        return parameters.correlation(self.Gamma_e)

    def boundary_of(self, traits: Sequence[str]) -> str:
        """Say which bounds the estimate sits on, given the names of the traits."""
        return " and ".join(words.format(*traits) for words in self.boundary)


class SearchError(AnalysisError):
    """A search that did not arrive at a maximum: no estimate is better than a wrong one."""


class Whitened(NamedTuple):
    """A problem in units in which all its numbers are near 1; no likelihood changes but by `log_units`.

    Attributes:
        data: X orthonormal, traits replaced by their least-squares residuals at unit variance, s with mean 1.
        R, b: for each trait, with which fixed effects return to the user's X, as in `whitened`.
        sd: standard deviation of each trait given its covariates, shape (t,).
        k: the mean of s, by which it was divided.
    """

    data: JointData
    R: tuple[Float64[ndarray, "_ _"], ...]
    b: tuple[Float64[ndarray, " _"], ...]
    sd: Float64[ndarray, " t"]
    k: float

    @property
    def unit_u(self) -> Float64[ndarray, "t t"]:
        """What Gamma_u of these data is to be multiplied by, element by element."""
        return np.outer(self.sd, self.sd) / self.k

    @property
    def unit_e(self) -> Float64[ndarray, "t t"]:
        """The same for Gamma_e."""
        return np.outer(self.sd, self.sd)

    @property
    def log_units(self) -> float:
        """What the restricted log-likelihood of the user's data has more than that of these."""
        sizes = zip(self.data.X, self.data.E, strict=True)
        return -float(np.log(self.sd) @ [len(self.data.s) - X.shape[1] - E.shape[1] for X, E in sizes])


def joint_whitened(data: JointData) -> Whitened:
    """Return a problem in units of its own.

    Raises:
        InputError: if a trait has too few records or none that vary.
    """
    Q, R = zip(*(orthonormal(X) for X in data.X), strict=True)
    b = tuple(basis.T @ y for basis, y in zip(Q, data.Y.T, strict=True))
    residual = np.column_stack([y - basis @ part for y, basis, part in zip(data.Y.T, Q, b, strict=True)])
    free = np.array([len(data.s) - E.shape[1] - X.shape[1] for X, E in zip(data.X, data.E, strict=True)])
    sd = np.sqrt(np.square(residual).sum(axis=0) / np.maximum(free, 1))
    for j in range(len(sd)):
        if free[j] < 2 or sd[j] <= 1e-10 * np.sqrt(np.mean(data.Y[:, j] ** 2)):
            raise InputError(f"trait {j + 1} has nothing left once its {data.X[j].shape[1]} covariates are fitted")
    k = float(np.mean(data.s))
    return Whitened(data._replace(s=data.s / k, Y=residual / sd, X=Q), R, b, sd, k)


@in_float64
def joint_reml(data: JointData) -> JointEstimate:
    """Estimate the covariance matrices of several traits by restricted maximum likelihood.

    All records count: a missing value enters as a fixed effect of its own cell, which is exact
    (`likelihood.joint_log_reml`), at a cost of O(n C^2) for one evaluation with C covariates and missing values.

    Args:
        data: the traits in the eigenbasis.

    Raises:
        InputError: if a trait has nothing left to explain, or its people are all equally related.
        SearchError: if no maximum is found.

    Source: Meyer (1991), doi:10.1186/1297-9686-23-1-67, for the Cholesky factors.
    """
    whitened = joint_whitened(data)
    white, sd = whitened.data, whitened.sd
    t = len(sd)
    both = overlaps(white)
    moments = moment_solutions(white)
    half = np.eye(t) / 2
    loglik, theta = _highest(white, [factors(moments.Gamma_u, moments.Gamma_e), factors(half, half)])
    unit_u, unit_e = (np.asarray(Gamma) for Gamma in covariances(theta, t))
    fit = joint_gls(white, unit_u, unit_e)
    cov = np.linalg.inv(np.asarray(fit.root @ fit.root.T))
    beta, se_beta, at = [], [], 0
    for j in range(t):
        c = data.X[j].shape[1]
        inverse = np.linalg.inv(whitened.R[j])
        beta.append(inverse @ (np.asarray(fit.coefficients[at : at + c]) * sd[j] + whitened.b[j]))
        se_beta.append(np.sqrt(np.diag(inverse @ cov[at : at + c, at : at + c] @ inverse.T)) * sd[j])
        at += c + data.E[j].shape[1]
    return JointEstimate(
        Gamma_u=unit_u * whitened.unit_u,
        Gamma_e=np.where(both > 0, unit_e * whitened.unit_e, 0.0),
        overlaps=both,
        loglik=loglik + whitened.log_units,
        beta=tuple(beta),
        se_beta=tuple(se_beta),
        n=len(data.s),
        boundary=_boundary(unit_u, unit_e if both.all() else np.diag(np.diag(unit_e))),
    )


def _highest(white: JointData, starts: Sequence[Float64[ndarray, " k"]]) -> tuple[float, Float64[ndarray, " k"]]:
    """Return the highest end of searches from several places: with several maxima one can end at a lower."""
    ends, failures = [], []
    for start in starts:
        try:
            ends.append(maximise(white, start))
        except SearchError as error:
            failures.append(error)
    if not ends:
        raise failures[0]
    return max(ends, key=lambda end: end[0])


def covariances(theta: Float[ArrayLike, " k"], t: int, rho_u: ArrayLike | None = None) -> tuple[jax.Array, jax.Array]:
    """Return Gamma_u and Gamma_e at a point of the search.

    Args:
        theta: rows of L_u and of L_e one after the other; the point that `factors` makes.
        t: traits.
        rho_u: the genetic correlation of the first two traits, if it is given: the diagonal of the first two rows of
            L_u then holds roots of their lengths, and the rest of the second is not used.
    """
    theta = jnp.asarray(theta)
    k = t * (t + 1) // 2
    L_u, L_e = (jnp.zeros((t, t)).at[np.tril_indices(t)].set(part) for part in (theta[:k], theta[k:]))
    if rho_u is not None:
        # Roots: the likelihood has a kink where an unlikely correlation drives a variance, and a length, to 0.
        a, b, r = L_u[0, 0] ** 2, L_u[1, 1] ** 2, jnp.asarray(rho_u)
        L_u = L_u.at[0, 0].set(a).at[1, :2].set(b * jnp.stack([r, jnp.sqrt(1 - r**2)]))
    return L_u @ L_u.T, L_e @ L_e.T + FLOOR * jnp.eye(t)


def factors(Gamma_u: ndarray, Gamma_e: ndarray) -> Float64[ndarray, " k"]:
    """Return the point of the search at two matrices, bent where they are not well inside the positive definite."""
    lower = np.tril_indices(len(Gamma_u))

    def factor(Gamma: ndarray, least: float) -> ndarray:
        values, vectors = np.linalg.eigh(Gamma)
        return np.linalg.cholesky(vectors * np.clip(values, least, 10.0) @ vectors.T)[lower]

    return np.concatenate([factor(Gamma_u, 0.05), factor(Gamma_e - FLOOR * np.eye(len(Gamma_e)), 0.05)])


def _negative(theta: jax.Array, data: JointData, rho_u: jax.Array | None = None) -> jax.Array:
    return -joint_log_reml(data, *covariances(theta, data.Y.shape[1], rho_u))


negative_loglik = jax.jit(jax.value_and_grad(_negative))
"""Minus the restricted log-likelihood at a point of the search, of `joint_whitened` data, with its gradient."""


def maximise(
    white: JointData, start: Float64[ndarray, " k"], *, rho_u: float | None = None
) -> tuple[float, Float64[ndarray, " k"]]:
    """Return the largest restricted log-likelihood and the point where it is, from a starting point.

    Args:
        white: of `joint_whitened`.
        start: of the search.
        rho_u: the genetic correlation of the first two traits, if it is not free.

    Raises:
        SearchError: if the score does not vanish where the search ends.
    """
    n, start = len(white.s), np.array(start)
    if rho_u is not None:
        start[0], start[2] = np.sqrt(np.abs(start[0])), np.hypot(start[1], start[2]) ** 0.5
    given = None if rho_u is None else jnp.asarray(rho_u, dtype=float)

    def objective(theta: ndarray) -> tuple[float, ndarray]:
        value, gradient = negative_loglik(theta, white, given)
        value, gradient = float(value), np.asarray(gradient)
        # Outside what can be computed the search must turn round.
        return (value / n, gradient / n) if np.isfinite(value) else (np.inf, np.zeros_like(gradient))

    found = minimize(objective, start, jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 500})
    score = float(np.abs(np.asarray(found.jac)).max())
    if not np.isfinite(found.fun) or score > _SCORE:
        raise SearchError(
            f"REML of {white.Y.shape[1]} traits did not arrive: its score is {score * n:.3g} after {found.nit} "
            "iterations: look for outliers and for traits that are nearly the same, or analyse fewer traits at once"
        )
    return -float(found.fun) * n, found.x


def _boundary(Gamma_u: Float64[ndarray, "t t"], Gamma_e: Float64[ndarray, "t t"]) -> tuple[str, ...]:
    total = np.diag(Gamma_u + Gamma_e)
    h2 = np.diag(Gamma_u) / total
    words = [f"h2 = 0 of {{{j}}}" for j in np.flatnonzero(h2 < _SINGULAR)]
    words += [f"h2 = 1 of {{{j}}}" for j in np.flatnonzero(h2 > 1 - 10 * FLOOR)]
    if words:
        return tuple(words)
    scale = np.sqrt(np.outer(total, total))
    if np.linalg.eigvalsh(Gamma_u / scale)[0] < _SINGULAR:
        words += _singular("genetic", "rho_u", Gamma_u)
    if np.linalg.eigvalsh(Gamma_e / scale)[0] < 2 * FLOOR:
        words += _singular("residual", "rho_e", Gamma_e - FLOOR * np.eye(len(Gamma_e)))
    return tuple(words)


def _singular(kind: str, name: str, Gamma: Float64[ndarray, "t t"]) -> list[str]:
    rho = parameters.correlation(Gamma)
    extreme = [(j, k) for j, k in zip(*np.triu_indices(len(rho), 1), strict=True) if abs(rho[j, k]) > 1 - 1e-4]
    pairs = [f"{name} = {np.sign(rho[j, k]):.0f} of {{{j}}} and {{{k}}}" for j, k in extreme]
    return pairs or [f"the {kind} correlation matrix is singular"]
