"""Whether draws can be trusted (R-hat, effective sample sizes, divergences), and what the data added to the prior."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arviz_stats
import numpy as np
import numpyro.distributions as dist
from jaxtyping import Float
from numpy import ndarray
from xarray import DataTree

from bayeslmm.checks import examples
from bayeslmm.exact import Marginal
from bayeslmm.precision import in_float64
from bayeslmm.priors import density_on

MAX_R_HAT = 1.01
MIN_ESS_PER_CHAIN = 100
MOST_OVERLAP = 0.35
"""Above it `prior_overlap` says that the prior decides much of what is seen."""
_BINS = 20


@dataclass(frozen=True)
class Diagnostics:
    """The worst values over all parameters, and what they fail.

    Attributes:
        r_hat: largest rank-normalised split R-hat; NaN for a single chain.
        ess_bulk, ess_tail: smallest effective sample sizes.
        divergences: divergent transitions after warm-up.
        failures: what is wrong, in words; empty if nothing is.
    """

    r_hat: float
    ess_bulk: float
    ess_tail: float
    divergences: int
    failures: tuple[str, ...]


def diagnose(posterior: DataTree) -> Diagnostics:
    """Check draws against R-hat of at most 1.01, bulk and tail ESS of at least 100 a chain, and no divergence.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), doi:10.1214/20-BA1221.
    """
    chains = posterior["posterior"].sizes["chain"]
    with np.errstate(invalid="ignore"):  # the diagonal of a correlation matrix has no variance, and no R-hat
        r_hat = _worst(arviz_stats.rhat(posterior), np.max) if chains > 1 else np.nan
    ess_bulk = _worst(arviz_stats.ess(posterior, method="bulk"), np.min)
    ess_tail = _worst(arviz_stats.ess(posterior, method="tail"), np.min)
    divergences = int(posterior["sample_stats"].dataset["diverging"].sum())
    enough = MIN_ESS_PER_CHAIN * chains
    r_hat_fails = chains > 1 and not r_hat <= MAX_R_HAT  # also where it is not a number, as of 3 draws
    broken = [str(name) for name, site in posterior["posterior"].data_vars.items() if not np.isfinite(site).all()]
    failures = [
        f"draws of {examples(broken)} are not all finite" if broken else "",
        f"R-hat is {r_hat:.3f}, and must be at most {MAX_R_HAT}: the chains disagree, draw more" if r_hat_fails else "",
        *(
            "" if ess >= enough else f"{kind} ESS is {ess:.0f}, and must be at least {enough}: draw more"
            for kind, ess in (("bulk", ess_bulk), ("tail", ess_tail))
        ),
        f"{divergences} divergent transitions: raise --target-accept, or reconsider the prior" if divergences else "",
        "one chain only: R-hat cannot be computed, use at least 2" if chains == 1 else "",
    ]
    return Diagnostics(r_hat, ess_bulk, ess_tail, divergences, tuple(filter(None, failures)))


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
