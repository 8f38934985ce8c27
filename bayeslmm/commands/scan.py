"""``bayeslmm scan``: files in, a table of marker tests and pictures out."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.analyses.table import write_table
from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import Fingerprint, fingerprints
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.by_products import summarised_cohorts
from bayeslmm.commands.cluster import on_cluster
from bayeslmm.commands.genotypes import OPTIONS
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.products_choice import ProductsChoice, ProductsSettings, about_matrix
from bayeslmm.commands.products_kept import FOLDER, keep_products
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import open_run
from bayeslmm.commands.scan_cohort import (
    TOP,
    Job,
    effects_of,
    lines_of_effects,
    summarise,
    why_untested,
    write_blocks,
)
from bayeslmm.commands.scan_products import left_out, solved_cohort, write_calibrated_blocks
from bayeslmm.commands.settings import OF_THE_RUN, AnalysisSettings, EachTrait
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.priors import EffectPrior
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.page import Report
from bayeslmm.report.pictures import Picture, picture_names
from bayeslmm.report.plots.scan import NAMES
from bayeslmm.report.scan import scan_lines, scan_part, scan_report
from bayeslmm.scan.against import BLOCK, Task, blocks_of, genotyped, tasks_of
from bayeslmm.scan.blocks import Markers, ScanSettings, special_words
from bayeslmm.scan.checkpoints import Format, check_parts, open_parts
from bayeslmm.scan.conventions import CONVENTIONS, Columns, check_convention
from bayeslmm.scan.pairs import pair_tables, read_pairs

_PARTS = "scan.parts"

type _Pairs = Int64[ndarray, "pairs 2"] | None


@dataclass(frozen=True)
class MarkerTestSettings:
    """What is tested, and how it is written."""

    test: Literal["exact", "null"]
    loco: bool
    ols: bool
    interaction: tuple[str, ...]
    epistasis: str | None
    covariate_effects: bool
    prior_effect: float
    posterior: tuple[str, ...]
    posterior_top: int
    format: Format
    columns: Columns

    def __post_init__(self) -> None:
        if self.loco and self.epistasis:
            raise InputError("--epistasis tests markers of two chromosomes, and --loco leaves one out: choose one")
        if self.covariate_effects and self.test != "null":
            raise InputError("--covariate-effects needs --test null")
        if self.columns != "bayeslmm":
            more = {"--ols": self.ols, "--interaction": self.interaction, "--covariate-effects": self.covariate_effects}
            if asked := [name for name, given in more.items() if given]:
                raise InputError(f"--columns {self.columns} has no columns for {asked[0]}: leave one out")
            if self.format != "tsv":
                raise InputError(f"--columns {self.columns} is text: leave out --format {self.format}")
        if not self.prior_effect > 0:
            raise InputError(f"--prior-effect must be a number above 0, but {self.prior_effect:g} was given")


@dataclass(frozen=True)
class ScanCommandSettings(AnalysisSettings):
    """The options of `scan`."""

    tables: EachTrait
    tests: MarkerTestSettings
    products: ProductsSettings
    seed: int

    def __post_init__(self) -> None:
        if self.tests.loco and self.kinship.given:
            raise InputError(f"--loco computes its kinships from {OPTIONS}: leave out --grm, --kinship and --pedigree")
        if self.tests.loco and self.kinship.eigen:
            raise InputError("--eigen holds one decomposition, and --loco needs one for each chromosome: leave one out")
        super().__post_init__()
        self.products.check(self.kinship, self.needs_matrix)

    @property
    def needs_matrix(self) -> str:
        """Why the options need K as a matrix, and what to do; empty if they do not."""
        tests, kinship = self.tests, self.kinship
        if not tests.loco:
            return "tests against the kinship of all markers need its eigenvectors: give --loco"
        if why := about_matrix(kinship):
            return why
        if tests.test != "null":
            return "--test exact, the default, estimates the variance ratio with each marker: give --test null"
        needing = {
            "--interaction": tests.interaction,
            "--covariate-effects": tests.covariate_effects,
            "--posterior": tests.posterior,
            "--posterior-top": tests.posterior_top,
        }
        if given := [name for name, value in needing.items() if value]:
            return f"{given[0]} needs the eigenvectors of all individuals: leave it out"
        if changed := [name for name in ("centre", "normalise") if getattr(kinship, name)]:
            return f"--{changed[0]} changes the matrix of each left-out chromosome: leave it out"
        return ""


SETTINGS = ScanCommandSettings


@dataclass
class _Found:
    """Results, as they grow with each cohort.

    Attributes:
        blocks: traits of each cohort, and the numbers of its blocks.
        tops: markers with the smallest p-values, of each cohort.
        effects: posteriors of effects, as rows.
        products: tests of pairs of markers, of each cohort.
        individuals: who was analysed, by trait.
        records: what ``run.json`` holds about each trait.
        pictures: of the p-values, by trait.
        first: number of the first block of the next cohort.
    """

    blocks: list[tuple[tuple[str, ...], range]] = field(default_factory=list)
    tops: list[pd.DataFrame] = field(default_factory=list)
    effects: list[dict[str, Any]] = field(default_factory=list)
    products: list[pd.DataFrame] = field(default_factory=list)
    individuals: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)
    pictures: dict[str, list[Picture]] = field(default_factory=dict)
    first: int = 0

    def tasks(self, job: Job) -> list[Task]:
        """Return what to test on the next cohort."""
        tasks = tasks_of(job.markers, loco=job.loco, first=self.first)
        self.first = blocks_of(tasks).stop
        return tasks

    def add(
        self,
        cohort: Cohort[Any],
        spectrum: Spectrum | SpectralSummary,
        blocks: range,
        top: pd.DataFrame,
        numbers: dict[str, dict[str, Any]],
        pictures: dict[str, list[Picture]],
    ) -> None:
        """Add what `summarise` returns of a cohort."""
        self.pictures |= pictures
        self.blocks.append((cohort.traits, blocks))
        self.tops.append(top.groupby("trait", sort=False).head(TOP))
        self.individuals |= dict.fromkeys(cohort.traits, cohort_lines(cohort))
        self.records |= {trait: cohort_record(cohort, spectrum) | numbers[trait] for trait in cohort.traits}


def run(settings: ScanCommandSettings) -> Answer:
    """Scan the genome for each trait, for one set of individuals after the other.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    tests, kinship, resume = settings.tests, settings.kinship, settings.products.resume
    if kinship.genotypes is None:
        raise InputError(f"genotypes are needed: {OPTIONS}")
    genotypes = kinship.genotypes.open(kinship.markers.chr, kinship.selection)
    markers, chosen = Markers.of(genotypes), _chosen(tests.posterior, genotypes)
    check_convention(tests.columns, genotypes.variants, where=genotypes.path)
    pairs = read_pairs(tests.epistasis, genotypes.variants) if tests.epistasis else None
    more = [Path(tests.epistasis)] if tests.epistasis else []
    folder_of_run = open_run(settings, _files(settings), more=more, resume=resume)
    with folder_of_run as run, settings.products.cluster.opened() as passes:
        files, folder = fingerprints([*settings.tables.files, *more, *kinship.files]), run.out / _PARTS
        identity = _identity(settings, files)
        if resume:
            check_parts(folder, identity, resume=True)
        choice = ProductsChoice(settings.products, settings.needs_matrix)
        read = run.read_inputs(files, genotypes, products=choice.chooser(run))
        inputs = on_cluster(_genotyped(read, markers), passes)
        if words := special_words(markers):
            print(words)
        run.results.begin()
        by_products = isinstance(inputs.kinship, Products)
        kept = keep_products(run, inputs, resume=resume) if by_products else nullcontext(inputs)
        with kept as inputs, open_parts(folder, identity, resume=resume) as parts:
            if resume and not by_products and not parts.has(0):
                print(f"no unfinished scan in {settings.output.out}: starting from the first marker")
            job = Job(run, _tests(settings), tests.loco, tests.posterior_top, markers, inputs, parts, passes)
            found = _scan(job, settings, chosen, pairs)
            if others := inputs.changed_genotypes():
                raise InputError(f"{examples(others)} changed during the scan: start again with --overwrite")
            tables, report = _write(job, found, tests)
            parts.remove()
        run.finish(inputs, EffectPrior(dist.Normal(0.0, tests.prior_effect)), report=report)
    return run.answer(tables)


