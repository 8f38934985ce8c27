"""A picture of draws of a program that is not ours: posterior, trace and ranks of its sites, whatever they are."""

from pathlib import Path

import pandas as pd
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray, ptp
from xarray import DataTree

from bayeslmm.analyses.rows import VARIANCES
from bayeslmm.analyses.site_rows import elements
from bayeslmm.base.files import replacing
from bayeslmm.report.plots.h2 import BLUE, GREEN, ORANGE, plot_draws

_MOST_ROWS = 6


def plot_sites(posterior: DataTree, estimates: pd.DataFrame, title: str, path: str | Path) -> None:
    """Write one picture of the first six numbers as PNG, single ones before elements of vectors.

    Panels of each: its draws, with the 95% intervals of REML and of the oracle if they have a number of this name;
    trace and ranks.
    """
    draws = {name: values for name, values in elements(posterior).items() if ptp(values) > 0}
    known = [name for name in VARIANCES if name in draws]
    shown = sorted(dict.fromkeys([*known, *draws]), key=lambda name: "[" in name)[:_MOST_ROWS]
    figure = Figure(figsize=(15, 3.2 * max(len(shown), 1) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for name, (left, middle, right) in zip(shown, figure.subplots(len(shown), 3, squeeze=False), strict=True):
        _marginal(left, name, draws[name], estimates)
        label = name.replace("/", "|")  # labels of covariates may hold a slash, names of variables not
        one = xr.Dataset({label: (("chain", "draw"), draws[name])})
        tree = DataTree.from_dict({"posterior": one, "sample_stats": posterior["sample_stats"].dataset})
        plot_draws(middle, right, tree, figure, label)
        right.set_title(f"Ranks of {name}")
    rest = f"; {len(draws) - len(shown)} more in estimates.tsv" if len(draws) > len(shown) else ""
    figure.suptitle(f"{title}{rest}", fontsize=14, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=100)


def _marginal(ax: Axes, name: str, draws: Float[ndarray, "chain draw"], estimates: pd.DataFrame) -> None:
    ax.hist(draws.ravel(), bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {draws.size:,} draws")
    for method, label, colour, height in (
        ("reml", "usual model, REML", ORANGE, 0.06),
        ("exact", "usual model, exact", GREEN, 0.12),
    ):
        for row in estimates[(estimates["method"] == method) & (estimates["parameter"] == name)].to_dict("records"):
            if pd.notna(row["lower"]):
                arms = [[row["estimate"] - row["lower"]], [row["upper"] - row["estimate"]]]
                y = height * ax.get_ylim()[1]
                ax.errorbar(row["estimate"], y, xerr=arms, fmt="o", color=colour, capsize=4, label=f"{label}, 95%")
    ax.set(ylabel="density", title=f"Posterior of {name}")
    ax.legend(frameon=False, fontsize="small")
