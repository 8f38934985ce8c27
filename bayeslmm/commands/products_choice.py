"""Whether a command multiplies with K in place of holding it as a matrix: as asked for, or as there is no room."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from bayeslmm.base.checks import InputError
from bayeslmm.base.ids import read_ids
from bayeslmm.base.memory import available
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.cluster import ClusterSettings
from bayeslmm.commands.inputs import ChooseProducts
from bayeslmm.commands.products_kept import is_unfinished
from bayeslmm.commands.run import Run
from bayeslmm.commands.settings import KinshipSettings
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.genotype_products import genotype_products
from bayeslmm.kinship.grm_products import grm_products
from bayeslmm.kinship.names import grm_files
from bayeslmm.kinship.pedigree_files import read_pedigree
from bayeslmm.kinship.pedigree_products import pedigree_products
from bayeslmm.kinship.products import Products, Restricted
from bayeslmm.posterior.groups import OF_ROWS


@dataclass(frozen=True)
class ProductsSettings:
    """Whether K is multiplied with, and to which error."""

    kinship_as: Literal["matrix", "products"] | None
    probe_error: float
    resume: bool
    cluster: ClusterSettings

    def __post_init__(self) -> None:
        if self.cluster.cluster is not None and self.kinship_as == "matrix":
            raise InputError("--cluster shares passes over genotypes, and --kinship-as matrix has none: leave one out")
        if not 0 < self.probe_error < math.inf:
            raise InputError(f"--probe-error must be a number above 0, but {self.probe_error:g} was given")

    @property
    def asked(self) -> str:
        """The option that asks for products; empty if none does."""
        return "--kinship-as products" if self.kinship_as == "products" else "--cluster" if self.cluster.cluster else ""

    def check(self, kinship: KinshipSettings, needs_matrix: str) -> None:
        """Refuse products where other options need a matrix, and a cluster that has nothing to do.

        Args:
            kinship: where K comes from.
            needs_matrix: why other options need a matrix; empty if they do not.

        Raises:
            InputError: saying why.
        """
        self.cluster.check(kinship)
        if self.asked and needs_matrix:
            raise InputError(f"{self.asked}: {needs_matrix}")


@dataclass(frozen=True)
class ProductsChoice:
    """The choice of a command between products and a matrix.

    Attributes:
        settings: its options.
        needs_matrix: why the other options need K as a matrix; empty if they do not.
        together: whether everybody with any of the traits is analysed at once.
    """

    settings: ProductsSettings
    needs_matrix: str
    together: bool = False

    def chooser(self, run: Run) -> ChooseProducts | None:
        """Return what chooses between products and a matrix, once it is known who was measured; None for a matrix."""
        settings, kinship, missing = self.settings, run.settings.kinship, run.settings.tables.missing
        going_on = settings.resume and is_unfinished(run)
        if settings.kinship_as == "matrix":
            return None

        def choose(measurements: Measurements, genotypes: Genotypes | None) -> tuple[Products, str] | None:
            if settings.asked:
                why = "asked for"
            elif going_on:
                why = self._instead("the run that was stopped multiplied with K")
            else:
                why = self._no_room(run, measurements, genotypes)
            return (_opened(kinship, genotypes, missing), f"products: {why}") if why else None

        return choose

    def _no_room(self, run: Run, measurements: Measurements, genotypes: Genotypes | None) -> str:
        """Return why a matrix does not fit; empty if it does, or nobody can know before it is read.

        Raises:
            InputError: if it does not, and other options need it.
        """
        kinship = run.settings.kinship
        if not (kinship.genotypes or kinship.grm or kinship.pedigree):
            return ""
        everybody = _everybody(kinship, genotypes, run.settings.tables.missing)
        known = ~np.isnan(measurements.Y)
        measured = known.any(axis=1).sum() if self.together else known.sum(axis=0).max(initial=0)
        analysed = min(everybody, int(measured))
        needed, left = matrix_bytes(everybody, analysed), available()
        if needed <= left:
            return ""
        why = self._instead(
            f"K of {everybody:,} individuals as a matrix, with eigenvectors of {analysed:,}, needs {needed / 1e9:.3g} "
            f"GB of memory, but {left / 1e9:.3g} GB are left"
        )
        print(f"{why}: it is multiplied with, and never held (--kinship-as products)")
        return why

    def _instead(self, why: str) -> str:
        """Return why products take the place of a matrix.

        Raises:
            InputError: if other options need it.
        """
        if self.needs_matrix:
            raise InputError(f"{why}, and products cannot take the place of a matrix: {self.needs_matrix}")
        return why


def matrix_bytes(everybody: int, analysed: int) -> float:
    """Return the memory that K as a matrix needs: computing it, then the eigenvectors of the individuals analysed.

    Args:
        everybody: how many individuals K has.
        analysed: how many of them have a trait.
    """
    return max(12.0 * everybody**2, 8.0 * everybody**2 + 32.0 * analysed**2)


def about_matrix(kinship: KinshipSettings) -> str:
    """Return why the options of a kinship need it as a matrix, and what to do; empty if they do not."""
    if kinship.kinship or kinship.gemma_eigen:
        option = "--kinship" if kinship.kinship else "--gemma-eigen"
        return f"{option} is read whole: give genotypes, --grm (X.grm.bin or X.grm.sp) or --pedigree"
    if kinship.grm and (path := grm_files(kinship.grm)[0]).suffix == ".gz":
        return f"{path} is a matrix in text: write it as .grm.bin or .grm.sp"
    if kinship.eigen:
        return "--eigen keeps a decomposition, and there is none: leave it out"
    if kinship.grm_cutoff is not None:
        return "--grm-cutoff looks at each pair: choose the individuals with --keep"
    return ""


def about_rows(model: str | None, draws_groups: Sequence[str]) -> str:
    """Return why the options of draws need a row for each individual, and what to do; empty if they do not."""
    if model:
        return "the program of --model takes a row for each individual, and there are none: leave it out"
    if of_rows := [name for name in draws_groups if name in OF_ROWS]:
        return f"--draws-groups {of_rows[0]} is of a row for each individual, and there are none: leave it out"
    return ""


def _everybody(kinship: KinshipSettings, genotypes: Genotypes | None, missing: Sequence[str]) -> int:
    """Return how many individuals a kinship has that is not read yet."""
    if genotypes:
        return len(genotypes.ids)
    if kinship.grm:
        return len(read_ids(grm_files(kinship.grm)[1]).ids)
    return len(read_pedigree(kinship.pedigree or "", missing=missing).ids)


def _opened(kinship: KinshipSettings, genotypes: Genotypes | None, missing: Sequence[str]) -> Products:
    """Return the kinship as something that multiplies; say who is selected of it."""
    used = kinship.markers
    if not kinship.given:
        if genotypes is None:
            raise InputError("--kinship-as products needs genotypes, --grm or --pedigree")
        return genotype_products(genotypes, scale=used.scale, maf=used.maf, geno=used.geno)
    if kinship.grm:
        products = grm_products(kinship.grm)
    else:
        products = pedigree_products(kinship.pedigree or "", missing=missing)
    chosen = kinship.selection.individuals(products.ids, where=products.source)
    for line in chosen.said:
        print(line)
    return Restricted(products, chosen.places, chosen.said) if chosen.said else products
