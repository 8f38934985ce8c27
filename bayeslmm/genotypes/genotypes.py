"""Genotypes of any format, and which of their markers a kinship is made from."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.genotypes.chromosomes import used_chromosomes
from bayeslmm.genotypes.source import FORMATS, Reader, Source


@dataclass(frozen=True)
class Genotypes:
    """Genotypes, opened but not read.

    Attributes:
        source: the individuals, the markers and their dosages.
        files: which hold them.
        used: which markers a kinship is made from: those of some chromosomes, shape (p,).
        left_out: how many markers there are on each of the other chromosomes.
    """

    source: Source
    files: tuple[Path, ...]
    used: Bool[ndarray, " p"]
    left_out: dict[str, int]

    @property
    def path(self) -> Path:
        """The file with the dosages, for messages."""
        return self.source.path

    @property
    def ids(self) -> tuple[str, ...]:
        """IID of each individual."""
        return self.source.ids

    @property
    def families(self) -> tuple[str, ...]:
        """FID of each individual."""
        return self.source.families

    @property
    def variants(self) -> pd.DataFrame:
        """One row for each marker: chrom, snp, pos, a1 and a0."""
        return self.source.variants

    @property
    def n_markers(self) -> int:
        """p, the number of markers."""
        return len(self.used)

    def reader(self) -> AbstractContextManager[Reader]:
        """Open the dosages for reading, inside a block."""
        return self.source.reader()

    def rows(self, ids: Sequence[str]) -> Int64[ndarray, " n"]:
        """Return the row of each of these individuals.

        Raises:
            InputError: naming those who are not in the file.
        """
        row_of = {name: i for i, name in enumerate(self.ids)}
        if absent := [name for name in ids if name not in row_of]:
            raise InputError(f"{self.path}: {len(absent)} of {len(ids)} individuals are not in it ({examples(absent)})")
        return np.array([row_of[name] for name in ids], dtype=np.int64)


def open_genotypes(path: str | Path, *, chromosomes: Sequence[str] = (), format: str = "bfile") -> Genotypes:
    """Open genotypes and check that their files belong together.

    Args:
        path: of PLINK 1 files without ``.bed``, or what another format is named by.
        chromosomes: of which a kinship is made, names and ranges such as "1-22"; by default the autosomes (see
            `chromosomes.special_chromosomes`).
        format: one of `FORMATS`.

    Raises:
        InputError: a missing or damaged file, or a chromosome that is not in it.
    """
    source = FORMATS[format].open(path)
    used, left_out = used_chromosomes(source.variants["chrom"].to_numpy(), chromosomes, where=source.path)
    return Genotypes(source, tuple(FORMATS[format].files(path)), used, left_out)
