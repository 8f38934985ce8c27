"""``bayeslmm simulate``: traits with known truth, on genotypes that are given or simulated."""

import json
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.analyses.table import write_table
from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.files import Fingerprint, changed, fingerprints, replacing
from bayeslmm.base.ids import Individuals, plain_iids
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.clock import Clock
from bayeslmm.commands.genotypes import OPTIONS, GenotypeFile
from bayeslmm.commands.record import command_line, command_record, versions
from bayeslmm.commands.results_folder import ResultsFolder, open_results
from bayeslmm.commands.settings import MarkerSettings, OutputSettings
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.filters import MarkerCounts, check_filters
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.selection import EVERYTHING, Selection
from bayeslmm.genotypes.source import plink_files
from bayeslmm.likelihood import quantities
from bayeslmm.report.page import write_report
from bayeslmm.report.simulate import simulation_report
from bayeslmm.studies import coalescent, simulate

COVARIATE_SHARE = 0.05  # of sigma2_p, explained by each covariate on average
_PACKAGES = ("bayeslmm", "numpy")


@dataclass(frozen=True)
class SimulateSettings:
    """The options of `simulate`."""

    genotypes: GenotypeFile | None
    coalescent: tuple[int, int] | None
    siblings: int
    chromosomes: int
    markers: MarkerSettings
    selection: Selection
    h2: tuple[float, ...]
    sigma2_p: float
    rg: float
    re: float
    causal: int | None
    covariates: int
    missing: tuple[float, ...]
    seed: int
    output: OutputSettings

    def __post_init__(self) -> None:
        simulate.check_variances(self.h2, self.sigma2_p)
        check_filters(self.markers.maf, self.markers.geno)
        most = self.coalescent[1] if self.coalescent else np.inf
        if self.causal is not None and not 1 <= self.causal <= most:
            raise InputError(f"--causal must be at least 1 and at most the number of markers, but is {self.causal}")
        if len(self.h2) == 1 and (self.rg or self.re):
            raise InputError("--rg and --re correlate traits: give two or more heritabilities (--h2 0.5 0.3)")
        if self.coalescent and (self.markers.chr or self.selection != EVERYTHING):
            chosen = "--chr" if self.markers.chr else "a selection of individuals and markers"
            raise InputError(f"{chosen} applies to {OPTIONS}: everything of --coalescent is used")
        if self.genotypes and (self.siblings, self.chromosomes) != (1, 22):
            raise InputError("--siblings and --chromosomes apply to --coalescent: given genotypes are used unchanged")


SETTINGS = SimulateSettings


