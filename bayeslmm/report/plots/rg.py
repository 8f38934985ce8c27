"""Pictures of several traits: the joint posterior of two correlations, or matrices of them with intervals."""

from collections.abc import Mapping
from itertools import combinations
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
from bayeslmm.report.plots.draws import panels_of_draws
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import (
    BLUE,
    DARK_CELL,
    GREEN,
    GREY,
    INK,
    LIGHT_CELL,
    ORANGE,
    POINTS,
    arms,
    estimate_below,
    interval_label,
)

type Name = Literal["rho_u", "rho_e"]
_KINDS: dict[Name, str] = {"rho_u": "genetic", "rho_e": "residual"}
_DRAWN = ("nuts", "importance")


NAMES = ("rho_u", "rho_e", "both", "h2", "trace", "ranks")
"""Of the panels."""


def correlation_panels(result: Correlations) -> list[Panel]:
    """Return the pictures of several traits.

    Two traits with draws: the genetic and the residual correlation, each with its prior, and both jointly; the
    heritabilities, trace and ranks of NUTS. Otherwise both correlation matrices with their intervals, from the draws,
    or else from REML, or else from moments.
    """
    if len(result.traits) == 2 and result.posterior is not None:
        return _panels_of_pair(result, result.posterior)
    side = max(4.2, 1.35 * len(result.traits))
    return [
        Panel(
            name=name,
            title=matrix_title(result, name),
            caption=f"{kind} correlations, with h2 on the diagonal",
            draw=lambda ax, name=name: plot_matrix(ax, result, name),
            size=(side * 1.25, side),
        )
        for name, kind in _KINDS.items()
    ]


def _panels_of_pair(result: Correlations, posterior: DataTree) -> list[Panel]:
    draws = draws_of_traits(posterior)
    marginals = [
        Panel(
            name=name,
            title=f"{kind.capitalize()} correlation",
            caption=f"the posterior of the {kind} correlation, with its prior and the interval of REML",
            draw=lambda ax, name=name: plot_correlation(ax, result, draws[name], name),
        )
        for name, kind in _KINDS.items()
    ]
    return [
        *marginals,
        Panel(
            name="both",
            title="Both correlations",
            caption="genetic and residual correlation together: draws, and the regions that hold 50% and 95% of them",
            draw=lambda ax: draw_both(ax, result, draws),
        ),
        Panel(
            name="h2",
            title="Heritabilities",
            caption="the posterior of the heritability of each trait",
            draw=lambda ax: draw_heritabilities(ax, result, draws),
        ),
        *(panels_of_draws(posterior, "rho_u") if "nuts" in result.fits else []),
    ]


def matrix_title(result: Correlations, name: Name) -> str:
    """Return what a matrix of correlations shows."""
    best = _best(result)
    by = "posterior means" if best in _DRAWN else JOINT_METHODS[best].label
    return f"{_KINDS[name].capitalize()} correlations: {by}, 95% intervals"


def correlation_title(result: Correlations) -> str:
    """Return who was analysed, as the title of a figure."""
    counts = zip(result.traits, np.diag(result.overlaps), strict=True)
    records = ", ".join(f"{int(count):,} with {trait}" for trait, count in counts)
    if (result.overlaps == result.n).all():
        records = "each with all traits"
    return f"{', '.join(result.traits)}: {result.n:,} individuals, {records}"


def _best(result: Correlations) -> str:
    return next(name for name in (*_DRAWN, "reml", *result.fits) if name in result.fits)


def _drawn_by(result: Correlations) -> str:
    return next(JOINT_METHODS[name].label for name in _DRAWN if name in result.fits)


def _row(result: Correlations, method: str, trait: str, parameter: str) -> Row | None:
    rows = select(result.rows, method=method, trait=trait, parameter=parameter)
    return rows[0] if rows else None


