"""Restricted maximum likelihood of several traits: all elements of two covariance matrices at once.

The search runs over Cholesky factors, so that both matrices stay positive semi-definite without constraints: Gamma_u =
L_u L_u' may become singular (a correlation of 1, a trait without heritability), and Gamma_e = L_e L_e' + `FLOOR`
Gamma_u, K with a mean eigenvalue of 1, ends where the search for one trait ends: no h2 is above 1 / (1 + `FLOOR`).
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Bool, Float, Float64
from numpy import ndarray
from scipy.optimize import minimize

from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_moments import moment_solutions, overlaps
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_products import effects_of
from bayeslmm.likelihood.joint_whitened import JointWhitened, SeveralTraits, check_distinct, joint_whitened

FLOOR = DELTA_MIN
_SINGULAR = 1e-5  # an eigenvalue below it, in units of phenotypic variances, is 0
_SCORE = 1e-4  # largest score at which a search has arrived, of a log-likelihood of traits with unit variance
_SAME = 1e-5  # what a search cannot tell in a log-likelihood
_RATIOS = np.geomspace(1e5, DELTA_MIN, 41)  # sigma2_e / sigma2_u where modes of single traits are looked for
_STARTS = 8
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


class Mode(NamedTuple):
    """A maximum of the likelihood.

    Attributes:
        loglik: its height.
        Gamma_u, Gamma_e: where it is, shape (t, t).
    """

    loglik: float
    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]

    @property
    def h2(self) -> Float64[ndarray, " t"]:
        """Heritability of each trait."""
        return quantities.h2(np.diag(self.Gamma_u), np.diag(self.Gamma_e))


@dataclass(frozen=True)
class JointEstimate:
    """Point estimates of several traits by the restricted likelihood of all their records.

    Attributes:
        Gamma_u, Gamma_e: genetic and residual covariance matrices, shape (t, t); an element of Gamma_e that no
            individual informs (`overlaps`) is given as 0.
        overlaps: how many individuals have both traits of each pair, shape (t, t); the diagonal counts records.
        loglik: the restricted log-likelihood, in the convention of `likelihood.log_reml`.
        beta: fixed effects of each trait, shapes (c_j,).
        se_beta: their standard errors at these covariance matrices.
        n: individuals.
        boundary: which bounds the estimate sits on, with {0}, {1}, ... for the traits (`boundary_of` names them); empty
            inside the parameter space.
        at_zero: which traits have a genetic variance of 0, exactly so in Gamma_u, shape (t,).
        at_one: which have a residual variance of `FLOOR` times the genetic one, where the search ends, shape (t,).
        others: lower maxima of the likelihood that the search found beside this one, highest first.
    """

    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    overlaps: Float64[ndarray, "t t"]
    loglik: float
    beta: tuple[Float64[ndarray, " _"], ...]
    se_beta: tuple[Float64[ndarray, " _"], ...]
    n: int
    boundary: tuple[str, ...]
    at_zero: Bool[ndarray, " t"]
    at_one: Bool[ndarray, " t"]
    others: tuple[Mode, ...] = ()

    @property
    def h2(self) -> Float64[ndarray, " t"]:
        """Heritability of each trait."""
        return quantities.h2(np.diag(self.Gamma_u), np.diag(self.Gamma_e))

    @property
    def rho_u(self) -> Float64[ndarray, "t t"]:
        """Genetic correlations; NaN beside a trait whose genetic variance is 0."""
        return self._known(self.Gamma_u, self.at_zero)

    @property
    def rho_e(self) -> Float64[ndarray, "t t"]:
        """Residual correlations; NaN beside a trait whose residual variance is where the search ends."""
        return self._known(self.Gamma_e, self.at_one)

    def unknown(self, parameter: str) -> Bool[ndarray, " t"]:
        """Return beside which traits a correlation is a ratio of zeros, shape (t,)."""
        return {"rho_u": self.at_zero, "rho_e": self.at_one}.get(parameter, np.zeros(len(self.at_zero), dtype=bool))

    def boundary_of(self, traits: Sequence[str]) -> str:
        """Say which bounds the estimate sits on, given the names of the traits."""
        return " and ".join(words.format(*traits) for words in self.boundary)

    def others_of(self, traits: Sequence[str]) -> str:
        """Say where the likelihood has other maxima, given the names of the traits; nothing if it has none."""
        words = [
            f"{self.loglik - mode.loglik:.2g} lower at "
            + ", ".join(f"h2 = {h2:.3f} of {trait}" for h2, trait in zip(mode.h2, traits, strict=True))
            for mode in self.others
        ]
        return f"the likelihood has another maximum, {' and one '.join(words)}" if words else ""

    def _known(self, Gamma: ndarray, unknown: ndarray) -> Float64[ndarray, "t t"]:
        with np.errstate(invalid="ignore"):
            rho = quantities.correlation(Gamma)
        return np.where(unknown[:, None] | unknown, np.nan, rho)


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


@in_float64
def joint_reml(data: SeveralTraits) -> JointEstimate:
    """Estimate the covariance matrices of several traits by restricted maximum likelihood.

    All records count: a missing value enters as a fixed effect of its own cell, which is exact
    (`likelihood.joint_log_reml`), at a cost of O(n C^2) for one evaluation with C covariates and missing values.

    The search starts at the moments and at every combination of the modes that single traits have, and the highest
    end is taken.

    Args:
        data: the traits in the eigenbasis.

    Raises:
        InputError: if a trait has nothing left to explain, or is a combination of others, or its individuals are all
            equally related.
        SearchError: if no maximum is found.

    Source: Meyer (1991), doi:10.1186/1297-9686-23-1-67, for the Cholesky factors.
    """
    whitened = joint_whitened(data)
    data, sd = whitened.given, whitened.sd
    t = len(sd)
    check_distinct(whitened.data, [f"trait {j + 1}" for j in range(t)])
    both = overlaps(whitened.data)
    best, *lower = _modes(whitened)
    unit_u, unit_e, zero, one = _settled(whitened, best)
    b, root = effects_of(whitened.products.at(unit_u[None], unit_e[None]).root[0], t)
    cov = np.linalg.inv(root @ root.T)
    beta, se_beta, at = [], [], 0
    for j in range(t):
        c = data.X[j].shape[1]
        inverse = np.linalg.inv(whitened.R[j])
        beta.append(inverse @ (b[at : at + c] * sd[j] + whitened.b[j]))
        se_beta.append(np.sqrt(np.diag(inverse @ cov[at : at + c, at : at + c] @ inverse.T)) * sd[j])
        at += c

    def in_users_units(mode: Mode) -> Mode:
        Gamma_e = np.where(both > 0, mode.Gamma_e * whitened.unit_e, 0.0)
        return Mode(mode.loglik - whitened.log_units, mode.Gamma_u * whitened.unit_u, Gamma_e)

    loglik, Gamma_u, Gamma_e = in_users_units(Mode(log_reml_at(whitened, unit_u, unit_e), unit_u, unit_e))
    return JointEstimate(
        Gamma_u=Gamma_u,
        Gamma_e=Gamma_e,
        overlaps=both,
        loglik=loglik,
        beta=tuple(beta),
        se_beta=tuple(se_beta),
        n=data.n,
        boundary=_boundary(unit_u, unit_e, zero, one, both),
        at_zero=zero,
        at_one=one,
        others=tuple(in_users_units(mode) for mode in lower),
    )


def _modes(white: JointWhitened) -> list[Mode]:
    """Return the maxima that searches from several places end at, the highest first.

    Raises:
        SearchError: if no search converges.
    """
    moments = moment_solutions(white.data)
    starts = [factors(moments.Gamma_u, moments.Gamma_e)]
    starts += [factors(*diagonals, least=1e-3, most=np.inf) for diagonals in _modes_apart(white)]
    ends, failures = [], []
    for start in starts:
        try:
            ends.append(maximise(white, start))
        except SearchError as error:
            failures.append(error)
    if not ends:
        raise failures[0]
    modes: list[Mode] = []
    for end in sorted(ends, key=lambda end: -end.loglik):
        mode = _mode_of(white, end)
        if modes and not _is_apart(mode, modes):
            continue
        if modes:
            # A search can stop at a saddle, where an element of a factor is 0: a real maximum is come back to.
            try:
                mode = _mode_of(white, maximise(white, factors(mode.Gamma_u, mode.Gamma_e, least=1e-3, most=np.inf)))
            except SearchError:
                continue
            if not _is_apart(mode, modes):
                continue
        modes.append(mode)
    return sorted(modes, key=lambda mode: -mode.loglik)


def _is_apart(mode: Mode, others: Sequence[Mode]) -> bool:
    """Whether a maximum is none of the others: its heritabilities or its height differ by more than searches do."""
    return all(np.abs(mode.h2 - other.h2).max() > 0.02 or abs(mode.loglik - other.loglik) > 0.01 for other in others)


def _mode_of(white: JointWhitened, end: End) -> Mode:
    return Mode(end.loglik, *(np.asarray(Gamma) for Gamma in covariances(end.theta, len(white.sd))))


def _modes_apart(white: JointWhitened) -> list[tuple[ndarray, ndarray]]:
    """Return diagonal matrices at the combinations of the modes of single traits, at most `_STARTS`, best first."""
    combined = sorted(product(*_modes_of_each(white)), key=lambda modes: -sum(loglik for loglik, _, _ in modes))
    return [(np.diag([u for _, u, _ in one]), np.diag([e for _, _, e in one])) for one in combined[:_STARTS]]


def _modes_of_each(white: JointWhitened) -> list[list[tuple[float, float, float]]]:
    """Return for each trait the local maxima on a grid of its restricted likelihood, as (loglik, sigma2_u, sigma2_e).

    Where no traits are correlated the Cholesky factor of all consists of those of each.

    Source: `likelihood.rescale`, for the scale at each ratio of the variances.
    """
    products = white.products
    t, found = products.t, [list[tuple[float, float, float]]() for _ in range(products.t)]
    for ratio in _RATIOS:
        h2, e2 = 1 / (1 + ratio), ratio / (1 + ratio)
        (root,) = products.roots(h2 * np.eye(t)[None], e2 * np.eye(t)[None])
        for j, of_trait in enumerate(found):
            if root is None:
                of_trait.append((-np.inf, h2, e2))
                continue
            pivots = root.diagonal()[products.trait_of == j]
            k = products.n - len(pivots) + 1
            sigma2_p = max(float(pivots[-1] ** 2), np.finfo(float).tiny) / k
            log_det_v = (np.log(h2 * products.s + e2) * products.counts).sum()
            loglik = -(log_det_v + 2 * np.log(pivots[:-1]).sum() + k * np.log(sigma2_p)) / 2
            of_trait.append((float(loglik), h2 * sigma2_p, e2 * sigma2_p))
    return [_peaks(of_trait) for of_trait in found]


def _peaks(along: list[tuple[float, float, float]]) -> list[tuple[float, float, float]]:
    height = np.array([-np.inf, *(loglik for loglik, _, _ in along), -np.inf])
    peaks = (height[1:-1] > height[:-2]) & (height[1:-1] >= height[2:])
    return [along[i] for i in np.flatnonzero(peaks)]


def _settled(white: JointWhitened, mode: Mode) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """Set to exactly 0 what a search cannot tell from 0; return both matrices, and which traits are at h2 = 0 and 1.

    A search ends beside a bound, not on it: what is left of a variance there is rounding, and a correlation made of
    it would be one of rounding errors.
    """
    t = len(mode.Gamma_u)
    free = {"u": mode.Gamma_u, "e": mode.Gamma_e - FLOOR * mode.Gamma_u}
    without = {"u": np.zeros(t, dtype=bool), "e": np.zeros(t, dtype=bool)}

    def accept(name: str, Gamma: ndarray) -> bool:
        nonlocal free
        changed = free | {name: Gamma}
        holds = log_reml_at(white, changed["u"], changed["e"] + FLOOR * changed["u"]) >= mode.loglik - _SAME
        free = changed if holds else free
        return holds

    total = np.sqrt(np.diag(mode.Gamma_u + mode.Gamma_e))
    for name, j in product(("u", "e"), range(t)):
        kept = np.arange(t) != j
        without[name][j] = accept(name, free[name] * np.outer(kept, kept))
    for name in ("u", "e"):
        values, vectors = np.linalg.eigh(free[name] / np.outer(total, total))
        nothing = values < _SINGULAR
        if nothing.sum() > without[name].sum():
            accept(name, vectors * np.where(nothing, 0.0, values) @ vectors.T * np.outer(total, total))
    Gamma_u = free["u"] + 0.0  # no -0
    return Gamma_u, free["e"] + FLOOR * Gamma_u, without["u"], without["e"]


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


def _boundary(
    Gamma_u: Float64[ndarray, "t t"],
    Gamma_e: Float64[ndarray, "t t"],
    zero: Bool[ndarray, " t"],
    one: Bool[ndarray, " t"],
    both: Float64[ndarray, "t t"],
) -> tuple[str, ...]:
    total = np.sqrt(np.diag(Gamma_u + Gamma_e))
    words = [f"h2 = 0 of {{{j}}}" for j in np.flatnonzero(zero)]
    words += [f"h2 = 1 of {{{j}}}" for j in np.flatnonzero(one)]
    for kind, name, Gamma, without in (
        ("genetic", "rho_u", Gamma_u, zero),
        ("residual", "rho_e", Gamma_e - FLOOR * Gamma_u, one),
    ):
        if name == "rho_e" and not both.all():
            # What nobody informs says nothing of the rank.
            Gamma = np.diag(np.diag(Gamma))
        there = np.flatnonzero(~without)
        part = (Gamma / np.outer(total, total))[np.ix_(there, there)]
        if len(there) and np.linalg.eigvalsh(part)[0] < _SINGULAR:
            words += _singular(kind, name, Gamma, there)
    return tuple(words)


def _singular(kind: str, name: str, Gamma: Float64[ndarray, "t t"], there: ndarray) -> list[str]:
    rho = quantities.correlation(Gamma[np.ix_(there, there)])
    extreme = [(j, k) for j, k in zip(*np.triu_indices(len(rho), 1), strict=True) if abs(rho[j, k]) > 1 - 1e-4]
    pairs = [f"{name} = {np.sign(rho[j, k]):.0f} of {{{there[j]}}} and {{{there[k]}}}" for j, k in extreme]
    return pairs or [f"the {kind} correlation matrix is singular"]
