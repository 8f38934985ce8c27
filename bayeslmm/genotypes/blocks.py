"""Markers as blocks of standardised columns, streamed from the file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.base.progress import progress_bar
from bayeslmm.genotypes.chromosomes import left_out_words
from bayeslmm.genotypes.filters import MarkerCounts, check_filters, fill, unfit
from bayeslmm.genotypes.plink import Genotypes

SCALES = ("hwe", "sample", "vanraden")
BLOCK = 4096


@dataclass
class MarkerBlocks:
    """Iterate over the standardised markers of a fileset, a block at a time; then read the counts of this pass.

    Each block is W or Z of shape (n, at most `BLOCK`), float32, column-major, filtered, missing genotypes at the
    marker's mean. ``scale`` sets the divisor of each column: "hwe" sqrt(2 f (1 - f)) (Yang et al. 2011,
    doi:10.1016/j.ajhg.2010.11.011), "sample" the sample sd after imputation (GEMMA -gk 2), "vanraden" 1.

    Attributes:
        counts: markers read, kept and dropped so far in this pass.
        weight: the divisor of sum W W' so far: markers kept, or sum 2 f (1 - f) for "vanraden"
            (VanRaden 2008, doi:10.3168/jds.2007-0980, method 1).
        called: genotypes present per individual, over the kept markers, shape (n,).
        lines: of the last block, which markers of the file its columns are, from 0, shape (kept,).
        af: of the last block, the frequency of a1, shape (kept,).
        sd: of the last block, the divisor of each column, shape (kept,).
        among: which markers of the file are looked at, a range of their numbers; all by default.
    """

    genotypes: Genotypes
    scale: str = SCALE
    maf: float = MAF
    geno: float = GENO
    block: int = BLOCK
    among: range | None = None
    counts: MarkerCounts = field(init=False)
    weight: float = field(init=False)
    called: Int64[ndarray, " n"] = field(init=False)
    lines: Int64[ndarray, " kept"] = field(init=False)
    af: Float64[ndarray, " kept"] = field(init=False)
    sd: Float64[ndarray, " kept"] = field(init=False)

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale must be one of {', '.join(SCALES)}, but {self.scale!r} was given")
        check_filters(self.maf, self.geno)
        self._restart()

    def _restart(self) -> None:
        self.counts, self.weight = MarkerCounts(), 0.0
        self.called = np.zeros(len(self.genotypes.ids), dtype=np.int64)

    def __iter__(self) -> Iterator[Float32[ndarray, "n block"]]:
        self._restart()
        among = self.among or range(self.genotypes.n_markers)
        with self.genotypes.reader() as bed:
            for start in range(among.start, among.stop, self.block):
                stop = min(start + self.block, among.stop)
                lines = start + np.flatnonzero(self.genotypes.used[start:stop])
                self.counts.add_elsewhere(stop - start - lines.size)
                if lines.size:
                    whole = lines.size == stop - start
                    G = bed.read(np.s_[:, start:stop] if whole else np.s_[:, lines], "float32")
                    yield self._standardise(G, lines)

    def tracked(self, what: str, rows: Int64[ndarray, " n"] | None = None) -> Iterator[Float32[ndarray, "n block"]]:
        """Iterate with a progress bar, over these rows or all, and refuse a pass in which nothing was used.

        Raises:
            InputError: as `check_used`.
        """
        with progress_bar(what, total=len(self.among or range(self.genotypes.n_markers)), unit="marker") as bar:
            for W in self:
                yield W if rows is None else W[rows]
                bar.update(self.counts.read - bar.n)
        self.check_used()

    def _standardise(
        self, G: Float32[ndarray, "n block"], lines: Int64[ndarray, " block"]
    ) -> Float32[ndarray, "n kept"]:
        n = len(G)
        called = fill(G)
        if (called.present == 0).any() and self.geno == 1:
            raise InputError(
                f"{self.genotypes.bed} marker {int(lines[np.argmin(called.present)]) + 1}: no genotype was called, so "
                "it cannot be standardised: drop it, or use --geno below 1"
            )
        keep = self.counts.add(unfit(G, called, maf=self.maf, geno=self.geno))
        holed, missing = called.holed, called.missing
        self.called += int(keep.sum()) - missing[:, keep[holed]].sum(axis=1)
        mean = called.mean

        if not keep.all():
            G, mean = np.asfortranarray(G[:, keep]), mean[keep]
        expected_variance = mean * (1 - mean / 2)
        self.weight += float(expected_variance.sum()) if self.scale == "vanraden" else mean.size
        self.lines, self.af, self.sd = lines[keep], mean / 2, np.ones(mean.size)
        G -= mean.astype(np.float32)
        if self.scale != "vanraden":
            variance = expected_variance if self.scale == "hwe" else np.einsum("ij,ij->j", G, G) / n
            self.sd = np.sqrt(variance)
            G *= (1 / self.sd).astype(np.float32)
        return G

    def counts_line(self) -> str:
        """Say how many markers were used in this pass and which were not."""
        left_out = left_out_words(self.genotypes.left_out)
        return self.counts.line(maf=self.maf, geno=self.geno, left_out=left_out)

    def check_used(self) -> None:
        """Refuse a finished pass that kept no marker, or left a person without a genotype.

        Raises:
            InputError: with the counts by reason, or the ids.
        """
        counts = self.counts
        if counts.kept == 0 and counts.elsewhere == counts.read:
            raise InputError(
                f"{self.genotypes.bed}: all markers are on chromosomes of which no kinship is made by default "
                f"({examples(self.genotypes.left_out)}): choose chromosomes (chr), or give another kinship"
            )
        if counts.kept == 0:
            raise InputError(
                f"{self.genotypes.bed}: no marker is left of {counts.read}: {counts.above_missing} exceed the missing "
                f"rate {self.geno}, {counts.monomorphic} are monomorphic, {counts.below_maf} are below the frequency "
                f"{self.maf}, {counts.elsewhere} are on chromosomes that are left out: relax --geno or --maf"
            )
        empty = np.flatnonzero(self.called == 0)
        if empty.size:
            raise InputError(
                f"{self.genotypes.bed}: {empty.size} people have no genotype at any marker used "
                f"({examples([self.genotypes.ids[i] for i in empty])}): remove them (plink --mind)"
            )
