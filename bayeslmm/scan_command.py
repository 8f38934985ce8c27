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
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm import exact
from bayeslmm.checks import InputError, InputWarning, examples
from bayeslmm.cohort import Cohort, kinship_of
from bayeslmm.design import INTERCEPT
from bayeslmm.dosages import chromosomes, dosages, read_bim
from bayeslmm.epistasis import pair_tests, read_pairs
from bayeslmm.genotypes import Genotypes, open_genotypes
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
from bayeslmm.priors import EffectPrior, residual_variance
from bayeslmm.progress import progress_bar
from bayeslmm.results import write_table
from bayeslmm.scan import ExactScan, FixedScan, Tests, exact_scan, fixed_scan, null_scan
from bayeslmm.scan_parts import Parts, open_parts
from bayeslmm.scan_plots import PValues, plot_scan
from bayeslmm.scan_table import effect_row, marker_rows
from bayeslmm.spectrum import RotatedData, Spectrum, decompose
from bayeslmm.summary import scan_lines

BLOCK = 1024
_TOP = 100
_HOW = {"exact": "variance ratio estimated with each marker", "null": "variance ratio of the model without markers"}


@dataclass(frozen=True)
class _Markers:
    """The markers of the file: its table, the fileset, and where each chromosome is."""

    bim: pd.DataFrame
    genotypes: Genotypes
    chromosomes: dict[str, range]


@dataclass(frozen=True)
class _Task:
    """Markers to test on the same people and kinship.

    Attributes:
        cohort: the people; its K is of all markers.
        spectrum: of that K.
        chromosome: what the kinship of the task leaves out, or "".
        blocks: number of each block in the whole scan -> its lines of the .bim.
    """

    cohort: Cohort
    spectrum: Spectrum
    chromosome: str
    blocks: dict[int, range]


