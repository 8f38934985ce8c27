"""Pictures of a result, without a display."""

from pathlib import Path

import arviz_plots
import numpy as np
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import chi2
from xarray import DataTree

from bayeslmm.estimators.estimate import Estimate
from bayeslmm.exact import ExactPosterior
from bayeslmm.files import replacing
from bayeslmm.heritability import Heritability
from bayeslmm.priors import VariancePrior
from bayeslmm.spectrum import RotatedData

_BLUE, _ORANGE, _GREEN, _GREY = "#0072b2", "#d55e00", "#009e73", "#7f7f7f"  # told apart by colour-blind readers
_BINS = 25


def plot_heritability(result: Heritability, data: RotatedData, prior: VariancePrior, path: str | Path) -> None:
    """Write one picture of one trait as PNG: posterior, trace, ranks, fit in the eigenbasis.

    Panels: the posterior of h2 (draws, exact density, prior, REML with its interval); trace and rank plots of the
    draws, if there are any; the variance of the rotated residuals against the eigenvalues of K with its expectation.
    """
    drawn = result.posterior is not None
    figure = Figure(figsize=(12, 8) if drawn else (12, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2 if drawn else 1, 2, squeeze=False).ravel()
    _posterior_of_h2(axes[0], result, prior)
    _residual_variance(axes[1], result.reml, data)
    if result.posterior is not None:
        _draws(axes[2], axes[3], result.posterior, figure)
    n, c = data.X.shape
    figure.suptitle(f"{result.trait}: n = {n:,}, {c} covariate{'s' * (c != 1)}", fontsize=14)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _posterior_of_h2(ax: Axes, result: Heritability, prior: VariancePrior) -> None:
    if result.posterior is not None:
        draws = result.posterior["posterior"]["h2"].to_numpy().ravel()
        ax.hist(draws, bins=40, density=True, color=_BLUE, alpha=0.35, label=f"NUTS, {draws.size:,} draws")
    if result.exact is not None:
        _exact_density(ax, result.exact)
    low, high = ax.get_xlim() if ax.has_data() else (0.0, 1.0)
    low, high = max(low, 0.0), min(high, 1.0)
    grid = np.linspace(low, high, 402)[1:-1]
    ax.plot(grid, np.exp(np.asarray(prior.h2.log_prob(grid))), color=_GREY, linestyle="--", label="prior")
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    row = result.estimates.query("method == 'reml' and parameter == 'h2'")
    if len(row):
        estimate, lower, upper, interval = row[["estimate", "lower", "upper", "interval"]].iloc[0]
        kind = {"wald95": "95% Wald interval", "profile95": "95% profile interval, on the boundary"}[interval]
        y = 0.06 * ax.get_ylim()[1]
        ax.errorbar(
            estimate,
            y,
            xerr=[[estimate - lower], [upper - estimate]],
            fmt="o",
            color=_ORANGE,
            capsize=4,
            label=f"REML, {kind}",
        )
    ax.set(xlabel="heritability h2", ylabel="density", title="Heritability")
    ax.legend(frameon=False)


def _exact_density(ax: Axes, exact: ExactPosterior) -> None:
    value, density = exact.h2.curve()
    lower, upper = exact.h2.quantile(1e-4), exact.h2.quantile(1 - 1e-4)
    shown = (value >= lower) & (value <= upper)
    ax.plot(value[shown], density[shown], color=_BLUE, label="exact posterior")


def _residual_variance(ax: Axes, fit: Estimate, data: RotatedData) -> None:
    """Mean squared rotated residuals in bins of eigenvalues, against sigma2_u s + sigma2_e."""
    residual = data.Y[:, 0] - data.X @ fit.beta
    bins = np.array_split(np.arange(len(data.s)), min(_BINS, max(len(data.s) // 10, 1)))
    expected = fit.sigma2_u * data.s + fit.sigma2_e
    s = np.array([data.s[b].mean() for b in bins])
    # In units of expectation, a mean of m squares is chi2_m / m.
    observed = np.array([np.mean(residual[b] ** 2 / expected[b]) for b in bins])
    m = np.array([len(b) for b in bins])
    line = fit.sigma2_u * s + fit.sigma2_e
    ax.plot(s, line, color=_BLUE, label="expected: sigma2_u s + sigma2_e (REML)")
    ax.fill_between(
        s, line * chi2.ppf(0.025, m) / m, line * chi2.ppf(0.975, m) / m, color=_BLUE, alpha=0.15, label="95% of bins"
    )
    ax.plot(s, observed * line, "o", color=_GREEN, label=f"observed, {len(bins)} bins of eigenvalues")
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set(xlabel="eigenvalue s of K", ylabel="variance of rotated residuals", title="Fit in the eigenbasis of K")
    ax.legend(frameon=False)


def _draws(trace: Axes, rank: Axes, posterior: DataTree, figure: Figure) -> None:
    h2 = posterior["posterior"].dataset[["h2"]].squeeze("trait", drop=True)
    tree = DataTree.from_dict({"posterior": h2, "sample_stats": posterior["sample_stats"].dataset})
    panels = [(trace, arviz_plots.plot_trace), (rank, arviz_plots.plot_rank)]
    if h2.sizes["chain"] == 1:
        panels.pop()
        rank.text(0.5, 0.5, "one chain: nothing to compare", ha="center", va="center", transform=rank.transAxes)
    for ax, plot in panels:
        place = DataTree.from_dict(
            {"plot": xr.Dataset({"h2": xr.DataArray(ax)}), "figure": xr.Dataset({"figure": xr.DataArray(figure)})}
        )
        by_chain = {"color": ["chain"], "overlay": ["chain"]}  # overlay is what ArviZ marks divergences by
        collection = arviz_plots.PlotCollection(h2, place, backend="matplotlib", aes=by_chain)
        plot(tree, var_names=["h2"], plot_collection=collection, backend="matplotlib")
    trace.set(title="Trace of h2", xlabel="draw", ylabel="h2")
    rank.set(title="Ranks of h2 (lines stay near 0 when chains agree)", xlabel="fractional rank")
