"""Whether draws can be trusted, by themselves and beside the quadrature, and what the data added to the prior."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arviz_stats
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpy import ndarray
from xarray import DataTree

from bayeslmm.base.checks import examples
from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood.priors import density_on
from bayeslmm.posterior.marginal import Marginal

MAX_R_HAT = 1.01
MIN_ESS_PER_CHAIN = 100
MIN_E_BFMI = 0.3
MOST_ERRORS = 5
"""Monte Carlo standard errors by which draws may differ from the quadrature."""
MOST_OVERLAP = 0.35
"""Above it `prior_overlap` says that the prior decides much of what is seen."""
_BINS = 20


@dataclass(frozen=True)
class Diagnostics:
    """The worst values over all parameters, and what they fail.

    Attributes:
        r_hat: largest rank-normalised split R-hat; NaN for a single chain, infinite if a chain never moved.
        ess_bulk, ess_tail: smallest effective sample sizes; 0 if a chain never moved.
        divergences: divergent transitions after warm-up.
        failures: what is wrong, in words; empty if nothing is.
        e_bfmi: smallest energy Bayesian fraction of missing information of a chain; NaN if energies were not kept.
        drawn_again: what made it necessary to draw again, and how that was done; empty if nothing did.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float
    divergences: int
    failures: tuple[str, ...]
    e_bfmi: float = np.nan
    drawn_again: str = ""


def diagnose(posterior: DataTree) -> Diagnostics:
    """Check draws: R-hat of at most 1.01, bulk and tail ESS of at least 100 a chain, E-BFMI of 0.3, no divergence.

    What is the same in all draws of all chains, such as the diagonal of a correlation matrix, is not looked at; but a
    chain in which nothing is ever different never moved, and fails.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), doi:10.1214/20-BA1221; Betancourt (2016),
    arXiv:1604.00695, for E-BFMI, and (2017), arXiv:1701.02434, section 6.1, for its limit.
    """
    chains = posterior["posterior"].sizes["chain"]
    stuck = _never_moved(posterior)
    with np.errstate(divide="ignore", invalid="ignore"):  # of what does not vary
        r_hat = _worst(arviz_stats.rhat(posterior), np.max) if chains > 1 else np.nan
    ess_bulk = _worst(arviz_stats.ess(posterior, method="bulk"), np.min)
    ess_tail = _worst(arviz_stats.ess(posterior, method="tail"), np.min)
    if stuck:  # ArviZ has no R-hat for it, and takes each of its draws for an independent one
        r_hat, ess_bulk, ess_tail = (np.inf if chains > 1 else np.nan), 0.0, 0.0
    divergences = int(posterior["sample_stats"].dataset["diverging"].sum())
    e_bfmi = _e_bfmi(posterior)
    enough = MIN_ESS_PER_CHAIN * chains
    r_hat_fails = chains > 1 and not r_hat <= MAX_R_HAT  # also where it is not a number, as of 3 draws
    broken = [str(name) for name, site in posterior["posterior"].data_vars.items() if not np.isfinite(site).all()]
    found = [
        (broken, f"draws of {examples(broken)} are not all finite"),
        (
            stuck,
            f"{len(stuck)} of {chains} chains never moved (number {examples(stuck)}): all their draws are the same",
        ),
        (
            r_hat_fails,
            f"R-hat is {r_hat:.3f}, and must be at most {MAX_R_HAT}: the chains disagree; draw more, and if that does "
            "not help, the posterior has modes between which they do not move",
        ),
        (not ess_bulk >= enough, f"bulk ESS is {ess_bulk:.0f}, and must be at least {enough}: draw more"),
        (not ess_tail >= enough, f"tail ESS is {ess_tail:.0f}, and must be at least {enough}: draw more"),
        (divergences, f"{divergences} divergent transitions: raise the acceptance rate, or reconsider the prior"),
        (
            e_bfmi < MIN_E_BFMI,
            f"E-BFMI is {e_bfmi:.2f}, and must be at least {MIN_E_BFMI}: the chains are slow to reach the tails; "
            "reconsider the prior",
        ),
        (chains == 1, "one chain only: R-hat cannot be computed, use at least 2"),
    ]
    failures = tuple(words for fails, words in found if fails)
    return Diagnostics(r_hat, ess_bulk, ess_tail, divergences, failures, e_bfmi)


