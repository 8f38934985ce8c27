"""Pictures of studies: ranks against uniform, coverage and width of intervals."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayeslmm.report.plots.style import BLUE, GREEN, GREY, ORANGE, picture
from bayeslmm.studies.coverage import LABELS, LEVEL, OVER_PRIOR
from bayeslmm.studies.ranks import rank_ecdf

_STYLES = {
    "posterior": (BLUE, "o"),
    "shortest": ("#56b4e9", "s"),
    "inversion": (GREEN, "D"),
    "profile": ("#cc79a7", "^"),
    "wald_average": (ORANGE, "v"),
    "wald_expected": ("#e69f00", "<"),
    "wald_observed": ("0.25", ">"),
}
_LOWEST = 0.84


def plot_ranks(results: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]], path: str | Path) -> None:
    """Write the rank ECDFs of calibrations as PNG, a panel for each: title -> results of its tasks."""
    with picture(path, (6.5 * len(results), 4.8)) as figure:
        panels = np.ravel(figure.subplots(1, len(results)))
        for ax, (title, of_tasks) in zip(panels, results.items(), strict=True):
            draw_ranks(ax, of_tasks, title)


def plot_coverage(tables: Mapping[str, pd.DataFrame], path: str | Path) -> None:
    """Write coverage above width as PNG, a column for each table of `coverage_table` under its title."""
    with picture(path, (5.2 * len(tables), 8)) as figure:
        columns = figure.subplots(2, len(tables), squeeze=False, sharey="row").T
        for (above, below), (title, table) in zip(columns, tables.items(), strict=True):
            draw_coverage(above, table, title)
            draw_width(below, table)
        handles, labels = columns[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside lower center", ncols=len(tables) + 1)


def plot_calibration(
    table: pd.DataFrame, ranks: Sequence[Sequence[Mapping[str, Any]]], title: str, path: str | Path
) -> None:
    """Write the results of a calibration as PNG: coverage, width and ranks side by side."""
    with picture(path, (17, 5.6), title) as figure:
        left, middle, right = figure.subplots(1, 3)
        draw_coverage(left, table, "How often 95% intervals hold the truth")
        draw_width(middle, table)
        middle.set_title("How wide they are")
        draw_ranks(right, ranks, "NUTS: true values among posterior draws")
        handles, labels = left.get_legend_handles_labels()
        figure.legend(handles, labels, frameon=False, loc="outside lower left", ncols=4)


def draw_ranks(ax: Axes, results: Sequence[Sequence[Mapping[str, Any]]], title: str) -> None:
    """Draw the ECDF of the ranks of each quantity, less uniform, in the band that holds 99% of uniform ones."""
    draws = [dataset for result in results for dataset in result]
    for number, name in enumerate(draws[0]["rank"]):
        ecdf = rank_ecdf(np.array([dataset["rank"][name] for dataset in draws]))
        if number == 0:
            ax.fill_between(ecdf.points, ecdf.lower, ecdf.upper, color="0.88", label="99% band")
        style = "-" if ecdf.inside else "--"
        ax.plot(ecdf.points, ecdf.difference, style, color=f"C{number % 10}", linewidth=1, label=name)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="rank of the truth", ylabel="share of ranks up to here, less uniform", title=title)
    ax.legend(frameon=False, fontsize="small", ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def draw_coverage(ax: Axes, table: pd.DataFrame, title: str) -> None:
    """Draw the coverage of each method at each true h2, with 2 standard errors; low ones as numbers at the edge."""
    datasets = int(table["datasets"].iloc[0])
    error = 2 * np.sqrt(LEVEL * (1 - LEVEL) / datasets)
    ax.axhspan(LEVEL - error, LEVEL + error, color="0.9")
    ax.axhline(LEVEL, color=GREY, linewidth=0.8)
    for x, row, colour, marker in _places(table):
        if row["coverage"] >= _LOWEST:
            ax.plot(x, row["coverage"], marker, color=colour, markersize=5)
        else:
            ax.plot(x, _LOWEST, marker, color=colour, markersize=5, fillstyle="none", clip_on=False)
            label = f"{row['coverage']:.2f}"
            ax.annotate(label, (x, _LOWEST), (0, 6), textcoords="offset points", rotation=90, fontsize=7, ha="center")
    for method, label in LABELS.items():
        colour, marker = _STYLES[method]
        ax.plot([], [], marker, color=colour, label=label)
    ax.set(ylim=(_LOWEST, 1.005), ylabel=f"coverage in {datasets:,} data sets (grey: 2 standard errors)", title=title)
    _mark_truths(ax, table)


def draw_width(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the mean width of the intervals of each method at each true h2."""
    for x, row, colour, marker in _places(table):
        ax.plot(x, row["width"], marker, color=colour, markersize=5)
    ax.set(ylabel="mean width", ylim=(0, None))
    ax.tick_params(labelleft=True)
    _mark_truths(ax, table)


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
