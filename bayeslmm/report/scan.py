"""A scan, as the command line prints it and as the report shows it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, t

from bayeslmm.report.lights import (
    light_of_caution,
    light_of_inflation,
)
from bayeslmm.report.page import Part, Report, Shown, together

_ROWS = 20
_HEADINGS = {
    "snp": "marker",
    "snp_1": "marker",
    "snp_2": "and marker",
    "chrom": "chromosome",
    "pos": "position",
    "a1": "allele",
    "af": "its frequency",
    "beta": "effect",
    "mean": "effect, mean",
    "se": "se",
    "sd": "sd",
    "lower": "95% from",
    "upper": "to",
    "p_positive": "P(> 0)",
    "p_wald": "p, Wald",
    "p_lrt": "p, likelihood ratio",
    "p_joint": "p, jointly",
    "log10_bf": "log10 BF",
}
_MARKERS = {
    "top": "markers with the smallest p-values",
    "effects": "posterior of effects",
    "epistasis": "products of pairs of markers",
}


def scan_part(
    trait: str,
    numbers: Mapping[str, Any],
    people: str,
    *,
    test: str,
    tables: Mapping[str, pd.DataFrame],
    picture: Path,
) -> Part:
    """Return what `scan` says about one trait.

    Args:
        trait: its name.
        numbers: what ``run.json`` holds about it.
        people: who was analysed.
        test: "exact" or "null".
        tables: "top", "effects" and "epistasis", of all traits.
        picture: of the trait, which is there if any marker was tested.
    """
    shown = [
        _of_markers(name, table[table["trait"] == trait])
        for name, table in tables.items()
        if len(table) and (table["trait"] == trait).any()
    ]
    return Part(
        name=trait,
        people=people,
        sentences=scan_answers(trait, numbers, **tables),
        picture=picture if numbers["tested"] else None,
        caption="p-values along the genome, and against what chance gives (the band holds all of 95% of scans of "
        "independent markers without effects)",
        tables=shown,
        notes=[],
        lights=[
            *([light_of_inflation(numbers["lambda_gc"], numbers["tested"])] if "lambda_gc" in numbers else []),
            *(light_of_caution(found, advice) for found, advice in scan_cautions(trait, numbers)),
        ],
        methods=["reml", f"scan {test}", "scan"],
    )


def _of_markers(name: str, table: pd.DataFrame) -> Shown:
    """Return the first rows, and of the columns those that most people ask for: the order of `_HEADINGS`."""
    columns = [*(column for column in _HEADINGS if column in table), *(c for c in table if "_x_" in str(c))]
    rows = f"{min(len(table), _ROWS)} of the {len(table):,} rows in {name}.tsv"
    caption = f"{_MARKERS[name]}, effects in units of the trait for one more copy of the allele; {rows}"
    return Shown(caption, table[columns].head(_ROWS).rename(columns=_HEADINGS))


def scan_report(parts: Sequence[Part]) -> Report:
    """Return the report of `scan`."""
    traits = together([part.name for part in parts])
    return Report(
        title=f"Scan of markers for {traits}",
        question=f"Which markers go with {traits}, beyond what kinship explains?",
        parts=parts,
        reading=[
            "An effect is that of one more copy of its allele, in units of the trait, with the covariates and kinship "
            "held fixed. Its standard error is of one marker by itself, and the strongest of many is too far "
            "from 0 on average.",
            "A p-value below 0.05 divided by the number of tests is surprising even among so many (Bonferroni). "
            "Markers that are near each other are inherited together: the strongest is seldom the cause.",
            "log10 BF is by how many powers of ten the data favour an effect over none, under the prior of effects, "
            "with the residual variance integrated out and the variance ratio as estimated.",
            "Tests take residuals for normal. p_wald allows for the number of individuals and covariates; p_lrt is too "
            "small where they are few.",
        ],
    )


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
