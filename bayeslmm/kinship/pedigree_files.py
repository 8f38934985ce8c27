"""Pedigrees from tables: animals and their parents, each after its own."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples, quoted
from bayeslmm.base.frames import as_text
from bayeslmm.base.ids import near_matches, near_words
from bayeslmm.base.text import check_header, is_missing, read_cells

_FEW = 10  # founders: among fewer, two may well be the parents of all the others
_SHOWN = 6  # animals of a loop

# Besides the codes of any table: numbers that pedigree programs write for an unknown parent.
_UNKNOWN = ("0", "-1", "-9")
_NAMES = {
    "id": ("id", "iid", "#iid", "animal", "individual"),
    "sire": ("sire", "father", "pat", "sire_id"),
    "dam": ("dam", "mother", "mat", "dam_id"),
}

Parents = dict[str, tuple[str | None, str | None]]
"""Sire and dam of each animal with a row."""


@dataclass(frozen=True)
class Pedigree:
    """Animals in an order in which parents precede their offspring.

    Attributes:
        ids: of all animals, parents without a row among them.
        sires: number of the sire of each, -1 if it is unknown, shape (n,).
        dams: that of the dam.
        source: where it comes from, for messages.
        founders_without_a_row: how many parents have none.
        such_founders: some of them, with the number of their offspring.
    """

    ids: tuple[str, ...]
    sires: Int64[ndarray, " n"]
    dams: Int64[ndarray, " n"]
    source: str
    founders_without_a_row: int = 0
    such_founders: str = ""

    def details(self, inbred: int) -> dict[str, Any]:
        """Return what is told of a kinship of these animals, of whom so many are inbred."""
        return {
            "animals": len(self.ids),
            "founders_without_a_row": self.founders_without_a_row,
            "such_founders": self.such_founders,
            "inbred": inbred,
        }


def is_pedigree(names: Sequence[str]) -> bool:
    """Return whether a table with these columns is a pedigree."""
    return all(any(name.lower() in _NAMES[wanted] for name in names) for wanted in ("sire", "dam"))


def read_pedigree(pedigree: str | Path | pd.DataFrame, *, missing: Sequence[str] = ()) -> Pedigree:
    """Read a pedigree, as `pedigree_kinship` does.

    Raises:
        InputError: as `pedigree_kinship`.
    """
    path, parents, _ = _parents(pedigree, missing)
    offspring = Counter(
        name for pair in parents.values() for name in set(pair) if name is not None and name not in parents
    )
    _check_founders(parents, offspring, path)
    order = _parents_first(parents, path)
    position: dict[str | None, int] = {name: i for i, name in enumerate(order)}
    position |= {None: -1}
    of = np.array([[position[parent] for parent in parents.get(name, (None, None))] for name in order])
    return Pedigree(
        tuple(order),
        of[:, 0],
        of[:, 1],
        str(path),
        len(offspring),
        examples(f"{name} with {count:,} offspring" for name, count in offspring.most_common()),
    )


def parent_of(
    pedigree: str | Path | pd.DataFrame, parent: Literal["sire", "dam"], *, missing: Sequence[str] = ()
) -> dict[str, str]:
    """Return one parent of each animal where it is known.

    Args:
        pedigree: as for `pedigree_kinship`, but with a header that says which parent is which.
        parent: which one.
        missing: further codes of an unknown parent.

    Raises:
        InputError: as `pedigree_kinship`; or without a header.
    """
    path, parents, named = _parents(pedigree, missing)
    if not named:
        raise InputError(f"{path} has no header that says which parent is the {parent}: add a line 'id sire dam'")
    of_animals = ((name, pair[parent == "dam"]) for name, pair in parents.items())
    return {name: one for name, one in of_animals if one is not None}


def _parents(pedigree: str | Path | pd.DataFrame, missing: Sequence[str]) -> tuple[str | Path, Parents, bool]:
    """Return the path, sire and dam of each animal, and whether a header names them."""
    if isinstance(pedigree, pd.DataFrame):
        frame = pedigree if pedigree.index.name is None else pedigree.reset_index()
        path, names, lines = "pedigree", [str(name) for name in frame.columns], list(range(1, len(frame) + 1))
        rows, named = np.column_stack([as_text(frame.iloc[:, j]) for j in range(len(names))]), True
    else:
        path, (names, rows, lines, named) = pedigree, _read(pedigree, [*_UNKNOWN, *missing])
    columns = [rows[:, _column(names, wanted, path)] for wanted in ("id", "sire", "dam")]
    codes = [*_UNKNOWN, *missing]
    unnamed, *unknown = (is_missing(column, codes) for column in columns)
    if unnamed.any():
        row = int(np.argmax(unnamed))
        raise InputError(f"{path} line {lines[row]}: the id must be known, but {quoted(columns[0][row])} means unknown")
    check_unique(columns[0].tolist(), where=path, advice="keep one line for each animal")
    sires, dams = (
        [None if gap else str(name) for name, gap in zip(column, gaps, strict=True)]
        for column, gaps in zip(columns[1:], unknown, strict=True)
    )
    return path, dict(zip(columns[0].tolist(), zip(sires, dams, strict=True), strict=True)), named


def _read(path: str | Path, codes: Sequence[str]) -> tuple[list[str], ndarray, list[int], bool]:
    """Return names, rows and lines of a table, and whether it has a header.

    Without one its three columns are animal, parent and parent.
    """
    cells = read_cells(path)
    first, *parents = cells.rows[0]
    known = {row[0] for row in cells.rows}
    named = [name.lower() for name in cells.rows[0]]
    if len(parents) == 2 and not any(name in names for names in _NAMES.values() for name in named):
        unknown = is_missing(np.array(parents, dtype=object), codes)
        if all(gap or parent in known - {first} for parent, gap in zip(parents, unknown, strict=True)):
            return ["id", "sire", "dam"], np.array(cells.rows, dtype=object), cells.lines, False
    check_header(cells, path)
    return cells.rows[0], np.array(cells.rows[1:], dtype=object), cells.lines[1:], True


def _check_founders(parents: Parents, offspring: Counter[str], path: str | Path) -> None:
    """Refuse parents without a row that nearly match an animal, or that are parents of most founders.

    Args:
        parents: of each animal with a row.
        offspring: how many each parent without a row has.
        path: of the pedigree, for messages.
    """
    if near := near_matches(offspring, parents):
        raise InputError(
            f"{path}: {len(near)} parents without a line nearly match an animal that has one "
            f"({near_words(near)}): write each animal in one way, or add a line for them if they are other animals"
        )
    if not offspring:
        return
    founders = [pair for pair in parents.values() if not any(parent in parents for parent in pair)]
    for name, _ in offspring.most_common(2):
        selfed, children = sum(pair == (name, name) for pair in founders), sum(name in pair for pair in founders)
        if 2 * children > len(founders) and (selfed > 1 or len(founders) >= _FEW):
            raise InputError(
                f"{path}: {examples([name])} has no line and is a parent of {children} of the {len(founders)} animals "
                "whose parents have no line, like a code for an unknown parent: list it among the missing codes, or "
                "add a line for it if it is an animal"
            )


def _parents_first(parents: Parents, path: str | Path) -> list[str]:
    graph = {name: [parent for parent in pair if parent is not None] for name, pair in parents.items()}
    try:
        return list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        loop = list(reversed(error.args[1]))
        shown = " is a child of ".join(examples([name]) for name in loop[:_SHOWN])
        more = f" and so on, over {len(loop) - 1} animals," if len(loop) > _SHOWN else ""
        raise InputError(
            f"{path}: no animal can be its own ancestor, but {shown}{more}: correct one of these rows"
        ) from None


def _column(names: list[str], wanted: str, path: str | Path) -> int:
    found = [j for j, name in enumerate(names) if name.lower() in _NAMES[wanted]]
    if len(found) != 1:
        raise InputError(
            f"{path} line 1: the header must name one column {wanted} ({' or '.join(_NAMES[wanted])}), "
            f"but it names {examples(names, most=8)}: add a header line such as 'id sire dam'"
        )
    return found[0]
