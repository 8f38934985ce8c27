r"""Fisher information, standard errors, likelihood-ratio tests and intervals for REML of several traits.

With :math:`V = \sum_a \theta_a V_a` linear in the elements theta of Gamma_u and Gamma_e, and P as in `information`,
three informations are one sum apart: average :math:`\frac12 y'P V_a P V_b P y` = (observed + expected) / 2.
"""

from collections.abc import Callable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from numpy import ndarray
from scipy.optimize import NonlinearConstraint, minimize
from scipy.stats import chi2

from bayeslmm import parameters
from bayeslmm.boundary import mixture_p_value
from bayeslmm.checks import InputError
from bayeslmm.estimators.joint_moments import elements
from bayeslmm.estimators.joint_reml import (
    JointEstimate,
    SearchError,
    covariances,
    factors,
    joint_whitened,
    maximise,
    negative_loglik,
)
from bayeslmm.information import KINDS, Kind
from bayeslmm.likelihood import joint_design, joint_gls, joint_log_reml, row_covariances
from bayeslmm.precision import in_float64
from bayeslmm.small_matrices import cholesky, inverse
from bayeslmm.spectrum import JointData

_FAR = 30.0  # of an element of a Cholesky factor in units of the search: a variance 900 times that of the trait


def matrices(theta: Float[Array, " k"]) -> tuple[Float[Array, "t t"], Float[Array, "t t"]]:
    """Return Gamma_u and Gamma_e from their distinct elements, the inverse of `elements`."""
    k = len(theta) // 2
    t = int(np.sqrt(2 * k))
    upper = np.triu_indices(t)
    empty = jnp.zeros((t, t))
    u, e = (empty.at[upper].set(part).at[upper[::-1]].set(part) for part in (theta[:k], theta[k:]))
    return u, e


def joint_fisher(estimate: JointEstimate, data: JointData, *, kind: Kind = "average") -> Float64[ndarray, "k k"]:
    """Return the information of `elements` at an estimate inside the parameter space, shape (t (t + 1), t (t + 1)).

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        kind: see `information.fisher`. Rows and columns of an element that no person informs are 0.

    Raises:
        InputError: if the estimate is on the boundary, where no information exists, or the kind is unknown.

    Source: Gilmour, Thompson and Cullis (1995), doi:10.2307/2533274.
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, but {kind!r} was given")
    if estimate.boundary:
        numbered = [f"trait {j + 1}" for j in range(data.Y.shape[1])]
        raise InputError(
            f"the estimate is on the boundary ({estimate.boundary_of(numbered)}), where standard errors do not exist: "
            "use likelihood_interval, or the posterior"
        )
    white = joint_whitened(data)
    theta = elements(estimate.Gamma_u / white.unit_u, estimate.Gamma_e / white.unit_e)
    information = _information(theta, white.data, kind)
    unit = elements(white.unit_u, white.unit_e)
    informed = _informed(estimate)
    return information / np.outer(unit, unit) * np.outer(informed, informed)


def _informed(estimate: JointEstimate) -> Bool[ndarray, " k"]:
    """Return which elements some person informs: all but residual covariances of traits that nobody has both of."""
    return elements(np.ones_like(estimate.Gamma_u), estimate.overlaps) > 0


@in_float64
def _information(theta: Float64[ndarray, " k"], white: JointData, kind: Kind) -> Float64[ndarray, "k k"]:
    if kind == "observed":
        return np.asarray(_observed(theta, white))
    average = np.asarray(_average(theta, white))
    return average if kind == "average" else 2 * average - np.asarray(_observed(theta, white))


@jax.jit
def _observed(theta: Float[Array, " k"], data: JointData) -> Float[Array, "k k"]:
    """Minus the Hessian of the restricted log-likelihood, one column after the other: each needs O(n C) memory."""
    score = jax.grad(lambda theta: joint_log_reml(data, *matrices(theta)))
    return -jax.lax.map(lambda direction: jax.jvp(score, (theta,), (direction,))[1], jnp.eye(len(theta)))


@jax.jit
def _average(theta: Float[Array, " k"], data: JointData) -> Float[Array, "k k"]:
    """Half of y'P V_a P V_b P y, from q_a = V_a P y."""
    t = data.Y.shape[1]
    s = jnp.asarray(data.s)
    fit = joint_gls(data, *matrices(theta))
    W = inverse(cholesky(row_covariances(s, *matrices(theta))))
    Z = joint_design(data)
    ends = np.cumsum([0, *(part.shape[1] for part in Z)])

    def weighted(R: Float[Array, "n t"]) -> Float[Array, "n t"]:
        """V^-1 R."""
        return jnp.stack([jnp.asarray(sum(W[j][k] * R[:, k] for k in range(t))) for j in range(t)], axis=1)

    fitted = [Z[j] @ fit.coefficients[ends[j] : ends[j + 1]] for j in range(t)]
    Py = weighted(jnp.asarray(data.Y) - jnp.stack(fitted, axis=1))

    def of_element(direction: Float[Array, " k"]) -> tuple[Array, Array, Array]:
        """Return q = V_a P y, V^-1 q and Z'V^-1 q."""
        along_u, along_e = matrices(direction)
        q = s[:, None] * (Py @ along_u) + Py @ along_e
        Wq = weighted(q)
        return q, Wq, jnp.concatenate([Z[j].T @ Wq[:, j] for j in range(t)])

    q, Wq, Zq = jax.lax.map(of_element, jnp.eye(len(theta)))
    projected = jax.scipy.linalg.solve_triangular(fit.root, Zq.T, lower=True)
    return (jnp.einsum("anj,bnj->ab", q, Wq) - projected.T @ projected) / 2


