"""What the command line says about a scan."""

from collections.abc import Mapping
from typing import Any

import pandas as pd


def scan_lines(
    numbers: Mapping[str, Mapping[str, Any]], top: pd.DataFrame, effects: pd.DataFrame, epistasis: pd.DataFrame
) -> str:
    """Say what came out first for each trait, and what was tested."""
    return "\n".join(line for trait in numbers for line in scan_answers(trait, numbers[trait], top, effects, epistasis))


def scan_answers(
    trait: str, of: Mapping[str, Any], top: pd.DataFrame, effects: pd.DataFrame, epistasis: pd.DataFrame
) -> list[str]:
    """Return what came out first for one trait, what was tested, and the posteriors of effects, in sentences."""
    counts = of["markers"]
    tested = (
        f"{trait}: {of['tested']:,} of {counts['read']:,} markers tested; not tested: {counts['monomorphic']:,} "
        f"monomorphic, {counts['below_maf']:,} rare, {counts['above_missing']:,} with too many missing, "
        f"{of['undetermined']:,} that the covariates determine or that leave nothing of the trait"
    )
    lines = [f"nothing could be tested for {trait}", f"  {tested}"]
    if of["tested"]:
        first = top[top["trait"] == trait].iloc[0]
        lines = [
            f"strongest association with {trait}: {first['snp']} (chromosome {first['chrom']}, {first['pos']:,}), "
            f"effect of {first['a1']} {first['beta']:.4g} (se {first['se']:.2g}, as if it had not been "
            f"chosen); p = {first['p_wald']:.3g}, log10 BF {first['log10_bf']:.1f}",
            f"  lambda_GC {of['lambda_gc']:.3f}; {of['below_bonferroni']:,} markers below 0.05 / {of['tested']:,}",
            f"  {tested}",
        ]
    if of["tested"] and len(epistasis):
        own = epistasis[epistasis["trait"] == trait]
        lines.append(
            f"  {own['p_lrt'].notna().sum():,} of {len(own):,} pairs tested; the others have a marker that is not "
            "tested, or a product that both markers and the covariates determine"
        )
    of_trait = effects[effects["trait"] == trait].iterrows() if len(effects) else ()
    lines += [
        f"  posterior of {row['snp']} on {row['trait']}: {row['mean']:.4g} (sd {row['sd']:.2g}), with 95% "
        f"probability between {row['lower']:.4g} and {row['upper']:.4g}; P(> 0) = {row['p_positive']:.4g}"
        for _, row in of_trait
    ]
    return lines
