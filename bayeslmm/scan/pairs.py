"""Tests of the product of two markers beside both."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, quoted
from bayeslmm.base.files import read_lines
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.scan.blocks import Markers, ScanSettings
from bayeslmm.scan.tests import added

_PAIRS = 512  # at a time


def read_pairs(path: str | Path, variants: pd.DataFrame) -> Int64[ndarray, "pairs 2"]:
    """Read pairs of markers, two names on each line, as numbers of markers, from 0.

    Raises:
        InputError: a line without two different names, or a name that is not that of one marker.
    """
    line_of = {name: line for line, name in enumerate(variants["snp"])}
    repeated = set(variants["snp"][variants["snp"].duplicated()])
    pairs: list[list[int]] = []
    for number, line in enumerate(read_lines(path), start=1):
        names = line.split()
        if not names:
            continue
        if len(set(names)) != 2 or len(names) != 2:
            raise InputError(f"{path} line {number}: two different markers are needed, but {quoted(line)} was found")
        for name in names:
            if name not in line_of or name in repeated:
                count = "several markers are" if name in repeated else "no marker is"
                raise InputError(f"{path} line {number}: {count} called {quoted(name)}: name one of the genotypes")
        pairs.append([line_of[name] for name in names])
    if not pairs:
        raise InputError(f"{path} has no pair of markers: write two names on each line")
    return np.array(pairs)


def pair_tables(
    markers: Markers, cohort: Cohort, spectrum: Spectrum, pairs: Int64[ndarray, "pairs 2"], settings: ScanSettings
) -> Iterator[pd.DataFrame]:
    """Yield tables of some pairs each, one row for each pair and trait; NA where a marker does not pass the filters.

    The product is of dosages less their means. Its effect is given both markers, ``p_joint`` is of all three.

    Args:
        markers: of the file.
        cohort: the individuals.
        spectrum: of their kinship.
        pairs: which markers.
        settings: what is tested.

    Raises:
        InputError: if h2 is not identified.
    """
    genotypes, scan = markers.genotypes, settings.prepare(spectrum.rotate(cohort.Y, cohort.X))
    rows, variants = genotypes.rows(cohort.ids), genotypes.variants
    for start in range(0, len(pairs), _PAIRS):
        some = pairs[start : start + _PAIRS]
        (block,) = dosages(genotypes, rows, [np.unique(some)], maf=settings.maf, geno=settings.geno)
        whole = np.isin(some, block.lines).all(axis=1)
        first, second = np.searchsorted(block.lines, some[whole]).T
        Z = spectrum.U.T @ block.G
        product = spectrum.U.T @ (block.G[:, first] * block.G[:, second])
        both = [Z[:, first], Z[:, second]]
        for trait, three, two in zip(cohort.traits, scan.test([*both, product]), scan.test(both), strict=True):
            columns = {
                "beta": three.beta[:, 2],
                "se": three.se[:, 2],
                "p_wald": three.p_wald[:, 2],
                "p_lrt": added(three, two),
                "p_joint": three.p_lrt,
                "df": three.df,
                "delta": three.delta,
            }
            table = pd.DataFrame({"trait": trait}, index=range(len(some)))
            for place, lines in enumerate(some.T, start=1):
                marker = variants.iloc[lines].reset_index(drop=True)
                table = table.assign(**{f"{name}_{place}": marker[name] for name in ("snp", "chrom", "pos", "a1")})
            yield table.join(pd.DataFrame(columns, index=np.flatnonzero(whole)))
