r"""Maximum likelihood by EM and by parameter-expanded EM.

The random effects are v ~ N(0, sigma2_u I_m) with g = Z v and Z Z' = K, in one of two parametrisations: marker space
(m = p, v = sqrt(p) u and Z = W / sqrt(p)) or kinship space (m = rank(K)). Both climb the likelihood of `ml`; the more
effects, the more of what the E-step needs is missing and the slower EM is. In the eigenbasis an iteration costs O(n c)
either way.

Sources: Dempster, Laird and Rubin (1977), doi:10.1111/j.2517-6161.1977.tb01600.x, for EM; Liu, Rubin and Wu (1998),
doi:10.1093/biomet/85.4.755, for PX-EM; Foulley and van Dyk (2000), doi:10.1186/1297-9686-32-2-143, for both in linear
mixed models.
"""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float64, Int, ScalarLike
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Boundary, Estimate
from bayeslmm.estimators.variance_ratio import DELTA_MIN, H2_END, fixed_effects, profile
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import log_ml, univariate
from bayeslmm.likelihood.rotation import RotatedData, check_rows
from bayeslmm.likelihood.whitened import OneTrait, whitened

_RANK_TOLERANCE = 1e-10
_FLOAT32 = 1e-5  # what K is computed in: below it an eigenvalue may be rounding


@dataclass(frozen=True)
class EmFit:
    """Where EM ended and how it came there.

    Attributes:
        estimate: the end, with method "em" or "pxem".
        loglik: log-likelihood at the parameters before each iteration, shape (iterations,).
        elbo: evidence lower bound at the parameters after each iteration, given the E-step before it, shape
            (iterations,): ``loglik[k] <= elbo[k] <= loglik[k + 1]``.
        sigma2_u, sigma2_e: the parameters before each iteration, shape (iterations,).
        m: number of random effects.
        score: largest derivative of the log-likelihood at the end, by log sigma2_u, log sigma2_e and fixed effects
            in standard units.
        converged: whether the score fell below the tolerance.
    """

    estimate: Estimate
    loglik: Float64[ndarray, " iterations"]
    elbo: Float64[ndarray, " iterations"]
    sigma2_u: Float64[ndarray, " iterations"]
    sigma2_e: Float64[ndarray, " iterations"]
    m: int
    score: float
    converged: bool

    @property
    def iterations(self) -> int:
        """Number of iterations done."""
        return len(self.loglik)


class Theta(NamedTuple):
    """Parameters: variances, and fixed effects b on an orthonormal X."""

    sigma2_u: Float[Array, ""]
    sigma2_e: Float[Array, ""]
    b: Float[Array, " c"]


class Posterior(NamedTuple):
    """What the E-step finds out about g = Z v and v, given theta.

    Attributes:
        residual: y - X b, shape (n,).
        mean: E[g], shape (n,).
        variance: sum of Var(g_i).
        mean_square: E[v'v] / m.
        log_shrinkage: sum over effects of log(posterior variance of v / sigma2_u).
    """

    residual: Float[Array, " n"]
    mean: Float[Array, " n"]
    variance: Float[Array, ""]
    mean_square: Float[Array, ""]
    log_shrinkage: Float[Array, ""]


def e_step(data: RotatedData, m: int, theta: Theta) -> Posterior:
    r"""Return the posterior of the random effects.

    :math:`E[g_i] = \sigma_u^2 s_i r_i / d_i`, :math:`Var(g_i) = \sigma_u^2 s_i \sigma_e^2 / d_i`,
    :math:`E[v'v] / m = \sigma_u^2 + \frac{\sigma_u^4}{m} \sum s_i (r_i^2 / d_i^2 - 1 / d_i)`.
    """
    sigma2_u, sigma2_e, b = theta
    s, y, X = jnp.asarray(data.s), jnp.asarray(data.Y[:, 0]), jnp.asarray(data.X)
    d = sigma2_u * s + sigma2_e
    r = y - X @ b
    shrinkage = sigma2_u * s / d
    return Posterior(
        residual=r,
        mean=shrinkage * r,
        variance=sigma2_e * shrinkage.sum(),
        mean_square=sigma2_u + sigma2_u**2 / m * (s * ((r / d) ** 2 - 1 / d)).sum(),
        log_shrinkage=jnp.log1p(-shrinkage).sum(),
    )


