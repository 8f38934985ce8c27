"""Several traits of one cohort through every method asked for: their correlations, genetic and residual."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Unpack

import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.heritability import check_methods
from bayeslmm.analyses.joint_methods.nuts import program_of
from bayeslmm.analyses.joint_probes import ProbeErrors, probe_errors, warn_of_errors, with_probe_errors
from bayeslmm.analyses.joint_rows import draws_of_traits, places, without_overlap
from bayeslmm.analyses.method import Drawn, JointRequest, JointSettings, Weighed, methods_in
from bayeslmm.analyses.pairs import Pair, evidence_of, pair_of, pair_table, with_evidence
from bayeslmm.analyses.table import Note, Row, to_table
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.base.defaults import JOINT_METHODS as DEFAULT
from bayeslmm.base.defaults import MOST_SAMPLED
from bayeslmm.base.threads import threads_allowed
from bayeslmm.estimators.joint_reml import JointEstimate
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.joint_summary import JointSummary
from bayeslmm.likelihood.joint_whitened import check_distinct, joint_whitened
from bayeslmm.likelihood.priors import BivariatePrior, Flat, MultivariatePrior, correlation_prior
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.posterior.diagnostics import Diagnostics, disagreement
from bayeslmm.posterior.joint_importance import JointPosterior
from bayeslmm.posterior.sampling import Program

JOINT_METHODS = methods_in("joint_methods")
"""The methods by name."""


@dataclass(frozen=True)
class Correlations:
    """What is known about several traits.

    Attributes:
        traits: their names.
        rows: the estimates of each method: of each trait, and of each pair as ``A:B``.
        known: what is known about each pair.
        reml: there unless only moments were asked for, or it failed; the posterior is sampled from there.
        overlaps: how many individuals have both traits of each pair, shape (t, t); the diagonal counts records.
        n: individuals with at least one trait.
        fits: what each method asked for returned.
        failed: which methods did not succeed, and why; their rows are empty but for a note.
        diagnostics: of the draws, if NUTS was asked for.
        rho_prior: of each genetic and of each residual correlation.
        seconds: what each method took, compilation included; REML with its tests and standard errors.
        own: whether NUTS sampled the user's program: then it is of another model than all other methods.
        choice: why the methods are not the usual ones, if nobody asked for these; else empty.
        probe_errors: of the best method, if K was multiplied with.
    """

    traits: tuple[str, ...]
    rows: tuple[Row, ...]
    known: tuple[Pair, ...]
    reml: JointEstimate | None
    overlaps: Float64[ndarray, "t t"]
    n: int
    fits: Mapping[str, Any]
    failed: Mapping[str, str]
    diagnostics: Diagnostics | None
    rho_prior: tuple[dist.Distribution, dist.Distribution]
    seconds: Mapping[str, float]
    own: bool = False
    choice: str = ""
    probe_errors: ProbeErrors = field(default_factory=dict)

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The rows as a table, columns `table.COLUMNS`."""
        return to_table(self.rows)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """What is known about each pair as a table: tests if REML succeeded, evidence if there are draws."""
        return pair_table(self.known, tested="reml" in self.fits)

    @property
    def posterior(self) -> DataTree | None:
        """Draws of NUTS, or else of importance sampling, if one of them was asked for."""
        return next((self.fits[name].posterior for name in ("nuts", "importance") if name in self.fits), None)

    @property
    def importance(self) -> JointPosterior | None:
        """Weighted draws of the posterior, if asked for."""
        return self.fits["importance"].weighted if "importance" in self.fits else None


