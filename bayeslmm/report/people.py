"""Who was analysed and who was not, in words."""

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.joint import JointCohort


def cohort_lines(cohort: Cohort) -> str:
    """Say who is analysed, and who is not."""
    lines = [
        f"{len(cohort.ids):,} individuals with {', '.join(cohort.traits)} (kinship decomposed once); "
        f"covariates: {', '.join(cohort.covariates) or 'none'}"
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    return "\n".join(lines)


def joint_cohort_lines(cohort: JointCohort) -> str:
    """Say who is analysed for several traits, who is not, and how missing values are treated."""
    counts = zip(cohort.traits, (~cohort.missing).sum(axis=0), strict=True)
    everything = int((~cohort.missing).all(axis=1).sum())
    lines = [
        f"{len(cohort.ids):,} individuals: {', '.join(f'{count:,} with {trait}' for trait, count in counts)}, "
        f"{everything:,} with {'both' if len(cohort.traits) == 2 else 'all'} (kinship decomposed once)"
    ]
    lines += [
        f"  covariates of {trait}: {', '.join(names) or 'none'}"
        for trait, names in zip(cohort.traits, cohort.covariates, strict=True)
    ]
    lines += [f"  dropped: {drop}" for drop in cohort.dropped]
    if m := int(cohort.missing.sum()):
        c = sum(map(len, cohort.covariates))
        lines.append(
            f"  {m:,} missing values are integrated over exactly: REML takes each as a fixed effect "
            f"({len(cohort.ids) * (c + m) ** 2 / 1e9:.2g} billion operations a likelihood), NUTS samples them with "
            f"the parameters; keeping only individuals with all traits would drop {len(cohort.ids) - everything:,} "
            "instead"
        )
    return "\n".join(lines)
