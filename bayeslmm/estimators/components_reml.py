"""Restricted maximum likelihood of several components of variance: average information with safe steps."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float64
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError, InputError, examples
from bayeslmm.estimators.information import KINDS, Kind
from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.solved import Solved, SolvedComponents

LEAST_RESIDUAL = 1e-5  # of the variance of y given X: with a K of full rank the likelihood may grow without bound at 0
CONVERGED = 1e-13
"""Twice the gain of the log-likelihood that the last step promises: variances are then known to about 1e-7."""
_MOST_STEPS = 200
_MOST_HALVINGS = 40
_ROUNDING = 1e-9  # of a log-likelihood: smaller gains are not seen


@dataclass(frozen=True, eq=False)
class ComponentsEstimate:
    """REML of several components of variance.

    Attributes:
        data: what was fitted.
        sigma2: the variances on the scale of each K, in squared units of the trait, the residual last, shape (k + 1,).
        loglik: restricted log-likelihood, in the convention of `likelihood.one_trait.log_reml`.
        beta, se_beta: fixed effects by generalised least squares, and their errors at these variances, shape (c,).
        boundary: names of the components whose estimate is 0, but for those left out; that of the residual if it is
            where the search ends, at 1e-5 of the variance of y given X.
        steps: how many the search took.
        solved: V at the estimate, in units of the data.
    """

    data: Components
    sigma2: Float64[ndarray, " k"]
    loglik: float
    beta: Float64[ndarray, " c"]
    se_beta: Float64[ndarray, " c"]
    boundary: tuple[str, ...]
    steps: int
    solved: SolvedComponents

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return self.data.names

    @property
    def shares(self) -> Float64[ndarray, " k"]:
        """Share of each component in the sum of all, shape (k + 1,)."""
        return self.sigma2 / self.sigma2.sum()

    def share(self, *names: str, among: Sequence[str] = ()) -> float:
        """Return the share of some components together: repeatability is that of all that an individual keeps.

        Args:
            names: of the components.
            among: of whose sum it is a share; of all by default.

        Raises:
            InputError: for an unknown name.
        """
        variances = self._weights(among or self.names) * self.sigma2
        with np.errstate(invalid="ignore"):  # where all of them are 0
            return float(self._weights(names) @ variances / variances.sum())

    def pve(self, *names: str) -> float:
        """Return the share of some components in the variance among these records: each K centred, as GEMMA prints it.

        Raises:
            InputError: for an unknown name.

        Source: Zhou (2017), doi:10.1214/17-AOAS1052 (GEMMA -vc).
        """
        variances = self.data.k_scales * self.sigma2
        return float(self._weights(names) @ variances / variances.sum())

    def covariance(self, kind: Kind = "average") -> Float64[ndarray, "k k"]:
        """Return the covariance of the estimates that an information implies; 0 for those on the boundary.

        Args:
            kind: "expected", "observed", or "average", half their sum (ASReml, GCTA, GEMMA -vc 2).

        Raises:
            InputError: for an unknown kind.
            AnalysisError: if the information is not positive definite.

        Source: Gilmour, Thompson and Cullis (1995), doi:10.2307/2533274.
        """
        units, inside = self.data.units, self._inside
        information = information_of(self.solved, kind)[np.ix_(inside, inside)]
        if not np.linalg.eigvalsh(information)[0] > 0:
            raise AnalysisError(
                f"the {kind} information of {', '.join(self.names)} is not positive definite at the estimate: no "
                "standard errors exist, use the posterior"
            )
        covariance = np.zeros((len(units), len(units)))
        covariance[np.ix_(inside, inside)] = np.linalg.inv(information)
        return covariance * np.outer(units, units)

    def standard_errors(self, kind: Kind = "average") -> Float64[ndarray, " k"]:
        """Return the standard errors of the variances, given those on the boundary, which have none: NaN."""
        return np.where(self._inside, np.sqrt(np.diag(self.covariance(kind))), np.nan)

    def share_error(self, *names: str, among: Sequence[str] = (), kind: Kind = "average") -> float:
        """Return the standard error of a share by the delta method.

        There is none, NaN, where a share is 0 or 1 because all of its components, or all others, are on the boundary.

        Args:
            names: of the components.
            among: of whose sum it is a share; of all by default.
            kind: as for `covariance`.

        Raises:
            InputError: for an unknown name or kind.
        """
        return self._ratio_error(names, self._weights(among or self.names), kind)

    def pve_error(self, *names: str, kind: Kind = "average") -> float:
        """Return the standard error of `pve`, as `share_error` does that of a share."""
        return self._ratio_error(names, self.data.k_scales, kind)

    @cached_property
    def effects(self) -> dict[str, Float64[ndarray, " _"]]:
        """Best linear unbiased predictions by component, for its levels in their order, in units of the trait.

        Source: Henderson (1975), doi:10.2307/2529430.
        """
        pairs = zip(self.names[:-1], self.sigma2 / self.data.units * self.data.sd, self.solved.effects, strict=False)
        return {name: variance * of_levels for name, variance, of_levels in pairs}

    @cached_property
    def prediction_errors(self) -> dict[str, Float64[ndarray, " _"]]:
        """Variances of the errors of these predictions, with that of the fixed effects, in squared units of the trait.

        They are those at the estimated variances, as if these were known; 0 for a component on the boundary.

        Source: Henderson (1975), doi:10.2307/2529430.
        """
        theta = self.sigma2 / self.data.units
        triples = zip(self.data.parts, theta, self.solved.reductions, strict=False)
        return {
            one.name: self.data.sd**2 * variance * (one.level_diagonal - variance * reduction)
            for one, variance, reduction in triples
        }

    @cached_property
    def reliabilities(self) -> dict[str, Float64[ndarray, " _"]]:
        """Squared correlations of predicted and true effects, 1 - PEV / (sigma2 K_ii); NaN on the boundary."""
        theta = self.sigma2 / self.data.units
        triples = zip(self.data.parts, theta, self.solved.reductions, strict=False)
        return {
            one.name: variance * reduction / one.level_diagonal if variance > 0 else np.full_like(reduction, np.nan)
            for one, variance, reduction in triples
        }

    @property
    def _inside(self) -> Bool[ndarray, " k"]:
        on_boundary = np.array([name in self.boundary for name in self.names])
        return ~on_boundary & (self.sigma2 > 0)

    def _ratio_error(self, names: Sequence[str], scales: Float64[ndarray, " k"], kind: Kind) -> float:
        weights, total = self._weights(names), scales @ self.sigma2
        if len(set(weights[self._inside & (scales > 0)])) < 2:  # 0 or 1, whatever the others are
            return np.nan
        gradient = scales * (weights - weights @ (scales * self.sigma2) / total) / total
        return float(np.sqrt(gradient @ self.covariance(kind) @ gradient))

    def _weights(self, names: Sequence[str]) -> Float64[ndarray, " k"]:
        if not names or not set(names) <= set(self.names):
            raise InputError(f"a share is that of some of {', '.join(self.names)}, but {examples(names)} was given")
        return np.array([float(name in names) for name in self.names])


def information_of(solved: Solved, kind: Kind) -> Float64[ndarray, "k k"]:
    """Return the information about the coefficients of V, in units of the data.

    Raises:
        InputError: for an unknown kind.
    """
    if kind not in KINDS:
        raise InputError(f"kind must be one of {', '.join(KINDS)}, but {kind!r} was given")
    if kind == "average":
        return solved.average
    return solved.expected if kind == "expected" else 2 * solved.average - solved.expected


def components_reml(
    data: Components,
    *,
    without: Sequence[str] = (),
    start: ComponentsEstimate | None = None,
    converged: float = CONVERGED,
) -> ComponentsEstimate:
    """Maximise the restricted likelihood.

    Newton's steps with the average information, on the variances that are not 0 or that the score moves away from 0; a
    step that leaves the parameter space ends on its boundary, and is halved until the likelihood grows.

    Args:
        data: the records.
        without: names of components that are held at 0.
        start: a fit of the same data from which the search begins; by default all variances are equal there.
        converged: twice the gain of the log-likelihood that a step promises where the search ends.

    Raises:
        InputError: if there is no component of such a name besides the residual.
        AnalysisError: if the search does not converge.

    Source: Gilmour, Thompson and Cullis (1995), doi:10.2307/2533274; Bertsekas (1982), doi:10.1137/0320018, for the
    projected steps.
    """
    if unknown := [name for name in without if name not in data.names[:-1]]:
        raise InputError(f"components are {', '.join(data.names[:-1])}, but {examples(unknown)} was to be left out")
    left_out = np.array([name in without for name in data.names])
    least = np.append(np.zeros(len(data.names) - 1), LEAST_RESIDUAL)
    begin = np.full(len(least), 1 / (~left_out).sum()) if start is None else start.sigma2 / data.units
    theta = np.where(left_out, 0.0, np.maximum(begin, least))
    solved = data.solver.at(theta)
    for step in range(_MOST_STEPS):
        score = (solved.quads - solved.traces) / 2
        held = left_out | (theta <= least) & (score <= 0)
        direction = _newton(solved.average, score, ~held)
        if score @ direction < converged:
            return _estimate(data, theta, solved, step, held & ~left_out)
        for halving in range(_MOST_HALVINGS):
            trial = np.maximum(theta + 0.5**halving * direction, least)
            at_trial = data.solver.at(trial)
            if (solved.deviance - at_trial.deviance) / 2 >= 1e-4 * score @ (trial - theta) - _ROUNDING:
                break
        else:
            raise AnalysisError(f"REML of {', '.join(data.names)}: no step from {theta * data.units} gains likelihood")
        theta, solved = trial, at_trial
    raise AnalysisError(f"REML of {', '.join(data.names)} has not converged after {_MOST_STEPS} steps")


def _newton(
    information: Float64[ndarray, "k k"], score: Float64[ndarray, " k"], free: Bool[ndarray, " k"]
) -> Float64[ndarray, " k"]:
    """Return the step of the free variances, 0 for the others."""
    direction = np.zeros_like(score)
    part = information[np.ix_(free, free)]
    # It is a Gram matrix, singular only by rounding: of y, all of whose quadratic forms are nearly the same.
    part = part + 1e-12 * np.trace(part) * np.eye(len(part))
    direction[free] = scipy.linalg.solve(part, score[free], assume_a="pos")
    return direction


def _estimate(
    data: Components, theta: Float64[ndarray, " k"], solved: SolvedComponents, steps: int, held: Bool[ndarray, " k"]
) -> ComponentsEstimate:
    beta, se_beta = data.fixed_effects(solved.beta, solved.cov_beta)
    return ComponentsEstimate(
        data=data,
        sigma2=theta * data.units,
        loglik=data.loglik(solved),
        beta=beta,
        se_beta=se_beta,
        boundary=tuple(name for name, on in zip(data.names, held, strict=True) if on),
        steps=steps,
        solved=solved,
    )
