"""What the report of each command holds."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.cohort import Cohort
from bayeslmm.compare import Comparison
from bayeslmm.correlations import Correlations
from bayeslmm.failures import Failures
from bayeslmm.heritability import Heritability
from bayeslmm.joint_cohort import JointCohort
from bayeslmm.lights import (
    Light,
    light_of_caution,
    light_of_inflation,
    light_of_overlap,
    light_of_prior,
    light_of_scale,
    lights_of_agreement,
    lights_of_draws,
    lights_of_estimates,
)
from bayeslmm.report import Part, Report, Shown
from bayeslmm.scan_summary import scan_answers, scan_cautions
from bayeslmm.spectrum import Spectrum
from bayeslmm.summary import (
    COMPARED,
    CONVENTIONS,
    about_prior,
    cohort_lines,
    comparison_answers,
    comparison_table,
    conventions_table,
    correlation_answers,
    correlation_notes,
    correlation_table,
    effects_table,
    heritability_answers,
    heritability_notes,
    heritability_table,
    joint_cohort_lines,
    verdicts,
)

_ROWS = 20
_H2 = (
    "h2 = sigma2_u / (sigma2_u + sigma2_e) is the share of the variance left by the covariates that kinship explains, "
    "if the mean diagonal of K is 1; pve is that share whatever the scale of K. Neither has a unit; sigma2_u (genetic) "
    "and sigma2_e (residual variance) are in squared units of the trait."
)
_INTERVALS = (
    "An interval of the posterior (exact, NUTS) holds the value with 95% probability, given the data, the model and "
    "the prior. Its tails are equal, so that its lower end is above 0 even where h2 is 0: that is no evidence. One of "
    "REML, ML or moments would hold it in 95% of repeated studies, as far as the estimate is normal; on the boundary "
    "it is one of likelihood, in the place of the standard error. (se) is a standard error, (sd) the standard "
    "deviation of the posterior."
)
_WHOM = (
    "A heritability is about these individuals in their environment: it does not say how much of a trait of one of "
    "them is inherited, nor why groups differ."
)
_OF_PAIR = "correlations by each method, with their priors; heritabilities; what the draws look like"
_OWN_SITES = "the first numbers of the program: their draws, with the intervals of other methods; traces and ranks"
_JOINT = {"mom": "mom", "reml": "joint reml", "nuts": "joint nuts"}
_HEADINGS = {
    "snp": "marker",
    "snp_1": "marker",
    "snp_2": "and marker",
    "chrom": "chromosome",
    "pos": "position",
    "a1": "allele",
    "af": "its frequency",
    "beta": "effect",
    "mean": "effect, mean",
    "se": "se",
    "sd": "sd",
    "lower": "95% from",
    "upper": "to",
    "p_positive": "P(> 0)",
    "p_wald": "p, Wald",
    "p_lrt": "p, likelihood ratio",
    "p_joint": "p, jointly",
    "log10_bf": "log10 BF",
}
_MARKERS = {
    "top": "markers with the smallest p-values",
    "effects": "posterior of effects",
    "epistasis": "products of pairs of markers",
}


def heritability_part(
    result: Heritability, cohort: Cohort, spectrum: Spectrum, *, chains: int, picture: Path, own: bool
) -> Part:
    """Return what `h2` says about one trait; ``own`` if the program that was sampled is the user's."""
    drawn = result.posterior is not None
    return Part(
        name=result.trait,
        people=cohort_lines(cohort),
        sentences=heritability_answers(result),
        picture=picture,
        caption=_OWN_SITES
        if own and drawn
        else f"heritability by each method, with the prior; {'draws; ' if drawn else ''}the fit in the eigenbasis of K",
        tables=[
            Shown("by each method; all digits in estimates.tsv", heritability_table(result).rename_axis("parameter")),
            *_effects(result),
        ],
        notes=heritability_notes(result),
        lights=[
            *lights_of_draws(result.diagnostics, chains),
            *lights_of_estimates(result.estimates),
            *_prior_light(result),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=list(result.fits),
    )


def failed_parts(failures: Failures) -> list[Part]:
    """Return what a report says about traits that could not be analysed."""
    return [
        Part(
            name=trait,
            people="",
            sentences=[f"{trait} FAILED: {why}"],
            picture=None,
            caption="",
            tables=[],
            notes=[],
            lights=[Light("red", "the analysis", "whether it came to an end", why)],
            methods=[],
        )
        for trait, why in failures.why.items()
    ]


def failed_report(failures: Failures) -> Report:
    """Return the report of a command whose only analysis failed."""
    names = _together(list(failures.why))
    return Report(f"The analysis of {names} failed", f"What is the matter with {names}?", failed_parts(failures), [])


def heritability_report(parts: Sequence[Part]) -> Report:
    """Return the report of `h2`."""
    traits = _together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits}",
        question=f"How much of the variation of {traits} does kinship explain, and how sure is that?",
        parts=parts,
        reading=[_H2, _INTERVALS, _WHOM],
    )


