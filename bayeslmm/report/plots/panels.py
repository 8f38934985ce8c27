"""A picture is a panel: what draws it on axes, and what it says. Panels become figures, and figures files."""

import math
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from bayeslmm.base.files import replacing
from bayeslmm.report.plots.style import INK, RC

SIZE = (5.4, 3.6)
_DPI = 200
_CHARACTERS_PER_INCH = 9.5


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One picture.

    Attributes:
        name: of its file, such as "h2" in ``TRAIT.h2.svg``.
        title: a few words above it.
        caption: what it shows.
        draw: draws it on axes.
        size: in inches.
    """

    name: str
    title: str
    caption: str
    draw: Callable[[Axes], None]
    size: tuple[float, float] = SIZE


def figure_of(panels: Sequence[Panel], title: str = "", *, columns: int = 2) -> Figure:
    """Return a figure of panels, each as large as the largest, in rows of so many columns.

    Args:
        panels: at least one.
        title: above all of them; without it a figure of one panel has the title of the panel.
        columns: how many panels stand side by side.
    """
    columns = min(columns, len(panels))
    rows = math.ceil(len(panels) / columns)
    width, height = (max(sizes) for sizes in zip(*(panel.size for panel in panels), strict=True))
    with mpl.rc_context(dict(RC)):
        figure = Figure(figsize=(columns * width, rows * height + (0.4 if title else 0)), layout="constrained")
        FigureCanvasAgg(figure)
        for place, panel in enumerate(panels, start=1):
            ax = figure.add_subplot(rows, columns, place)
            panel.draw(ax)
            ax.set_title(textwrap.fill(panel.title, int(width * _CHARACTERS_PER_INCH)), parse_math=False, color=INK)
            _take_literally(ax)
        if title:
            wide = int(columns * width * _CHARACTERS_PER_INCH)
            figure.suptitle(textwrap.fill(title, wide), fontsize=12, parse_math=False)
    return figure


def write_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of its file's name: SVG, PNG or PDF.

    Raises:
        WriteError: if it cannot be written.
    """
    with replacing(path) as temporary, mpl.rc_context(dict(RC)):
        figure.savefig(temporary, dpi=_DPI, metadata=_undated(Path(path).suffix))


def _undated(suffix: str) -> dict[str, None]:
    """Return what leaves the date out, so that the same picture is the same file."""
    return {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(suffix, {})


def _take_literally(ax: Axes) -> None:
    """Show words as they are: the name of a trait may hold a dollar sign, with which formulas begin."""
    legend = ax.get_legend()
    words = [*ax.texts, ax.xaxis.label, ax.yaxis.label, *(legend.get_texts() if legend else ())]
    for axis in (ax.xaxis, ax.yaxis):
        if isinstance(axis.get_major_formatter(), FixedFormatter):  # other ticks are numbers, powers of 10 formulas
            words += axis.get_ticklabels()
    for text in words:
        text.set_parse_math(False)
