"""What the command line says about a scan."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, t

_P, _TOO_SMALL = 1e-4, 1.4


def scan_cautions(trait: str, of: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what makes small p-values of a trait too small: what was found, and what to read.

    Args:
        trait: its name.
        of: what ``run.json`` holds about it; nothing is said of a trait without a test.
    """
    if not of["tested"]:
        return []
    found: list[tuple[str, str]] = []
    n, c = of["n"], len(of["covariates"])
    # With the variance ratio known the likelihood ratio is a function of the F test.
    ratio = n * np.log1p(t.isf(_P / 2, n - c - 1) ** 2 / (n - c - 1))
    too_small = _P / chi2.sf(ratio, 1)
    if too_small > _TOO_SMALL:
        found.append(
            (
                f"{n:,} individuals and {c} covariates leave {n - c:,} degrees of freedom",
                f"read p_wald: p_lrt, which takes the sample for large, is {too_small:.2g} times too small at {_P:g}, "
                "and p_score too large",
            )
        )
    if of["below_least"]:
        found.append(
            (
                f"{of['below_least']:,} of {of['tested']:,} markers have fewer than {of['least_allele_count']:,.0f} "
                f"copies of the rarer allele, and {trait} is skewed or heavy-tailed",
                f"their small p-values can be too small by far ({_P:g} more than doubles): read p_wald, which is the "
                "least wrong, and repeat them with the trait transformed to normal quantiles",
            )
        )
    return found


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
            f"chosen); p_wald = {first['p_wald']:.3g}, log10 BF {first['log10_bf']:.1f}",
            f"  lambda_GC {of['lambda_gc']:.3f}; {of['below_bonferroni']:,} markers below 0.05 / {of['tested']:,}",
            f"  {tested}",
            *(f"  CAUTION: {found}: {advice}" for found, advice in scan_cautions(trait, of)),
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
