"""Pictures of breeding values: all of them with their intervals, and predictions of records that were left out."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayeslmm.analyses.table import WALD
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREY, INK, ORANGE, POINTS

NAMES = ("breeding_values", "cross_validation")
"""Of the panels."""
_MOST = 300
"""Individuals that are drawn one by one; of more, so many at regular ranks."""


def prediction_panels(values: pd.DataFrame, records: pd.DataFrame | None) -> list[Panel]:
    """Return the pictures of one trait.

    Args:
        values: a `breeding_values_table` with ``analysed``.
        records: left out and predicted, as `cross_validate` has them.
    """
    some = f", {_MOST} of {len(values):,}" if len(values) > _MOST else ""
    panels = [
        Panel(
            name="breeding_values",
            title="Breeding values",
            caption=f"breeding values in their order, with 95% intervals{some}",
            draw=lambda ax: draw_breeding_values(ax, values),
        )
    ]
    if records is None:
        return panels
    caption = "records against what the records of the other folds predict of them; on the line they are equal"
    return [
        *panels,
        Panel(
            name="cross_validation",
            title="Predictions of records left out",
            caption=caption,
            draw=lambda ax: draw_cross_validation(ax, records),
        ),
    ]


def draw_breeding_values(ax: Axes, values: pd.DataFrame) -> None:
    """Draw breeding values in their order, with 95% intervals: those with a record, and those without."""
    ordered = values.sort_values("mean", kind="stable").reset_index(drop=True)
    shown = ordered.iloc[np.unique(np.linspace(0, len(ordered) - 1, min(_MOST, len(ordered))).round().astype(int))]
    for analysed, colour, label in ((True, BLUE, "with a record"), (False, ORANGE, "without a record")):
        part = shown[shown["analysed"] == analysed]
        if part.empty:
            continue
        ax.vlines(part.index, part["mean"] - WALD * part["sd"], part["mean"] + WALD * part["sd"], color=colour, lw=0.7)
        ax.plot(part.index, part["mean"], ".", color=colour, markersize=3, label=label)
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set(xlabel="rank", ylabel="breeding value")
    ax.legend(loc="upper left")


def draw_cross_validation(ax: Axes, records: pd.DataFrame) -> None:
    """Draw records against their predictions, the line on which they are equal, and the regression."""
    predicted, observed = records["mean"].to_numpy(), records["observed"].to_numpy()
    ax.plot(predicted, observed, ".", color=POINTS[0], markersize=3, rasterized=len(records) > _MOST)
    ends = np.array([predicted.min(), predicted.max()])
    ax.plot(ends, ends, color=INK, linewidth=1, label="observed = predicted")
    if np.ptp(ends) > 0:
        slope, intercept = np.polyfit(predicted, observed, 1)
        ax.plot(ends, intercept + slope * ends, "--", color=ORANGE, label=f"regression, slope {slope:.2f}")
    ax.set(xlabel="predicted", ylabel="observed")
    ax.legend(loc="upper left")