def comparison_part(found: Comparison, cohort: Cohort, spectrum: Spectrum, *, chains: int, picture: Path) -> Part:
    """Return what `compare` says about one trait."""
    answer, *more = comparison_answers(found)
    return Part(
        name=found.result.trait,
        people=cohort_lines(cohort),
        sentences=[answer, *(f"  {sentence}" for sentence in more)],
        picture=picture,
        caption="all methods with their intervals; traces of EM; the exact test of h2 = 0",
        tables=[
            Shown(f"{COMPARED}; all digits in comparison.tsv", comparison_table(found)),
            Shown(f"{CONVENTIONS}; all digits in conventions.tsv", conventions_table(found)),
            *_effects(found.result),
        ],
        notes=heritability_notes(found.result),
        lights=[
            *lights_of_agreement(verdicts(found)),
            *lights_of_draws(found.result.diagnostics, chains),
            *lights_of_estimates(found.result.estimates),
            *_prior_light(found.result),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=[*found.result.fits, "boundary", "disagreement"],
    )


def comparison_report(parts: Sequence[Part]) -> Report:
    """Return the report of `compare`."""
    traits = _together([part.name for part in parts])
    return Report(
        title=f"Heritability of {traits} by every method",
        question=f"Do all methods agree about the heritability of {traits}, as far as theory says that they should?",
        parts=parts,
        reading=[
            "A difference is the h2 of a method less that of the one it is held against, in standard deviations of "
            "the exact posterior; allowed is how large theory lets it be, and why says so in words.",
            _H2,
            _INTERVALS,
            _WHOM,
        ],
    )


def correlation_report(
    result: Correlations, cohort: JointCohort, spectrum: Spectrum, *, chains: int, picture: Path, own: bool
) -> Report:
    """Return the report of `rg`; ``own`` if the program that was sampled is the user's."""
    drawn = result.posterior is not None
    traits = _together(result.traits)
    rho_u = result.estimates.query("method == 'nuts' and parameter == 'rho_u'")
    told = dict(zip(rho_u["trait"], rho_u["note"], strict=True))
    pairs = [pair for pair in result.pairs.to_dict("records") if "identified" in pair]
    part = Part(
        name=traits,
        people=joint_cohort_lines(cohort),
        sentences=correlation_answers(result),
        picture=picture,
        caption=_OWN_SITES
        if own and drawn
        else _OF_PAIR
        if drawn and len(result.traits) == 2
        else "genetic and residual correlations with their intervals",
        tables=[
            Shown("by each method; all digits in estimates.tsv", correlation_table(result)),
            *_effects(result),
        ],
        notes=correlation_notes(result),
        lights=[
            *lights_of_draws(result.diagnostics, chains),
            *(light_of_overlap(pair, told[pair["pair"]]) for pair in pairs),
            *lights_of_estimates(result.estimates),
            light_of_scale(spectrum.mean_diagonal),
        ],
        methods=[_JOINT[method] for method in result.fits] + ["nuts"] * drawn,
    )
    return Report(
        title=f"Genetic correlation of {traits}",
        question=f"How are {traits} genetically related, and how sure is that?",
        parts=[part],
        reading=[
            "rho_u, the genetic correlation, is that of the effects of the whole genome on two traits; rho_e is that "
            "of what is left, rho_p that of both together, and cov_u and cov_e are covariances. Correlations have no "
            "unit and lie between -1 and 1.",
            "Where one of two traits is hardly heritable the data cannot tell rho_u: its posterior is then about its "
            "prior, and REML ends at a bound.",
            _H2,
            _INTERVALS,
        ],
    )


def scan_part(
    trait: str,
    numbers: Mapping[str, Any],
    people: str,
    *,
    test: str,
    tables: Mapping[str, pd.DataFrame],
    picture: Path,
) -> Part:
    """Return what `scan` says about one trait.

    Args:
        trait: its name.
        numbers: what ``run.json`` holds about it.
        people: who was analysed.
        test: "exact" or "null".
        tables: "top", "effects" and "epistasis", of all traits.
        picture: of the trait, which is there if any marker was tested.
    """
    shown = [
        _of_markers(name, table[table["trait"] == trait])
        for name, table in tables.items()
        if len(table) and (table["trait"] == trait).any()
    ]
    return Part(
        name=trait,
        people=people,
        sentences=scan_answers(trait, numbers, **tables),
        picture=picture if numbers["tested"] else None,
        caption="p-values along the genome, and against what chance gives (the band holds all of 95% of scans of "
        "independent markers without effects)",
        tables=shown,
        notes=[],
        lights=[
            *([light_of_inflation(numbers["lambda_gc"], numbers["tested"])] if "lambda_gc" in numbers else []),
            *(light_of_caution(found, advice) for found, advice in scan_cautions(trait, numbers)),
        ],
        methods=["reml", f"scan {test}", "scan"],
    )


def _of_markers(name: str, table: pd.DataFrame) -> Shown:
    """Return the first rows, and of the columns those that most people ask for: the order of `_HEADINGS`."""
    columns = [*(column for column in _HEADINGS if column in table), *(c for c in table if "_x_" in str(c))]
    rows = f"{min(len(table), _ROWS)} of the {len(table):,} rows in {name}.tsv"
    caption = f"{_MARKERS[name]}, effects in units of the trait for one more copy of the allele; {rows}"
    return Shown(caption, table[columns].head(_ROWS).rename(columns=_HEADINGS))


def scan_report(parts: Sequence[Part]) -> Report:
    """Return the report of `scan`."""
    traits = _together([part.name for part in parts])
    return Report(
        title=f"Scan of markers for {traits}",
        question=f"Which markers go with {traits}, beyond what kinship explains?",
        parts=parts,
        reading=[
            "An effect is that of one more copy of its allele, in units of the trait, with the covariates and kinship "
            "held fixed. Its standard error is of one marker by itself, and the strongest of many is too far "
            "from 0 on average.",
            "A p-value below 0.05 divided by the number of tests is surprising even among so many (Bonferroni). "
            "Markers that are near each other are inherited together: the strongest is seldom the cause.",
            "log10 BF is by how many powers of ten the data favour an effect over none, under the prior of effects, "
            "with the residual variance integrated out and the variance ratio as estimated.",
            "Tests take residuals for normal. p_wald allows for the number of individuals and covariates; p_lrt is too "
            "small where they are few.",
        ],
    )


def _prior_light(result: Heritability) -> list[Light]:
    if result.prior_overlap is None or result.own:
        return []
    return [light_of_prior(f"h2 of {result.trait}", result.prior_overlap, " ".join(about_prior(result)))]


def _effects(result: Heritability | Correlations) -> list[Shown]:
    table = effects_table(result)
    if table.empty:
        return []
    if result.estimates["trait"].nunique() == 1:
        table = table.droplevel("trait")
    return [Shown("fixed effects, in units of the trait for each unit of the covariate", table)]


def _together(names: Sequence[str]) -> str:
    if len(names) > 4:
        names = [*names[:3], f"{len(names) - 3} more traits"]
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
