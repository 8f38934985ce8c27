r"""Fisher information, standard errors, likelihood-ratio tests and intervals for REML of several traits.

With :math:`V = \sum_a \theta_a V_a` linear in the elements theta of Gamma_u and Gamma_e, and P as in `information`,
three informations are one sum apart: average :math:`\frac12 y'P V_a P V_b P y` = (observed + expected) / 2.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float64
from numpy import ndarray
from scipy.optimize import brentq
from scipy.stats import chi2

from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.boundary import mixture_p_value
from bayeslmm.estimators.information import KINDS, Kind
from bayeslmm.estimators.joint_moments import elements
from bayeslmm.estimators.joint_reml import JointEstimate, Mode
from bayeslmm.estimators.joint_search import (
    FLOOR,
    End,
    Explicit,
    Given,
    SearchError,
    bounds_of,
    covariances,
    factors,
    maximise,
)
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_whitened import JointWhitened, SeveralTraits, joint_whitened
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.several_traits import joint_design, joint_gls, joint_log_reml, row_covariances
from bayeslmm.likelihood.small_matrices import cholesky, inverse

_NEAR = 1e-4  # how near to its threshold the log-likelihood at an end of an interval is
_ROUNDS = 5
_HIGHER = "a search with a given parameter ended higher than the free one: REML is not at its maximum"


@jax.jit
def matrices(theta: Float[Array, " k"]) -> tuple[Float[Array, "t t"], Float[Array, "t t"]]:
    """Return Gamma_u and Gamma_e from their distinct elements, the inverse of `elements`."""
    k = len(theta) // 2
    t = int(np.sqrt(2 * k))
    upper = np.triu_indices(t)
    empty = jnp.zeros((t, t))
    u, e = (empty.at[upper].set(part).at[upper[::-1]].set(part) for part in (theta[:k], theta[k:]))
    return u, e


def joint_fisher(estimate: JointEstimate, data: SeveralTraits, *, kind: Kind = "average") -> Float64[ndarray, "k k"]:
    """Return the information of `elements` at an estimate inside the parameter space, shape (t (t + 1), t (t + 1)).

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        kind: see `information.fisher`. Rows and columns of an element that no individual informs are 0.

    Raises:
        InputError: if the estimate is on the boundary, where no information exists, or the kind is unknown.

    Source: Gilmour, Thompson and Cullis (1995), doi:10.2307/2533274.
    """
    white, theta = _at(estimate, data, kind)
    unit, informed = elements(white.unit_u, white.unit_e), _informed(estimate)
    return _information(theta, white.data, kind) / np.outer(unit, unit) * np.outer(informed, informed)


def _at(estimate: JointEstimate, data: SeveralTraits, kind: Kind) -> tuple[JointWhitened, Float64[ndarray, " k"]]:
    """Return the data in units of their own, and `elements` of the estimate in these.

    Raises:
        InputError: as `joint_fisher`.
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, but {kind!r} was given")
    if estimate.boundary:
        numbered = [f"trait {j + 1}" for j in range(len(estimate.at_zero))]
        raise InputError(
            f"the estimate is on the boundary ({estimate.boundary_of(numbered)}), where standard errors do not exist: "
            "use likelihood_interval, or the posterior"
        )
    white = joint_whitened(data)
    return white, elements(estimate.Gamma_u / white.unit_u, estimate.Gamma_e / white.unit_e)


def _informed(estimate: JointEstimate) -> Bool[ndarray, " k"]:
    """Return which elements some individual informs: all but residual covariances of traits that nobody has both of."""
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
    estimate: JointEstimate, data: SeveralTraits, *, kind: Kind = "average"
) -> dict[str, Float64[ndarray, "..."]]:
    """Return standard errors of everything in `quantities.of_traits`, by the delta method.

    Raises:
        InputError: as `joint_fisher`.
        AnalysisError: if the information is singular.
    """
    white, theta = _at(estimate, data, kind)
    information, informed = _information(theta, white.data, kind), _informed(estimate)
    known = np.ix_(informed, informed)
    try:
        inverse_known = np.linalg.inv(information[known])
    except np.linalg.LinAlgError:
        raise AnalysisError(f"the {kind} information is singular: use likelihood_interval, or the posterior") from None
    cov = np.full_like(information, np.nan)
    cov[known] = inverse_known
    return errors_of_traits(estimate.Gamma_u, estimate.Gamma_e, cov, elements(white.unit_u, white.unit_e))


