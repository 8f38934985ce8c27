"""Pictures of several traits: the joint posterior of two correlations, or matrices of them with intervals."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.stats import gaussian_kde

from bayeslmm.analyses.correlations import Correlations
from bayeslmm.analyses.joint_rows import draws_of_traits, pair_name
from bayeslmm.base.files import replacing
from bayeslmm.likelihood.priors import density_on
from bayeslmm.report.plots.h2 import BLUE, GREEN, GREY, ORANGE, plot_draws

_PARTS = ((0, "rho_u", "genetic"), (1, "rho_e", "residual"))


def plot_correlations(result: Correlations, path: str | Path) -> None:
    """Write one picture of the correlations as PNG.

    Two traits with draws: the joint posterior of the genetic and the residual correlation, each with its prior, the
    heritabilities, trace and ranks. Otherwise both correlation matrices with their intervals, from the draws, or else
    from REML, or else from moments.
    """
    t, posterior = len(result.traits), result.posterior
    if t == 2 and posterior is not None:
        draws = draws_of_traits(posterior)
        figure = Figure(figsize=(15, 8), layout="constrained")
        axes = figure.subplots(2, 3).ravel()
        _joint(axes[0], result, draws)
        for ax, (which, name, kind) in zip(axes[1:3], _PARTS, strict=True):
            _marginal(ax, result, draws, which, name, kind)
        _heritabilities(axes[3], result, draws)
        plot_draws(axes[4], axes[5], posterior, figure, "rho_u")
    else:
        size = max(4.5, 1.7 * t)
        figure = Figure(figsize=(2 * size + 1, size + 0.5), layout="constrained")
        for ax, (_, name, kind) in zip(figure.subplots(1, 2), _PARTS, strict=True):
            _matrix(ax, result, name, kind)
    FigureCanvasAgg(figure)
    counts = np.diag(result.overlaps)
    people = [f"{int(count):,} with {trait}" for trait, count in zip(result.traits, counts, strict=True)]
    told = "each with all traits" if (result.overlaps == result.n).all() else ", ".join(people)
    figure.suptitle(f"{', '.join(result.traits)}: {result.n:,} people, {told}", fontsize=14, parse_math=False)
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120)


def _row(result: Correlations, method: str, trait: str, parameter: str) -> Mapping[Any, Any]:
    table = result.estimates
    rows = table[(table["method"] == method) & (table["trait"] == trait) & (table["parameter"] == parameter)]
    return rows.to_dict("records")[0] if len(rows) else {}


def _arms(row: Mapping[Any, Any]) -> ndarray:
    """Return how far an interval reaches to both sides, not below 0 where rounding would have it on a bound."""
    return np.maximum([[row["estimate"] - row["lower"]], [row["upper"] - row["estimate"]]], 0.0)


def _joint(ax: Axes, result: Correlations, draws: Mapping[str, ndarray]) -> None:
    x, y = (draws[name][..., 0, 1].ravel() for name in ("rho_u", "rho_e"))
    ax.plot(x, y, ".", color=BLUE, markersize=2, alpha=0.25, label=f"NUTS, {x.size:,} draws")
    _contours(ax, x, y)
    pair = pair_name(result.traits, (0, 1))
    rho_u, rho_e = (_row(result, "reml", pair, name) for name in ("rho_u", "rho_e"))
    if rho_u and np.isfinite([rho_u["lower"], rho_e["lower"]]).all():
        ax.errorbar(
            rho_u["estimate"],
            rho_e["estimate"],
            xerr=_arms(rho_u),
            yerr=_arms(rho_e),
            fmt="o",
            color=ORANGE,
            capsize=3,
            label="REML, 95% intervals",
        )
    for line, at in ((ax.axvline, 0), (ax.axhline, 0)):
        line(at, color=GREY, linewidth=0.8)
    for bound in (-1, 1):
        ax.axvline(bound, color=GREY, linewidth=0.8, linestyle=":")
    ax.set(xlabel="genetic correlation rho_u", ylabel="residual correlation rho_e", title="Both correlations")
    ax.legend(frameon=False, fontsize="small")


def _contours(ax: Axes, x: ndarray, y: ndarray) -> None:
    """Draw the regions of highest density that hold 50% and 95% of the draws, if the draws are enough to tell."""
    some = slice(None, None, max(x.size // 2000, 1))
    points = np.stack([x[some], y[some]])
    if points.shape[1] < 10 or np.linalg.matrix_rank(np.cov(points)) < 2:
        return
    density = gaussian_kde(points)
    levels = np.quantile(density(points), [0.05, 0.5])
    grid = np.stack(np.meshgrid(*(np.linspace(max(v.min() - 0.05, -1), min(v.max() + 0.05, 1), 80) for v in (x, y))))
    height = density(grid.reshape(2, -1)).reshape(80, 80)
    ax.contour(*grid, height, levels=levels, colors=["black"], linewidths=1.2, zorder=3)
    ax.plot([], [], color="black", linewidth=1.2, label="50% and 95% of the posterior")


def _marginal(ax: Axes, result: Correlations, draws: Mapping[str, ndarray], which: int, name: str, kind: str) -> None:
    rho = draws[name][..., 0, 1].ravel()
    ax.hist(rho, bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {rho.size:,} draws")
    grid = np.linspace(-1, 1, 402)[1:-1]
    ax.plot(grid, density_on(result.rho_prior[which], grid), "--", color=GREY, label="prior")
    row = _row(result, "reml", pair_name(result.traits, (0, 1)), name)
    if row and np.isfinite(row["lower"]):
        label = (
            "REML, 95% Wald interval" if row["interval"] == "wald95" else "REML on the boundary, 95% profile interval"
        )
        y = 0.06 * ax.get_ylim()[1]
        ax.errorbar(row["estimate"], y, xerr=_arms(row), fmt="o", color=ORANGE, capsize=4, label=label)
    ax.axvline(0, color=GREY, linewidth=0.8)
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -1.05), min(high, 1.05))
    ax.set(xlabel=f"{kind} correlation {name}", ylabel="density", title=f"{kind.capitalize()} correlation")
    ax.legend(frameon=False, fontsize="small")


def _heritabilities(ax: Axes, result: Correlations, draws: Mapping[str, ndarray]) -> None:
    for j, (trait, colour) in enumerate(zip(result.traits, (BLUE, GREEN), strict=True)):
        ax.hist(draws["h2"][..., j].ravel(), bins=40, density=True, color=colour, alpha=0.4, label=trait)
    ax.set(xlabel="heritability h2", ylabel="density", title="Heritabilities")
    ax.legend(frameon=False, fontsize="small")


def _matrix(ax: Axes, result: Correlations, name: str, kind: str) -> None:
    """Correlations as coloured cells with their 95% intervals, once for each pair."""
    t, method = len(result.traits), "nuts" if result.posterior is not None else "reml"
    if method not in result.fits:
        method = next(iter(result.fits))
    estimate = np.full((t, t), np.nan)
    for j, k in combinations(range(t), 2):
        row = _row(result, method, pair_name(result.traits, (j, k)), name)
        estimate[k, j] = row["estimate"]
        interval = f"\n{row['lower']:.2f} to {row['upper']:.2f}" if np.isfinite(row["lower"]) else ""
        dark = abs(row["estimate"]) > 0.6
        text = f"{row['estimate']:.2f}{interval}" if np.isfinite(row["estimate"]) else "not\nidentified"
        ax.text(j, k, text, ha="center", va="center", color="white" if dark else "black")
    for j, trait in enumerate(result.traits):
        row = _row(result, method, trait, "h2")
        ax.text(j, j, f"{trait}\nh2 {row['estimate']:.2f}", ha="center", va="center", color=GREY)
    image = ax.imshow(estimate, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.7)
    ax.set_xticks(range(t), result.traits)
    ax.set_yticks(range(t), result.traits)
    ax.spines[:].set_visible(False)
    label = {"nuts": "posterior means", "reml": "REML", "mom": "moments"}[method]
    ax.set_title(f"{kind.capitalize()} correlations: {label}, 95% intervals")