def run(options: argparse.Namespace) -> None:
    """Scan the genome for each trait.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock = Clock()
    _check(options)
    out = check_options(options)
    markers = _read_markers(options)
    chosen = _chosen(options, markers.bim)
    pairs = read_pairs(options.epistasis, markers.bim) if options.epistasis else None
    parts = open_parts(out / "scan.parts", _identity(options), resume=options.resume)
    if options.resume and not parts.has(0):
        print(f"no scan to go on with is in {out}: it begins with the first marker")
    inputs = read_inputs(options, clock)
    tasks = _tasks(options, markers, decomposed(options, clock, inputs))
    total = sum(len(span) for task in tasks for span in task.blocks.values())
    with progress_bar("scan", total=total, unit="marker") as bar:
        for task in tasks:
            todo = {number: span for number, span in task.blocks.items() if not parts.has(number)}
            bar.update(sum(map(len, task.blocks.values())) - sum(map(len, todo.values())))
            if not todo:
                continue
            with clock.step("decomposition"):
                spectrum = _spectrum(options, inputs, markers, task)
            with clock.step("tests"):
                for number, table in _tested(options, markers, task.cohort, spectrum, todo):
                    parts.write(number, table)
                    bar.update(len(todo[number]))
    with clock.step("writing"):
        top, summary = _summarise(options, parts, markers, out)
        parts.join(out / f"scan.{options.format}", options.format)
        write_table(top, out / "top.tsv")
    with clock.step("posterior"):
        effects = _effects(options, inputs, markers, tasks, chosen, top)
    if len(effects):
        write_table(effects, out / "effects.tsv")
    if pairs is not None:
        with clock.step("epistasis"):
            write_table(_epistasis(options, markers, tasks, pairs), out / "epistasis.tsv")
    print(f"\n{scan_lines(summary, top, effects)}")
    traits = {
        trait: cohort_record(task.cohort, task.spectrum) | summary[trait]
        for task in tasks
        for trait in task.cohort.traits
    }
    write_record(options, clock, inputs.kinship, _prior(options), traits, out)
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


def _prior(options: argparse.Namespace) -> EffectPrior:
    return EffectPrior(dist.Normal(0.0, options.prior_effect))


def _read_markers(options: argparse.Namespace) -> _Markers:
    genotypes = open_genotypes(options.bfile)
    path = Path(f"{options.bfile}.bim")
    bim = read_bim(path)
    return _Markers(bim, genotypes, chromosomes(bim, where=path))


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


def _tasks(options: argparse.Namespace, markers: _Markers, cohorts: Iterator[tuple[Cohort, Spectrum]]) -> list[_Task]:
    tasks: list[_Task] = []
    first = 0
    for cohort, spectrum in cohorts:
        for chromosome, span in (markers.chromosomes if options.loco else {"": range(len(markers.bim))}).items():
            spans = [range(start, min(start + BLOCK, span.stop)) for start in range(span.start, span.stop, BLOCK)]
            tasks.append(_Task(cohort, spectrum, chromosome, dict(enumerate(spans, start=first))))
            first += len(spans)
    return tasks


def _spectrum(options: argparse.Namespace, inputs: Inputs, markers: _Markers, task: _Task) -> Spectrum:
    """Return the decomposition of the kinship against which the markers of a task are tested."""
    if not task.chromosome:
        return task.spectrum
    left_out = markers.chromosomes[task.chromosome]
    kinship = without(inputs.kinship, markers.genotypes, left_out)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # it was said of the kinship of all markers
        rows = markers.genotypes.rows(task.cohort.ids)
        K = kinship_of(kinship, rows, centred=options.centre, normalised=options.normalise)
    return decompose(K, where=f"{kinship.source} without chromosome {task.chromosome}")


def _scan(options: argparse.Namespace, data: RotatedData) -> ExactScan | FixedScan:
    return exact_scan(data) if options.test == "exact" else null_scan(data)


def _tested(
    options: argparse.Namespace, markers: _Markers, cohort: Cohort, spectrum: Spectrum, blocks: dict[int, range]
) -> Iterator[tuple[int, pd.DataFrame]]:
    """Yield the number and the table of each block."""
    data = spectrum.rotate(cohort.Y, cohort.X)
    scan = _scan(options, data)
    plain = fixed_scan(data, 0.0) if options.ols else None
    units = np.sqrt(residual_variance(cohort.Y, cohort.X))
    prior_sd = dict(zip(cohort.traits, options.prior_effect * units, strict=True))
    factors = {name: _factor(cohort, name) for name in options.interaction}
    rows = markers.genotypes.rows(cohort.ids)
    read = dosages(markers.genotypes, rows, blocks.values(), maf=options.maf, geno=options.geno)
    for number, block in zip(blocks, read, strict=True):
        Z = spectrum.U.T @ block.G
        tests = scan.test([Z])
        interactions: dict[str, dict[str, Tests]] = {}
        for name, factor in factors.items():
            sets = scan.test([Z, spectrum.U.T @ (block.G * factor[:, None])])
            interactions[name] = dict(zip(cohort.traits, sets, strict=True))
        alpha = None
        if isinstance(scan, FixedScan) and options.covariate_effects:
            beta = np.column_stack([test.beta[:, 0] for test in tests])
            alpha = dict(zip(cohort.traits, scan.covariate_effects(Z, beta), strict=True))
        table = marker_rows(
            markers.bim,
            block,
            dict(zip(cohort.traits, tests, strict=True)),
            prior_sd,
            ols=dict(zip(cohort.traits, plain.test([Z]), strict=True)) if plain else None,
            interactions=interactions,
            covariate_effects=alpha,
            covariates=cohort.covariates,
        )
        table.attrs = {"traits": list(cohort.traits), "markers": asdict(block.counts)}
        yield number, table


def _factor(cohort: Cohort, name: str) -> Float64[ndarray, " n"]:
    """Return the values of a covariate less their mean, so that a marker's own effect is that at the mean.

    Raises:
        InputError: if the covariate is not one column of X.
    """
    columns = [j for j, column in enumerate(cohort.covariates) if column == name or column.startswith(f"{name}[")]
    if len(columns) != 1 or name == INTERCEPT:
        found = f"{len(columns)} columns" if columns else f"none of the covariates {', '.join(cohort.covariates)}"
        raise InputError(
            f"--interaction {name}: it must be a covariate with one column (a number, or two categories), but it is "
            f"{found}"
        )
    values = cohort.X[:, columns[0]]
    return values - values.mean()


def _summarise(
    options: argparse.Namespace, parts: Parts, markers: _Markers, out: Path
) -> tuple[pd.DataFrame, dict[str, dict[str, Any]]]:
    """Draw each trait; return the markers with the smallest p-values, and numbers about each trait."""
    along = {trait: [] for trait in options.trait}
    top = {trait: pd.DataFrame() for trait in options.trait}
    counts = {trait: MarkerCounts() for trait in options.trait}
    for table in parts.tables():
        for trait in table.attrs["traits"]:
            own = table[table["trait"] == trait]
            along[trait].append(own[["chrom", "pos", "p_wald"]])
            top[trait] = pd.concat([top[trait], own]).nsmallest(_TOP, "p_wald")
            counts[trait] += MarkerCounts(**table.attrs["markers"])
    numbers: dict[str, dict[str, Any]] = {}
    for trait, tables in along.items():
        everything = pd.concat(tables)
        tested = everything.dropna()
        if tested.empty:
            raise InputError(
                f"{options.bfile}.bed: no marker could be tested for {trait}; "
                f"{counts[trait].line(maf=options.maf, geno=options.geno)}"
            )
        p = PValues.of(tested["chrom"], tested["pos"], tested["p_wald"], order=list(markers.chromosomes))
        plot_scan(p, trait=trait, test=_HOW[options.test], path=out / f"{trait}.png")
        numbers[trait] = {
            "markers": asdict(counts[trait]),
            "tested": len(tested),
            "combinations_of_covariates": len(everything) - len(tested),
            "lambda_gc": p.lambda_gc,
            "below_bonferroni": int((p.p < 0.05 / len(tested)).sum()),
        }
    return pd.concat(top.values(), ignore_index=True), numbers


def _effects(
    options: argparse.Namespace,
    inputs: Inputs,
    markers: _Markers,
    tasks: Sequence[_Task],
    chosen: Sequence[int],
    top: pd.DataFrame,
) -> pd.DataFrame:
    """Return the posterior of the effects of the markers chosen by name, and of the first few of each trait."""
    rows: list[dict[str, Any]] = []
    for task in tasks:
        of_task = {line for span in task.blocks.values() for line in span}
        for j, trait in enumerate(task.cohort.traits):
            first = top[top["trait"] == trait].head(options.posterior_top)
            lines = [line for line in dict.fromkeys([*chosen, *_lines(first, markers.bim)]) if line in of_task]
            if not lines:
                continue
            spectrum = _spectrum(options, inputs, markers, task)
            data = spectrum.rotate(task.cohort.Y[:, [j]], task.cohort.X)
            people = markers.genotypes.rows(task.cohort.ids)
            alone = dosages(markers.genotypes, people, [range(k, k + 1) for k in lines], maf=0.0, geno=1.0)
            for line, block in zip(lines, alone, strict=True):
                if not block.lines.size:
                    name = markers.bim["snp"][line]
                    warnings.warn(
                        f"{name} does not vary among the people with {trait}: its effect has no posterior",
                        InputWarning,
                        stacklevel=2,
                    )
                    continue
                with_marker = data._replace(X=np.column_stack([data.X, spectrum.U.T @ block.G]))
                rows.append(effect_row(markers.bim.iloc[block.lines[0]], trait, exact.posterior(with_marker)))
    return pd.DataFrame(rows)


def _epistasis(
    options: argparse.Namespace, markers: _Markers, tasks: Sequence[_Task], pairs: Int64[ndarray, "pairs 2"]
) -> pd.DataFrame:
    """Return the tests of all pairs of markers, for each trait."""
    tables: list[pd.DataFrame] = []
    for task in tasks:
        scan = _scan(options, task.spectrum.rotate(task.cohort.Y, task.cohort.X))
        rows = markers.genotypes.rows(task.cohort.ids)
        tables += pair_tests(
            scan,
            task.cohort.traits,
            task.spectrum,
            markers.genotypes,
            rows,
            pairs,
            markers.bim,
            maf=options.maf,
            geno=options.geno,
        )
    return pd.concat(tables, ignore_index=True)


def _lines(table: pd.DataFrame, bim: pd.DataFrame) -> list[int]:
    """Return the lines of the .bim of some rows of a scan."""
    names = list(bim.columns)
    numbered = bim.assign(line=np.arange(len(bim))).drop_duplicates(names)
    return table[names].merge(numbered, on=names, how="left")["line"].tolist()
