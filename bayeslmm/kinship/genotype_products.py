"""The kinship of genotypes as something that multiplies: streamed from the file, never held."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.kinship.products import Products


class GenotypeProducts(Products):
    """K = W W' / p; K V = sum of W (W' V) / p over blocks of markers, in one pass over the file.

    Products run in float32 within a block of markers and are added up in float64 across blocks. Memory is O(n (block +
    b)), whatever p. Markers are standardised among all individuals of the file, whichever are taken.
    """

    def __init__(self, blocks: MarkerBlocks, rows: Int64[ndarray, " n"] | None = None) -> None:
        everybody, genotypes = blocks.genotypes.ids, blocks.genotypes
        super().__init__(everybody if rows is None else [everybody[i] for i in rows], genotypes.name)
        self.blocks, self._rows = blocks, rows
        self._seen: tuple[Float64[ndarray, " n"], Tally] | None = None  # the diagonal, and what was counted

    @property
    @override
    def details(self) -> Mapping[str, Any]:
        """As those of `genomic_kinship`."""
        _, tally = self._first_pass()
        blocks, genotypes = self.blocks, self.blocks.genotypes
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
        return self._first_pass()[0]

    @override
    def __matmul__(self, V: Float64[ndarray, "n b"]) -> Float64[ndarray, "n b"]:
        n, b = V.shape
        total, diagonal, tally = np.zeros((n, b)), np.zeros(n), Tally.empty(len(self.blocks.genotypes.ids))
        narrow = V.astype(np.float32)
        for block in self.blocks.tracked("products", self._rows):
            W = block.G
            total += W @ (W.T @ narrow)
            if self._seen is None:
                diagonal += np.einsum("ij,ij->i", W, W)
            tally += block.tally
        if self._seen is None:
            self._seen = diagonal / tally.weight, tally
        return total / tally.weight

    @override
    def take(self, rows: Sequence[int] | Int64[ndarray, " m"]) -> "GenotypeProducts":
        at = np.asarray(rows, dtype=np.int64)
        taken = GenotypeProducts(self.blocks, at if self._rows is None else self._rows[at])
        if self._seen is not None:
            taken._seen = self._seen[0][at], self._seen[1]
        return taken

    def _first_pass(self) -> tuple[Float64[ndarray, " n"], Tally]:
        if self._seen is None:
            _ = self @ np.zeros((len(self.ids), 0))
        assert self._seen is not None
        return self._seen


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
