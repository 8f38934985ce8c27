"""PLINK 1 genotypes: opened and checked, read when they are asked for."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from bed_reader import open_bed
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, examples
from bayeslmm.base.files import reading
from bayeslmm.base.ids import read_fam
from bayeslmm.genotypes.bim import read_bim
from bayeslmm.genotypes.chromosomes import used_chromosomes

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

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages of a1, NaN where they are missing, column-major; of all individuals where rows is None.

        Raises:
            InputError: if the file has become shorter.
        """
        columns = slice(lines.start, lines.stop) if isinstance(lines, range) else np.asarray(lines, dtype=np.intp)
        try:
            return self.bed.read((slice(None) if rows is None else rows, columns), dtype=dtype, order="F")
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
