"""The numerator relationship matrix of a pedigree, with inbreeding."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from bayeslmm.base.memory import check_memory
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.pedigree_files import read_pedigree


def pedigree_kinship(pedigree: str | Path | pd.DataFrame, *, missing: Sequence[str] = ()) -> Kinship:
    r"""Compute A, the additive relationships: :math:`A_{ii} = 1 + F_i`, :math:`A_{ij} = (A_{is_j} + A_{id_j}) / 2`.

    Args:
        pedigree: a DataFrame, or the path of a table with a header, with the columns id, sire and dam in any order
            (IID, animal, father and mother are accepted too), its rows in any order. Unknown parents are 0, -1, -9, or
            what is missing in any table (`tables.MISSING`: empty, ``NA``, ``.``, ``*`` and so on); parents without a
            row are founders. Three columns without a header are animal and parents, in whatever order (A is the same).
        missing: further codes of an unknown parent.

    Raises:
        InputError: missing columns, repeated ids, an animal that is its own ancestor (the loop is named), parents that
            nearly match an animal, or one that must be a code of the unknown.

    Source: Henderson (1976), doi:10.2307/2529339 (the tabular method).
    """
    animals = read_pedigree(pedigree, missing=missing)
    n = len(animals.ids)
    check_memory(
        8.0 * n**2,
        what=f"{animals.source}: the relationship matrix of {n:,} animals",
        instead="leave out animals that are neither measured nor ancestors of those measured, or use a machine with "
        "more memory",
    )
    A = np.zeros((n, n))
    for i, pair in enumerate(zip(animals.sires.tolist(), animals.dams.tolist(), strict=True)):
        of_two = [parent for parent in pair if parent >= 0]
        for parent in of_two:
            A[i, :i] += A[parent, :i] / 2
        A[:i, i] = A[i, :i]
        A[i, i] = 1 + (A[of_two[0], of_two[1]] / 2 if len(of_two) == 2 else 0)
    return Kinship(animals.ids, A, animals.source, animals.details(int((np.diag(A) > 1).sum())))
