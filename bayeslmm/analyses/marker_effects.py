r"""The effects of markers that breeding values are sums of, per allele, and the scores of new genotypes.

With :math:`K = W W' / p` breeding values are :math:`W a` with effects :math:`a = \frac{\sigma_u^2}{p} W' P y` of
standardised markers (BLUP of markers and of individuals are the same model).

Source: Stranden and Garrick (2009), doi:10.3168/jds.2008-1929.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.genotypes.blocks import BLOCK, MarkerBlocks
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.kinship.kinship import Kinship


def marker_effects(
    kinship: Kinship,
    genotypes: Genotypes,
    ids: Sequence[str],
    weights: Float[ndarray, " n"],
) -> pd.DataFrame:
    """Return the effect of one copy of the a1 of each marker that K was made from.

    Args:
        kinship: of `genomic_kinship`.
        genotypes: of which it was made.
        ids: of those analysed.
        weights: sigma2_u Py of them, in units of the trait.

    Returns:
        chrom, snp, pos, a1, a0, af (frequency of a1 among all individuals) and effect: a file of ``snp``, ``a1`` and
        ``effect`` is what ``plink2 --score`` takes. Its sums differ from breeding values by a constant, that of
        genotypes which are not centred.

    Raises:
        InputError: if K was not computed from genotypes on a scale, or as the reader of the genotypes.
    """
    details = kinship.details
    if not {"scale", "weight"} <= set(details):
        raise InputError(f"{kinship.source}: marker effects need a kinship that was computed from the genotypes given")
    blocks = MarkerBlocks(genotypes, details["scale"], details["maf"], details["geno"])
    rows = genotypes.rows(ids)
    tables: list[pd.DataFrame] = []
    for block in blocks.tracked("marker effects", rows):
        effect = block.G.T.astype(float) @ weights / details["weight"] / block.sd
        tables.append(genotypes.variants.iloc[block.lines].assign(af=block.af, effect=effect))
    return pd.concat(tables, ignore_index=True)


def scores(effects: pd.DataFrame, genotypes: Genotypes) -> pd.Series:
    """Return the breeding values of individuals by their genotypes: the mean of a missing one is taken for it.

    Args:
        effects: of `marker_effects`.
        genotypes: of the individuals, whatever the order of markers and alleles.

    Returns:
        A value for each individual, indexed by its id.

    Raises:
        InputError: if marker names repeat, none of the markers is there, or one has other alleles.
    """
    for name, table in (("effects", effects["snp"]), (str(genotypes.path), genotypes.variants["snp"])):
        if table.duplicated().any():
            raise InputError(f"{name}: markers are matched by name, but {examples(table[table.duplicated()])} repeat")
    there = genotypes.variants.assign(line=np.arange(genotypes.n_markers))
    both = effects.merge(there, on="snp", suffixes=("", "_there"), how="inner").sort_values("line")
    if both.empty:
        raise InputError(f"{genotypes.path}: none of the {len(effects):,} markers with effects is in it")
    same = (both["a1"] == both["a1_there"]) & (both["a0"] == both["a0_there"])
    swapped = (both["a1"] == both["a0_there"]) & (both["a0"] == both["a1_there"])
    if not (same | swapped).all():
        wrong = both.loc[~(same | swapped), "snp"]
        raise InputError(
            f"{genotypes.path}: {len(wrong)} markers have other alleles than the effects ({examples(wrong)})"
        )
    if (lost := len(effects) - len(both)) > 0:
        text = f"{lost:,} of {len(effects):,} markers with effects are not in it, and count as their mean"
        warnings.warn(f"{genotypes.path}: {text}", InputWarning, stacklevel=2)
    total = np.zeros(len(genotypes.ids))
    lines, swap = both["line"].to_numpy(), swapped.to_numpy()
    mean, effect = 2 * both["af"].to_numpy(), both["effect"].to_numpy()
    with genotypes.reader() as reader:
        for start in range(0, len(both), BLOCK):
            part = slice(start, start + BLOCK)
            G = reader.read(None, lines[part], "float64")
            G = np.where(swap[part], 2 - G, G) - mean[part]
            total += np.nan_to_num(G) @ effect[part]
    return pd.Series(total, pd.Index(genotypes.ids, name="id"), name="breeding_value")
