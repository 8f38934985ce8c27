"""What can be the covariance of a random effect, up to its variance."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float64
from numpy import ndarray


@runtime_checkable
class Related(Protocol):
    """Whoever is in a kinship, whatever it is kept as."""

    @property
    def ids(self) -> tuple[str, ...]:
        """IID of each."""
        ...

    @property
    def families(self) -> tuple[str, ...]:
        """FID of each, 0 where it has none; empty if none is known."""
        ...

    @property
    def source(self) -> str:
        """Where it comes from, for messages."""
        ...


@runtime_checkable
class Covariance(Related, Protocol):
    """A symmetric positive semi-definite n x n matrix with the ids of its rows, whatever it is kept as."""

    @property
    def details(self) -> Mapping[str, Any]:
        """How it was made, for the record of the run."""
        ...

    def diagonal(self) -> Float64[ndarray, " n"]:
        """Return the diagonal."""
        ...

    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        """Return the product with the columns of V."""
        ...

    def take(self, rows: Sequence[int] | ndarray) -> "Covariance":
        """Return the covariance of some of the individuals."""
        ...

    def dense(self) -> Float64[ndarray, "n n"]:
        """Return the whole matrix."""
        ...
