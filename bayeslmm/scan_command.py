"""``bayeslmm scan``: files in, a table of marker tests and pictures out."""

import argparse
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist
import pandas as pd

from bayeslmm.checks import InputError, InputWarning, examples
from bayeslmm.cohort import Cohort, kinship_of
from bayeslmm.cohort_scan import Markers, ScanSettings, block_tables, effect_rows, pair_tables, read_markers
from bayeslmm.epistasis import read_pairs
from bayeslmm.job import (
    Clock,
    Inputs,
    check_options,
    check_trait_names,
    checksums,
    cohort_record,
    decomposed,
    read_inputs,
    write_record,
)
from bayeslmm.kinship import without
from bayeslmm.marker_filters import MarkerCounts
from bayeslmm.priors import EffectPrior
from bayeslmm.progress import progress_bar
from bayeslmm.results import write_table
from bayeslmm.scan_parts import Parts, open_parts
from bayeslmm.scan_plots import PValues, plot_scan
from bayeslmm.spectrum import Spectrum, decompose
from bayeslmm.summary import scan_lines

BLOCK = 1024
_TOP = 100
_HOW = {"exact": "variance ratio estimated with each marker", "null": "variance ratio of the model without markers"}


@dataclass(frozen=True)
class _Job:
    """What the scan of every cohort needs."""

    options: argparse.Namespace
    clock: Clock
    settings: ScanSettings
    markers: Markers
    inputs: Inputs
    parts: Parts
    out: Path


@dataclass(frozen=True)
class _Task:
    """Markers to test against the same kinship.

    Attributes:
        chromosome: what the kinship leaves out, or "".
        blocks: number of each block in the whole scan -> its lines of the .bim.
    """

    chromosome: str
    blocks: dict[int, range]


