r"""The posterior of several traits by importance sampling: missing values and fixed effects are integrated out exactly.

What NUTS samples beside the parameters, a value for each cell without a record, is a column of the likelihood here, and
one likelihood is a Cholesky factor of these columns (`joint_products`). Draws come from a Student t in
`joint_coordinates`, at points of a scrambled Sobol sequence, and are weighted: first some about the Laplace
approximation, then all about the mean, covariance and skewness of these. Fixed effects are drawn given the rest.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.linalg
from arviz_stats.base import array_stats
from jaxtyping import Float64
from numpy import ndarray
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from bayeslmm.base.checks import AnalysisError, InputError, check_at_least
from bayeslmm.base.float64 import in_float64
from bayeslmm.base.progress import forecast, progress_bar
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.likelihood.joint_products import Tail, effects_of
from bayeslmm.likelihood.joint_whitened import JointWhitened, SeveralTraits, joint_whitened
from bayeslmm.likelihood.priors import BivariatePrior, JointPrior, MultivariatePrior
from bayeslmm.posterior.joint_coordinates import JointCoordinates
from bayeslmm.posterior.split_t import SplitT
from bayeslmm.posterior.weighted import MAX_PARETO_K, Weighted, smoothed

_PILOT, _LEAST_PILOT = 4, 256  # the first draws, whose mean and covariance the others have: a quarter, but not fewer
_LESS = 0.95  # what correlations of REML are multiplied by, where the search for the mode starts
_STEP, _WIDE = 1e-5, 1e-3  # of differences: of matrices, and of slopes
_LEAST_SHARE = 0.1  # of the draws, that are effective
_MATTERS = 7.0  # logarithm of a likelihood ratio: a thousandth
_LEAST_CURVATURE = 0.1  # of the log posterior in coordinates, where a prior leaves it flat


@dataclass(frozen=True, eq=False, kw_only=True)
class JointPosterior(Weighted):
    """Weighted draws of the covariance matrices of several traits, and of their fixed effects.

    Attributes:
        Gamma_u, Gamma_e: shape (draws, t, t).
        beta: of one trait after the other, shape (draws, C).
    """

    Gamma_u: Float64[ndarray, "draws t t"]
    Gamma_e: Float64[ndarray, "draws t t"]
    beta: Float64[ndarray, "draws C"]


@in_float64
def joint_importance(
    data: SeveralTraits,
    *,
    seed: int,
    prior: JointPrior | None = None,
    draws: int = 2048,
    workers: int = 1,
    fit: JointEstimate | None = None,
) -> JointPosterior:
    """Draw from the posterior of `models.bivariate`, or of `models.multivariate`, by importance sampling.

    Args:
        data: the traits in the eigenbasis.
        seed: of the draws.
        prior: by default a `BivariatePrior` for two traits, a `MultivariatePrior` for more.
        draws: how many: a power of 2 suits the Sobol sequence. A quarter as many come before them; and twice as many
            after them, in their place, if their Pareto k is above 0.7 or their effective number below a tenth.
        workers: likelihoods that are evaluated side by side, each by one thread; no number depends on how many.
        fit: REML, if it is there already.

    Raises:
        InputError: if the prior is not one of so many traits or not flat for fixed effects, a number is too small, or
            memory does not suffice.
        AnalysisError: if the Pareto k of the weights is still above 0.7, if the likelihood has a second maximum that is
            nearly as high, which draws about one might never see, or if REML does not converge.

    Source: as for `importance`.
    """
    check_at_least(100, draws=draws)
    check_at_least(1, workers=workers)
    white, t = joint_whitened(data), len(joint_whitened(data).sd)
    prior = _checked(prior, t)
    coordinates, fit = JointCoordinates.of(prior, t), fit or joint_reml(white)
    if others := [mode for mode in fit.others if mode.loglik > fit.loglik - _MATTERS]:
        raise AnalysisError(
            f"importance sampling of {t} traits draws about one maximum of the likelihood, but there is another, "
            f"{fit.loglik - others[0].loglik:.2g} lower: use NUTS"
        )
    mode, covariance = _laplace(white, coordinates, _start(white, coordinates, fit))
    first, rng = max(draws // _PILOT, _LEAST_PILOT), np.random.default_rng(seed)
    forecast(
        "importance sampling",
        count=first + draws,
        unit="likelihood",
        seconds=_seconds_of_one(white, coordinates, mode),
        workers=workers,
    )
    with (
        threadpool_limits(limits=1, user_api="blas"),
        progress_bar("importance sampling", total=first + draws, unit="draw") as bar,
    ):
        drawn = _weighted(white, coordinates, SplitT.of(mode, covariance), first, rng, workers, bar)
        for m in (draws, 2 * draws):  # the second only if the first is not enough, about the better known first
            proposal = SplitT.about(drawn.u, np.exp(array_stats.psislw(-drawn.log_weights)[0]))
            drawn = _weighted(white, coordinates, proposal, m, rng, workers, bar)
            if _enough(drawn.log_weights):
                break
    weights, pareto_k = smoothed(drawn.log_weights, f"{t} traits")
    Gamma_u, Gamma_e = coordinates.matrices(drawn.u)
    return JointPosterior(
        weights=weights,
        pareto_k=pareto_k,
        Gamma_u=Gamma_u * white.unit_u,
        Gamma_e=Gamma_e * white.unit_e,
        beta=_effects(white, drawn.tail, rng),
    )


def _checked(prior: JointPrior | None, t: int) -> JointPrior:
    kind = BivariatePrior if t == 2 else MultivariatePrior
    if t < 2:
        raise InputError("importance sampling of several traits needs two or more, but one was given: use exact")
    if prior is not None and not isinstance(prior, kind):
        raise InputError(f"the prior of {t} traits must be a {kind.__name__}, but is a {type(prior).__name__}")
    return kind() if prior is None else prior


def _start(white: JointWhitened, coordinates: JointCoordinates, fit: JointEstimate) -> Float64[ndarray, " d"]:
    """Return coordinates near REML."""
    rho = [_LESS * np.nan_to_num(rho) * (1 - np.eye(len(rho))) + np.eye(len(rho)) for rho in (fit.rho_u, fit.rho_e)]
    variances = np.diag(fit.Gamma_u / white.unit_u), np.diag(fit.Gamma_e / white.unit_e)
    return coordinates.near(*variances, *rho)


def _laplace(
    white: JointWhitened, coordinates: JointCoordinates, start: Float64[ndarray, " d"]
) -> tuple[Float64[ndarray, " d"], Float64[ndarray, "d d"]]:
    """Return the mode of the posterior and the inverse of minus its Hessian there, as near as a guess needs."""

    def minus(u: ndarray) -> tuple[float, ndarray]:
        steps = _STEP * np.eye(len(u))
        places = np.concatenate([u[None], u + steps, u - steps])
        Gammas, log_prior = coordinates.matrices(places), coordinates.log_prior(places)
        loglik, *slopes = white.products.with_slopes(*(Gamma[0] for Gamma in Gammas))
        if not np.isfinite(value := loglik + log_prior[0]):
            return np.inf, np.zeros_like(u)
        rise = sum(np.tensordot(Gamma[1:], slope, 2) for Gamma, slope in zip(Gammas, slopes, strict=True))
        forward, back = np.split(rise + log_prior[1:], 2)
        return -value, (back - forward) / (2 * _STEP)

    u = minimize(minus, start, jac=True, method="BFGS", options={"gtol": 0.05}).x
    steps = _WIDE * np.eye(len(u))
    slopes = np.array([minus(u + step)[1] - minus(u - step)[1] for step in steps]) / (2 * _WIDE)
    curvature, directions = np.linalg.eigh((slopes + slopes.T) / 2)
    return u, directions / np.maximum(curvature, _LEAST_CURVATURE) @ directions.T


def _seconds_of_one(white: JointWhitened, coordinates: JointCoordinates, mode: Float64[ndarray, " d"]) -> float:
    begun = time.perf_counter()
    white.products.at(*coordinates.matrices(mode[None]))
    return time.perf_counter() - begun


def _enough(log_weights: Float64[ndarray, " m"]) -> bool:
    found, pareto_k = array_stats.psislw(-log_weights)
    relative = np.exp(found - found.max())
    effective = relative.sum() ** 2 / np.square(relative).sum()
    return bool(pareto_k <= MAX_PARETO_K and effective >= _LEAST_SHARE * len(relative))


class _Draws(NamedTuple):
    u: Float64[ndarray, "m d"]
    log_weights: Float64[ndarray, " m"]
    tail: Float64[ndarray, "m tail tail"]


def _weighted(
    white: JointWhitened,
    coordinates: JointCoordinates,
    proposal: SplitT,
    m: int,
    rng: np.random.Generator,
    workers: int,
    bar: tqdm,
) -> _Draws:
    """Draw coordinates, and weigh them."""
    u, log_proposal = proposal.draw(m, rng)
    with ThreadPoolExecutor(workers) as pool:
        found: Tail = white.products.at_each(*coordinates.matrices(u), pool, bar.update)
    return _Draws(u, found.loglik + coordinates.log_prior(u) - log_proposal, found.root)


def _effects(
    white: JointWhitened, tails: Float64[ndarray, "m tail tail"], rng: np.random.Generator
) -> Float64[ndarray, "m C"]:
    """Draw fixed effects in units of the user: normal about generalised least squares at each pair of matrices."""
    sizes = [R.shape[1] for R in white.R]
    sd, b = np.repeat(white.sd, sizes), np.concatenate(white.b)
    to_user = scipy.linalg.block_diag(*(np.linalg.inv(R) for R in white.R))
    drawn = np.zeros((len(tails), sum(sizes)))  # where there is no likelihood, and no weight
    noise = rng.standard_normal(drawn.shape)
    for i in np.flatnonzero(np.isfinite(tails[:, -1, -1])):
        mean, root = effects_of(tails[i], len(white.sd))
        values = mean + scipy.linalg.solve_triangular(root, noise[i], lower=True, trans="T")
        drawn[i] = to_user @ (values * sd + b)
    return drawn
