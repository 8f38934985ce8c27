"""PLINK 1 genotypes: opened and checked, read when they are asked for."""

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from bed_reader import open_bed
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable
from bayeslmm.base.files import open_text, read_lines, reading
from bayeslmm.base.ids import read_fam
from bayeslmm.genotypes.variants import COLUMNS, as_positions

_MAGIC = b"\x6c\x1b\x01"  # PLINK 1 .bed, SNP-major
_BIM = ["chrom", "snp", "cm", "pos", "a1", "a0"]


@dataclass(frozen=True)
class Plink:
    """A PLINK 1 fileset, opened but not read; a `Source`, made by `open_plink`."""

    path: Path
    ids: tuple[str, ...]
    families: tuple[str, ...]
    variants: pd.DataFrame

    @contextmanager
    def reader(self) -> Iterator["BedReader"]:
        """Open the ``.bed`` for reading.

        Raises:
            InputError: inside the block, if it has become another file since it was opened.
        """
        n, p = len(self.ids), len(self.variants)
        with reading(self.path), open_bed(self.path, iid_count=n, sid_count=p, skip_format_check=True) as bed:
            yield BedReader(self.path, bed)


@dataclass(frozen=True)
class BedReader:
    """An open ``.bed``; a `Reader`."""

    path: Path
    bed: open_bed

    def read(
        self, rows: ndarray | None, lines: Sequence[int] | ndarray, dtype: Literal["float32", "float64"]
    ) -> Float[ndarray, "n b"]:
        """Return dosages, as `Reader.read`.

        Raises:
            InputError: if the file has become shorter.
        """
        columns = slice(lines.start, lines.stop) if isinstance(lines, range) else np.asarray(lines, dtype=np.intp)
        try:
            return self.bed.read((slice(None) if rows is None else rows, columns), dtype=dtype, order="F")
        except ValueError as error:
            raise InputError(f"{self.path} changed while it was read ({error}): start again") from None


def open_plink(bed: Path, bim: Path, fam: Path) -> Plink:
    """Open the three files of a fileset and check that they belong together.

    Raises:
        InputError: a missing file, wrong magic bytes, sample-major order, a ``.bed`` whose size does not fit, or a
            ``.bim`` or ``.fam`` that is none.
    """
    for path in (bed, bim, fam):
        check_readable(path)
    individuals, variants = read_fam(fam), read_bim(bim)
    with reading(bed), bed.open("rb") as stream:
        magic = stream.read(3)
    if magic != _MAGIC:
        kind = "sample-major (made by a very old PLINK)" if magic == _MAGIC[:2] + b"\x00" else f"0x{magic.hex()}"
        raise InputError(
            f"{bed} must begin with the bytes 6c 1b 01 of a SNP-major PLINK 1 file, but it is {kind}: "
            "write it again with plink --make-bed"
        )
    n, p = len(individuals.ids), len(variants)
    expected = 3 + p * ((n + 3) // 4)
    if (found := bed.stat().st_size) != expected:
        raise InputError(
            f"{bed} is {'truncated' if found < expected else 'too long'}: {n} individuals and {p} markers "
            f"need {expected} bytes, but {found} were found: copy it again, with the .bim and .fam of the same run"
        )
    return Plink(bed, individuals.ids, individuals.families, variants)


def read_bim(path: str | Path) -> pd.DataFrame:
    """Read a PLINK ``.bim``: one row for each marker with chrom, snp, pos, a1 (whose dosage is counted) and a0.

    Raises:
        InputError: lines that do not have six columns, or positions that are not whole numbers.
    """
    try:
        with open_text(path) as stream:
            table = pd.read_csv(
                stream, sep=r"\s+", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError):
        table = pd.DataFrame()
    if table.shape[1] != len(_BIM) or table.isna().any(axis=None) or (table == "").any(axis=None):
        for number, line in enumerate(read_lines(path), start=1):
            if line.strip() and (found := len(line.split())) != len(_BIM):
                raise InputError(
                    f"{path} line {number}: a .bim has six columns, but {found} were found: write it with plink"
                )
        raise InputError(f"{path} has no marker: write it with plink")
    table.columns = _BIM
    return table.assign(pos=as_positions(table["pos"], table["snp"], where=path))[COLUMNS]
