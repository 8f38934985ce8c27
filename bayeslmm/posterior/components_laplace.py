r"""The Laplace approximation of the posterior of several components, in the logarithms of the variances.

There the posterior is smooth and near a normal one, but for a component near 0, where it has an exponential tail. The
prior of the total, which moves no share by much, is left out: this is a guess that others put right.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.estimators.components_reml import components_reml
from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.priors import ComponentsPrior
from bayeslmm.likelihood.solved import Solved

_LEAST_SHARE = 0.01  # of the total, where the search starts
_MOST_STEPS = 50
_NEAR = 1e-4  # of a mode, in log density


class Laplace(NamedTuple):
    """A normal approximation of log variances in units of the data, the residual last.

    Attributes:
        mode: shape (k + 1,).
        covariance: shape (k + 1, k + 1).
    """

    mode: Float64[ndarray, " k"]
    covariance: Float64[ndarray, "k k"]


def laplace(data: Components, prior: ComponentsPrior) -> Laplace:
    """Climb from REML to the mode of the posterior, as near as a guess needs.

    Raises:
        InputError: if the prior is not one of these components.
        AnalysisError: if REML does not converge.
    """
    a = prior.concentrations(len(data.names))
    theta = components_reml(data).sigma2 / data.units
    phi = np.log(np.maximum(theta, _LEAST_SHARE * theta.sum()))
    solved = data.solver.at(np.exp(phi))
    for _ in range(_MOST_STEPS):
        slope, curvature = _slope(phi, solved, a), _curvature(phi, a, solved.average)
        step = np.linalg.solve(curvature, slope)
        if slope @ step < _NEAR:
            break
        # Half a unit of all logarithms at once, at most: beyond it no quadratic is near.
        step *= min(1.0, 1.5 / np.abs(step).max())
        while True:
            trial = data.solver.at(np.exp(phi + step))
            if _log_density(phi + step, trial, a) > _log_density(phi, solved, a) or np.abs(step).max() < _NEAR:
                break
            step /= 2
        phi, solved = phi + step, trial
    exact = _curvature(phi, a, 2 * solved.average - solved.expected) - np.diag(np.exp(phi) * _score(solved))
    if np.linalg.eigvalsh(exact)[0] < 0.05 * np.linalg.eigvalsh(curvature := _curvature(phi, a, solved.average))[0]:
        exact = curvature
    return Laplace(phi, np.linalg.inv(exact))


def _score(solved: Solved) -> Float64[ndarray, " k"]:
    return (solved.quads - solved.traces) / 2


def _log_density(phi: Float64[ndarray, " k"], solved: Solved, a: Float64[ndarray, " k"]) -> float:
    """Return that of the logarithms: with a Dirichlet prior, share j to the power a_j is all but a constant."""
    return -(solved.log_dets + solved.quad) / 2 + float(a @ (phi - np.logaddexp.reduce(phi)))


def _slope(phi: Float64[ndarray, " k"], solved: Solved, a: Float64[ndarray, " k"]) -> Float64[ndarray, " k"]:
    shares = np.exp(phi - np.logaddexp.reduce(phi))
    return np.exp(phi) * _score(solved) + a - a.sum() * shares


def _curvature(
    phi: Float64[ndarray, " k"], a: Float64[ndarray, " k"], information: Float64[ndarray, "k k"]
) -> Float64[ndarray, "k k"]:
    shares = np.exp(phi - np.logaddexp.reduce(phi))
    theta = np.exp(phi)
    return np.outer(theta, theta) * information + a.sum() * (np.diag(shares) - np.outer(shares, shares))
