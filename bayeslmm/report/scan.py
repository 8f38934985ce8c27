"""A scan, as the command line prints it and as the report shows it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import chi2, t

from bayeslmm.analyses.methods import reml
from bayeslmm.analyses.source import Source
from bayeslmm.posterior.diagnostics import Check
from bayeslmm.report.checks import check
from bayeslmm.report.page import Headline, Part, Report, Shown, together
from bayeslmm.report.pictures import Picture

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

SOURCES = {
    "exact": Source("Zhou and Stephens (2012)", "10.1038/ng.2310", "exact tests of markers"),
    "null": Source("Kang et al. (2010)", "10.1038/ng.548", "tests at the variance ratio of the null"),
}
"""By test."""
OF_PRODUCTS = (
    Source("Loh et al. (2015)", "10.1038/ng.3190", "V^-1 y without each chromosome, one variance ratio for all"),
    Source("Svishcheva et al. (2012)", "10.1038/ng.2410", "the calibration of variances"),
)
"""Of tests where K is multiplied with."""
ALL_SOURCES = (
    Source("Servin and Stephens (2007)", "10.1371/journal.pgen.0030114", "Bayes factors of effects"),
    Source("Wakefield (2009)", "10.1002/gepi.20359", "what they tend to in large samples"),
    Source("Devlin and Roeder (1999)", "10.1111/j.0006-341X.1999.00997.x", "lambda_GC"),
    Source("Aldor-Noiman et al. (2013)", "10.1080/00031305.2013.847865", "the band of the QQ plot"),
)
_LEAST_INFLATION = 0.05


def scan_part(
    trait: str,
    numbers: Mapping[str, Any],
    individuals: str,
    *,
    test: str,
    tables: Mapping[str, pd.DataFrame],
    pictures: Sequence[Picture],
) -> Part:
    """Return what `scan` says about one trait.

    Args:
        trait: its name.
        numbers: what ``run.json`` holds about it.
        individuals: who was analysed.
        test: "exact" or "null".
        tables: "top", "effects" and "epistasis", of all traits.
        pictures: of its p-values.
    """
    inflation = [check_of_inflation(numbers["lambda_gc"], numbers["tested"])] if "lambda_gc" in numbers else []
    return Part(
        name=trait,
        individuals=individuals,
        headlines=[_headline(trait, numbers, tables["top"])],
        sentences=scan_answers(trait, numbers, **tables),
        pictures=pictures,
        tables=[
            _of_markers(name, table[table["trait"] == trait])
            for name, table in tables.items()
            if len(table) and (table["trait"] == trait).any()
        ],
        checks=[*inflation, *(_check_of_caution(*caution) for caution in scan_cautions(trait, numbers))],
        sources=[
            *reml.METHOD.sources,
            SOURCES[test],
            *(OF_PRODUCTS if "calibration" in numbers else ()),
            *ALL_SOURCES,
        ],
    )


def _headline(trait: str, numbers: Mapping[str, Any], top: pd.DataFrame) -> Headline:
    """Return the strongest association of a trait as the answer of a page."""
    if not numbers["tested"]:
        return Headline(trait, "", "nothing tested")
    first = top[top["trait"] == trait].iloc[0]
    where = f"chromosome {first['chrom']}, {first['pos']:,}"
    below = f"{numbers['below_bonferroni']:,} of {numbers['tested']:,} markers below 0.05 / {numbers['tested']:,}"
    return Headline(trait, f"the strongest marker; {below}", str(first["snp"]), f"{where}; p = {first['p_wald']:.2g}")


def check_of_inflation(lambda_gc: float, tested: int) -> Check:
    """Return whether tests of markers are larger or smaller than chance makes them.

    The median of m independent chi-squares of one degree of freedom has a standard error of 1.06 / sqrt(m), so that
    lambda_GC has one of 2.33 / sqrt(m): more than three of them, and more than 5%, is worth a look.
    """
    most = 1 + max(_LEAST_INFLATION, 3 * 2.33 / tested**0.5)
    advice = ""
    if lambda_gc > most:
        advice = (
            "many small effects and long-range linkage make it large, and so does structure that K misses: look at the "
            "QQ plot, and at what changes with principal components as covariates"
        )
    elif lambda_gc < 1 / most:
        advice = (
            "tested markers also contribute to K, which reduces power: test each chromosome against the kinship of all "
            "others"
        )
    return check(
        "inflation",
        "look" if advice else "fine",
        f"lambda_GC {lambda_gc:.3f}",
        "the median chi-square of the tests over that of chance: 1 where nothing inflates or deflates them",
        advice,
        value=lambda_gc,
        limit=most,
    )


def _check_of_caution(finding: str, advice: str) -> Check:
    """Return that small p-values of a trait are too small."""
    return check("p-values", "look", finding, "tests take residuals for normal, and the sample for large", advice)


def _of_markers(name: str, table: pd.DataFrame) -> Shown:
    """Return the first rows, and the most used columns, in the order of `_HEADINGS`."""
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


def calibration_line(calibration: Mapping[str, Any]) -> str:
    """Say how the variances of tests by products were found, and how good they and V^-1 y are.

    Args:
        calibration: what ``run.json`` holds about it.
    """
    ratio = calibration["ratio"]
    error, spread = (f"{100 * calibration[name] / ratio:.2g}%" for name in ("error", "spread"))
    return (
        f"{calibration['passes']} passes for V^-1 y, residual {calibration['residual']:.1g}; variances of tests by "
        f"calibration: z'Pz = {ratio:.4g} z'Mz, the mean of {calibration['markers']} random markers (standard error "
        f"{error}, spread between markers {spread})"
    )


_P, _TOO_SMALL = 1e-4, 1.4


def scan_cautions(trait: str, numbers: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return what makes small p-values of a trait too small: the reason, and what to read.

    Args:
        trait: its name.
        numbers: what ``run.json`` holds about it; a trait without a test has none.
    """
    if not numbers["tested"]:
        return []
    cautions: list[tuple[str, str]] = []
    n, c = numbers["n"], len(numbers["covariates"])
    # With the variance ratio known the likelihood ratio is a function of the F test.
    ratio = n * np.log1p(t.isf(_P / 2, n - c - 1) ** 2 / (n - c - 1))
    too_small = _P / chi2.sf(ratio, 1)
    if too_small > _TOO_SMALL:
        cautions.append(
            (
                f"{n:,} individuals and {c} covariates leave {n - c:,} degrees of freedom",
                f"read p_wald: p_lrt, which takes the sample for large, is {too_small:.2g} times too small at {_P:g}, "
                "and p_score too large",
            )
        )
    if numbers["below_least"]:
        cautions.append(
            (
                f"{numbers['below_least']:,} of {numbers['tested']:,} markers have fewer than "
                f"{numbers['least_allele_count']:,.0f} copies of the rarer allele, and {trait} is skewed or "
                "heavy-tailed",
                f"their small p-values can be far too small ({_P:g} more than doubles): read p_wald, which is the "
                "least wrong, and repeat them with the trait transformed to normal quantiles",
            )
        )
    return cautions


