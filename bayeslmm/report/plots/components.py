"""Pictures of several components of variance: their shares, and pairs of them that trade off."""

from collections.abc import Sequence
from functools import partial
from itertools import combinations
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float64
from matplotlib.axes import Axes
from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.component_rows import sigma2_of
from bayeslmm.analyses.table import Row, select
from bayeslmm.analyses.variance_components import VarianceComponents
from bayeslmm.report.plots.draws import panels_of_draws
from bayeslmm.report.plots.panels import SIZE, Panel
from bayeslmm.report.plots.style import BLUE, GREEN, GREY, INK, ORANGE, PURPLE, SKY, YELLOW, arms

_COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, YELLOW)
_MOST_PAIRS = 4
_CORRELATED = 0.5
"""Correlation of two shares, or more of it, at which they are drawn against each other."""
_POINTS = 1_500
NAMES = ("shares", *(f"pair{k}" for k in range(1, _MOST_PAIRS + 1)), "trace", "ranks")
"""Of the panels."""


class TradeOff(NamedTuple):
    """Two components of which the data know the sum better than either.

    Attributes:
        names: of both.
        correlation: of their shares in the posterior.
        lower, upper: the 95% interval of the sum of the shares.
    """

    names: tuple[str, str]
    correlation: float
    lower: float
    upper: float


def equal_draws(result: VarianceComponents) -> Float64[ndarray, "m k"] | None:
    """Return draws of the shares of equal weight, by the best method that has some; None without any."""
    if result.importance is not None:
        sigma2 = result.importance.resampled(4_000, seed=result.request.seed)
    elif result.posterior is not None:
        sigma2 = sigma2_of(result.posterior, result.request).reshape(-1, len(result.request.names))
    else:
        return None
    return sigma2 / sigma2.sum(axis=1, keepdims=True)


def trade_offs(result: VarianceComponents) -> list[TradeOff]:
    """Return pairs of components whose shares have a correlation below -0.5 in the posterior, the strongest first."""
    shares, names = equal_draws(result), result.request.names
    if shares is None or len(names) < 3:
        return []  # two shares sum to 1
    correlation = np.corrcoef(shares.T)
    found = [
        TradeOff(
            (names[i], names[j]),
            float(correlation[i, j]),
            *map(float, np.quantile(shares[:, i] + shares[:, j], [0.025, 0.975])),
        )
        for i, j in combinations(range(len(names)), 2)
        if correlation[i, j] < -_CORRELATED
    ]
    return sorted(found, key=lambda pair: pair.correlation)


def components_panels(result: VarianceComponents, best: Sequence[Row]) -> list[Panel]:
    """Return the shares, pairs that trade off, and trace and ranks if NUTS drew.

    Args:
        result: the estimates.
        best: the rows of the method that gives the answer.
    """
    names, shares = result.request.names, equal_draws(result)
    panels = [
        Panel(
            name="shares",
            title="Shares of the variance",
            caption="the share of each component in the variance that covariates leave, with its 95% interval; above, "
            "how they fill the whole",
            draw=lambda ax: draw_shares(ax, names, best, select(result.rows, method="reml")),
            size=(SIZE[0], max(SIZE[1], 1.6 + 0.45 * len(names))),
        )
    ]
    if shares is not None:
        panels += [
            Panel(
                name=f"pair{number}",
                title=f"{pair.names[0]} against {pair.names[1]}",
                caption=f"draws of two shares of correlation {pair.correlation:.2f}: the data know their sum better "
                "than either",
                draw=partial(draw_pair, pair=pair, names=names, shares=shares),
            )
            for number, pair in enumerate(trade_offs(result)[:_MOST_PAIRS], start=1)
        ]
    return panels + (_of_draws(result.posterior, names[0]) if result.posterior is not None else [])


def _of_draws(posterior: DataTree, name: str) -> list[Panel]:
    label = f"share of {name.replace('/', '|')}"  # names of variables hold no slash
    draws = posterior["posterior"]["share"].sel(component=name).transpose("chain", "draw").to_numpy()
    site = xr.Dataset({label: (("chain", "draw"), draws)})
    tree = DataTree.from_dict({"posterior": site, "sample_stats": posterior["sample_stats"].dataset})
    return panels_of_draws(tree, label)


def draw_shares(ax: Axes, names: Sequence[str], best: Sequence[Row], reml: Sequence[Row]) -> None:
    """Draw the shares as one bar, and below it each with its interval; REML beside it if it is not the best."""
    rows = [select(best, parameter=f"share[{name}]")[0] for name in names]
    colours = [GREY if name == names[-1] else _COLOURS[j % len(_COLOURS)] for j, name in enumerate(names)]
    left = 0.0
    for row, colour in zip(rows, colours, strict=True):
        ax.barh(0.0, row.estimate, left=left, color=colour, height=0.7)
        left += row.estimate
    for y, (name, row, colour) in enumerate(zip(names, rows, colours, strict=True), start=1):
        known = np.isfinite(row.lower)
        ax.errorbar(row.estimate, y, xerr=arms(row) if known else None, fmt="o", color=colour, capsize=4)
        for other in select(reml, parameter=f"share[{name}]") if row.method != "reml" else ():
            label = "REML" if y == 1 else None
            ax.plot(other.estimate, y + 0.25, marker="x", linestyle="", color=INK, label=label)
    ax.set_yticks(range(len(names) + 1), ["together", *names])
    ax.invert_yaxis()
    ax.set(xlabel="share of the variance", xlim=(0, max(1.0, *(row.upper for row in rows if np.isfinite(row.upper)))))
    if ax.get_legend_handles_labels()[0]:
        ax.legend()


def draw_pair(ax: Axes, pair: TradeOff, names: Sequence[str], shares: Float64[ndarray, "m k"]) -> None:
    """Draw draws of two shares against each other."""
    i, j = (names.index(name) for name in pair.names)
    some = shares[:: max(len(shares) // _POINTS, 1)]
    ax.plot(some[:, i], some[:, j], ".", color=BLUE, alpha=0.35, markersize=3, rasterized=True)
    ax.set(xlabel=f"share of {pair.names[0]}", ylabel=f"share of {pair.names[1]}")
    ax.set_xlim(left=0)
    ax.set_ylim(bottom=0)
