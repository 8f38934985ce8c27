"""Fisher information of the variance components, standard errors by the delta method, profile intervals."""

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike
from numpy import ndarray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.variance_ratio import DELTA_MIN
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import LogLikelihood, UnitScale, at_unit_scale, gls, log_ml, log_reml, rescale
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.solver import TraitData
from bayeslmm.likelihood.whitened import OneTrait, whitened

Kind = Literal["expected", "average", "observed"]
Parameter = Literal["sigma2_u", "sigma2_e", "h2", "pve"]
KINDS: tuple[Kind, ...] = ("expected", "average", "observed")


def expected_ml(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, "2 2"]:
    r"""Expected information of (sigma2_u, sigma2_e): :math:`\frac12 tr(V^{-1} V_i V^{-1} V_j)`, V_1 = K, V_2 = I.

    Source: Searle, Casella and McCulloch (1992), Variance Components, section 6.3.
    """
    return jnp.asarray(data.solver(sigma2_u, sigma2_e).traces() / 2)


def expected_reml(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, "2 2"]:
    r"""Expected information of the restricted likelihood: :math:`\frac12 tr(P V_i P V_j)`.

    With :math:`P = V^{-1} - V^{-1} X C X' V^{-1}`, C the covariance of the fixed effects, and :math:`Q_i = V_i V^{-1}
    X`, the trace is :math:`tr(V^{-1}V_iV^{-1}V_j) - 2 tr(C Q_i'V^{-1}Q_j) + tr(B_i B_j)`, :math:`B_i = C X'V^{-1}Q_i`.

    Source: Searle, Casella and McCulloch (1992), Variance Components, section 6.6.
    """
    V, C, c = data.solver(sigma2_u, sigma2_e), gls(data, sigma2_u, sigma2_e).cov, data.X.shape[1]
    WX = jnp.asarray(V.solve(data.X))
    Q = jnp.stack([V.multiply(WX), WX], axis=1)
    B = jnp.einsum("ab,nb,nkc->kac", C, WX, Q)
    sides = Q.reshape(-1, 2 * c)
    between = V.cross(sides, sides).reshape(2, c, 2, c)
    crossed = jnp.einsum("ab,ibja->ij", C, between)
    return (V.traces() - 2 * crossed + jnp.einsum("kij,lji->kl", B, B)) / 2


_FAMILY: dict[str, tuple[LogLikelihood, Callable[..., Array]]] = {
    "ml": (log_ml, expected_ml),
    "reml": (log_reml, expected_reml),
}


