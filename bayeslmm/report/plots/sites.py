"""A picture of draws of a user's program: posterior, trace and ranks of its sites, whatever they are."""

from collections.abc import Sequence
from pathlib import Path

import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from numpy import ndarray, ptp
from xarray import DataTree

from bayeslmm.analyses.rows import VARIANCES
from bayeslmm.analyses.site_rows import elements
from bayeslmm.analyses.table import Row, select
from bayeslmm.report.plots.draws import plot_draws
from bayeslmm.report.plots.style import BLUE, GREEN, ORANGE, estimate_below, picture

_MOST_ROWS = 6


def plot_sites(posterior: DataTree, rows: Sequence[Row], title: str, path: str | Path) -> None:
    """Write one picture of the first six numbers as PNG, single ones before elements of vectors.

    Panels of each: its draws, with the 95% intervals of REML and of the exact posterior if they have a number of this
    name; trace and ranks.
    """
    draws = {name: values for name, values in elements(posterior).items() if ptp(values) > 0}
    known = [name for name in VARIANCES if name in draws]
    shown = sorted(dict.fromkeys([*known, *draws]), key=lambda name: "[" in name)[:_MOST_ROWS]
    rest = f"; {len(draws) - len(shown)} more in estimates.tsv" if len(draws) > len(shown) else ""
    with picture(path, (15, 3.2 * max(len(shown), 1) + 0.6), f"{title}{rest}", dpi=100) as figure:
        for name, (left, middle, right) in zip(shown, figure.subplots(len(shown), 3, squeeze=False), strict=True):
            _marginal(left, name, draws[name], rows)
            label = name.replace("/", "|")  # labels of covariates may hold a slash, names of variables not
            site = xr.Dataset({label: (("chain", "draw"), draws[name])})
            tree = DataTree.from_dict({"posterior": site, "sample_stats": posterior["sample_stats"].dataset})
            plot_draws(middle, right, tree, figure, label)
            right.set_title(f"Ranks of {name}")


def _marginal(ax: Axes, name: str, draws: Float[ndarray, "chain draw"], rows: Sequence[Row]) -> None:
    ax.hist(draws.ravel(), bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {draws.size:,} draws")
    for method, label, colour, height in (
        ("reml", "usual model, REML, 95%", ORANGE, 0.06),
        ("exact", "usual model, exact, 95%", GREEN, 0.12),
    ):
        for row in select(rows, method=method, parameter=name):
            estimate_below(ax, row, label, height=height, color=colour)
    ax.set(ylabel="density", title=f"Posterior of {name}")
    ax.legend(frameon=False, fontsize="small")
