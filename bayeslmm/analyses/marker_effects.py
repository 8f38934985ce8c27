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

from bayeslmm.analyses.breeding_values import TraitFit
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.genotypes.blocks import BLOCK, MarkerBlocks
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.matching import match_markers
from bayeslmm.kinship.kinship import Kinship

_EFFECTS = ("effect", "effect_sd", "effect_reml", "effect_reml_sd")


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
    blocks, rows = _blocks(kinship, genotypes), genotypes.rows(ids)
    tables: list[pd.DataFrame] = []
    for block in blocks.tracked("marker effects", rows):
        effect = block.G.T.astype(float) @ weights / kinship.details["weight"] / block.sd
        tables.append(genotypes.variants.iloc[block.lines].assign(af=block.af, effect=effect))
    return pd.concat(tables, ignore_index=True)


def marker_posteriors(
    kinship: Kinship,
    genotypes: Genotypes,
    ids: Sequence[str],
    fit: TraitFit,
    *,
    centred: bool = False,
    divisor: float = 1.0,
) -> pd.DataFrame:
    """Return the effect of one copy of the a1 of each marker, with its uncertainty.

    A standardised marker has the effect that the breeding value of somebody has whose K is w / p with those analysed,
    and 1 / p with himself; so this costs what K did.

    Args:
        kinship: of `genomic_kinship`.
        genotypes: of which it was made.
        ids: of those analysed.
        fit: of them.
        centred: whether their K was centred on them.
        divisor: by what it was divided.

    Returns:
        snp, a1, effect and effect_sd (posterior, over the variances), effect_reml and effect_reml_sd (at REML), chrom,
        pos, a0 and af, as `marker_effects` has them.

    Raises:
        InputError: as `marker_effects`.
    """
    blocks, rows = _blocks(kinship, genotypes), genotypes.rows(ids)
    weight = kinship.details["weight"] * divisor
    tables: list[pd.DataFrame] = []
    for block in blocks.tracked("marker effects", rows):
        W = block.G.T.astype(float)
        if centred:
            W -= W.mean(axis=1, keepdims=True)
        p = len(W)
        unknown = np.full((p, fit.white.data.X.shape[1]), np.nan)
        at_reml, integrated = fit.predictions(W / weight, np.full(p, 1 / weight), unknown)
        found = [
            values / block.sd
            for one in (integrated, at_reml)
            for values in (one.mean, np.sqrt(np.maximum(one.variance, 0)))
        ]
        of_allele = dict(zip(_EFFECTS, found, strict=True))
        tables.append(genotypes.variants.iloc[block.lines].assign(af=block.af, **of_allele))
    whole = pd.concat(tables, ignore_index=True)
    return whole[["snp", "a1", *_EFFECTS, "chrom", "pos", "a0", "af"]]


def _blocks(kinship: Kinship, genotypes: Genotypes) -> MarkerBlocks:
    details = kinship.details
    if not {"scale", "weight"} <= set(details):
        raise InputError(f"{kinship.source}: marker effects need a kinship that was computed from the genotypes given")
    return MarkerBlocks(genotypes, details["scale"], details["maf"], details["geno"])


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
    matched = match_markers(effects, genotypes, where="the effects")
    if (lost := int((matched.line < 0).sum())) > 0:
        text = f"{lost:,} of {len(effects):,} markers with effects are not in it, and count as their mean"
        warnings.warn(f"{genotypes.path}: {text}", InputWarning, stacklevel=2)
    total = np.zeros(len(genotypes.ids))
    mean, effect = 2 * effects["af"].to_numpy(), effects["effect"].to_numpy()
    with genotypes.reader() as reader:
        for start in range(0, len(effects), BLOCK):
            part = np.arange(start, min(start + BLOCK, len(effects)))
            G = matched.dosages(reader, part, len(total)) - mean[part]
            total += np.nan_to_num(G) @ effect[part]
    return pd.Series(total, pd.Index(genotypes.ids, name="id"), name="breeding_value")
