"""What the pictures share: colours, the style of axes, estimates with their intervals."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from cycler import cycler
from matplotlib.axes import Axes

from bayeslmm.analyses.table import Row

# Blue, orange, green and purple are distinct to colour-blind readers (Okabe and Ito 2008).
BLUE, ORANGE, GREEN, GREY, PURPLE = "#0072b2", "#d55e00", "#009e73", "#7f7f7f", "#b0589a"
SKY, YELLOW = "#56b4e9", "#e69f00"
INK, PAPER, BAND = "#1c1e21", "#ffffff", "#e3e6ea"
LIGHT_CELL, DARK_CELL = "#fdfdfd", "#111111"
"""Text on coloured cells, whatever the colour of the page."""
POINTS = ("#3f8fc4", "#9097a0")
"""Of points that are drawn as pixels: they can be seen on white and on black paper."""
DARK: Mapping[str, str] = MappingProxyType(
    {
        BLUE: "#56aee6",
        ORANGE: "#ff8f4a",
        GREEN: "#35c79c",
        GREY: "#9aa1a9",
        PURPLE: "#e08fc8",
        INK: "#e4e6e9",
        PAPER: "#16181c",
        BAND: "#333941",
    }
)
"""What stands for each colour on dark paper."""
RC: Mapping[Any, Any] = MappingProxyType(
    {
        "font.size": 10,
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],
        "axes.titlesize": 11,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.facecolor": "none",
        "axes.prop_cycle": cycler(color=[BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW, GREY]),
        "legend.frameon": False,
        "legend.fontsize": 9,
        "figure.facecolor": PAPER,
        **dict.fromkeys(["text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"], INK),
        "svg.fonttype": "none",  # text stays text: it can be searched, copied and read aloud
        "svg.hashsalt": "bayeslmm",  # the same picture is the same file
        "path.simplify_threshold": 0.5,
    }
)


def arms(row: Row) -> np.ndarray:
    """Return how far an interval reaches to both sides, shape (2, 1); rounding must not make it negative."""
    return np.maximum([[row.estimate - row.lower], [row.upper - row.estimate]], 0.0)


def estimate_below(ax: Axes, row: Row, label: str, *, height: float = 0.06, **style: Any) -> None:
    """Draw an estimate with its interval near the lower end of a density; nothing if it has no interval."""
    if np.isfinite(row.lower):
        style = {"fmt": "o", "color": ORANGE, "capsize": 4} | style
        ax.errorbar(row.estimate, height * ax.get_ylim()[1], xerr=arms(row), label=label, **style)


def interval_label(row: Row) -> str:
    """Return the name of an interval of REML."""
    return "REML, 95% Wald interval" if row.interval == "wald95" else "REML on the boundary, 95% profile interval"


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (7, 4)) -> Axes:
    """Return axes, of a new figure that notebooks show if none are given; its size is in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # not where pictures are written: it keeps figures, and looks for a screen

    return plt.subplots(figsize=size, layout="constrained")[1]
