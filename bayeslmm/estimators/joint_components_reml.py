r"""Restricted maximum likelihood of several traits with several components: average information, by factors.

The search runs over :math:`\Sigma_j = L_j L_j'` (:math:`\Sigma_e = L_e L_e' + \epsilon I`), so that all stay positive
semi-definite. With G_j the score of Sigma_j, the curvature along L is that of the average information less 2 G_j for
each column of L_j: where a matrix becomes singular the second is what is left, and a step is still one of Newton's.
"""

import numpy as np
import scipy.linalg
from jaxtyping import Float64, Int
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.components_reml import LEAST_RESIDUAL, components_reml
from bayeslmm.estimators.joint_components_estimate import SINGULAR, JointComponentsEstimate
from bayeslmm.likelihood.dense_covariance import AtCoefficients
from bayeslmm.likelihood.joint_components import JointComponents

_LEAST_START = 0.02  # of the variance of each trait given X, for each component
_MOST_STEPS = 200
_MOST_HALVINGS = 40
_CONVERGED = 1e-12  # twice the gain of the log-likelihood that a step promises
_ROUNDING = 1e-9  # of a log-likelihood: smaller gains are not seen
_FLAT = 1e-9  # of the largest curvature: directions that change nothing have less
_RISING = 1e-4  # a score that leads away from a boundary
_RETURNS = 5


def joint_components_reml(data: JointComponents) -> JointComponentsEstimate:
    """Maximise the restricted likelihood of several traits.

    The search starts at REML of each trait alone, without correlations. Its end is a maximum to first order: where a
    matrix is singular, the score leads nowhere from the boundary.

    Raises:
        AnalysisError: if the search does not converge.

    Source: Meyer (1997), doi:10.1186/1297-9686-29-2-97, for average information with factors;
    Dauphin et al. (2014), arXiv:1406.2572, for steps where the curvature is not that of a maximum.
    """
    alone = np.array([components_reml(one).sigma2 / one.units for one in data.traits])
    L = np.array([np.diag(np.sqrt(np.maximum(variances, _LEAST_START))) for variances in alone.T])
    steps = 0
    for _ in range(_RETURNS):
        L, more = _climb(data, L)
        steps += more
        Sigma, rank = _settled(data, L)
        solved = data.solver.at(Sigma)
        rising = _rising(data, solved, Sigma, rank)
        if not rising.any():
            return _estimate(data, Sigma, rank, solved, steps)
        L = np.array([_factor(one + more) for one, more in zip(_above_least(Sigma), rising, strict=True)])
    raise AnalysisError(f"REML of {_words(data)} has not converged: it comes back to a boundary that is no maximum")


def _at(data: JointComponents, L: Float64[ndarray, "k t t"]) -> AtCoefficients:
    return data.solver.at(_covariances(L))


def _covariances(L: Float64[ndarray, "k t t"]) -> Float64[ndarray, "k t t"]:
    Sigma = L @ L.transpose(0, 2, 1)
    Sigma[-1] += LEAST_RESIDUAL * np.eye(len(Sigma[-1]))
    return Sigma


def _above_least(Sigma: Float64[ndarray, "k t t"]) -> Float64[ndarray, "k t t"]:
    return np.concatenate([Sigma[:-1], Sigma[-1:] - LEAST_RESIDUAL * np.eye(Sigma.shape[1])])


def _factor(Sigma: Float64[ndarray, "t t"]) -> Float64[ndarray, "t t"]:
    """Return a lower triangle L with LL' = Sigma, which may be singular."""
    values, vectors = np.linalg.eigh(Sigma)
    return np.linalg.qr((vectors * np.sqrt(np.maximum(values, 0.0))).T, mode="r").T


def _climb(data: JointComponents, L: Float64[ndarray, "k t t"]) -> tuple[Float64[ndarray, "k t t"], int]:
    """Return the factors at a stationary point, and the number of steps to it."""
    lower = np.tril_indices(data.t)
    solved = _at(data, L)
    for step in range(_MOST_STEPS):
        slope, curvature = _along_factors(data, solved, L)
        values, vectors = np.linalg.eigh(curvature)
        values = np.maximum(np.abs(values), _FLAT * np.abs(values).max())
        direction = vectors @ (vectors.T @ slope / values)
        promised = slope @ direction
        if promised < _CONVERGED:
            return L, step
        for halving in range(_MOST_HALVINGS):
            trial = L.copy()
            trial[:, *lower] += 0.5**halving * direction.reshape(len(L), -1)
            at_trial = _at(data, trial)
            if (solved.deviance - at_trial.deviance) / 2 >= 1e-4 * 0.5**halving * promised - _ROUNDING:
                break
        else:
            raise AnalysisError(f"REML of {_words(data)}: no step gains likelihood after {step}")
        L, solved = trial, at_trial
    raise AnalysisError(f"REML of {_words(data)} has not converged after {_MOST_STEPS} steps")


