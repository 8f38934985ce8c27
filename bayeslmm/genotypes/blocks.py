"""Markers a block at a time, streamed from the file: standardised for a kinship, or their dosages for a test."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.defaults import GENO, MAF, SCALE, SCALES
from bayeslmm.base.progress import progress_bar
from bayeslmm.genotypes.chromosomes import left_out_words
from bayeslmm.genotypes.filters import Called, MarkerCounts, check_filters, fill, unfit
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.source import Reader

BLOCK = 4096


@dataclass(frozen=True)
class Tally:
    """What was seen of some markers: the tallies of all blocks add up to that of a pass.

    Attributes:
        counts: markers read, kept and dropped.
        weight: the divisor of sum W W': markers kept, or sum 2 f (1 - f) for "vanraden" (VanRaden 2008,
            doi:10.3168/jds.2007-0980, method 1).
        called: genotypes present per individual, over the markers kept, shape (n,).
    """

    counts: MarkerCounts
    weight: float
    called: Int64[ndarray, " n"]

    @classmethod
    def empty(cls, n: int) -> "Tally":
        """Return the tally of no marker."""
        return cls(MarkerCounts(), 0.0, np.zeros(n, dtype=np.int64))

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(self.counts + other.counts, self.weight + other.weight, self.called + other.called)


class Block(NamedTuple):
    """The markers of a block that pass the filters.

    Attributes:
        lines: which markers of the file they are, from 0, shape (b,).
        G: dosages of a1 less their mean, over `sd`, 0 where missing, column-major, shape (n, b).
        af: frequency of a1, shape (b,).
        sd: the divisor of each column, shape (b,); 1 for dosages.
        n_miss: individuals without a genotype, shape (b,).
        tally: of the block.
    """

    lines: Int64[ndarray, " b"]
    G: Float[ndarray, "n b"]
    af: Float64[ndarray, " b"]
    sd: Float64[ndarray, " b"]
    n_miss: Int64[ndarray, " b"]
    tally: Tally


@dataclass(frozen=True)
class MarkerBlocks:
    """The standardised markers of which a kinship is made; each iteration is a pass over the file.

    The G of a block is W or Z in float32. ``scale`` sets the divisor of each column: "hwe" sqrt(2 f (1 - f)) (Yang et
    al. 2011, doi:10.1016/j.ajhg.2010.11.011), "sample" the sample sd after imputation (GEMMA -gk 2), "vanraden" 1.

    Attributes:
        genotypes: opened, with the choice of markers that a kinship is made from.
        scale: "hwe", "sample" or "vanraden".
        maf: least minor allele frequency.
        geno: largest missing rate.
        block: how many markers are read at once.
        among: the range of markers of the file to consider; all by default.
    """

    genotypes: Genotypes
    scale: str = SCALE
    maf: float = MAF
    geno: float = GENO
    block: int = BLOCK
    among: range | None = None

    def __post_init__(self) -> None:
        if self.scale not in SCALES:
            raise InputError(f"scale must be one of {', '.join(SCALES)}, but {self.scale!r} was given")
        check_filters(self.maf, self.geno)

    def __iter__(self) -> Iterator[Block]:
        return self.blocks()

    def blocks(self, rows: Int64[ndarray, " n"] | None = None) -> Iterator[Block]:
        """Yield the blocks, standardised among all individuals, with the rows of some or all of them.

        Raises:
            InputError: as the reader of the genotypes, or if geno is 1 and a marker has no genotype.
        """
        with self.genotypes.reader() as reader:
            for block in self.read_by(reader):
                yield block if rows is None else block._replace(G=block.G[rows])

    def read_by(self, reader: Reader) -> Iterator[Block]:
        """Yield the blocks of genotypes that are open, as `blocks`."""
        for G, lines, elsewhere in self._read(reader, self.genotypes.used):
            yield self._standardised(G, lines, elsewhere)

    def divided(self, what: str, set_of: Int64[ndarray, " p"]) -> Iterator[tuple[int, Block]]:
        """Yield the blocks of sets of markers, with the number of the set: what is read at once in as many as it has.

        With a progress bar, and the check of `tracked` of all sets together.

        Args:
            what: the bar is called.
            set_of: number of the set of each marker of the file, below 0 for those that are in none.

        Raises:
            InputError: as `blocks` and `check_used`.
        """
        tally = Tally.empty(len(self.genotypes.ids))
        bar = progress_bar(what, total=len(self.span), unit="marker")
        with bar, self.genotypes.reader() as reader:
            for G, lines, elsewhere in self._read(reader, self.genotypes.used & (set_of >= 0)):
                for number in np.unique(set_of[lines]).tolist():
                    columns = np.flatnonzero(set_of[lines] == number)
                    # Column-major, whatever part of the columns it is.
                    block = self._standardised(G if len(columns) == len(lines) else G.T[columns].T, lines[columns], 0)
                    yield number, block
                    tally += block.tally
                tally += replace(Tally.empty(len(tally.called)), counts=MarkerCounts(elsewhere, elsewhere=elsewhere))
                bar.update(len(lines) + elsewhere)
        self.check_used(tally)

    def _read(
        self, reader: Reader, used: Bool[ndarray, " p"]
    ) -> Iterator[tuple[Float[ndarray, "n b"], Int64[ndarray, " b"], int]]:
        """Yield dosages, the markers they are of, and how many there are beside them that are not used."""
        for lines, elsewhere in self._spans(used):
            next_to_each_other = range(int(lines[0]), int(lines[-1]) + 1) if lines.size and not elsewhere else lines
            yield reader.read(None, next_to_each_other, "float32"), lines, elsewhere

    def spans(self) -> Iterator[tuple[Int64[ndarray, " b"], int]]:
        """Yield the markers of each block that are used, and how many beside them are not."""
        return self._spans(self.genotypes.used)

    def _spans(self, used: Bool[ndarray, " p"]) -> Iterator[tuple[Int64[ndarray, " b"], int]]:
        span = self.span
        for start in range(span.start, span.stop, self.block):
            stop = min(start + self.block, span.stop)
            lines = start + np.flatnonzero(used[start:stop])
            yield lines, stop - start - lines.size

    def tracked(self, what: str, rows: Int64[ndarray, " n"] | None = None) -> Iterator[Block]:
        """Yield the blocks with a progress bar, and check the pass at its end.

        Raises:
            InputError: as `blocks` and `check_used`.
        """
        tally = Tally.empty(len(self.genotypes.ids))
        with progress_bar(what, total=len(self.span), unit="marker") as bar:
            for block in self.blocks(rows):
                yield block
                bar.update(block.tally.counts.read)
                tally += block.tally
        self.check_used(tally)

    def check_used(self, tally: Tally) -> None:
        """Refuse a pass that kept no marker, or left an individual without a genotype.

        Raises:
            InputError: with the counts by reason, or the ids.
        """
        genotypes, counts = self.genotypes, tally.counts
        if counts.kept == 0 and counts.elsewhere == counts.read:
            raise InputError(
                f"{genotypes.path}: all markers are on chromosomes of which no kinship is made by default "
                f"({examples(genotypes.left_out)}): choose chromosomes (chr), or give another kinship"
            )
        if counts.kept == 0:
            raise InputError(
                f"{genotypes.path}: no marker is left of {counts.read}: {counts.above_missing} exceed the missing "
                f"rate {self.geno}, {counts.monomorphic} are monomorphic, {counts.below_maf} are below the frequency "
                f"{self.maf}, {counts.elsewhere} are on chromosomes that are left out: relax geno or maf"
            )
        empty = np.flatnonzero(tally.called == 0)
        if empty.size:
            raise InputError(
                f"{genotypes.path}: {empty.size} individuals have no genotype at any marker used "
                f"({examples([genotypes.ids[i] for i in empty])}): remove them (plink --mind)"
            )

    def counts_line(self, counts: MarkerCounts) -> str:
        """Say how many markers were used in a pass and which were not."""
        return counts.line(maf=self.maf, geno=self.geno, left_out=left_out_words(self.genotypes.left_out))

    @property
    def span(self) -> range:
        """Which markers of the file are considered."""
        return range(self.genotypes.n_markers) if self.among is None else self.among

    def _standardised(self, G: Float[ndarray, "n b"], lines: Int64[ndarray, " b"], elsewhere: int) -> Block:
        block, _ = self._filtered(G, lines, elsewhere)
        if self.scale == "vanraden":
            return block
        G = block.G
        mean_square = np.einsum("ij,ij->j", G, G) / len(G) if self.scale == "sample" else np.ones(G.shape[1])
        sd, weight = divisor(self.scale, block.af, mean_square)
        G *= (1 / sd).astype(np.float32)
        return block._replace(sd=sd, tally=replace(block.tally, weight=weight))

    def _filtered(self, G: Float[ndarray, "n b"], lines: Int64[ndarray, " b"], elsewhere: int) -> tuple[Block, Called]:
        """Return the markers that pass the filters less their mean, and what was called of all."""
        called = fill(G)
        self.check_called(called.present, lines)
        return _centred(G, called, lines, self.maf, self.geno, elsewhere), called

    def check_called(self, present: Int64[ndarray, " b"], lines: Int64[ndarray, " b"]) -> None:
        """Refuse a marker without a genotype that the filters would keep.

        Args:
            present: how many genotypes each has.
            lines: which markers of the file.

        Raises:
            InputError: with its number.
        """
        if self.geno == 1 and (present == 0).any():
            raise InputError(
                f"{self.genotypes.path} marker {int(lines[np.argmin(present)]) + 1}: no genotype was called, so "
                "it cannot be standardised: drop it, or set geno below 1"
            )


def divisor(
    scale: str, f: Float64[ndarray, " b"], mean_square: Float[ndarray, " b"]
) -> tuple[Float64[ndarray, " b"], float]:
    """Return what each marker is divided by, and what their sum W W' is.

    Args:
        scale: see `MarkerBlocks`.
        f: frequency of a1.
        mean_square: of the dosages less their mean.
    """
    if scale == "vanraden":
        return np.ones(f.size), float((2 * f * (1 - f)).sum())
    return np.sqrt(2 * f * (1 - f) if scale == "hwe" else mean_square).astype(np.float64), float(f.size)


def dosages(
    genotypes: Genotypes,
    rows: Int64[ndarray, " n"],
    blocks: Iterable[Sequence[int] | Int64[ndarray, " b"]],
    *,
    maf: float = MAF,
    geno: float = GENO,
) -> Iterator[Block]:
    """Yield the centred dosages of some individuals in float64, a block of markers at a time.

    Args:
        genotypes: opened.
        rows: which individuals, shape (n,).
        blocks: the markers of each block, whatever their chromosomes.
        maf: keep markers whose minor allele frequency among these individuals is at least this.
        geno: keep markers whose missing rate among them is at most this.

    Raises:
        InputError: for filters out of range, or as the reader of the genotypes.
    """
    check_filters(maf, geno)
    with genotypes.reader() as reader:
        for lines in blocks:
            G = reader.read(rows, lines, "float64")
            yield _centred(G, fill(G), np.asarray(lines), maf, geno)


def _centred(
    G: Float[ndarray, "n b"],
    called: Called,
    lines: Int64[ndarray, " b"],
    maf: float,
    geno: float,
    elsewhere: int = 0,
) -> Block:
    """Return the markers of a filled block that pass the filters, less their mean."""
    dropped = unfit(G, called, maf=maf, geno=geno)
    keep = ~np.any(dropped, axis=0)
    mean = called.mean[keep]
    f = mean / 2
    G = G if keep.all() else np.asfortranarray(G[:, keep])
    G -= mean.astype(G.dtype)
    present = f.size - called.missing[:, keep[called.holed]].sum(axis=1)
    tally = Tally(MarkerCounts.of(dropped, elsewhere), float((2 * f * (1 - f)).sum()), present)
    return Block(lines[keep], G, f, np.ones(f.size), len(G) - called.present[keep], tally)
