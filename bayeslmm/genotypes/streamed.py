"""Standardised markers of all individuals, a block at a time, from files that stay open from one part to the next."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.source import Reader
from bayeslmm.genotypes.subset import Subset

_BLOCK = 1 << 24  # float32 values that are held at once: 64 MB

type Transposed = tuple[Float32[ndarray, "b n"], Tally | None]
"""W' of a block of markers, and their tally if it was asked for."""


@runtime_checkable
class OpenMarkers(Protocol):
    """Markers whose files are open."""

    def transposed(self, among: range, *, counted: bool) -> Iterator[Transposed]:
        """Yield some of the markers, from the start of one block to that of another.

        A block is good until the next one is asked for.

        Args:
            among: which markers of the file.
            counted: whether their tallies are needed, which take time.

        Raises:
            InputError: as the reader of the genotypes.
        """
        ...


@runtime_checkable
class Markers(Protocol):
    """Standardised markers of all individuals; they can be sent to another process, and opened there."""

    @property
    def path(self) -> Path:
        """The file with the dosages."""
        ...

    def by_absolute_path(self) -> "Markers":
        """Return the same markers for a process that may run in another folder."""
        ...

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals in what is yielded; all where it is None."""
        ...

    def open(self) -> AbstractContextManager[OpenMarkers]:
        """Open the files, inside a block: for one thread."""
        ...


def block_of(n: int) -> int:
    """Return how many markers of n individuals are decoded at once."""
    return int(np.clip(_BLOCK // max(n, 1), 64, 4096))


@dataclass(frozen=True)
class ReadMarkers:
    """Markers that a reader of their format decodes; `Markers`."""

    blocks: MarkerBlocks

    @property
    def path(self) -> Path:
        """The file with the dosages."""
        return self.blocks.genotypes.path

    def by_absolute_path(self) -> "ReadMarkers":
        """Return the same markers for a process that may run in another folder."""
        genotypes = self.blocks.genotypes
        return ReadMarkers(replace(self.blocks, genotypes=replace(genotypes, source=_absolute(genotypes.source))))

    def places(self, rows: Int64[ndarray, " n"] | None) -> Int64[ndarray, " n"] | None:
        """Return the columns of some individuals."""
        return rows

    @contextmanager
    def open(self) -> Iterator["OpenReadMarkers"]:
        """Open the files, as their reader does."""
        with self.blocks.genotypes.reader() as reader:
            yield OpenReadMarkers(self.blocks, reader)


@dataclass(frozen=True)
class OpenReadMarkers:
    """Markers that an open reader decodes; `OpenMarkers`."""

    blocks: MarkerBlocks
    reader: Reader

    def transposed(self, among: range, *, counted: bool) -> Iterator[Transposed]:
        """Yield some of the markers; they are counted in any case."""
        for block in replace(self.blocks, among=among).read_by(self.reader):
            yield block.G.T, block.tally


def _absolute(source: Any) -> Any:
    """Return genotypes of any format by an absolute path."""
    at = replace(source, path=source.path.absolute())
    return replace(at, source=_absolute(at.source)) if isinstance(at, Subset) else at