def joint_standard_errors(
    estimate: JointEstimate, data: JointData, *, kind: Kind = "average"
) -> dict[str, Float64[ndarray, "..."]]:
    """Return standard errors of everything in `parameters.of_traits`, by the delta method.

    Raises:
        InputError: as `joint_fisher`.
    """
    information = joint_fisher(estimate, data, kind=kind)
    informed = _informed(estimate)
    cov = np.full_like(information, np.nan)
    cov[np.ix_(informed, informed)] = np.linalg.inv(information[np.ix_(informed, informed)])
    return errors_of_traits(estimate.Gamma_u, estimate.Gamma_e, cov)


@in_float64
def errors_of_traits(
    Gamma_u: Float64[ndarray, "t t"], Gamma_e: Float64[ndarray, "t t"], cov: Float64[ndarray, "k k"]
) -> dict[str, Float64[ndarray, "..."]]:
    """Return the standard errors of `parameters.of_traits` that a covariance of `elements` implies.

    NaN for what depends on an element whose row of the covariance is NaN, or is itself undefined.
    """
    # Forward: a correlation that is undefined must not take the others with it.
    jacobian = jax.jacfwd(lambda theta: parameters.of_traits(*matrices(theta)))
    slopes = jacobian(jnp.asarray(elements(Gamma_u, np.nan_to_num(Gamma_e))))
    known = ~np.isnan(np.diag(cov))
    errors: dict[str, ndarray] = {}
    for name, slope in slopes.items():
        slope = np.asarray(slope)
        variance = np.einsum("...a,ab,...b->...", slope[..., known], cov[np.ix_(known, known)], slope[..., known])
        # Moments outside the parameter space can put it below 0: it is then no variance.
        undefined = (slope[..., ~known] != 0).any(axis=-1) | (variance < -1e-12 * np.abs(variance).max(initial=0.0))
        errors[name] = np.where(undefined, np.nan, np.sqrt(np.maximum(variance, 0.0)))
    return errors


@dataclass(frozen=True)
class PairTest:
    """Likelihood-ratio tests of one genetic correlation, the other parameters free.

    Attributes:
        ratio_zero: twice what the restricted log-likelihood loses at rho_u = 0.
        p_zero: its p-value, chi2 with one degree of freedom.
        ratio_one: the same at rho_u = 1 or -1, whichever is nearer.
        p_one: its p-value, the mixture of 0 and chi2_1 in equal parts: a bound of the parameter space.
    """

    ratio_zero: float
    p_zero: float
    ratio_one: float
    p_one: float


