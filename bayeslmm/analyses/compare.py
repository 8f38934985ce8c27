"""Every method on one trait, side by side: do they agree, and if not, should they?

Each method is held against the one it should be near, and their difference in h2 against what theory allows:

- EM and PX-EM climb the likelihood of ML: 1e-4 posterior standard deviations if they converged, nothing is excused if
  they did not.
- ML leaves out the degrees of freedom that fixed effects cost: the first Newton step from REML towards ML foretells the
  difference, to within half of it and 0.02 sd.
- REML is about the mode of the posterior under the default prior, which is flat in h2: mode and mean of a density with
  one mode are within sqrt(3) sd (Johnson and Rogers 1951, doi:10.1214/aoms/1177729592). Another prior is not held
  against it.
- NUTS has 4 Monte Carlo standard errors; nothing is said of draws that fail their checks, unless they are further off.
- Moments and REML are two estimates of one thing, and REML is efficient: the variance of their difference is that of
  moments less that of REML (Hausman 1978, doi:10.2307/1913827); 3 standard errors. More means that the model is wrong.
- Randomised moments have 3 Monte Carlo standard errors from the exact ones.
- The scaled lasso estimates another thing, and nothing is expected of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import arviz_stats
import jax
import numpy as np
import pandas as pd
from xarray import DataTree

from bayeslmm.analyses.conventions import conventions
from bayeslmm.analyses.heritability import METHODS, OF_GENOTYPES, Heritability, Settings, heritability
from bayeslmm.analyses.rows import Fit
from bayeslmm.base.float64 import in_float64
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.estimators import boundary
from bayeslmm.estimators.em import EmFit, em, px_em
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.information import profile_interval, standard_errors, standard_errors_from
from bayeslmm.estimators.moments import Moments, moments_covariance
from bayeslmm.estimators.scaled_lasso import ScaledLasso
from bayeslmm.estimators.variance_ratio import profile
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.one_trait import log_ml
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import Whitened, whitened
from bayeslmm.posterior import exact
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.posterior.marginal import Marginal

COLUMNS = "trait method h2 se lower upper against difference allowed agrees why".split()
"""Of `Comparison.table`; difference and allowed are about h2, in posterior standard deviations."""
_SLACK = 0.02
"""Posterior standard deviations that nobody would call a difference."""
_CLIMBS = {"em": em, "pxem": px_em}


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
        """Methods that did not arrive: their numbers are no estimates yet."""
        fits: dict[str, Fit] = {**self.result.fits, **self.em}
        stopped = [name for name, fit in fits.items() if isinstance(fit, EmFit | ScaledLasso) and not fit.converged]
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
        settings: se_kind, moments_se, prior, chains, draws, warmup and target_accept, as in `heritability`.

    Raises:
        InputError: as `heritability`.
    """
    white = whitened(data)
    result = heritability(
        white,
        trait=trait,
        covariates=cohort.covariates,
        seed=seed,
        methods=[method for method in METHODS if markers or method not in OF_GENOTYPES],
        cohort=cohort,
        markers=markers,
        **settings,
    )
    fits: dict[str, Fit] = {}
    for method, fit in result.fits.items():
        fits[method] = fit
        if markers and method in _CLIMBS:
            m = _get(result.fits, "lasso", ScaledLasso).counts.kept
            fits[f"{method}_markers"] = _CLIMBS[method](white, m=m)
    # An informative prior moves the posterior away from REML, and should.
    flat = _get(fits, "exact", ExactPosterior) if settings.get("prior") is None else exact.posterior(white)
    distribution = boundary.reml_distribution(boundary.contrast_eigenvalues(data), seed=seed)
    return Comparison(
        result=result,
        table=_table(result, fits, flat.h2, white),
        em={name: fit for name, fit in fits.items() if isinstance(fit, EmFit)},
        reml_distribution=distribution,
        boundary=_boundary(result, _get(fits, "exact", ExactPosterior), distribution, white),
        conventions=conventions(result.reml, _get(fits, "ml", Estimate), white, cohort.X).assign(trait=trait),
    )


def _table(result: Heritability, fits: Mapping[str, Fit], flat: Marginal, white: Whitened) -> pd.DataFrame:
    estimates = result.estimates.query("parameter == 'h2'").rename(columns={"estimate": "h2"}).set_index("method")
    known = {str(name): row for name, row in estimates[["h2", "se", "lower", "upper"]].to_dict("index").items()}
    unit = _get(fits, "exact", ExactPosterior).h2.sd
    rows: list[dict[Any, Any]] = []
    for method, fit in fits.items():
        row: dict[Any, Any] = {"trait": result.trait, "method": method}
        # EM in marker space is not among the estimates: it is the same, found on another way.
        row |= {"h2": fit.estimate.h2} if isinstance(fit, EmFit) and method not in known else known[method]
        expected = _expectation(fit, fits, flat, white)
        difference, allowed = (row["h2"] - expected.of) / unit, expected.allowed / unit
        agrees = "-" if np.isnan(allowed) else "yes" if abs(difference) <= allowed else "no"
        failures = result.diagnostics.failures if isinstance(fit, DataTree) and result.diagnostics else ()
        if failures and agrees == "yes":
            agrees, expected = "-", expected._replace(why=f"draws that fail their checks: {'; '.join(failures)}")
        row |= {"against": expected.against, "difference": difference, "allowed": allowed}
        rows.append(row | {"agrees": agrees, "why": expected.why})
    return pd.DataFrame(rows, columns=list(COLUMNS))


