"""The numerator relationship matrix of a pedigree, with inbreeding."""

from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import numpy as np

from bayeslmm.checks import InputError, check_unique, examples
from bayeslmm.kinship import Kinship
from bayeslmm.tables import read_text

_UNKNOWN = frozenset({"", "NA", "na", "nan", "NaN", "0"})
_NAMES = {
    "id": ("id", "iid", "#iid", "animal", "individual"),
    "sire": ("sire", "father", "pat", "sire_id"),
    "dam": ("dam", "mother", "mat", "dam_id"),
}


def pedigree_kinship(path: str | Path) -> Kinship:
    r"""Compute A, the additive relationships: :math:`A_{ii} = 1 + F_i`, :math:`A_{ij} = (A_{is_j} + A_{id_j}) / 2`.

    Args:
        path: a table with a header that names the columns id, sire and dam in any order (IID, animal, father and
            mother are accepted too). Rows stand in any order. Unknown parents are ``NA``, ``0`` or empty; parents
            without a row of their own are founders.

    Raises:
        InputError: missing columns, repeated ids, or an animal that is its own ancestor (the loop is named).

    Source: Henderson (1976), doi:10.2307/2529339 (the tabular method).
    """
    names, rows, lines = read_text(path)
    id_, sire, dam = (rows[:, _column(names, wanted, path)] for wanted in ("id", "sire", "dam"))
    if unknown := [line for name, line in zip(id_, lines, strict=True) if name in _UNKNOWN]:
        raise InputError(f"{path} line {unknown[0]}: the id must be known, but it is empty, NA or 0")
    check_unique(id_.tolist(), where=path)
    parents = {
        name: tuple(None if parent in _UNKNOWN else parent for parent in pair)
        for name, *pair in zip(id_, sire, dam, strict=True)
    }
    order = _parents_first(parents, path)
    position = {name: i for i, name in enumerate(order)}
    n = len(order)
    A = np.zeros((n, n))
    for i, name in enumerate(order):
        known = [position[parent] for parent in parents.get(name, ()) if parent is not None]
        for parent in known:
            A[i, :i] += A[parent, :i] / 2
        A[:i, i] = A[i, :i]
        A[i, i] = 1 + (A[known[0], known[1]] / 2 if len(known) == 2 else 0)
    return Kinship(
        tuple(order),
        A,
        str(path),
        {"animals": n, "founders_without_a_row": n - len(parents), "inbred": int((np.diag(A) > 1).sum())},
    )


def _parents_first(parents: dict[str, tuple[str | None, ...]], path: str | Path) -> list[str]:
    graph = {name: [parent for parent in pair if parent is not None] for name, pair in parents.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        loop = list(reversed(error.args[1]))
        raise InputError(
            f"{path}: no animal can be its own ancestor, but {' is a child of '.join(loop)}: correct one of these rows"
        ) from None


def _column(names: list[str], wanted: str, path: str | Path) -> int:
    found = [j for j, name in enumerate(names) if name.lower() in _NAMES[wanted]]
    if len(found) != 1:
        raise InputError(
            f"{path} line 1: the header must name one column {wanted} ({' or '.join(_NAMES[wanted])}), "
            f"but it names {examples(names, most=8)}"
        )
    return found[0]
