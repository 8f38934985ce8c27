"""EM of maximum likelihood."""

from dataclasses import replace

from bayeslmm.analyses.method import Fitted, Method, Near, TraitRequest
from bayeslmm.analyses.rows import VARIANCES, boundary_notes, likelihood_rows
from bayeslmm.analyses.source import Source
from bayeslmm.analyses.table import Note, Row
from bayeslmm.estimators.em import EmFit, em
from bayeslmm.estimators.estimate import Estimate

IN_MIXED_MODELS = Source("Foulley and van Dyk (2000)", "10.1186/1297-9686-32-2-143", "both in linear mixed models")


def _rows(fit: EmFit, request: TraitRequest) -> list[Row]:
    """Return the rows of EM or PX-EM, with the number of iterations; points alone if it did not converge."""
    text = f"{fit.iterations:,} iterations with {fit.m:,} random effects"
    if fit.converged:
        note, rows = Note("info", text), likelihood_rows(fit.estimate, request)
    else:
        note = Note("not_converged", f"{text}, NOT the maximum: stopped with a score of {fit.score:.2g}", fit.score)
        rows = _points(fit.estimate, request)
    return [replace(row, notes=(note, *row.notes)) for row in rows]


def _points(estimate: Estimate, request: TraitRequest) -> list[Row]:
    """Return estimates alone: away from a maximum neither curvature nor a drop from it means anything."""
    values = {name: float(getattr(estimate, name)) for name in (*VARIANCES, "loglik")}
    values |= {f"beta[{name}]": float(beta) for name, beta in zip(request.covariates, estimate.beta, strict=True)}
    return [
        Row(request.trait, estimate.method, name, value, notes=boundary_notes(estimate, name))
        for name, value in values.items()
    ]


def _near(fit: EmFit, fitted: Fitted) -> Near:
    """EM climbs the likelihood of ML: 1e-4 posterior sd if it converged, nothing is excused if it did not."""
    ml = fitted.get("ml", Estimate)
    if ml.boundary == "h2 = 1":
        return Near("ml", ml.h2)
    return Near("ml", ml.h2, 1e-4 * fitted.posterior.sd if fit.converged else 0.0)


def _why(fit: EmFit, fitted: Fitted) -> str:
    """Return how the climb ended, in words."""
    text = f"{fit.iterations:,} iterations with {fit.m:,} random effects"
    if fit.estimate.method == "pxem":
        slow = fitted.get("em" if fit is fitted.fits["pxem"] else "em_markers", EmFit)
        more = "" if slow.converged else "more than "
        text += f", EM needs {more}{slow.iterations / fit.iterations:.1f} times as many"
    if fitted.get("ml", Estimate).boundary == "h2 = 1":
        return text + ": ML is where its search ends, which EM nears without arriving, or leaves for a local maximum"
    if not fit.converged:
        text += f" and not converged (score {fit.score:.2g}): EM slows down with their number and near a boundary"
    return text


METHOD = Method(
    name="em", label="EM", spread="se", rank=6, order=3,
    fit=lambda request: em(request.white),
    rows=_rows,
    near=_near,
    why=_why,
    marker_space=lambda white, p: em(white, m=p),
    of_individuals=True,
    sources=(
        Source("Dempster, Laird and Rubin (1977)", "10.1111/j.2517-6161.1977.tb01600.x", "EM"),
        IN_MIXED_MODELS,
    ),
)  # fmt: skip
