"""The kinship matrix K with the ids of its rows."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.array_checks import check_square
from bayeslmm.base.checks import InputError, check_unique
from bayeslmm.base.ids import known_places
from bayeslmm.kinship.origin import origin_words


@dataclass(frozen=True)
class Kinship:
    """A kinship matrix with the ids of its rows; a dense `Covariance`.

    Attributes:
        ids: of each row: its IID or, if IIDs repeat, FID and IID with a blank between.
        K: symmetric, shape (n, n), on the scale of its source.
        source: where it comes from, for messages.
        details: how it was made (scale, filters, marker counts), or what its file was read as, for the record.
        families: FID of each row, 0 where it has none; empty if none is known.
    """

    ids: tuple[str, ...]
    K: Float64[ndarray, "rows columns"]
    source: str
    details: dict[str, Any] = field(default_factory=dict)
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.K) or len(self.families) not in (0, len(self.ids)):
            raise InputError(f"{self.source}: {len(self.ids)} ids were given for a K of {len(self.K)} rows")
        check_unique(self.ids, where=self.source)
        check_square(self.K, where=self.source)

    @property
    def mean_diagonal(self) -> float:
        """Mean diagonal of K."""
        return float(np.trace(self.K) / len(self.K))

    def origin_line(self) -> str:
        """Say which markers or animals it was computed from, or what its file was read as; empty if neither."""
        return origin_words(self.source, self.details)

    def diagonal(self) -> Float64[ndarray, " n"]:
        """Return the diagonal of K."""
        return np.diag(self.K)

    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        """Return K V."""
        return self.K @ V

    def dense(self) -> Float64[ndarray, "n n"]:
        """Return K."""
        return self.K

    def rows(self, ids: Sequence[str]) -> Int64[ndarray, " n"]:
        """Return the row of each of these individuals.

        Raises:
            InputError: naming those who have none.
        """
        return known_places(ids, self.ids, where=self.source)

    def take(self, rows: Sequence[int] | ndarray) -> "Kinship":
        """Return the kinship of some of the individuals, a copy."""
        ids, families = (tuple(names[i] for i in rows) if names else () for names in (self.ids, self.families))
        return replace(self, ids=ids, families=families, K=self.K[np.ix_(rows, rows)])


def centre(K: Float64[ndarray, "n n"]) -> Float64[ndarray, "n n"]:
    """Return J K J with J = I - 11'/n: K centred on its individuals (as GEMMA does)."""
    mean = K.mean(axis=0)
    return K - mean - mean[:, None] + mean.mean()
