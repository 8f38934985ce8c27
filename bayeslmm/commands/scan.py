"""``bayeslmm scan``: files in, a table of marker tests and pictures out."""

import argparse
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpyro.distributions as dist
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.base.files import Fingerprint, fingerprints
from bayeslmm.base.progress import progress_bar
from bayeslmm.cohort.align import kinship_of
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.checks import check_options, check_trait_names
from bayeslmm.commands.failures import Failures
from bayeslmm.commands.genotypes import OPTIONS, given_genotypes
from bayeslmm.commands.run import Clock, Inputs, cohort_record, decomposed, finish, read_files, read_inputs, results_of
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.from_genotypes import without
from bayeslmm.likelihood.priors import EffectPrior
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.report.failed import failed_parts
from bayeslmm.report.page import Report
from bayeslmm.report.people import cohort_lines
from bayeslmm.report.plots.scan import PValues, plot_scan
from bayeslmm.report.scan import scan_lines, scan_part, scan_report
from bayeslmm.scan.blocks import (
    Markers,
    ScanSettings,
    block_tables,
    effect_rows,
    least_allele_counts,
    special_words,
)
from bayeslmm.scan.checkpoints import Parts, check_parts, open_parts
from bayeslmm.scan.pairs import pair_tables, read_pairs

BLOCK = 1024
_PARTS = "scan.parts"
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
        blocks: number of each block in the whole scan -> its lines of the file.
    """

    chromosome: str
    blocks: dict[int, range]


@dataclass
class _Found:
    """What came out, as it grows with each cohort.

    Attributes:
        blocks: numbers of those that are written.
        tops: markers with the smallest p-values, of each cohort.
        effects: posteriors of effects, as rows.
        products: tests of pairs of markers, of each cohort.
        people: who was analysed, by trait.
        records: what ``run.json`` holds about each trait.
    """

    blocks: list[int] = field(default_factory=list)
    tops: list[pd.DataFrame] = field(default_factory=list)
    effects: list[dict[str, Any]] = field(default_factory=list)
    products: list[pd.DataFrame] = field(default_factory=list)
    people: dict[str, str] = field(default_factory=dict)
    records: dict[str, dict[str, Any]] = field(default_factory=dict)


def run(options: argparse.Namespace) -> int:
    """Scan the genome for each trait, for one set of people after the other; return the exit code.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock, failures = Clock(), Failures(options.trait)
    _check(options)
    check_options(options)
    markers = Markers.of(given_genotypes(options))
    chosen = _chosen(options, markers.genotypes)
    pairs = read_pairs(options.epistasis, markers.genotypes.variants) if options.epistasis else None
    with results_of(options, _files(options)) as results:
        files, folder = fingerprints(read_files(options)), results.path / _PARTS
        identity = _identity(options, files)
        if options.resume:
            check_parts(folder, identity, resume=True)
        inputs = _genotyped(read_inputs(options, clock, files), markers)
        if words := special_words(markers):
            print(words)
        results.begin()
        with open_parts(folder, identity, resume=options.resume) as parts:
            if options.resume and not parts.has(0):
                print(f"no scan to go on with is in {options.out}: it begins with the first marker")
            job = _Job(options, clock, _settings(options), markers, inputs, parts, results.path)
            found = _scan(job, chosen, pairs, failures)
            if others := inputs.changed_genotypes():
                raise InputError(f"{examples(others)} changed during the scan: start anew with --overwrite")
            report = _write(job, found, failures)
            parts.remove()
        records = {name: found.records[name] for name in options.trait if name in found.records}
        finish(options, clock, inputs, _prior(options), records, results, failures, report=report)
    print(f"\nresults are in {options.out}")
    return failures.code


def _files(options: argparse.Namespace) -> list[str]:
    tables = [f"{name}.tsv" for name in ("scan", "top", "effects", "epistasis")]
    return [*tables, "scan.parquet", *(f"{trait}.png" for trait in options.trait), "report.html", f"{_PARTS}/"]


