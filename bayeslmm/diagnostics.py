"""Whether draws can be trusted: R-hat, effective sample sizes, divergences."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import arviz_stats
import numpy as np
from xarray import DataTree

MAX_R_HAT = 1.01
MIN_ESS_PER_CHAIN = 100


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
    """Check draws against R-hat < 1.01, bulk and tail ESS of at least 100 a chain, and no divergence.

    Source: Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), doi:10.1214/20-BA1221.
    """
    chains = posterior["posterior"].sizes["chain"]
    r_hat = _worst(arviz_stats.rhat(posterior), np.nanmax) if chains > 1 else np.nan
    ess_bulk = _worst(arviz_stats.ess(posterior, method="bulk"), np.nanmin)
    ess_tail = _worst(arviz_stats.ess(posterior, method="tail"), np.nanmin)
    divergences = int(posterior["sample_stats"].dataset["diverging"].sum())
    enough = MIN_ESS_PER_CHAIN * chains
    failures = [
        f"R-hat is {r_hat:.3f}, above {MAX_R_HAT}: the chains disagree, draw more" if r_hat > MAX_R_HAT else "",
        f"bulk ESS is {ess_bulk:.0f}, below {enough}: draw more" if ess_bulk < enough else "",
        f"tail ESS is {ess_tail:.0f}, below {enough}: draw more" if ess_tail < enough else "",
        f"{divergences} divergent transitions: raise target_accept, or reconsider the prior" if divergences else "",
        "one chain only: R-hat cannot be computed, use at least 2" if chains == 1 else "",
    ]
    return Diagnostics(r_hat, ess_bulk, ess_tail, divergences, tuple(filter(None, failures)))


def _worst(tree: DataTree, worst: Callable[[Any], Any]) -> float:
    dataset = tree["posterior"].dataset if "posterior" in tree.children else tree.dataset
    return float(worst([worst(values.to_numpy()) for values in dataset.data_vars.values()]))