def _words(data: JointComponents) -> str:
    return f"{', '.join(data.records.traits)} with {', '.join(data.names)}"


def _score(data: JointComponents, solved: AtCoefficients) -> Float64[ndarray, "k t t"]:
    """Return G with tr(G dSigma) the change of the log-likelihood."""
    of_elements = data.solver.matrices((solved.quads - solved.traces) / 2)
    return of_elements * (1 + np.eye(data.t)) / 2


def _along_factors(
    data: JointComponents, solved: AtCoefficients, L: Float64[ndarray, "k t t"]
) -> tuple[Float64[ndarray, " m"], Float64[ndarray, "m m"]]:
    """Return the slope of the log-likelihood along the lower triangles of L, and minus its curvature."""
    lower, pairs = list(zip(*np.tril_indices(data.t), strict=True)), data.solver.pairs
    jacobian, second = [], []
    for one, G in zip(L, _score(data, solved), strict=True):
        jacobian.append([[(a == p) * one[c, q] + (c == p) * one[a, q] for p, q in lower] for a, c in pairs])
        second.append([[2 * G[p, r] * (q == s) for r, s in lower] for p, q in lower])
    J = scipy.linalg.block_diag(*jacobian)
    slope = J.T @ ((solved.quads - solved.traces) / 2)
    return slope, J.T @ solved.average @ J - scipy.linalg.block_diag(*second)


def _settled(
    data: JointComponents, L: Float64[ndarray, "k t t"]
) -> tuple[Float64[ndarray, "k t t"], Int[ndarray, " k"]]:
    """Return the matrices, exactly singular where they nearly are, and their ranks."""
    found, rank = [], []
    for Sigma, informed in zip(L @ L.transpose(0, 2, 1), data.records.informed, strict=True):
        some = np.diag(Sigma) > SINGULAR
        values, vectors = np.linalg.eigh(np.where(informed & np.outer(some, some), Sigma, 0.0))
        values[values < SINGULAR] = 0.0
        settled = vectors * values @ vectors.T
        found.append(np.where(np.outer(some, some), (settled + settled.T) / 2, 0.0))
        rank.append(int((values > 0).sum()))
    found[-1] = found[-1] + LEAST_RESIDUAL * np.eye(data.t)
    return np.array(found), np.array(rank)


def _rising(
    data: JointComponents, solved: AtCoefficients, Sigma: Float64[ndarray, "k t t"], rank: Int[ndarray, " k"]
) -> Float64[ndarray, "k t t"]:
    """Return what to add to singular matrices where the likelihood grows away from the boundary."""
    found = np.zeros_like(Sigma)
    for j, (G, one) in enumerate(zip(_score(data, solved), _above_least(Sigma), strict=True)):
        null = np.linalg.eigh(one)[1][:, : data.t - rank[j]]
        values, vectors = np.linalg.eigh(null.T @ G @ null)
        if len(values) and values[-1] > _RISING:
            found[j] = _LEAST_START * np.outer(*[null @ vectors[:, -1]] * 2)
    return found


def _estimate(
    data: JointComponents,
    Sigma: Float64[ndarray, "k t t"],
    rank: Int[ndarray, " k"],
    solved: AtCoefficients,
    steps: int,
) -> JointComponentsEstimate:
    beta, se_beta, at = [], [], 0
    for one in data.traits:
        own = slice(at, at := at + one.c)
        of_trait, errors = one.fixed_effects(solved.beta[own], solved.cov_beta[own, own])
        beta.append(of_trait)
        se_beta.append(errors)
    return JointComponentsEstimate(
        data=data,
        Sigma=Sigma * data.units,
        rank=rank,
        loglik=data.loglik(solved),
        beta=tuple(beta),
        se_beta=tuple(se_beta),
        steps=steps,
        solved=solved,
    )
