"""The cohort of several traits at once: by a decomposition of their kinship or by products with it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bayeslmm.analyses.correlations import Correlations
from bayeslmm.analyses.joint_probes import largest
from bayeslmm.cohort.align import align_jointly
from bayeslmm.cohort.align_products import align_products_jointly
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.by_products import jointly_summarised
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.products_choice import ProductsSettings
from bayeslmm.commands.run import Run
from bayeslmm.commands.settings import TogetherTraits
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.joint_summary import JointSummary
from bayeslmm.likelihood.rotation import JointData, Spectrum
from bayeslmm.likelihood.spectral_summary import SpectralSummary
from bayeslmm.report.individuals import cohort_lines


@dataclass(frozen=True)
class Together:
    """Several traits, ready for inference.

    Attributes:
        data: in the eigenbasis, or with counts.
        cohort: the individuals.
        spectrum: of their kinship, or its summary.
        summary: of the traits, if K was multiplied with.
    """

    data: JointData
    cohort: Cohort[Any]
    spectrum: Spectrum | SpectralSummary
    summary: JointSummary | None = None


def decomposed(
    run: Run, inputs: Inputs, *, covariates_of: Mapping[str, Sequence[str]] | None = None, complete_only: bool = False
) -> Together:
    """Return the traits of everybody who has at least one of them; say who is analysed.

    Args:
        run: of the command.
        inputs: what was read.
        covariates_of: as for `align_jointly`.
        complete_only: the same.

    Raises:
        InputError: if ids do not match, nobody is left, covariates are collinear, or K is no kinship matrix.
    """
    kinship = run.settings.kinship
    cohort = align_jointly(
        inputs.kinship,
        inputs.measurements,
        covariates_of=covariates_of,
        complete_only=complete_only,
        centred=kinship.centre,
        normalised=kinship.normalise,
    )
    spectrum = run.spectrum_of(cohort)
    run.keep_spectra([(cohort.ids, spectrum)])
    cohort = run.with_principal_components(cohort, spectrum)
    print(f"\n{cohort_lines(cohort)}")
    with run.clock.step("rotation"):
        return Together(spectrum.rotate_jointly(cohort.Y, cohort.X), cohort, spectrum)


def multiplied(
    tables: TogetherTraits, run: Run, inputs: Inputs[Products], settings: ProductsSettings, *, seed: int
) -> Together:
    """Return the traits of everybody who has all of them; say who is analysed, and what it will cost.

    Args:
        tables: the traits.
        run: of the command.
        inputs: what was read.
        settings: the error that is asked for.
        seed: of the probes.

    Raises:
        InputError: as `decomposed`, or if memory or disk have no room.
    """
    kinship = run.settings.kinship
    cohort = align_products_jointly(
        inputs.kinship,
        inputs.measurements,
        covariates_of=covariates_of(tables, inputs.measurements),
        centred=kinship.centre,
        normalised=kinship.normalise,
    )
    cohort, joint = jointly_summarised(run, inputs, cohort, settings, seed=seed)
    return Together(joint.data, cohort, joint.summary, joint)


def covariates_of(tables: TogetherTraits, measurements: Measurements) -> dict[str, list[str]]:
    """Return the covariates of each trait: those given for it, or those for all; nothing where a formula says it."""
    if tables.formula is not None:
        return {}
    for_all = (
        list(measurements.covariates) if tables.of_covariates and tables.covariates is None else tables.covariates or ()
    )
    return {trait: [*for_all] for trait in tables.trait} | {trait: names for trait, *names in tables.covariates_of}


def about_probes(result: Correlations) -> dict[str, Any]:
    """Return what is kept of the error of the probes: the largest, and each; nothing without products."""
    if not result.probe_errors:
        return {}
    _, error = largest(result.probe_errors)
    return {
        "probe_error": error.found,
        "probe_error_wanted": error.wanted,
        "passes": error.passes,
        "probe_errors": json.dumps({f"{name} of {of}": one.found for (of, name), one in result.probe_errors.items()}),
    }
