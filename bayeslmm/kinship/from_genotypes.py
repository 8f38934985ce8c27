"""The kinship matrix of genotypes, that of dominance, and that of all markers but some."""

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Float64
from numpy import ndarray
from scipy.linalg.blas import ssyrk

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.base.memory import check_memory
from bayeslmm.genotypes.blocks import Block, MarkerBlocks, Tally
from bayeslmm.genotypes.dominance import DominanceBlocks
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.kinship.kinship import Kinship

_LITTLE = 0.05  # share of the markers below which they are summed again instead of subtracting all others


def genomic_kinship(
    genotypes: str | Path | Genotypes, *, scale: str = SCALE, maf: float = MAF, geno: float = GENO
) -> Kinship:
    """Compute K = W W' / p from genotypes, streaming the markers.

    Memory is O(n^2 + n * block), whatever p. Products run in float32 within a block of markers and are added up
    in float64 across blocks.

    Args:
        genotypes: opened; or the path of files (see `open_genotypes`), whose autosomes are used.
        scale: "hwe" divides each marker by sqrt(2 f (1 - f)), "sample" by its sample sd, "vanraden" divides the
            sum over markers by sum 2 f (1 - f). All have a mean diagonal near 1 in an outbred population.
        maf: keep markers whose minor allele frequency is at least this.
        geno: keep markers whose missing rate is at most this.

    Raises:
        InputError: unreadable files, no marker left, or individuals without genotypes.

    Source: Yang et al. (2011), doi:10.1016/j.ajhg.2010.11.011, equation 3; VanRaden (2008),
    doi:10.3168/jds.2007-0980, method 1.
    """
    genotypes = genotypes if isinstance(genotypes, Genotypes) else open_genotypes(genotypes)
    return _of_blocks(MarkerBlocks(genotypes, scale=scale, maf=maf, geno=geno), "kinship", {"scale": scale})


def dominance_kinship(genotypes: str | Path | Genotypes, *, maf: float = MAF, geno: float = GENO) -> Kinship:
    """Compute the relationships of dominance deviations, K = W W' / p with the codes of `DominanceBlocks`.

    Markers are streamed as by `genomic_kinship`; a missing genotype is at the mean. The mean diagonal is near 1 where
    genotypes are in Hardy-Weinberg proportions, and less among the inbred.

    Args:
        genotypes: called, not dosages; as for `genomic_kinship`.
        maf: keep markers whose minor allele frequency is at least this.
        geno: keep markers whose missing rate is at most this.

    Raises:
        InputError: as `genomic_kinship`; or for a genotype that is not called.

    Source: Zhu et al. (2015), doi:10.1016/j.ajhg.2015.01.001 (GCTA --make-grm-d).
    """
    genotypes = genotypes if isinstance(genotypes, Genotypes) else open_genotypes(genotypes)
    return _of_blocks(DominanceBlocks(genotypes, maf=maf, geno=geno), "dominance", {"coding": "dominance"})


def _of_blocks(blocks: MarkerBlocks, what: str, coding: dict[str, str]) -> Kinship:
    """Return the kinship of a pass over markers."""
    genotypes, n = blocks.genotypes, len(blocks.genotypes.ids)
    check_memory(
        12.0 * n**2,
        what=f"{genotypes.path}: the {what} of {n:,} individuals",
        instead="use a machine with more memory, or genotypes of only the individuals analysed",
    )
    K, tally = _products(blocks.tracked(what), n, n)
    K /= tally.weight
    details = coding | {
        "maf": blocks.maf,
        "geno": blocks.geno,
        "weight": tally.weight,
        "markers": asdict(tally.counts),
        "left_out": genotypes.left_out,
        "selection": list(genotypes.said),
    }
    return Kinship(genotypes.ids, K, genotypes.name, details, genotypes.families)


def without(kinship: Kinship, genotypes: Genotypes, left_out: range) -> Kinship:
    """Return the kinship of all markers but some, by subtracting what these added to it.

    Args:
        kinship: of `genomic_kinship`, from the same genotypes, of all individuals or of some.
        genotypes: opened.
        left_out: the markers to leave out, by number.

    Raises:
        InputError: if no other marker is left.

    Source: Listgarten et al. (2012), doi:10.1038/nmeth.2037, for why a marker should not be in its own K.
    """
    details, p = kinship.details, genotypes.n_markers

    def blocks_of(among: range) -> MarkerBlocks:
        return MarkerBlocks(genotypes, details["scale"], details["maf"], details["geno"], among=among)

    n, everything = len(kinship.ids), details["weight"]
    rows = None if kinship.ids == genotypes.ids else genotypes.rows(kinship.ids)
    K, tally = _products(blocks_of(left_out).blocks(rows), n, len(genotypes.ids))
    if tally.counts.kept == details["markers"]["kept"]:
        raise InputError(
            f"{genotypes.path}: all markers used are on one chromosome, so that no kinship is left without it: test "
            "against the kinship of all markers"
        )
    weight = everything - tally.weight
    if weight > _LITTLE * everything:
        np.subtract(everything * kinship.K, K, out=K)
    else:  # a difference would be mostly rounding
        rest = [blocks_of(span) for span in (range(left_out.start), range(left_out.stop, p)) if span]
        K = sum((_products(blocks.blocks(rows), n, len(genotypes.ids))[0] for blocks in rest), start=np.zeros_like(K))
    K /= weight
    return replace(kinship, K=K, details=details | {"weight": weight})


def _products(blocks: Iterable[Block], n: int, everybody: int) -> tuple[Float64[ndarray, "n n"], Tally]:
    """Return the sum of W W' over blocks of markers of n individuals, and their tally, which is of everybody."""
    tally = Tally.empty(everybody)
    total = np.zeros((n, n), order="F")
    product = np.zeros((n, n), dtype=np.float32, order="F")
    for block in blocks:
        add_product(total, block.G, product)
        tally += block.tally
    del product
    mirror_lower(total)
    return total, tally


def add_product(total: Float64[ndarray, "n n"], W: Float32[ndarray, "n b"], scratch: Float32[ndarray, "n n"]) -> None:
    """Add the lower triangle of W W' in place, by slabs of columns: the upper one is empty.

    Args:
        total: column-major.
        W: column-major.
        scratch: for W W', column-major.
    """
    product = ssyrk(1.0, W, lower=1, beta=0.0, c=scratch, overwrite_c=1)
    for start in range(0, len(total), 256):
        slab = (slice(start, None), slice(start, start + 256))
        total[slab] += product[slab]


def mirror_lower(K: ndarray) -> None:
    """Copy the lower triangle onto the upper one, in place, by blocks (no n x n index array)."""
    for start in range(0, len(K), 512):
        stop = min(start + 512, len(K))
        corner = K[start:stop, start:stop]
        corner[:] = np.tril(corner) + np.tril(corner, -1).T
        K[start:stop, stop:] = K[stop:, start:stop].T
