"""Which markers are used: the genotypes called in a block, and the reasons to drop a marker."""

from dataclasses import astuple, dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError

_ROUNDING = 1e-6  # of dosages in float32
_FEW = 64  # individuals among whom most markers vary


class Called(NamedTuple):
    """The genotypes called in a block of markers, whose missing ones are now at the mean of their marker.

    Attributes:
        mean: of each marker, shape (b,).
        present: how many genotypes each has, shape (b,).
        holed: which markers have missing genotypes.
        missing: which genotypes of those, shape (n, len(holed)).
    """

    mean: Float64[ndarray, " b"]
    present: Int64[ndarray, " b"]
    holed: Int64[ndarray, " holed"]
    missing: Bool[ndarray, "n holed"]


class Unfit(NamedTuple):
    """Which markers of a block are not used, by the first reason that applies, each of shape (b,)."""

    above_missing: Bool[ndarray, " b"]
    monomorphic: Bool[ndarray, " b"]
    below_maf: Bool[ndarray, " b"]


@dataclass(frozen=True)
class MarkerCounts:
    """How many markers were read, kept and dropped, by reason; elsewhere: on chromosomes that are not used."""

    read: int = 0
    kept: int = 0
    monomorphic: int = 0
    below_maf: int = 0
    above_missing: int = 0
    elsewhere: int = 0

    @classmethod
    def of(cls, dropped: Unfit, elsewhere: int = 0) -> "MarkerCounts":
        """Count the markers of a block."""
        reasons = {name: int(lost.sum()) for name, lost in dropped._asdict().items()}
        b = len(dropped.monomorphic)
        return cls(read=b + elsewhere, kept=b - sum(reasons.values()), elsewhere=elsewhere, **reasons)

    def __add__(self, other: "MarkerCounts") -> "MarkerCounts":
        return MarkerCounts(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def line(self, *, maf: float, geno: float, left_out: str = "") -> str:
        """Say how many markers were used and dropped, and which chromosomes were left out (`left_out_words`)."""
        return (
            f"markers: {self.kept:,} of {self.read:,} used; dropped: {self.monomorphic:,} monomorphic, "
            f"{self.below_maf:,} with maf below {maf:g}, {self.above_missing:,} with more than {geno:.0%} missing"
            f"{left_out and f'; left out: {left_out}'}"
        )


def check_filters(maf: float, geno: float) -> None:
    """Refuse marker filters out of range.

    Raises:
        InputError: if maf is not in [0, 0.5), or geno not in [0, 1].
    """
    if not 0 <= maf < 0.5:
        raise InputError(f"maf must be at least 0 and below 0.5, but {maf} was given")
    if not 0 <= geno <= 1:
        raise InputError(f"geno must lie between 0 and 1, but {geno} was given")


def fill(G: Float[ndarray, "n b"]) -> Called:
    """Set missing genotypes (NaN) to the mean of their marker, in place; return what was called."""
    n = len(G)
    total = G.sum(axis=0, dtype=np.float64)
    holed = np.flatnonzero(np.isnan(total))
    missing = np.isnan(G[:, holed])
    present = np.full(G.shape[1], n)
    present[holed] -= missing.sum(axis=0)
    total[holed] = np.nansum(G[:, holed], axis=0, dtype=np.float64)
    mean = total / np.maximum(present, 1)
    for j, holes in zip(holed, missing.T, strict=True):
        G[holes, j] = mean[j]
    return Called(mean, present, holed, missing)


def unfit(G: Float[ndarray, "n b"], called: Called, *, maf: float, geno: float) -> Unfit:
    """Return which markers of a filled block are not used."""
    return unfit_by_counts(len(G), called.present, called.mean, _constant(G, called.mean), maf=maf, geno=geno)


def unfit_by_counts(
    n: int,
    present: Int64[ndarray, " b"],
    mean: Float64[ndarray, " b"],
    constant: Bool[ndarray, " b"],
    *,
    maf: float,
    geno: float,
) -> Unfit:
    """Return which markers are not used, of n individuals, by how many genotypes each has, its mean, and if it varies.

    The rest as for `unfit`.
    """
    minor = np.minimum(mean, 2 - mean) / 2  # an exact subtraction, so that both alleles count alike
    # A rate at the limit passes, however it is rounded: 15 of 300 at 0.05.
    above_missing = n - present > geno * n * (1 + 1e-12)
    monomorphic = ~above_missing & constant
    return Unfit(above_missing, monomorphic, ~above_missing & ~monomorphic & (minor < maf * (1 - 1e-12)))


def _constant(G: Float[ndarray, "n b"], mean: Float64[ndarray, " b"]) -> Bool[ndarray, " b"]:
    """Return which markers of a filled block do not vary; a constant dosage differs from its mean by rounding."""
    constant = (mean == 0) | (mean == 2)
    candidates = np.flatnonzero(~constant & (np.ptp(G[:_FEW], axis=0) < _ROUNDING))
    constant[candidates] = np.ptp(G[:, candidates], axis=0) < _ROUNDING
    return constant
