"""The report of a run: one HTML page that needs nothing else, made of what was printed, drawn and recorded."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from bayeslmm.analyses.source import Source
from bayeslmm.base.files import replacing
from bayeslmm.base.numbers import significant
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.posterior.diagnostics import Check, State
from bayeslmm.report.citations import sources
from bayeslmm.report.pictures import Picture, inline, variable
from bayeslmm.report.plots.style import DARK

MOST_PICTURES = 40
_LONG = 40
_MOST_TEXTS = 6
_STATES: tuple[State, ...] = ("failed", "look", "fine")


@dataclass(frozen=True)
class Shown:
    """A table to show.

    Attributes:
        caption: what it holds, and where the whole of it is.
        table: its index, if it has a name, and its columns, with headings to read.
    """

    caption: str
    table: pd.DataFrame


@dataclass(frozen=True)
class Headline:
    """An answer in one line.

    Attributes:
        of: what it is about, such as a trait.
        what: the quantity.
        value: the answer.
        beside: its interval, or what else belongs to it.
        bar: estimate, lower and upper end, as shares of a range, and the names of its ends; if it is to be drawn.
    """

    of: str
    what: str
    value: str
    beside: str = ""
    bar: tuple[float, float, float, str, str] | None = None


@dataclass(frozen=True)
class Cause:
    """Checks of several parts that are about the same.

    Attributes:
        state: of all of them.
        name: what was checked.
        meaning: what its value says.
        found: the name of each part, and its check.
    """

    state: State
    name: str
    meaning: str
    found: Sequence[tuple[str, Check]]

    @property
    def texts(self) -> list[str]:
        """The values in words, the first of many; a single one without the name of its part."""
        if len({check.text for _, check in self.found}) == 1:
            return [self.found[0][1].text]
        values = [check.value for _, check in self.found if np.isfinite(check.value)]
        texts = [f"{name}: {check.text}" for name, check in self.found[:_MOST_TEXTS]]
        if (more := len(self.found) - len(texts)) > 0:
            span = f" ({significant(min(values), 3)} to {significant(max(values), 3)} in all)" if values else ""
            texts.append(f"and {more} more{span}")
        return texts

    @property
    def whose(self) -> str:
        """The names of the parts."""
        return together(list(dict.fromkeys(name for name, _ in self.found)))

    @property
    def advice(self) -> list[str]:
        """What to do, each once, the first of many."""
        every = list(dict.fromkeys(check.advice for _, check in self.found if check.advice))
        more = (
            [f"and {len(every) - _MOST_TEXTS} more, each with its trait in the tables"]
            if len(every) > _MOST_TEXTS
            else []
        )
        return every[:_MOST_TEXTS] + more


def causes(parts: Sequence["Part"]) -> list[Cause]:
    """Return the checks of all parts, those of the same cause together, the worst first."""
    found: dict[tuple[State, str, str], list[tuple[str, Check]]] = {}
    for part in parts:
        for check in part.checks:
            found.setdefault((check.state, check.name, check.meaning), []).append((part.name, check))
    listed = [Cause(*cause, checks) for cause, checks in found.items()]
    return sorted(listed, key=lambda cause: _STATES.index(cause.state))


@dataclass(frozen=True)
class Part:
    """What a report says about one trait, or about several taken together.

    Attributes:
        name: of the trait or traits.
        individuals: who was analysed and who was not, in the words of the command line.
        headlines: the answer in one line, or a few.
        sentences: the answer, in the words of the command line; those that begin with spaces belong to the one before.
        pictures: any number of them.
        tables: the numbers.
        notes: what methods say about their numbers.
        checks: whether they can be trusted.
        sources: what to cite for its methods.
        sampled: whether NUTS was run.
    """

    name: str
    individuals: str = ""
    headlines: Sequence[Headline] = ()
    sentences: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Shown] = ()
    notes: Sequence[str] = ()
    checks: Sequence[Check] = ()
    sources: Sequence[Source] = ()
    sampled: bool = False


@dataclass(frozen=True)
class Report:
    """The answer of a command.

    Attributes:
        title: what was estimated, of what.
        question: what was asked.
        parts: the answers.
        reading: how to read them, in sentences.
        facts: what else went in, by name.
    """

    title: str
    question: str
    parts: Sequence[Part]
    reading: Sequence[str]
    facts: Sequence[tuple[str, str]] = ()


def write_report(report: Report, record: Mapping[str, Any], path: str | Path) -> None:
    """Write a report as one HTML page with its pictures inside, which loads nothing from elsewhere.

    Args:
        report: what the page says.
        record: what ``run.json`` holds.
        path: of the page.

    Raises:
        InputError: if it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("bayeslmm.report"),
        autoescape=True,  # names of traits and files are whatever users call them
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [(k, number) for number, part in enumerate(report.parts) for k in range(len(part.pictures))]
    shown = {(number, k) for k, number in sorted(drawn)[:MOST_PICTURES]}  # the first of each part before the second
    states = Counter(check.state for part in report.parts for check in part.checks)
    page = environment.get_template("report.html.jinja").render(
        report=report,
        record=record,
        individuals=dict.fromkeys(part.individuals for part in report.parts),
        markers=_markers(record.get("kinship", {})),
        pictures=[
            (
                part.name,
                [
                    (picture, Markup(inline(picture, f"p{number}-{k}")))
                    for k, picture in enumerate(part.pictures)
                    if (number, k) in shown
                ],
            )
            for number, part in enumerate(report.parts)
            if part.pictures
        ],
        causes=causes(report.parts),
        colours=[(variable(light), light, dark) for light, dark in DARK.items()],
        not_shown=len(drawn) - len(shown),
        counts={state: states[state] for state in _STATES},
        cells=_cells,
        command=shlex.join(record["command"]),
        sampled=any(part.sampled for part in report.parts),
        sources=sources([source for part in report.parts for source in part.sources], record),
    )
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _markers(kinship: Mapping[str, Any]) -> str:
    if "markers" not in kinship:
        return ""
    return MarkerCounts(**kinship["markers"]).line(maf=kinship["maf"], geno=kinship["geno"])


def _cells(shown: Shown) -> tuple[list[tuple[str, str]], list[list[str]]]:
    """Return the heading of each column with how it is set, and rows of text."""
    table = shown.table.reset_index() if any(shown.table.index.names) else shown.table
    rows = [[_cell(value) for value in row] for row in table.to_numpy(object)]
    headings = [(str(name), _set(column)) for name, column in zip(table.columns, zip(*rows, strict=True), strict=True)]
    return headings, rows


def _set(column: Sequence[str]) -> str:
    """Set numbers on the right, and break long text into lines."""
    if all(cell[:1] in "-+0123456789" for cell in column):  # an empty cell, too
        return "number"
    return "words" if max(map(len, column)) > _LONG else ""


def _cell(value: Any) -> str:
    """Write numbers with 4 significant digits, integers whole, and nothing for what is missing."""
    if isinstance(value, str):
        return value
    if pd.isna(value):
        return ""
    if isinstance(value, int):
        return f"{value:,}"
    return significant(value)


def together(names: Sequence[str]) -> str:
    """Return names as one phrase: ``A, B and C``, and of more than four the first three."""
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more traits"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
