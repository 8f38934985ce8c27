r"""The posterior of several components by importance sampling: independent draws, with the evidence.

Fixed effects and random effects are integrated out of the likelihood, and so is the total variance: at shares
:math:`\pi` of it, the likelihood along the total is known from two numbers (`one_trait.UnitScale`), and its integral
with any prior is a sum over a grid. What is left are the shares, in coordinates of which each is nearly independent of
the others (`share_tree`); they are drawn from a Student t at points of a scrambled Sobol sequence, and weighted: first
some about the Laplace approximation, then all about the mean, covariance and skewness of these.
"""

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from arviz_stats.base import array_stats
from jaxtyping import Float64
from numpy import ndarray
from scipy.special import gammaln, logsumexp
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from bayeslmm.base.checks import InputError, check_at_least
from bayeslmm.base.float64 import in_float64
from bayeslmm.base.progress import forecast, progress_bar
from bayeslmm.likelihood.components import Components, components
from bayeslmm.likelihood.one_trait import UnitScale, rescale
from bayeslmm.likelihood.priors import ComponentsPrior, density_on, support_of
from bayeslmm.posterior.components_laplace import laplace
from bayeslmm.posterior.share_tree import ShareTree
from bayeslmm.posterior.split_t import SplitT
from bayeslmm.posterior.weighted import Weighted, smoothed

_PILOT, _LEAST_PILOT = 4, 256  # the first draws, whose mean and covariance the others have: a quarter, but not fewer
_WIDE, _POINTS = 8.0, 161  # of the grid of log sigma2_p: standard deviations to each side, points


class LogBayesFactor(NamedTuple):
    """Natural logarithm of a Bayes factor, and its Monte Carlo standard error (as `log_evidence_error`)."""

    value: float
    error: float


@dataclass(frozen=True, eq=False, kw_only=True)
class ImportancePosterior(Weighted):
    """Weighted draws of the variances.

    Attributes:
        names: of the components, the residual last.
        sigma2: on the scale of each K, in squared units of the trait, shape (draws, k + 1).
        log_evidence: log of the integral of the restricted likelihood (`Components.loglik`) times the prior.
        log_evidence_error: its Monte Carlo standard error as if draws were independent; a Sobol sequence has less.
    """

    names: tuple[str, ...]
    sigma2: Float64[ndarray, "draws k"]
    log_evidence: float
    log_evidence_error: float
    _data: Components = field(repr=False)
    _prior: ComponentsPrior = field(repr=False)

    @property
    def shares(self) -> Float64[ndarray, "draws k"]:
        """Share of each component in the sum of all."""
        return self.sigma2 / self.sigma2.sum(axis=1, keepdims=True)

    def share(self, *names: str) -> Float64[ndarray, " draws"]:
        """Return draws of the share of some components together.

        Raises:
            InputError: for an unknown name.
        """
        if not names or not set(names) <= set(self.names):
            raise InputError(f"a share is that of some of {', '.join(self.names)}, but {names} was given")
        return self.shares[:, [self.names.index(name) for name in dict.fromkeys(names)]].sum(axis=1)

    def resampled(self, m: int, *, seed: int) -> Float64[ndarray, "m k"]:
        """Return m draws of the variances of equal weight, by systematic resampling in random order."""
        return self.sigma2[self.places(m, seed=seed)]

    def log_bayes_factor(self, name: str, *, seed: int, workers: int = 1) -> LogBayesFactor:
        """Return the logarithm of the Bayes factor of the model over the one without a component.

        The shares of the others keep their concentrations, and the total its prior.

        Args:
            name: of the component.
            seed: of the draws for the model without it.
            workers: as in `importance`.

        Raises:
            InputError: if there is no component of this name besides the residual.
            AnalysisError: as `importance`.
        """
        data, records = self._data, self._data.records
        if name not in self.names[:-1]:
            raise InputError(f"components are {', '.join(self.names[:-1])}, but {name!r} was to be left out")
        if len(records.components) == 1:
            return LogBayesFactor(self.log_evidence - _evidence_of_nothing(data, self._prior), self.log_evidence_error)
        a = self._prior.concentrations(len(self.names))
        left = tuple(float(value) for value, one in zip(a, self.names, strict=True) if one != name)
        scales = {
            one.name: float(scale)
            for one, scale in zip(records.components, data.scales, strict=True)
            if one.K is not None and one.name != name
        }
        without = components(records.without(name), scales=scales)
        other = importance(
            without, seed=seed, prior=self._prior._replace(shares=left), draws=len(self.weights), workers=workers
        )
        error = float(np.hypot(self.log_evidence_error, other.log_evidence_error))
        return LogBayesFactor(self.log_evidence - other.log_evidence, error)


