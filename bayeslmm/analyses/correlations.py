"""Several traits of one cohort through every method asked for: their correlations, genetic and residual."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import combinations
from typing import Any, Unpack

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Float, Float64
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.heritability import check_methods
from bayeslmm.analyses.joint_rows import draws_of_traits, pair_name, places, without_overlap
from bayeslmm.analyses.method import Drawn, Settings, SeveralTraits, methods_in
from bayeslmm.analyses.table import Note, Row, to_table
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.estimators.joint_information import PairTest, correlation_tests
from bayeslmm.estimators.joint_reml import JointEstimate
from bayeslmm.likelihood.joint_whitened import check_distinct
from bayeslmm.likelihood.priors import BivariatePrior, MultivariatePrior, correlation_prior, density_on
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.models import bivariate, multivariate
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Diagnostics, prior_overlap
from bayeslmm.posterior.sampling import Program

JOINT_METHODS = methods_in("joint_methods")
"""The methods by name."""
_CLEAR = 0.975  # probability of a sign that need not be doubted, if the prior did not give it already
_MOSTLY_PRIOR = 0.7  # overlap with the prior, twice `MOST_OVERLAP`, above which little else is seen


@dataclass(frozen=True)
class Evidence:
    """What draws say about a genetic correlation, beside its prior.

    Attributes:
        probability_positive: posterior probability of rho_u > 0.
        prior_overlap: the area that posterior and prior share.
        identified: whether that is at most `MOST_OVERLAP`.
        sign_clear: whether the data make the sign all but certain.
    """

    probability_positive: float
    prior_overlap: float
    identified: bool
    sign_clear: bool

    @property
    def verdict(self) -> str:
        """What the data say about rho_u, in words: loud only where they say next to nothing; "" if all is well."""
        if self.identified:
            return ""
        if self.sign_clear:
            return "its sign is clear, its size is weakly identified, the prior influences it"
        if self.prior_overlap <= _MOSTLY_PRIOR:
            return "rho_u is weakly identified, the prior influences this estimate"
        return "rho_u is WEAKLY IDENTIFIED, the prior strongly influences this estimate"

    @property
    def notes(self) -> tuple[Note, Note]:
        """The same as notes of the estimate."""
        shared = f"posterior and prior share {self.prior_overlap:.0%}"
        return (
            Note("info", f"P(rho_u > 0) = {self.probability_positive:.4g}", self.probability_positive),
            Note("prior", f"{shared}: {self.verdict}" if self.verdict else shared, self.prior_overlap),
        )


@dataclass(frozen=True)
class Pair:
    """What is known about the genetic correlation of two traits.

    Attributes:
        name: ``A:B``.
        at: their numbers, from 0.
        both: how many individuals have both.
        tests: likelihood ratio tests, if REML was asked for and they exist.
        note: why they do not exist.
        evidence: what draws of our program say, if NUTS was asked for.
    """

    name: str
    at: tuple[int, int]
    both: int
    tests: PairTest | None = None
    note: str = ""
    evidence: Evidence | None = None


@dataclass(frozen=True)
class Correlations:
    """What is known about several traits.

    Attributes:
        traits: their names.
        rows: the estimates of each method: of each trait, and of each pair as ``A:B``.
        known: what is known about each pair.
        reml: there unless only moments were asked for, or it failed; NUTS starts from it.
        overlaps: how many individuals have both traits of each pair, shape (t, t); the diagonal counts records.
        n: individuals with at least one trait.
        fits: what each method asked for returned.
        failed: which methods did not succeed, and why; their rows are empty but for a note.
        diagnostics: of the draws, if NUTS was asked for.
        rho_prior: of each genetic and of each residual correlation.
        seconds: what each method took, compilation included; REML with its tests and standard errors.
        own: whether NUTS sampled the user's program: then it is of another model than all other methods.
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

    @cached_property
    def estimates(self) -> pd.DataFrame:
        """The rows as a table, columns `table.COLUMNS`."""
        return to_table(self.rows)

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """What is known about each pair as a table: tests if REML succeeded, evidence if NUTS did."""
        return pd.DataFrame([_pair_record(pair, tested="reml" in self.fits) for pair in self.known])

    @property
    def posterior(self) -> DataTree | None:
        """NUTS draws, if asked for."""
        return self.fits["nuts"].posterior if "nuts" in self.fits else None


def _pair_record(pair: Pair, *, tested: bool) -> dict[str, Any]:
    record: dict[str, Any] = {"pair": pair.name, "both": pair.both}
    if tested:
        none = dict.fromkeys((field.name for field in fields(PairTest)), np.nan)
        record |= (asdict(pair.tests) if pair.tests else none) | {"note": pair.note}
    return record | (asdict(pair.evidence) if pair.evidence else {})


