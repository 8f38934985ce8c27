"""Genotypes among the options: one option for each format that is known, and which individuals and markers are used."""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.selection import EVERYTHING, Selection
from bayeslmm.genotypes.source import DOSAGES, FORMATS, Format

if TYPE_CHECKING:
    from bayeslmm.genotypes.genotypes import Genotypes

_NAMES = [f"--{name}" for name in FORMATS]
OPTIONS = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
"""For messages about genotypes that were not given."""


class GenotypeFile(NamedTuple):
    """The genotypes that were given, whatever their format."""

    format: Format
    path: str
    options: Mapping[str, Any]

    @property
    def files(self) -> list[Path]:
        """What is read."""
        sample = self.options.get("sample")
        return [*self.format.files(self.path), *([Path(sample)] if sample else [])]

    def open(self, chromosomes: Sequence[str], selection: Selection = EVERYTHING) -> "Genotypes":
        """Open them, for a kinship of these chromosomes; the rest as for `open_genotypes`. Say what was selected."""
        from bayeslmm.genotypes.genotypes import open_genotypes  # not to wait for pandas where options are shown

        genotypes = open_genotypes(
            self.path, chromosomes=chromosomes, format=self.format.name, selection=selection, **self.options
        )
        for line in genotypes.said:
            print(line)
        return genotypes


def add_genotype_options(group: argparse._ActionsContainer, use: str = "") -> None:
    """Add an option for each format to a group of which one is needed."""
    for form in FORMATS.values():
        group.add_argument(f"--{form.name}", metavar=form.metavar, help=form.help + use)


def add_format_options(group: argparse._ActionsContainer) -> None:
    """Add what some formats can be told."""
    group.add_argument("--sample", metavar="F", help="ids of a --bgen without them inside (.sample)")
    group.add_argument(
        "--dosage",
        choices=DOSAGES,
        type=str.upper,
        help="field of --vcf or --vcz: calls (GT, by default), or dosages where there are some (DS)",
    )


def add_selection_options(group: argparse._ActionsContainer) -> None:
    """Add which individuals and markers are used."""
    ids = "IID, or FID and IID, on each line"
    group.add_argument("--keep", metavar="F", help=f"use only the individuals of F: {ids}")
    group.add_argument("--remove", metavar="F", help=f"use all individuals but those of F: {ids}")
    group.add_argument("--extract", metavar="F", help="use only the markers of F: an id on each line")
    group.add_argument("--exclude", metavar="F", help="use all markers but those of F")
    group.add_argument(
        "--autosomes", action="store_true", help="use only markers of autosomes, also where markers are tested"
    )


def add_cutoff_option(group: argparse._ActionsContainer) -> None:
    """Add how related the individuals analysed may be."""
    group.add_argument(
        "--grm-cutoff", type=float, metavar="C", help="leave out one of each pair of individuals with K above C"
    )


def genotype_file(values: Mapping[str, Any]) -> GenotypeFile | None:
    """Return the genotypes among the values of all options, if any were given.

    Raises:
        InputError: for an option of another format.
    """
    given = {name: form for name, form in FORMATS.items() if values.get(name)}
    form = next(iter(given.values()), None)
    options = {name: values[name] for name in ("sample", "dosage") if values.get(name) is not None}
    for name in options:
        if form is None or name not in form.options:
            of = " and ".join(f"--{other.name}" for other in FORMATS.values() if name in other.options)
            raise InputError(f"--{name} applies to {of}: leave it out")
    return GenotypeFile(form, values[form.name], options) if form else None
