"""Trace and ranks of draws."""

from collections.abc import Callable

import arviz_plots
import xarray as xr
from matplotlib.axes import Axes
from xarray import DataTree

from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import INK

_MOST_RANKS = 1_000
"""Draws of each chain that are ranked: more could not be told apart."""
_MOST_POINTS = 4_000
"""Of vector lines: with more they are drawn as pixels, which stay small."""


def panels_of_draws(posterior: DataTree, name: str, *, prefix: str = "") -> list[Panel]:
    """Return trace and ranks of one number: a site with no dimension left but trait, of length 1.

    Args:
        posterior: the draws.
        name: of the site.
        prefix: of the names of the panels.
    """
    return [
        Panel(
            name=f"{prefix}trace",
            title=f"Trace of {name}",
            caption=f"draws of {name} in their order, a colour for each chain: all should look alike",
            draw=lambda ax: draw_trace(ax, posterior, name),
        ),
        Panel(
            name=f"{prefix}ranks",
            title=f"Ranks of {name}",
            caption=f"ranks of the draws of {name} among those of all chains: lines stay near 0 when chains agree",
            draw=lambda ax: draw_ranks(ax, posterior, name),
        ),
    ]


def draw_trace(ax: Axes, posterior: DataTree, name: str) -> None:
    """Draw the trace of one number."""
    _draw(ax, posterior, name, arviz_plots.plot_trace)
    ax.set(title="", xlabel="draw", ylabel=name)


def draw_ranks(ax: Axes, posterior: DataTree, name: str) -> None:
    """Draw the ranks of one number in each chain, less what they are if chains agree; of some if there are many."""
    if posterior["posterior"].sizes.get("chain", 1) == 1:
        ax.text(0.5, 0.5, "one chain: nothing to compare", ha="center", va="center", transform=ax.transAxes)
    else:
        # ArviZ's test of uniformity beside the lines takes the square of their number: 46 s for 4 x 20,000.
        step = max(posterior["posterior"].sizes["draw"] // _MOST_RANKS, 1)
        groups = ("posterior", "sample_stats")
        some = {group: posterior[group].dataset.isel(draw=slice(None, None, step)) for group in groups}
        _draw(ax, DataTree.from_dict(some), name, arviz_plots.plot_rank)
    ax.set(title="", xlabel="fractional rank")


def _draw(ax: Axes, posterior: DataTree, name: str, plot: Callable[..., object]) -> None:
    site = posterior["posterior"].dataset[[name]].squeeze(drop=True)
    if site.sizes.get("chain", 1) == 1:
        site = site.expand_dims("chain")
    tree = DataTree.from_dict({"posterior": site, "sample_stats": posterior["sample_stats"].dataset})
    figure = ax.get_figure()
    place = DataTree.from_dict(
        {"plot": xr.Dataset({name: xr.DataArray(ax)}), "figure": xr.Dataset({"figure": xr.DataArray(figure)})}
    )
    by_chain = {"color": ["chain"], "overlay": ["chain"]}  # overlay is what ArviZ marks divergences by
    collection = arviz_plots.PlotCollection(site, place, backend="matplotlib", aes=by_chain)
    plot(tree, var_names=[name], plot_collection=collection, backend="matplotlib")
    for label in (ax.xaxis.label, ax.yaxis.label):
        label.set_color(INK)  # ArviZ has a style of its own
    for line in ax.get_lines():
        line.set_rasterized(site[name].size > _MOST_POINTS)
