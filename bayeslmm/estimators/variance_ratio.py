"""Maximise a (restricted) likelihood over the one parameter that is left: the variance ratio.

Fixed effects and scale have closed forms at each h2, so ML and REML are searches along a line. Both ends of the
line can hold the maximum, and between them there can be several local ones: the score is bracketed on a grid over
the whole line and each of its roots is refined.
"""

import functools
from typing import Literal, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, ScalarLike
from numpy import ndarray
from scipy.optimize import brentq

from bayeslmm import parameters
from bayeslmm.checks import InputError, examples
from bayeslmm.design import orthonormal
from bayeslmm.estimators.estimate import Boundary, Estimate
from bayeslmm.estimators.traces import check_identified, rotated_traces
from bayeslmm.likelihood import LogLikelihood, at_unit_scale, gls, rescale
from bayeslmm.spectrum import RotatedData

DELTA_MIN = 1e-5
"""The search ends at sigma2_e = 1e-5 sigma2_u, as GEMMA's does (its -lmax 1e5)."""
_GRID = np.concatenate([[0.0], 1 / (1 + np.geomspace(1e5, DELTA_MIN, 61))])


H2_END = 1 / (1 + DELTA_MIN)
"""The h2 at which the search ends, if the mean of s is 1."""
_LARGEST = 1e70  # of a standard deviation: the variance of a variance, its fourth power, must be a number


class Whitened(NamedTuple):
    """One trait in units in which all its numbers are near 1; no likelihood changes but by `log_unit`.

    Attributes:
        data: X orthonormal, y replaced by its least-squares residual at unit variance, s with mean 1.
        R, b: with which fixed effects return to the user's X: R^-1 (sd beta + b).
        sd: standard deviation of y given X.
        k: the mean of s, by which it was divided.
    """

    data: RotatedData
    R: Float[ndarray, "c c"]
    b: Float[ndarray, " c"]
    sd: float
    k: float

    @property
    def unit_u(self) -> float:
        """What sigma2_u of these data is to be multiplied by."""
        return self.sd**2 / self.k

    @property
    def unit_e(self) -> float:
        """What sigma2_e of these data is to be multiplied by."""
        return self.sd**2

    @property
    def log_unit(self) -> float:
        """What a log-likelihood of one observation of these data has more than that of the user's."""
        return float(np.log(self.sd))


def whitened(data: RotatedData) -> Whitened:
    """Return one trait in units of its own: no digits are lost to its mean, nor to any unit.

    Raises:
        InputError: if Y has more than one column, h2 is not identified, or numbers are not finite or out of range.
    """
    if data.Y.shape[1] != 1:
        raise InputError(f"one trait is analysed at a time, but Y has {data.Y.shape[1]} columns: choose one of them")
    for name, array in (("s", data.s), ("Y", data.Y), ("X", data.X)):
        if not np.isfinite(array).all():
            where = examples(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1)) + 1)
            raise InputError(f"{name} must hold finite numbers only, but row {where} does not")
    Q, R = orthonormal(data.X)
    n, c = Q.shape
    y, s = np.asarray(data.Y[:, 0], dtype=float), np.asarray(data.s, dtype=float)
    size, largest = float(np.abs(y).max()) or 1.0, float(s.max())
    if not largest > 0:
        raise InputError("K is 0: nobody is related to anybody, not even to themselves")
    k = float((s / largest).mean() * largest)
    b = Q.T @ (y / size)
    residual = y / size - Q @ b
    correction = Q.T @ residual  # once more: the first has lost the digits that y has in common
    residual, b = residual - Q @ correction, b + correction
    root = float(np.sqrt(residual @ residual / max(n - c, 1)))
    sd = root * size
    if not 1 / _LARGEST < sd < _LARGEST:
        raise InputError(
            f"the standard deviation of the trait given its covariates is {sd:.3g}, and must be between "
            f"{1 / _LARGEST:g} and {_LARGEST:g}, so that variances and their standard errors are numbers: give the "
            "trait in another unit, or leave it out if the covariates determine it"
        )
    if abs(2 * np.log(sd) - np.log(k)) > 2 * np.log(_LARGEST):
        raise InputError(
            f"sigma2_u would be about 1e{2 * np.log10(sd) - np.log10(k):.0f}, too far from 1 for its standard error: "
            f"the standard deviation of the trait is {sd:.3g}, the mean diagonal of K {k:.3g}: give one in another unit"
        )
    white = data._replace(s=s / k, X=Q, Y=(residual / root)[:, None], k_scale=data.k_scale / k)
    check_identified(rotated_traces(white.s, Q))
    return Whitened(white, R, b * size, sd, k)


@functools.partial(jax.jit, static_argnames=("loglik", "k"))
def profile(loglik: LogLikelihood, k: int, data: RotatedData, h2: ScalarLike) -> Float[jax.Array, ""]:
    """Log-likelihood at h2, maximised over scale and fixed effects; k as in `rescale`."""
    unit = at_unit_scale(loglik, data, h2, 1 - h2)
    return rescale(unit, k, unit.quad / k)


_gls = jax.jit(gls)
# One compiled function serves the grid and the roots: for one fit, compiling costs more than evaluating.
_value_and_score = jax.jit(jax.value_and_grad(profile, argnums=3), static_argnums=(0, 1))


def fixed_effects(of: Whitened, sigma2_u: float, sigma2_e: float) -> tuple[Float[ndarray, " c"], Float[ndarray, " c"]]:
    """Return beta by generalised least squares and its standard errors, in the user's X.

    Args:
        of: the trait.
        sigma2_u: genetic variance, in units of `Whitened`.
        sigma2_e: residual variance, in the same units.
    """
    fit, inverse = _gls(of.data, sigma2_u, sigma2_e), np.linalg.inv(of.R)
    variances = np.diag(inverse @ np.asarray(fit.cov) @ inverse.T)
    return inverse @ (np.asarray(fit.beta) * of.sd + of.b), np.sqrt(variances) * of.sd


def maximise(loglik: LogLikelihood, k: int, data: RotatedData, *, method: Literal["reml", "ml"]) -> Estimate:
    """Find the best h2 in [0, `H2_END`], and everything that follows from it.

    Args:
        loglik: `log_ml` or `log_reml`.
        k: n or n - c, see `rescale`.
        data: one trait.
        method: the name of the result.

    Raises:
        InputError: as `whitened`.
    """
    of = whitened(data)

    def evaluate(h2: float) -> tuple[float, float]:
        # float: JAX would compile once more for NumPy scalars.
        value, score = _value_and_score(loglik, k, of.data, float(h2))
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

    sigma2_p = float(_gls(of.data, h2, 1 - h2).quad) / k
    white_u, white_e = h2 * sigma2_p, (1 - h2) * sigma2_p
    sigma2_u, sigma2_e = white_u * of.unit_u, white_e * of.unit_e
    beta, se_beta = fixed_effects(of, white_u, white_e)
    return Estimate(
        method=method,
        sigma2_u=sigma2_u,
        sigma2_e=sigma2_e,
        h2=float(parameters.h2(sigma2_u, sigma2_e)),
        pve=float(parameters.pve(white_u, white_e, of.data.k_scale)),
        loglik=modes[h2] - k * of.log_unit,
        loglik_null=values[0] - k * of.log_unit,
        beta=beta,
        se_beta=se_beta,
        n=len(data.s),
        c=data.X.shape[1],
        boundary=boundary,
        other_modes=tuple(
            (float(parameters.h2(mode * of.unit_u, (1 - mode) * of.unit_e)), value - k * of.log_unit)
            for mode, value in modes.items()
            if mode != h2
        ),
    )
