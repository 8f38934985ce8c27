"""Markers of one file found in another: by name and alleles, whichever of the two is counted."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.source import Reader

_UNKNOWN = ("0", ".")
"""What stands for the allele that nobody has, in files of PLINK."""
_COMPLEMENT = str.maketrans("ACGT", "TGCA")


class Matched(NamedTuple):
    """Where some markers are in a file of genotypes, shapes (p,).

    Attributes:
        line: of each marker in that file, -1 for those that are not in it.
        swapped: whether the file counts the other allele.
    """

    line: Int64[ndarray, " p"]
    swapped: Bool[ndarray, " p"]

    def dosages(self, reader: Reader, which: Int64[ndarray, " b"], n: int) -> Float[ndarray, "n b"]:
        """Return the dosages of a1 of some of the markers; NaN where one is missing, or the file lacks the marker.

        Args:
            reader: of the file.
            which: of the markers that were matched.
            n: individuals in the file.
        """
        G = np.full((n, len(which)), np.nan)
        there = np.flatnonzero(self.line[which] >= 0)
        there = there[np.argsort(self.line[which[there]])]  # in the order of the file
        if there.size:
            read = reader.read(None, self.line[which[there]], "float64")
            G[:, there] = np.where(self.swapped[which[there]], 2 - read, read)
        return G


def match_markers(variants: pd.DataFrame, genotypes: Genotypes, *, where: str) -> Matched:
    """Find markers in a file of genotypes, whatever the order of its markers and alleles.

    Args:
        variants: snp, a1 and a0 of each marker.
        genotypes: the file.
        where: the source of the markers, for messages.

    Raises:
        InputError: if marker names repeat, none of the markers is there, or one has other alleles.
    """
    there = genotypes.variants
    for name, table in ((where, variants["snp"]), (str(genotypes.path), there["snp"])):
        if table.duplicated().any():
            raise InputError(f"{name}: markers are matched by name, but {examples(table[table.duplicated()])} repeat")
    line = pd.Index(there["snp"]).get_indexer(pd.Index(variants["snp"])).astype(np.int64)
    found = line >= 0
    if not found.any():
        raise InputError(f"{genotypes.path}: none of the {len(variants):,} markers of {where} is in it")
    ours = variants.loc[found, ["a1", "a0"]].to_numpy(str).T
    theirs = there[["a1", "a0"]].to_numpy(str)[line[found]].T
    same, swapped = _alike(ours, theirs), _alike(ours, theirs[::-1])
    if not (same | swapped).all():
        wrong = variants.loc[found, "snp"].to_numpy()[~(same | swapped)]
        turned = np.array([[allele.translate(_COMPLEMENT) for allele in alleles] for alleles in theirs])
        strand = (_alike(ours, turned) | _alike(ours, turned[::-1]))[~(same | swapped)].all()
        advice = "they are those of the other strand: flip them (plink --flip)" if strand else "leave them out"
        raise InputError(
            f"{genotypes.path}: {len(wrong)} markers have other alleles than in {where} ({examples(wrong)}): {advice}"
        )
    turn = np.zeros(len(line), dtype=bool)
    turn[found] = ~same
    return Matched(line, turn)


def _alike(ours: ndarray, theirs: ndarray) -> Bool[ndarray, " p"]:
    """Return whether pairs of alleles are the same in this order, but for one of each that is not known."""
    unknown = np.isin(theirs, _UNKNOWN) | np.isin(ours, _UNKNOWN)
    return ((ours == theirs) | unknown).all(axis=0) & ~unknown.all(axis=0)
