"""Kinship matrices in files: GCTA's .grm.bin trio and square text matrices."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.checks import InputError, check_readable, examples
from bayeslmm.files import replacing
from bayeslmm.kinship import Kinship
from bayeslmm.tables import open_text, read_fam, separator_of, split_lines


def grm_paths(out: str | Path) -> list[Path]:
    """Return the files of a GCTA kinship matrix: ``out.grm.bin``, ``out.grm.N.bin`` and ``out.grm.id``."""
    return [Path(f"{out}.grm.{suffix}") for suffix in ("bin", "N.bin", "id")]


def write_grm(kinship: Kinship, out: str | Path) -> list[Path]:
    """Write ``out.grm.bin``, ``out.grm.N.bin`` and ``out.grm.id`` in GCTA's format; return their paths.

    The lower triangle row by row in float32; N is the number of markers used, the same for every pair, since
    missing genotypes are imputed. FID is written as the IID.

    Raises:
        InputError: if the folder cannot be written.
    """
    n = len(kinship.ids)
    n_markers = kinship.details.get("markers", {}).get("kept", 0)
    paths = grm_paths(out)
    with replacing(paths[0]) as values, replacing(paths[1]) as counts, replacing(paths[2]) as ids:
        with values.open("wb") as value_stream, counts.open("wb") as count_stream:
            for i in range(n):
                value_stream.write(kinship.K[i, : i + 1].astype("<f4").tobytes())
                count_stream.write(np.full(i + 1, n_markers, dtype="<f4").tobytes())
        ids.write_text("".join(f"{name}\t{name}\n" for name in kinship.ids))
    return paths


def read_grm(prefix: str | Path) -> Kinship:
    """Read a GCTA kinship matrix ``prefix.grm.bin`` with ``prefix.grm.id``.

    Raises:
        InputError: a missing file, or a size that does not fit the number of ids.
    """
    values, ids = check_readable(f"{prefix}.grm.bin"), read_fam(f"{prefix}.grm.id")
    n = len(ids)
    lower = np.fromfile(values, dtype="<f4")
    if lower.size != n * (n + 1) // 2:
        raise InputError(
            f"{values}: {n} ids need {n * (n + 1) // 2} float32 values, but {lower.size} were found: the file is "
            "truncated or belongs to another .grm.id"
        )
    K = np.empty((n, n))
    for i in range(n):
        row = lower[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]
        K[i, : i + 1] = row
        K[: i + 1, i] = row
    return Kinship(ids, K, str(values))


def read_kinship(path: str | Path, *, fam: str | Path | None = None) -> Kinship:
    """Read a square kinship matrix from text.

    The first line holds the ids, with or without a first column of ids (commas, tabs or blanks separate; ``.gz``
    is opened too). GEMMA's ``.cXX.txt`` and ``.sXX.txt`` hold numbers only: give the ``.fam`` of the same run.

    Args:
        path: the matrix.
        fam: a ``.fam`` or ``.grm.id`` file with the ids of a matrix without them.

    Raises:
        InputError: not square, not numeric, ids that are missing, or that differ between rows and columns.
    """
    path = check_readable(path)
    with open_text(path) as stream:
        separator = separator_of(stream.readline())
        stream.seek(0)
        header = [] if fam else next(iter(split_lines(stream, separator)), (0, []))[1]
    frame = _numeric_frame(path, separator, skip=0 if fam else 1)
    n, width = frame.shape
    if fam:
        ids = read_fam(fam)
        if (n, width) != (len(ids), len(ids)):
            raise InputError(f"{path} is {n} x {width}, but {fam} has {len(ids)} people: give the .fam of the same run")
        return Kinship(ids, _floats(frame, path), str(path))
    if n == width - 1 == len(header) - 1 and all(_is_number(field) for field in header):
        raise InputError(f"{path} has no line of ids: add one, or give the ids with --fam (the .fam of the same run)")
    if width not in (n, n + 1) or len(header) not in (n, n + 1):
        raise InputError(
            f"{path}: a kinship matrix must be square under its line of ids, but {len(header)} ids, {n} rows and "
            f"{width} columns were found"
        )
    ids = tuple(header[-n:])
    if width == n + 1:
        rows, frame = frame[0].astype(str).tolist(), frame.drop(columns=0)
        if differing := [f"{row} / {column}" for row, column in zip(rows, ids, strict=True) if row != column]:
            raise InputError(f"{path}: rows and columns must have the same ids in one order ({examples(differing)})")
    return Kinship(ids, _floats(frame, path), str(path))


def _numeric_frame(path: Path, separator: str | None, *, skip: int) -> pd.DataFrame:
    """Read all but the first column as numbers where possible (text would need a gigabyte at n = 5,000)."""
    try:
        return pd.read_csv(path, sep=separator or r"\s+", header=None, skiprows=skip, dtype={0: str})
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a matrix: {str(error).strip()}") from None


def _floats(frame: pd.DataFrame, path: Path) -> Float64[ndarray, "rows columns"]:
    for j, column in enumerate(frame.columns):
        if frame[column].dtype != np.float64:
            numbers = pd.to_numeric(frame[column], errors="coerce")
            if numbers.isna().any():
                i = int(np.argmax(numbers.isna()))
                raise InputError(
                    f"{path}: row {i + 1} column {j + 1} of the matrix must be a number, but "
                    f"{frame[column].iat[i]!r} was found"
                )
            frame[column] = numbers.astype(float)
    return frame.to_numpy(float)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
