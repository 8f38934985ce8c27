"""The markers of a file: one for each alternate allele of a record."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted

COLUMNS = ["chrom", "snp", "pos", "a1", "a0"]


class MarkerTable(NamedTuple):
    """The markers of a file, in its order.

    Attributes:
        variants: chrom, snp, pos, a1 (whose dosage is counted) and a0 of each.
        record: which record of the file each is from, shape (p,).
        allele: which allele of that record is its a1, shape (p,); the reference is 0.
    """

    variants: pd.DataFrame
    record: Int64[ndarray, " p"]
    allele: Int64[ndarray, " p"]


def markers_of(records: pd.DataFrame) -> MarkerTable:
    """Return a marker for each alternate allele of each record, as ``bcftools norm -m -`` does; a0 is the reference.

    A record without an id is called ``CHROM:POS:REF:ALT``.

    Args:
        records: chrom, snp, pos, a0, and a1 with commas between alternate alleles.
    """
    records = records.reset_index(drop=True)
    record, allele = np.arange(len(records)), np.ones(len(records), dtype=np.int64)
    if records["a1"].str.contains(",", regex=False).any():
        records = records.assign(a1=records["a1"].str.split(",")).explode("a1")
        record = records.index.to_numpy(np.int64)
        allele = 1 + records.groupby(level=0).cumcount().to_numpy(np.int64)
    unnamed = records["snp"].isin(["", "."]).to_numpy()
    if unnamed.any():
        parts = (records[name].astype(str) for name in ("chrom", "pos", "a0", "a1"))
        chrom, pos, a0, a1 = parts
        records = records.assign(snp=records["snp"].where(~unnamed, chrom + ":" + pos + ":" + a0 + ":" + a1))
    return MarkerTable(records[COLUMNS].reset_index(drop=True), record, allele)


def as_positions(text: pd.Series, names: pd.Series, *, where: str | Path, first_line: int = 1) -> Int64[ndarray, " p"]:
    """Return the positions of markers as integers.

    Args:
        text: as they stand in the file.
        names: of the markers.
        where: the file, for messages.
        first_line: of the file that holds a marker.

    Raises:
        InputError: for one that is not a whole number below 2^53.
    """
    pos = pd.to_numeric(text, errors="coerce")
    if pos.dtype != np.int64:
        # A float holds whole numbers exactly up to 2^53, which is far above any position.
        wrong = (pos.isna() | (pos % 1 != 0) | (pos.abs() > 2.0**53)).to_numpy()
        if wrong.any():
            k = int(wrong.argmax())
            raise InputError(
                f"{where} line {k + first_line} ({examples(names.iloc[[k]])}): the position must be a whole number "
                f"below 2^53, but {quoted(text.iloc[k])} was found"
            )
    return pos.to_numpy(np.int64)