def disagreements(name: str, draws: Float[ndarray, "chains draws"], exact: Marginal) -> list[str]:
    """Hold draws against the quadrature of the same posterior; return in words where they differ beyond chance.

    Compared are the mean, and the shares of draws below the median and both ends of the 95% interval, which a mode
    that no chain has seen moves even where the mean is far from being known. At most 5 Monte Carlo standard errors
    are chance.

    Args:
        name: of the number, for the words.
        draws: of it.
        exact: its posterior.
    """
    found = {"mean": (float(draws.mean()), exact.mean, float(arviz_stats.mcse(draws, method="mean")))}
    for p in (0.025, 0.5, 0.975):
        below = (draws <= (value := exact.quantile(p))).astype(float)
        # With the error that the share has if the quadrature is right: all draws on one side would have none.
        error = np.sqrt(p * (1 - p) / float(arviz_stats.ess(below, method="mean")))
        found[f"probability below {value:.4g}"] = float(below.mean()), p, float(error)
    return [
        f"{what} of {name} is {drawn:.4g} by NUTS and {known:.4g} by quadrature, and {MOST_ERRORS} Monte Carlo errors "
        f"are {MOST_ERRORS * error:.2g}: do not use the draws; they may lack a mode"
        for what, (drawn, known, error) in found.items()
        if not abs(drawn - known) <= MOST_ERRORS * error
    ]


def _never_moved(posterior: DataTree) -> list[int]:
    """Return the numbers, from 1, of chains of two draws or more in which no element of any site ever differs."""
    sites = [site.to_numpy() for site in posterior["posterior"].data_vars.values()]
    moved = [(site != site[:, :1]).reshape(len(site), -1).any(axis=1) for site in sites]
    if posterior["posterior"].sizes["draw"] < 2:
        return []
    return [int(chain) + 1 for chain in np.flatnonzero(~np.any(moved, axis=0))]


def _e_bfmi(posterior: DataTree) -> float:
    """Return the smallest E-BFMI of a chain, 0 for one whose energy never changes; NaN if it is not known."""
    stats = posterior["sample_stats"].dataset
    if "energy" not in stats or stats.sizes["draw"] < 2:
        return np.nan
    energy = stats["energy"].to_numpy()
    change, variance = np.square(np.diff(energy, axis=1)).mean(axis=1), energy.var(axis=1)
    return float(np.min(np.divide(change, variance, out=np.zeros(len(energy)), where=variance > 0)))


def _worst(tree: DataTree, worst: Callable[[Any], Any]) -> float:
    dataset = tree["posterior"].dataset if "posterior" in tree.children else tree.dataset
    values = np.concatenate([site.to_numpy().ravel() for site in dataset.data_vars.values()])
    known = values[~np.isnan(values)]
    return float(worst(known)) if known.size else np.nan


@in_float64
def overlap_with(posterior: Marginal, prior: dist.Distribution) -> float:
    """Return the area that a posterior known by quadrature shares with its prior: 1 if the data moved nothing.

    Args:
        posterior: of the parameter.
        prior: of the parameter, a density on the same scale.

    Source: as for `prior_overlap`.
    """
    value, density = posterior.curve()  # beyond it the posterior, and so what both share, is next to nothing
    return float(np.trapezoid(np.minimum(density, density_on(prior, value)), value))


def prior_overlap(draws: Float[ndarray, "..."], prior: dist.Distribution, lower: float, upper: float) -> float:
    """Return the area that posterior and prior of one bounded parameter share: 1 if the data moved nothing.

    By a histogram of 20 bins, so that a posterior that is the prior has about 0.97 with some thousand draws.

    Args:
        draws: of the posterior.
        prior: of the parameter.
        lower: end of its range.
        upper: end of its range.

    Source: Garrett and Zeger (2000), doi:10.1111/j.0006-341X.2000.01055.x, who call a parameter weakly identified
    where the overlap is above 0.35 (`MOST_OVERLAP`).
    """
    edges = np.linspace(lower, upper, _BINS + 1)
    posterior = np.histogram(draws, edges)[0] / draws.size
    points = lower + (upper - lower) * (np.arange(_BINS * 100) + 0.5) / (_BINS * 100)
    density = density_on(prior, points).reshape(_BINS, 100).sum(axis=1)
    return float(np.minimum(posterior, density / density.sum()).sum())
