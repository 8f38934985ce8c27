"""Cohorts that have no room for K as a matrix: it is multiplied with in its place, and products are kept on the way."""

import math
import shutil
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from typing import Any, Literal

import numpy as np

from bayeslmm.analyses.principal_components import with_leading_eigenvectors
from bayeslmm.base.checkpoints import check_checkpoints, checkpoints, open_checkpoints
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.ids import read_ids
from bayeslmm.base.memory import available
from bayeslmm.cohort.align import about_scale
from bayeslmm.cohort.align_products import align_products
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.inputs import ChooseProducts, Inputs
from bayeslmm.commands.products_forecast import forecast_products, told
from bayeslmm.commands.run import Run
from bayeslmm.commands.settings import OF_THE_RUN, KinshipSettings
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.genotype_products import genotype_products
from bayeslmm.kinship.grm_products import grm_products
from bayeslmm.kinship.kept_products import NAMES, KeptProducts
from bayeslmm.kinship.names import grm_files
from bayeslmm.kinship.pedigree_files import read_pedigree
from bayeslmm.kinship.pedigree_products import pedigree_products
from bayeslmm.kinship.products import Products, Restricted
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.spectral_summary import ProbeError, SpectralSummary, spectral_summary
from bayeslmm.report.individuals import cohort_lines

_FOLDER = "products"
_OF_INFERENCE = {
    "kinship_as", "methods", "se", "mom_se", "prior_h2", "chains", "draws", "warmup", "target_accept", "draws_groups",
    "prevalence",
}  # fmt: skip


@dataclass(frozen=True)
class ProductsSettings:
    """Whether K is multiplied with, and to which error."""

    kinship_as: Literal["matrix", "products"] | None
    probe_error: float
    resume: bool

    def __post_init__(self) -> None:
        if not 0 < self.probe_error < math.inf:
            raise InputError(f"--probe-error must be a number above 0, but {self.probe_error:g} was given")


@dataclass(frozen=True)
class Summarised:
    """One trait, ready for inference, of a cohort whose K was multiplied with.

    Attributes:
        trait: its name.
        data: the trait alone, with counts.
        cohort: the individuals, with all traits measured on the same ones.
        summary: of these traits.
        error: of the probes.
    """

    trait: str
    data: RotatedData
    cohort: Cohort[Products]
    summary: SpectralSummary
    error: ProbeError


@dataclass(frozen=True)
class ByProducts:
    """The way of products for a command.

    Attributes:
        settings: its options.
        seed: of the probes.
        needs_matrix: why the other options need K as a matrix; empty if they do not.
    """

    settings: ProductsSettings
    seed: int
    needs_matrix: str

    @property
    def folders(self) -> list[str]:
        """What is written while it goes on."""
        return [f"{_FOLDER}/"]

    def chooser(self, run: Run) -> ChooseProducts | None:
        """Return what chooses between products and a matrix, once it is known who was measured; None for a matrix."""
        settings, kinship, missing = self.settings, run.settings.kinship, run.settings.tables.missing
        going_on = settings.resume and bool(checkpoints(run.out / _FOLDER, NAMES))
        if settings.kinship_as == "matrix":
            return None

        def choose(measurements: Measurements, genotypes: Genotypes | None) -> tuple[Products, str] | None:
            if settings.kinship_as == "products":
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
        analysed = min(everybody, int((~np.isnan(measurements.Y)).sum(axis=0).max(initial=0)))
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

    @contextmanager
    def kept(self, run: Run, inputs: Inputs[Any]) -> Iterator[Inputs[Any]]:
        """Keep products in the folder of the results, until the block ends well; a matrix is left as it is.

        Raises:
            InputError: if there are products of another run.
        """
        settings, folder = self.settings, run.out / _FOLDER
        if not isinstance(inputs.kinship, Products):
            if settings.resume:
                print("--resume: nothing is kept of a kinship that is held as a matrix, the run begins anew")
            yield inputs
            return
        identity = _identity(run, inputs)
        check_checkpoints(folder, identity, names=NAMES, what="run", resume=settings.resume)
        if settings.resume:
            there = len(checkpoints(folder, NAMES))
            print(
                f"{there} products of the run that was stopped are read from {folder}"
                if there
                else f"no products of an unfinished run in {run.out}: starting from the first"
            )
        with open_checkpoints(folder, identity, names=NAMES, what="run", resume=settings.resume):
            kinship = KeptProducts(inputs.kinship, folder)
            yield replace(inputs, kinship=kinship)
            _ = kinship.details  # for the record, while it is there
            shutil.rmtree(folder)

    def each_trait(self, run: Run, inputs: Inputs[Products]) -> Iterator[Summarised]:
        """Yield each trait by itself, one set of individuals after another; say what it will cost, and who is analysed.

        Raises:
            InputError: if ids do not match, no trait can be analysed, or memory or disk have no room.
        """
        kinship, failures = run.settings.kinship, run.failures
        if not inputs.markers:
            print(inputs.kinship.origin_line())
        cohorts = [
            *align_products(
                inputs.kinship, run.analysable(inputs), centred=kinship.centre, normalised=kinship.normalise
            )
        ]
        forecast_products(run, cohorts, folder=run.out / _FOLDER)
        said = ""
        for cohort in cohorts:
            ready: list[tuple[Cohort[Products], SpectralSummary]] = []
            with failures.caught(cohort.traits):
                cohort = self._with_principal_components(run, cohort)
                with run.clock.step("products"):
                    summary = spectral_summary(
                        cohort.K,
                        cohort.Y,
                        cohort.X[0],
                        seed=self.seed,
                        probe_error=self.settings.probe_error,
                        bend=kinship.bend,
                        tell=told(time.perf_counter()),
                    )
                if inputs.markers and not said:  # it comes with the first product
                    print(said := inputs.kinship.origin_line())
                print(f"\n{cohort_lines(cohort, how=f'K multiplied with, {summary.passes} passes')}")
                if not kinship.normalise and (text := about_scale(summary.mean_diagonal)):
                    warnings.warn(f"{cohort.K.source}: {text}", InputWarning, stacklevel=2)
                ready.append((cohort, summary))
            for cohort, summary in ready:
                for j, trait in enumerate(cohort.traits):
                    yield Summarised(trait, summary.trait(j), cohort, summary, summary.error(j))
        failures.check_any_left()

    def _with_principal_components(self, run: Run, cohort: Cohort[Products]) -> Cohort[Products]:
        if not (pcs := run.settings.tables.pcs):
            return cohort
        with run.clock.step("principal components"):
            return with_leading_eigenvectors(cohort, pcs, seed=self.seed)


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


def _identity(run: Run, inputs: Inputs[Products]) -> Mapping[str, Any]:
    """Return what two runs must share for one to go on with the products of the other."""
    apart = {"out", "overwrite", "resume", *_OF_INFERENCE, *OF_THE_RUN}
    return {name: str(value) for name, value in run.settings.output.options.items() if name not in apart} | {
        "files": {path: mark.sha256 for path, mark in inputs.files.items()},
        "version": version("bayeslmm"),
    }
