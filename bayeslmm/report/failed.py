"""What a report says about traits that could not be analysed."""

from collections.abc import Mapping

from bayeslmm.report.checks import check
from bayeslmm.report.page import Headline, Part, Report, together


def failed_parts(why: Mapping[str, str]) -> list[Part]:
    """Return what a report says about traits that could not be analysed."""
    return [
        Part(
            name=trait,
            headlines=[Headline(trait, "", "failed")],
            sentences=[f"{trait} FAILED: {reason}"],
            checks=[check("analysis", "failed", "the analysis", "whether it came to an end", reason)],
        )
        for trait, reason in why.items()
    ]


def failed_report(why: Mapping[str, str]) -> Report:
    """Return the report of a command whose only analysis failed."""
    names = together(list(why))
    return Report(f"The analysis of {names} failed", f"Why could {names} not be analysed?", failed_parts(why), [])