class _Expectation(NamedTuple):
    """What a method should be near, how near in units of h2, and why."""

    against: str
    of: float
    allowed: float
    why: str


def _expectation(fit: Fit, fits: Mapping[str, Fit], flat: Marginal, white: Whitened) -> _Expectation:
    reml, ml = _get(fits, "reml", Estimate), _get(fits, "ml", Estimate)
    oracle = _get(fits, "exact", ExactPosterior).h2
    nothing = float("nan")
    match fit:
        case ExactPosterior():
            return _Expectation("", nothing, nothing, "the unit of the differences")
        case DataTree():
            error = float(arviz_stats.mcse(fit["posterior"]["h2"].to_numpy()[..., 0]))
            return _Expectation("exact", oracle.mean, 4 * error, "4 Monte Carlo standard errors of the draws")
        case Estimate(method="reml"):
            why = (
                f"on the boundary ({fit.boundary}), where a mean cannot be" if fit.boundary else "a mode is not a mean"
            )
            return _Expectation("exact, flat prior", flat.mean, np.sqrt(3) * flat.sd, f"{why}: sqrt(3) posterior sd")
        case Estimate() if fit.boundary != reml.boundary:
            return _Expectation("reml", reml.h2, nothing, _why_ml_ends_elsewhere(fit, white.given))
        case Estimate():
            step = _newton_step(reml, white)
            why = "ML ignores the degrees of freedom of X: what one Newton step foretells, and half of it"
            return _Expectation("reml", reml.h2, 1.5 * abs(step) + _SLACK * oracle.sd, why)
        case EmFit():
            end = f"{fit.iterations:,} iterations with {fit.m:,} random effects"
            if fit.estimate.method == "pxem":
                slow = fits["em" if fit is fits["pxem"] else "em_markers"]
                if isinstance(slow, EmFit):
                    more = "" if slow.converged else "more than "
                    end += f", EM needs {more}{slow.iterations / fit.iterations:.1f} times as many"
            if ml.boundary == "h2 = 1":
                end += ": ML is where its search ends, which EM nears without arriving, or leaves for a local maximum"
                return _Expectation("ml", ml.h2, nothing, end)
            if not fit.converged:
                end += (
                    f" and not converged (score {fit.score:.2g}): EM slows down with their number and near a boundary"
                )
            return _Expectation("ml", ml.h2, 1e-4 * oracle.sd if fit.converged else 0.0, end)
        case Moments(method="mom"):
            why = (
                "moments are less efficient: 3 standard errors of the difference (Hausman); more would fault the model"
            )
            return _Expectation("reml", reml.h2, 3 * _hausman(reml, white) + _SLACK * oracle.sd, why)
        case Moments():
            error, why = fit.monte_carlo_errors()["h2"], "3 Monte Carlo standard errors of the random vectors"
            return _Expectation("mom", _get(fits, "mom", Moments).h2, 3 * error, why)
        case ScaledLasso():
            why = f"{fit.selected:,} of {fit.p:,} markers selected: the share of few markers, not of all"
            return _Expectation("reml", reml.h2, nothing, why)


@in_float64
def _newton_step(reml: Estimate, white: Whitened) -> float:
    """Return the first Newton step of the profile likelihood of ML from REML, inside [0, 1]; NaN where it bends up."""

    def loglik(h2: jax.Array) -> jax.Array:
        # On the user's scale of K.
        return profile(log_ml, reml.n, white.data, quantities.pve(h2, 1 - h2, white.k))

    score, bend = jax.grad(loglik)(reml.h2), jax.hessian(loglik)(reml.h2)
    return float(np.clip(reml.h2 - score / bend, 0, 1) - reml.h2) if bend < 0 else float("nan")


def _why_ml_ends_elsewhere(ml: Estimate, data: RotatedData) -> str:
    Q, _ = orthonormal(data.X)
    silent = Q[data.s <= 1e-10 * data.s.max()]
    if ml.boundary == "h2 = 1" and silent.size and np.linalg.norm(silent, 2) > 1 - 1e-6:
        return "the likelihood of ML has no maximum: K is 0 along a direction of X (the intercept, if K is centred)"
    return "one of ML and REML is on the boundary, and the other is not: there the likelihood is nearly flat"


def _hausman(reml: Estimate, white: Whitened) -> float:
    """Return the standard error of h2 by moments less h2 by REML, at the REML estimate."""
    at = reml.sigma2_u, reml.sigma2_e
    of_moments = standard_errors_from(moments_covariance(white, *at), *at, white.given.k_scale)["h2"]
    of_reml = 0.0 if reml.boundary else standard_errors(reml, white, kind="expected")["h2"]
    return float(np.sqrt(max(of_moments**2 - of_reml**2, 0.0)))


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


def _get[T](fits: Mapping[Any, Fit], name: str, kind: type[T]) -> T:
    fit = fits[name]
    if not isinstance(fit, kind):
        raise TypeError(f"{name} is a {type(fit).__name__}, not a {kind.__name__}")
    return fit
