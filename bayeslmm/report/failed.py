"""What a report says about traits that could not be analysed."""

from collections.abc import Mapping

from bayeslmm.report.lights import Light
from bayeslmm.report.page import Part, Report, together


def failed_parts(why: Mapping[str, str]) -> list[Part]:
    """Return what a report says about traits that could not be analysed."""
    return [
        Part(
            name=trait,
            people="",
            sentences=[f"{trait} FAILED: {reason}"],
            picture=None,
            caption="",
            tables=[],
            notes=[],
            lights=[Light("red", "the analysis", "whether it came to an end", reason)],
            methods=[],
        )
        for trait, reason in why.items()
    ]


def failed_report(why: Mapping[str, str]) -> Report:
    """Return the report of a command whose only analysis failed."""
    names = together(list(why))
    return Report(f"The analysis of {names} failed", f"What is the matter with {names}?", failed_parts(why), [])
