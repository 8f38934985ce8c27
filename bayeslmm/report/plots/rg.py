"""Pictures of several traits: the joint posterior of two correlations, or matrices of them with intervals."""

from collections.abc import Mapping
from itertools import combinations
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy import ndarray
from scipy.stats import gaussian_kde
from xarray import DataTree

from bayeslmm.analyses.correlations import JOINT_METHODS, Correlations
from bayeslmm.analyses.joint_rows import draws_of_traits, pair_name
from bayeslmm.analyses.table import Row, select
from bayeslmm.likelihood.priors import density_on
from bayeslmm.report.plots.draws import plot_draws
from bayeslmm.report.plots.style import BLUE, GREEN, GREY, ORANGE, arms, estimate_below, interval_label, picture

_KINDS: dict[Literal["rho_u", "rho_e"], str] = {"rho_u": "genetic", "rho_e": "residual"}


def plot_correlations(result: Correlations, path: str | Path) -> None:
    """Write one picture of the correlations as PNG.

    Two traits with draws: the joint posterior of the genetic and the residual correlation, each with its prior, the
    heritabilities, trace and ranks. Otherwise both correlation matrices with their intervals, from the draws, or else
    from REML, or else from moments.
    """
    if len(result.traits) == 2 and result.posterior is not None:
        _plot_pair(result, result.posterior, path)
        return
    size = max(4.5, 1.7 * len(result.traits))
    with picture(path, (2 * size + 1, size + 0.5), _title(result)) as figure:
        for ax, name in zip(figure.subplots(1, 2), _KINDS, strict=True):
            plot_matrix(ax, result, name)


def _plot_pair(result: Correlations, posterior: DataTree, path: str | Path) -> None:
    draws = draws_of_traits(posterior)
    with picture(path, (15, 8), _title(result)) as figure:
        axes = figure.subplots(2, 3).ravel()
        _joint(axes[0], result, draws)
        for ax, name in zip(axes[1:3], _KINDS, strict=True):
            plot_correlation(ax, result, draws[name], name)
        _heritabilities(axes[3], result, draws)
        plot_draws(axes[4], axes[5], posterior, figure, "rho_u")


def _title(result: Correlations) -> str:
    counts = zip(result.traits, np.diag(result.overlaps), strict=True)
    records = ", ".join(f"{int(count):,} with {trait}" for trait, count in counts)
    if (result.overlaps == result.n).all():
        records = "each with all traits"
    return f"{', '.join(result.traits)}: {result.n:,} individuals, {records}"


def _row(result: Correlations, method: str, trait: str, parameter: str) -> Row | None:
    rows = select(result.rows, method=method, trait=trait, parameter=parameter)
    return rows[0] if rows else None


def _joint(ax: Axes, result: Correlations, draws: Mapping[str, ndarray]) -> None:
    x, y = (draws[name][..., 0, 1].ravel() for name in ("rho_u", "rho_e"))
    ax.plot(x, y, ".", color=BLUE, markersize=2, alpha=0.25, label=f"NUTS, {x.size:,} draws")
    _contours(ax, x, y)
    pair = pair_name(result.traits, (0, 1))
    rho_u, rho_e = (_row(result, "reml", pair, name) for name in ("rho_u", "rho_e"))
    if rho_u and rho_e and np.isfinite([rho_u.lower, rho_e.lower]).all():
        ax.errorbar(
            rho_u.estimate,
            rho_e.estimate,
            xerr=arms(rho_u),
            yerr=arms(rho_e),
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


def plot_correlation(ax: Axes, result: Correlations, draws: ndarray, name: Literal["rho_u", "rho_e"]) -> None:
    """Draw the posterior of a correlation of two traits: draws, prior, REML with its interval.

    Args:
        ax: where.
        result: the estimates.
        draws: of the correlation matrix, shape (chain, draw, 2, 2).
        name: of the correlation.
    """
    kind, which = _KINDS[name], list(_KINDS).index(name)
    rho = draws[..., 0, 1].ravel()
    ax.hist(rho, bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {rho.size:,} draws")
    grid = np.linspace(-1, 1, 402)[1:-1]
    ax.plot(grid, density_on(result.rho_prior[which], grid), "--", color=GREY, label="prior")
    if row := _row(result, "reml", pair_name(result.traits, (0, 1)), name):
        estimate_below(ax, row, interval_label(row))
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


def plot_matrix(ax: Axes, result: Correlations, name: Literal["rho_u", "rho_e"]) -> None:
    """Draw correlations as coloured cells with their 95% intervals, once for each pair."""
    t = len(result.traits)
    method = next(name for name in ("nuts", "reml", *result.fits) if name in result.fits)
    estimates = np.full((t, t), np.nan)
    for j, k in combinations(range(t), 2):
        if (row := _row(result, method, pair_name(result.traits, (j, k)), name)) is None:
            continue
        estimates[k, j] = row.estimate
        interval = f"\n{row.lower:.2f} to {row.upper:.2f}" if np.isfinite(row.lower) else ""
        text = f"{row.estimate:.2f}{interval}" if np.isfinite(row.estimate) else "not\nidentified"
        ax.text(j, k, text, ha="center", va="center", color="white" if abs(row.estimate) > 0.6 else "black")
    for j, trait in enumerate(result.traits):
        if row := _row(result, method, trait, "h2"):
            ax.text(j, j, f"{trait}\nh2 {row.estimate:.2f}", ha="center", va="center", color=GREY)
    image = ax.imshow(estimates, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.7)
    ax.set_xticks(range(t), result.traits)
    ax.set_yticks(range(t), result.traits)
    ax.spines[:].set_visible(False)
    label = "posterior means" if method == "nuts" else JOINT_METHODS[method].label
    ax.set_title(f"{_KINDS[name].capitalize()} correlations: {label}, 95% intervals")