@in_float64
def errors_of_traits(
    Gamma_u: Float64[ndarray, "t t"],
    Gamma_e: Float64[ndarray, "t t"],
    unit_cov: Float64[ndarray, "k k"],
    units: Float64[ndarray, " k"],
) -> dict[str, Float64[ndarray, "..."]]:
    """Return the standard errors of `quantities.of_traits` that a covariance of `elements` implies.

    NaN for what depends on an element whose row of the covariance is NaN, or is itself undefined.

    Args:
        Gamma_u: genetic covariances.
        Gamma_e: residual covariances.
        unit_cov: covariance of `elements`, in squares of their units.
        units: of `elements`.
    """
    # Forward: a correlation that is undefined must not take the others with it.
    jacobian = jax.jacfwd(lambda theta: quantities.of_traits(*matrices(theta * units)))
    slopes = jacobian(jnp.asarray(elements(Gamma_u, np.nan_to_num(Gamma_e)) / units))
    known = ~np.isnan(np.diag(unit_cov))
    errors: dict[str, ndarray] = {}
    for name, slope in slopes.items():
        slope = np.asarray(slope)
        # Of lengths near 1: the square of the slope of a variance may be no number.
        length = np.abs(np.nan_to_num(slope, posinf=0.0, neginf=0.0)).max(axis=-1, keepdims=True)
        length[length == 0] = 1.0
        slope = slope / length
        variance = np.einsum("...a,ab,...b->...", slope[..., known], unit_cov[np.ix_(known, known)], slope[..., known])
        # Moments outside the parameter space can put it below 0: it is then no variance.
        undefined = (slope[..., ~known] != 0).any(axis=-1) | (variance < -1e-12 * np.abs(variance).max(initial=0.0))
        errors[name] = np.where(undefined, np.nan, np.sqrt(np.maximum(variance, 0.0)) * length[..., 0])
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
def correlation_tests(estimate: JointEstimate, data: SeveralTraits, pair: tuple[int, int]) -> PairTest:
    """Test rho_u = 0 and abs(rho_u) = 1 of a pair of traits by likelihood ratios.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        pair: which two traits, counted from 0.

    Raises:
        InputError: if the genetic variance of one of them is estimated at 0: no correlation is then less likely than
            another, and none is tested.
        SearchError: if a search with a given correlation does not converge, or ends above the estimate.

    Source: Self and Liang (1987), doi:10.1080/01621459.1987.10478472, for the bound.
    """
    _check_known(estimate, "rho_u", pair)
    white = joint_whitened(data)
    zero = _ratio(estimate, profile_loglik(estimate, white, "rho_u", pair, 0.0))
    one = _ratio(estimate, max(profile_loglik(estimate, white, "rho_u", pair, bound) for bound in (-1.0, 1.0)))
    return PairTest(zero, float(chi2.sf(zero, 1)), one, mixture_p_value(one))


def _check_known(estimate: JointEstimate, parameter: Explicit, at: tuple[int, ...]) -> None:
    if zero := [f"trait {j + 1}" for j in at if estimate.unknown(parameter)[j]]:
        kind = "genetic" if parameter == "rho_u" else "residual"
        raise InputError(f"{parameter} is not identified: the {kind} variance of {' and '.join(zero)} is 0")


def _ratio(estimate: JointEstimate, loglik: float) -> float:
    """Return twice what is lost, 0 where it is no more than where a search stops.

    Raises:
        SearchError: if the constrained search ended above the free one.
    """
    ratio = 2 * (estimate.loglik - loglik)
    if ratio < -1e-3:
        raise SearchError(_HIGHER)
    return ratio if ratio > 1e-6 else 0.0


