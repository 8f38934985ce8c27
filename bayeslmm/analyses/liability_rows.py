"""Rows and draws of the heritability of the liability, beside those of the trait itself."""

from collections.abc import Iterable
from dataclasses import replace

from xarray import DataTree

from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row
from bayeslmm.estimators.liability import Liability

SOURCE = Source("Lee et al. (2011)", "10.1016/j.ajhg.2011.02.002", "the heritability of a liability, equation 23")
_OF_BOUNDS = ("outside", "wald_outside")
"""Kinds of notes that are asked anew: the liability may leave 0 to 1 where the trait does not."""
_WHY = "a linear map from the two values to their liability has no bounds"


def liability_name(parameter: str) -> str:
    """Return what a share of variance is called on the scale of the liability: ``share_liability[pe]``."""
    name, bracket, rest = parameter.partition("[")
    return f"{name}_liability{bracket}{rest}"


def liability_row(row: Row, liability: Liability) -> Row:
    """Return the row of a share of variance, such as h2, on the scale of the liability.

    The map is linear, so that standard errors and quantiles, of draws too, are multiplied as the estimate is.
    """
    factor = liability.factor
    estimate, lower, upper = (factor * value for value in (row.estimate, row.lower, row.upper))
    notes = [_scaled(note, factor) for note in row.notes if note.kind not in _OF_BOUNDS]
    if estimate < 0 or estimate > 1:
        notes.append(Note("outside", f"{estimate:.3g} is outside 0 to 1: {_WHY}"))
    elif lower < 0 or upper > 1:
        notes.append(Note("outside", f"the interval {lower:.3g} to {upper:.3g} leaves 0 to 1: {_WHY}"))
    return replace(
        row,
        parameter=liability_name(row.parameter),
        estimate=estimate,
        se=factor * row.se,
        lower=lower,
        upper=upper,
        notes=tuple(notes),
    )


def _scaled(note: Note, factor: float) -> Note:
    if note.kind != "monte_carlo" or note.value is None:
        return note
    return Note("monte_carlo", f"Monte Carlo error {factor * note.value:.2g}", factor * note.value)


def with_liability_rows(rows: Iterable[Row], liability: Liability | None) -> list[Row]:
    """Return rows with one of the liability after each h2; as they are if there is none."""
    return [
        each
        for row in rows
        for each in ([row, liability_row(row, liability)] if liability and row.parameter == "h2" else [row])
    ]


def with_liability_draws(draws: DataTree, liability: Liability | None) -> DataTree:
    """Return draws of h2 with those of the liability, ``h2_liability``; as they are if there is none."""
    if liability is None:
        return draws
    values = liability.factor * draws["posterior"]["h2"]
    values.attrs |= liability.record()
    posterior = draws["posterior"].dataset.assign({liability_name("h2"): values})
    return draws.assign({"posterior": DataTree(posterior)})
