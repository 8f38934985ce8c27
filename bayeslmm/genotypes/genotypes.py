"""Genotypes of any format, and which of their markers a kinship is made from."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from jaxtyping import Bool, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.ids import known_places
from bayeslmm.genotypes.chromosomes import used_chromosomes
from bayeslmm.genotypes.selection import EVERYTHING, Selection
from bayeslmm.genotypes.source import DOSAGES, FORMATS, Format, Reader, Source, format_of
from bayeslmm.genotypes.subset import Subset


@dataclass(frozen=True)
class Genotypes:
    """Genotypes, opened but not read.

    Attributes:
        source: the individuals, the markers and their dosages.
        format: of the files.
        files: which hold them.
        used: which markers a kinship is made from: those of some chromosomes, shape (p,).
        left_out: how many markers there are on each of the other chromosomes.
        said: how individuals and markers were selected.
    """

    source: Source
    format: Format
    files: tuple[Path, ...]
    used: Bool[ndarray, " p"]
    left_out: dict[str, int]
    said: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        """The file with the dosages, for messages."""
        return self.source.path

    @property
    def name(self) -> str:
        """What messages call them."""
        return f"the selection of {self.path}" if self.said else str(self.path)

    @property
    def ids(self) -> tuple[str, ...]:
        """IID of each individual."""
        return self.source.ids

    @property
    def families(self) -> tuple[str, ...]:
        """FID of each individual."""
        return self.source.families

    @property
    def variants(self) -> pd.DataFrame:
        """One row for each marker: chrom, snp, pos, a1 and a0."""
        return self.source.variants

    @property
    def n_markers(self) -> int:
        """p, the number of markers."""
        return len(self.used)

    def reader(self) -> AbstractContextManager[Reader]:
        """Open the dosages for reading, inside a block."""
        return self.source.reader()

    def rows(self, ids: Sequence[str]) -> Int64[ndarray, " n"]:
        """Return the row of each of these individuals.

        Raises:
            InputError: naming those who are not in the file.
        """
        return known_places(ids, self.ids, where=self.path)


def open_genotypes(
    path: str | Path,
    *,
    chromosomes: Sequence[str] = (),
    format: str | None = None,
    sample: str | Path | None = None,
    dosage: str | None = None,
    selection: Selection = EVERYTHING,
) -> Genotypes:
    """Open genotypes and check that their files belong together.

    Args:
        path: of a file, or the prefix of a fileset: ``X`` or ``X.bed`` for PLINK 1.
        chromosomes: of which a kinship is made, names and ranges such as "1-22"; by default the autosomes (see
            `chromosomes.special_chromosomes`).
        format: one of `FORMATS`: "bfile", "pfile", "bgen", "vcf", "vcz"; by default that of the name.
        sample: the ``.sample`` of a BGEN without ids inside.
        dosage: of a VCF or VCF-Zarr: "GT", the default, for calls, or "DS" for dosages where there are some.
        selection: which individuals and markers are used.

    Raises:
        InputError: a missing or damaged file, a chromosome that is not in it, a library that is not installed, or
            options that this format does not have.
    """
    name = format or format_of(path)
    if name not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, but {name!r} was given")
    form = FORMATS[name]
    given = {option: value for option, value in (("sample", sample), ("dosage", dosage)) if value is not None}
    if wrong := [option for option in given if option not in form.options]:
        raise InputError(f"{wrong[0]} does not apply to genotypes of the format {name}: leave it out")
    if dosage is not None and dosage not in DOSAGES:
        raise InputError(f"dosage must be one of {', '.join(DOSAGES)}, but {dosage!r} was given")
    if chromosomes and selection.autosomes:
        raise InputError("autosomes and chromosomes (chr) both choose chromosomes: leave one out")
    source, said = _selected(form.open(path, **given), selection)
    used, left_out = used_chromosomes(source.variants["chrom"].to_numpy(), chromosomes, where=source.path)
    more = [Path(sample)] if sample is not None else []
    return Genotypes(source, form, (*form.files(path), *more), used, left_out, said)


def _selected(source: Source, selection: Selection) -> tuple[Source, tuple[str, ...]]:
    """Return what is used of genotypes, and what is said about it."""
    individuals = selection.individuals(source.ids, where=source.path)
    markers = selection.markers(source.variants, where=source.path)
    said = individuals.said + markers.said
    return (Subset.of(source, individuals.places, markers.places) if said else source), said
