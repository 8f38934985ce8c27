"""Pictures of a comparison: all methods, traces of EM, the exact test of h2 = 0."""

import numpy as np
from matplotlib.axes import Axes
from scipy.stats import chi2

from bayeslmm.analyses.compare import Comparison
from bayeslmm.analyses.heritability import METHODS
from bayeslmm.analyses.table import select
from bayeslmm.report.plots.h2 import liability_above
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREY, ORANGE

_COLOURS = {"yes": BLUE, "no": ORANGE, "-": GREY}


NAMES = ("methods", "em", "null")
"""Of the panels."""


def comparison_panels(comparison: Comparison) -> list[Panel]:
    """Return the pictures of all methods on one trait."""
    return [
        Panel(
            name="methods",
            title="h2 by every method",
            caption="h2 by every method, with its 95% interval",
            draw=lambda ax: draw_methods(ax, comparison),
            size=(5.4, 5.0),
        ),
        Panel(
            name="em",
            title="The climb of EM and PX-EM",
            caption="how far the iterations of EM and PX-EM are below the maximum of the likelihood",
            draw=lambda ax: draw_climbs(ax, comparison),
        ),
        Panel(
            name="null",
            title="If h2 were 0",
            caption="how large the restricted likelihood ratio would be if h2 were 0, and what it is",
            draw=lambda ax: draw_null_tail(ax, comparison),
        ),
    ]


def _label(method: str) -> str:
    record = METHODS[method]
    return f"posterior, {record.label}" if record.spread == "sd" else record.label


def draw_methods(ax: Axes, comparison: Comparison) -> None:
    """Draw h2 by each method with its interval, in the colour of whether it agrees."""
    agrees = dict(zip(comparison.table["method"], comparison.table["agrees"], strict=True))
    rows = [
        (_label(row.method), row.estimate, row.lower, row.upper, _COLOURS[agrees[row.method]])
        for row in select(comparison.result.rows, parameter="h2")
    ]
    (bounds,) = comparison.boundary.to_dict("records")
    for key, label in (("profile", "REML, profile interval"), ("inversion", "REML, test inversion")):
        rows.insert(1, (label, bounds["h2"], bounds[f"{key}_lower"], bounds[f"{key}_upper"], BLUE))
    # Moments can be so wide that nothing else would be seen: the others set the scale.
    wide = {method.label for method in METHODS.values() if method.wide}
    ends = [end for label, *numbers, _ in rows if label not in wide for end in numbers if np.isfinite(end)]
    pad = 0.15 * (max(ends) - min(ends))
    left, right = min(ends) - pad, max(ends) + pad
    for y, (_, h2, lower, upper, colour) in enumerate(rows):
        if np.isfinite(lower):
            ax.plot([max(lower, left), min(upper, right)], [y, y], color=colour)
        if left <= h2 <= right:
            ax.plot(h2, y, "o", color=colour)
        else:
            edge, sign, side = (right, ">", "right") if h2 > right else (left, "<", "left")
            ax.plot(edge, y, sign, color=colour, clip_on=False)
            ax.annotate(
                f"{h2:.2f}", (edge, y), xytext=(0, 5), textcoords="offset points", ha=side, va="bottom", color=colour
            )
    ax.set_yticks(range(len(rows)), [label for label, *_ in rows])
    ax.invert_yaxis()
    ax.set_xlim(left, right)
    for bound in (0, 1):
        ax.axvline(bound, color=GREY, linewidth=0.8)
    for verdict, meaning in (
        ("yes", "agrees"),
        ("no", "differs more than theory allows"),
        ("-", "reference, or not judged"),
    ):
        ax.plot([], [], "o-", color=_COLOURS[verdict], label=meaning)
    ax.set(xlabel="heritability h2")
    liability_above(ax, comparison.result.liability)
    ax.legend(loc="upper center", bbox_to_anchor=(0.35, -0.12))


def draw_climbs(ax: Axes, comparison: Comparison) -> None:
    """Draw how far EM and PX-EM are below the maximum of the likelihood, by iteration."""
    top = max(fit.estimate.loglik for fit in comparison.em.values())
    top = max(top, *(float(fit.loglik.max()) for fit in comparison.em.values()))
    for name, fit in comparison.em.items():
        # As many points as can be seen on a logarithmic axis.
        shown = np.unique(np.geomspace(1, fit.iterations, 400).astype(int)) - 1
        method, in_markers = fit.estimate.method, name not in comparison.result.fits
        space, end = ", marker space" * in_markers, "" if fit.converged else ", not converged"
        label = f"{_label(method)}{space}: {fit.iterations:,} iterations{end}"
        colour, style = ORANGE if method == "em" else BLUE, "-" if in_markers else "--"
        ax.loglog(shown + 1, np.maximum(top - fit.loglik[shown], 1e-9), style, color=colour, label=label)
    ax.set(xlabel="iteration", ylabel="log-likelihood below its maximum")
    ax.legend(loc="lower left")


def draw_null_tail(ax: Axes, comparison: Comparison) -> None:
    """Draw the tail of the restricted likelihood ratio where h2 = 0, exact and by the mixture; and the observed one."""
    observed = float(comparison.boundary["rlrt"].iloc[0])
    end = max(12.0, 1.2 * observed) if observed < 40 else 12.0
    grid = np.linspace(1e-3, end, 200)
    ax.semilogy(grid, [comparison.reml_distribution.p_value(t) for t in grid], color=BLUE, label="exact, this K and X")
    ax.semilogy(grid, chi2.sf(grid, 1) / 2, "--", color=GREY, label="50:50 mixture of 0 and chi2")
    if observed <= end:
        ax.axvline(observed, color=ORANGE, label=f"observed: {observed:.2f}")
    else:
        ax.plot([], [], ">", color=ORANGE, label=f"observed: {observed:.1f}, far to the right")
    ax.set(xlabel="restricted likelihood ratio of h2 = 0", ylabel="probability of more")
    ax.legend()