def correlations(
    data: JointData,
    *,
    traits: Sequence[str],
    covariates: Sequence[Sequence[str]],
    seed: int,
    methods: Sequence[str] = ("mom", "reml", "nuts"),
    program: Program | Callable[..., None] | None = None,
    coords: Mapping[str, Sequence[Any]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    **settings: Unpack[Settings],
) -> Correlations:
    """Estimate genetic and residual correlations of two or more traits.

    Args:
        data: the traits in the eigenbasis.
        traits: their names.
        covariates: for each trait the names of the columns of its X.
        seed: for all random numbers.
        methods: which of `JOINT_METHODS`.
        program: what NUTS samples, by default `bivariate` or `multivariate`. A user's program has rows of all its small
            sites, of the trait ``A:B``.
        coords: names of further dimensions of the draws, such as `JointCohort.coords`.
        attrs: kept with the draws.
        **settings: as in `heritability` without moments_se; the prior is a `bivariate.Prior` for two traits, a
            `multivariate.Prior` for more, by default that of the program.

    Raises:
        InputError: if a method is unknown, the prior is not one of so many traits, names do not fit the data, or a
            trait is a combination of others.
        AnalysisError: if no method succeeds.
    """
    methods = tuple(dict.fromkeys(methods))
    _check_names(data, traits, covariates)
    check_methods(methods, JOINT_METHODS)
    ours = bivariate if len(traits) == 2 else multivariate
    request = SeveralTraits(
        seed=seed,
        settings=settings,
        program=program or ours,
        own=program not in (None, ours),
        attrs=attrs,
        data=data,
        traits=tuple(traits),
        covariates=tuple(tuple(names) for names in covariates),
        coords=coords or {},
    )
    rho_prior = _rho_prior(request)
    request.check_prior(methods)
    check_distinct(data, traits)
    seconds: dict[str, float] = {}
    with _timed(seconds, "reml"):
        failed = _failed(methods, request)
    fits: dict[str, Any] = {}
    rows: list[Row] = []
    for method in methods:
        if method in failed:
            note = Note("failed", f"failed: {failed[method]}")
            rows += [Row(place.trait, method, place.parameter, notes=(note,)) for place in places(traits)]
            continue
        with _timed(seconds, method):
            fits[method] = JOINT_METHODS[method].fit(request)
            rows += _rows(method, fits[method], request)
    with _timed(seconds, "reml"):
        pairs = [_tested(request, pair, "reml" in fits) for pair in combinations(range(len(traits)), 2)]
    if "nuts" in fits and not request.own:
        rho_u = draws_of_traits(fits["nuts"].posterior)["rho_u"]
        pairs = [replace(pair, evidence=evidence(rho_u[(..., *pair.at)], rho_prior[0])) for pair in pairs]
        rows = _with_evidence(rows, pairs)
    if set(methods) == {"mom"}:
        del seconds["reml"]
    return Correlations(
        traits=request.traits,
        rows=tuple(rows),
        known=tuple(pairs),
        reml=None if failed or set(methods) == {"mom"} else request.reml,
        overlaps=request.overlaps,
        n=len(data.s),
        fits=fits,
        failed=failed,
        diagnostics=fits["nuts"].diagnostics if "nuts" in fits else None,
        rho_prior=rho_prior,
        seconds=seconds,
        own=request.own,
    )


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


def _rho_prior(request: SeveralTraits) -> tuple[dist.Distribution, dist.Distribution]:
    """Return the priors of each genetic and each residual correlation."""
    t, kind = len(request.traits), BivariatePrior if len(request.traits) == 2 else MultivariatePrior
    prior = kind() if request.prior is None else request.prior
    if not isinstance(prior, kind):
        raise InputError(f"the prior of {t} traits must be a {kind.__name__}, but is a {type(prior).__name__}")
    if isinstance(prior, BivariatePrior):
        return prior.rho_u, prior.rho_e
    return correlation_prior(prior.eta_u, t), correlation_prior(prior.eta_e, t)


def _failed(methods: Sequence[str], request: SeveralTraits) -> dict[str, str]:
    """Return which methods fail, and why: all that need REML, where its search fails and moments are there instead.

    Raises:
        AnalysisError: if no method is left.
    """
    dependent = [method for method in methods if method != "mom"]
    if not dependent:
        return {}
    try:
        _ = request.reml
    except AnalysisError as error:
        if "mom" not in methods:
            raise
        return {method: str(error) if method == "reml" else f"it starts from REML, and {error}" for method in dependent}
    return {}


def _rows(method: str, fit: Any, request: SeveralTraits) -> list[Row]:
    rows, drawn = JOINT_METHODS[method].rows(fit, request), isinstance(fit, Drawn)
    if drawn and request.own:
        return rows
    return without_overlap(rows, request.traits, request.overlaps, drawn=drawn)


def _tested(request: SeveralTraits, at: tuple[int, int], tested: bool) -> Pair:
    """Return a pair with its tests, or why there are none: the other pairs keep theirs."""
    pair = Pair(pair_name(request.traits, at), at, int(request.overlaps[at]))
    if not tested:
        return pair
    if zero := [request.traits[j] for j in at if request.reml.at_zero[j]]:
        why = f"rho_u is not identified: the genetic variance of {' and '.join(zero)} is estimated at 0"
        return replace(pair, note=why)
    try:
        return replace(pair, tests=correlation_tests(request.reml, request.data, at))
    except AnalysisError as error:
        return replace(pair, note=f"no tests of rho_u: {error}")


def evidence(rho_u: Float[ndarray, "..."], prior: dist.Distribution) -> Evidence:
    """Return what draws of a genetic correlation say, beside its prior."""
    overlap = prior_overlap(rho_u, prior, -1.0, 1.0)
    positive, before = float(np.mean(rho_u > 0)), _positive(prior)
    clear = max(positive, 1 - positive) >= _CLEAR > max(before, 1 - before)
    return Evidence(positive, overlap, overlap <= MOST_OVERLAP, clear)


def _positive(prior: dist.Distribution) -> float:
    """Return the prior probability of a correlation above 0."""
    points = (np.arange(2000) + 0.5) / 1000 - 1
    density = density_on(prior, points)
    return float(density[points > 0].sum() / density.sum())


def _with_evidence(rows: Sequence[Row], pairs: Sequence[Pair]) -> list[Row]:
    """Return the rows, those of NUTS and rho_u with what the draws say as notes."""
    notes = {pair.name: pair.evidence.notes for pair in pairs if pair.evidence}
    return [
        replace(row, notes=(*notes[row.trait], *row.notes))
        if (row.method, row.parameter) == ("nuts", "rho_u")
        else row
        for row in rows
    ]  # fmt: skip
