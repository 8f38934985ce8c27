"""Maximise a (restricted) likelihood over the one parameter that is left: the variance ratio.

Fixed effects and scale have closed forms at each h2, so ML and REML are searches along a line. Both ends of the
line can hold the maximum, and between them there can be several local ones: the score is bracketed on a grid over
the whole line and each of its roots is refined.
"""

import functools
from typing import Literal

import jax
import numpy as np
from jaxtyping import Float, ScalarLike
from numpy import ndarray
from scipy.optimize import brentq

from bayeslmm import parameters
from bayeslmm.checks import InputError
from bayeslmm.design import orthonormal
from bayeslmm.estimators.estimate import Boundary, Estimate
from bayeslmm.estimators.traces import check_identified, rotated_traces
from bayeslmm.likelihood import LogLikelihood, at_unit_scale, gls, rescale
from bayeslmm.spectrum import RotatedData

DELTA_MIN = 1e-5
"""The search ends at sigma2_e = 1e-5 sigma2_u, as GEMMA's does (its -lmax 1e5)."""
_GRID = np.concatenate([[0.0], 1 / (1 + np.geomspace(1e5, DELTA_MIN, 61))])


def whitened(data: RotatedData) -> tuple[RotatedData, Float[ndarray, "c c"], Float[ndarray, " c"]]:
    """Return the same problem with X orthonormal and y replaced by its least-squares residual.

    Neither likelihood changes, but no digits are lost to the mean of y or the units of X.

    Raises:
        InputError: if Y has more than one column, or h2 is not identified.

    Returns:
        The data; R and b with which fixed effects return to the user's X: R^-1 (beta + b).
    """
    if data.Y.shape[1] != 1:
        raise InputError(f"one trait is analysed at a time, but Y has {data.Y.shape[1]} columns: choose one of them")
    Q, R = orthonormal(data.X)
    check_identified(rotated_traces(np.asarray(data.s), Q))
    b = Q.T @ data.Y[:, 0]
    return data._replace(X=Q, Y=data.Y - (Q @ b)[:, None]), R, b


@functools.partial(jax.jit, static_argnames=("loglik", "k"))
def profile(loglik: LogLikelihood, k: int, data: RotatedData, h2: ScalarLike) -> Float[jax.Array, ""]:
    """Log-likelihood at h2, maximised over scale and fixed effects; k as in `rescale`."""
    unit = at_unit_scale(loglik, data, h2, 1 - h2)
    return rescale(unit, k, unit.quad / k)


_gls = jax.jit(gls)
# One compiled function serves the grid and the roots: for one fit, compiling costs more than evaluating.
_value_and_score = jax.jit(jax.value_and_grad(profile, argnums=3), static_argnums=(0, 1))


def fixed_effects(
    white: RotatedData, R: Float[ndarray, "c c"], b: Float[ndarray, " c"], sigma2_u: float, sigma2_e: float
) -> tuple[Float[ndarray, " c"], Float[ndarray, " c"]]:
    """Return beta by generalised least squares and its standard errors, in the user's X.

    Args:
        white: the data of `whitened`.
        R: of `whitened`.
        b: of `whitened`.
        sigma2_u: genetic variance.
        sigma2_e: residual variance.
    """
    fit, inverse = _gls(white, sigma2_u, sigma2_e), np.linalg.inv(R)
    return inverse @ (np.asarray(fit.beta) + b), np.sqrt(np.diag(inverse @ np.asarray(fit.cov) @ inverse.T))


def maximise(loglik: LogLikelihood, k: int, data: RotatedData, *, method: Literal["reml", "ml"]) -> Estimate:
    """Find the best h2 in [0, 1 / (1 + DELTA_MIN)], and everything that follows from it.

    Args:
        loglik: `log_ml` or `log_reml`.
        k: n or n - c, see `rescale`.
        data: one trait.
        method: the name of the result.

    Raises:
        InputError: if Y has more than one column.
    """
    white, R, b = whitened(data)

    def evaluate(h2: float) -> tuple[float, float]:
        # float: JAX would compile once more for NumPy scalars.
        value, score = _value_and_score(loglik, k, white, float(h2))
        return float(value), float(score)

    values, score = np.array([evaluate(h2) for h2 in _GRID]).T
    brackets = np.flatnonzero((score[:-1] > 0) & (score[1:] <= 0))
    inside = [
        float(brentq(lambda h2: evaluate(h2)[1], _GRID[i], _GRID[i + 1], xtol=1e-15, rtol=1e-14)) for i in brackets
    ]
    ends = [float(end) for end, rises in ((_GRID[0], score[0] <= 0), (_GRID[-1], score[-1] > 0)) if rises]
    h2 = max([*inside, *ends], key=lambda h2: evaluate(h2)[0])
    boundary: Boundary | None = None if h2 in inside else "h2 = 0" if h2 == 0 else "h2 = 1"

    sigma2_p = float(_gls(white, h2, 1 - h2).quad) / k
    sigma2_u, sigma2_e = h2 * sigma2_p, (1 - h2) * sigma2_p
    beta, se_beta = fixed_effects(white, R, b, sigma2_u, sigma2_e)
    return Estimate(
        method=method,
        sigma2_u=sigma2_u,
        sigma2_e=sigma2_e,
        h2=h2,
        pve=float(parameters.pve(sigma2_u, sigma2_e, data.k_scale)),
        loglik=evaluate(h2)[0],
        loglik_null=values[0],
        beta=beta,
        se_beta=se_beta,
        n=len(data.s),
        c=data.X.shape[1],
        boundary=boundary,
    )
