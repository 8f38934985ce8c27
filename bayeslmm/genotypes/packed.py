"""Genotypes of a PLINK 1 ``.bed`` as they are packed, two bits each, and their standardised values by look-up."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import reading
from bayeslmm.base.progress import progress_bar
from bayeslmm.base.threads import threads_allowed
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally, divisor
from bayeslmm.genotypes.filters import MarkerCounts, unfit_by_counts
from bayeslmm.genotypes.plink import Plink
from bayeslmm.genotypes.subset import Subset

_HEADER = 3  # bytes
_MISSING = 1  # code
_DOSAGES = np.array([2.0, np.nan, 1.0, 0.0])  # of a1, by code
_CODES = (np.arange(256, dtype=np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3  # of each byte
_FOUR_CODES = np.ascontiguousarray(_CODES).view(np.uint32)[:, 0]
_IN_BYTE = (_CODES[:, :, None] == np.arange(4)).sum(axis=1)  # how many of each code
_BLOCK = 1 << 24  # float32 values that are held at once: 64 MB

type Transposed = tuple[Float32[ndarray, "b n"], Tally]
"""W' of a block of markers, and their tally."""


class Markers(Protocol):
    """Standardised markers of all individuals, a block at a time."""

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals in what is yielded; all where it is None."""
        ...

    def transposed(self, what: str) -> Iterator[Transposed]:
        """Yield the markers in one pass over the file, with a progress bar of this name.

        A block is good until the next one is asked for.
        """
        ...


def block_of(n: int) -> int:
    """Return how many markers of n individuals are decoded at once."""
    return int(np.clip(_BLOCK // max(n, 1), 64, 4096))


@dataclass(frozen=True)
class ReadMarkers:
    """Markers that a reader of their format decodes; `Markers`."""

    blocks: MarkerBlocks

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals."""
        return rows

    def transposed(self, what: str) -> Iterator[Transposed]:
        """Yield the markers.

        Raises:
            InputError: as `MarkerBlocks.tracked`.
        """
        for block in self.blocks.tracked(what):
            yield block.G.T, block.tally


