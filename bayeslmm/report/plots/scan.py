"""Pictures of a scan: Manhattan and QQ."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.stats import beta, chi2

from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREY, ORANGE, POINTS

LEVEL = 0.95
_RANKS, _SAMPLES = 250, 2000
_SMALLEST = 1e-300  # p-values below are drawn there
_FIRST = 400
"""Markers that a QQ plot has one by one; further ones as they can be told apart on a logarithmic axis."""
WINDOW, MOST_LEADS = 1e6, 10
"""Leads are at least so many base pairs apart."""
_NAME_SIZE, _LETTER = 8, 0.62
"""Of names in the picture: points, and the width of a letter for each."""
_LINE = 1.3 * _NAME_SIZE
type _Box = tuple[float, float, float, float]
"""Left, bottom, right and top, in points."""
HOW = {"exact": "variance ratio estimated with each marker", "null": "variance ratio of the model without markers"}
"""What a test is, in words."""
NAMES = ("manhattan", "qq")
"""Of the panels."""


@dataclass(frozen=True)
class PValues:
    """The p-values of one trait along the genome.

    Attributes:
        chrom: names of chromosomes, in the order of the file.
        which: chromosome of each marker, as a number in ``chrom``, shape (b,).
        pos: positions, shape (b,).
        snp: names of markers.
        p: p-values, none of them NaN, shape (b,).
    """

    chrom: tuple[str, ...]
    which: Int64[ndarray, " b"]
    pos: Int64[ndarray, " b"]
    snp: tuple[str, ...]
    p: Float64[ndarray, " b"]

    @classmethod
    def of(cls, table: pd.DataFrame, *, order: Sequence[str]) -> "PValues":
        """Take them from the columns chrom, pos, snp and p_wald of a scan; chromosomes in this order."""
        chrom = table["chrom"]
        names = tuple(name for name in order if (chrom == name).any())
        which = pd.Categorical(chrom, categories=names).codes
        return cls(
            names,
            which.astype(np.int64),
            table["pos"].to_numpy(np.int64),
            tuple(table["snp"]),
            table["p_wald"].to_numpy(float),
        )

    @property
    def lambda_gc(self) -> float:
        """Median chi-square over its expectation: 1 where nothing inflates the tests.

        Source: Devlin and Roeder (1999), doi:10.1111/j.0006-341X.1999.00997.x.
        """
        return float(chi2.isf(np.median(self.p), 1) / chi2.median(1))


@functools.lru_cache(maxsize=1)  # traits of one scan have as many tests, as a rule
def qq_band(m: int) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
    """Return the lower and upper ends of a simultaneous 95% band of m sorted uniform p-values.

    Each p-value has the same chance to leave it, such that all stay inside in 95% of samples. Samples give that chance,
    at ranks that are dense at both ends, where samples leave.

    Source: Aldor-Noiman et al. (2013), doi:10.1080/00031305.2013.847865 (tail-sensitive bands).
    """
    near = np.unique(np.geomspace(1, m, min(m, _RANKS)).round().astype(int))
    rank = np.unique([near, m + 1 - near])
    gaps = np.random.default_rng(0).standard_gamma(np.diff([0, *rank, m + 1]), (_SAMPLES, len(rank) + 1))
    sums = gaps.cumsum(axis=1)
    below = beta.cdf(sums[:, :-1] / sums[:, -1:], rank, m - rank + 1)
    local = np.quantile(np.minimum(below, 1 - below).min(axis=1), 1 - LEVEL)
    rank = np.arange(1, m + 1)
    return np.asarray(beta.ppf(local, rank, m - rank + 1)), np.asarray(beta.isf(local, rank, m - rank + 1))


def scan_panels(p_values: PValues) -> list[Panel]:
    """Return the pictures of the scan of one trait: Manhattan and QQ."""
    return [
        Panel(
            name="manhattan",
            title="p-values along the genome",
            caption=f"p-values of {p_values.p.size:,} markers along the genome; named are the strongest of those that "
            f"pass the line, each at least {WINDOW / 1e6:g} Mb and 1% of the genome from the others",
            draw=lambda ax: draw_manhattan(ax, p_values),
            size=(10.0, 4.0),
        ),
        Panel(
            name="qq",
            title=f"p-values against chance: lambda_GC {p_values.lambda_gc:.3f}",
            caption="p-values against what chance gives: the band holds all of 95% of scans of independent markers "
            "without effects",
            draw=lambda ax: draw_qq(ax, p_values),
            size=(5.4, 4.4),
        ),
    ]


def draw_scan(figure: Figure, p_values: PValues) -> None:
    """Draw a Manhattan and a QQ plot of one trait side by side."""
    axes, panels = figure.subplots(1, 2, width_ratios=[3, 1]), scan_panels(p_values)
    for ax, panel in zip(axes, panels, strict=True):
        panel.draw(ax)
    axes[1].set_title(f"lambda_GC = {p_values.lambda_gc:.3f}")


def leads(p_values: PValues, *, most: int = MOST_LEADS) -> list[int]:
    """Return the markers with the smallest p-values below Bonferroni's threshold that are far from each other.

    The strongest comes first; one is left out if a stronger one on its chromosome is nearer than 1 Mb or 1% of the
    length of all chromosomes.

    Args:
        p_values: of one trait.
        most: how many.
    """
    window = max(WINDOW, 0.01 * sum(_lengths(p_values)))
    passed = np.flatnonzero(p_values.p < (1 - LEVEL) / p_values.p.size)
    found: list[int] = []
    for k in passed[np.argsort(p_values.p[passed], kind="stable")]:
        near = [
            p_values.which[k] == p_values.which[j] and abs(p_values.pos[k] - p_values.pos[j]) < window for j in found
        ]
        if not any(near):
            found.append(int(k))
        if len(found) == most:
            break
    return found


def draw_manhattan(ax: Axes, p_values: PValues) -> None:
    """Draw p-values along the genome, with the names of the leads."""
    height, lengths = _log(p_values.p), _lengths(p_values)
    gap = 0.005 * sum(lengths) + 1
    starts = np.cumsum([0.0, *(length + gap for length in lengths)])
    first = np.array([p_values.pos[p_values.which == k].min() for k in range(len(p_values.chrom))])
    x = starts[p_values.which] + p_values.pos - first[p_values.which]
    for parity, colour in enumerate(POINTS):
        here = p_values.which % 2 == parity
        ax.plot(x[here], height[here], ".", color=colour, markersize=3, rasterized=True)
    threshold = -np.log10((1 - LEVEL) / p_values.p.size)
    ax.axhline(threshold, color=ORANGE, linewidth=1, label=f"0.05 / {p_values.p.size:,} tests")
    middles = starts[:-1] + np.array(lengths) / 2
    ax.set(xlabel="chromosome", ylabel="-log10 p (Wald)", xlim=(-gap, starts[-1]))
    ax.set_ylim(0, 1.12 * max(height.max(), threshold))
    _name_chromosomes(ax, middles, p_values.chrom)
    named = leads(p_values)
    ax.plot(x[named], height[named], "o", color=BLUE, markersize=4)
    _name_points(ax, x[named], height[named], [p_values.snp[k] for k in named])
    ax.legend(loc="upper right")


def _name_chromosomes(ax: Axes, middles: Float64[ndarray, " c"], names: Sequence[str]) -> None:
    """Name chromosomes that have room for it below the axis, the first before the next."""
    width, free, shown = _points(ax)[0], -np.inf, []
    left, right = ax.get_xlim()
    for k, (middle, name) in enumerate(zip(middles, names, strict=True)):
        half = _LETTER * _NAME_SIZE * (len(name) + 1) / 2
        at = (middle - left) / (right - left) * width
        if at - half >= free:
            shown.append(k)
            free = at + half
    ax.set_xticks(middles[shown], [str(names[k]) for k in shown], fontsize=_NAME_SIZE)


def _points(ax: Axes) -> tuple[float, float]:
    """Return about how wide and high axes are, in points."""
    box = ax.get_window_extent()
    dpi = ax.figure.dpi
    return 72 * float(box.width) / dpi, 72 * float(box.height) / dpi


def _name_points(ax: Axes, x: Float64[ndarray, " k"], y: Float64[ndarray, " k"], names: Sequence[str]) -> None:
    """Write names above points, each as low as it touches no other; make room above if that is needed."""
    (width, height), (left, right), top = _points(ax), ax.get_xlim(), ax.get_ylim()[1]
    at = (x - left) / (right - left) * width
    half = np.array([_LETTER * _NAME_SIZE * len(name) / 2 for name in names])
    middle = np.clip(at, half, np.maximum(width - half, half))
    legend = (width - 150, height - 2 * _LINE, width, height)
    boxes = _stacked(middle, half, y / top * height, legend)
    for _ in range(5):
        if (highest := max([height, *(box[3] for box in boxes)])) == height:
            break
        top *= highest / height
        boxes = _stacked(middle, half, y / top * height, legend)
    ax.set_ylim(0, top)
    for k, box in enumerate(boxes):
        ax.annotate(
            names[k],
            (float(x[k]), float(y[k])),
            xytext=(float(middle[k] - at[k]), float(box[1] - y[k] / top * height)),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=_NAME_SIZE,
            arrowprops={"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 2},
        )


def _stacked(
    middle: Float64[ndarray, " k"], half: Float64[ndarray, " k"], above: Float64[ndarray, " k"], taken: _Box
) -> list[_Box]:
    """Return a box above each point that touches no other box, nor one that is taken; the lowest are placed first."""
    placed: dict[int, _Box] = {-1: taken}
    for k in map(int, np.argsort(above)):
        left, right, bottom = float(middle[k] - half[k]), float(middle[k] + half[k]), float(above[k]) + 4
        while hit := [box for box in placed.values() if _touch(box, (left, bottom, right, bottom + _LINE))]:
            bottom = max(box[3] for box in hit) + 1
        placed[k] = (left, bottom, right, bottom + _LINE)
    return [placed[k] for k in range(len(above))]


def _touch(a: _Box, b: _Box) -> bool:
    """Return whether two boxes have points in common."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def draw_qq(ax: Axes, p_values: PValues) -> None:
    """Draw p-values against what chance gives, at ranks that look the same as all."""
    p, m = np.sort(p_values.p), p_values.p.size
    shown = np.unique(np.r_[: min(m, _FIRST), np.geomspace(1, m, _FIRST).astype(int) - 1])
    expected = -np.log10((shown + 0.5) / m)
    lower, upper = (ends[shown] for ends in qq_band(m))
    ax.fill_between(expected, -np.log10(upper), -np.log10(lower), color=GREY, alpha=0.3, label="95% of all QQ plots")
    ax.plot(expected, expected, color=GREY, linewidth=1)
    ax.plot(expected, _log(p[shown]), ".", color=BLUE, markersize=3)
    ax.set(xlabel="expected -log10 p", ylabel="observed -log10 p (Wald)")
    ax.legend(loc="upper left")


def _lengths(p_values: PValues) -> list[float]:
    """Return the span of positions of each chromosome."""
    return [float(np.ptp(p_values.pos[p_values.which == k])) for k in range(len(p_values.chrom))]


def _log(p: Float[ndarray, " b"]) -> Float64[ndarray, " b"]:
    return -np.log10(np.maximum(p, _SMALLEST))