@in_float64
def profile_loglik(
    estimate: JointEstimate, data: SeveralTraits, parameter: Explicit, at: tuple[int, ...], value: float
) -> float:
    """Return the restricted log-likelihood at a value of one parameter, maximised over everything else.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        parameter: "h2", "rho_u" or "rho_e".
        at: of which trait, or of which two, counted from 0.
        value: the parameter, within `bounds_of`.

    Raises:
        SearchError: if no search converges.
    """
    whitened = joint_whitened(data)
    starts = _starts(_in_units(estimate, whitened), parameter, at)
    if parameter == "h2":
        value = min(_h2_in_unit(value, 1 / whitened.k), bounds_of(parameter)[1])
    return _highest(whitened, starts, Given(parameter, at, value)).loglik - whitened.log_units


def _h2_in_unit(h2: float, k: float) -> float:
    """Return a heritability on the kinship matrix k K, given that on K."""
    return h2 / (h2 + k * (1 - h2))


def _in_units(estimate: JointEstimate, whitened: JointWhitened) -> list[Mode]:
    """Return all maxima that were found, in the units of the search, the estimate first."""
    return [
        Mode(mode.loglik + whitened.log_units, mode.Gamma_u / whitened.unit_u, mode.Gamma_e / whitened.unit_e)
        for mode in (Mode(estimate.loglik, estimate.Gamma_u, estimate.Gamma_e), *estimate.others)
    ]


def _starts(modes: Sequence[Mode], parameter: Explicit, at: tuple[int, ...]) -> list[tuple[ndarray, ndarray]]:
    """Return where searches with a given parameter start: at each maximum, and where the parameter matters little.

    An unlikely correlation is made harmless by a small variance of the one trait or of the other: two maxima.
    """
    best = modes[0]
    starts = [(mode.Gamma_u, mode.Gamma_e) for mode in modes]
    middle = np.diag(np.diag(best.Gamma_u + best.Gamma_e)) / 2
    starts.append((middle, middle))
    for j in at if len(at) > 1 else ():
        small = np.where(np.arange(len(middle)) == j, 0.1, 1.0)
        shrunk = np.outer(small, small)
        if parameter == "rho_u":
            starts.append((best.Gamma_u * shrunk, best.Gamma_e))
        else:
            starts.append((best.Gamma_u, best.Gamma_e * shrunk))
    return starts


def _highest(white: JointWhitened, starts: Sequence[tuple[ndarray, ndarray]], given: Given) -> End:
    """Return the highest end of searches from several places.

    Raises:
        SearchError: if none converges.
    """
    ends, failures = [], []
    for Gamma_u, Gamma_e in starts:
        try:
            ends.append(maximise(white, factors(Gamma_u, Gamma_e, given, least=1e-2, most=np.inf), given))
        except SearchError as error:
            failures.append(error)
    if not ends:
        raise failures[0]
    return max(ends, key=lambda end: end.loglik)


@in_float64
def likelihood_interval(
    estimate: JointEstimate, data: SeveralTraits, parameter: Explicit, at: tuple[int, ...], *, level: float = 0.95
) -> tuple[float, float]:
    """Return the range of a parameter where the log-likelihood, maximised over the rest, is within chi2_1 / 2 of best.

    That is the profile-likelihood interval. It is meant for the boundary, where standard errors do not exist, and
    somewhat conservative there. Each end is a bound of the parameter that is itself within the range, or a root of the
    profile, where searches from several places, not only the one that led there, have their highest end on the
    threshold to 1e-4.

    Args:
        estimate: of `joint_reml`.
        data: the data of the estimate.
        parameter: "h2", "rho_u" or "rho_e".
        at: of which trait, or of which two, counted from 0.
        level: the coverage, between 0 and 1.

    Raises:
        InputError: if a correlation is not identified, beside a variance that is 0.
        SearchError: if an end is not found, or does not hold what is asked of it.

    Source: Venzon and Moolgavkar (1988), doi:10.2307/2347496.
    """
    _check_known(estimate, parameter, at)
    whitened = joint_whitened(data)
    modes = _in_units(estimate, whitened)
    least = modes[0].loglik - float(chi2.ppf(level, 1)) / 2
    within = [mode for mode in modes if mode.loglik >= least]
    starts = _starts(modes, parameter, at)
    values = [_explicit(mode, parameter, at) for mode in within]
    low, high = (
        _end(whitened, starts, Given(parameter, at, value), bound, modes[0].loglik, least)
        for value, bound in zip((min(values), max(values)), bounds_of(parameter), strict=True)
    )
    if not low - 1e-6 <= values[0] <= high + 1e-6:
        raise SearchError(f"the likelihood interval from {low:.3g} to {high:.3g} does not hold its own estimate")
    return (_h2_in_unit(low, whitened.k), _h2_in_unit(high, whitened.k)) if parameter == "h2" else (low, high)


