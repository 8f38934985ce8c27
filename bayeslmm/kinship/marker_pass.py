"""A pass over markers in parts, which are added up in one order, whoever makes them."""

import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from bayeslmm.genotypes.blocks import Tally
from bayeslmm.genotypes.streamed import Markers, OpenMarkers

_MARKERS = 4096  # of a part, about: n x b numbers come back from each, which takes a hundredth of what it computes
_MOST = 0.5  # of the individuals: where more are taken, zeros for the others cost less than to pick them out


class Pass(NamedTuple):
    """What all parts of a pass need.

    Attributes:
        V: the columns, shape (n, b).
        places: the columns of W' that are of these individuals, shape (n,); all where it is None.
        squares: whether the sums of squares are needed.
        counted: whether the tally is.
    """

    V: Float32[ndarray, "n b"]
    places: Int64[ndarray, " n"] | None
    squares: bool
    counted: bool


class Part(NamedTuple):
    """What some of the markers add to a pass.

    Attributes:
        product: sum of W W'V, shape (n, b).
        squares: diagonal of sum of W W', shape (n,), if it was asked for.
        tally: of the markers, if it was asked for.
    """

    product: Float64[ndarray, "n b"]
    squares: Float64[ndarray, " n"] | None
    tally: Tally | None


@runtime_checkable
class Makers(Protocol):
    """Whoever makes the parts of passes."""

    def parts(self, markers: Markers, ranges: Sequence[range], of: Pass) -> Iterator[Part]:
        """Yield the parts of a pass in the order of their ranges."""
        ...

    def seconds(self, markers: Markers, among: range, of: Pass) -> float:
        """Return how long a part takes, divided by how many are made at a time."""
        ...

    @property
    def on_this_machine(self) -> int:
        """How many processes take memory of this machine, this one among them."""
        ...


class ThisProcess:
    """Makes one part after another; `Makers`."""

    on_this_machine = 1

    def parts(self, markers: Markers, ranges: Sequence[range], of: Pass) -> Iterator[Part]:
        """Yield the parts of a pass."""
        with markers.open() as opened:
            for among in ranges:
                yield part(opened, among, of)

    def seconds(self, markers: Markers, among: range, of: Pass) -> float:
        """Return how long a part takes."""
        with markers.open() as opened:
            return seconds_of(opened, among, of)


def ranges_of(markers: range, block: int) -> list[range]:
    """Return the markers of each part: so many whole blocks that their number is near 4,096.

    Args:
        markers: all of the pass.
        block: how many are decoded at once.
    """
    size = block * max(1, round(_MARKERS / block))
    return [markers[start : start + size] for start in range(0, len(markers), size)]


def seconds_of(opened: OpenMarkers, among: range, of: Pass) -> float:
    """Return how long a part takes when it is made again: the first time its markers are counted."""
    _ = part(opened, among, of)
    begun = time.perf_counter()
    _ = part(opened, among, of)
    return time.perf_counter() - begun


def part(opened: OpenMarkers, among: range, of: Pass) -> Part:
    """Return what some of the markers add to a pass: in float32, as parts are added up in float64."""
    V, places, padded, tally = of.V, of.places, None, None
    total = np.zeros(V.shape[::-1], dtype=np.float32)  # as products come: to add them in float64 took a fifth of a pass
    squares = np.zeros(len(V)) if of.squares else None
    for block, of_block in opened.transposed(among, counted=of.counted):
        W = block
        if places is not None and len(places) <= _MOST * block.shape[1]:
            W = block[:, places]
        elif places is not None and padded is None:
            padded = np.zeros((block.shape[1], V.shape[1]), dtype=np.float32)
            padded[places] = V
        # Transposed it is a third faster: W is read along its rows.
        product = (W @ (V if padded is None else padded)).T @ W
        total += product if padded is None else product[:, places]
        if squares is not None:
            of_each = np.einsum("ij,ij->j", W, W)
            squares += of_each if padded is None else of_each[places]
        if of.counted and of_block is not None:
            tally = of_block if tally is None else tally + of_block
    return Part(total.T.astype(float), squares, tally)
