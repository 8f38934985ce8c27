"""Picture of several traits with several components: the correlations through each component."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from bayeslmm.analyses.component_correlations import ComponentCorrelations
from bayeslmm.analyses.table import Row
from bayeslmm.report.plots.panels import SIZE, Panel
from bayeslmm.report.plots.style import BLUE, GREY, arms

NAMES = ("components",)
"""Of the panels."""


def component_correlation_panels(result: ComponentCorrelations, best: Sequence[Row]) -> list[Panel]:
    """Return the picture of the correlations.

    Args:
        result: the estimates.
        best: the rows of the method that gives the answer.
    """
    rows = [row for row in best if row.parameter.startswith("rho")]
    return [
        Panel(
            name="components",
            title="Correlations",
            caption="the correlation of each pair of traits through each component, with its 95% interval; rho_p is "
            "that of all components together",
            draw=lambda ax: draw_correlations(ax, rows, pairs=len(result.traits) > 2),
            size=(SIZE[0], max(SIZE[1], 1.2 + 0.35 * len(rows))),
        )
    ]


def draw_correlations(ax: Axes, rows: Sequence[Row], *, pairs: bool) -> None:
    """Draw correlations with their intervals, one below the other."""
    for y, row in enumerate(rows):
        if np.isfinite(row.estimate):
            colour = GREY if row.parameter in ("rho[e]", "rho_p") else BLUE
            known = np.isfinite(row.lower)
            ax.errorbar(row.estimate, y, xerr=arms(row) if known else None, fmt="o", color=colour, capsize=4)
    ax.axvline(0, color=GREY, linewidth=0.8)
    ax.set_yticks(range(len(rows)), [f"{row.trait} {row.parameter}" if pairs else row.parameter for row in rows])
    ax.invert_yaxis()
    ax.set(xlabel="correlation", xlim=(-1.05, 1.05))