@in_float64
@threadpool_limits.wrap(limits=1, user_api="blas")  # products of more threads round in another way, and wait for others
def importance(
    data: Components,
    *,
    seed: int,
    prior: ComponentsPrior | None = None,
    draws: int = 4096,
    workers: int = 1,
) -> ImportancePosterior:
    """Draw from the posterior by importance sampling.

    Args:
        data: the records.
        seed: of the draws.
        prior: by default `ComponentsPrior()`.
        draws: how many: a power of 2 suits the Sobol sequence. A quarter as many come before them.
        workers: likelihoods that are evaluated side by side, each by one thread; no number depends on how many.

    Raises:
        InputError: if the prior is not one of these components, or a number is not positive.
        AnalysisError: if the Pareto k of the weights is above 0.7, or REML does not converge.

    Source: Vehtari et al. (2024), JMLR 25(72), for Pareto smoothing and k; Tierney and Kadane (1986),
    doi:10.1080/01621459.1986.10478240, for the Laplace approximation; Cappe et al. (2008),
    doi:10.1007/s11222-008-9059-x, for the second proposal.
    """
    check_at_least(100, draws=draws)
    check_at_least(1, workers=workers)
    prior = ComponentsPrior() if prior is None else prior
    support_of(prior.sigma2_p, "sigma2_p", within=(0.0, np.inf))
    rng, guess = np.random.default_rng(seed), laplace(data, prior)
    tree = ShareTree.of(guess.mode, guess.covariance)
    slopes = tree.slopes(guess.mode)
    proposal = SplitT.of(tree.coordinates(guess.mode), slopes @ guess.covariance @ slopes.T)
    first = max(draws // _PILOT, _LEAST_PILOT)
    forecast(
        "importance sampling",
        count=first + draws,
        unit="likelihood",
        seconds=_seconds_of_one(data, guess.mode),
        workers=workers,
    )
    with progress_bar("importance sampling", total=first + draws, unit="draw") as bar:
        pilot = _weighted(data, prior, tree, proposal, first, rng, workers, bar)
        proposal = SplitT.about(pilot.u, np.exp(array_stats.psislw(-pilot.log_weights)[0]))
        final = _weighted(data, prior, tree, proposal, draws, rng, workers, bar)
    weights, pareto_k = smoothed(final.log_weights, ", ".join(data.names))
    relative = np.exp(final.log_weights - final.log_weights.max())
    return ImportancePosterior(
        names=data.names,
        sigma2=np.exp(tree.log_shares(final.u) + final.log_total[:, None]) * data.units,
        weights=weights,
        pareto_k=pareto_k,
        log_evidence=float(logsumexp(final.log_weights) - np.log(draws)),
        log_evidence_error=float(relative.std(ddof=1) / relative.mean() / np.sqrt(draws)),
        _data=data,
        _prior=prior,
    )


class _Weighted(NamedTuple):
    u: Float64[ndarray, "m nodes"]
    log_total: Float64[ndarray, " m"]
    log_weights: Float64[ndarray, " m"]


def _weighted(
    data: Components,
    prior: ComponentsPrior,
    tree: ShareTree,
    proposal: SplitT,
    m: int,
    rng: np.random.Generator,
    workers: int,
    bar: tqdm,
) -> _Weighted:
    """Draw shares, weigh them, and draw the total given each."""
    u, log_proposal = proposal.draw(m, rng)
    log_shares, a = tree.log_shares(u), prior.concentrations(len(data.names))
    log_total, log_density = _along_total(data, prior, _at_shares(data, np.exp(log_shares), workers, bar))
    log_prior = log_shares @ (a - 1) + tree.log_volume(u) + gammaln(a.sum()) - gammaln(a).sum()
    log_weights = logsumexp(log_density, axis=1) + log_prior - log_proposal
    return _Weighted(u, _drawn(log_total, log_density, rng), log_weights)


def _seconds_of_one(data: Components, mode: Float64[ndarray, " k"]) -> float:
    """Return what a likelihood by itself takes: one of many may share some of its work with others."""
    begun = time.perf_counter()
    _ = data.solver.at(np.exp(mode)).deviance
    return time.perf_counter() - begun


def _at_shares(data: Components, shares: Float64[ndarray, "m k"], workers: int, bar: tqdm) -> UnitScale:
    """Evaluate the likelihood at a total variance of 1; where rounding makes V indefinite it is 0."""
    with ThreadPoolExecutor(workers) as pool:
        log_dets, quad = data.solver.at_each(shares, pool, bar.update)
    constant = -(data.n - data.c) * np.log(2 * np.pi * data.sd**2) / 2
    return UnitScale(constant - log_dets / 2, quad)


def _along_total(
    data: Components, prior: ComponentsPrior, unit: UnitScale
) -> tuple[Float64[ndarray, "m points"], Float64[ndarray, "m points"]]:
    """Return log sigma2_p on a grid about its likeliest value at each draw, and the log of likelihood, prior and cell.

    In log sigma2_p the likelihood is nearly normal with variance 2 / (n - c): the trapezoid rule is exact to rounding.
    """
    df = data.n - data.c
    step = 2 * _WIDE / (_POINTS - 1) * np.sqrt(2 / df)
    log_total = np.log(unit.quad / df)[:, None] + step * (np.arange(_POINTS) - _POINTS // 2)
    loglik = rescale(UnitScale(unit.log_dets[:, None], unit.quad[:, None]), df, np.exp(log_total))
    with np.errstate(divide="ignore"):  # where the prior is 0
        log_prior = np.log(density_on(prior.sigma2_p, np.exp(log_total.ravel()))).reshape(log_total.shape)
    return log_total, loglik + log_prior + log_total + np.log(step)


def _drawn(
    log_total: Float64[ndarray, "m points"], log_density: Float64[ndarray, "m points"], rng: np.random.Generator
) -> Float64[ndarray, " m"]:
    """Draw log sigma2_p at each draw of the shares, uniform within a cell of the grid."""
    with np.errstate(invalid="ignore"):
        cumulated = np.cumsum(np.exp(log_density - log_density.max(axis=1, keepdims=True)), axis=1)
    at = (cumulated < rng.uniform(size=(len(cumulated), 1)) * cumulated[:, -1:]).sum(axis=1)
    step = log_total[0, 1] - log_total[0, 0]
    cell = np.take_along_axis(log_total, np.minimum(at, _POINTS - 1)[:, None], axis=1)[:, 0]
    return cell + step * (rng.uniform(size=len(cell)) - 0.5)


def _evidence_of_nothing(data: Components, prior: ComponentsPrior) -> float:
    """Return the log evidence of the model without components: y is its own least-squares residual at variance 1."""
    df = data.n - data.c
    unit = UnitScale(np.array([-df * np.log(2 * np.pi * data.sd**2) / 2]), np.array([float(df)]))
    return float(logsumexp(_along_total(data, prior, unit)[1]))
