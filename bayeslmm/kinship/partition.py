"""A kinship of each of several sets of markers, in one pass over the genotypes."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples, quoted
from bayeslmm.base.defaults import GENO, MAF, SCALE
from bayeslmm.base.files import read_lines
from bayeslmm.base.memory import check_memory
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.chromosomes import plain_name
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.from_genotypes import add_product, mirror_lower
from bayeslmm.kinship.kinship import Kinship

CHROMOSOME = "chromosome"
"""The partition by chromosomes."""
_HEADERS = ("snp", "marker", "id", "variant", "rs", "rsid", "name")


@dataclass(frozen=True)
class Partition:
    """Sets of markers without one in common.

    Attributes:
        names: of the sets.
        set_of: number of the set of each marker of the genotypes, -1 for those that are in none, shape (p,).
        said: what was left out.
    """

    names: tuple[str, ...]
    set_of: Int64[ndarray, " p"]
    said: tuple[str, ...] = ()


def partition_kinships(
    genotypes: Genotypes, partition: Partition, *, scale: str = SCALE, maf: float = MAF, geno: float = GENO
) -> dict[str, Kinship]:
    """Compute the kinship of each set, K_s = W_s W_s' / p_s, streaming the markers once.

    Each is what `genomic_kinship` makes of these markers alone, but that only all sets together must have a genotype of
    each individual. Its ``details`` hold the number of its markers and their weight: the sum of all, weighted, is the
    kinship of all.

    Args:
        genotypes: opened, with the choice of markers that a kinship is made from.
        partition: of these markers.
        scale: "hwe", "sample" or "vanraden", as for `genomic_kinship`.
        maf: keep markers whose minor allele frequency is at least this.
        geno: keep markers whose missing rate is at most this.

    Raises:
        InputError: as `genomic_kinship`; if a set has no marker left, or memory does not suffice.

    Source: Yang et al. (2011), doi:10.1038/ng.823 (partitioning by chromosomes).
    """
    n, k = len(genotypes.ids), len(partition.names)
    check_memory(
        (8.0 * k + 4.0) * n**2,
        what=f"{genotypes.path}: a kinship of {n:,} individuals for each of {k} sets of markers",
        instead="use fewer sets, a machine with more memory, or genotypes of only the individuals analysed",
    )
    blocks = MarkerBlocks(genotypes, scale=scale, maf=maf, geno=geno)
    sums, tallies = [np.zeros((n, n), order="F") for _ in range(k)], [Tally.empty(n)] * k
    scratch = np.zeros((n, n), dtype=np.float32, order="F")
    for number, block in blocks.divided("kinships", partition.set_of):
        add_product(sums[number], block.G, scratch)
        tallies[number] += block.tally
    del scratch
    kinships: dict[str, Kinship] = {}
    for name, K, tally in zip(partition.names, sums, tallies, strict=True):
        _check_left(name, tally, blocks)
        mirror_lower(K)
        K /= tally.weight
        details = {
            "scale": scale,
            "maf": maf,
            "geno": geno,
            "weight": tally.weight,
            "markers": asdict(tally.counts),
            "left_out": {},
            "selection": list(genotypes.said),
            "set": name,
        }
        kinships[name] = Kinship(genotypes.ids, K, f"{genotypes.name}, set {name}", details, genotypes.families)
    return kinships


def markers_of(kinship: Kinship) -> int:
    """Return how many markers the kinship of a set is made of; 0 if it is another kinship."""
    return kinship.details["markers"]["kept"] if "set" in kinship.details else 0


def by_chromosome(genotypes: Genotypes) -> Partition:
    """Return a set for each chromosome of which a kinship is made: chr1, chr2 and so on, in the order of the file."""
    labels = [f"chr{plain_name(name)}" for name in genotypes.variants["chrom"]]
    names = tuple(dict.fromkeys(np.array(labels, dtype=object)[genotypes.used].tolist()))
    number = {name: i for i, name in enumerate(names)}
    set_of = np.array([number.get(label, -1) for label in labels], dtype=np.int64)
    return Partition(names, np.where(genotypes.used, set_of, -1))


def read_partition(path: str | Path, genotypes: Genotypes) -> Partition:
    """Read sets of markers: on each line the id of a marker and the name of its set; a first line may name these.

    All markers with an id that is repeated in the genotypes are in its set. Markers of the file that the genotypes do
    not have, and markers of the genotypes that are in no set, are left out, and counted in ``said``.

    Args:
        path: of the text, with blanks or tabs; it may be compressed.
        genotypes: opened.

    Raises:
        InputError: a line without two words, a marker in two sets, or no marker that the genotypes have.
    """
    set_of_id = _listed(path, _lines(path))
    known = pd.Index(genotypes.variants["snp"])
    listed = pd.Index(list(set_of_id))
    absent = listed[~listed.isin(known)]
    if len(absent) == len(listed):
        raise InputError(
            f"{path}: none of its {len(listed):,} markers ({examples(listed)}) is in {genotypes.path} (such as "
            f"{examples(known[:3])}): check that both use the same ids"
        )
    names = tuple(dict.fromkeys(set_of_id.values()))
    number = {name: i for i, name in enumerate(names)}
    set_of = np.array([number[set_of_id[one]] if one in set_of_id else -1 for one in known], dtype=np.int64)
    inside = genotypes.used & (set_of >= 0)
    outside = int(genotypes.used.sum() - inside.sum())
    said = f"{path}: {int(inside.sum()):,} markers of {genotypes.path} in {len(names)} sets"
    if outside:
        said += f"; {outside:,} markers are in no set, and are left out"
    if len(absent):
        said += f"; {len(absent):,} of its {len(listed):,} markers are not in the genotypes ({examples(absent)})"
    return Partition(names, np.where(inside, set_of, -1), (said,))


def _lines(path: str | Path) -> list[tuple[int, list[str]]]:
    lines = [(number, fields) for number, line in enumerate(read_lines(path), start=1) if (fields := line.split())]
    if lines and lines[0][1][0].lstrip("#").lower() in _HEADERS:
        del lines[0]
    if not lines:
        raise InputError(f"{path} is empty: the id of a marker and the name of its set are expected on each line")
    return lines


def _listed(path: str | Path, lines: Sequence[tuple[int, list[str]]]) -> dict[str, str]:
    """Return the set of each marker that is listed."""
    set_of: dict[str, str] = {}
    for number, fields in lines:
        if len(fields) != 2:
            raise InputError(
                f"{path} line {number}: the id of a marker and the name of its set are expected, but "
                f"{quoted(' '.join(fields[:9]))} was found"
            )
        marker, name = fields
        if set_of.setdefault(marker, name) != name:
            raise InputError(
                f"{path} line {number}: a marker is in one set, but {examples([marker])} is in {examples([name])} and "
                f"before in {examples([set_of[marker]])}: remove one of these lines"
            )
    return set_of


def _check_left(name: str, tally: Tally, blocks: MarkerBlocks) -> None:
    counts, path = tally.counts, blocks.genotypes.path
    if not counts.read:
        raise InputError(f"{path}: set {name!r} has no marker on a chromosome of which a kinship is made: leave it out")
    if not counts.kept:
        raise InputError(
            f"{path}: set {name!r} has no marker left of {counts.read:,}: {counts.above_missing:,} exceed the missing "
            f"rate {blocks.geno:g}, {counts.monomorphic:,} are monomorphic, {counts.below_maf:,} are below the "
            f"frequency {blocks.maf:g}: leave it out, or relax geno or maf"
        )
