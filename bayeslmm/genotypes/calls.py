"""Alleles that were called, as VCF has them, and dosages beside them: the dosage of one allele."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError

_MISSING, _NO_ALLELE = -1, -2  # the second allele of a haploid call is none
_ROUNDING = 1e-3  # of dosages that were written with few decimals


class Dosages(NamedTuple):
    """Dosages of one allele of each marker, NaN where they are missing, and how many half calls are among those.

    The half calls of a record are counted with its first alternate allele.
    """

    G: Float32[ndarray, "b n"]
    half_calls: int


def dosages_of(
    allele: Int64[ndarray, " b"],
    calls: Int[ndarray, "b n ploidy"] | None,
    dosages: Float[ndarray, "b n alternates"] | None,
) -> Dosages:
    """Return the dosages of alleles, between 0 and 2, as plink2 takes them from a VCF.

    A haploid call counts twice, and so does a dosage beside it. Half calls (``0/.``) are missing. Where a dosage is
    missing the call is taken.

    Args:
        allele: which allele of each marker is counted, from 1.
        calls: numbers of alleles, -1 where missing, -2 for none; ploidy is 1 or 2.
        dosages: of all alternate alleles.
    """
    if calls is None:
        assert dosages is not None
        return Dosages(_of_allele(dosages, allele), 0)
    first = np.ascontiguousarray(calls[..., 0])
    second = np.ascontiguousarray(calls[..., 1]) if calls.shape[-1] == 2 else np.full_like(first, _NO_ALLELE)
    counted = allele[:, None].astype(calls.dtype)
    G = np.add(first == counted, second == counted, dtype=np.int8).astype(np.float32)
    haploid = second == _NO_ALLELE
    if any_haploid := haploid.any():
        G[haploid] *= 2
    lacks = (first < 0) | (second == _MISSING)
    G[lacks] = np.nan
    if dosages is not None:
        D = _of_allele(dosages, allele)
        if any_haploid:
            D[haploid] *= 2
        known = ~np.isnan(D)
        np.copyto(G, D, where=known)
        lacks &= ~known
    half = lacks & ((first >= 0) | (second >= 0))
    return Dosages(G, int(half.sum(axis=1)[allele == 1].sum()))


def check_calls(
    calls: Int[ndarray, "b n ploidy"] | None,
    dosages: Float[ndarray, "b n alternates"] | None,
    *,
    alternates: int,
    where: str,
) -> None:
    """Refuse numbers that are no alleles, and dosages that are none.

    Args:
        calls: as for `dosages_of`.
        dosages: as for `dosages_of`.
        alternates: how many alternate alleles there are.
        where: file and records, for messages.

    Raises:
        InputError: with the number that was found.
    """
    if calls is not None and calls.size:
        least, most = int(calls.min()), int(calls.max())
        if least < _NO_ALLELE or most > alternates:
            number = least if least < _NO_ALLELE else most
            raise InputError(
                f"{where}: an allele has the number {number}, but there are {1 + alternates}: copy it again"
            )
    if dosages is not None:
        wrong = (dosages < -_ROUNDING) | (dosages > 2 + _ROUNDING)  # False where missing
        if wrong.any():
            raise InputError(
                f"{where}: dosages must lie between 0 and 2, but {dosages[wrong][0]:g} was found: write them again"
            )


def _of_allele(dosages: Float[ndarray, "b n alternates"], allele: Int64[ndarray, " b"]) -> Float32[ndarray, "b n"]:
    return np.take_along_axis(dosages, allele[:, None, None] - 1, axis=2)[..., 0].astype(np.float32)
