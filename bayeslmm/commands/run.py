"""A run of a command that analyses traits: its folder, one rotated trait at a time, and how it ends."""

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.analyses.principal_components import with_principal_components
from bayeslmm.base.checks import InputWarning, examples
from bayeslmm.base.files import Fingerprint, remove_stale
from bayeslmm.base.progress import stage
from bayeslmm.cohort.align import align, refusals
from bayeslmm.cohort.align_records import AlignedRecords, align_records
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.clock import Clock
from bayeslmm.commands.failures import ANALYSIS_FAILED, DIAGNOSTICS_FAILED, Failures
from bayeslmm.commands.inputs import ChooseProducts, Inputs, read_inputs
from bayeslmm.commands.random_effects import RandomEffects
from bayeslmm.commands.record import run_record
from bayeslmm.commands.results_folder import ResultsFolder, open_results
from bayeslmm.commands.settings import AnalysisSettings, TableSettings
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.likelihood.priors import ComponentsPrior, EffectPrior, JointComponentsPrior, JointPrior, VariancePrior
from bayeslmm.likelihood.rotation import RotatedData, Spectrum, decompose
from bayeslmm.likelihood.spectrum_files import load_spectrum, save_spectra
from bayeslmm.report.individuals import cohort_lines, record_lines
from bayeslmm.report.page import Report, write_report


