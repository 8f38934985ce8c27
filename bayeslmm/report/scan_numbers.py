"""What the tests of all markers say about one trait, in numbers."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pandas as pd

from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.report.plots.scan import PValues


def numbers_of(
    tests: pd.DataFrame, counts: MarkerCounts, *, n: int, least_count: float, order: Sequence[str]
) -> tuple[PValues | None, dict[str, Any]]:
    """Return the p-values of one trait along the genome, None where no marker could be tested, and numbers about it.

    Args:
        tests: one row for each marker, with the columns chrom, pos, snp, p_wald, af and n_miss.
        counts: of the markers that were read.
        n: individuals.
        least_count: see `least_allele_counts`.
        order: of the chromosomes.
    """
    tested = tests[["chrom", "pos", "snp", "p_wald", "af", "n_miss"]].dropna()
    numbers: dict[str, Any] = {
        "markers": asdict(counts),
        "tested": len(tested),
        "undetermined": len(tests) - len(tested),
    }
    if tested.empty:
        return None, numbers
    p = PValues.of(tested, order=order)
    copies = 2 * (n - tested["n_miss"]) * np.minimum(tested["af"], 1 - tested["af"])
    return p, numbers | {
        "least_allele_count": least_count,
        "below_least": int((copies < least_count).sum()),
        "lambda_gc": p.lambda_gc,
        "below_bonferroni": int((p.p < 0.05 / len(tested)).sum()),
    }
