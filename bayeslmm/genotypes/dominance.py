r"""Markers coded for deviations from additivity.

.. math:: w = \frac{x - 2 f^2}{2 f (1 - f)}, \qquad x = 0,\; 2 f,\; 4 f - 2 \text{ for 0, 1, 2 copies of an allele}

of frequency f: that is -f / (1 - f), 1 and -(1 - f) / f, of mean 0 and variance 1 and without correlation to the number
of copies where genotypes are in Hardy-Weinberg proportions, and the same whichever allele is counted.

Source: Zhu et al. (2015), doi:10.1016/j.ajhg.2015.01.001 (GCTA --make-grm-d).
"""

from typing import override

import numpy as np
from jaxtyping import Float, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import Block, MarkerBlocks, Tally

_ROUNDING = 1e-3  # of a called genotype in a file of dosages, which has 8 bits or more


class DominanceBlocks(MarkerBlocks):
    """The markers of which a dominance kinship is made: the G of a block is w in float32, 0 where it is missing."""

    @override
    def _standardised(self, G: Float[ndarray, "n b"], lines: Int64[ndarray, " b"], elsewhere: int) -> Block:
        block, called = self._filtered(G, lines, elsewhere)
        f = block.af
        kept = np.isin(lines[called.holed], block.lines)
        holed, missing = np.searchsorted(block.lines, lines[called.holed[kept]]), called.missing[:, kept]
        dosage = block.G + (2 * f).astype(np.float32)
        copies = np.rint(dosage)
        uncalled = np.abs(dosage - copies) > _ROUNDING
        uncalled[:, holed] &= ~missing
        if uncalled.any():
            row, column = np.argwhere(uncalled)[0]
            raise InputError(
                f"{self.genotypes.path} marker {int(block.lines[column]) + 1}: dominance is that of called genotypes, "
                f"but {self.genotypes.ids[row]} has the dosage {dosage[row, column]:.3g}: give calls (plink2 "
                "--make-bed)"
            )
        none, one, two = (code.astype(np.float32) for code in (-f / (1 - f), np.ones_like(f), -(1 - f) / f))
        W = np.asfortranarray(np.where(copies == 1, one, np.where(copies == 0, none, two)))
        W[:, holed] *= ~missing
        return block._replace(G=W, tally=Tally(block.tally.counts, float(f.size), block.tally.called))