def draw_both(ax: Axes, result: Correlations, draws: Mapping[str, ndarray]) -> None:
    """Draw genetic and residual correlation of two traits against each other."""
    x, y = (draws[name][..., 0, 1].ravel() for name in ("rho_u", "rho_e"))
    ax.plot(x, y, ".", color=POINTS[0], markersize=2, alpha=0.35, rasterized=True)
    ax.plot([], [], ".", color=POINTS[0], label=f"{_drawn_by(result)}, {x.size:,} draws")
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
    ax.set(xlabel="genetic correlation rho_u", ylabel="residual correlation rho_e")
    ax.legend()


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
    ax.contour(*grid, height, levels=levels, colors=[INK], linewidths=1.2, zorder=3)
    ax.plot([], [], color=INK, linewidth=1.2, label="50% and 95% of the posterior")


def plot_correlation(ax: Axes, result: Correlations, draws: ndarray, name: Name) -> None:
    """Draw the posterior of a correlation of two traits: draws, prior, REML with its interval.

    Args:
        ax: where.
        result: the estimates.
        draws: of the correlation matrix, shape (chain, draw, 2, 2).
        name: of the correlation.
    """
    kind, which = _KINDS[name], list(_KINDS).index(name)
    rho = draws[..., 0, 1].ravel()
    ax.hist(rho, bins=40, density=True, color=BLUE, alpha=0.35, label=f"{_drawn_by(result)}, {rho.size:,} draws")
    grid = np.linspace(-1, 1, 402)[1:-1]
    ax.plot(grid, density_on(result.rho_prior[which], grid), "--", color=GREY, label="prior")
    if row := _row(result, "reml", pair_name(result.traits, (0, 1)), name):
        estimate_below(ax, row, interval_label(row))
    ax.axvline(0, color=GREY, linewidth=0.8)
    low, high = ax.get_xlim()
    ax.set_xlim(max(low, -1.05), min(high, 1.05))
    ax.set(xlabel=f"{kind} correlation {name}", ylabel="density")
    ax.legend()


def draw_heritabilities(ax: Axes, result: Correlations, draws: Mapping[str, ndarray]) -> None:
    """Draw the posterior of the heritability of each of two traits."""
    for j, (trait, colour) in enumerate(zip(result.traits, (BLUE, GREEN), strict=True)):
        ax.hist(draws["h2"][..., j].ravel(), bins=40, density=True, color=colour, alpha=0.4, label=trait)
    ax.set(xlabel="heritability h2", ylabel="density")
    ax.legend()


def plot_matrix(ax: Axes, result: Correlations, name: Name) -> None:
    """Draw correlations as coloured cells with their 95% intervals, once for each pair."""
    t, method = len(result.traits), _best(result)
    estimates = np.full((t, t), np.nan)
    for j, k in combinations(range(t), 2):
        if (row := _row(result, method, pair_name(result.traits, (j, k)), name)) is None:
            continue
        estimates[k, j] = row.estimate
        interval = f"\n{row.lower:.2f} to {row.upper:.2f}" if np.isfinite(row.lower) else ""
        text = f"{row.estimate:.2f}{interval}" if np.isfinite(row.estimate) else "not\nidentified"
        colour = GREY if np.isnan(row.estimate) else LIGHT_CELL if abs(row.estimate) > 0.6 else DARK_CELL
        ax.text(j, k, text, ha="center", va="center", color=colour)
    for j, trait in enumerate(result.traits):
        if row := _row(result, method, trait, "h2"):
            ax.text(j, j, f"{trait}\nh2 {row.estimate:.2f}", ha="center", va="center", color=GREY)
    image = ax.imshow(estimates, cmap="RdBu_r", vmin=-1, vmax=1)
    ax.figure.colorbar(image, ax=ax, shrink=0.7)
    ax.set_xticks(range(t), result.traits)
    ax.set_yticks(range(t), result.traits)
    ax.spines[:].set_visible(False)