def _files(settings: ScanCommandSettings) -> list[str]:
    tables = [f"{name}.tsv" for name in ("top", "effects", "epistasis")]
    traits = settings.tables.trait
    pictures = [name for trait in traits for name in picture_names(trait, NAMES)]
    return [
        *tables,
        *(_scan_file(trait, settings.tests) for trait in traits),
        *pictures,
        "report.html",
        f"{_PARTS}/",
        f"{FOLDER}/",
    ]


def _scan_file(trait: str, tests: MarkerTestSettings) -> str:
    """Return the name of the file with the tests of a trait."""
    suffix = CONVENTIONS[tests.columns].suffix
    return f"{trait}.{'scan.parquet' if tests.format == 'parquet' else suffix}"


def _scan(job: Job, settings: ScanCommandSettings, chosen: Sequence[int], pairs: _Pairs) -> _Found:
    """Scan one cohort after the other; return the results, but for the blocks of tests, which are in files."""
    found, failures = _Found(), job.run.failures
    if isinstance(job.inputs.kinship, Products):
        _scan_by_products(job, settings, found)
    else:
        _scan_in_eigenbases(job, chosen, pairs, found)
    failures.check_any_left()
    if found.records and all(top.empty for top in found.tops):
        job.parts.remove()  # there is nothing to resume
        why = why_untested(job, found.records)
        raise InputError(f"{job.markers.genotypes.path}: no marker could be tested for any trait: {why}")
    return found


