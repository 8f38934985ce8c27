"""Who was analysed and who was not, in words."""

from typing import Any

from bayeslmm.cohort.align_records import AlignedJointRecords, AlignedRecords
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.transform import WORDS


def cohort_lines(cohort: Cohort[Any], *, how: str = "kinship decomposed once") -> str:
    """Say who is analysed, who is not, and what is done about values that are missing.

    Args:
        cohort: the individuals.
        how: the kinship was treated.
    """
    n = len(cohort.ids)
    if cohort.uniform:
        lines = [
            f"{n:,} individuals with {', '.join(cohort.traits)} ({how}); "
            f"covariates: {', '.join(cohort.covariates[0]) or 'none'}"
        ]
    else:
        counts = zip(cohort.traits, (~cohort.missing).sum(axis=0), strict=True)
        complete = int((~cohort.missing).all(axis=1).sum())
        lines = [
            f"{n:,} individuals: {', '.join(f'{count:,} with {trait}' for trait, count in counts)}, "
            f"{complete:,} with {'both' if len(cohort.traits) == 2 else 'all'} ({how})"
        ]
        lines += [
            f"  covariates of {trait}: {', '.join(names) or 'none'}"
            for trait, names in zip(cohort.traits, cohort.covariates, strict=True)
        ]
    if cohort.transform:
        lines.append(f"  values are {WORDS[cohort.transform]}: all numbers are those of the transformed trait")
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    if m := int(cohort.missing.sum()):
        c = sum(map(len, cohort.covariates))
        lines.append(
            f"  {m:,} missing values are integrated over exactly: REML and importance sampling take each as a fixed "
            f"effect ({(c + m) ** 3 / 3e9:.2g} billion operations a likelihood), NUTS samples each; "
            "keeping only individuals with all traits would drop "
            f"{int(cohort.missing.any(axis=1).sum()):,} instead"
        )
    return "\n".join(lines)


def record_lines(aligned: AlignedRecords) -> str:
    """Say which records are analysed, with which random effects, and which are not."""
    records = aligned.records
    n = len(records.y)
    of_whom = f" of {aligned.individuals:,} individuals" if aligned.individuals < n else ""
    covariates = ", ".join(records.covariates) or "none"
    return _with_effects(aligned, f"{n:,} records{of_whom} with {records.trait}; covariates: {covariates}")


def joint_record_lines(aligned: AlignedJointRecords) -> str:
    """Say which records of several traits are analysed, with which random effects, and which are not."""
    records = aligned.records
    counts = zip(records.traits, records.known.sum(axis=0), strict=True)
    covariates = (
        f"  covariates of {trait}: {', '.join(names) or 'none'}"
        for trait, names in zip(records.traits, records.covariates, strict=True)
    )
    first = f"{len(records.Y):,} records: {', '.join(f'{count:,} with {trait}' for trait, count in counts)}"
    return _with_effects(aligned, "\n".join([first, *covariates]))


def _with_effects(aligned: AlignedRecords | AlignedJointRecords, first: str) -> str:
    """Add random effects, a transformation, and what was dropped."""
    components = aligned.records.components
    lines = [
        first,
        f"  random effects: {', '.join(f'{one.name} ({len(one.levels):,} levels)' for one in components)}",
    ]
    if aligned.transform:
        lines.append(f"  values are {WORDS[aligned.transform]}: all numbers are those of the transformed trait")
    return "\n".join([*lines, *(f"  dropped: {drop}" for drop in aligned.dropped)])
