"""Genotypes of a PLINK 1 ``.bed`` as they are packed, two bits each, and their standardised values by look-up."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import reading
from bayeslmm.base.threads import threads_allowed
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally, divisor
from bayeslmm.genotypes.filters import MarkerCounts, unfit_by_counts
from bayeslmm.genotypes.plink import Plink
from bayeslmm.genotypes.streamed import Transposed
from bayeslmm.genotypes.subset import Subset

_HEADER = 3  # bytes
_MISSING = 1  # code
_DOSAGES = np.array([2.0, np.nan, 1.0, 0.0])  # of a1, by code
_CODES = (np.arange(256, dtype=np.uint8)[:, None] >> np.arange(0, 8, 2, dtype=np.uint8)) & 3  # of each byte
_FOUR_CODES = np.ascontiguousarray(_CODES).view(np.uint32)[:, 0]
_IN_BYTE = (_CODES[:, :, None] == np.arange(4)).sum(axis=1)  # how many of each code


@dataclass
class PackedMarkers:
    """Markers of a ``.bed`` by look-up: frequencies are counted the first time, and known from then on.

    `Markers`: of all individuals of the file.

    Attributes:
        blocks: which markers, and how they are standardised; their names are left out.
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
    _known: dict[range, tuple[Int64[ndarray, " b"], Float32[ndarray, "b 4"]]] = field(default_factory=dict)

    @classmethod
    def of(cls, blocks: MarkerBlocks) -> "PackedMarkers | None":
        """Return the markers if they are those of a ``.bed``."""
        genotypes = blocks.genotypes
        source, people, markers = genotypes.source, None, None
        if isinstance(source, Subset):
            source, people, markers = source.source, source.rows, source.lines
        if not isinstance(source, Plink):
            return None
        # The names of millions of markers would go to all processes that these are sent to.
        nameless = Plink(source.path, genotypes.ids, genotypes.families, genotypes.variants[[]])
        blocks = replace(blocks, genotypes=replace(genotypes, source=nameless))
        return cls(blocks, source.path, len(source.ids), people, markers)

    def by_absolute_path(self) -> "PackedMarkers":
        """Return the same markers for a process that may run in another folder."""
        return replace(self, path=self.path.absolute())

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals."""
        if self.people is None:
            return rows
        return self.people if rows is None else self.people[rows]

    @contextmanager
    def open(self) -> Iterator["OpenPackedMarkers"]:
        """Open the ``.bed``."""
        threads, width = threads_allowed(), (self.n + 3) // 4
        # One room for all blocks: memory that is new to each would cost as much as filling it.
        room = np.empty((self.blocks.block, 4 * width), dtype=np.float32)
        with (
            reading(self.path),
            self.path.open("rb", buffering=0) as stream,
            ThreadPoolExecutor(threads) as pool,
        ):
            yield OpenPackedMarkers(self, stream, room, pool, threads)

    def block(
        self, stream: BinaryIO, within: range, lines: Int64[ndarray, " b"], elsewhere: int, *, counted: bool
    ) -> tuple[UInt8[ndarray, "kept w"], Float32[ndarray, "kept 4"], Tally | None]:
        """Return the markers of a block that pass the filters, the values of their codes, and their tally if asked for.

        Args:
            stream: of the ``.bed``.
            within: the block.
            lines: those of its markers that are used.
            elsewhere: how many are not.
            counted: whether the tally is needed.
        """
        if within in self._known and not counted:
            kept, values = self._known[within]
            return self._read(stream, kept), values, None
        packed = self._read(stream, lines)
        kept, values, counts, weight = self._counted(packed, lines, elsewhere)
        packed = packed[kept]
        self._known[within] = (lines[kept], values)
        return packed, values, Tally(counts, weight, self._present(packed)) if counted else None

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
    ) -> tuple[Int64[ndarray, " kept"], Float32[ndarray, "kept 4"], MarkerCounts, float]:
        """Return which markers pass the filters, the values of their codes, how many were dropped, and the weight."""
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
        return kept, (values / sd[:, None]).astype(np.float32), MarkerCounts.of(dropped, elsewhere), weight

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


@dataclass(frozen=True)
class OpenPackedMarkers:
    """Markers of an open ``.bed``; `OpenMarkers`."""

    markers: PackedMarkers
    stream: BinaryIO
    room: Float32[ndarray, "m n4"]
    pool: ThreadPoolExecutor
    threads: int

    def transposed(self, among: range, *, counted: bool) -> Iterator[Transposed]:
        """Yield some of the markers.

        Raises:
            InputError: if the file has become shorter, or geno is 1 and a marker has no genotype.
        """
        markers = self.markers
        blocks = replace(markers.blocks, among=among)
        for number, (lines, elsewhere) in enumerate(blocks.spans()):
            within = among[number * blocks.block : (number + 1) * blocks.block]
            packed, values, tally = markers.block(self.stream, within, lines, elsewhere, counted=counted)
            yield _decoded(packed, values, self.room, self.pool, self.threads)[:, : markers.n], tally


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
