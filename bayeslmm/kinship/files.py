"""Kinship matrices in files: GCTA's .grm.bin trio and square text matrices."""

from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable, examples, quoted
from bayeslmm.base.files import open_text, reading, replacing
from bayeslmm.base.ids import read_ids
from bayeslmm.base.memory import check_memory
from bayeslmm.base.text import as_numbers, separator_of, split_lines
from bayeslmm.kinship.kinship import Kinship


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
    path = Path(f"{prefix}.grm.bin")
    others = [other for other in (Path(f"{prefix}.grm.gz"), Path(f"{prefix}.grm.sp")) if other.exists()]
    if others and not path.exists():
        kind = "text" if others[0].suffix == ".gz" else "sparse"
        raise InputError(
            f"{path} does not exist, but {others[0].name} does, a {kind} format that is not supported: write the "
            "matrix again with gcta --make-grm-bin"
        )
    values, ids = check_readable(path), read_ids(f"{prefix}.grm.id").ids
    n, found = len(ids), values.stat().st_size
    if found != 2 * n * (n + 1):
        odd = f" and {found % 4} bytes" if found % 4 else ""
        raise InputError(
            f"{values}: {n} ids need {n * (n + 1) // 2} float32 values, but {found // 4}{odd} were found: the file is "
            "truncated, too long or belongs to another .grm.id"
        )
    _check_memory(10.0 * n**2, n, path)
    with reading(values):
        lower = np.fromfile(values, dtype="<f4", count=n * (n + 1) // 2)
    if lower.size != n * (n + 1) // 2:
        raise InputError(f"{values} has changed while it was read: begin again")
    K = np.empty((n, n))
    for i in range(n):
        row = lower[i * (i + 1) // 2 : (i + 1) * (i + 2) // 2]
        K[i, : i + 1] = row
        K[: i + 1, i] = row
    return Kinship(ids, K, str(values))


def read_kinship(path: str | Path, *, fam: str | Path | None = None) -> Kinship:
    """Read a square kinship matrix from text, which may be compressed; commas, tabs or blanks separate its values.

    The first line holds the ids, with or without a first column of ids; or the first column alone holds them, as in
    files for GAPIT, with or without their number on the first line, as TASSEL writes it. GEMMA's ``.cXX.txt`` and
    ``.sXX.txt`` and plink's ``.rel`` hold numbers only: give the ids beside it.

    Args:
        path: the matrix.
        fam: a ``.fam``, ``.grm.id`` or ``.rel.id`` file with the ids of a matrix without them.

    Raises:
        InputError: not square, not numeric, ids that are missing, or that differ between rows and columns.
    """
    separator, header, first = _first_lines(path)
    _check_memory(16.0 * len(first) ** 2, len(first), path)
    if len(header) == 1 and len(first) == 2 and _is_number(header[0]):
        raise InputError(
            f"{path} holds a triangle of a matrix, as plink --make-rel writes it: write it with --make-rel square"
        )
    alike, numeric = len(header) == len(first), all(map(_is_number, header[1:]))
    no_header = bool(fam)
    frame = _numeric_frame(path, separator, skip=0 if no_header else 1)
    if alike and numeric and not no_header and len(frame) == frame.shape[1] - 2:
        no_header, frame = True, _numeric_frame(path, separator, skip=0)  # ids precede the rows only
    n, width = frame.shape
    if width in (3, 4) and n > 4:
        raise InputError(
            f"{path} has {n} rows of {width} columns, like a list of pairs with their relationship: write it as a "
            "square matrix with a line of ids"
        )
    if fam:
        ids = read_ids(fam).ids
        if (n, width) != (len(ids), len(ids)):
            raise InputError(
                f"{path} is {n} x {width}, but {fam} has {len(ids)} individuals: give the .fam of the same run"
            )
        return Kinship(ids, _floats(frame, path), str(path))
    if not no_header and alike and numeric and n == width - 1 and _is_number(header[0]):
        raise InputError(
            f"{path} has no line of ids: add one, or give the ids beside it (fam, the .fam of the same run)"
        )
    if width == n + 1 and (no_header or len(header) == 1):
        return Kinship(tuple(frame[0].tolist()), _floats(frame.drop(columns=0), path), str(path))
    if no_header or width not in (n, n + 1) or len(header) not in (n, n + 1):
        above = f"{len(header)} ids, " if not no_header else ""
        raise InputError(
            f"{path}: a kinship matrix must be square under its line of ids, but {above}{n} rows and "
            f"{width} columns were found"
        )
    ids = tuple(header[-n:])
    if width == n + 1:
        rows, frame = frame[0].tolist(), frame.drop(columns=0)
        if differing := [f"{row} / {column}" for row, column in zip(rows, ids, strict=True) if row != column]:
            raise InputError(f"{path}: rows and columns must have the same ids in one order ({examples(differing)})")
    return Kinship(ids, _floats(frame, path), str(path))


def _first_lines(path: str | Path) -> tuple[str | None, list[str], list[str]]:
    """Return the separator, and the fields of the first two lines that are not blank."""
    with open_text(path) as stream:
        line = next((line for line in stream if line.strip()), "")
    separator = separator_of(line, path)
    with open_text(path) as stream:
        lines = (fields for _, fields in split_lines(stream, path))
        header, first = next(lines, []), next(lines, [])
    if not header:
        raise InputError(f"{path} cannot be read as a matrix: it is empty")
    return separator, [field.strip() for field in header], first


def _numeric_frame(path: str | Path, separator: str | None, *, skip: int) -> pd.DataFrame:
    """Read all but the first column as numbers where possible (text would need a gigabyte at n = 5,000)."""
    try:
        with open_text(path) as stream:
            for line in stream if skip else ():
                if line.strip():
                    break
            return pd.read_csv(stream, sep=separator or r"\s+", header=None, dtype={0: str}, keep_default_na=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise InputError(f"{path} cannot be read as a matrix: {str(error).strip()}") from None


def _floats(frame: pd.DataFrame, path: str | Path) -> Float64[ndarray, "rows columns"]:
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


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _check_memory(needed: float, n: int, path: str | Path) -> None:
    check_memory(
        needed,
        what=f"{path}: a kinship of {n:,} individuals",
        instead="use a machine with more memory, or a kinship of only the individuals analysed",
    )
