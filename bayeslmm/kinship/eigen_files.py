"""Kinships from their eigenvalues and eigenvectors, as GEMMA writes them."""

from pathlib import Path

import numpy as np

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import read_lines
from bayeslmm.base.ids import Individuals, read_ids
from bayeslmm.base.text import as_numbers, is_missing
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.numbers import check_kinship_memory, floats, numeric_frame

_ORTHONORMAL = 1e-3  # GEMMA writes ten digits; a matrix that is none is off by about 1


def read_eigen(values: str | Path, vectors: str | Path, *, fam: str | Path) -> Kinship:
    """Return K = U diag(s) U' from GEMMA's ``.eigenD.txt`` and ``.eigenU.txt``.

    GEMMA writes them for the individuals that it analysed, with K centred on them, and without ids.

    Args:
        values: s, one in each line.
        vectors: U, an eigenvector in each column.
        fam: the individuals in the same order: as many as there are eigenvalues, or a ``.fam`` in which as many have a
            phenotype in the sixth column, which are those that GEMMA analyses.

    Raises:
        InputError: numbers of rows that do not fit, or U that is not orthonormal.
    """
    s = floats(numeric_frame(values, None, skip=0, ids=0), values)
    if s.shape[1] != 1:
        raise InputError(f"{values}: eigenvalues stand one in a line, but lines have {s.shape[1]} values")
    n = len(s)
    check_kinship_memory(32.0 * n**2, n, vectors)
    U = floats(numeric_frame(vectors, None, skip=0, ids=0), vectors)
    if U.shape != (n, n):
        raise InputError(
            f"{vectors} is {U.shape[0]} x {U.shape[1]}, but {values} has {n} eigenvalues: give the two of one run"
        )
    z = np.random.default_rng(0).standard_normal(n)
    if not (error := np.linalg.norm(U @ (U.T @ z) - z) / np.linalg.norm(z)) < _ORTHONORMAL:
        raise InputError(f"{vectors} must hold orthonormal eigenvectors, but is off by {error:.2g}: write it again")
    individuals, which = _analysed(fam, n, vectors)
    words = f"GEMMA's eigenvalues and eigenvectors of {n:,} individuals, {which}"
    K = (U * s[:, 0]) @ U.T
    return Kinship(individuals.ids, (K + K.T) / 2, str(vectors), {"read_as": words}, individuals.families)


def _analysed(fam: str | Path, n: int, vectors: str | Path) -> tuple[Individuals, str]:
    """Return the individuals of the eigenvectors, and who they are in words."""
    everybody = read_ids(fam)
    if len(everybody.ids) == n:
        return everybody, f"all of {fam}"
    lines = [fields for line in read_lines(fam) if (fields := line.split())]
    phenotypes = np.array([fields[5] for fields in lines if len(fields) > 5], dtype=object)
    known = np.flatnonzero(~is_missing(phenotypes, ["-9"]) & np.isfinite(as_numbers(phenotypes)))
    if len(known) != n:
        has = f" ({len(known)} of them with a phenotype in its sixth column)" if phenotypes.size else ""
        raise InputError(
            f"{vectors} has {n} individuals, but {fam} has {len(everybody.ids)}{has}: give the ids (fam) of those that "
            "GEMMA analysed, in its order"
        )
    chosen = Individuals(*(tuple(column[i] for i in known) for column in everybody))
    return chosen, f"those of {fam} with a phenotype in its sixth column"
