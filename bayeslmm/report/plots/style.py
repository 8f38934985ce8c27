"""What the pictures share: colours, names of methods, forests of intervals."""

import numpy as np
from matplotlib.axes import Axes

from bayeslmm.analyses.compare import Comparison
from bayeslmm.report.plots.h2 import BLUE, GREY, ORANGE

COLOURS = {"yes": BLUE, "no": ORANGE, "-": GREY}
METHOD_LABELS = {
    "reml": "REML",
    "ml": "ML",
    "em": "EM",
    "pxem": "PX-EM",
    "em_markers": "EM, marker space",
    "pxem_markers": "PX-EM, marker space",
    "mom": "moments",
    "rhe": "randomised moments",
    "lasso": "scaled lasso",
    "exact": "posterior, exact",
    "nuts": "posterior, NUTS",
}
WIDE = ("moments", "randomised moments", "scaled lasso")


def forest(ax: Axes, found: Comparison) -> None:
    """Draw the estimates of h2 by each method with their intervals."""
    rows = [
        (METHOD_LABELS[row["method"]], row["h2"], row["lower"], row["upper"], COLOURS[row["agrees"]])
        for row in found.table.to_dict("records")
        if not row["method"].endswith("_markers")
    ]
    (bounds,) = found.boundary.to_dict("records")
    for key, label in (("profile", "REML, profile interval"), ("inversion", "REML, test inversion")):
        rows.insert(1, (label, bounds["h2"], bounds[f"{key}_lower"], bounds[f"{key}_upper"], BLUE))
    # Moments can be so wide that nothing else would be seen: what the others say sets the scale.
    ends = [end for label, *numbers, _ in rows if label not in WIDE for end in numbers]
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
    for agrees, meaning in (
        ("yes", "agrees"),
        ("no", "differs more than theory allows"),
        ("-", "reference, or not judged"),
    ):
        ax.plot([], [], "o-", color=COLOURS[agrees], label=meaning)
    ax.set(xlabel="heritability h2", title="Every method, with its 95% interval")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.07), ncols=3, fontsize="small")
