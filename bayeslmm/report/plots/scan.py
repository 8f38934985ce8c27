"""Pictures of a scan: Manhattan and QQ."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Float64, Int64
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.stats import beta, chi2

from bayeslmm.report.plots.style import BLUE, GREY, ORANGE, picture

HOW = {"exact": "variance ratio estimated with each marker", "null": "variance ratio of the model without markers"}
"""What a test is, in words."""
LEVEL = 0.95
_RANKS, _SAMPLES = 250, 2000
_SMALLEST = 1e-300  # p-values below are drawn there


@dataclass(frozen=True)
class PValues:
    """The p-values of one trait along the genome.

    Attributes:
        chrom: names of chromosomes, in the order of the file.
        which: chromosome of each marker, as a number in ``chrom``, shape (b,).
        pos: positions, shape (b,).
        p: p-values, none of them NaN, shape (b,).
    """

    chrom: tuple[str, ...]
    which: Int64[ndarray, " b"]
    pos: Int64[ndarray, " b"]
    p: Float64[ndarray, " b"]

    @classmethod
    def of(cls, chrom: pd.Series, pos: pd.Series, p: pd.Series, *, order: Sequence[str]) -> "PValues":
        """Take them from columns of a scan; chromosomes in this order."""
        names = tuple(name for name in order if (chrom == name).any())
        which = pd.Categorical(chrom, categories=names).codes
        return cls(names, which.astype(np.int64), pos.to_numpy(np.int64), p.to_numpy(float))

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


def plot_scan(p_values: PValues, *, trait: str, test: str, path: str | Path) -> None:
    """Write a Manhattan and a QQ plot of one trait as one PNG."""
    with picture(path, (15, 4.6), f"{trait}: {p_values.p.size:,} markers, {test}") as figure:
        draw_scan(figure, p_values)


def draw_scan(figure: Figure, p_values: PValues) -> None:
    """Draw a Manhattan and a QQ plot of one trait."""
    manhattan, qq = figure.subplots(1, 2, width_ratios=[3, 1])
    _manhattan(manhattan, p_values)
    _qq(qq, p_values)


def _manhattan(ax: Axes, p_values: PValues) -> None:
    height, start = _log(p_values.p), 0.0
    middles = []
    lengths = [float(np.ptp(p_values.pos[p_values.which == k])) for k in range(len(p_values.chrom))]
    gap = 0.005 * sum(lengths) + 1
    for k, length in enumerate(lengths):
        here = p_values.which == k
        x = start + p_values.pos[here] - p_values.pos[here].min()
        ax.plot(x, height[here], ".", color=(BLUE, GREY)[k % 2], markersize=3, rasterized=True)
        middles.append(start + length / 2)
        start += length + gap
    threshold = -np.log10((1 - LEVEL) / p_values.p.size)
    ax.axhline(threshold, color=ORANGE, linewidth=1, label=f"0.05 / {p_values.p.size:,} tests")
    ax.set_xticks(middles, p_values.chrom, fontsize=8)
    ax.set(
        xlabel="chromosome", ylabel="-log10 p (Wald)", xlim=(-gap, start), ylim=(0, 1.12 * max(height.max(), threshold))
    )
    ax.legend(loc="upper right", frameon=False)


def _qq(ax: Axes, p_values: PValues) -> None:
    p = np.sort(p_values.p)
    expected = -np.log10((np.arange(1, p.size + 1) - 0.5) / p.size)
    lower, upper = qq_band(p.size)
    ax.fill_between(expected, -np.log10(upper), -np.log10(lower), color=GREY, alpha=0.3, label="95% of all QQ plots")
    ax.plot(expected, expected, color=GREY, linewidth=1)
    ax.plot(expected, _log(p), ".", color=BLUE, markersize=3, rasterized=True)
    ax.set(xlabel="expected -log10 p", ylabel="observed -log10 p", title=f"lambda_GC = {p_values.lambda_gc:.3f}")
    ax.legend(loc="upper left", frameon=False)


def _log(p: Float[ndarray, " b"]) -> Float64[ndarray, " b"]:
    return -np.log10(np.maximum(p, _SMALLEST))
