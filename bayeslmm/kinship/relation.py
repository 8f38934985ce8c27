"""A kinship of a random effect beside the one of the individuals: whose effect do their records have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pandas as pd

from bayeslmm.base.checks import InputError
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.pedigree import pedigree_kinship
from bayeslmm.kinship.pedigree_files import parent_of


@dataclass(frozen=True)
class Relation:
    """A further kinship, and whose effect the records of an individual have.

    Attributes:
        name: of the random effect.
        kinship: of those who have the effect.
        level_of: id of an individual -> id of the one whose effect its records have, such as its mother; who is not
            in it has none. None: the effect is the individual's own.
    """

    name: str
    kinship: Kinship
    level_of: Mapping[str, str] | None = None

    def line(self) -> str:
        """Say what the kinship is."""
        whose = "" if self.level_of is None else f" (whose effect the records of {len(self.level_of):,} animals have)"
        return f"{self.name}: {len(self.kinship.ids):,} individuals{whose}; {self.kinship.origin_line()}"


def parental(
    name: str, pedigree: str | Path | pd.DataFrame, parent: Literal["sire", "dam"], *, missing: Sequence[str] = ()
) -> Relation:
    """Return the genetic effects of dams or of sires on the records of their offspring.

    Args:
        name: of the random effect.
        pedigree: as for `pedigree_kinship`, with a header.
        parent: whose effect it is.
        missing: further codes of an unknown parent.

    Raises:
        InputError: as `pedigree_kinship`; if there is no header, or no parent is known.

    Source: Willham (1972), doi:10.2527/jas1972.3561288x (maternal effects).
    """
    level_of = parent_of(pedigree, parent, missing=missing)
    if not level_of:
        where = "pedigree" if isinstance(pedigree, pd.DataFrame) else pedigree
        raise InputError(f"{where}: no {parent} is known, so none has an effect: leave {name!r} out")
    kinship = pedigree_kinship(pedigree, missing=missing)
    parents = set(level_of.values())
    return Relation(name, kinship.take([i for i, one in enumerate(kinship.ids) if one in parents]), level_of)
