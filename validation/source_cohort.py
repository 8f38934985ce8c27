"""Simulate a cohort of the size of the source report: 5,123 people, 319,147 markers, four traits with known truth.

The report ("Variance Components Analysis", MATH6450E) published estimates but no data. This script makes files on
which the same job can be done, timed and checked: PLINK 1 genotypes, ``pheno.tsv``, who is of which population
(``population.tsv``) and ``truth.json``.

Genotypes: each block of neighbouring markers has a few ancestral haplotypes, and everybody carries two of them. With
H haplotypes in blocks of m markers the squared correlations of a marker sum to about 1 + (m - 1) / (H - 1), so that
m = 60 and H = 7 leave about 30,000 effective markers and a standard error of h2 near 0.05 at full size, as in the
report. Three populations have haplotype frequencies of their own: Dirichlet with mean w and concentration 1 / Fst - 1,
so that each marker follows Balding and Nichols (1995, doi:10.1007/BF01441146).

Traits: y = population effect + g + e, g = W u, u ~ N(0, sigma2_u / p), W standardised by the sample frequency f as
(g - 2 f) / sqrt(2 f (1 - f)): given the markers g ~ N(0, sigma2_u K) exactly, with K = W W' / p over all markers.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bed_reader import create_bed
from numpy import ndarray

SIGMA2 = {"T1": (0.2264, 0.7640), "T2": (0.3040, 0.6898), "T3": (0.2929, 0.6916), "T4": (0.1655, 0.8325)}
POPULATIONS = 3
FST = 0.003
BLOCK = 60
HAPLOTYPES = 7
POPULATION_SD = 0.2
MIN_FREQUENCY = 0.05
MISSING = np.int8(-127)  # what bed_reader takes for a genotype that was not called


def simulate(out: Path, *, people: int, markers: int, seed: int, missing: float, block: int = BLOCK) -> None:
    """Write ``cohort.bed/.bim/.fam``, ``pheno.tsv``, ``population.tsv`` and ``truth.json`` into a folder.

    Args:
        out: the folder; it is made.
        people: n.
        markers: p.
        seed: of all random numbers.
        missing: rate of genotypes that are not called, at random.
        block: markers that are in linkage disequilibrium with each other.
    """
    rng = np.random.default_rng(seed)
    ids = [f"P{i + 1:05d}" for i in range(people)]
    population = rng.integers(POPULATIONS, size=people)
    sigma2_u, sigma2_e = np.array(list(SIGMA2.values())).T
    g = np.zeros((people, len(SIGMA2)))
    out.mkdir(parents=True, exist_ok=True)
    with create_bed(
        out / "cohort.bed", iid_count=people, sid_count=markers, properties=_properties(ids, markers)
    ) as bed:
        for alleles, carried in _blocks(rng, population, markers, block):
            u = rng.normal(size=(len(alleles), len(SIGMA2))) * np.sqrt(sigma2_u / markers)
            g += _genetic_values(alleles, carried, u)
            for row in _genotypes(rng, alleles, carried, missing):
                bed.write(row)
    effects = rng.normal(scale=POPULATION_SD, size=(POPULATIONS, len(SIGMA2)))
    Y = effects[population] + g + rng.normal(size=g.shape) * np.sqrt(sigma2_e)
    table = pd.DataFrame({"FID": ids, "IID": ids} | dict(zip(SIGMA2, Y.T, strict=True)))
    table.to_csv(out / "pheno.tsv", sep="\t", index=False, float_format="%.8g")
    populations = pd.DataFrame({"FID": ids, "IID": ids, "population": [f"P{i + 1}" for i in population]})
    populations.to_csv(out / "population.tsv", sep="\t", index=False)
    truth = {
        "people": people,
        "markers": markers,
        "seed": seed,
        "missing": missing,
        "populations": POPULATIONS,
        "fst": FST,
        "block": block,
        "haplotypes": HAPLOTYPES,
        "traits": {
            name: {
                "h2": u / (u + e),
                "sigma2_u": u,
                "sigma2_e": e,
                "population_effects": effects[:, j].round(6).tolist(),
            }
            for j, (name, (u, e)) in enumerate(SIGMA2.items())
        },
    }
    # Last: its presence tells that the other files are whole.
    (out / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")


def _properties(ids: Sequence[str], markers: int) -> dict[str, Any]:
    """Return the columns of .fam and .bim: 22 chromosomes of equal length, a marker every 9 kb."""
    chromosome = np.arange(markers) * 22 // markers
    position = np.arange(markers) - np.searchsorted(chromosome, chromosome)
    return {
        "fid": np.array(ids),
        "iid": np.array(ids),
        "chromosome": (chromosome + 1).astype(str),
        "sid": np.array([f"rs{j + 1}" for j in range(markers)]),
        "bp_position": (position + 1) * 9000,
        "allele_1": np.full(markers, "A"),
        "allele_2": np.full(markers, "G"),
    }


def _blocks(
    rng: np.random.Generator, population: ndarray, markers: int, block: int
) -> Iterator[tuple[ndarray, tuple[ndarray, ndarray]]]:
    """Yield, block by block, the alleles (m, H) of the haplotypes and the two (n,) that each person carries."""
    for start in range(0, markers, block):
        weights = rng.dirichlet(np.full(HAPLOTYPES, 10.0))
        alleles = _alleles(rng, weights, min(block, markers - start))
        by_population = rng.dirichlet(weights * (1 / FST - 1), size=POPULATIONS)
        edges = np.cumsum(by_population, axis=1)[:, :-1].T
        first, second = ((rng.random(len(population)) > edges[:, population]).sum(axis=0) for _ in range(2))
        yield alleles, (first, second)


def _alleles(rng: np.random.Generator, weights: ndarray, m: int) -> ndarray:
    """Return which haplotypes carry the counted allele of m markers, its frequency between 0.05 and 0.5."""
    alleles = np.zeros((m, HAPLOTYPES), dtype=np.int8)
    while (rare := alleles @ weights < MIN_FREQUENCY).any():
        share = rng.uniform(MIN_FREQUENCY, 0.5, size=(rare.sum(), 1))
        drawn = (rng.random((rare.sum(), HAPLOTYPES)) < share).astype(np.int8)
        alleles[rare] = np.where((drawn @ weights > 0.5)[:, None], 1 - drawn, drawn)
    return alleles


def _genetic_values(alleles: ndarray, carried: tuple[ndarray, ndarray], u: ndarray) -> ndarray:
    """Return W u of one block, shape (n, t): a sum over two haplotypes, so it is computed for H haplotypes only."""
    first, second = carried
    counts = np.bincount(first, minlength=HAPLOTYPES) + np.bincount(second, minlength=HAPLOTYPES)
    f = alleles @ counts / counts.sum()
    polymorphic = (f > 0) & (f < 1)
    scaled = (alleles - f[:, None])[polymorphic] / np.sqrt(2 * f * (1 - f))[polymorphic, None]
    value = scaled.T @ u[polymorphic]
    return value[first] + value[second]


def _genotypes(rng: np.random.Generator, alleles: ndarray, carried: tuple[ndarray, ndarray], missing: float) -> ndarray:
    """Return the genotypes of one block as the file holds them, int8, shape (m, n)."""
    first, second = carried
    genotypes = alleles[:, first] + alleles[:, second]
    if missing:
        genotypes[rng.random(genotypes.shape, dtype=np.float32) < missing] = MISSING
    return genotypes


def main() -> None:
    """Read the options and simulate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the files")
    parser.add_argument("--people", type=int, default=5123, metavar="N")
    parser.add_argument("--markers", type=int, default=319_147, metavar="P")
    parser.add_argument("--missing", type=float, default=0.0, metavar="RATE", help="genotypes not called")
    parser.add_argument("--block", type=int, default=BLOCK, metavar="M", help="markers in linkage disequilibrium")
    parser.add_argument("--seed", type=int, default=6450, metavar="N")
    options = parser.parse_args()
    simulate(
        options.out,
        people=options.people,
        markers=options.markers,
        seed=options.seed,
        missing=options.missing,
        block=options.block,
    )


if __name__ == "__main__":
    main()
