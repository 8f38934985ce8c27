"""The table of estimates: one row for each trait, method and parameter, with typed notes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import arviz_stats
import numpy as np
import pandas as pd
from jaxtyping import Float
from numpy import ndarray
from scipy.stats import norm

from bayeslmm.base.files import replacing
from bayeslmm.posterior.weighted import Weighted

COLUMNS = "trait method parameter estimate se se_kind lower upper interval ess_bulk r_hat note".split()
_SHARES = ("h2", "pve", "share[", "repeatability")
WALD = float(norm.ppf(0.975))

NoteKind = Literal[
    "boundary", "outside", "wald_outside", "more_modes", "not_converged", "not_identified", "meaningless", "failed",
    "no_overlap", "monte_carlo", "probes", "prior", "info",
]  # fmt: skip
WARNINGS: frozenset[NoteKind] = frozenset(
    {"boundary", "outside", "wald_outside", "more_modes", "not_converged", "not_identified", "meaningless", "failed"}
)
"""Kinds of notes by which a method warns about its estimate."""


@dataclass(frozen=True)
class Note:
    """What is to be known about a number.

    Attributes:
        kind: what it is about: the parameter is on the boundary, the estimate or its Wald interval is outside the
            parameter space, the likelihood has more modes, nobody has both traits, ...
        text: the same in words.
        value: the number in it, if it is about one.
    """

    kind: NoteKind
    text: str
    value: float | None = None

    @property
    def warns(self) -> bool:
        """Whether the method warns about its estimate."""
        return self.kind in WARNINGS


@dataclass(frozen=True)
class Row:
    """An estimate of one parameter; NaN and None where a column has no meaning.

    Attributes:
        trait: its name; of a pair, ``A:B``.
        method: which gave it.
        parameter: what is estimated.
        estimate: its value.
        se: standard error, or standard deviation of the posterior.
        se_kind: which of these.
        lower, upper: ends of the interval.
        interval: which kind of interval.
        ess_bulk, r_hat: of draws.
        notes: what is to be known about it.
    """

    trait: str
    method: str
    parameter: str
    estimate: float = np.nan
    se: float = np.nan
    se_kind: str | None = None
    lower: float = np.nan
    upper: float = np.nan
    interval: str | None = None
    ess_bulk: float = np.nan
    r_hat: float = np.nan
    notes: tuple[Note, ...] = ()

    @property
    def note(self) -> str:
        """All notes as one text."""
        return "; ".join(note.text for note in self.notes)

    @property
    def own_note(self) -> str:
        """The notes but for the error of probes, which all methods share."""
        return "; ".join(note.text for note in self.notes if note.kind != "probes")

    @property
    def is_effect(self) -> bool:
        """Whether it is of a fixed effect."""
        return self.parameter.startswith("beta")

    @property
    def on_boundary(self) -> bool:
        """Whether the parameter itself is on the boundary."""
        return any(note.kind == "boundary" for note in self.notes)


def select(
    rows: Iterable[Row], *, method: str | None = None, trait: str | None = None, parameter: str | None = None
) -> list[Row]:
    """Return the rows of a method, a trait, a parameter; of any where none is given."""
    return [
        row
        for row in rows
        if method in (None, row.method) and trait in (None, row.trait) and parameter in (None, row.parameter)
    ]


def to_table(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as a table with all the columns; NA where a column has no meaning."""
    records = [{**vars(row), "note": row.note} for row in rows]
    return pd.DataFrame(records, columns=list(COLUMNS)).astype({"note": str, "trait": str})


def with_rows(tables: Sequence[pd.DataFrame], rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return tables of the same columns as one, with further rows that have some of them."""
    columns = tables[0].columns if tables else pd.Index(COLUMNS)
    return pd.DataFrame([row for table in tables for row in table.to_dict("records")] + [*rows], columns=columns)


def write_table(table: pd.DataFrame, path: str | Path) -> None:
    """Write a table as tab-separated text with 10 digits, NA for what is missing."""
    with replacing(path) as temporary:
        table.to_csv(temporary, sep="\t", index=False, na_rep="NA", float_format="%.10g")


def draws_row(trait: str, parameter: str, draws: Float[ndarray, "chain draw"], *notes: Note) -> Row:
    """Return the row of NUTS draws of one number: mean, sd, equal-tailed interval, bulk ESS and R-hat."""
    lower, upper = np.quantile(draws, [0.025, 0.975])
    return Row(
        trait,
        "nuts",
        parameter,
        float(draws.mean()),
        float(draws.std(ddof=1)),
        "sd",
        float(lower),
        float(upper),
        "eti95",
        float(arviz_stats.ess(draws, method="bulk")),
        float(arviz_stats.rhat(draws)) if len(draws) > 1 else np.nan,
        notes,
    )


def weighted_row(trait: str, parameter: str, draws: Float[ndarray, " draws"], weighted: Weighted) -> Row:
    """Return the row of weighted draws of one number: mean, sd, equal-tailed interval, and the error of the mean."""
    error = weighted.error(draws)
    return Row(
        trait,
        "importance",
        parameter,
        weighted.mean(draws),
        weighted.sd(draws),
        "sd",
        *weighted.interval(draws),
        "eti95",
        notes=(Note("monte_carlo", f"Monte Carlo error {error:.2g}", error),),
    )


def wald_row(
    trait: str, method: str, parameter: str, estimate: float, se: float, se_kind: str, *notes: Note | None
) -> Row:
    """Return the row of an estimate that is about normal; notes that are None are left out."""
    lower, upper = wald_interval(estimate, se)
    kept = tuple(note for note in notes if note)
    return Row(trait, method, parameter, estimate, se, se_kind, lower, upper, "wald95", notes=kept)


def wald_interval(estimate: float, se: float) -> tuple[float, float]:
    """Return the 95% interval of an estimate that is about normal."""
    return estimate - WALD * se, estimate + WALD * se


def wald_note(parameter: str, estimate: float, se: float) -> Note | None:
    """Return a note if the Wald interval of a parameter leaves its range."""
    lower, upper = wald_interval(estimate, se)
    least, most = (0.0, 1.0) if parameter.startswith(_SHARES) else (-np.inf, np.inf)
    if parameter.startswith(("rho_", "rho[")):
        least, most = -1.0, 1.0
    elif parameter.startswith(("sigma2", "enrichment[")):
        least = 0.0
    if lower < least or upper > most:
        return Note("wald_outside", "the Wald interval leaves the parameter space: prefer the posterior")
    return None