def run(options: argparse.Namespace) -> None:
    """Scan the genome for each trait, for one set of people after the other.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock = Clock()
    _check(options)
    out = check_options(options)
    settings = _settings(options)
    markers = read_markers(options.bfile)
    chosen = _chosen(options, markers.bim)
    pairs = read_pairs(options.epistasis, markers.bim) if options.epistasis else None
    parts = open_parts(out / "scan.parts", _identity(options), resume=options.resume)
    if options.resume and not parts.has(0):
        print(f"no scan to go on with is in {out}: it begins with the first marker")
    inputs = read_inputs(options, clock)
    job = _Job(options, clock, settings, markers, inputs, parts, out)
    tops: list[pd.DataFrame] = []
    effects: list[dict[str, Any]] = []
    products: list[pd.DataFrame] = []
    numbers: dict[str, dict[str, Any]] = {}
    records: dict[str, dict[str, Any]] = {}
    first = 0
    for cohort, spectrum in decomposed(options, clock, inputs):
        tasks = _tasks(job, first)
        own = range(first, first + sum(len(task.blocks) for task in tasks))
        first = own.stop
        _test(job, cohort, spectrum, tasks)
        with clock.step("writing"):
            top, of_traits = _summarise(job, cohort, own)
        with clock.step("posterior"):
            lines = _lines_of_effects(cohort, markers.bim, top, chosen, options.posterior_top)
            effects += _effects(job, cohort, spectrum, tasks, lines)
        if pairs is not None:
            with clock.step("epistasis"):
                products += pair_tables(markers, cohort, spectrum, pairs, settings)
        tops.append(top)
        numbers |= of_traits
        records |= {trait: cohort_record(cohort, spectrum) | of_traits[trait] for trait in cohort.traits}
    with clock.step("writing"):
        parts.join(out / f"scan.{options.format}", options.format)
        tables = {"top": pd.concat(tops), "effects": pd.DataFrame(effects)}
        if products:
            tables["epistasis"] = pd.concat(products)
        for name, table in tables.items():
            if len(table):
                write_table(table, out / f"{name}.tsv")
    print(f"\n{scan_lines(numbers, tables['top'], tables['effects'])}")
    write_record(options, clock, inputs.kinship, _prior(options), {name: records[name] for name in options.trait}, out)
    parts.remove()
    print(f"\nresults are in {out}")


def _check(options: argparse.Namespace) -> None:
    check_trait_names(options)
    if options.loco and (options.grm or options.kinship or options.pedigree):
        raise InputError("--loco computes its kinships from --bfile: leave out --grm, --kinship and --pedigree")
    if options.loco and options.eigen:
        raise InputError("--eigen holds one decomposition, and --loco makes one for each chromosome: leave one out")
    if options.loco and options.epistasis:
        raise InputError("--epistasis tests markers of two chromosomes, and --loco leaves out one: choose")
    if options.covariate_effects and options.test != "null":
        raise InputError("--covariate-effects needs --test null")
    if not options.prior_effect > 0:
        raise InputError(f"--prior-effect must be above 0, but {options.prior_effect:g} was given")
    if options.posterior_top < 0:
        raise InputError(f"--posterior-top must be at least 0, but {options.posterior_top} was given")


def _settings(options: argparse.Namespace) -> ScanSettings:
    return ScanSettings(
        test=options.test,
        maf=options.maf,
        geno=options.geno,
        ols=options.ols,
        interaction=options.interaction,
        covariate_effects=options.covariate_effects,
        prior_effect=options.prior_effect,
    )


def _prior(options: argparse.Namespace) -> EffectPrior:
    return EffectPrior(dist.Normal(0.0, options.prior_effect))


def _chosen(options: argparse.Namespace, bim: pd.DataFrame) -> list[int]:
    """Return the lines of the markers whose posterior is asked for by name."""
    lines = []
    for name in options.posterior:
        found = np.flatnonzero(bim["snp"] == name)
        if len(found) != 1:
            there = (
                f"{len(found)} markers of this name" if len(found) else f"none of this name, but {examples(bim['snp'])}"
            )
            raise InputError(f"--posterior {name}: {options.bfile}.bim has {there}: name one marker")
        lines.append(int(found[0]))
    return lines


def _identity(options: argparse.Namespace) -> dict[str, Any]:
    """Return what two runs must share for one to go on with the blocks of the other."""
    apart = {"run", "out", "resume", "format", "posterior", "posterior_top", "epistasis"}
    return {name: str(value) for name, value in vars(options).items() if name not in apart} | {
        "files": checksums(options),
        "version": version("bayeslmm"),
        "block": BLOCK,
    }


def _tasks(job: _Job, first: int) -> list[_Task]:
    """Return what to test on one cohort, with blocks numbered from the first."""
    tasks: list[_Task] = []
    for chromosome, span in (
        job.markers.chromosomes if job.options.loco else {"": range(len(job.markers.bim))}
    ).items():
        spans = [range(start, min(start + BLOCK, span.stop)) for start in range(span.start, span.stop, BLOCK)]
        tasks.append(_Task(chromosome, dict(enumerate(spans, start=first))))
        first += len(spans)
    return tasks


def _spectrum(job: _Job, cohort: Cohort, spectrum: Spectrum, chromosome: str) -> Spectrum:
    """Return the decomposition of the kinship without a chromosome, or that of all markers."""
    if not chromosome:
        return spectrum
    options, genotypes = job.options, job.markers.genotypes
    kinship = without(job.inputs.kinship, genotypes, job.markers.chromosomes[chromosome])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it was said of the kinship of all markers
        rows = genotypes.rows(cohort.ids)
        K = kinship_of(kinship, rows, centred=options.centre, normalised=options.normalise)
    return decompose(K, where=f"{kinship.source} without chromosome {chromosome}")


def _test(job: _Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[_Task]) -> None:
    """Write the blocks of one cohort that are not yet there."""
    with progress_bar("scan", total=len(job.markers.bim), unit="marker") as bar:
        for task in tasks:
            todo = {number: span for number, span in task.blocks.items() if not job.parts.has(number)}
            bar.update(sum(map(len, task.blocks.values())) - sum(map(len, todo.values())))
            if not todo:
                continue
            with job.clock.step("decomposition"):
                against = _spectrum(job, cohort, spectrum, task.chromosome)
            with job.clock.step("tests"):
                for number, table in block_tables(job.markers, cohort, against, todo, job.settings):
                    job.parts.write(number, table)
                    bar.update(len(todo[number]))


def _summarise(job: _Job, cohort: Cohort, blocks: range) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Draw each trait of a cohort; return the markers with the smallest p-values, and numbers about each trait."""
    along = {trait: [] for trait in cohort.traits}
    top = {trait: pd.DataFrame() for trait in cohort.traits}
    counts = MarkerCounts()
    for table in job.parts.tables(blocks):
        counts += MarkerCounts(**table.attrs["markers"])
        for trait in cohort.traits:
            own = table[table["trait"] == trait]
            along[trait].append(own[["chrom", "pos", "p_wald"]])
            top[trait] = pd.concat([top[trait], own]).nsmallest(_TOP, "p_wald")
    numbers: dict[str, dict[str, Any]] = {}
    for trait, tables in along.items():
        everything = pd.concat(tables)
        tested = everything.dropna()
        if tested.empty:
            raise InputError(
                f"{job.markers.genotypes.bed}: no marker could be tested for {trait}; "
                f"{counts.line(maf=job.settings.maf, geno=job.settings.geno)}"
            )
        p = PValues.of(tested["chrom"], tested["pos"], tested["p_wald"], order=list(job.markers.chromosomes))
        plot_scan(p, trait=trait, test=_HOW[job.settings.test], path=job.out / f"{trait}.png")
        numbers[trait] = {
            "markers": asdict(counts),
            "tested": len(tested),
            "combinations_of_covariates": len(everything) - len(tested),
            "lambda_gc": p.lambda_gc,
            "below_bonferroni": int((p.p < 0.05 / len(tested)).sum()),
        }
    return pd.concat(top.values()), numbers


def _lines_of_effects(
    cohort: Cohort, bim: pd.DataFrame, top: pd.DataFrame, chosen: Sequence[int], k: int
) -> dict[str, list[int]]:
    """Return the markers whose posterior is asked for by name, and the first k of each trait, as lines of the .bim."""
    names = list(bim.columns)
    numbered = bim.assign(line=np.arange(len(bim))).drop_duplicates(names)
    lines: dict[str, list[int]] = {}
    for trait in cohort.traits:
        first = top[top["trait"] == trait].head(k)[names].merge(numbered, on=names, how="left")["line"]
        lines[trait] = list(dict.fromkeys([*chosen, *first]))
    return lines


def _effects(
    job: _Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[_Task], lines: dict[str, list[int]]
) -> Iterator[dict[str, Any]]:
    """Yield the posterior of each effect, against the kinship that its marker was tested against."""
    for task in tasks:
        of_task = {line for span in task.blocks.values() for line in span}
        own = {trait: [line for line in of_trait if line in of_task] for trait, of_trait in lines.items()}
        if any(own.values()):
            against = _spectrum(job, cohort, spectrum, task.chromosome)
            yield from effect_rows(job.markers, cohort, against, own)
