"""The markers to test: their lines in the .bim, and their dosages among the people analysed, a block at a time."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from bed_reader import open_bed
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.checks import InputError, check_readable
from bayeslmm.files import read_lines
from bayeslmm.genotypes import Genotypes
from bayeslmm.marker_filters import MarkerCounts, check_filters, fill, unfit

_BIM = ["chrom", "snp", "cm", "pos", "a1", "a0"]


def read_bim(path: str | Path) -> pd.DataFrame:
    """Read a PLINK ``.bim``: one row for each marker with chrom, snp, pos, a1 (whose dosage is counted) and a0.

    Raises:
        InputError: lines that do not have six columns, or positions that are not whole numbers.
    """
    try:
        table = pd.read_csv(
            check_readable(path), sep=r"\s+", header=None, dtype=str, keep_default_na=False, quoting=csv.QUOTE_NONE
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError):
        table = pd.DataFrame()
    if table.shape[1] != len(_BIM) or (table == "").any(axis=None):
        for number, line in enumerate(read_lines(path), start=1):
            if (found := len(line.split())) != len(_BIM):
                raise InputError(
                    f"{path} line {number}: a .bim has six columns, but {found} were found: write it with plink"
                )
        raise InputError(f"{path} holds no marker: write it with plink")
    table.columns = _BIM
    pos = pd.to_numeric(table["pos"], errors="coerce")
    if pos.isna().any() or (pos % 1 != 0).any():
        line = int((pos.isna() | (pos % 1 != 0)).to_numpy().argmax())
        raise InputError(
            f"{path} line {line + 1} ({table['snp'][line]}): the position must be a whole number, but "
            f"{table['pos'][line]!r} was found"
        )
    return table.assign(pos=pos.astype(np.int64))[["chrom", "snp", "pos", "a1", "a0"]]


def chromosomes(bim: pd.DataFrame, *, where: str | Path) -> dict[str, range]:
    """Return the range of markers of each chromosome, in the order of the file.

    Raises:
        InputError: if the markers of one do not stand together.
    """
    chrom = bim["chrom"].to_numpy()
    starts = np.flatnonzero(np.r_[True, chrom[1:] != chrom[:-1]])
    names = chrom[starts].tolist()
    if len(set(names)) < len(names):
        again = next(name for i, name in enumerate(names) if name in names[:i])
        raise InputError(f"{where}: the markers of chromosome {again} must stand together: sort with plink --make-bed")
    ends = [*starts[1:].tolist(), len(chrom)]
    return {name: range(start, end) for name, start, end in zip(names, starts.tolist(), ends, strict=True)}


class DosageBlock(NamedTuple):
    """Markers of a block that pass the filters among the people analysed.

    Attributes:
        lines: their lines in the .bim, from 0, shape (b,).
        G: dosages of a1 less their mean, missing ones 0, shape (n, b).
        af: frequency of a1, shape (b,).
        n_miss: people without a genotype, shape (b,).
        counts: markers of the block kept and dropped.
    """

    lines: Int64[ndarray, " b"]
    G: Float64[ndarray, "n b"]
    af: Float64[ndarray, " b"]
    n_miss: Int64[ndarray, " b"]
    counts: MarkerCounts


def dosages(
    genotypes: Genotypes,
    rows: Int64[ndarray, " n"],
    blocks: Iterable[Sequence[int]],
    *,
    maf: float = 0.01,
    geno: float = 0.05,
) -> Iterator[DosageBlock]:
    """Yield the dosages of some people, a block of markers at a time.

    Args:
        genotypes: the fileset.
        rows: which of its people, shape (n,).
        blocks: lines of the .bim, from 0.
        maf: keep markers whose minor allele frequency among these people is at least this.
        geno: keep markers whose missing rate among them is at most this.
    """
    check_filters(maf, geno)
    n, p = len(genotypes.ids), genotypes.n_markers
    with open_bed(genotypes.bed, iid_count=n, sid_count=p, skip_format_check=True) as bed:
        for lines in blocks:
            G = bed.read((rows, list(lines)), dtype="float64", order="F")
            called, counts = fill(G), MarkerCounts()
            keep = counts.add(unfit(G, called, maf=maf, geno=geno))
            G -= called.mean
            yield DosageBlock(
                lines=np.array(lines)[keep],
                G=G if keep.all() else np.asfortranarray(G[:, keep]),
                af=called.mean[keep] / 2,
                n_miss=len(rows) - called.present[keep],
                counts=counts,
            )
