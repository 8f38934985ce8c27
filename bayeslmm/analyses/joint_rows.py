"""The rows of several traits: of a trait ``A``, and of a pair ``A:B``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row
from bayeslmm.likelihood import quantities

OF_POSTERIORS = (
    Source("Lewandowski, Kurowicka and Joe (2009)", "10.1016/j.jmva.2009.04.008", "the prior of correlations"),
    Source("Garrett and Zeger (2000)", "10.1111/j.0006-341X.2000.01055.x", "the overlap of prior and posterior"),
)
"""What posteriors of correlations cite, however they are drawn."""


@dataclass(frozen=True)
class Place:
    """Where a row of `quantities.of_traits` stands: the name in the table, the parameter, the element."""

    trait: str
    parameter: str
    at: tuple[int, ...]


def places(traits: Sequence[str]) -> Iterator[Place]:
    """Yield the rows of a fit in their order: each trait, then each pair."""
    for j, trait in enumerate(traits):
        for parameter in quantities.OF_TRAIT:
            yield Place(trait, parameter, (j,))
    for j, k in combinations(range(len(traits)), 2):
        for parameter in quantities.OF_PAIR:
            yield Place(pair_name(traits, (j, k)), parameter, (j, k))


def pair_name(traits: Sequence[str], pair: tuple[int, int]) -> str:
    """Return how a pair of traits is written: ``A:B``."""
    return f"{traits[pair[0]]}:{traits[pair[1]]}"


def draws_of_traits(posterior: DataTree) -> dict[str, ndarray]:
    """Return draws of everything in `quantities.of_traits`, shapes (chain, draw, t) or (chain, draw, t, t)."""
    draws = posterior["posterior"]
    return quantities.of_traits(draws["Gamma_u"].to_numpy(), draws["Gamma_e"].to_numpy())


def without_overlap(
    rows: Sequence[Row], traits: Sequence[str], overlaps: Float64[ndarray, "t t"], *, drawn: bool
) -> list[Row]:
    """Note which residual parameters are not identified, since nobody has both traits of a pair.

    Args:
        rows: of one method.
        traits: their names.
        overlaps: how many individuals have both traits of each pair, shape (t, t).
        drawn: whether the rows are of a posterior, which the prior makes proper; else they lose their numbers.
    """
    apart = {pair_name(traits, (j, k)) for j, k in combinations(range(len(traits)), 2) if overlaps[j, k] == 0}
    return [
        _not_identified(row, drawn=drawn)
        if row.trait in apart and row.parameter in ("rho_e", "rho_p", "cov_e")
        else row
        for row in rows
    ]  # fmt: skip


def _not_identified(row: Row, *, drawn: bool) -> Row:
    noted = replace(row, notes=(Note("no_overlap", "not identified: nobody has both traits"), *row.notes))
    if drawn:
        return noted
    return replace(noted, estimate=np.nan, se=np.nan, lower=np.nan, upper=np.nan, interval=None)
