"""Whether a result can be trusted, in words and a colour: green, amber, red."""

from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from bayeslmm.analyses.rows import MORE_MODES
from bayeslmm.cohort.align import about_scale
from bayeslmm.posterior.diagnostics import MOST_OVERLAP, Diagnostics, State

Colour = Literal["green", "amber", "red"]
_LEAST_INFLATION = 0.05
_WARNINGS = (
    "boundary: ", "parameter space", "NOT ", "MEANINGLESS", MORE_MODES,
    "not identified: the", "another maximum", "failed: ", "no standard error: ",
)  # fmt: skip
_ON_BOUNDARY = "the likelihood is highest where the parameter cannot go further, so that it has no curvature there"
_WARNED = "the method warns of its own number"
_COLOURS: dict[State, Colour] = {"fine": "green", "look": "amber", "failed": "red"}


@dataclass(frozen=True)
class Light:
    """One thing that was checked.

    Attributes:
        colour: green if all is well, amber if something is to be known, red if the result is not to be used.
        found: what was looked at, with its value.
        meaning: what it says.
        advice: what to do unless it is green.
    """

    colour: Colour
    found: str
    meaning: str
    advice: str = ""


def lights_of_draws(d: Diagnostics | None) -> list[Light]:
    """Return a light for each check of the draws; none if nothing was drawn."""
    if d is None:
        return []
    lights = [Light(_COLOURS[check.state], check.text, check.meaning, check.advice) for check in d.checks]
    return [*lights, Light("green", "drawn again", d.drawn_again)] if d.drawn_again else lights


def light_of_scale(mean_diagonal: float) -> Light:
    """Return whether h2 is a share of variance on the scale of this K."""
    advice = about_scale(mean_diagonal)
    meaning = "on the scale where h2 is the share of variance that kinship explains, it is 1"
    return Light("amber" if advice else "green", f"mean diagonal of K {mean_diagonal:.3f}", meaning, advice)


def lights_of_estimates(estimates: pd.DataFrame) -> list[Light]:
    """Return an amber light for each h2 or rho_u whose own note warns of it: on the boundary, outside, not reached."""
    rows = estimates[estimates["parameter"].isin(["h2", "rho_u"]) & (estimates["method"] != "nuts")]
    lights: list[Light] = []
    for row in rows.to_dict("records"):
        if any(warning in row["note"] for warning in _WARNINGS):
            value = f"is {row['estimate']:.3g}" if row["estimate"] == row["estimate"] else "has no estimate"
            found = f"{row['parameter']} of {row['trait']} by {row['method']} {value}"
            on_boundary = row["interval"] == "profile95"
            advice = f"{row['note']}: its interval is one of likelihood; prefer the posterior"
            meaning, advice = (_ON_BOUNDARY, advice) if on_boundary else (_WARNED, row["note"])
            lights.append(Light("amber", found, meaning, advice))
    return lights


def light_of_overlap(pair: dict[Any, Any], told: str) -> Light:
    """Return whether the data say something about a genetic correlation that its prior does not, by their overlap."""
    return Light(
        "green" if pair["identified"] else "amber",
        f"rho_u of {pair['pair']} shares {pair['prior_overlap']:.0%} with its prior",
        "the area that prior and posterior have in common, 100% if the data moved nothing; at most 35%",
        "" if pair["identified"] else told,
    )


def light_of_prior(what: str, overlap: float, told: str) -> Light:
    """Return whether the data say something about a number that its prior does not; with words unless they do."""
    return Light(
        "amber" if told else "green",
        f"{what} shares {overlap:.0%} with its prior",
        f"the area that prior and posterior have in common, 100% if the data moved nothing; at most {MOST_OVERLAP:.0%}",
        told,
    )


def lights_of_agreement(verdicts: list[tuple[bool, str]]) -> list[Light]:
    """Return a light for how many methods agree, and one for each that does not, or that could not be judged."""
    meaning = "each method is held against the one that it should be near, by what theory allows"
    (good, said), *more = verdicts
    lights = [Light("green" if good else "amber", said, meaning, "" if good else "see which below")]
    return lights + [
        Light("amber", told.partition(": ")[0].capitalize(), meaning, told.partition(": ")[2])
        for good, told in more
        if not good
    ]


def light_of_caution(found: str, advice: str) -> Light:
    """Return that small p-values of a trait are too small."""
    return Light("amber", found, "tests take residuals for normal, and the sample for large", advice)


def light_of_inflation(lambda_gc: float, tested: int) -> Light:
    """Return whether tests of markers are larger or smaller than chance makes them.

    The median of m independent chi-squares of one degree of freedom has a standard error of 1.06 / sqrt(m), so that
    lambda_GC has one of 2.33 / sqrt(m): more than three of them, and more than 5%, is told.
    """
    found = f"lambda_GC {lambda_gc:.3f}"
    meaning = "the median chi-square of the tests over that of chance: 1 where nothing inflates or deflates them"
    most = 1 + max(_LEAST_INFLATION, 3 * 2.33 / tested**0.5)
    if lambda_gc > most:
        advice = (
            "many small effects and long-range linkage make it large, and so does structure that K misses: look at the "
            "QQ plot, and at what principal components as covariates (--pcs) change"
        )
        return Light("amber", found, meaning, advice)
    if lambda_gc < 1 / most:
        advice = "tested markers also contribute to K, which reduces power: --loco leaves their chromosome out"
        return Light("amber", found, meaning, advice)
    return Light("green", found, meaning)