def run(settings: SimulateSettings) -> Answer:
    """Simulate traits, and genotypes if none are given; write them, and the truth beside them.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    Gamma_u, Gamma_e = _covariances(settings)
    rng = np.random.default_rng(settings.seed)
    missing = simulate.missing_rates(settings.missing or 0.0, len(settings.h2))
    inputs, output = settings.selection.files, settings.output
    inputs += settings.genotypes.files if settings.genotypes else []
    with open_results(
        output.out, _files(settings), command=output.command, inputs=inputs, overwrite=output.overwrite
    ) as results:
        truth = _simulate(settings, results, fingerprints(inputs), Gamma_u, Gamma_e, missing, rng)
    print(f"results are in {output.out}")
    return Answer(found={"truth": truth})


def _files(settings: SimulateSettings) -> list[str]:
    genotypes = [path.name for path in plink_files("cohort")] if settings.coalescent else []
    return [*genotypes, "pheno.tsv", "covar.tsv", "effects.tsv", "truth.json", "report.html"]


def _simulate(
    settings: SimulateSettings,
    results: ResultsFolder,
    read: dict[str, Fingerprint],
    Gamma_u: Float[ndarray, "t t"],
    Gamma_e: Float[ndarray, "t t"],
    missing: Float[ndarray, " t"],
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Write all files of a run; return the true parameters."""
    out, t, clock = results.path, len(settings.h2), Clock()
    given = settings.genotypes.open(settings.markers.chr, settings.selection) if settings.genotypes else None
    results.begin()
    with clock.step("genotypes"):
        genotypes = given or _coalescent(settings, out, rng)
    markers = MarkerBlocks(genotypes, settings.markers.scale, settings.markers.maf, settings.markers.geno)
    with clock.step("genetic values"):
        G, effects = simulate.genetic_values(markers, Gamma_u, causal=settings.causal, rng=rng)
    print(markers.counts_line(effects.counts))

    n, c = len(genotypes.ids), settings.covariates
    X = rng.standard_normal((n, c))
    beta = rng.normal(scale=np.sqrt(COVARIATE_SHARE * settings.sigma2_p), size=(c, t))
    Y = simulate.phenotypes(G + X @ beta, Gamma_e, missing=missing.tolist(), rng=rng)

    traits, covariates = ([f"{letter}{k + 1}" for k in range(count)] for letter, count in (("T", t), ("C", c)))
    iids = plain_iids(Individuals(genotypes.families, genotypes.ids))
    ids = {"FID": genotypes.families, "IID": iids}
    write_table(pd.DataFrame(ids | dict(zip(traits, Y.T, strict=True))), out / "pheno.tsv")
    if covariates:
        write_table(pd.DataFrame(ids | dict(zip(covariates, X.T, strict=True))), out / "covar.tsv")
    write_table(_effects(genotypes, effects, traits), out / "effects.tsv")

    variance = G.var(axis=0)
    for trait, h2, realised in zip(traits, settings.h2, variance, strict=True):
        print(f"{trait}: h2 {h2:g}, sigma2_u {h2 * settings.sigma2_p:g}; variance of g in this sample {realised:.4g}")
    true = _parameters(Gamma_u, Gamma_e, traits)
    for j, trait in enumerate(traits):
        true[trait] |= {f"beta[{name}]": float(effect) for name, effect in zip(covariates, beta[:, j], strict=True)}
        true[trait] |= {"beta[intercept]": 0.0, "variance_g": float(variance[j]), "missing": float(missing[j])}
    packages = (*_PACKAGES, *genotypes.format.packages, *(() if settings.genotypes else ("msprime",)))
    record = {
        "command": command_line(),
        "versions": versions(packages),
        "seed": settings.seed,
        "genotypes": _described(settings, genotypes, effects.counts, read),
        "causal": len(effects.lines),
        "traits": true,
    }
    if others := changed(read):
        raise InputError(f"{examples(others)} changed while it was read: start again when nothing writes to it")
    with replacing(out / "truth.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    about = command_record(clock, settings.output.options, read, packages)
    written = [name for name in _files(settings)[:-1] if (out / name).exists()]
    write_report(simulation_report(record, written), about, out / "report.html")
    results.finish(about | {"seed": settings.seed})
    return true


def _covariances(settings: SimulateSettings) -> tuple[Float[ndarray, "t t"], Float[ndarray, "t t"]]:
    """Return Gamma_u and Gamma_e."""
    h2, sigma2_p = np.array(settings.h2), settings.sigma2_p
    of_genes = simulate.equicorrelated(h2 * sigma2_p, settings.rg, name="--rg")
    return of_genes, simulate.equicorrelated((1 - h2) * sigma2_p, settings.re, name="--re")


def _coalescent(settings: SimulateSettings, out: Path, rng: np.random.Generator) -> Genotypes:
    individuals, markers = settings.coalescent or (0, 0)
    return coalescent.write_coalescent(
        out / "cohort",
        people=individuals,
        markers=markers,
        chromosomes=settings.chromosomes,
        siblings=settings.siblings,
        rng=rng,
    )


def _effects(genotypes: Genotypes, effects: simulate.MarkerEffects, traits: list[str]) -> pd.DataFrame:
    """Return one row for each marker with an effect and each trait, named as in ``TRAIT.scan.tsv``."""
    marker = genotypes.variants.iloc[effects.lines].assign(af=effects.af)
    of_traits = [marker.assign(trait=trait, beta=beta) for trait, beta in zip(traits, effects.beta.T, strict=True)]
    table = pd.concat(of_traits).sort_index(kind="stable", ignore_index=True)
    return table[["trait", "chrom", "snp", "pos", "a1", "a0", "af", "beta"]]


def _parameters(
    Gamma_u: Float[ndarray, "t t"], Gamma_e: Float[ndarray, "t t"], traits: list[str]
) -> dict[str, dict[str, Any]]:
    """Return the true parameters of each trait and pair, named as in ``estimates.tsv``; None for 0 / 0."""
    with np.errstate(invalid="ignore"):
        values = quantities.of_traits(Gamma_u, Gamma_e)
    of_traits = {trait: {name: values[name][j] for name in quantities.OF_TRAIT} for j, trait in enumerate(traits)}
    of_pairs = {
        f"{traits[j]}:{traits[k]}": {name: values[name][j, k] for name in quantities.OF_PAIR}
        for j, k in combinations(range(len(traits)), 2)
    }
    return {
        who: {name: None if np.isnan(value) else float(value) for name, value in row.items()}
        for who, row in (of_traits | of_pairs).items()
    }


def _described(
    settings: SimulateSettings, genotypes: Genotypes, counts: MarkerCounts, read: dict[str, Fingerprint]
) -> dict[str, Any]:
    """Return where the genotypes come from, and which of their markers are used."""
    files = read or fingerprints(genotypes.files)
    described = {
        "people": len(genotypes.ids),
        "markers": asdict(counts),
        "scale": settings.markers.scale,
        "maf": settings.markers.maf,
        "geno": settings.markers.geno,
        "left_out": genotypes.left_out,
        "selection": list(genotypes.said),
        "sha256": {path: mark.sha256 for path, mark in files.items()},
    }
    if settings.genotypes:
        return described
    return described | {
        "chromosomes": settings.chromosomes,
        "siblings": settings.siblings,
        "population_size": coalescent.POPULATION_SIZE,
        "recombination_rate": coalescent.RECOMBINATION_RATE,
        "mutation_rate": coalescent.MUTATION_RATE,
    }