def _scan(job: _Job, chosen: Sequence[int], pairs: Int64[ndarray, "pairs 2"] | None, failures: Failures) -> _Found:
    """Scan one set of people after the other; return what came out, but for the blocks of tests, which are in files."""
    found, first = _Found(), 0
    for cohort, spectrum in decomposed(job.options, job.clock, job.inputs, failures):
        tasks = _tasks(job, first)
        own = range(first, first + sum(len(task.blocks) for task in tasks))
        first = own.stop
        with failures.caught(cohort.traits):
            _test(job, cohort, spectrum, tasks)
            with job.clock.step("writing"):
                top, numbers = _summarise(job, cohort, own)
            with job.clock.step("posterior"):
                lines = _lines_of_effects(cohort, top, chosen, job.options.posterior_top)
                effects = [*_effects(job, cohort, spectrum, tasks, lines)]
            if pairs is not None:
                with job.clock.step("epistasis"):
                    found.products += pair_tables(job.markers, cohort, spectrum, pairs, job.settings)
            found.effects += effects
            found.blocks += own
            found.tops.append(top.groupby("trait", sort=False).head(_TOP))
            found.people |= dict.fromkeys(cohort.traits, cohort_lines(cohort))
            found.records |= {trait: cohort_record(cohort, spectrum) | numbers[trait] for trait in cohort.traits}
    failures.check_any_left()
    if found.records and all(top.empty for top in found.tops):
        job.parts.remove()  # there is nothing to go on with
        why = _why(job, found.records)
        raise InputError(f"{job.markers.genotypes.path}: no marker could be tested for any trait: {why}")
    return found


def _write(job: _Job, found: _Found, failures: Failures) -> Report:
    """Join the blocks, write all other tables, and say what came out; return the report."""
    options, out = job.options, job.out
    failed = [{"trait": trait, "snp": note} for trait, note in failures.notes().items()]
    tables = {
        "top": pd.concat(found.tops).drop(columns="line") if found.tops else pd.DataFrame(),
        "effects": pd.DataFrame(found.effects),
        "epistasis": pd.concat(found.products) if found.products else pd.DataFrame(),
    }
    with job.clock.step("writing"):
        # A run that goes on may have left them before it was stopped.
        for name in ("scan.tsv", "scan.parquet", *(f"{name}.tsv" for name in tables)):
            (out / name).unlink(missing_ok=True)
        if found.blocks:
            job.parts.join(found.blocks, out / f"scan.{options.format}", options.format, failed)
        for name, table in tables.items():
            if len(table):
                whole = with_rows([table], failed) if failed and name == "top" else table
                write_table(whole, out / f"{name}.tsv")
    records = {name: found.records[name] for name in options.trait if name in found.records}
    print(f"\n{scan_lines(records, **tables)}")
    parts = [
        scan_part(name, of, found.people[name], test=options.test, tables=tables, picture=out / f"{name}.png")
        for name, of in records.items()
    ]
    return scan_report([*parts, *failed_parts(failures.why)])


def _check(options: argparse.Namespace) -> None:
    check_trait_names(options)
    if options.loco and (options.grm or options.kinship or options.pedigree):
        raise InputError(f"--loco computes its kinships from {OPTIONS}: leave out --grm, --kinship and --pedigree")
    if options.loco and options.eigen:
        raise InputError("--eigen holds one decomposition, and --loco makes one for each chromosome: leave one out")
    if options.loco and options.epistasis:
        raise InputError("--epistasis tests markers of two chromosomes, and --loco leaves out one: choose")
    if options.covariate_effects and options.test != "null":
        raise InputError("--covariate-effects needs --test null")
    if not 0 < options.prior_effect < np.inf:
        raise InputError(f"--prior-effect must be a number above 0, but {options.prior_effect:g} was given")


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


def _chosen(options: argparse.Namespace, genotypes: Genotypes) -> list[int]:
    """Return the markers whose posterior is asked for by name."""
    lines, names = [], genotypes.variants["snp"]
    for name in options.posterior:
        found = np.flatnonzero(names == name)
        if len(found) != 1:
            there = f"{len(found)} markers of this name" if len(found) else f"none of this name, but {examples(names)}"
            raise InputError(f"--posterior {name}: {genotypes.path} has {there}: name one marker")
        lines.append(int(found[0]))
    return lines


def _identity(options: argparse.Namespace, files: Mapping[str, Fingerprint]) -> dict[str, Any]:
    """Return what two runs must share for one to go on with the blocks of the other."""
    apart = {"run", "name", "out", "overwrite", "resume", "format", "posterior", "posterior_top", "epistasis"}
    return {name: str(value) for name, value in vars(options).items() if name not in apart} | {
        "files": {path: mark.sha256 for path, mark in files.items() if path != options.epistasis},
        "version": version("bayeslmm"),
        "block": BLOCK,
    }


