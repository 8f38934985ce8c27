"""Whatever a user has of kinship as a `Kinship`: matrices, pedigrees, genotypes, files of them."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.frames import as_text
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.found import find_kinship
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.pedigree import pedigree_kinship
from bayeslmm.kinship.pedigree_files import is_pedigree

KinshipLike = Kinship | Genotypes | pd.DataFrame | ndarray | str | Path
"""What can be given as a kinship; see `kinship_of`."""

NAME = "kinship"
"""How messages call a matrix in memory: it is the argument of this name."""


def kinship_of(given: KinshipLike, *, ids: Iterable[object] | None = None) -> tuple[Kinship, Genotypes | None]:
    """Return the kinship that was given, and the genotypes it was computed from, if it was.

    Args:
        given: a `Kinship`; a matrix as a DataFrame with the ids in index and columns, or as an array with ``ids``; a
            pedigree as a DataFrame with the columns id, sire, dam; opened genotypes; or a path: of genotypes, of
            GCTA's ``.grm.bin``, each with or without its ending, of a matrix (`read_kinship`), or of a pedigree.
        ids: of the rows of an array.

    Raises:
        InputError: if it is none of these, ids are missing or differ between rows and columns, or as the readers do.
    """
    if ids is not None and not isinstance(given, ndarray):
        raise InputError(f"ids are those of an array, but the kinship is a {type(given).__name__} that has its own")
    match given:
        case Kinship():
            return given, None
        case Genotypes():
            return genomic_kinship(given), given
        case pd.DataFrame() if is_pedigree([str(name) for name in given.columns]):
            return pedigree_kinship(given), None
        case pd.DataFrame():
            return _of_frame(given), None
        case ndarray():
            if ids is None:
                raise InputError("the kinship is an array without ids: give those of its rows (ids), or a DataFrame")
            return Kinship(tuple(as_text(pd.Index(list(ids))).tolist()), np.asarray(given, dtype=float), NAME), None
        case str() | Path():
            return find_kinship(str(given))
    raise InputError(f"a kinship must be a Kinship, DataFrame, array, path or genotypes, not a {type(given).__name__}")


def _of_frame(K: pd.DataFrame) -> Kinship:
    rows, columns = as_text(K.index).tolist(), as_text(K.columns).tolist()
    if rows != columns:
        differing = [f"{row} / {column}" for row, column in zip(rows, columns, strict=False) if row != column]
        raise InputError(
            f"the kinship is a DataFrame of {len(rows)} rows and {len(columns)} columns whose ids differ "
            f"({examples(differing) or 'one has more'}): they must have the same ids in one order (read it with "
            "index_col=0, or reindex it)"
        )
    try:
        return Kinship(tuple(rows), K.to_numpy(float, na_value=np.nan), NAME)
    except (TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"the kinship is a DataFrame that does not hold numbers only ({error})") from None
