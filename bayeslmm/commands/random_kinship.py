"""A further kinship among the options: --random-kinship NAME=FILE, or NAME=FILE@WHAT for what is made of the file."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.genotypes.selection import EVERYTHING, Selection
from bayeslmm.genotypes.source import FORMATS, format_of, formats_there
from bayeslmm.kinship.names import grm_files, kinship_files

if TYPE_CHECKING:
    from bayeslmm.kinship.relation import Relation

RANDOM_KINSHIP = "--random-kinship"
_PARENTS = {"mother": "dam", "father": "sire"}
_DOMINANCE = "dominance"
_CHROMOSOMES = re.compile(r"chr[^@/]+")
_WHATS = "@mother or @father of a pedigree, @dominance or @chr1,3,5-9 of genotypes"


class RandomKinship(NamedTuple):
    """A further kinship as it was typed.

    Attributes:
        name: of the random effect.
        path: of a kinship, of a pedigree or of genotypes.
        what: is made of it: "mother", "father", "dominance", chromosomes such as "chr1,3"; empty for the whole.
    """

    name: str
    path: str
    what: str = ""

    def __str__(self) -> str:
        return f"{RANDOM_KINSHIP} {self.name}={self.path}{self.what and f'@{self.what}'}"

    @property
    def files(self) -> list[Path]:
        """What is read."""
        if self.what in _PARENTS:
            return [Path(self.path)]
        if self.what or formats_there(self.path):
            return FORMATS[format_of(self.path)].files(self.path)
        return list(grm_files(self.path)) if grm_files(self.path)[0].exists() else kinship_files(self.path, None)


def random_kinship(text: str) -> RandomKinship:
    """Return what was typed after the option.

    Raises:
        InputError: if it has no name or no file, or what is made of the file is unknown.
    """
    name, equals, given = text.partition("=")
    if not equals or not name.strip() or not given:
        raise InputError(
            f"{RANDOM_KINSHIP} {text}: a name and a file are expected, NAME=FILE or NAME=FILE@WHAT, such as "
            "maternal=pedigree.csv@mother"
        )
    path, at, what = given.rpartition("@")
    if not at or not path:
        return RandomKinship(name.strip(), given)
    if what in _PARENTS or what == _DOMINANCE or _CHROMOSOMES.fullmatch(what):
        return RandomKinship(name.strip(), path, what)
    if Path(given).exists() or formats_there(given) or grm_files(given)[0].exists():
        return RandomKinship(name.strip(), given)
    raise InputError(f"{RANDOM_KINSHIP} {text}: after @ one of {_WHATS} is expected, but {what!r} was given")


def further_kinship(
    given: RandomKinship,
    *,
    missing: Sequence[str] = (),
    scale: str = SCALE,
    maf: float = MAF,
    geno: float = GENO,
    selection: Selection = EVERYTHING,
    options: Mapping[str, str] | None = None,
) -> "Relation":
    """Read or make a further kinship.

    Args:
        given: as it was typed.
        missing: codes of an unknown parent.
        scale: of markers; dominance has its own.
        maf: least minor allele frequency.
        geno: largest missing rate of a marker.
        selection: which individuals and markers are used. Parents are not selected: they need no record.
        options: of formats of genotypes, sample and dosage.

    Raises:
        InputError: as the readers do.
    """
    from bayeslmm.kinship.found import find_genotypes, find_kinship
    from bayeslmm.kinship.from_genotypes import dominance_kinship, genomic_kinship
    from bayeslmm.kinship.relation import Relation, parental

    name, path, what = given
    if what in _PARENTS:
        return parental(name, path, "dam" if what == "mother" else "sire", missing=missing)
    if what:
        chosen = () if what == _DOMINANCE else (what,)
        genotypes = find_genotypes(path, chromosomes=chosen, selection=selection, options=options)
        if what == _DOMINANCE:
            return Relation(name, dominance_kinship(genotypes, maf=maf, geno=geno))
        return Relation(name, genomic_kinship(genotypes, scale=scale, maf=maf, geno=geno))
    filters = {"scale": scale, "maf": maf, "geno": geno}
    kinship, genotypes = find_kinship(path, missing=missing, selection=selection, options=options, **filters)
    if genotypes is None:
        individuals = selection.individuals(kinship.ids, where=kinship.source)
        kinship = kinship.take(individuals.places) if individuals.said else kinship
    return Relation(name, kinship)
