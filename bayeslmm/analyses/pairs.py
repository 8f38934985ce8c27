"""Pairs of traits: tests of their genetic correlation, and what draws say about it beside its prior."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.analyses.joint_rows import pair_name
from bayeslmm.analyses.method import JointRequest
from bayeslmm.analyses.table import Note, Row
from bayeslmm.base.checks import AnalysisError
from bayeslmm.estimators.joint_information import PairTest, correlation_tests
from bayeslmm.likelihood.priors import density_on
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, prior_overlap

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
        evidence: what draws of the posterior of our model say, if there are some.
    """

    name: str
    at: tuple[int, int]
    both: int
    tests: PairTest | None = None
    note: str = ""
    evidence: Evidence | None = None


def pair_table(pairs: Sequence[Pair], *, tested: bool) -> pd.DataFrame:
    """Return a row for each pair, with columns of tests if REML was asked for, and of evidence if there is some."""
    none = dict.fromkeys((field.name for field in fields(PairTest)), np.nan)
    rows: list[dict[str, Any]] = []
    for pair in pairs:
        tests = (asdict(pair.tests) if pair.tests else none) | {"note": pair.note}
        evidence = asdict(pair.evidence) if pair.evidence else {}
        rows.append({"pair": pair.name, "both": pair.both} | (tests if tested else {}) | evidence)
    return pd.DataFrame(rows)


def pair_of(request: JointRequest, at: tuple[int, int], *, tested: bool) -> Pair:
    """Return a pair, with its tests by REML or why there are none: the other pairs keep theirs."""
    pair = Pair(pair_name(request.traits, at), at, int(request.overlaps[at]))
    if not tested:
        return pair
    if zero := [request.traits[j] for j in at if request.reml.at_zero[j]]:
        why = f"rho_u is not identified: the genetic variance of {' and '.join(zero)} is estimated at 0"
        return replace(pair, note=why)
    try:
        return replace(pair, tests=correlation_tests(request.reml, request.white, at))
    except AnalysisError as error:
        return replace(pair, note=f"no tests of rho_u: {error}")


def evidence_of(rho_u: Float[ndarray, "..."], prior: dist.Distribution) -> Evidence:
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


def with_evidence(rows: Sequence[Row], pairs: Sequence[Pair], method: str) -> list[Row]:
    """Return the rows, those of rho_u by the method whose draws are the evidence with what they say as notes."""
    notes = {(method, pair.name, "rho_u"): pair.evidence.notes for pair in pairs if pair.evidence}
    return [
        replace(row, notes=(*notes.get((row.method, row.trait, row.parameter), ()), *row.notes)) for row in rows
    ]  # fmt: skip
