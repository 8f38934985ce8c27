"""Traits whose kinship is multiplied with: a summary of each set of individuals, for each trait or for all at once."""

import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from bayeslmm.analyses.principal_components import with_leading_eigenvectors
from bayeslmm.base.checks import InputWarning
from bayeslmm.cohort.align import about_scale
from bayeslmm.cohort.align_products import align_products
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.products_choice import ProductsSettings
from bayeslmm.commands.products_forecast import forecast_products, told
from bayeslmm.commands.products_kept import products_folder
from bayeslmm.commands.run import Run
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.joint_summary import JointSummary, joint_summary
from bayeslmm.likelihood.probe_error import ProbeError
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.spectral_summary import SpectralSummary, spectral_summary
from bayeslmm.report.individuals import cohort_lines


@dataclass(frozen=True)
class Summarised:
    """One trait, ready for inference, of a cohort whose K was multiplied with.

    Attributes:
        trait: its name.
        data: the trait alone, with counts.
        cohort: the individuals, with all traits measured on the same ones.
        summary: of these traits.
        error: of the probes.
    """

    trait: str
    data: RotatedData
    cohort: Cohort[Products]
    summary: SpectralSummary
    error: ProbeError


def each_summarised(
    run: Run, inputs: Inputs[Products], settings: ProductsSettings, *, seed: int
) -> Iterator[Summarised]:
    """Yield each trait of `summarised_cohorts`, which has the same arguments and errors, by itself."""
    for cohort, summary in summarised_cohorts(run, inputs, settings, seed=seed):
        for j, trait in enumerate(cohort.traits):
            yield Summarised(trait, summary.trait(j), cohort, summary, summary.error(j))


def summarised_cohorts(
    run: Run, inputs: Inputs[Products], settings: ProductsSettings, *, seed: int
) -> Iterator[tuple[Cohort[Products], SpectralSummary]]:
    """Yield one set of individuals after another with all its traits; say what it will cost, and who is analysed.

    Args:
        run: of the command.
        inputs: what was read.
        settings: the error that is asked for.
        seed: of the probes.

    Raises:
        InputError: if ids do not match, no trait can be analysed, or memory or disk have no room.
    """
    kinship, failures = run.settings.kinship, run.failures
    if not inputs.markers:
        print(inputs.kinship.origin_line())
    cohorts = [
        *align_products(inputs.kinship, run.analysable(inputs), centred=kinship.centre, normalised=kinship.normalise)
    ]
    forecast_products(run, cohorts, folder=products_folder(run))
    said = False
    for cohort in cohorts:
        ready: list[tuple[Cohort[Products], SpectralSummary]] = []
        with failures.caught(cohort.traits):
            cohort = _with_principal_components(run, cohort, seed)
            with run.clock.step("products"):
                summary = spectral_summary(cohort.K, cohort.Y, cohort.X[0], **_how(run, settings, seed))
            _tell(run, inputs, cohort, summary, origin=not said)
            said = True
            ready.append((cohort, summary))
        yield from ready
    failures.check_any_left()


def jointly_summarised(
    run: Run, inputs: Inputs[Products], cohort: Cohort[Products], settings: ProductsSettings, *, seed: int
) -> tuple[Cohort[Products], JointSummary]:
    """Return several traits at once, with their principal components; say what it will cost, and who is analysed.

    Args:
        run: of the command.
        inputs: what was read.
        cohort: the individuals, with all traits.
        settings: the error that is asked for.
        seed: of the probes.

    Raises:
        InputError: if memory or disk have no room.
    """
    if not inputs.markers:
        print(inputs.kinship.origin_line())
    forecast_products(run, [cohort], folder=products_folder(run))
    cohort = _with_principal_components(run, cohort, seed)
    with run.clock.step("products"):
        joint = joint_summary(cohort.K, cohort.Y, cohort.X, **_how(run, settings, seed))
    _tell(run, inputs, cohort, joint.summary, origin=True)
    return cohort, joint


def _how(run: Run, settings: ProductsSettings, seed: int) -> dict[str, Any]:
    """Return how a summary is made."""
    return {
        "seed": seed,
        "probe_error": settings.probe_error,
        "bend": run.settings.kinship.bend,
        "tell": told(time.perf_counter()),
    }


def _tell(
    run: Run, inputs: Inputs[Products], cohort: Cohort[Products], summary: SpectralSummary, *, origin: bool
) -> None:
    """Say who is analysed, and warn where h2 is not a share of variance.

    Args:
        run: of the command.
        inputs: what was read.
        cohort: the individuals.
        summary: of them.
        origin: say what K is made of, which is known since the first product with genotypes.
    """
    if inputs.markers and origin:
        print(inputs.kinship.origin_line())
    print(f"\n{cohort_lines(cohort, how=f'K multiplied with, {summary.passes} passes')}")
    if not run.settings.kinship.normalise and (text := about_scale(summary.mean_diagonal)):
        warnings.warn(f"{cohort.K.source}: {text}", InputWarning, stacklevel=3)


def _with_principal_components(run: Run, cohort: Cohort[Products], seed: int) -> Cohort[Products]:
    if not (pcs := run.settings.tables.pcs):
        return cohort
    with run.clock.step("principal components"):
        return with_leading_eigenvectors(cohort, pcs, seed=seed)
