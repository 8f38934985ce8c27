"""Kinships in files of any kind: which one it is shows in its name and content."""

from pathlib import Path

import numpy as np
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_readable
from bayeslmm.base.files import reading
from bayeslmm.base.ids import read_ids
from bayeslmm.kinship.grm import read_grm
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.names import ids_beside, is_grm
from bayeslmm.kinship.numbers import check_kinship_memory
from bayeslmm.kinship.text_matrix import Beside, TextMatrix, read_text_matrix
from bayeslmm.kinship.triangles import mirrored, triangle, widened

_BY_SIZE = "{0} x {0} values of float64 or float32, or a triangle of them"


def read_kinship(path: str | Path, *, fam: str | Path | None = None) -> Kinship:
    """Read a kinship matrix from a file; ``details["read_as"]`` says what it was taken for.

    - Text, which may be compressed, with commas, tabs, semicolons (decimals may then have commas) or blanks: a square
      matrix with ids in its first line, in its first column (GAPIT; TASSEL with their number above) or in both, as R
      writes it with or without quotes (rrBLUP, sommer); or numbers only, square, or a triangle (GEMMA's ``.cXX.txt``
      and ``.sXX.txt``, plink's ``.rel``); or a list of pairs: two ids and their relationship, or plink2's and KING's
      ``.kin0``, if it holds all pairs.
    - plink's ``.rel.bin``, NumPy's ``.npy``, and GCTA's files (`read_grm`).

    Coefficients of KING (``.king``, ``.king.bin``, ``.kin0``) are phi, half the relationship, and are doubled.

    Args:
        path: the matrix.
        fam: a ``.fam``, ``.grm.id`` or ``.rel.id`` file with the ids of a matrix without them; by default the file
            beside it, as plink names it: ``X.rel.id`` of ``X.rel`` or ``X.rel.bin``, ``K.id`` of ``K.npy``.

    Raises:
        InputError: not square, not numeric, ids that are missing, or that differ between rows and columns.
    """
    if is_grm(path):
        return read_grm(path)
    ids = Path(fam) if fam else ids_beside(path)
    beside = Beside(read_ids(ids), ids, needed=fam is not None) if ids else None
    king = any(".king" in Path(name).name for name in (path, ids or ""))
    with reading(check_readable(path)), Path(path).open("rb") as stream:
        start = stream.read(6)
    if Path(path).suffix == ".bin" or start == b"\x93NUMPY":
        if beside is None:
            raise InputError(
                f"{path} holds numbers only: give the ids beside it (fam), or name them {Path(path).with_suffix('.id')}"
            )
        n = len(beside.individuals.ids)
        K, words = _numpy(path) if start == b"\x93NUMPY" else _binary(path, n, king=king)
        if K.shape != (n, n):
            raise InputError(
                f"{path} is {K.shape[0]} x {K.shape[1]}, but {ids} has {n} individuals: give the ids of the same run"
            )
        found = TextMatrix(beside.individuals, K, f"{words}, with the ids of {ids}")
    else:
        found = read_text_matrix(path, beside, king=king)
    K, words = found.K, found.words
    if king or found.king:
        K, words = 2 * K, f"{words}; the values are KING's phi, half the relationship, and are doubled"
    return Kinship(found.individuals.ids, K, str(path), {"read_as": words}, found.individuals.families)


def _numpy(path: str | Path) -> tuple[ndarray, str]:
    """Read a matrix of NumPy."""
    try:
        with reading(path):
            K = np.load(path, allow_pickle=False)
    except InputError:
        raise
    except Exception as error:  # whatever NumPy makes of bytes that are damaged
        raise InputError(f"{path} cannot be read as an array of NumPy ({error})") from None
    if not isinstance(K, ndarray) or K.ndim != 2 or K.dtype.kind not in "iuf":
        what = f"{K.dtype} {K.shape}" if isinstance(K, ndarray) else type(K).__name__
        raise InputError(f"{path} must hold one matrix of numbers, but {what} was found")
    return widened(K), f"an array of NumPy ({K.dtype})"


def _binary(path: str | Path, n: int, *, king: bool) -> tuple[ndarray, str]:
    """Read a matrix of plink without a header: its size says which of its shapes it has."""
    check_kinship_memory(16.0 * n**2, n, path)
    size = Path(path).stat().st_size
    inner, whole = n * (n - 1) // 2, n * (n + 1) // 2
    for kind, width in (("float64", 8), ("float32", 4)):
        shapes = {"a square matrix": n * n, "a triangle": inner if king else whole}
        for shape, count in shapes.items():
            if size != width * count:
                continue
            with reading(path):
                values = np.fromfile(path, dtype=f"<{kind[0]}{width}", count=count)
            if values.size != count:
                raise InputError(f"{path} has changed while it was read: begin again")
            words = f"plink's {shape.removeprefix('a ')} in {kind}"
            if shape == "a triangle":
                return triangle(values, n, diagonal=0.5 if king else None), words
            return mirrored(widened(values.reshape(n, n))), words
    raise InputError(
        f"{path}: {n} ids need {_BY_SIZE.format(n)}, but {size} bytes were found: the file is cut off, or belongs to "
        "other ids"
    )