def correlations(
    data: JointData,
    *,
    traits: Sequence[str],
    covariates: Sequence[Sequence[str]],
    seed: int,
    methods: Sequence[str] | None = None,
    program: Program | Callable[..., None] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    workers: int | None = None,
    summary: JointSummary | None = None,
    **settings: Unpack[JointSettings],
) -> Correlations:
    """Estimate genetic and residual correlations of two or more traits.

    Args:
        data: the traits in the eigenbasis.
        traits: their names.
        covariates: for each trait the names of the columns of its X.
        seed: for all random numbers.
        methods: which of `JOINT_METHODS`. By default moments, REML and NUTS; of two traits with more than 200 missing
            values, each of which NUTS would sample, importance sampling in place of NUTS, unless the program is the
            user's or the prior of fixed effects is not flat.
        program: what NUTS samples, by default `bivariate` or `multivariate`. A user's program has rows of all its small
            sites, of the trait ``A:B``.
        coords: names of further dimensions of the draws, such as `Cohort.coords`.
        attrs: kept with the draws.
        workers: of importance sampling, by default as many as threads may be used. No number depends on how many.
        summary: whose data these are, if K was multiplied with: then each number has the error of the probes.
        **settings: as in `heritability` without moments_se; the prior is a `bivariate.Prior` for two traits, a
            `multivariate.Prior` for more, by default that of the program.

    Raises:
        InputError: if a method is unknown, the prior is not one of so many traits, names do not fit the data, or a
            trait is a combination of others.
        AnalysisError: if no method succeeds.
    """
    _check_names(data, traits, covariates)
    check_methods(methods or DEFAULT, JOINT_METHODS)
    ours = program_of(len(traits))
    check_distinct(data, traits)
    request = JointRequest(
        seed=seed,
        settings=settings,
        program=program or ours,
        own=program not in (None, ours),
        attrs=attrs,
        white=joint_whitened(data),
        traits=tuple(traits),
        covariates=tuple(tuple(names) for names in covariates),
        coords=coords or {},
        workers=workers or threads_allowed(),
    )
    methods, choice = (tuple(dict.fromkeys(methods)), "") if methods else _default(request)
    rho_prior = _rho_prior(request)
    request.check_prior(methods)
    seconds: dict[str, float] = {}
    lost = _failed(methods, request, seconds)
    failed, fits, rows = dict(lost), dict[str, Any](), list[Row]()
    errors: dict[str, ProbeErrors] = {}
    for method in methods:
        if method not in lost:
            with _timed(seconds, method):
                try:
                    fits[method] = JOINT_METHODS[method].fit(request)
                except AnalysisError as error:
                    if len(methods) == 1:
                        raise
                    failed[method] = str(error)
                else:
                    errors[method] = probe_errors(fits[method], traits, summary) if summary else {}
                    rows += with_probe_errors(_rows(method, fits[method], request), errors[method])
        if method in failed:
            rows += _empty_rows(method, failed[method], traits)
    pairs = _pairs(fits, request, rho_prior, seconds)
    of_best = next((errors[name] for name in (_evident(fits, request), *errors) if name in errors), {})
    if of_best:
        warn_of_errors(of_best)
    return Correlations(
        traits=request.traits,
        rows=tuple(with_evidence(rows, pairs, _evident(fits, request))),
        known=pairs,
        reml=request.reml if "reml" in seconds and not lost else None,
        overlaps=request.overlaps,
        n=data.n,
        fits=fits,
        failed=failed,
        diagnostics=_diagnostics(fits, request),
        rho_prior=rho_prior,
        seconds=seconds,
        own=request.own,
        choice=choice,
        probe_errors=of_best,
    )


def _default(request: JointRequest) -> tuple[tuple[str, ...], str]:
    """Return the methods where nobody asks for some, and why they are not the usual ones."""
    missing = sum(E.shape[1] for E in request.data.E)
    flat = request.prior is None or isinstance(request.prior.beta, Flat)
    if missing <= MOST_SAMPLED or len(request.traits) > 2 or request.own or not flat:
        return DEFAULT, ""
    words = (
        f"{missing:,} values are missing, more than {MOST_SAMPLED}: importance sampling, which integrates them out, "
        "takes the place of NUTS, which would sample each"
    )
    return tuple("importance" if name == "nuts" else name for name in DEFAULT), words


