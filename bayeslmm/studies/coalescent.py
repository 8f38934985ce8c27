"""Simulated human genotypes, with realistic linkage disequilibrium and relatedness."""

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from bed_reader import create_bed
from jaxtyping import Int8, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.files import replacing
from bayeslmm.base.progress import progress_bar
from bayeslmm.genotypes.chromosomes import special_chromosomes
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.genotypes.source import plink_files

POPULATION_SIZE = 10_000  # diploid, and constant
RECOMBINATION_RATE = 1e-8  # for each base and generation
MUTATION_RATE = 1.25e-8
SPACING = 5_000  # bases for each marker, as on an array of 600,000
SHORTEST = 100_000  # so that a chromosome of few markers has common ones, too
MAF = 0.05


def write_coalescent(
    prefix: str | Path, *, people: int, markers: int, chromosomes: int = 22, siblings: int = 1, rng: np.random.Generator
) -> Genotypes:
    """Simulate the genomes of people from a population of constant size; write ``prefix.bed/.bim/.fam`` and open them.

    Chromosomes have 5 kb for each of their markers, and at least 100 kb: with few markers the genome is short, and
    linkage disequilibrium that of an array. One that has too few common sites is made twice as long. Markers are drawn
    from the sites whose minor allele frequency among these people is at least 0.05; a1 is the younger allele, and no
    genotype is missing. Parents are drawn from the population, two for each family, and everybody else descends from
    them through recombination.

    Args:
        prefix: of the files.
        people: n.
        markers: p.
        chromosomes: how many.
        siblings: people come in families of so many full siblings, 1 for none; the last family may be smaller.
        rng: for all random numbers.

    Raises:
        InputError: without msprime, for numbers that are too small, or if the folder cannot be written.

    Source: Baumdicker et al. (2022), doi:10.1093/genetics/iyab229 (msprime).
    """
    if people < 2 or siblings < 1 or not 1 <= chromosomes <= markers:
        raise InputError(
            "coalescent genotypes need at least 2 people, families of at least 1, and a marker for each chromosome, "
            f"but {people} people in families of {siblings} and {markers} markers on {chromosomes} chromosomes were "
            "requested"
        )
    if special := special_chromosomes([str(k + 1) for k in range(chromosomes)]):
        raise InputError(
            f"of {chromosomes} chromosomes, {', '.join(special)} would have the numbers of human sex chromosomes, "
            "which are left out of a kinship: request at most 22, or at least 27"
        )
    if find_spec("msprime") is None:
        raise InputError("coalescent genotypes need msprime: pip install 'bayeslmm[msprime]'")
    family = np.arange(people) // siblings
    width = len(str(people))
    properties = {
        "fid": [f"F{k + 1:0{width}d}" for k in family],
        "iid": [f"P{i + 1:0{width}d}" for i in range(people)],
    }
    bed, bim, fam = plink_files(prefix)
    sites: list[tuple[int, int]] = []
    with replacing(fam) as new_fam, replacing(bim) as new_bim, replacing(bed) as new_bed:
        # create_bed writes another .bim, before positions are known: it stays in the temporary folder of new_bed.
        rows = create_bed(new_bed, iid_count=people, sid_count=markers, properties=properties, fam_location=new_fam)
        with rows, progress_bar("coalescent", total=markers, unit="marker") as bar:
            for k in range(chromosomes):
                p = markers * (k + 1) // chromosomes - markers * k // chromosomes
                for position, dosages in _chromosome(family, p, rng):
                    rows.write(dosages)
                    sites.append((k + 1, position))
                    bar.update()
        _bim(sites).to_csv(new_bim, sep="\t", header=False, index=False, float_format="%.6g")
    return open_genotypes(prefix)


def _bim(sites: Sequence[tuple[int, int]]) -> pd.DataFrame:
    table = pd.DataFrame(sites, columns=["chrom", "pos"])
    names = [f"snp{j + 1}" for j in range(len(table))]
    table = table.assign(snp=names, cm=table["pos"] * RECOMBINATION_RATE * 100, a1="A", a0="G")
    return table[["chrom", "snp", "cm", "pos", "a1", "a0"]]


def _chromosome(
    family: Int64[ndarray, " n"], p: int, rng: np.random.Generator
) -> Iterator[tuple[int, Int8[ndarray, " n"]]]:
    """Yield positions, from 1, and dosages of the younger allele at p common sites of a chromosome."""
    from tskit import Variant

    length = max(SPACING * p, SHORTEST)
    while True:
        trees = _genealogy(family, length, rng.integers(1, 2**31, size=3).tolist())
        # One site at a time: all genotypes of a chromosome may not fit in memory.
        frequency = np.array([variant.genotypes.mean() for variant in trees.variants()])
        common = np.flatnonzero((frequency >= MAF) & (frequency <= 1 - MAF))
        if len(common) >= p:
            break
        length *= 2  # rare: there are about seven for each that is needed, two among very few people
    variant = Variant(trees)
    for site in np.sort(rng.choice(common, p, replace=False)):
        variant.decode(site)
        yield int(variant.site.position) + 1, variant.genotypes.reshape(-1, 2).sum(axis=1, dtype=np.int8)


def _genealogy(family: Int64[ndarray, " n"], length: int, seeds: Sequence[int]) -> Any:
    """Return the trees of a chromosome with mutations, a tskit.TreeSequence; each person is two samples in a row."""
    import msprime

    pedigree = msprime.PedigreeBuilder()
    for size in np.bincount(family):
        parents = [pedigree.add_individual(time=1) for _ in range(2)]
        for _ in range(size):
            pedigree.add_individual(time=0, parents=parents)
    children, ancestors, mutations = seeds
    trees = msprime.sim_ancestry(
        initial_state=pedigree.finalise(length),
        model="fixed_pedigree",
        recombination_rate=RECOMBINATION_RATE,
        random_seed=children,
    )
    trees = msprime.sim_ancestry(
        initial_state=trees,
        population_size=POPULATION_SIZE,
        recombination_rate=RECOMBINATION_RATE,
        random_seed=ancestors,
    )
    return msprime.sim_mutations(trees, rate=MUTATION_RATE, model=msprime.BinaryMutationModel(), random_seed=mutations)
