"""Genotypes among the options: one option for each format that is known."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.source import FORMATS, Format

if TYPE_CHECKING:
    from bayeslmm.genotypes.genotypes import Genotypes

OPTIONS = " or ".join(f"--{name}" for name in FORMATS)
"""For messages about genotypes that were not given."""


def add_genotype_options(group: argparse._ActionsContainer, use: str = "") -> None:
    """Add an option for each format to a group of which one is needed."""
    for form in FORMATS.values():
        group.add_argument(f"--{form.name}", metavar=form.metavar, help=form.help + use)


def genotype_file(options: argparse.Namespace) -> tuple[Format, str] | None:
    """Return the format and the path of the genotypes that were given, if any were."""
    given = [(form, getattr(options, form.name)) for form in FORMATS.values()]
    return next(((form, path) for form, path in given if path), None)


def genotype_files(options: argparse.Namespace) -> list[Path]:
    """Return the files of the genotypes that were given; none without them."""
    given = genotype_file(options)
    return given[0].files(given[1]) if given else []


def given_genotypes(options: argparse.Namespace) -> "Genotypes":
    """Open the genotypes that were given, for a kinship of the chromosomes chosen.

    Raises:
        InputError: if none were given, or as `open_genotypes`.
    """
    from bayeslmm.genotypes.genotypes import open_genotypes  # not to wait for pandas where options are shown

    given = genotype_file(options)
    if given is None:
        raise InputError(f"genotypes are needed: {OPTIONS}")
    return open_genotypes(given[1], chromosomes=options.chr, format=given[0].name)
