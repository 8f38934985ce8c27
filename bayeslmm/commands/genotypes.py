"""Genotypes among the options: one option for each format that is known."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bayeslmm.genotypes.source import FORMATS, Format

if TYPE_CHECKING:
    from bayeslmm.genotypes.genotypes import Genotypes

OPTIONS = " or ".join(f"--{name}" for name in FORMATS)
"""For messages about genotypes that were not given."""


class GenotypeFile(NamedTuple):
    """The genotypes that were given, whatever their format."""

    format: Format
    path: str

    @property
    def files(self) -> list[Path]:
        """What is read."""
        return self.format.files(self.path)

    def open(self, chromosomes: Sequence[str]) -> "Genotypes":
        """Open them, for a kinship of these chromosomes; the rest as for `open_genotypes`."""
        from bayeslmm.genotypes.genotypes import open_genotypes  # not to wait for pandas where options are shown

        return open_genotypes(self.path, chromosomes=chromosomes, format=self.format.name)


def add_genotype_options(group: argparse._ActionsContainer, use: str = "") -> None:
    """Add an option for each format to a group of which one is needed."""
    for form in FORMATS.values():
        group.add_argument(f"--{form.name}", metavar=form.metavar, help=form.help + use)


def genotype_file(values: Mapping[str, Any]) -> GenotypeFile | None:
    """Return the genotypes among the values of all options, if any were given."""
    given = [GenotypeFile(form, values[name]) for name, form in FORMATS.items() if values.get(name)]
    return given[0] if given else None