@dataclass(frozen=True)
class Run:
    """What a command has in hand while it runs; made by `open_run`.

    Attributes:
        settings: its options.
        clock: its times.
        failures: traits that could not be analysed.
        results: its folder.
        traits: what ``run.json`` says about each trait.
    """

    settings: AnalysisSettings
    clock: Clock
    failures: Failures
    results: ResultsFolder
    traits: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def out(self) -> Path:
        """The folder of the results."""
        return self.results.path

    @property
    def pictures(self) -> Path | None:
        """The folder of the pictures, if any are to be drawn."""
        return None if self.settings.no_plots else self.out

    def read_inputs(
        self,
        known: Mapping[str, Fingerprint] | None = None,
        genotypes: Genotypes | None = None,
        random: RandomEffects | None = None,
        products: ChooseProducts | None = None,
        read: Callable[[TableSettings], Measurements] | None = None,
    ) -> Inputs[Any]:
        """Read tables and kinship; arguments and errors as for `inputs.read_inputs`."""
        settings = self.settings
        return read_inputs(settings.tables, settings.kinship, self.clock, known, genotypes, random, products, read)

    def spectrum_of(self, cohort: Cohort) -> Spectrum:
        """Return the decomposition of the kinship of a cohort: computed, or read from ``--eigen``."""
        kinship = self.settings.kinship
        with self.clock.step("decomposition"):
            if kinship.eigen and kinship.eigen.exists():
                return load_spectrum(kinship.eigen, cohort.ids, cohort.K)
            return decompose(cohort.K, where=cohort.source, bend=kinship.bend)

    def keep_spectra(self, spectra: Sequence[tuple[tuple[str, ...], Spectrum]]) -> None:
        """Write decompositions to ``--eigen``, unless it is there."""
        eigen = self.settings.kinship.eigen
        if eigen and spectra and not eigen.exists():
            save_spectra(eigen, spectra)

    def with_principal_components(self, cohort: Cohort, spectrum: Spectrum) -> Cohort:
        """Add the principal components that options ask for to the covariates."""
        return with_principal_components(cohort, spectrum, self.settings.tables.pcs)

    def cohorts(self, inputs: Inputs) -> Iterator[tuple[Cohort, Spectrum]]:
        """Yield the individuals with the same traits and the decomposition of their kinship; say who is analysed.

        Traits that cannot be analysed are reported, kept among the failures, and left out.

        Raises:
            InputError: if ids do not match, or no trait can be analysed.
        """
        kinship, failures = self.settings.kinship, self.failures
        measurements = self.analysable(inputs)
        spectra: list[tuple[tuple[str, ...], Spectrum]] = []
        for cohort in align(inputs.kinship, measurements, centred=kinship.centre, normalised=kinship.normalise):
            ready: list[tuple[Cohort, Spectrum]] = []
            with failures.caught(cohort.traits):
                spectrum = self.spectrum_of(cohort)
                spectra += [(cohort.ids, spectrum)] if kinship.eigen else []
                cohort = self.with_principal_components(cohort, spectrum)
                ready.append((cohort, spectrum))
                print(f"\n{cohort_lines(cohort)}")
            yield from ready
        failures.check_any_left()
        with self.clock.step("writing"):
            self.keep_spectra(spectra)

    def analysable(self, inputs: Inputs[Any]) -> Measurements:
        """Return the traits that can be analysed; the others are reported, and kept among the failures.

        Raises:
            InputError: if ids do not match, or no trait can be analysed.
        """
        for trait, error in refusals(inputs.kinship, inputs.measurements).items():
            self.failures.add([trait], error)
        self.failures.check_any_left()
        return inputs.measurements.take([t for t in inputs.measurements.traits if t not in self.failures.why])

    def each_trait(self, inputs: Inputs) -> Iterator["Analysed"]:
        """Yield each trait by itself; the rest as for `cohorts`."""
        for cohort, spectrum in self.cohorts(inputs):
            with self.clock.step("rotation"):
                data = spectrum.rotate(cohort.Y, cohort.X)
            for j, trait in enumerate(cohort.traits):
                yield Analysed(trait, data._replace(Y=data.Y[:, [j]]), cohort, spectrum)

    def each_records(self, inputs: Inputs, *, repeated: bool) -> Iterator[AlignedRecords]:
        """Yield the records of each trait that can be analysed, with all their components; say who is analysed.

        Raises:
            InputError: if no trait can be analysed.
        """
        kinship, failures = self.settings.kinship, self.failures
        for trait in inputs.measurements.traits:
            ready: list[AlignedRecords] = []
            with failures.caught([trait]), self.clock.step("components"):
                aligned = align_records(
                    inputs.measurements,
                    trait,
                    inputs.relations,
                    repeated=repeated,
                    centred=kinship.centre,
                    normalised=kinship.normalise,
                )
                print(f"\n{record_lines(aligned)}")
                ready.append(aligned)
            yield from ready
        failures.check_any_left()

    def answer(self, found: Mapping[str, pd.DataFrame]) -> Answer:
        """Return how the run ends: with the tables found; traits, methods and draws that failed are told."""
        lost = [
            f"{method} of {trait} failed: {why}"
            for trait, about in self.traits.items()
            for method, why in about.get("failed_methods", {}).items()
        ]
        suspect = [
            f"draws of {trait} fail their checks: {'; '.join(about['diagnostics']['failures'])}"
            for trait, about in self.traits.items()
            if (about.get("diagnostics") or {}).get("failures")
        ]
        for line in (*lost, *suspect):
            print(f"bayeslmm: {line}", file=sys.stderr)
        code = self.failures.code or (ANALYSIS_FAILED if lost else DIAGNOSTICS_FAILED if suspect else 0)
        return Answer(code, "; ".join(filter(None, [self.failures.error, *lost, *suspect])), found)

    def finish(
        self,
        inputs: Inputs[Any],
        prior: VariancePrior | ComponentsPrior | JointPrior | JointComponentsPrior | EffectPrior,
        *,
        report: Report | None = None,
        more: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Write the report and, as the last file, ``run.json``.

        Args:
            inputs: what was read.
            prior: of the built-in programs.
            report: what was found.
            more: further entries of some parts of ``run.json``.
        """
        if others := inputs.changed_genotypes():
            text = f"{examples(others)} changed after K was computed: what was read later may not match"
            warnings.warn(text, InputWarning, stacklevel=2)
        failed = {name: {"failed": why} for name, why in self.failures.why.items()}
        options = self.settings.output.options
        record = run_record(self.clock, inputs, options=options, prior=prior, traits={**self.traits, **failed})
        for part, entries in (more or {}).items():
            record[part] |= entries
        if report:
            with stage("report"):
                write_report(report, record, self.out / "report.html")
        self.results.finish(record)


@dataclass(frozen=True)
class Analysed:
    """One trait, ready for inference.

    Attributes:
        trait: its name.
        data: the trait alone, in the eigenbasis.
        cohort: the individuals, with all traits measured on the same ones.
        spectrum: of their kinship.
    """

    trait: str
    data: RotatedData
    cohort: Cohort
    spectrum: Spectrum


@contextmanager
def open_run(
    settings: AnalysisSettings,
    names: Sequence[str],
    *,
    traits: Sequence[str] | None = None,
    more: Iterable[Path] = (),
    resume: bool = False,
) -> Iterator[Run]:
    """Open the folder of the results, and say where they are when the block has ended well.

    Args:
        settings: the options of the command.
        names: what it may write.
        traits: what may fail by itself; all traits by default.
        more: files that are read beside tables and kinship.
        resume: continue an unfinished run.

    Raises:
        InputError: as `open_results`.
    """
    clock, output, eigen = Clock(), settings.output, settings.kinship.eigen
    read = [*settings.tables.files, *settings.kinship.files, *([eigen] if eigen else []), *more]
    with open_results(
        output.out, names, command=output.command, inputs=read, overwrite=output.overwrite, resume=resume
    ) as results:
        if eigen:
            remove_stale(eigen.parent)
        yield Run(settings, clock, Failures(traits or settings.tables.trait), results)
    print(f"\nresults are in {output.out}")