@in_float64
def fisher(estimate: Estimate, data: OneTrait, *, kind: Kind = "average") -> Float[ndarray, "2 2"]:
    """Return the information of (sigma2_u, sigma2_e) at an estimate inside the parameter space, shape (2, 2).

    Args:
        estimate: of `ml` or `reml`, which decides the likelihood.
        data: the data of the estimate.
        kind: "expected" (the mean over data), "observed" (minus the Hessian) or "average", half their sum, in
            which the traces cancel (the AI matrix of ASReml and GCTA).

    Raises:
        InputError: if the estimate is on the boundary, where no information exists, or the kind is unknown.

    Source: Gilmour, Thompson and Cullis (1995), doi:10.2307/2533274, for "average".
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, but {kind!r} was given")
    if estimate.boundary:
        raise InputError(
            f"the {estimate.method} estimate is on the boundary ({estimate.boundary}), where standard errors do not "
            "exist: use profile_interval, or the posterior"
        )
    loglik, expected = _FAMILY[estimate.likelihood]
    white = whitened(data)
    unit = np.array([white.unit_u, white.unit_e])
    theta = jnp.array([estimate.sigma2_u, estimate.sigma2_e]) / unit
    matrices = {"expected": lambda: expected(white.data, *theta)}
    matrices["observed"] = lambda: -_hessian(loglik, white.data, theta)
    matrices["average"] = lambda: (matrices["expected"]() + matrices["observed"]()) / 2
    return np.asarray(matrices[kind]()) / np.outer(unit, unit)


@partial(jax.jit, static_argnums=0)
def _hessian(loglik: LogLikelihood, data: RotatedData, theta: Float[Array, " 2"]) -> Float[Array, "2 2"]:
    return jax.hessian(lambda theta: loglik(data, theta[0], theta[1]))(theta)


@in_float64
def standard_errors(estimate: Estimate, data: OneTrait, *, kind: Kind = "average") -> dict[Parameter, float]:
    """Return the standard errors of sigma2_u, sigma2_e, h2 and pve: the square roots of delta-method variances.

    Raises:
        InputError: as `fisher`.
    """
    white = whitened(data)
    cov = np.linalg.inv(fisher(estimate, white, kind=kind))
    return standard_errors_from(cov, estimate.sigma2_u, estimate.sigma2_e, white.given.k_scale)


def standard_errors_from(
    cov: Float[ndarray, "2 2"], sigma2_u: float, sigma2_e: float, k_scale: float
) -> dict[Parameter, float]:
    """Return the standard errors of sigma2_u, sigma2_e, h2 and pve that a covariance of the first two implies."""
    functions: dict[Parameter, Callable[..., ArrayLike]] = {
        "sigma2_u": lambda sigma2_u, sigma2_e: sigma2_u,
        "sigma2_e": lambda sigma2_u, sigma2_e: sigma2_e,
        "h2": quantities.h2,
        "pve": lambda sigma2_u, sigma2_e: quantities.pve(sigma2_u, sigma2_e, k_scale),
    }
    return {name: delta_method(function, cov, sigma2_u, sigma2_e) for name, function in functions.items()}


@in_float64
def delta_method(function: Callable[..., ArrayLike], cov: Float[ndarray, "k k"], *at: float) -> float:
    r"""Return the standard error of any smooth function of estimates: :math:`\sqrt{\nabla f' C \nabla f}`.

    The gradient comes from automatic differentiation. For h2 this is the square root of
    :math:`(\sigma_e^4 c_{11} - 2 \sigma_u^2 \sigma_e^2 c_{12} + \sigma_u^4 c_{22}) / (\sigma_u^2 + \sigma_e^2)^4`. The
    source report ("Variance Components Analysis") stops before the root: the 0.00266 that it prints as a standard
    error of h2 is a variance, and the standard error is 0.0515.

    Args:
        function: of k numbers, written with jax.numpy, returns one.
        cov: covariance of the k estimates, such as the inverse of `fisher`.
        at: the k estimates.

    Source: Oehlert (1992), doi:10.1080/00031305.1992.10475842.
    """
    gradient = np.asarray(jax.grad(function, argnums=tuple(range(len(at))))(*at))
    return float(np.sqrt(gradient @ cov @ gradient))


@in_float64
def profile_interval(
    estimate: Estimate, data: OneTrait, parameter: Parameter, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the range of values whose profile log-likelihood lies within chi2_1(level) / 2 of the maximum.

    Valid as an interval where standard errors are not, though conservative at the boundary; an end that the
    likelihood does not reach is the end of the parameter space. Between its ends there may be values that are less
    likely, if the likelihood has several modes.

    Args:
        estimate: of `ml` or `reml`.
        data: the data of the estimate.
        parameter: which one.
        level: the coverage, between 0 and 1.

    Source: Self and Liang (1987), doi:10.1080/01621459.1987.10478472, for the boundary.
    """
    loglik, _ = _FAMILY[estimate.likelihood]
    white = whitened(data)
    k = estimate.n - (estimate.c if estimate.likelihood == "reml" else 0)
    threshold = estimate.loglik + k * white.log_unit - float(chi2.ppf(level, 1)) / 2
    on_grid = UnitScale(*map(np.asarray, _unit_scales(loglik, white.data, jnp.asarray(_SHARES))))

    def along(unit: UnitScale, sigma2_p: Any) -> Float[ndarray, " m"]:
        return np.asarray(rescale(unit, k, np.asarray(sigma2_p)) - threshold)

    def unit_at(share: float) -> UnitScale:
        return _unit_scales(loglik, white.data, jnp.asarray([float(share)]))

    def of_share(share: float) -> float:
        return float(along(unit_at(share), unit_at(share).quad / k)[0])

    best = estimate.sigma2_u / white.unit_u, estimate.sigma2_e / white.unit_e
    lower, upper = _ends(_SHARES, along(on_grid, on_grid.quad / k), quantities.h2(*best), of_share)
    upper = 1.0 if upper == _SHARES[-1] else upper
    if parameter in ("h2", "pve"):
        k_scale = 1 / white.k if parameter == "h2" else white.data.k_scale
        return tuple(float(quantities.pve(share, 1 - share, k_scale)) for share in (lower, upper))  # pyright: ignore

    genetic = parameter == "sigma2_u"
    inside = slice(1, None) if genetic else slice(None)  # without genetic variance it is no share of the total
    grid_unit = UnitScale(on_grid.log_dets[inside], on_grid.quad[inside])

    def total(value: float, shares: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
        return value / (shares if genetic else 1 - shares)

    def of_variance(value: float) -> float:
        """The most that the likelihood has over the threshold along the line of shares, at one of both variances."""
        shares = _SHARES[inside]
        j = int(np.argmax(along(grid_unit, total(value, shares))))
        around = shares[max(j - 1, 0)], shares[min(j + 1, len(shares) - 1)]
        found = minimize_scalar(
            lambda share: -float(along(unit_at(share), total(value, np.array([share])))[0]),
            bounds=around,
            method="bounded",
            options={"xatol": 1e-9 * around[1]},
        )
        return max(-float(found.fun), float(along(grid_unit, total(value, shares))[j]))

    values = sum(best) * np.geomspace(_LEAST, 1e3, 500)
    near = np.array([along(grid_unit, total(value, _SHARES[inside])).max() for value in values])
    low, high = _ends(values, near, max(best[0] if genetic else best[1], values[0]), of_variance)
    unit = white.unit_u if genetic else white.unit_e
    # A variance reaches 0 where the share of it does: at a lower total no other is more likely.
    reaches_0 = lower == 0 if genetic else upper == 1
    return 0.0 if reaches_0 else low * unit, high * unit


_SHARES = np.concatenate([[0.0], 1 / (1 + np.geomspace(1e10, DELTA_MIN, 301))])
"""Of the genetic variance, from 0 to where searches end."""
_LEAST = 1e-8  # of the total: a smaller variance is 0


@partial(jax.jit, static_argnums=0)
def _unit_scales(loglik: LogLikelihood, data: RotatedData, shares: Float[Array, " m"]) -> UnitScale:
    return jax.lax.map(lambda share: at_unit_scale(loglik, data, share, 1 - share), shares, batch_size=50)


def _ends(
    nodes: Float[ndarray, " m"], at_nodes: Float[ndarray, " m"], inside: float, f: Callable[[float], float]
) -> tuple[float, float]:
    """Return the first and the last place where f is not below 0, as far as the nodes go.

    Args:
        nodes: ascending.
        at_nodes: f there, or a little less.
        inside: a place where it is not below 0.
        f: the function.
    """
    known = [inside, *nodes[at_nodes >= 0]]

    def end(start: float, outwards: Float[ndarray, " _"]) -> float:
        for node in outwards.tolist():
            if f(node) < 0:
                return float(brentq(f, min(start, node), max(start, node), xtol=1e-300, rtol=1e-12))
            start = node
        return float(start)

    first, last = min(known), max(known)
    return end(first, nodes[nodes < first][::-1]), end(last, nodes[nodes > last])
