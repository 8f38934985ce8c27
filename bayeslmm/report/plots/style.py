"""What the pictures share: colours, the file that a figure becomes, estimates with their intervals."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from bayeslmm.analyses.table import Row
from bayeslmm.base.files import replacing

BLUE, ORANGE, GREEN, GREY = "#0072b2", "#d55e00", "#009e73", "#7f7f7f"  # distinct to colour-blind readers


@contextmanager
def picture(
    path: str | Path, size: tuple[float | int, float | int], title: str = "", *, dpi: int = 120
) -> Iterator[Figure]:
    """Open a figure of a size in inches; at the end it gets its title and is written as PNG."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    yield figure
    if title:
        figure.suptitle(title, fontsize=14, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=dpi)


def axes_or_new(ax: Axes | None, size: tuple[float, float] = (7, 4)) -> Axes:
    """Return axes, of a new figure that notebooks show if none are given; its size is in inches."""
    if ax is not None:
        return ax
    import matplotlib.pyplot as plt  # not where pictures are written: it keeps figures, and looks for a screen

    return plt.subplots(figsize=size, layout="constrained")[1]


def trait_title(trait: str, n: int, c: int) -> str:
    """Return the title of a picture of one trait."""
    return f"{trait}: n = {n:,}, {c} covariate{'s' * (c != 1)}"


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
