"""Pictures of draws of a user's program: posterior, trace and ranks of its sites, whatever they are."""

from collections.abc import Sequence

import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy import ndarray, ptp
from xarray import DataTree

from bayeslmm.analyses.rows import VARIANCES
from bayeslmm.analyses.site_rows import elements
from bayeslmm.analyses.table import Row, select
from bayeslmm.report.plots.draws import panels_of_draws
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREEN, ORANGE, estimate_below

_MOST_SITES = 6
NAMES = tuple(f"{k}.{kind}" for k in range(1, _MOST_SITES + 1) for kind in ("posterior", "trace", "ranks"))
"""Of the panels: sites may have names that no file can have."""


def site_panels(posterior: DataTree, rows: Sequence[Row]) -> list[Panel]:
    """Return posterior, trace and ranks of the first six numbers, single ones before elements of vectors."""
    draws = {name: values for name, values in elements(posterior).items() if ptp(values) > 0}
    known = [name for name in VARIANCES if name in draws]
    shown = sorted(dict.fromkeys([*known, *draws]), key=lambda name: "[" in name)[:_MOST_SITES]
    panels: list[Panel] = []
    for number, name in enumerate(shown, start=1):
        label = name.replace("/", "|")  # labels of covariates may hold a slash, names of variables not
        site = xr.Dataset({label: (("chain", "draw"), draws[name])})
        tree = DataTree.from_dict({"posterior": site, "sample_stats": posterior["sample_stats"].dataset})
        rest = (
            f"; {len(draws) - len(shown)} more numbers are in estimates.tsv"
            if number == len(shown) < len(draws)
            else ""
        )
        panels.append(
            Panel(
                name=f"{number}.posterior",
                title=f"Posterior of {name}",
                caption=f"draws of {name}, with the intervals of other methods{rest}",
                draw=lambda ax, name=name: draw_site(ax, name, draws[name], rows),
            )
        )
        panels += panels_of_draws(tree, label, prefix=f"{number}.")
    return panels


def draw_site(ax: Axes, name: str, draws: Float[ndarray, "chain draw"], rows: Sequence[Row]) -> None:
    """Draw draws of one number, with the 95% intervals of REML and of the exact posterior if they have it too."""
    ax.hist(draws.ravel(), bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {draws.size:,} draws")
    for method, label, colour, height in (
        ("reml", "usual model, REML, 95%", ORANGE, 0.06),
        ("exact", "usual model, exact, 95%", GREEN, 0.12),
    ):
        for row in select(rows, method=method, parameter=name):
            estimate_below(ax, row, label, height=height, color=colour)
    ax.set(xlabel=name, ylabel="density")
    ax.legend()