def em_step(data: RotatedData, q: Posterior) -> Theta:
    """Maximise the expected complete-data log-likelihood: b first, then both variances."""
    return _m_step(data, q, jnp.asarray(1.0))


def px_em_step(data: RotatedData, q: Posterior) -> Theta:
    """Maximise it under y = X b + a Z v + e, where EM holds a = 1; then put a into sigma2_u, a^2 times as large."""
    return _m_step(data, q, (q.residual @ q.mean) / (q.mean @ q.mean + q.variance))


def _m_step(data: RotatedData, q: Posterior, a: Float[Array, ""]) -> Theta:
    n, y, X = len(data.s), jnp.asarray(data.Y[:, 0]), jnp.asarray(data.X)
    g = a * q.mean
    b = X.T @ (y - g)  # X is orthonormal
    rest = y - X @ b - g
    return Theta(a**2 * q.mean_square, (rest @ rest + a**2 * q.variance) / n, b)


def elbo(n: int, m: int, old: Theta, q: Posterior, new: Theta) -> Float[Array, ""]:
    r"""Evidence lower bound of the new parameters under the posterior q of the old ones.

    :math:`-\frac n2 (\log 2\pi\sigma_e^2 + 1) + \frac m2 \log(\sigma_{u,old}^2 / \overline{v^2}) + \frac12 \sum \log
    (1 - \sigma_u^2 s_i / d_i)_{old}`, with :math:`\overline{v^2} = E[v'v] / m`: the M-step has made each expected
    sum of squares equal to its number of terms times its variance.
    """
    fit = -n / 2 * (jnp.log(2 * jnp.pi * new.sigma2_e) + 1)
    return fit + m / 2 * jnp.log(old.sigma2_u / q.mean_square) + q.log_shrinkage / 2


def _loglik(data: RotatedData, theta: Theta) -> Array:
    """Log-likelihood at these fixed effects, not at the best ones: EM moves them too."""
    fitted = univariate(data.s, data.X @ theta.b, theta.sigma2_u, theta.sigma2_e)
    return jnp.asarray(fitted.log_prob(data.Y[:, 0]))


_Step = Callable[[RotatedData, Posterior], Theta]


class _State(NamedTuple):
    iteration: Int[Array, ""]
    theta: Theta
    q: Posterior
    score: Float[Array, ""]
    trace: Float[Array, "4 limit"]


@functools.partial(jax.jit, static_argnames=("step", "m", "limit"))
def _climb(step: _Step, m: int, limit: int, data: RotatedData, start: Theta, tolerance: ScalarLike) -> _State:
    """Iterate until the score is below the tolerance, or an end of the search or the limit is reached."""
    n = len(data.s)

    def score(theta: Theta, q: Posterior) -> Float[Array, ""]:
        d = theta.sigma2_u * data.s + theta.sigma2_e
        by_log_u = m / 2 * (q.mean_square / theta.sigma2_u - 1)
        by_log_e = theta.sigma2_e / 2 * ((q.residual / d) ** 2 - 1 / d).sum()
        by_b = jnp.sqrt(theta.sigma2_u + theta.sigma2_e) * (data.X.T @ (q.residual / d))
        return jnp.abs(jnp.concatenate([jnp.stack([by_log_u, by_log_e]), by_b])).max()

    def iterate(state: _State) -> _State:
        old, q = state.theta, state.q
        new = step(data, q)
        row = jnp.stack([_loglik(data, old), elbo(n, m, old, q, new), old.sigma2_u, old.sigma2_e])
        trace = state.trace.at[:, state.iteration].set(row)
        new_q = e_step(data, m, new)
        return _State(state.iteration + 1, new, new_q, score(new, new_q), trace)

    def climbing(state: _State) -> Array:
        inside = state.theta.sigma2_e > DELTA_MIN * state.theta.sigma2_u  # where ML ends its search, too
        return (state.score > tolerance) & (state.iteration < limit) & inside

    q = e_step(data, m, start)
    return jax.lax.while_loop(
        climbing, iterate, _State(jnp.asarray(0), start, q, score(start, q), jnp.zeros((4, limit)))
    )