def _genotyped(inputs: Inputs, markers: Markers) -> Inputs:
    """Leave out those of a given kinship who have no genotypes: a pedigree has many."""
    kinship, known = inputs.kinship, set(markers.genotypes.ids)
    rows = [i for i, name in enumerate(kinship.ids) if name in known]
    if len(rows) == len(kinship.ids):
        return inputs
    bed, without_any = markers.genotypes.path, [name for name in kinship.ids if name not in known]
    if not rows:
        raise InputError(
            f"no id of {kinship.source} (such as {examples(kinship.ids)}) is in {bed} (such as "
            f"{examples(markers.genotypes.ids)}): people are matched by IID, check that both files use the same ids"
        )
    print(
        f"not analysed: {len(without_any):,} of {kinship.source} without genotypes in {bed} ({examples(without_any)})"
    )
    return replace(inputs, kinship=kinship.take(rows))


def _tasks(job: _Job, first: int) -> list[_Task]:
    """Return what to test on one cohort, with blocks numbered from the first."""
    tasks: list[_Task] = []
    for chromosome, span in (
        job.markers.chromosomes if job.options.loco else {"": range(job.markers.genotypes.n_markers)}
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
    own = job.markers.chromosomes[chromosome]
    if not genotypes.used[own.start : own.stop].any():
        return spectrum
    kinship = without(job.inputs.kinship, genotypes, own)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it was said of the kinship of all markers
        rows = genotypes.rows(cohort.ids)
        K = kinship_of(kinship, rows, centred=options.centre, normalised=options.normalise)
    return decompose(K, where=f"{kinship.source} without chromosome {chromosome}", bend=options.bend)


def _test(job: _Job, cohort: Cohort, spectrum: Spectrum, tasks: Sequence[_Task]) -> None:
    """Write the blocks of one cohort that are not yet there."""
    with progress_bar("scan", total=job.markers.genotypes.n_markers, unit="marker") as bar:
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
    counts, most = MarkerCounts(), max(_TOP, job.options.posterior_top)
    for table in job.parts.tables(blocks):
        counts += MarkerCounts(**table.attrs["markers"])
        for trait in cohort.traits:
            own = table[table["trait"] == trait]
            along[trait].append(own[["chrom", "pos", "p_wald", "af", "n_miss"]])
            top[trait] = pd.concat([top[trait], own.dropna(subset="p_wald")]).nsmallest(most, "p_wald")
    numbers: dict[str, dict[str, Any]] = {}
    least = least_allele_counts(cohort)
    for trait, tables in along.items():
        everything = pd.concat(tables)
        tested = everything.dropna()
        numbers[trait] = {
            "markers": asdict(counts),
            "tested": len(tested),
            "undetermined": len(everything) - len(tested),
        }
        if tested.empty:
            text = f"{job.markers.genotypes.path}: no marker could be tested for {trait}: {_why(job, numbers)}"
            warnings.warn(text, InputWarning, stacklevel=2)
            continue
        p = PValues.of(tested["chrom"], tested["pos"], tested["p_wald"], order=list(job.markers.chromosomes))
        plot_scan(p, trait=trait, test=_HOW[job.settings.test], path=job.out / f"{trait}.png")
        called = len(cohort.ids) - tested["n_miss"]
        copies = 2 * called * np.minimum(tested["af"], 1 - tested["af"])
        numbers[trait] |= {"least_allele_count": least[trait], "below_least": int((copies < least[trait]).sum())}
        numbers[trait] |= {"lambda_gc": p.lambda_gc, "below_bonferroni": int((p.p < 0.05 / len(tested)).sum())}
    return pd.concat(top.values()), numbers


def _why(job: _Job, numbers: dict[str, dict[str, Any]]) -> str:
    """Say why no marker was tested."""
    counts = MarkerCounts(**next(iter(numbers.values()))["markers"])
    return f"{counts.line(maf=job.settings.maf, geno=job.settings.geno)}; covariates may determine the others"


def _lines_of_effects(cohort: Cohort, top: pd.DataFrame, chosen: Sequence[int], k: int) -> dict[str, list[int]]:
    """Return the markers whose posterior is asked for by name, and the first k of each trait, as lines of the file."""
    first = {trait: top.loc[top["trait"] == trait, "line"].head(k).tolist() for trait in cohort.traits}
    return {trait: list(dict.fromkeys([*chosen, *lines])) for trait, lines in first.items()}


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
