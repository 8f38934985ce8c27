"""Trace and ranks of draws."""

import arviz_plots
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from xarray import DataTree


def plot_draws(trace: Axes, rank: Axes, posterior: DataTree, figure: Figure, name: str) -> None:
    """Draw trace and rank plots of one number: a site with no dimension left but trait, of length 1."""
    site = posterior["posterior"].dataset[[name]].squeeze(drop=True)
    if site.sizes.get("chain", 1) == 1:
        site = site.expand_dims("chain")
    tree = DataTree.from_dict({"posterior": site, "sample_stats": posterior["sample_stats"].dataset})
    panels = [(trace, arviz_plots.plot_trace), (rank, arviz_plots.plot_rank)]
    if site.sizes["chain"] == 1:
        panels.pop()
        rank.text(0.5, 0.5, "one chain: nothing to compare", ha="center", va="center", transform=rank.transAxes)
    for ax, plot in panels:
        place = DataTree.from_dict(
            {"plot": xr.Dataset({name: xr.DataArray(ax)}), "figure": xr.Dataset({"figure": xr.DataArray(figure)})}
        )
        by_chain = {"color": ["chain"], "overlay": ["chain"]}  # overlay is what ArviZ marks divergences by
        collection = arviz_plots.PlotCollection(site, place, backend="matplotlib", aes=by_chain)
        plot(tree, var_names=[name], plot_collection=collection, backend="matplotlib")
    trace.set(title=f"Trace of {name}", xlabel="draw", ylabel=name)
    rank.set(title=f"Ranks of {name} (lines stay near 0 when chains agree)", xlabel="fractional rank")
