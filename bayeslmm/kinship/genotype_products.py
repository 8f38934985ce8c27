"""The kinship of genotypes as something that multiplies: streamed from the file, never held."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.base.progress import progress_bar
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.genotypes.packed import PackedMarkers
from bayeslmm.genotypes.streamed import ReadMarkers, block_of
from bayeslmm.kinship.marker_pass import Makers, Pass, ThisProcess, ranges_of
from bayeslmm.kinship.products import Products, taken


class GenotypeProducts(Products):
    """K = W W' / p; K V = sum of W (W' V) / p over blocks of markers, in one pass over the file.

    Products run in float32 within a part of the file, some 4,096 markers, and are added up in float64 across parts,
    which this process makes or others. Memory is O(n (block + b)), whatever p. Markers are standardised among all
    individuals of the file, whichever are taken.
    """

    def __init__(self, blocks: MarkerBlocks, makers: Makers | None = None) -> None:
        genotypes = blocks.genotypes
        super().__init__(genotypes.ids, genotypes.name, genotypes.families)
        self.blocks = replace(blocks, block=min(blocks.block, block_of(len(self.ids))))
        self._markers = PackedMarkers.of(self.blocks) or ReadMarkers(self.blocks)
        self._makers = makers or ThisProcess()
        self._rows: Int64[ndarray, " n"] | None = None
        self._tallies: list[Tally] = []  # that of a pass: the same for all that are taken
        self._diagonal: Float64[ndarray, " n"] | None = None

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        """As those of `genomic_kinship`."""
        if not self._tallies:
            self.diagonal()
        blocks, genotypes, tally = self.blocks, self.blocks.genotypes, self._tallies[0]
        return {
            "scale": blocks.scale,
            "maf": blocks.maf,
            "geno": blocks.geno,
            "weight": tally.weight,
            "markers": asdict(tally.counts),
            "left_out": genotypes.left_out,
            "selection": list(genotypes.said),
        }

    @override
    def diagonal(self) -> Float64[ndarray, " n"]:
        """Return the diagonal; it takes a pass, unless there was one."""
        if self._diagonal is None:
            _ = self @ np.zeros((len(self.ids), 0))
        assert self._diagonal is not None
        return self._diagonal

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        n, b = V.shape
        first = not self._tallies
        of = Pass(V.astype(np.float32), self._markers.places(self._rows), self._diagonal is None, counted=first)
        ranges = ranges_of(self.blocks.span, self.blocks.block)
        total, squares, tally = np.zeros((n, b)), np.zeros(n), Tally.empty(len(self.blocks.genotypes.ids))
        with progress_bar("products", total=len(self.blocks.span), unit="marker") as bar:
            for among, part in zip(ranges, self._makers.parts(self._markers, ranges, of), strict=True):
                total += part.product
                squares += 0.0 if part.squares is None else part.squares
                tally = tally if part.tally is None else tally + part.tally
                bar.update(len(among))
        if first:
            self.blocks.check_used(tally)
            self._tallies[:] = [tally]
        weight = self._tallies[0].weight
        if self._diagonal is None:
            self._diagonal = squares / weight
        return total / weight

    @override
    def seconds(self, columns: int) -> float:
        """As `Products.seconds`, of one block of markers."""
        span, block = self.blocks.span, self.blocks.span[: self.blocks.block]
        V = np.ones((len(self.blocks.genotypes.ids), columns), dtype=np.float32)
        of = Pass(V, self._markers.places(None), squares=False, counted=False)
        return self._makers.seconds(self._markers, block, of) * len(span) / len(block)

    @override
    def working_bytes(self, columns: int) -> float:
        n = len(self.blocks.genotypes.ids)
        return 4.0 * n * (2.5 * self.blocks.block + 5 * columns) * self._makers.on_this_machine

    def by(self, makers: Makers) -> "GenotypeProducts":
        """Return the same kinship, of the same individuals, whose passes others make."""
        whole = GenotypeProducts(self.blocks, makers)
        return whole if self._rows is None else whole.take(self._rows)

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "GenotypeProducts":
        at = np.asarray(rows, dtype=np.int64)
        part = GenotypeProducts.__new__(GenotypeProducts)
        Products.__init__(part, *taken(self, at))
        part.blocks, part._markers, part._tallies = self.blocks, self._markers, self._tallies
        part._makers = self._makers
        part._rows = at if self._rows is None else self._rows[at]
        part._diagonal = None if self._diagonal is None else self._diagonal[at]
        return part


def genotype_products(
    genotypes: str | Path | Genotypes, *, scale: str = SCALE, maf: float = MAF, geno: float = GENO
) -> GenotypeProducts:
    """Return the kinship of `genomic_kinship` as something that multiplies, for more people than a matrix has room for.

    Args:
        genotypes: opened; or the path of files (see `open_genotypes`), whose autosomes are used.
        scale: as in `genomic_kinship`.
        maf: keep markers whose minor allele frequency is at least this.
        geno: keep markers whose missing rate is at most this.

    Raises:
        InputError: unreadable files, or filters out of range.
    """
    opened = genotypes if isinstance(genotypes, Genotypes) else open_genotypes(genotypes)
    return GenotypeProducts(MarkerBlocks(opened, scale=scale, maf=maf, geno=geno))
