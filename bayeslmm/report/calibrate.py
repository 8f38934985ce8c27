"""How reliable intervals of h2 are with a sample, as the command line prints it and as the report shows it."""

from collections.abc import Sequence

import pandas as pd

from bayeslmm.analyses.source import Source
from bayeslmm.posterior.diagnostics import Check
from bayeslmm.report.checks import check
from bayeslmm.report.page import Headline, Part, Report, Shown
from bayeslmm.report.pictures import Picture
from bayeslmm.studies.coverage import LABELS, LEVEL, OVER_PRIOR

_SOURCES = (
    Source("Säilynoja, Bürkner and Vehtari (2022)", "10.1007/s11222-022-10090-6", "the bands of rank plots"),
    Source("Talts et al. (2018)", "arXiv:1804.06788", "calibration by simulation"),
)
_MOST_ERRORS = 3


def calibration_report(
    trait: str,
    intervals: pd.DataFrame,
    ranks: pd.DataFrame,
    *,
    individuals: str,
    pictures: Sequence[Picture],
) -> Report:
    """Return the report of `calibrate`.

    Args:
        trait: whose individuals were used.
        intervals: a `coverage_table`.
        ranks: a `rank_table`.
        individuals: who they are.
        pictures: of both.
    """
    datasets = int(intervals["datasets"].iloc[0])
    part = Part(
        name=trait,
        individuals=individuals,
        headlines=_headlines(intervals),
        sentences=calibration_answers(intervals, ranks),
        pictures=pictures,
        tables=[
            Shown(
                f"coverage of 95% intervals of h2, and their mean width, by the true h2, in {datasets:,} data sets "
                "each; all digits in calibration.tsv",
                coverage_cells(intervals).rename_axis(index="method", columns=None),
            )
        ],
        checks=[*_checks_of_coverage(intervals), *_checks_of_ranks(ranks)],
        sources=_SOURCES,
    )
    return Report(
        title=f"How reliable intervals of h2 are for the individuals with {trait}",
        question="How wide would an interval of the heritability be with this sample, and would it hold the truth?",
        parts=[part],
        reading=[
            "Traits were simulated on the kinship and the covariates of these individuals; the values of the trait "
            "itself were not used, only who has one.",
            "Coverage is the share of simulated traits whose interval holds the true h2: 95% if it is what it says. "
            "Over values of h2 drawn from the prior that of the posterior is 95% exactly; at one value of h2 it may "
            "differ.",
            "Ranks of true values among the draws of NUTS are uniform if its draws are those of the posterior.",
        ],
        facts=[("Data sets", f"{datasets:,} for each true h2")],
    )


def _headlines(intervals: pd.DataFrame) -> list[Headline]:
    of_posterior = intervals[intervals["method"] == "posterior"]
    return [
        Headline(
            "any h2, over the prior" if row["h2"] == OVER_PRIOR else f"h2 = {row['h2']:g}",
            f"mean width of a 95% interval; it holds the truth in {row['coverage']:.1%} (standard error "
            f"{row['se']:.1%})",
            f"{row['width']:.3f}",
        )
        for row in of_posterior.to_dict("records")
    ]


def _checks_of_coverage(intervals: pd.DataFrame) -> list[Check]:
    """Return, for each method, whether its coverage over all true values of h2 is what it should be, beyond chance."""
    checks: list[Check] = []
    for method, of_method in intervals.groupby("method", sort=False):
        short = of_method["coverage"] < LEVEL - _MOST_ERRORS * of_method["se"]
        worst = of_method.sort_values("coverage").iloc[0]
        at = "over the prior" if worst["h2"] == OVER_PRIOR else f"at h2 = {worst['h2']:g}"
        advice = "read another interval there" if short.any() else ""
        checks.append(
            check(
                "coverage",
                "look" if short.any() else "fine",
                f"{LABELS[str(method)]}: at least {worst['coverage']:.1%} ({at})",
                f"the lowest coverage of 95% intervals; less than 95% by more than {_MOST_ERRORS} standard errors is "
                "worth a look",
                advice,
                value=float(worst["coverage"]),
                limit=LEVEL,
            )
        )
    return checks


def _checks_of_ranks(ranks: pd.DataFrame) -> list[Check]:
    outside = list(ranks.loc[~ranks["inside"], "quantity"])
    return [
        check(
            "ranks",
            "look" if outside else "fine",
            f"{len(outside)} of {len(ranks)} rank plots leave their bands",
            "ranks of true values among draws of NUTS; of calibrated ones 1 in 100 leaves its 99% band",
            f"more data sets tell chance from a fault: {', '.join(outside)}" if outside else "",
            value=float(len(outside)),
            limit=0.0,
        )
    ]


def coverage_cells(intervals: pd.DataFrame) -> pd.DataFrame:
    """Return coverage and width as text: a row for each method, a column for each true h2."""
    cells = [f"{row.coverage:.1%} ({row.width:.3f})" for row in intervals.itertuples()]
    table = intervals.assign(cell=cells, method=intervals["method"].map(LABELS), truth=intervals["h2"].map(str))
    wide = table.pivot(index="method", columns="truth", values="cell")
    return wide.loc[[*LABELS.values()], [*table["truth"].unique()]]


def calibration_lines(intervals: pd.DataFrame, ranks: pd.DataFrame) -> str:
    """Return a table of coverage and width, and what it means in sentences."""
    table = coverage_cells(intervals).rename_axis(index=None, columns=None).to_string()
    head = "Coverage of 95% intervals of h2 (and their mean width), by the true h2:"
    return "\n".join([head, "", table, "", *calibration_answers(intervals, ranks)])


def calibration_answers(intervals: pd.DataFrame, ranks: pd.DataFrame) -> list[str]:
    """Return what an interval of the posterior is worth with this sample, in sentences."""
    lines: list[str] = []
    for row in intervals[intervals["method"] == "posterior"].itertuples():
        of = "any h2, averaged over the prior," if row.h2 == OVER_PRIOR else f"h2 = {row.h2:g}"
        lines.append(
            f"With your sample a 95% interval for {of} covers {row.coverage:.1%} (standard error {row.se:.1%}) and is "
            f"{row.width:.2f} wide."
        )
    if (intervals["h2"] == 0).any():
        lines.append("An equal-tailed interval never contains 0: use the shortest one or test inversion.")
    outside = list(ranks.loc[~ranks["inside"], "quantity"])
    found = f"{len(outside)} of {len(ranks)} outside: {', '.join(outside)}" if outside else f"all {len(ranks)} inside"
    return [*lines, f"Ranks of true values among NUTS draws against their 99% bands: {found}."]
