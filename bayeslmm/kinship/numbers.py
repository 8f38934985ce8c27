"""Numbers of a matrix in text, read fast, and refused with their place."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, quoted
from bayeslmm.base.files import open_text
from bayeslmm.base.memory import check_memory
from bayeslmm.base.text import as_numbers


def numeric_frame(path: str | Path, separator: str | None, *, skip: int, ids: int = 1) -> pd.DataFrame:
    """Read all but the first columns as numbers where possible (text would need a gigabyte at n = 5,000).

    Args:
        path: the file, which may be compressed.
        separator: of its columns, None for runs of blanks; with semicolons decimals may have a comma.
        skip: how many lines that are not blank precede the numbers.
        ids: how many columns hold ids, which stay text.

    Raises:
        InputError: if rows differ in length, or there is none.
    """
    try:
        with open_text(path) as stream:
            while skip and (line := stream.readline()):
                skip -= bool(line.strip())
            return pd.read_csv(
                stream,
                sep=separator or r"\s+",
                header=None,
                dtype=dict.fromkeys(range(ids), str),
                keep_default_na=False,
                decimal="," if separator == ";" else ".",
            )
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as a matrix: {str(error).strip()}") from None


def floats(frame: pd.DataFrame, path: str | Path) -> Float64[ndarray, "rows columns"]:
    """Return a frame as numbers.

    Raises:
        InputError: naming the first value that is none.
    """
    for j, column in enumerate(frame.columns):
        if frame[column].dtype.kind not in "iuf":
            text = frame[column].astype(str).to_numpy(object)
            numbers = as_numbers(text)
            if np.isnan(numbers).any():
                i = int(np.argmax(np.isnan(numbers)))
                raise InputError(
                    f"{path}: row {i + 1} column {j + 1} of the matrix must be a number, but "
                    f"{quoted(text[i])} was found"
                )
            frame[column] = numbers
    return frame.to_numpy(float)


def is_number(text: str) -> bool:
    """Return whether a field of a text is a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


def check_kinship_memory(needed: float, n: int, path: str | Path) -> None:
    """Refuse a matrix that does not fit into memory.

    Raises:
        InputError: saying how large it is.
    """
    check_memory(
        needed,
        what=f"{path}: a kinship of {n:,} individuals",
        instead="use a machine with more memory, or a kinship of only the individuals analysed",
    )