@contextmanager
def _timed(seconds: dict[str, float], method: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    seconds[method] = seconds.get(method, 0.0) + time.perf_counter() - begun


def _check_names(data: JointData, traits: Sequence[str], covariates: Sequence[Sequence[str]]) -> None:
    t, columns = len(traits), data.Y.shape[1]
    if not t == len(covariates) == columns or len(set(traits)) < t or t < 2:
        raise InputError(
            f"two or more different traits with the covariates of each are needed, one for each column of Y, but there "
            f"are {columns} columns, {len(covariates)} sets of covariates and the traits {', '.join(traits)}"
        )


def _rho_prior(request: JointRequest) -> tuple[dist.Distribution, dist.Distribution]:
    """Return the priors of each genetic and each residual correlation."""
    t, kind = len(request.traits), BivariatePrior if len(request.traits) == 2 else MultivariatePrior
    prior = kind() if request.prior is None else request.prior
    if not isinstance(prior, kind):
        raise InputError(f"the prior of {t} traits must be a {kind.__name__}, but is a {type(prior).__name__}")
    if isinstance(prior, BivariatePrior):
        return prior.rho_u, prior.rho_e
    return correlation_prior(prior.eta_u, t), correlation_prior(prior.eta_e, t)


def _failed(methods: Sequence[str], request: JointRequest, seconds: dict[str, float]) -> dict[str, str]:
    """Return which methods fail, and why: those that need REML, if its search fails and another method is left.

    Raises:
        AnalysisError: if no method is left.
    """
    dependent = [method for method in methods if JOINT_METHODS[method].needs == "reml"]
    if not dependent:
        return {}
    with _timed(seconds, "reml"):
        try:
            _ = request.reml
        except AnalysisError as error:
            if len(dependent) == len(methods):
                raise
            return {name: str(error) if name == "reml" else f"it starts from REML, and {error}" for name in dependent}
    return {}


def _empty_rows(method: str, why: str, traits: Sequence[str]) -> list[Row]:
    note = Note("failed", f"failed: {why}")
    return [Row(place.trait, method, place.parameter, notes=(note,)) for place in places(traits)]


def _rows(method: str, fit: Any, request: JointRequest) -> list[Row]:
    rows, drawn = JOINT_METHODS[method].rows(fit, request), isinstance(fit, Drawn | Weighed)
    if method == "nuts" and request.own:
        return rows
    return without_overlap(rows, request.traits, request.overlaps, drawn=drawn)


def _pairs(
    fits: Mapping[str, Any],
    request: JointRequest,
    rho_prior: tuple[dist.Distribution, dist.Distribution],
    seconds: dict[str, float],
) -> tuple[Pair, ...]:
    at = list(combinations(range(len(request.traits)), 2))
    if "reml" not in fits:
        pairs = [pair_of(request, pair, tested=False) for pair in at]
    else:
        with _timed(seconds, "reml"):
            pairs = [pair_of(request, pair, tested=True) for pair in at]
    if method := _evident(fits, request):
        rho_u = draws_of_traits(fits[method].posterior)["rho_u"]
        pairs = [replace(pair, evidence=evidence_of(rho_u[(..., *pair.at)], rho_prior[0])) for pair in pairs]
    return tuple(pairs)


def _evident(fits: Mapping[str, Any], request: JointRequest) -> str:
    """Return the method whose draws are of our model; empty if there is none."""
    return next((name for name in ("nuts", "importance") if name in fits and not (name == "nuts" and request.own)), "")


def _diagnostics(fits: Mapping[str, Any], request: JointRequest) -> Diagnostics | None:
    """Return the checks of the draws of NUTS, compared with importance sampling if both are there."""
    drawn: Drawn | None = fits.get("nuts")
    other: Weighed | None = fits.get("importance")
    if drawn is None or other is None or request.own:
        return drawn.diagnostics if drawn else None
    nuts, weighted = draws_of_traits(drawn.posterior), other.weighted
    values = quantities.of_traits(weighted.Gamma_u, weighted.Gamma_e)
    apart = [
        disagreement(
            f"{place.parameter} of {place.trait}",
            nuts[place.parameter][(..., *place.at)],
            weighted.mean(draws := values[place.parameter][:, *place.at]),
            weighted.error(draws),
        )
        for place in places(request.traits)
        if place.parameter in ("h2", "rho_u", "rho_e")
    ]
    return replace(drawn.diagnostics, checks=(*drawn.diagnostics.checks, *filter(None, apart)))
