"""The picture of a comparison: all methods, traces of EM, the exact test of h2 = 0."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import chi2

from bayeslmm.analyses.compare import Comparison
from bayeslmm.base.files import replacing
from bayeslmm.report.plots.h2 import BLUE, GREY, ORANGE
from bayeslmm.report.plots.style import METHOD_LABELS, forest


def plot_comparison(found: Comparison, path: str | Path) -> None:
    """Write one picture of all methods on one trait as PNG.

    Panels: h2 by every method with its interval; how far EM and PX-EM are below the maximum of the likelihood, by
    iteration; the tail of the restricted likelihood ratio where h2 = 0, exact and by the 50:50 mixture.
    """
    figure = Figure(figsize=(13, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.add_gridspec(2, 2, width_ratios=[1.1, 1])
    forest(figure.add_subplot(grid[:, 0]), found)
    _climbs(figure.add_subplot(grid[0, 1]), found)
    _null_tail(figure.add_subplot(grid[1, 1]), found)
    n, c = found.result.reml.n, found.result.reml.c
    figure.suptitle(f"{found.result.trait}: n = {n:,}, {c} covariate{'s' * (c != 1)}", fontsize=14, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _climbs(ax: Axes, found: Comparison) -> None:
    top = max(fit.estimate.loglik for fit in found.em.values())
    top = max(top, *(float(fit.loglik.max()) for fit in found.em.values()))
    for name, fit in found.em.items():
        # As many points as can be seen on a logarithmic axis.
        shown = np.unique(np.geomspace(1, fit.iterations, 400).astype(int)) - 1
        colour = ORANGE if name.startswith("em") else BLUE
        label = f"{METHOD_LABELS[name]}: {fit.iterations:,} iterations{'' if fit.converged else ', not converged'}"
        style = "-" if name.endswith("_markers") else "--"
        ax.loglog(shown + 1, np.maximum(top - fit.loglik[shown], 1e-9), style, color=colour, label=label)
    ax.set(xlabel="iteration", ylabel="log-likelihood below its maximum", title="The climb of EM and PX-EM")
    ax.legend(frameon=False, fontsize="small", loc="lower left")


def _null_tail(ax: Axes, found: Comparison) -> None:
    observed = float(found.boundary["rlrt"].iloc[0])
    end = max(12.0, 1.2 * observed) if observed < 40 else 12.0
    grid = np.linspace(1e-3, end, 200)
    ax.semilogy(grid, [found.reml_distribution.p_value(t) for t in grid], color=BLUE, label="exact, this K and X")
    ax.semilogy(grid, chi2.sf(grid, 1) / 2, "--", color=GREY, label="50:50 mixture of 0 and chi2")
    if observed <= end:
        ax.axvline(observed, color=ORANGE, label=f"observed: {observed:.2f}")
    else:
        ax.plot([], [], ">", color=ORANGE, label=f"observed: {observed:.1f}, far to the right")
    ax.set(xlabel="restricted likelihood ratio of h2 = 0", ylabel="probability of more", title="If h2 were 0")
    ax.legend(frameon=False, fontsize="small")
