"""Pictures beside a page, and inside it: SVG whose colours follow those of the page."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

from bayeslmm.report.plots.panels import SIZE, Panel, figure_of, write_figure
from bayeslmm.report.plots.style import DARK

WIDE = 1.4 * SIZE[0]
"""A picture that is wider has a row of its own."""


@dataclass(frozen=True)
class Picture:
    """A picture to show.

    Attributes:
        path: of the SVG.
        caption: what it shows.
        wide: whether it needs the width of the page.
    """

    path: Path
    caption: str
    wide: bool = False


def picture_names(stem: str, names: Sequence[str]) -> list[str]:
    """Return the files of panels with these names."""
    return [f"{stem}.{name}.svg" for name in names]


def write_pictures(panels: Sequence[Panel], folder: Path, stem: str, *, of: str) -> list[Picture]:
    """Write each panel as an SVG that is called after it, with what it is about in its title.

    Args:
        panels: what is drawn.
        folder: of the files.
        stem: of their names.
        of: what they are about, such as a trait.

    Raises:
        WriteError: if one cannot be written.
    """
    pictures: list[Picture] = []
    for panel in panels:
        (name,) = picture_names(stem, [panel.name])
        write_figure(figure_of([replace(panel, title=f"{of}: {panel.title}")]), folder / name)
        pictures.append(Picture(folder / name, panel.caption, wide=panel.size[0] > WIDE))
    return pictures


def variable(colour: str) -> str:
    """Return the name of the CSS variable that stands for a colour of the pictures."""
    return f"--c{colour.removeprefix('#')}"


def inline(picture: Picture, prefix: str) -> str:
    """Return a picture as an element of a page: its colours are variables, and its ids begin with a prefix.

    Args:
        picture: written by `write_pictures`.
        prefix: of its own, as several pictures of a page have elements of the same name.
    """
    svg = picture.path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{prefix}-', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)', rf"\g<1>{prefix}-", svg)
    svg = re.sub("|".join(DARK), lambda found: f"var({variable(found[0])})", svg)
    label = escape(picture.caption, quote=True)
    size = re.compile(r'^<svg (.*?)width="[^"]*" height="[^"]*"', flags=re.DOTALL)
    return size.sub(lambda found: f'<svg role="img" aria-label="{label}" {found[1]}', svg, count=1)
