"""The scaled lasso, which estimates another thing: the share that few markers explain."""

from bayeslmm.analyses.method import Fitted, Method, Near, TraitRequest
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row
from bayeslmm.estimators.scaled_lasso import ScaledLasso, scaled_lasso


def _fit(request: TraitRequest) -> ScaledLasso:
    return scaled_lasso(*request.genotyped("lasso"))


def _rows(fit: ScaledLasso, request: TraitRequest) -> list[Row]:
    notes = [Note("info", f"what {fit.selected:,} selected of {fit.p:,} markers explain, not the heritability of all")]
    if fit.dropped:
        notes.append(Note("info", f"{fit.dropped:,} markers do not vary among these individuals"))
    if not fit.converged:
        notes.append(Note("not_converged", f"did NOT converge in {fit.rounds} rounds"))
    if fit.interpolates:
        notes.append(Note("meaningless", "MEANINGLESS: it interpolates the data, lambda0 is too small"))
    return [Row(request.trait, "lasso", name, getattr(fit, name), notes=tuple(notes)) for name in ("sigma2_e", "h2")]


def _why(fit: ScaledLasso, fitted: Fitted) -> str:
    return f"{fit.selected:,} of {fit.p:,} markers selected: the share of few markers, not of all"


METHOD = Method(
    name="lasso", label="scaled lasso", spread="", rank=9, order=7,
    fit=_fit, rows=_rows,
    near=lambda fit, fitted: Near("reml", fitted.reml.h2),
    why=_why,
    needs="genotypes",
    wide=True,
    sources=(Source("Sun and Zhang (2012)", "10.1093/biomet/ass043", "the scaled lasso"),),
)  # fmt: skip