def _scan_in_eigenbases(job: Job, chosen: Sequence[int], pairs: _Pairs, found: _Found) -> None:
    for cohort, spectrum in job.run.cohorts(job.inputs):
        tasks = found.tasks(job)
        with job.run.failures.caught(cohort.traits):
            write_blocks(job, cohort, spectrum, tasks)
            with job.run.clock.step("writing"):
                top, numbers, pictures = summarise(job, cohort, blocks_of(tasks))
            with job.run.clock.step("posterior"):
                lines = lines_of_effects(cohort, top, chosen, job.posterior_top)
                effects = [*effects_of(job, cohort, spectrum, tasks, lines)]
            if pairs is not None:
                with job.run.clock.step("epistasis"):
                    found.products += pair_tables(job.markers, cohort, spectrum, pairs, job.tests)
            found.effects += effects
            found.add(cohort, spectrum, blocks_of(tasks), top, numbers, pictures)


def _scan_by_products(job: Job, settings: ScanCommandSettings, found: _Found) -> None:
    spans = left_out(job.markers)
    for cohort, summary in summarised_cohorts(job.run, job.inputs, settings.products, seed=settings.seed):
        tasks = found.tasks(job)
        with job.run.failures.caught(cohort.traits):
            solved, about = solved_cohort(job, cohort, summary, spans, seed=settings.seed)
            write_calibrated_blocks(job, cohort, solved, spans, tasks)
            with job.run.clock.step("writing"):
                top, numbers, pictures = summarise(job, cohort, blocks_of(tasks))
            numbers = {trait: about[trait] | of_trait for trait, of_trait in numbers.items()}
            found.add(cohort, summary, blocks_of(tasks), top, numbers, pictures)


def _write(job: Job, found: _Found, tests: MarkerTestSettings) -> tuple[dict[str, pd.DataFrame], Report]:
    """Join the blocks, write all other tables, and say what came out; return these tables and the report."""
    failures, out, traits = job.run.failures, job.run.out, job.run.settings.tables.trait
    tables = {
        "top": pd.concat(found.tops).drop(columns="line") if found.tops else pd.DataFrame(),
        "effects": pd.DataFrame(found.effects),
        "epistasis": pd.concat(found.products) if found.products else pd.DataFrame(),
    }
    with job.run.clock.step("writing"):
        # A run that goes on may have left them before it was stopped.
        for name in (*(_scan_file(trait, tests) for trait in traits), *(f"{name}.tsv" for name in tables)):
            (out / name).unlink(missing_ok=True)
        for of_cohort, blocks in found.blocks:
            paths = {trait: out / _scan_file(trait, tests) for trait in of_cohort}
            job.parts.join(blocks, paths, tests.format, CONVENTIONS[tests.columns])
        written = {name: table for name, table in tables.items() if len(table)}
        for name, table in written.items():
            write_table(table, out / f"{name}.tsv")
    records = {name: found.records[name] for name in traits if name in found.records}
    job.run.traits.update(records)
    print(f"\n{scan_lines(records, **tables)}")
    parts = [
        scan_part(name, of, found.individuals[name], test=tests.test, tables=tables, pictures=found.pictures[name])
        for name, of in records.items()
    ]
    return written, scan_report([*parts, *failed_parts(failures.why)])


def _tests(settings: ScanCommandSettings) -> ScanSettings:
    tests, markers = settings.tests, settings.kinship.markers
    return ScanSettings(
        test=tests.test,
        maf=markers.maf,
        geno=markers.geno,
        ols=tests.ols,
        interaction=tests.interaction,
        covariate_effects=tests.covariate_effects,
        prior_effect=tests.prior_effect,
    )


def _chosen(names: Sequence[str], genotypes: Genotypes) -> list[int]:
    """Return the numbers of the markers whose posterior is requested by name."""
    lines, snps = [], genotypes.variants["snp"]
    for name in names:
        places = np.flatnonzero(snps == name)
        if len(places) != 1:
            there = f"{len(places)} markers of this name" if len(places) else f"none of this name, but {examples(snps)}"
            raise InputError(f"--posterior {name}: {genotypes.path} has {there}: name one marker")
        lines.append(int(places[0]))
    return lines


def _identity(settings: ScanCommandSettings, files: Mapping[str, Fingerprint]) -> dict[str, Any]:
    """Return what two runs must share for one to resume the other."""
    apart = {"out", "overwrite", "resume", "format", "columns", "posterior", "posterior_top", "epistasis", *OF_THE_RUN}
    return {name: str(value) for name, value in settings.output.options.items() if name not in apart} | {
        "files": {path: mark.sha256 for path, mark in files.items() if path != settings.tests.epistasis},
        "version": version("bayeslmm"),
        "block": BLOCK,
    }


def _genotyped(inputs: Inputs[Any], markers: Markers) -> Inputs[Any]:
    """Leave out individuals of a given kinship without genotypes, and say so."""
    if isinstance(inputs.kinship, Products):  # it is made of the genotypes
        return inputs
    kinship, without_any = genotyped(inputs.kinship, markers.genotypes)
    if not without_any:
        return inputs
    print(
        f"not analysed: {len(without_any):,} of {kinship.source} without genotypes in {markers.genotypes.path} "
        f"({examples(without_any)})"
    )
    return replace(inputs, kinship=kinship)
