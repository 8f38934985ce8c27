"""What was simulated, as the report shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from bayeslmm.analyses.source import Source
from bayeslmm.base.numbers import significant
from bayeslmm.report.page import Headline, Part, Report, Shown, together

_MSPRIME = Source("Baumdicker et al. (2022)", "10.1093/genetics/iyab229", "genotypes by the coalescent")


def simulation_report(truth: Mapping[str, Any], files: Sequence[str]) -> Report:
    """Return the report of `simulate`.

    Args:
        truth: what ``truth.json`` holds.
        files: that were written beside it.
    """
    rows, genotypes = truth["traits"], truth["genotypes"]
    traits = [name for name in rows if ":" not in name]
    coalescent = "population_size" in genotypes
    part = Part(
        name=together(traits),
        headlines=[
            Headline(
                trait,
                "true heritability h2",
                f"{rows[trait]['h2']:g}",
                f"variance of genetic values in this sample {significant(rows[trait]['variance_g'])}",
            )
            for trait in traits
        ],
        tables=[Shown("true values; all digits in truth.json", _parameters(rows))],
        sources=[_MSPRIME] if coalescent else [],
    )
    used = genotypes["markers"]["kept"]
    return Report(
        title=f"Simulated traits {together(traits)}",
        question="What would data with this truth look like?",
        parts=[part],
        reading=[
            "sigma2_u and sigma2_e are the variances of genetic values and residuals, h2 = sigma2_u / (sigma2_u + "
            "sigma2_e); rho_u and rho_e are the correlations between traits, beta the effects of covariates.",
            "The variance of genetic values in this sample differs from sigma2_u by chance, most where few markers "
            "have effects.",
        ],
        facts=[
            ("Genotypes", "simulated by the coalescent" if coalescent else ", ".join(genotypes["sha256"])),
            ("Individuals", f"{genotypes['people']:,}"),
            ("Markers", f"{used:,} of {genotypes['markers']['read']:,} used, {truth['causal']:,} with effects"),
            ("Files", ", ".join(files)),
        ],
    )


def _parameters(rows: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """Return the true values of each trait and pair, a column for each."""
    return pd.DataFrame({name: dict(row) for name, row in rows.items()}).astype(float).rename_axis("parameter")
