"""The table of variants of a PLINK fileset."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.base.checks import InputError, examples, quoted
from bayeslmm.base.files import open_text, read_lines

_BIM = ["chrom", "snp", "cm", "pos", "a1", "a0"]


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
        raise InputError(f"{path} holds no marker: write it with plink")
    table.columns = _BIM
    pos = pd.to_numeric(table["pos"], errors="coerce")
    if pos.dtype != np.int64:
        # A float holds whole numbers exactly up to 2^53, a position of a genome is far below.
        wrong = (pos.isna() | (pos % 1 != 0) | (pos.abs() > 2.0**53)).to_numpy()
        if wrong.any():
            line = int(wrong.argmax())
            raise InputError(
                f"{path} line {line + 1} ({examples(table['snp'][[line]])}): the position must be a whole number below "
                f"2^53, but {quoted(table['pos'][line])} was found"
            )
    return table.assign(pos=pos.astype(np.int64))[["chrom", "snp", "pos", "a1", "a0"]]