@in_float64
def em(data: OneTrait, *, m: int | None = None, tolerance: float = 1e-6, limit: int = 100_000) -> EmFit:
    """Estimate the variance components of one trait by EM.

    It starts where each makes half of the variance given X, if K has a mean diagonal of 1 (sigma2_u is divided by it).

    Args:
        data: one trait in the eigenbasis.
        m: number of random effects: p for marker space; rank(K), kinship space, by default.
        tolerance: stop when the score (see `EmFit`) is below this: a gain of the log-likelihood per unit of a
            logarithm. What is left to go is about the score over the information, and that of log sigma2_u is
            (sigma2_u / its standard error)^2: 1e-6 leaves 6 digits wherever the variance is known at all.
        limit: stop after this many iterations.

    Raises:
        InputError: if Y has more than one column, or m is below the rank of K.
    """
    return _fit("em", em_step, data, m, tolerance, limit)


@in_float64
def px_em(data: OneTrait, *, m: int | None = None, tolerance: float = 1e-6, limit: int = 100_000) -> EmFit:
    """Estimate the variance components of one trait by PX-EM: from the same start to the same end in fewer iterations.

    Args:
        data: as in `em`.
        m: as in `em`.
        tolerance: as in `em`.
        limit: as in `em`.

    Raises:
        InputError: as `em`.
    """
    return _fit("pxem", px_em_step, data, m, tolerance, limit)


def rank(s: Float[ndarray, " n"], *, tolerance: float = _RANK_TOLERANCE) -> int:
    """Return the number of eigenvalues that are above a share of the largest."""
    return int((s > tolerance * s.max()).sum())


def _fit(
    method: Literal["em", "pxem"], step: _Step, data: OneTrait, m: int | None, tolerance: float, limit: int
) -> EmFit:
    trait = whitened(data)
    check_rows(trait.given, what=method)
    white, s = trait.data, np.asarray(trait.given.s)
    least = rank(s)
    if m is not None and m < (certain := rank(s, tolerance=_FLOAT32)):
        raise InputError(f"m random effects cannot make a K of rank {certain}, but m = {m}: give the number of markers")
    n, c = white.X.shape
    half = jnp.asarray(np.square(white.Y).sum() / (n - c) / 2)
    end = _climb(step, m or least, limit, white, Theta(half, half, jnp.zeros(c)), tolerance)
    white_u, white_e, score = float(end.theta.sigma2_u), float(end.theta.sigma2_e), float(end.score)
    loglik, bound, us, es = np.asarray(end.trace)[:, : int(end.iteration)]
    _, se_beta = fixed_effects(trait, white_u, white_e)
    last = float(_loglik(white, end.theta))
    null = float(profile(log_ml, n, white, 0.0))
    converged = score <= tolerance
    # EM nears an end without ever arriving: it is on its way there when the end is at least as likely.
    end_of_search = float(profile(log_ml, n, white, H2_END))
    boundary: Boundary | None = None
    if null >= last and (white_u < DELTA_MIN * (white_u + white_e) or not converged):
        boundary = "h2 = 0"
    elif white_e <= DELTA_MIN * white_u or (end_of_search >= last and not converged):
        boundary = "h2 = 1"
    sigma2_u, sigma2_e, log_units = white_u * trait.unit_u, white_e * trait.unit_e, n * trait.log_unit
    estimate = Estimate(
        method=method,
        sigma2_u=sigma2_u,
        sigma2_e=sigma2_e,
        h2=float(quantities.h2(sigma2_u, sigma2_e)),
        pve=float(quantities.pve(white_u, white_e, white.k_scale)),
        loglik=last - log_units,
        loglik_null=null - log_units,
        # EM's own: that of least squares at the maximum only.
        beta=np.linalg.solve(trait.R, np.asarray(end.theta.b) * trait.sd + trait.b),
        se_beta=se_beta,
        n=n,
        c=c,
        boundary=boundary,
    )
    us, es = us * trait.unit_u, es * trait.unit_e
    return EmFit(estimate, loglik - log_units, bound - log_units, us, es, m or least, score, converged)
