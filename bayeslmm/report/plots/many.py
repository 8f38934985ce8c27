"""Pictures of thousands of traits: h2 in its order, Bayes factors, p-values."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREY, ORANGE, POINTS

NAMES = ("h2", "bayes_factors", "p_values")
"""Of the panels."""
_MOST = 1000
"""Traits whose intervals are drawn one by one; of more, so many at regular ranks."""
_BINS = 40


def many_panels(table: pd.DataFrame) -> list[Panel]:
    """Return the pictures of a table of `many_heritabilities`."""
    some = f", {_MOST:,} of {len(table):,} at regular ranks" if len(table) > _MOST else ""
    return [
        Panel(
            name="h2",
            title="Heritability",
            caption=f"h2 of each trait (posterior mean) in its order, with 95% intervals{some}",
            draw=lambda ax: draw_h2(ax, table),
        ),
        Panel(
            name="bayes_factors",
            title="Evidence against h2 = 0",
            caption="the Bayes factor of each trait against h2 = 0, by its h2; q is the false discovery rate",
            draw=lambda ax: draw_bayes_factors(ax, table),
        ),
        Panel(
            name="p_values",
            title="Exact p-values of h2 = 0",
            caption="flat but for a peak at 1 (REML at 0) where no trait is heritable",
            draw=lambda ax: draw_p_values(ax, table),
        ),
    ]


def draw_h2(ax: Axes, table: pd.DataFrame) -> None:
    """Draw h2 of traits in its order, with intervals."""
    ordered = table.sort_values("h2_mean", kind="stable").reset_index(drop=True)
    shown = ordered.iloc[np.unique(np.linspace(0, len(ordered) - 1, min(_MOST, len(ordered))).round().astype(int))]
    rank = shown.index + 1
    ax.vlines(rank, shown["h2_lower"], shown["h2_upper"], color=POINTS[0], lw=0.6, alpha=0.7, rasterized=True)
    ax.plot(rank, shown["h2_mean"], color=BLUE, label="posterior mean")
    ax.plot(rank, shown["h2_reml"], ".", color=ORANGE, markersize=1.5, rasterized=True, label="REML")
    ax.set(xlabel="rank", ylabel="heritability h2", ylim=(0, 1))
    ax.legend(loc="upper left")


def draw_bayes_factors(ax: Axes, table: pd.DataFrame) -> None:
    """Draw Bayes factors against h2 = 0 by h2."""
    height = table["log_bayes_factor"].to_numpy() / np.log(10)
    found = table["q"].to_numpy() < 0.05
    for here, colour, label in ((found, POINTS[0], "q < 0.05"), (~found, POINTS[1], "q at least 0.05")):
        x = table["h2_mean"].to_numpy()[here]
        ax.plot(x, height[here], ".", color=colour, markersize=2, rasterized=True, label=f"{label}: {x.size:,}")
    ax.axhline(0, color=GREY, linewidth=0.8)
    ax.set_yscale("symlog", linthresh=2)
    ax.set_ylim(bottom=1.2 * min(height.min(), -1.0))
    ax.set(xlabel="heritability h2 (posterior mean)", ylabel="log10 Bayes factor", xlim=(0, 1))
    ax.legend(loc="lower right", markerscale=4)


def draw_p_values(ax: Axes, table: pd.DataFrame) -> None:
    """Draw the histogram of exact p-values."""
    ax.hist(table["p"], bins=_BINS, range=(0, 1), color=BLUE)
    at_zero = int((table["p"] == 1).sum())
    ax.axhline(len(table) / _BINS, color=GREY, linewidth=0.8, label=f"uniform; {at_zero:,} are 1, with REML at 0")
    ax.set(xlabel="exact p of h2 = 0", ylabel=f"traits, of {len(table):,}", xlim=(0, 1))
    ax.legend()
