"""Several traits of one cohort through every method asked for: their correlations, genetic and residual."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from itertools import combinations
from typing import Any, Literal, get_args

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.joint_rows import JointFit, draws_of_traits, joint_rows_of, pair_name, places
from bayeslmm.analyses.site_rows import site_rows
from bayeslmm.analyses.table import Row, joined, to_table
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.estimators.information import Kind
from bayeslmm.estimators.joint_information import PairTest, correlation_tests
from bayeslmm.estimators.joint_moments import joint_moments, overlaps
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.likelihood.joint_whitened import SeveralTraits, check_distinct, joint_whitened
from bayeslmm.likelihood.priors import BivariatePrior, JointPrior, correlation_prior, density_on
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.models import bivariate, multivariate
from bayeslmm.posterior.checked_draws import checked_draws
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Diagnostics, prior_overlap
from bayeslmm.posterior.sampling import Program, takes_prior

JointMethod = Literal["mom", "reml", "nuts"]
JOINT_METHODS: tuple[JointMethod, ...] = get_args(JointMethod)
_CLEAR = 0.975  # probability of a sign that need not be doubted, if the prior did not give it already
_MOSTLY_PRIOR = 0.7  # overlap with the prior, twice `MOST_OVERLAP`, above which little else is seen


@dataclass(frozen=True)
class Correlations:
    """What is known about several traits.

    Attributes:
        traits: their names.
        estimates: the table of `results`: rows of each trait, and of each pair as ``A:B``.
        pairs: a row for each pair: how many individuals have both, tests of rho_u with a note where there are none, and
            what the draws say about it.
        reml: there unless only moments were asked for, or it failed; NUTS starts from it.
        overlaps: how many individuals have both traits of each pair, shape (t, t); the diagonal counts records.
        n: individuals with at least one trait.
        fits: what each method asked for returned.
        failed: which methods did not succeed, and why; their rows are empty but for a note.
        diagnostics: of the draws, if NUTS was asked for.
        rho_prior: of each genetic and of each residual correlation.
        seconds: what each method took, compilation included; REML with its tests and standard errors.
        own: whether NUTS sampled a program that is not ours: then it is of another model than all other methods.
    """

    traits: tuple[str, ...]
    estimates: pd.DataFrame
    pairs: pd.DataFrame
    reml: JointEstimate | None
    overlaps: Float64[ndarray, "t t"]
    n: int
    fits: Mapping[JointMethod, JointFit]
    failed: Mapping[JointMethod, str]
    diagnostics: Diagnostics | None
    rho_prior: tuple[dist.Distribution, dist.Distribution]
    seconds: Mapping[JointMethod, float]
    own: bool = False

    @property
    def posterior(self) -> DataTree | None:
        """NUTS draws, if asked for."""
        fit = self.fits.get("nuts")
        return fit if isinstance(fit, DataTree) else None


def correlations(
    data: JointData,
    *,
    traits: Sequence[str],
    covariates: Sequence[Sequence[str]],
    seed: int,
    methods: Sequence[JointMethod] = ("mom", "reml", "nuts"),
    se_kind: Kind = "average",
    prior: JointPrior | None = None,
    program: Program | Callable[..., None] | None = None,
    chains: int = 4,
    draws: int = 1000,
    warmup: int = 1000,
    target_accept: float = 0.9,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Correlations:
    """Estimate genetic and residual correlations of two or more traits.

    Args:
        data: the traits in the eigenbasis.
        traits: their names.
        covariates: for each trait the names of the columns of its X.
        seed: of the draws.
        methods: which of `JOINT_METHODS`.
        se_kind: which information gives the standard errors of REML.
        prior: of NUTS: `bivariate.Prior` for two traits, `multivariate.Prior` for more; by default that of the program.
        program: what NUTS samples, by default `bivariate` or `multivariate`. One that is not ours has rows of all its
            small sites, of the trait ``A:B``.
        chains: number of NUTS chains.
        draws: kept draws per chain.
        warmup: adaptation steps per chain.
        target_accept: mean acceptance rate of the steps; if transitions diverge, NUTS draws again at a higher one (see
            `checked_draws`).
        coords: names of further dimensions of the draws, such as `JointCohort.coords`.
        attrs: kept with the draws.

    Raises:
        InputError: if a method is unknown, the prior is not one of so many traits, names do not fit the data, or a
            trait is a combination of others.
        AnalysisError: if no method succeeds.
    """
    traits, t, methods = tuple(traits), len(traits), tuple(dict.fromkeys(methods))
    found = [t, len(covariates)], [data.Y.shape[1]] * 2
    if found[0] != found[1] or len(set(traits)) < t or t < 2:
        raise InputError(
            f"two or more different traits with the covariates of each are needed, one for each column of Y, but there "
            f"are {data.Y.shape[1]} columns, {len(covariates)} sets of covariates and the traits {', '.join(traits)}"
        )
    if unknown := [method for method in methods if method not in JOINT_METHODS]:
        raise InputError(f"methods must be among {', '.join(JOINT_METHODS)}, but {unknown[0]!r} was given")
    ours = bivariate if t == 2 else multivariate
    given, prior = prior, prior or ours.Prior()
    if not isinstance(prior, ours.Prior):
        raise InputError(f"the prior of {t} traits must be a {ours.Prior.__name__}, but is a {type(prior).__name__}")
    if given is not None and program and not takes_prior(program):
        raise InputError("a prior was given, but the program that NUTS samples takes none: leave it out")
    pairs = list(combinations(range(t), 2))
    diagnostics: Diagnostics | None = None
    seconds: dict[JointMethod, float] = {}

    @contextmanager
    def timed(method: JointMethod) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        seconds[method] = seconds.get(method, 0.0) + time.perf_counter() - begun

    def rows(fit: JointFit) -> list[Row]:
        if program and isinstance(fit, DataTree):
            return site_rows(fit, ":".join(traits))
        return joint_rows_of(fit, white, traits=traits, covariates=covariates, overlaps=both, se_kind=se_kind)

    check_distinct(data, traits)
    white = joint_whitened(data)
    both, best = overlaps(data), None
    failed: dict[JointMethod, str] = {}
    if set(methods) != {"mom"}:
        with timed("reml"):
            try:
                best = joint_reml(white)
            except AnalysisError as error:
                if "mom" not in methods:
                    raise
                told = {"reml": str(error), "nuts": f"it starts from REML, and {error}"}
                failed = {method: told[method] for method in methods if method != "mom"}
    about: list[dict[str, Any]] = [{"pair": pair_name(traits, pair), "both": int(both[pair])} for pair in pairs]
    fits: dict[JointMethod, JointFit] = {}
    table: list[Row] = []
    for method in methods:
        if method in failed:
            note = f"failed: {failed[method]}"
            table += [
                {"trait": place.trait, "method": method, "parameter": place.parameter, "note": note}
                for place in places(traits)
            ]
            continue
        with timed(method):
            if method == "mom" or best is None:
                fits[method] = joint_moments(white)
            elif method == "reml":
                fits[method] = best
                for one, pair in zip(about, pairs, strict=True):
                    one |= _tests(best, white, pair, traits)
            else:
                names = [f"{trait}:{name}" for trait, of in zip(traits, covariates, strict=True) for name in of]
                fits[method], diagnostics = checked_draws(
                    program or ours,
                    data,
                    seed=seed,
                    prior=given,
                    start=None if program else ours.start(data, best),
                    chains=chains,
                    draws=draws,
                    warmup=warmup,
                    target_accept=target_accept,
                    coords={"trait": traits, "trait_bis": traits, "coefficient": names} | dict(coords or {}),
                    attrs=attrs,
                )
            table += rows(fits[method])
    rho_prior = _rho_prior(prior, t)
    drawn = fits.get("nuts")
    if isinstance(drawn, DataTree) and not program:
        for one, pair in zip(about, pairs, strict=True):
            one |= _data_about(drawn, pair, rho_prior[0])
        verdicts = {one["pair"]: _told(one) for one in about}
        for row in table:
            if (row["method"], row["parameter"]) == ("nuts", "rho_u"):
                row["note"] = joined(verdicts[row["trait"]], row["note"])
    n = len(data.s)
    own = program is not None
    return Correlations(
        traits, to_table(table), pd.DataFrame(about), best, both, n, fits, failed, diagnostics, rho_prior, seconds, own
    )


def _tests(best: JointEstimate, data: SeveralTraits, pair: tuple[int, int], traits: Sequence[str]) -> dict[str, Any]:
    """Return the tests of a pair, or why there are none: the other pairs keep theirs."""
    none: dict[str, Any] = {field.name: np.nan for field in fields(PairTest)}
    if zero := [traits[j] for j in pair if best.at_zero[j]]:
        return none | {
            "note": f"rho_u is not identified: the genetic variance of {' and '.join(zero)} is estimated at 0"
        }
    try:
        return asdict(correlation_tests(best, data, pair)) | {"note": ""}
    except AnalysisError as error:
        return none | {"note": f"no tests of rho_u: {error}"}


def _rho_prior(prior: JointPrior, t: int) -> tuple[dist.Distribution, dist.Distribution]:
    if isinstance(prior, BivariatePrior):
        return prior.rho_u, prior.rho_e
    return correlation_prior(prior.eta_u, t), correlation_prior(prior.eta_e, t)


def _data_about(posterior: DataTree, pair: tuple[int, int], prior: dist.Distribution) -> dict[str, Any]:
    """Return what the draws say about a genetic correlation, and how far they are from its prior."""
    rho_u = draws_of_traits(posterior)["rho_u"][(..., *pair)]
    overlap = prior_overlap(rho_u, prior, -1.0, 1.0)
    positive, before = float(np.mean(rho_u > 0)), _positive(prior)
    return {
        "probability_positive": positive,
        "prior_overlap": overlap,
        "identified": overlap <= MOST_OVERLAP,
        "sign_clear": max(positive, 1 - positive) >= _CLEAR > max(before, 1 - before),
    }


def _positive(prior: dist.Distribution) -> float:
    """Return the prior probability of a correlation above 0."""
    points = (np.arange(2000) + 0.5) / 1000 - 1
    density = density_on(prior, points)
    return float(density[points > 0].sum() / density.sum())


def _told(about: Mapping[str, Any]) -> str:
    return (
        f"P(rho_u > 0) = {about['probability_positive']:.4g}; posterior and prior share "
        f"{about['prior_overlap']:.0%}{_verdict(about)}"
    )


def _verdict(about: Mapping[str, Any]) -> str:
    """Grade what the data say about a genetic correlation: loud only where they say next to nothing."""
    if about["identified"]:
        return ""
    if about["sign_clear"]:
        return ": its sign is clear, its size is weakly identified, the prior has a say in it"
    if about["prior_overlap"] <= _MOSTLY_PRIOR:
        return ": rho_u is weakly identified by these data, its prior has a say"
    return ": rho_u is WEAKLY IDENTIFIED by these data, it is mostly its prior"