@dataclass
class PackedMarkers:
    """Markers of a ``.bed`` by look-up: frequencies are counted in the first pass, and known in those after it.

    `Markers`: yields all individuals of the file.

    Attributes:
        blocks: which markers, and how they are standardised.
        path: the ``.bed``.
        n: individuals in it.
        people: those that are used; all where it is None.
        markers: those of the file that are numbered in `blocks`; all where it is None.
    """

    blocks: MarkerBlocks
    path: Path
    n: int
    people: Int64[ndarray, " k"] | None
    markers: Int64[ndarray, " p"] | None
    _known: list[tuple[Int64[ndarray, " b"], Float32[ndarray, "b 4"], Tally]] = field(default_factory=list)
    _whole: bool = False

    @classmethod
    def of(cls, blocks: MarkerBlocks) -> "PackedMarkers | None":
        """Return the markers if they are those of a ``.bed``."""
        source = blocks.genotypes.source
        people = markers = None
        if isinstance(source, Subset):
            source, people, markers = source.source, source.rows, source.lines
        if not isinstance(source, Plink):
            return None
        return cls(blocks, source.path, len(source.ids), people, markers)

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals."""
        if self.people is None:
            return rows
        return self.people if rows is None else self.people[rows]

    def transposed(self, what: str) -> Iterator[Transposed]:
        """Yield the markers.

        Raises:
            InputError: as `MarkerBlocks.tracked`, or if the file has become shorter.
        """
        blocks, threads = self.blocks, threads_allowed()
        tally = Tally.empty(len(blocks.genotypes.ids))
        spans = [*blocks.spans()]
        # One room for all blocks: memory that is new to each would cost as much as filling it.
        most, width = max((len(lines) for lines, _ in spans), default=0), (self.n + 3) // 4
        room = np.empty((most, 4 * width), dtype=np.float32)
        with (
            progress_bar(what, total=blocks.genotypes.n_markers, unit="marker") as bar,
            reading(self.path),
            self.path.open("rb", buffering=0) as stream,
            ThreadPoolExecutor(threads) as pool,
        ):
            for number, (lines, elsewhere) in enumerate(spans):
                if self._whole:
                    kept, values, of_block = self._known[number]
                    packed = self._read(stream, lines[kept])
                else:
                    packed = self._read(stream, lines)
                    kept, values, of_block = self._counted(packed, lines, elsewhere)
                    packed = packed[kept]
                    self._known[number:] = [(kept, values, of_block)]
                yield _decoded(packed, values, room, pool, threads)[:, : self.n], of_block
                bar.update(of_block.counts.read)
                tally += of_block
        blocks.check_used(tally)
        self._whole = True

    def _read(self, stream: BinaryIO, lines: Int64[ndarray, " b"]) -> UInt8[ndarray, "b w"]:
        """Return the packed genotypes of some markers, in runs of those that are next to each other."""
        at, width = lines if self.markers is None else self.markers[lines], (self.n + 3) // 4
        packed = np.empty((len(at), width), dtype=np.uint8)
        edges = [0, *(np.flatnonzero(np.diff(at) != 1) + 1).tolist(), len(at)]
        for start, stop in pairwise(edges):
            if start == stop:
                continue
            stream.seek(_HEADER + int(at[start]) * width)
            wanted = memoryview(packed[start:stop]).cast("B")
            while wanted and (found := stream.readinto(wanted)):  # pyright: ignore[reportAttributeAccessIssue]
                wanted = wanted[found:]
            if wanted:
                raise InputError(f"{self.path} changed while it was read (it has become shorter): start again")
        return packed

    def _counted(
        self, packed: UInt8[ndarray, "b w"], lines: Int64[ndarray, " b"], elsewhere: int
    ) -> tuple[Int64[ndarray, " kept"], Float32[ndarray, "kept 4"], Tally]:
        """Return which markers pass the filters, the values of their codes, and the tally."""
        blocks = self.blocks
        of_code = self._counts(packed)
        n = int(of_code[0].sum()) if len(of_code) else 0
        present = n - of_code[:, _MISSING]
        blocks.check_called(present, lines)
        called = of_code[:, [0, 2, 3]]
        mean = called @ _DOSAGES[[0, 2, 3]] / np.maximum(present, 1)
        dropped = unfit_by_counts(n, present, mean, (called > 0).sum(axis=1) < 2, maf=blocks.maf, geno=blocks.geno)
        kept = np.flatnonzero(~np.any(dropped, axis=0))
        mean, called, f = mean[kept], called[kept], mean[kept] / 2
        values = np.where(np.isnan(_DOSAGES), 0.0, _DOSAGES - mean[:, None])
        mean_square = (called * np.square(values[:, [0, 2, 3]])).sum(axis=1) / max(n, 1)
        sd, weight = divisor(blocks.scale, f, mean_square)
        tally = Tally(MarkerCounts.of(dropped, elsewhere), weight, self._present(packed[kept]))
        return kept, (values / sd[:, None]).astype(np.float32), tally

    def _counts(self, packed: UInt8[ndarray, "b w"]) -> Int64[ndarray, "b 4"]:
        """Return how many of the people that are used have each code."""
        if not len(packed):
            return np.zeros((0, 4), dtype=np.int64)
        if self.people is not None:
            return np.array([np.bincount(self._codes(row)[self.people], minlength=4) for row in packed])
        beyond = _CODES[packed[:, -1]][:, self.n - 4 * (packed.shape[1] - 1) :]
        of_bytes = np.array([np.bincount(row, minlength=256) for row in packed])
        return of_bytes @ _IN_BYTE - (beyond[:, :, None] == np.arange(4)).sum(axis=1)

    def _present(self, packed: UInt8[ndarray, "b w"]) -> Int64[ndarray, " k"]:
        """Return how many genotypes each of the people has that are used."""
        missing = np.zeros(self.n, dtype=np.int64)
        for row in packed:
            missing += self._codes(row) == _MISSING
        return len(packed) - (missing if self.people is None else missing[self.people])

    def _codes(self, row: UInt8[ndarray, " w"]) -> UInt8[ndarray, " n"]:
        return _FOUR_CODES.take(row).view(np.uint8)[: self.n]


def _decoded(
    packed: UInt8[ndarray, "b w"],
    values: Float32[ndarray, "b 4"],
    room: Float32[ndarray, "m n4"],
    pool: ThreadPoolExecutor,
    threads: int,
) -> Float32[ndarray, "b n4"]:
    """Return the values of the codes of each marker, four for each byte, in some room for them."""
    b = len(packed)
    found = room[:b]
    # Four float32 are looked up as one number of 16 bytes.
    tables, fours = values.take(_CODES.ravel(), axis=1).view(np.complex128), found.view(np.complex128)

    def decode(rows: Sequence[int]) -> None:
        for i in rows:
            np.take(tables[i], packed[i], out=fours[i], mode="clip")

    ends = np.linspace(0, b, threads + 1).astype(int).tolist()
    for done in [pool.submit(decode, range(*span)) for span in pairwise(ends)]:
        done.result()
    return found
