"""The kinship under a name: genotypes, GCTA's files, a matrix or a pedigree, whichever is there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.base.files import open_text
from bayeslmm.base.text import split_lines
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.genotypes.selection import EVERYTHING, Selection
from bayeslmm.genotypes.source import FORMATS, format_of, formats_there
from bayeslmm.kinship.files import read_kinship
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.grm import read_grm
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.names import grm_files
from bayeslmm.kinship.pedigree import pedigree_kinship
from bayeslmm.kinship.pedigree_files import is_pedigree


def find_genotypes(
    path: str,
    *,
    chromosomes: Sequence[str] = (),
    selection: Selection = EVERYTHING,
    options: Mapping[str, str] | None = None,
) -> Genotypes:
    """Open genotypes of whatever format their name says.

    Args:
        path: with or without its ending.
        chromosomes: as for `open_genotypes`.
        selection: which individuals and markers are used.
        options: of formats, sample and dosage: those that this format has are used.

    Raises:
        InputError: as `open_genotypes`.
    """
    form = FORMATS[format_of(path)]
    own = {name: value for name, value in (options or {}).items() if name in form.options}
    return open_genotypes(path, chromosomes=chromosomes, format=form.name, selection=selection, **own)


def find_kinship(
    path: str,
    *,
    missing: Sequence[str] = (),
    scale: str = SCALE,
    maf: float = MAF,
    geno: float = GENO,
    selection: Selection = EVERYTHING,
    options: Mapping[str, str] | None = None,
) -> tuple[Kinship, Genotypes | None]:
    """Return the kinship of a path, and the genotypes it was computed from, if it was.

    Args:
        path: of genotypes or of GCTA's kinship, each with or without its ending, of a matrix (`read_kinship`), or of a
            pedigree: a table with the columns sire and dam.
        missing: further codes of an unknown parent in a pedigree.
        scale: of markers.
        maf: least minor allele frequency.
        geno: largest missing rate.
        selection: which individuals and markers of genotypes are used; other kinships are whole.
        options: of formats of genotypes, as for `find_genotypes`.

    Raises:
        InputError: if there is nothing, or both genotypes and a kinship; as the readers do.
    """
    genotyped, related = formats_there(path), grm_files(path)[0].exists()
    if genotyped and related:
        raise InputError(
            f"{path} names genotypes and a kinship: give the whole name of a file, "
            f"{grm_files(path)[0]} or one of the genotypes"
        )
    if genotyped:
        genotypes = find_genotypes(path, selection=selection, options=options)
        return genomic_kinship(genotypes, scale=scale, maf=maf, geno=geno), genotypes
    if related:
        return read_grm(path), None
    if not Path(path).exists():
        raise InputError(
            f"kinship {path}: there is no such file, nor genotypes {path}.bed or a kinship {path}.grm.bin: check the "
            "name and the folder"
        )
    text = Path(path).suffix not in (".bin", ".npy")
    if text and is_pedigree(_header(path)):
        return pedigree_kinship(path, missing=missing), None
    return read_kinship(path), None


def _header(path: str) -> list[str]:
    with open_text(path) as stream:
        return [name.strip() for name in next((fields for _, fields in split_lines(stream, path)), [])]
