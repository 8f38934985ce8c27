"""Checks of draws, by themselves and against the quadrature, and how much the data added to the prior."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

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
_CLOSE = "it passes, but is less than twice as good as its limit: draw more if the last digits matter"

State = Literal["fine", "look", "failed"]


@dataclass(frozen=True)
class Check:
    """One check of draws.

    Attributes:
        name: "finite draws", "moving chains", "R-hat", "bulk ESS", "tail ESS", "divergences", "E-BFMI" or "quadrature".
        text: the value in words.
        value: what was computed: a diagnostic, a count of what is wrong, or a difference in Monte Carlo errors.
        limit: the worst value that passes.
        state: "failed"; "look" if it passes but is less than twice as good as its limit; else "fine".
        meaning: what the value says, and its limit.
        advice: what is wrong and what to do; empty if the state is "fine".
    """

    name: str
    text: str
    value: float | int
    limit: float | int
    state: State
    meaning: str
    advice: str = ""


@dataclass(frozen=True)
class Diagnostics:
    """The worst values over all parameters, and the checks of them.

    Attributes:
        r_hat: largest rank-normalised split R-hat; NaN for a single chain, infinite if a chain never moved.
        ess_bulk, ess_tail: smallest effective sample sizes; 0 if a chain never moved.
        divergences: divergent transitions after warm-up.
        e_bfmi: smallest energy Bayesian fraction of missing information of a chain; NaN if energies were not kept.
        checks: all that was checked.
        drawn_again: why the draws are not the first, and how they were made; empty if they are.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float
    divergences: int
    e_bfmi: float
    checks: tuple[Check, ...]
    drawn_again: str = ""

    @property
    def failures(self) -> tuple[str, ...]:
        """What is wrong, in words; empty if nothing is."""
        return tuple(check.advice for check in self.checks if check.state == "failed")

    def record(self) -> dict[str, Any]:
        """Return the values and the failures, for a file."""
        values = asdict(self)
        del values["checks"]
        return values | {"failures": self.failures}


def diagnose(posterior: DataTree) -> Diagnostics:
    """Check draws: R-hat of at most 1.01, bulk and tail ESS of at least 100 a chain, E-BFMI of 0.3, no divergence.

    What is the same in all draws of all chains, such as the diagonal of a correlation matrix, is not looked at; but a
    chain in which nothing is ever different never moved, and fails.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), doi:10.1214/20-BA1221; Betancourt (2016),
    arXiv:1604.00695, for E-BFMI, and (2017), arXiv:1701.02434, section 6.1, for its limit.
    """
    chains = posterior["posterior"].sizes["chain"]
    stuck = _never_moved(posterior)
    with np.errstate(divide="ignore", invalid="ignore"):  # where a site does not vary
        r_hat = _worst(arviz_stats.rhat(posterior), np.max) if chains > 1 else np.nan
    ess_bulk = _worst(arviz_stats.ess(posterior, method="bulk"), np.min)
    ess_tail = _worst(arviz_stats.ess(posterior, method="tail"), np.min)
    if stuck:  # ArviZ has no R-hat for it, and takes each of its draws for an independent one
        r_hat, ess_bulk, ess_tail = (np.inf if chains > 1 else np.nan), 0.0, 0.0
    divergences = int(posterior["sample_stats"].dataset["diverging"].sum())
    e_bfmi = _e_bfmi(posterior)
    broken = [str(name) for name, site in posterior["posterior"].data_vars.items() if not np.isfinite(site).all()]
    of_draws = (
        _check(
            "finite draws",
            f"{len(broken)} sites with draws that are not finite",
            len(broken),
            0,
            "whether all draws are numbers",
            f"draws of {examples(broken)} are not all finite",
            passes=not broken,
        ),
        _check(
            "moving chains",
            f"{len(stuck)} chains that never moved",
            len(stuck),
            0,
            "whether a chain has more than one value",
            f"{len(stuck)} of {chains} chains never moved (number {examples(stuck)}): all their draws are the same",
            passes=not stuck,
        ),
    )
    of_values = check_values(r_hat, ess_bulk, ess_tail, divergences, e_bfmi, chains=chains)
    return Diagnostics(r_hat, ess_bulk, ess_tail, divergences, e_bfmi, (*of_draws, *of_values))


def worst(of: Mapping[str, Diagnostics]) -> Diagnostics:
    """Return the worst values of several sets of draws, and all their checks, in whose words the sets are named."""
    every = of.values()
    return Diagnostics(
        r_hat=max(each.r_hat for each in every),
        ess_bulk=min(each.ess_bulk for each in every),
        ess_tail=min(each.ess_tail for each in every),
        divergences=sum(each.divergences for each in every),
        e_bfmi=min(each.e_bfmi for each in every),
        checks=tuple(
            replace(check, text=f"{check.text} ({name})", advice=check.advice and f"{name}: {check.advice}")
            for name, each in of.items()
            for check in each.checks
        ),
        drawn_again="; ".join(f"{name}: {each.drawn_again}" for name, each in of.items() if each.drawn_again),
    )


