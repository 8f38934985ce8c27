"""The kinship of anybody with the individuals analysed, on the scale and the centring of theirs."""

import warnings
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.ids import Individuals
from bayeslmm.base.memory import check_memory
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.matching import match_markers
from bayeslmm.kinship.kinship import Kinship


class Others(NamedTuple):
    """N individuals who may have no record, and those analysed.

    Attributes:
        who: they are.
        K: their kinship with those analysed, shape (N, n).
        diagonal: of their own, shape (N,).
    """

    who: Individuals
    K: Float64[ndarray, "N n"]
    diagonal: Float64[ndarray, " N"]

    def changed(self, analysed: Float[ndarray, "n n"], *, centred: bool, divisor: float) -> "Others":
        """Return what centring and scaling by the individuals analysed makes of these kinships.

        Args:
            analysed: K of those, before.
            centred: take the mean of those analysed from everybody's markers.
            divisor: of everything, such as `mean_diagonal`.
        """
        K, diagonal = self.K, self.diagonal
        if centred:
            with_all, mean = K.mean(axis=1), analysed.mean(axis=0)
            K = K - with_all[:, None] - mean + mean.mean()
            diagonal = diagonal - 2 * with_all + mean.mean()
        return Others(self.who, K / divisor, diagonal / divisor)


def mean_diagonal(analysed: Float[ndarray, "n n"], *, centred: bool) -> float:
    """Return the mean diagonal of K, or of J K J."""
    return float(np.diag(analysed).mean() - (analysed.mean() if centred else 0.0))


def everybody(kinship: Kinship, rows: Int64[ndarray, " n"]) -> Others:
    """Return the kinship of everybody with those in some rows."""
    families = kinship.families or ("0",) * len(kinship.ids)
    return Others(Individuals(families, kinship.ids), kinship.dense()[:, rows], kinship.diagonal())


def new_individuals(
    kinship: Kinship, genotypes: Genotypes, rows: Int64[ndarray, " n"], new: Genotypes
) -> tuple[Others, dict[str, int]]:
    """Return the kinship of genotyped individuals with those analysed, as if they had been there.

    Markers are standardised with the frequencies of the individuals of ``kinship``, and missing genotypes are at their
    means. Markers that the new file does not have are so for everybody: what is predicted is then the part of the
    breeding value that the others make.

    Args:
        kinship: of `genomic_kinship`.
        genotypes: of which it was made.
        rows: of those analysed, among these genotypes.
        new: genotypes of the others, whatever the order of markers and alleles.

    Returns:
        The others, and how many markers of the kinship there are (``markers``), are not in the new file (``absent``),
        and are counted by their other allele there (``swapped``).

    Raises:
        InputError: if K was not computed from genotypes on a scale; as `match_markers`; or if somebody has no genotype.
    """
    details = kinship.details
    if not {"scale", "weight"} <= set(details):
        raise InputError(f"{kinship.source}: new genotypes need a kinship that was computed from genotypes")
    n, N = len(rows), len(new.ids)
    check_memory(
        12.0 * n * N,
        what=f"{new.path}: the kinship of {N:,} individuals with {n:,}",
        instead="predict fewer at once, or use a machine with more memory",
    )
    matched = match_markers(genotypes.variants, new, where=str(genotypes.path))
    K, diagonal, called = np.zeros((N, n)), np.zeros(N), np.zeros(N, dtype=np.int64)
    counts = {"markers": 0, "absent": 0, "swapped": 0}
    blocks = MarkerBlocks(genotypes, details["scale"], details["maf"], details["geno"])
    with new.reader() as reader:
        for block in blocks.tracked("new genotypes", rows):
            W = (matched.dosages(reader, block.lines, N) - 2 * block.af) / block.sd
            called += np.isfinite(W).sum(axis=1)
            W = np.nan_to_num(W, copy=False).astype(np.float32)
            K += W @ block.G.T
            diagonal += np.square(W, dtype=np.float64).sum(axis=1)
            counts["markers"] += len(block.lines)
            counts["absent"] += int((matched.line[block.lines] < 0).sum())
            counts["swapped"] += int(matched.swapped[block.lines].sum())
    if (empty := int((called == 0).sum())) > 0:
        raise InputError(f"{new.path}: {empty} individuals have no genotype at any marker of the kinship: remove them")
    if counts["absent"]:
        warnings.warn(
            f"{new.path}: {counts['absent']:,} of {counts['markers']:,} markers of the kinship are not in it, and "
            "count as their mean: predictions are of what the others explain",
            InputWarning,
            stacklevel=2,
        )
    who = Individuals(tuple(new.families) or ("0",) * N, tuple(new.ids))
    return Others(who, K / details["weight"], diagonal / details["weight"]), counts