def scan_lines(
    numbers: Mapping[str, Mapping[str, Any]], top: pd.DataFrame, effects: pd.DataFrame, epistasis: pd.DataFrame
) -> str:
    """Say what came out first for each trait, and what was tested."""
    return "\n".join(line for trait in numbers for line in scan_answers(trait, numbers[trait], top, effects, epistasis))


def scan_answers(
    trait: str, numbers: Mapping[str, Any], top: pd.DataFrame, effects: pd.DataFrame, epistasis: pd.DataFrame
) -> list[str]:
    """Return what came out first for one trait, what was tested, and the posteriors of effects, in sentences."""
    counts = numbers["markers"]
    tested = (
        f"{trait}: {numbers['tested']:,} of {counts['read']:,} markers tested; not tested: {counts['monomorphic']:,} "
        f"monomorphic, {counts['below_maf']:,} rare, {counts['above_missing']:,} with too many missing, "
        f"{numbers['undetermined']:,} that the covariates determine or that leave nothing of the trait"
    )
    lines = [f"nothing could be tested for {trait}", f"  {tested}"]
    if numbers["tested"]:
        first = top[top["trait"] == trait].iloc[0]
        lines = [
            f"strongest association with {trait}: {first['snp']} (chromosome {first['chrom']}, {first['pos']:,}), "
            f"effect of {first['a1']} {first['beta']:.4g} (se {first['se']:.2g}, as if it had not been "
            f"chosen); p_wald = {first['p_wald']:.3g}, log10 BF {first['log10_bf']:.1f}",
            f"  lambda_GC {numbers['lambda_gc']:.3f}; {numbers['below_bonferroni']:,} markers below 0.05 / "
            f"{numbers['tested']:,}",
            f"  {tested}",
            *([f"  {calibration_line(numbers['calibration'])}"] if "calibration" in numbers else []),
            *(f"  CAUTION: {reason}: {advice}" for reason, advice in scan_cautions(trait, numbers)),
        ]
    if numbers["tested"] and len(epistasis):
        pairs = epistasis[epistasis["trait"] == trait]
        lines.append(
            f"  {pairs['p_lrt'].notna().sum():,} of {len(pairs):,} pairs tested; the others have a marker that is not "
            "tested, or a product that both markers and the covariates determine"
        )
    of_trait = effects[effects["trait"] == trait].iterrows() if len(effects) else ()
    lines += [
        f"  posterior of {row['snp']} on {row['trait']}: {row['mean']:.4g} (sd {row['sd']:.2g}), with 95% "
        f"probability between {row['lower']:.4g} and {row['upper']:.4g}; P(> 0) = {row['p_positive']:.4g}"
        for _, row in of_trait
    ]
    return lines
