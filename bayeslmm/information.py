"""Fisher information of the variance components, standard errors by the delta method, profile intervals."""

from collections.abc import Callable
from functools import partial
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, ScalarLike
from numpy import ndarray
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import chi2

from bayeslmm import parameters
from bayeslmm.checks import InputError
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.variance_ratio import profile, whitened
from bayeslmm.likelihood import LogLikelihood, gls, log_ml, log_reml
from bayeslmm.precision import in_float64
from bayeslmm.spectrum import RotatedData

Kind = Literal["expected", "average", "observed"]
Parameter = Literal["sigma2_u", "sigma2_e", "h2", "pve"]
KINDS: tuple[Kind, ...] = ("expected", "average", "observed")


def expected_ml(data: RotatedData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, "2 2"]:
    r"""Expected information of (sigma2_u, sigma2_e): :math:`\frac12 tr(V^{-1} V_i V^{-1} V_j)`, V_1 = K, V_2 = I.

    Source: Searle, Casella and McCulloch (1992), Variance Components, section 6.3.
    """
    s = jnp.asarray(data.s)
    D = jnp.stack([s, jnp.ones_like(s)]) / (sigma2_u * s + sigma2_e)
    return D @ D.T / 2


def expected_reml(data: RotatedData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, "2 2"]:
    r"""Expected information of the restricted likelihood: :math:`\frac12 tr(P V_i P V_j)`.

    With :math:`P = V^{-1} - V^{-1} X C X' V^{-1}` and C the covariance of the fixed effects, the trace is
    :math:`tr(V^{-1}V_iV^{-1}V_j) - 2 tr(C X'V^{-1}V_iV^{-1}V_jV^{-1}X) + tr(B_i B_j)`,
    :math:`B_i = C X'V^{-1}V_iV^{-1}X`.

    Source: Searle, Casella and McCulloch (1992), Variance Components, section 6.6.
    """
    s, X = jnp.asarray(data.s), jnp.asarray(data.X)
    d = sigma2_u * s + sigma2_e
    D = jnp.stack([s, jnp.ones_like(s)]) / d
    C = gls(data, sigma2_u, sigma2_e).cov
    B = C @ jnp.einsum("ni,kn,nj->kij", X, D / d, X)
    leverage = jnp.einsum("ni,ij,nj->n", X, C, X) / d
    return ((D * (1 - 2 * leverage)) @ D.T + jnp.einsum("kij,lji->kl", B, B)) / 2


_FAMILY: dict[str, tuple[LogLikelihood, Callable[..., Array]]] = {
    "ml": (log_ml, expected_ml),
    "reml": (log_reml, expected_reml),
}


@in_float64
def fisher(estimate: Estimate, data: RotatedData, *, kind: Kind = "average") -> Float[ndarray, "2 2"]:
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
    white, _, _ = whitened(data)
    theta = jnp.array([estimate.sigma2_u, estimate.sigma2_e])
    matrices = {"expected": lambda: expected(white, *theta)}
    matrices["observed"] = lambda: -_hessian(loglik, white, theta)
    matrices["average"] = lambda: (matrices["expected"]() + matrices["observed"]()) / 2
    return np.asarray(matrices[kind]())


@partial(jax.jit, static_argnums=0)
def _hessian(loglik: LogLikelihood, data: RotatedData, theta: Float[Array, " 2"]) -> Float[Array, "2 2"]:
    return jax.hessian(lambda theta: loglik(data, theta[0], theta[1]))(theta)


@in_float64
def standard_errors(estimate: Estimate, data: RotatedData, *, kind: Kind = "average") -> dict[Parameter, float]:
    """Return the standard errors of sigma2_u, sigma2_e, h2 and pve: the square roots of delta-method variances.

    Raises:
        InputError: as `fisher`.
    """
    cov = np.linalg.inv(fisher(estimate, data, kind=kind))
    return standard_errors_from(cov, estimate.sigma2_u, estimate.sigma2_e, data.k_scale)


def standard_errors_from(
    cov: Float[ndarray, "2 2"], sigma2_u: float, sigma2_e: float, k_scale: float
) -> dict[Parameter, float]:
    """Return the standard errors of sigma2_u, sigma2_e, h2 and pve that a covariance of the first two implies."""
    functions: dict[Parameter, Callable[..., ArrayLike]] = {
        "sigma2_u": lambda sigma2_u, sigma2_e: sigma2_u,
        "sigma2_e": lambda sigma2_u, sigma2_e: sigma2_e,
        "h2": parameters.h2,
        "pve": lambda sigma2_u, sigma2_e: parameters.pve(sigma2_u, sigma2_e, k_scale),
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


_jitted = jax.jit(lambda loglik, data, sigma2_u, sigma2_e: loglik(data, sigma2_u, sigma2_e), static_argnums=0)


@in_float64
def profile_interval(
    estimate: Estimate, data: RotatedData, parameter: Parameter, *, level: float = 0.95
) -> tuple[float, float]:
    """Return the values whose profile log-likelihood lies within chi2_1(level) / 2 of the maximum.

    Valid as an interval where standard errors are not, though conservative at the boundary; an end that the
    likelihood does not reach is the end of the parameter space. Assumes one mode.

    Args:
        estimate: of `ml` or `reml`.
        data: the data of the estimate.
        parameter: which one.
        level: the coverage, between 0 and 1.

    Source: Self and Liang (1987), doi:10.1080/01621459.1987.10478472, for the boundary.
    """
    loglik, _ = _FAMILY[estimate.likelihood]
    white, _, _ = whitened(data)
    k = estimate.n - (estimate.c if estimate.likelihood == "reml" else 0)
    drop = float(chi2.ppf(level, 1)) / 2

    if parameter in ("h2", "pve"):
        lower, upper = _roots(
            lambda h2: float(profile(loglik, k, white, h2)) - estimate.loglik + drop, estimate.h2, 0.0, 1 - 1e-6
        )
        if parameter == "h2":
            return lower, upper
        scale = data.k_scale
        return tuple(float(parameters.pve(h2, 1 - h2, scale)) for h2 in (lower, upper))  # pyright: ignore

    def free(value: float) -> float:
        """Profile log-likelihood of one variance, maximised over the logarithm of the other."""
        pair = (lambda x: (value, np.exp(x))) if parameter == "sigma2_u" else (lambda x: (np.exp(x), value))
        other = estimate.sigma2_e if parameter == "sigma2_u" else estimate.sigma2_u
        total = np.log(estimate.sigma2_u + estimate.sigma2_e)
        best = minimize_scalar(
            lambda x: -float(_jitted(loglik, white, *pair(x))),
            bounds=(total - 20, total + 5),
            method="bounded",
            options={"xatol": 1e-8},
        )
        # The estimate's own other variance is a candidate too: with several modes the search may miss the best.
        of_estimate = float(_jitted(loglik, white, *pair(float(np.log(other))))) if other > 0 else -np.inf
        return max(-float(best.fun), of_estimate) - estimate.loglik + drop

    largest = 1e3 * (estimate.sigma2_u + estimate.sigma2_e)
    smallest = 0.0 if parameter == "sigma2_u" else 1e-6 * estimate.sigma2_u
    return _roots(free, getattr(estimate, parameter), smallest, largest)


def _roots(f: Callable[[float], float], inside: float, lower: float, upper: float) -> tuple[float, float]:
    """Return where f, positive at ``inside``, changes sign on each side; an end where it does not."""
    left = lower if inside <= lower or f(lower) >= 0 else brentq(f, lower, inside, rtol=1e-10)
    right = upper if f(upper) >= 0 else brentq(f, inside, upper, rtol=1e-10)
    return left, right
