"""What ``run.json`` says about a run: versions, options, checksums of inputs, who was analysed, times, memory."""

import resource
import sys
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from bayeslmm.base.files import Fingerprint
from bayeslmm.cohort.align_records import AlignedJointRecords, AlignedRecords
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.transform import WORDS
from bayeslmm.commands.clock import Clock
from bayeslmm.commands.inputs import Inputs
from bayeslmm.likelihood.priors import (
    ComponentsPrior,
    EffectPrior,
    JointComponentsPrior,
    JointPrior,
    VariancePrior,
    describe,
)
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.posterior.tree import CONVENTION, OF_COMPONENTS

_LOGLIK = "restricted likelihood with + 1/2 log|X'X| (GEMMA, FaST-LMM); GCTA, and its .hsq, leave constants out"
_RSS_UNITS_IN_MB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow")


def command_line() -> list[str]:
    """Return the command as it was typed."""
    return ["bayeslmm", *sys.argv[1:]]


def versions(packages: tuple[str, ...]) -> dict[str, str]:
    """Return the versions of Python and of packages."""
    return {"python": sys.version.split()[0], **{name: version(name) for name in packages}}


def cohort_record(cohort: Cohort[Any], spectrum: Spectrum | SpectralSummary) -> dict[str, Any]:
    """Return what is said about who was analysed, whatever the command."""
    return {
        "n": len(cohort.ids),
        "covariates": list(cohort.covariates[0] if cohort.uniform else cohort.covariates),
        "k_scale": spectrum.k_scale,
        "mean_diagonal": spectrum.mean_diagonal,
        "transform": WORDS[cohort.transform] if cohort.transform else None,
        "dropped": [asdict(drop) for drop in cohort.dropped],
    }


def records_record(aligned: AlignedRecords) -> dict[str, Any]:
    """Return what is said about the records of a trait with several components."""
    records = aligned.records
    return {
        "records": len(records.y),
        "n": aligned.individuals,
        "covariates": list(records.covariates),
        **_random_record(aligned),
    }


def joint_records_record(aligned: AlignedJointRecords) -> dict[str, Any]:
    """Return what is said about the records of several traits with several components."""
    records = aligned.records
    return {
        "records": dict(zip(records.traits, records.known.sum(axis=0).tolist(), strict=True)),
        "n": len(set(aligned.ids)),
        "covariates": [list(names) for names in records.covariates],
        **_random_record(aligned),
    }


def _random_record(aligned: AlignedRecords | AlignedJointRecords) -> dict[str, Any]:
    return {
        "components": {
            one.name: {"levels": len(one.levels), "mean_diagonal": float(one.diagonal.mean())}
            for one in aligned.records.components
        },
        "transform": WORDS[aligned.transform] if aligned.transform else None,
        "dropped": [asdict(drop) for drop in aligned.dropped],
    }


def command_record(
    clock: Clock, options: Mapping[str, Any], files: Mapping[str, Fingerprint], packages: tuple[str, ...]
) -> dict[str, Any]:
    """Return what is said about any command: how it was typed, with which files and packages; time and memory."""
    return {
        "command": command_line(),
        "versions": versions(packages),
        "options": dict(options),
        "started": clock.started,
        "inputs_sha256": {path: mark.sha256 for path, mark in files.items()},
        "seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_UNITS_IN_MB),
    }


def run_record(
    clock: Clock,
    inputs: Inputs[Any],
    *,
    options: Mapping[str, Any],
    prior: VariancePrior | ComponentsPrior | JointPrior | JointComponentsPrior | EffectPrior,
    traits: Mapping[str, Any],
) -> dict[str, Any]:
    """Return what is said about a run.

    Args:
        clock: of the run.
        inputs: what was read.
        options: as they were typed.
        prior: of the built-in programs.
        traits: what is said about each trait.
    """
    kinship = inputs.kinship
    readers = inputs.markers.genotypes.format.packages if inputs.markers else ()
    about = command_record(clock, options, inputs.files, tuple(dict.fromkeys((*_PACKAGES, *readers))))
    return about | {
        "prior": {name: describe(value) for name, value in prior._asdict().items()},
        "convention": OF_COMPONENTS if inputs.relations else CONVENTION,
        "loglik_convention": _LOGLIK,
        "kinship": {"source": kinship.source, "n": len(kinship.ids), "taken_as": inputs.taken_as, **kinship.details},
        "relations": {
            one.name: {"source": one.kinship.source, "n": len(one.kinship.ids), **one.kinship.details}
            for one in inputs.relations
        },
        "tables": list(inputs.measurements.notes),
        "traits": dict(traits),
    }
