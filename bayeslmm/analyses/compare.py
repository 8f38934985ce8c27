"""Every method on one trait, side by side: do they agree, and if not, should they?

Each method is compared with the one it should be near (`Method.near`), and their difference in h2 with what theory
allows:

- EM and PX-EM climb the likelihood of ML: 1e-4 posterior standard deviations if they converged, nothing is excused if
  they did not.
- ML leaves out the degrees of freedom that fixed effects cost: the first Newton step from REML towards ML predicts the
  difference, to within half of it and 0.02 sd.
- REML is about the mode of the posterior under the default prior, which is flat in h2: mode and mean of a density with
  one mode are within sqrt(3) sd (Johnson and Rogers 1951, doi:10.1214/aoms/1177729592). Another prior is not held
  against it.
- NUTS has 4 Monte Carlo standard errors; draws that fail their checks are not judged, unless they are further off.
- Moments and REML are two estimates of one thing, and REML is efficient: the variance of their difference is that of
  moments less that of REML (Hausman 1978, doi:10.2307/1913827); 3 standard errors. More means that the model is wrong.
- Randomised moments have 3 Monte Carlo standard errors from the exact ones.
- The scaled lasso estimates another thing, and nothing is expected of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Unpack, runtime_checkable

import numpy as np
import pandas as pd

from bayeslmm.analyses.conventions import conventions
from bayeslmm.analyses.heritability import METHODS, Heritability, check_cohort, heritability
from bayeslmm.analyses.method import Drawn, Fitted, Method, Settings
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import select
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators import boundary
from bayeslmm.estimators.em import EmFit
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import profile_interval
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import Whitened, whitened
from bayeslmm.posterior import exact
from bayeslmm.posterior.exact import ExactPosterior

COLUMNS = "trait method h2 se lower upper against difference allowed agrees why".split()
"""Of `Comparison.table`; difference and allowed are about h2, in posterior standard deviations."""
SOURCES = (
    Source("Crainiceanu and Ruppert (2004)", "10.1111/j.1467-9868.2004.00438.x", "the exact test of h2 = 0"),
    Source("Schweiger et al. (2016)", "10.1016/j.ajhg.2016.04.016", "confidence intervals by test inversion"),
    Source("Hausman (1978)", "10.2307/1913827", "how far moments may be from REML"),
    Source("Johnson and Rogers (1951)", "10.1214/aoms/1177729592", "how far a mode may be from a mean"),
)


@runtime_checkable
class _Iterative(Protocol):
    """A fit that may not have converged."""

    converged: bool


@dataclass(frozen=True)
class Comparison:
    """All methods on one trait.

    Attributes:
        result: all the estimates.
        table: a row for each method, columns `COLUMNS`; ``agrees`` is "yes", "no", or "-" where nothing is expected.
        em: "em" and "pxem" in kinship space, and with "_markers" in marker space if there are genotypes.
        reml_distribution: REML in repeated samples on this kinship and these covariates.
        boundary: tests of h2 = 0 and every interval of h2, one row.
        conventions: the same fit as other programs print it.
    """

    result: Heritability
    table: pd.DataFrame
    em: Mapping[str, EmFit]
    reml_distribution: boundary.RemlDistribution
    boundary: pd.DataFrame
    conventions: pd.DataFrame

    @property
    def not_converged(self) -> list[str]:
        """Methods that did not converge: their numbers are no estimates yet."""
        fits = {**self.result.fits, **self.em}
        stopped = [name for name, fit in fits.items() if isinstance(fit, _Iterative) and not fit.converged]
        drawn = self.result.diagnostics
        return stopped + ["nuts"] * bool(drawn and drawn.failures)


def compare(
    data: RotatedData,
    cohort: Cohort,
    *,
    trait: str,
    seed: int,
    markers: MarkerBlocks | None = None,
    **settings: Unpack[Settings],
) -> Comparison:
    """Run every method on one trait and hold each against the one it should be near.

    Args:
        data: one trait in the eigenbasis.
        cohort: the individuals before rotation.
        trait: its name in the cohort.
        seed: for all random numbers.
        markers: the genotypes of K; without them there are no "rhe", "lasso" and marker space.
        **settings: as in `heritability`.

    Raises:
        InputError: as `heritability`.
    """
    white = whitened(data)
    check_cohort(cohort, trait, white.data.n)
    at = cohort.traits.index(trait)
    among = (None, "reml", "genotypes") if markers else (None, "reml")  # that of two values is of another model
    result = heritability(
        white,
        trait=trait,
        covariates=cohort.covariates[at],
        seed=seed,
        methods=[name for name, method in METHODS.items() if method.needs in among],
        cohort=cohort,
        markers=markers,
        **settings,
    )
    fits: dict[str, tuple[Method, Any]] = {}
    for name, fit in result.fits.items():
        method = METHODS[name]
        fits[name] = method, fit
        if markers and method.marker_space:
            fits[f"{name}_markers"] = method, method.marker_space(white, result.fits["lasso"].counts.kept)
    oracle: ExactPosterior = result.fits["exact"]
    # An informative prior moves the posterior away from REML, and should.
    flat = oracle if settings.get("prior") is None else exact.posterior(white)
    fitted = Fitted({name: fit for name, (_, fit) in fits.items()}, flat.h2, white)
    distribution = boundary.reml_distribution(boundary.contrast_eigenvalues(data), seed=seed)
    return Comparison(
        result=result,
        table=pd.DataFrame(
            [_compared(result, name, *fits[name], fitted) for name in fits], columns=list(COLUMNS)
        ),
        em={name: fit for name, (_, fit) in fits.items() if isinstance(fit, EmFit)},
        reml_distribution=distribution,
        boundary=_boundary(result, oracle, distribution, white),
        conventions=conventions(result.reml, fitted.get("ml", Estimate), white, cohort.X[at]).assign(trait=trait),
    )  # fmt: skip


def _compared(result: Heritability, name: str, method: Method, fit: Any, fitted: Fitted) -> dict[str, Any]:
    """Return a row of `Comparison.table`."""
    known = select(result.rows, method=name, parameter="h2")
    # EM in marker space is not among the estimates: it is the same estimate, computed another way.
    h2 = known[0].estimate if known else fit.estimate.h2
    near, why, unit = method.near(fit, fitted), method.why(fit, fitted), fitted.posterior.sd
    difference, allowed = (h2 - near.h2) / unit, near.allowed / unit
    agrees = "-" if np.isnan(allowed) else "yes" if abs(difference) <= allowed else "no"
    if isinstance(fit, Drawn) and result.diagnostics and result.diagnostics.failures and agrees == "yes":
        agrees, why = "-", f"draws that fail their checks: {'; '.join(result.diagnostics.failures)}"
    row: dict[str, Any] = {"trait": result.trait, "method": name, "h2": h2}
    row |= {column: getattr(known[0], column) for column in ("se", "lower", "upper")} if known else {}
    return row | {
        "against": near.method, "difference": difference, "allowed": allowed, "agrees": agrees, "why": why,
    }  # fmt: skip


def _boundary(
    result: Heritability, oracle: ExactPosterior, distribution: boundary.RemlDistribution, white: Whitened
) -> pd.DataFrame:
    """Return one row: the test of h2 = 0 by three methods, and the intervals of h2 that are valid everywhere."""
    reml = result.reml
    statistic = reml.likelihood_ratio
    intervals = {
        "inversion": distribution.confidence_interval(reml.h2),
        "profile": profile_interval(reml, white, "h2"),
        "posterior": oracle.h2.interval(),
    }
    row: dict[str, Any] = {
        "trait": result.trait,
        "h2": reml.h2,
        "rlrt": statistic,
        "p_exact": distribution.p_value(statistic),
        "p_exact_error": distribution.p_value_error(statistic),
        "p_mixture": boundary.mixture_p_value(statistic),
        "mixture_size_at_0.05": distribution.mixture_size(0.05),
        "probability_of_zero": distribution.probability_of_zero(),
        "log10_bayes_factor": oracle.log_bayes_factor / np.log(10),
    }
    for name, (lower, upper) in intervals.items():
        row |= {f"{name}_lower": lower, f"{name}_upper": upper}
    return pd.DataFrame([row])
