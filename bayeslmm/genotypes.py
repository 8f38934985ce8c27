"""PLINK 1 genotypes as blocks of standardised markers, streamed from the file."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from bed_reader import open_bed
from jaxtyping import Bool, Float, Float32, Float64, Int64
from numpy import ndarray

from bayeslmm.bim import left_out_words, read_bim, used_chromosomes
from bayeslmm.checks import InputError, check_readable, examples
from bayeslmm.files import reading
from bayeslmm.marker_filters import MarkerCounts, check_filters, fill, unfit
from bayeslmm.progress import progress_bar
from bayeslmm.tables import read_fam

SCALES = ("hwe", "sample", "vanraden")
BLOCK = 4096
_MAGIC = b"\x6c\x1b\x01"  # PLINK 1 .bed, SNP-major


@dataclass(frozen=True)
class Genotypes:
    """A PLINK 1 fileset, opened but not read.

    Attributes:
        bed: path of the ``.bed``.
        ids: the IID of each individual, in the order of the ``.fam``.
        families: their FID.
        used: which markers a kinship is made from: those of some chromosomes, shape (p,).
        left_out: how many markers stand on each of the other chromosomes.
    """

    bed: Path
    ids: tuple[str, ...]
    families: tuple[str, ...]
    used: Bool[ndarray, " p"]
    left_out: dict[str, int]

    @property
    def n_markers(self) -> int:
        """p, the number of lines of the ``.bim``."""
        return len(self.used)

    def rows(self, ids: Sequence[str]) -> Int64[ndarray, " n"]:
        """Return the row of each of these people.

        Raises:
            InputError: naming those who are not in the file.
        """
        row_of = {name: i for i, name in enumerate(self.ids)}
        if absent := [name for name in ids if name not in row_of]:
            raise InputError(f"{self.bed}: {len(absent)} of {len(ids)} people are not in it ({examples(absent)})")
        return np.array([row_of[name] for name in ids], dtype=np.int64)

    @contextmanager
    def reader(self) -> Iterator["BedReader"]:
        """Open the ``.bed`` for reading.

        Raises:
            InputError: inside the block, if it has become another file since it was opened.
        """
        n, p = len(self.ids), self.n_markers
        with reading(self.bed), open_bed(self.bed, iid_count=n, sid_count=p, skip_format_check=True) as bed:
            yield BedReader(self.bed, bed)


@dataclass(frozen=True)
class BedReader:
    """An open ``.bed``."""

    path: Path
    bed: open_bed

    def read(self, index: Any, dtype: Literal["float32", "float64"]) -> Float[ndarray, "n b"]:
        """Return dosages of a1, NaN where they are missing, column-major.

        Raises:
            InputError: if the file has become shorter.
        """
        try:
            return self.bed.read(index, dtype=dtype, order="F")
        except ValueError as error:
            raise InputError(f"{self.path} has changed while it was read ({error}): begin again") from None


def open_genotypes(bfile: str | Path, *, chromosomes: Sequence[str] = ()) -> Genotypes:
    """Open ``bfile.bed/.bim/.fam`` and check that the three belong together.

    Args:
        bfile: path without ``.bed``.
        chromosomes: of which a kinship is made, names and ranges such as "1-22"; by default the autosomes (see
            `bim.special_chromosomes`).

    Raises:
        InputError: a missing file, wrong magic bytes, sample-major order, a ``.bed`` whose size does not fit, a
            ``.bim`` or ``.fam`` that is none, or a chromosome that is not in the file.
    """
    bed, bim, fam = (Path(f"{bfile}.{suffix}") for suffix in ("bed", "bim", "fam"))
    for path in (bed, bim, fam):
        check_readable(path)
    people = read_fam(fam)
    used, left_out = used_chromosomes(read_bim(bim)["chrom"].to_numpy(), chromosomes, where=bim)
    with reading(bed), bed.open("rb") as stream:
        magic = stream.read(3)
    if magic != _MAGIC:
        kind = "sample-major (made by a very old PLINK)" if magic == _MAGIC[:2] + b"\x00" else f"0x{magic.hex()}"
        raise InputError(
            f"{bed} must begin with the bytes 6c 1b 01 of a SNP-major PLINK 1 file, but it is {kind}: "
            "write it again with plink --make-bed"
        )
    n, p = len(people.ids), len(used)
    expected = 3 + p * ((n + 3) // 4)
    if (found := bed.stat().st_size) != expected:
        raise InputError(
            f"{bed} is {'truncated' if found < expected else 'too long'}: {n} people and {p} markers "
            f"need {expected} bytes, but {found} were found: copy it again, with the .bim and .fam of the same run"
        )
    return Genotypes(bed, people.ids, people.families, used, left_out)


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
    scale: str = "hwe"
    maf: float = 0.01
    geno: float = 0.05
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