def check_values(
    r_hat: float, ess_bulk: float, ess_tail: float, divergences: int, e_bfmi: float, *, chains: int
) -> tuple[Check, ...]:
    """Compare the worst values, as in `Diagnostics`, with their limits; without E-BFMI where it is NaN."""
    least = MIN_ESS_PER_CHAIN * chains
    precision = f"{ess_bulk**-0.5:.1%}" if ess_bulk else "nothing better than 100%"
    checks = (
        _check(
            "R-hat",
            f"R-hat {r_hat:.3f}" if chains > 1 else "R-hat of a single chain",
            r_hat,
            MAX_R_HAT,
            f"1 where all chains found the same distribution; the largest of all parameters, at most {MAX_R_HAT}",
            f"R-hat is {r_hat:.3f}, and must be at most {MAX_R_HAT}: the chains disagree; draw more, and if that does "
            "not help, the posterior has modes between which they do not move"
            if chains > 1
            else "one chain only: R-hat cannot be computed, use at least 2",
            passes=r_hat <= MAX_R_HAT,  # NaN does not, as of 3 draws
            close=r_hat > 1 + (MAX_R_HAT - 1) / 2,
        ),
        _check(
            "bulk ESS",
            f"bulk ESS {ess_bulk:,.0f}",
            ess_bulk,
            least,
            "how many independent draws the middle of the distribution is worth, for the worst parameter: its mean is "
            f"known to {precision} of its posterior standard deviation; at least {least:,}",
            f"bulk ESS is {ess_bulk:.0f}, and must be at least {least}: draw more",
            passes=ess_bulk >= least,
            close=ess_bulk < 2 * least,
        ),
        _check(
            "tail ESS",
            f"tail ESS {ess_tail:,.0f}",
            ess_tail,
            least,
            f"the same for the tails, which determine the ends of intervals; at least {least:,}",
            f"tail ESS is {ess_tail:.0f}, and must be at least {least}: draw more",
            passes=ess_tail >= least,
            close=ess_tail < 2 * least,
        ),
        _check(
            "divergences",
            f"{divergences:,} divergent transitions",
            divergences,
            0,
            "steps whose numerical error is large: parts of the posterior may be unexplored; at most 0",
            f"{divergences} divergent transitions: raise the acceptance rate, or reconsider the prior",
            passes=divergences == 0,
        ),
        _check(
            "E-BFMI",
            f"E-BFMI {e_bfmi:.2f}",
            e_bfmi,
            MIN_E_BFMI,
            f"how fast the chains move between the middle and the tails: 1 if at once; at least {MIN_E_BFMI}",
            f"E-BFMI is {e_bfmi:.2f}, and must be at least {MIN_E_BFMI}: the chains are slow to reach the tails; "
            "reconsider the prior",
            passes=e_bfmi >= MIN_E_BFMI,
        ),
    )
    return checks[:-1] if np.isnan(e_bfmi) else checks


def _check(
    name: str,
    text: str,
    value: float | int,
    limit: float | int,
    meaning: str,
    failure: str,
    *,
    passes: bool,
    close: bool = False,
) -> Check:
    state: State = "failed" if not passes else "look" if close else "fine"
    return Check(name, text, value, limit, state, meaning, {"failed": failure, "look": _CLOSE, "fine": ""}[state])


def disagreements(name: str, draws: Float[ndarray, "chains draws"], exact: Marginal) -> list[Check]:
    """Compare draws with the quadrature of the same posterior; return a failed check for each difference beyond chance.

    Compared are the mean, and the shares of draws below the median and both ends of the 95% interval, which a mode
    that no chain has seen moves even where the mean is not known well. At most 5 Monte Carlo standard errors are
    chance.

    Args:
        name: of the parameter, for the words.
        draws: of the parameter.
        exact: its posterior.
    """
    compared = {"mean": (float(draws.mean()), exact.mean, float(arviz_stats.mcse(draws, method="mean")))}
    for p in (0.025, 0.5, 0.975):
        below = (draws <= (value := exact.quantile(p))).astype(float)
        # With the error that the share has if the quadrature is right: all draws on one side would have none.
        error = np.sqrt(p * (1 - p) / float(arviz_stats.ess(below, method="mean")))
        compared[f"probability below {value:.4g}"] = float(below.mean()), p, float(error)
    return [
        Check(
            "quadrature",
            f"{what} of {name}, {drawn:.4g} by NUTS",
            float(np.divide(abs(drawn - known), error)),
            MOST_ERRORS,
            "failed",
            f"the difference between NUTS and quadrature, in Monte Carlo errors; at most {MOST_ERRORS}",
            f"{what} of {name} is {drawn:.4g} by NUTS and {known:.4g} by quadrature, and {MOST_ERRORS} Monte Carlo "
            f"errors are {MOST_ERRORS * error:.2g}: do not use the draws; they may lack a mode",
        )
        for what, (drawn, known, error) in compared.items()
        if not abs(drawn - known) <= MOST_ERRORS * error
    ]


def disagreement(name: str, draws: Float[ndarray, "chains draws"], known: float, error: float) -> Check | None:
    """Return a failed check if the mean of NUTS draws differs from that by importance sampling beyond chance."""
    drawn, whole = float(draws.mean()), float(np.hypot(arviz_stats.mcse(draws, method="mean"), error))
    if abs(drawn - known) <= MOST_ERRORS * whole:
        return None
    return Check(
        "importance sampling",
        f"mean of {name}, {drawn:.4g} by NUTS",
        abs(drawn - known) / whole,
        MOST_ERRORS,
        "failed",
        f"the difference between NUTS and importance sampling, in Monte Carlo errors; at most {MOST_ERRORS}",
        f"the mean of {name} is {drawn:.4g} by NUTS and {known:.4g} by importance sampling, and {MOST_ERRORS} Monte "
        f"Carlo errors are {MOST_ERRORS * whole:.2g}: do not use the draws",
    )


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
