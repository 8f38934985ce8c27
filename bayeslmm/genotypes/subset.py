"""Some of the individuals and markers of genotypes, as if the files held no others."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
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
    """

    source: Source
    rows: Int64[ndarray, " n"]
    lines: Int64[ndarray, " p"]

    @property
    def path(self) -> Path:
        """The file with the dosages."""
        return self.source.path

    @cached_property
    def ids(self) -> tuple[str, ...]:
        """IID of each individual."""
        return tuple(self.source.ids[i] for i in self.rows)

    @cached_property
    def families(self) -> tuple[str, ...]:
        """FID of each individual."""
        return tuple(self.source.families[i] for i in self.rows)

    @cached_property
    def variants(self) -> pd.DataFrame:
        """One row for each marker, as `Source.variants`."""
        return self.source.variants.iloc[self.lines].reset_index(drop=True)

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
