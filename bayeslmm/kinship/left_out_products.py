"""The kinships of genotypes without one chromosome each, as something that multiplies: all in one pass."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import override

import numpy as np
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.base.progress import progress_bar
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.kinship.genotype_products import GenotypeProducts
from bayeslmm.kinship.kept_products import kept_product, name_of
from bayeslmm.kinship.marker_pass import Makers


@dataclass(frozen=True)
class _OfOne(MarkerBlocks):
    """The markers of one chromosome: what is refused of all markers need not be of these."""

    @override
    def check_used(self, tally: Tally) -> None: ...


class LeftOutProducts:
    """K without the markers of a chromosome, for each chromosome: (w K - w_c K_c) / (w - w_c), w the weight of markers.

    Each chromosome multiplies the columns that do not leave it out, so that a product of all takes one pass.

    Args:
        blocks: the markers of K.
        chromosomes: number of each that K has markers of -> which markers of the file.
        rows: which individuals.
        folder: where products are kept, as `KeptProducts` does; None for nowhere.
        makers: of the passes; None for this process.
    """

    def __init__(
        self,
        blocks: MarkerBlocks,
        chromosomes: Mapping[int, range],
        rows: Int64[ndarray, " n"],
        folder: Path | None = None,
        makers: Makers | None = None,
    ) -> None:
        common = {"scale": blocks.scale, "maf": blocks.maf, "geno": blocks.geno}
        self._of = {
            number: GenotypeProducts(_OfOne(blocks.genotypes, **common, among=span), makers).take(rows)
            for number, span in chromosomes.items()
        }
        self._name = name_of([blocks.genotypes.ids[i] for i in rows])
        self._folder, self._made = folder, 0

    def multiply(self, V: Float64[ndarray, "n b"], out: Int64[ndarray, " b"]) -> Float64[ndarray, "n b"]:
        """Return the products of columns with the kinships that leave some chromosomes out.

        Args:
            V: the columns.
            out: number of the chromosome that the kinship of each leaves out; one that K has no markers of for none.
        """
        self._made += 1
        if self._folder is None:
            return self._product(V, out)
        return kept_product(
            self._folder / f"{self._name}-loco-{self._made:04d}.product", V, lambda: self._product(V, out)
        )

    def _product(self, V: Float64[ndarray, "n b"], out: Int64[ndarray, " b"]) -> Float64[ndarray, "n b"]:
        total, weight = np.zeros_like(V), np.zeros(V.shape[1])
        with progress_bar(f"pass {self._made}", total=len(self._of), unit="chromosome") as bar:
            for number, K in self._of.items():
                columns = np.flatnonzero(out != number)
                with np.errstate(invalid="ignore"):  # of no marker that passes the filters
                    product = K @ V[:, columns]
                if own := K.details["weight"]:
                    total[:, columns] += own * product
                    weight[columns] += own
                bar.update()
        return total / weight
