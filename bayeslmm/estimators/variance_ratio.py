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

from bayeslmm.estimators.estimate import Boundary, Estimate
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import LogLikelihood, at_unit_scale, gls, rescale
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import OneTrait, Whitened, whitened

DELTA_MIN = 1e-5
"""The search ends at sigma2_e = 1e-5 sigma2_u, as GEMMA's does (its -lmax 1e5)."""
_GRID = np.concatenate([[0.0], 1 / (1 + np.geomspace(1e5, DELTA_MIN, 61))])


H2_END = 1 / (1 + DELTA_MIN)
"""The h2 at which the search ends, if the mean of s is 1."""


@functools.partial(jax.jit, static_argnames=("loglik", "k"))
def profile(loglik: LogLikelihood, k: int, data: RotatedData, h2: ScalarLike) -> Float[jax.Array, ""]:
    """Log-likelihood at h2, maximised over scale and fixed effects; k as in `rescale`."""
    unit = at_unit_scale(loglik, data, h2, 1 - h2)
    return rescale(unit, k, unit.quad / k)


_gls = jax.jit(gls)
# One compiled function serves the grid and the roots: for one fit, compiling costs more than evaluating.
_value_and_score = jax.jit(jax.value_and_grad(profile, argnums=3), static_argnums=(0, 1))


def fixed_effects(
    white: Whitened, sigma2_u: float, sigma2_e: float
) -> tuple[Float[ndarray, " c"], Float[ndarray, " c"]]:
    """Return beta by generalised least squares and its standard errors, in the user's X.

    Args:
        white: the trait.
        sigma2_u: genetic variance, in units of `Whitened`.
        sigma2_e: residual variance, in the same units.
    """
    fit, inverse = _gls(white.data, sigma2_u, sigma2_e), np.linalg.inv(white.R)
    variances = np.diag(inverse @ np.asarray(fit.cov) @ inverse.T)
    return inverse @ (np.asarray(fit.beta) * white.sd + white.b), np.sqrt(variances) * white.sd


def maximise(loglik: LogLikelihood, data: OneTrait, *, method: Literal["reml", "ml"]) -> Estimate:
    """Find the best h2 in [0, `H2_END`], and everything that follows from it.

    Args:
        loglik: `log_ml` or `log_reml`.
        data: one trait.
        method: the name of the result.

    Raises:
        InputError: as `whitened`.
    """
    white = whitened(data)
    n, c = white.data.n, white.data.X.shape[1]
    k = n - c if method == "reml" else n

    def evaluate(h2: float) -> tuple[float, float]:
        # float: JAX would compile once more for NumPy scalars.
        value, score = _value_and_score(loglik, k, white.data, float(h2))
        return float(value), float(score)

    values, score = np.array([evaluate(h2) for h2 in _GRID]).T
    brackets = np.flatnonzero((score[:-1] > 0) & (score[1:] <= 0))
    inside = [
        float(brentq(lambda h2: evaluate(h2)[1], _GRID[i], _GRID[i + 1], xtol=1e-15, rtol=1e-14)) for i in brackets
    ]
    ends = [float(end) for end, rises in ((_GRID[0], score[0] <= 0), (_GRID[-1], score[-1] > 0)) if rises]
    modes = {h2: evaluate(h2)[0] for h2 in (*inside, *ends)}
    h2 = max(modes, key=lambda h2: modes[h2])
    boundary: Boundary | None = None if h2 in inside else "h2 = 0" if h2 == 0 else "h2 = 1"

    sigma2_p = float(_gls(white.data, h2, 1 - h2).quad) / k
    white_u, white_e = h2 * sigma2_p, (1 - h2) * sigma2_p
    sigma2_u, sigma2_e = white_u * white.unit_u, white_e * white.unit_e
    beta, se_beta = fixed_effects(white, white_u, white_e)
    return Estimate(
        method=method,
        sigma2_u=sigma2_u,
        sigma2_e=sigma2_e,
        h2=float(quantities.h2(sigma2_u, sigma2_e)),
        pve=float(quantities.pve(white_u, white_e, white.data.k_scale)),
        loglik=modes[h2] - k * white.log_unit,
        loglik_null=values[0] - k * white.log_unit,
        beta=beta,
        se_beta=se_beta,
        n=n,
        c=c,
        boundary=boundary,
        other_modes=tuple(
            (float(quantities.h2(mode * white.unit_u, (1 - mode) * white.unit_e)), value - k * white.log_unit)
            for mode, value in modes.items()
            if mode != h2
        ),
    )
