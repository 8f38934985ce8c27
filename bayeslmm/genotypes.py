"""PLINK 1 genotypes as blocks of standardised markers, streamed from the file."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bed_reader import open_bed
from jaxtyping import Float32, Float64, Int64
from numpy import ndarray

from bayeslmm.checks import InputError, check_readable, examples
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
        n_markers: p, the number of lines of the ``.bim``.
    """

    bed: Path
    ids: tuple[str, ...]
    n_markers: int

    def rows(self, ids: Sequence[str]) -> Int64[ndarray, " n"]:
        """Return the row of each of these people.

        Raises:
            InputError: naming those who are not in the file.
        """
        row_of = {name: i for i, name in enumerate(self.ids)}
        if absent := [name for name in ids if name not in row_of]:
            raise InputError(f"{self.bed}: {len(absent)} of {len(ids)} people are not in it ({examples(absent)})")
        return np.array([row_of[name] for name in ids], dtype=np.int64)


def open_genotypes(bfile: str | Path) -> Genotypes:
    """Open ``bfile.bed/.bim/.fam`` and check that the three belong together.

    Raises:
        InputError: a missing file, wrong magic bytes, sample-major order, or a ``.bed`` whose size does not fit.
    """
    bed, bim, fam = (Path(f"{bfile}.{suffix}") for suffix in ("bed", "bim", "fam"))
    for path in (bed, bim, fam):
        check_readable(path)
    ids = read_fam(fam)
    with bim.open("rb") as lines:
        n_markers = sum(1 for line in lines if line.strip())
    with bed.open("rb") as stream:
        magic = stream.read(3)
    if magic != _MAGIC:
        kind = "sample-major (made by a very old PLINK)" if magic == _MAGIC[:2] + b"\x00" else f"0x{magic.hex()}"
        raise InputError(
            f"{bed} must begin with the bytes 6c 1b 01 of a SNP-major PLINK 1 file, but it is {kind}: "
            "write it again with plink --make-bed"
        )
    expected = 3 + n_markers * ((len(ids) + 3) // 4)
    if (found := bed.stat().st_size) != expected:
        raise InputError(
            f"{bed} is {'truncated' if found < expected else 'too long'}: {len(ids)} people and {n_markers} markers "
            f"need {expected} bytes, but {found} were found: copy it again, with the .bim and .fam of the same run"
        )
    return Genotypes(bed, ids, n_markers)


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
        n, p = len(self.genotypes.ids), self.genotypes.n_markers
        with open_bed(self.genotypes.bed, iid_count=n, sid_count=p, skip_format_check=True) as bed:
            among = self.among or range(p)
            for start in range(among.start, among.stop, self.block):
                G = bed.read(np.s_[:, start : min(start + self.block, among.stop)], dtype="float32", order="F")
                yield self._standardise(G, start)

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

    def _standardise(self, G: Float32[ndarray, "n block"], start: int) -> Float32[ndarray, "n kept"]:
        n = len(G)
        called = fill(G)
        if (called.present == 0).any() and self.geno == 1:
            raise InputError(
                f"{self.genotypes.bed} marker {start + int(np.argmin(called.present)) + 1}: no genotype was called, so "
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
        self.lines, self.af, self.sd = start + np.flatnonzero(keep), mean / 2, np.ones(mean.size)
        G -= mean.astype(np.float32)
        if self.scale != "vanraden":
            variance = expected_variance if self.scale == "hwe" else np.einsum("ij,ij->j", G, G) / n
            self.sd = np.sqrt(variance)
            G *= (1 / self.sd).astype(np.float32)
        return G

    def check_used(self) -> None:
        """Refuse a finished pass that kept no marker, or left a person without a genotype.

        Raises:
            InputError: with the counts by reason, or the ids.
        """
        counts = self.counts
        if counts.kept == 0:
            raise InputError(
                f"{self.genotypes.bed}: no marker is left of {counts.read}: {counts.above_missing} exceed the missing "
                f"rate {self.geno}, {counts.monomorphic} are monomorphic, {counts.below_maf} are below the frequency "
                f"{self.maf}: relax --geno or --maf"
            )
        empty = np.flatnonzero(self.called == 0)
        if empty.size:
            raise InputError(
                f"{self.genotypes.bed}: {empty.size} people have no genotype at any marker used "
                f"({examples([self.genotypes.ids[i] for i in empty])}): remove them (plink --mind)"
            )