@in_float64
def correlation_tests(estimate: JointEstimate, data: JointData, pair: tuple[int, int]) -> PairTest:
    """Test rho_u = 0 and abs(rho_u) = 1 of a pair of traits by likelihood ratios.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        pair: which two traits, counted from 0.

    Source: Self and Liang (1987), doi:10.1080/01621459.1987.10478472, for the bound.
    """
    zero = _ratio(estimate, profile_loglik(estimate, data, pair, 0.0))
    one = _ratio(estimate, max(profile_loglik(estimate, data, pair, bound) for bound in (-1.0, 1.0)))
    return PairTest(zero, float(chi2.sf(zero, 1)), one, mixture_p_value(one))


def _ratio(estimate: JointEstimate, loglik: float) -> float:
    """Return twice what is lost, 0 where it is no more than where a search stops.

    Raises:
        SearchError: if the constrained search ended above the free one.
    """
    ratio = 2 * (estimate.loglik - loglik)
    if ratio < -1e-3:
        raise SearchError("a search with a given rho_u ended higher than the free one: REML is not at its maximum")
    return ratio if ratio > 1e-6 else 0.0


@in_float64
def profile_loglik(estimate: JointEstimate, data: JointData, pair: tuple[int, int], rho_u: float) -> float:
    """Return the restricted log-likelihood at a genetic correlation of one pair, maximised over everything else.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        pair: which two traits, counted from 0.
        rho_u: their genetic correlation, from -1 to 1.
    """
    others = [j for j in range(data.Y.shape[1]) if j not in pair]
    order = [*pair, *others]
    white = joint_whitened(data.take(order))
    chosen = np.ix_(order, order)
    start = factors(estimate.Gamma_u[chosen] / white.unit_u, estimate.Gamma_e[chosen] / white.unit_e)
    return maximise(white.data, start, rho_u=rho_u)[0] + white.log_units


@in_float64
def likelihood_interval(
    estimate: JointEstimate,
    data: JointData,
    function: Callable[[Float[Array, "t t"], Float[Array, "t t"]], Array],
    *,
    level: float = 0.95,
) -> tuple[float, float]:
    """Return the range of a function of (Gamma_u, Gamma_e) where the log-likelihood is within chi2_1 / 2 of best.

    That is the profile-likelihood interval, found as two constrained optima. It is meant for the boundary, where
    standard errors do not exist, and somewhat conservative there.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        function: written with jax.numpy, returns one number.
        level: the coverage, between 0 and 1.

    Raises:
        SearchError: if an end is not found.

    Source: Venzon and Moolgavkar (1988), doi:10.2307/2347496.
    """
    whitened = joint_whitened(data)
    white, unit_u, unit_e = whitened.data, whitened.unit_u, whitened.unit_e
    t = len(unit_u)
    least = estimate.loglik - whitened.log_units - float(chi2.ppf(level, 1)) / 2
    start = factors(estimate.Gamma_u / unit_u, estimate.Gamma_e / unit_e)

    def in_units(theta: Array) -> Array:
        Gamma_u, Gamma_e = covariances(theta, t)
        return function(Gamma_u * unit_u, Gamma_e * unit_e)

    target = jax.jit(jax.value_and_grad(in_units))
    # The size of the function at a point where nothing is 0: the search needs numbers near 1.
    middle = (np.eye(t) + 1) / 4
    unit = abs(float(function(jnp.asarray(middle * unit_u), jnp.asarray(middle * unit_e)))) or 1.0

    def above(theta: ndarray) -> ndarray:
        value = -float(negative_loglik(theta, white)[0]) - least
        return np.array([value if np.isfinite(value) else -1e6])

    def score(theta: ndarray) -> ndarray:
        return -np.asarray(negative_loglik(theta, white)[1])[None]

    within = NonlinearConstraint(above, 0.0, np.inf, jac=score)

    def end(sign: float) -> float:
        def objective(theta: ndarray) -> tuple[float, ndarray]:
            value, gradient = target(theta)
            return sign * float(value) / unit, sign * np.asarray(gradient) / unit

        found = minimize(
            objective,
            start,
            jac=True,
            method="SLSQP",
            bounds=[(-_FAR, _FAR)] * len(start),
            constraints=[within],
            options={"maxiter": 500, "ftol": 1e-9},
        )
        if not found.success or np.abs(found.x).max() > 0.99 * _FAR or not np.isfinite(found.fun):
            raise SearchError(f"an end of a likelihood interval was not found: {found.message}")
        return sign * float(found.fun) * unit

    return end(1.0), end(-1.0)
