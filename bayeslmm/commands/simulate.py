"""``bayeslmm simulate``: traits with known truth, on genotypes that are given or simulated."""

import argparse
import json
import sys
from dataclasses import asdict
from importlib.metadata import version
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
from bayeslmm.commands.genotypes import OPTIONS, genotype_files, given_genotypes
from bayeslmm.commands.results_folder import ResultsFolder, open_results
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.filters import MarkerCounts, check_filters
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.source import plink_files
from bayeslmm.likelihood import quantities
from bayeslmm.studies import coalescent, simulate

COVARIATE_SHARE = 0.05  # of sigma2_p, explained by each covariate on average
_PACKAGES = ("bayeslmm", "numpy", "bed-reader")


def run(options: argparse.Namespace) -> None:
    """Simulate traits, and genotypes if none are given; write them, and the truth beside them.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    Gamma_u, Gamma_e = _covariances(options)
    rng = np.random.default_rng(options.seed)
    missing = simulate.missing_rates(options.missing or 0.0, len(options.h2))
    inputs = genotype_files(options)
    with open_results(
        options.out, _files(options), command="simulate", inputs=inputs, overwrite=options.overwrite
    ) as results:
        _simulate(options, results, fingerprints(inputs), Gamma_u, Gamma_e, missing, rng)
    print(f"results are in {options.out}")


def _files(options: argparse.Namespace) -> list[str]:
    genotypes = plink_files("cohort") if options.coalescent else []
    return [*map(str, genotypes), "pheno.tsv", "covar.tsv", "effects.tsv", "truth.json"]


def _simulate(
    options: argparse.Namespace,
    results: ResultsFolder,
    read: dict[str, Fingerprint],
    Gamma_u: Float[ndarray, "t t"],
    Gamma_e: Float[ndarray, "t t"],
    missing: Float[ndarray, " t"],
    rng: np.random.Generator,
) -> None:
    """Write all files of a run."""
    out, t = results.path, len(options.h2)
    given = None if options.coalescent else given_genotypes(options)
    results.begin()
    genotypes = given or _coalescent(options, out, rng)
    markers = MarkerBlocks(genotypes, options.scale, options.maf, options.geno)
    G, effects = simulate.genetic_values(markers, Gamma_u, causal=options.causal, rng=rng)
    print(markers.counts_line(effects.counts))

    n, c = len(genotypes.ids), options.covariates
    X = rng.standard_normal((n, c))
    beta = rng.normal(scale=np.sqrt(COVARIATE_SHARE * options.sigma2_p), size=(c, t))
    Y = simulate.phenotypes(G + X @ beta, Gamma_e, missing=missing.tolist(), rng=rng)

    traits, covariates = ([f"{letter}{k + 1}" for k in range(count)] for letter, count in (("T", t), ("C", c)))
    people = {"FID": genotypes.families, "IID": genotypes.ids}
    write_table(pd.DataFrame(people | dict(zip(traits, Y.T, strict=True))), out / "pheno.tsv")
    if covariates:
        write_table(pd.DataFrame(people | dict(zip(covariates, X.T, strict=True))), out / "covar.tsv")
    write_table(_effects(genotypes, effects, traits), out / "effects.tsv")

    variance = G.var(axis=0)
    for trait, h2, realised in zip(traits, options.h2, variance, strict=True):
        print(
            f"{trait}: h2 {h2:g}, sigma2_u {h2 * options.sigma2_p:g}; variance of g among these people {realised:.4g}"
        )
    true = _parameters(Gamma_u, Gamma_e, traits)
    for j, trait in enumerate(traits):
        true[trait] |= {f"beta[{name}]": float(effect) for name, effect in zip(covariates, beta[:, j], strict=True)}
        true[trait] |= {"beta[intercept]": 0.0, "variance_g": float(variance[j]), "missing": float(missing[j])}
    record = {
        "command": ["bayeslmm", *sys.argv[1:]],
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _packages(options)}},
        "seed": options.seed,
        "genotypes": _described(options, genotypes, effects.counts, read),
        "causal": len(effects.lines),
        "traits": true,
    }
    if others := changed(read):
        raise InputError(f"{examples(others)} changed while it was read: start again when nothing writes to it")
    with replacing(out / "truth.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    results.finish({name: record[name] for name in ("command", "versions", "seed")})


def _covariances(options: argparse.Namespace) -> tuple[Float[ndarray, "t t"], Float[ndarray, "t t"]]:
    """Return Gamma_u and Gamma_e; refuse options that cannot work, before anything is read or written."""
    t = len(options.h2)
    simulate.check_variances(options.h2, options.sigma2_p)
    check_filters(options.maf, options.geno)
    most = options.coalescent[1] if options.coalescent else np.inf
    if options.causal is not None and not 1 <= options.causal <= most:
        raise InputError(f"--causal must be at least 1 and at most the number of markers, but is {options.causal}")
    if t == 1 and (options.rg or options.re):
        raise InputError("--rg and --re are correlations of traits: give two heritabilities or more (--h2 0.5 0.3)")
    if options.coalescent and options.chr:
        raise InputError(f"--chr chooses chromosomes of {OPTIONS}: those of --coalescent are all used")
    if not options.coalescent and (options.siblings, options.chromosomes) != (1, 22):
        raise InputError(
            "--siblings and --chromosomes are about --coalescent: genotypes that are given are used as they are"
        )
    h2 = np.array(options.h2)
    of_genes = simulate.equicorrelated(h2 * options.sigma2_p, options.rg, name="--rg")
    return of_genes, simulate.equicorrelated((1 - h2) * options.sigma2_p, options.re, name="--re")


def _coalescent(options: argparse.Namespace, out: Path, rng: np.random.Generator) -> Genotypes:
    people, markers = options.coalescent
    return coalescent.write_coalescent(
        out / "cohort",
        people=people,
        markers=markers,
        chromosomes=options.chromosomes,
        siblings=options.siblings,
        rng=rng,
    )


def _effects(genotypes: Genotypes, effects: simulate.MarkerEffects, traits: list[str]) -> pd.DataFrame:
    """Return one row for each marker with an effect and each trait, named as in ``scan.tsv``."""
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
    options: argparse.Namespace, genotypes: Genotypes, counts: MarkerCounts, read: dict[str, Fingerprint]
) -> dict[str, Any]:
    """Return where the genotypes come from, and which of their markers are used."""
    files = read or fingerprints(genotypes.files)
    described = {
        "people": len(genotypes.ids),
        "markers": asdict(counts),
        "scale": options.scale,
        "maf": options.maf,
        "geno": options.geno,
        "left_out": genotypes.left_out,
        "sha256": {path: mark.sha256 for path, mark in files.items()},
    }
    if not options.coalescent:
        return described
    return described | {
        "chromosomes": options.chromosomes,
        "siblings": options.siblings,
        "population_size": coalescent.POPULATION_SIZE,
        "recombination_rate": coalescent.RECOMBINATION_RATE,
        "mutation_rate": coalescent.MUTATION_RATE,
    }


def _packages(options: argparse.Namespace) -> tuple[str, ...]:
    return (*_PACKAGES, "msprime") if options.coalescent else _PACKAGES