def _explicit(mode: Mode, parameter: Explicit, at: tuple[int, ...]) -> float:
    """Return the value that a search would be given to have its maximum at a mode."""
    if parameter == "h2":
        return float(np.clip(mode.h2[at[0]], *bounds_of(parameter)))
    Gamma = mode.Gamma_u if parameter == "rho_u" else mode.Gamma_e - FLOOR * mode.Gamma_u
    with np.errstate(invalid="ignore"):
        return float(np.clip(np.nan_to_num(quantities.correlation(Gamma)[at]), -1, 1))


def _rounded(bound: float) -> float:
    """Return a bound as it is written: the h2 of 1 / (1 + `FLOOR`) where searches end stands for 1."""
    return float(np.round(bound, 4))


def _outside(
    white: JointWhitened, starts: Sequence[tuple[ndarray, ndarray]], inside: Given, bound: float, least: float
) -> tuple[float, float]:
    """Return the bound and the profile there, or a value before it, below the threshold, where no search arrives at it.

    Raises:
        SearchError: if there is no such value.
    """
    failure = None
    for share in (0.0, 0.01, 0.1, 0.3):
        value = bound + share * (inside.value - bound)
        try:
            loglik = _highest(white, starts, inside._replace(value=value)).loglik
        except SearchError as error:
            # Where next to no variance is left to one trait, the likelihood is too steep for some searches.
            failure = failure or error
            continue
        if failure is None or loglik < least:
            return value, loglik
        break
    raise failure or SearchError(f"no search converges between {inside.value:.3g} and {bound:.3g}")


def _end(
    white: JointWhitened,
    starts: Sequence[tuple[ndarray, ndarray]],
    inside: Given,
    bound: float,
    highest: float,
    least: float,
) -> float:
    """Return where the profile goes through a threshold for the last time before a bound, or the bound.

    Args:
        white: the traits.
        starts: of `_starts`.
        inside: a value of the parameter where the profile is above the threshold.
        bound: of the parameter.
        highest: the log-likelihood of the estimate.
        least: the threshold.
    """
    parameter, at, _ = inside
    t = len(white.sd)
    if abs(inside.value - bound) < 1e-9:
        return _rounded(bound)
    outer, at_outer = _outside(white, starts, inside, bound, least)
    if at_outer >= least:
        return _rounded(bound)
    found = {inside.value: _highest(white, starts, inside)}

    def beyond(value: float) -> float:
        """Return the signed root of the ratio, less that of the threshold: nearly straight. 0 where near enough."""
        if value == outer:
            loglik = at_outer
        else:
            nearest = found[min(found, key=lambda other: abs(other - value))]
            given = inside._replace(value=value)
            try:
                found[value] = maximise(white, nearest.theta, given, curvature=nearest.curvature)
            except SearchError:
                found[value] = _highest(white, starts, given)
            loglik = found[value].loglik
        if loglik > highest + 1e-3:
            raise SearchError(_HIGHER)
        return 0.0 if abs(loglik - least) < _NEAR / 4 else np.sqrt(max(highest - loglik, 0)) - np.sqrt(highest - least)

    value = inside.value
    for _ in range(_ROUNDS):
        root = float(brentq(beyond, value, outer, xtol=1e-13))
        there = max(found[root], _highest(white, starts, inside._replace(value=root)), key=lambda end: end.loglik)
        if abs(there.loglik - least) <= _NEAR:
            Gammas = (np.asarray(Gamma) for Gamma in covariances(there.theta, t, inside._replace(value=root)))
            return float(quantities.of_traits(*Gammas)[parameter][at])
        # Another search has ended higher: the range reaches further than here.
        value, found = root, {root: there}
    raise SearchError(f"an end of the likelihood interval of {parameter} was not found: searches nearby disagree")
