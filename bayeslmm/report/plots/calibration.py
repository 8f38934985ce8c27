"""Pictures of studies: ranks against uniform, coverage and width of intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BAND, BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, YELLOW
from bayeslmm.studies.coverage import LABELS, LEVEL, OVER_PRIOR
from bayeslmm.studies.ranks import rank_ecdf

_STYLES = {
    "posterior": (BLUE, "o"),
    "shortest": (SKY, "s"),
    "inversion": (GREEN, "D"),
    "profile": (PURPLE, "^"),
    "wald_average": (ORANGE, "v"),
    "wald_expected": (YELLOW, "<"),
    "wald_observed": (INK, ">"),
}
_LOWEST = 0.84
_TALL = (5.4, 4.8)
NAMES = ("coverage", "width", "ranks")
"""Of the panels."""


def calibration_panels(table: pd.DataFrame, ranks: Sequence[Sequence[Mapping[str, Any]]]) -> list[Panel]:
    """Return the pictures of a calibration: coverage, width and ranks."""
    return [*coverage_panels(table), rank_panel(ranks)]


def coverage_panels(table: pd.DataFrame, title: str = "") -> list[Panel]:
    """Return coverage and width of intervals of h2, from a `coverage_table`; with a title of its data."""
    before = f"{title}: " if title else ""
    return [
        Panel(
            name="coverage",
            title=f"{before}coverage" if title else "How often 95% intervals hold the truth",
            caption="the share of data sets whose 95% interval of h2 holds the truth, by method; open marks: below",
            draw=lambda ax: draw_coverage(ax, table),
            size=_TALL,
        ),
        Panel(
            name="width",
            title=f"{before}width" if title else "How wide they are",
            caption="the mean width of these intervals",
            draw=lambda ax: draw_width(ax, table),
            size=_TALL,
        ),
    ]


def rank_panel(results: Sequence[Sequence[Mapping[str, Any]]], title: str = "") -> Panel:
    """Return the ranks of true values among draws, from the results of tasks."""
    return Panel(
        name="ranks",
        title=title or "True values among draws of NUTS",
        caption="ranks of true values among draws of NUTS, less what calibration gives: 99% of such lines stay inside",
        draw=lambda ax: draw_ranks(ax, results),
        size=_TALL,
    )


def draw_ranks(ax: Axes, results: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """Draw the ECDF of the ranks of each quantity, less uniform, in the band that holds 99% of uniform ones."""
    draws = [dataset for result in results for dataset in result]
    for number, name in enumerate(draws[0]["rank"]):
        ecdf = rank_ecdf(np.array([dataset["rank"][name] for dataset in draws]))
        if number == 0:
            ax.fill_between(ecdf.points, ecdf.lower, ecdf.upper, color=BAND, label="99% band")
        style = "-" if ecdf.inside else "--"
        ax.plot(ecdf.points, ecdf.difference, style, color=f"C{number % 10}", linewidth=1, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="rank of the truth", ylabel="share of ranks up to here, less uniform")
    ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.45, -0.13))


def draw_coverage(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the coverage of each method at each true h2, with 2 standard errors; low ones as numbers at the edge."""
    datasets = int(table["datasets"].iloc[0])
    error = 2 * np.sqrt(LEVEL * (1 - LEVEL) / datasets)
    ax.axhspan(LEVEL - error, LEVEL + error, color=BAND)
    ax.axhline(LEVEL, color=GREY, linewidth=0.8)
    for x, row, colour, marker in _places(table):
        if row["coverage"] >= _LOWEST:
            ax.plot(x, row["coverage"], marker, color=colour, markersize=5)
        else:
            ax.plot(x, _LOWEST, marker, color=colour, markersize=5, fillstyle="none", clip_on=False)
            label = f"{row['coverage']:.2f}"
            ax.annotate(label, (x, _LOWEST), (0, 6), textcoords="offset points", rotation=90, fontsize=7, ha="center")
    ax.set(ylim=(_LOWEST, 1.005), ylabel=f"coverage in {datasets:,} data sets (band: 2 standard errors)")
    _mark_truths(ax, table)
    _name_methods(ax)


def draw_width(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the mean width of the intervals of each method at each true h2."""
    for x, row, colour, marker in _places(table):
        ax.plot(x, row["width"], marker, color=colour, markersize=5)
    ax.set(ylabel="mean width", ylim=(0, None))
    _mark_truths(ax, table)
    _name_methods(ax)


def _name_methods(ax: Axes) -> None:
    for method, label in LABELS.items():
        colour, marker = _STYLES[method]
        ax.plot([], [], marker, color=colour, label=label)
    ax.legend(ncols=2, loc="upper center", bbox_to_anchor=(0.45, -0.13))


def _places(table: pd.DataFrame) -> list[tuple[float, dict[Any, Any], str, str]]:
    """Return the place of each row, its colour and marker: methods side by side at each true h2."""
    truths, methods = list(dict.fromkeys(table["h2"])), list(LABELS)
    return [
        (truths.index(row["h2"]) + 0.11 * (methods.index(row["method"]) - 3), row, *_STYLES[row["method"]])
        for row in table.to_dict("records")
    ]


def _mark_truths(ax: Axes, table: pd.DataFrame) -> None:
    truths = list(dict.fromkeys(table["h2"]))
    ax.set_xticks(range(len(truths)), ["prior" if h2 == OVER_PRIOR else f"{h2:g}" for h2 in truths])
    ax.set(
        xlabel="true h2 (prior: drawn from it)" if OVER_PRIOR in truths else "true h2", xlim=(-0.5, len(truths) - 0.5)
    )
