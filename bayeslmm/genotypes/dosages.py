"""The markers to test: their dosages among the people analysed, a block at a time."""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.defaults import GENO, MAF
from bayeslmm.genotypes.filters import MarkerCounts, check_filters, fill, unfit
from bayeslmm.genotypes.plink import Genotypes


class DosageBlock(NamedTuple):
    """Markers of a block that pass the filters among the people analysed.

    Attributes:
        lines: their lines in the .bim, from 0, shape (b,).
        G: dosages of a1 less their mean, missing ones 0, shape (n, b).
        af: frequency of a1, shape (b,).
        n_miss: people without a genotype, shape (b,).
        counts: markers of the block kept and dropped.
    """

    lines: Int64[ndarray, " b"]
    G: Float64[ndarray, "n b"]
    af: Float64[ndarray, " b"]
    n_miss: Int64[ndarray, " b"]
    counts: MarkerCounts


def dosages(
    genotypes: Genotypes,
    rows: Int64[ndarray, " n"],
    blocks: Iterable[Sequence[int]],
    *,
    maf: float = MAF,
    geno: float = GENO,
) -> Iterator[DosageBlock]:
    """Yield the dosages of some people, a block of markers at a time.

    Args:
        genotypes: the fileset.
        rows: which of its people, shape (n,).
        blocks: lines of the .bim, from 0.
        maf: keep markers whose minor allele frequency among these people is at least this.
        geno: keep markers whose missing rate among them is at most this.
    """
    check_filters(maf, geno)
    with genotypes.reader() as bed:
        for lines in blocks:
            G = bed.read((rows, list(lines)), "float64")
            called, counts = fill(G), MarkerCounts()
            keep = counts.add(unfit(G, called, maf=maf, geno=geno))
            G -= called.mean
            yield DosageBlock(
                lines=np.array(lines)[keep],
                G=G if keep.all() else np.asfortranarray(G[:, keep]),
                af=called.mean[keep] / 2,
                n_miss=len(rows) - called.present[keep],
                counts=counts,
            )
