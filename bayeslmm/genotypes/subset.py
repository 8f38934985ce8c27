"""Some of the individuals and markers of genotypes, as if the files held no others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from numpy import ndarray

from bayeslmm.genotypes.source import Reader, Source


@dataclass(frozen=True)
class Subset:
    """Genotypes of some individuals at some markers; a `Source`: frequencies are those of these individuals.

    Attributes:
        source: of all.
        rows: which individuals, in ascending order, shape (n,).
        lines: which markers, in ascending order, shape (p,).
        path: the file with the dosages.
        ids: IID of each individual.
        families: their FID.
        variants: one row for each marker, as `Source.variants`.
    """

    source: Source
    rows: Int64[ndarray, " n"]
    lines: Int64[ndarray, " p"]
    path: Path
    ids: tuple[str, ...]
    families: tuple[str, ...]
    variants: pd.DataFrame

    @classmethod
    def of(cls, source: Source, rows: Int64[ndarray, " n"], lines: Int64[ndarray, " p"]) -> "Subset":
        """Take some individuals and markers of genotypes."""
        ids, families = (tuple(names[i] for i in rows) for names in (source.ids, source.families))
        variants = source.variants.iloc[lines].reset_index(drop=True)
        return cls(source, rows, lines, source.path, ids, families, variants)

    @contextmanager
    def reader(self) -> Iterator["SubsetReader"]:
        """Open the genotypes for reading."""
        rows = None if len(self.rows) == len(self.source.ids) else self.rows
        lines = None if len(self.lines) == len(self.source.variants) else self.lines
        with self.source.reader() as reader:
            yield SubsetReader(reader, rows, lines)


@dataclass(frozen=True)
class SubsetReader:
    """Open genotypes, of which some are read; a `Reader`. All individuals, or all markers, where they are None."""

    reader: Reader
    rows: Int64[ndarray, " n"] | None
    lines: Int64[ndarray, " p"] | None

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`."""
        if self.rows is not None:
            rows = self.rows if rows is None else self.rows[rows]
        if self.lines is not None:
            lines = self.lines[np.asarray(lines, dtype=np.intp)]
        return self.reader.read(rows, lines, dtype)
