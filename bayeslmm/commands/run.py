"""What the commands share: files and options in, one rotated trait at a time out, and the record of the run."""

import argparse
import json
import resource
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy import ndarray
from xarray import DataTree

from bayeslmm.analyses.method import Settings
from bayeslmm.base.checks import InputError, InputWarning, examples
from bayeslmm.base.files import Fingerprint, changed, fingerprints, remove_stale, replacing
from bayeslmm.cohort.align import align, refusals
from bayeslmm.cohort.cohort import Cohort, Drop
from bayeslmm.cohort.joint import JointCohort
from bayeslmm.cohort.measurements import Measurements, measure
from bayeslmm.cohort.tables import read_table
from bayeslmm.commands.checks import named_covariates
from bayeslmm.commands.failures import Failures
from bayeslmm.commands.genotypes import genotype_file, genotype_files, given_genotypes
from bayeslmm.commands.results_folder import ResultsFolder, open_results
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.kinship.files import read_grm, read_kinship
from bayeslmm.kinship.from_genotypes import genomic_kinship
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.pedigree import pedigree_kinship
from bayeslmm.likelihood.priors import EffectPrior, JointPrior, VariancePrior, describe
from bayeslmm.likelihood.rotation import RotatedData, Spectrum, decompose
from bayeslmm.likelihood.spectrum_files import load_spectrum, save_spectra
from bayeslmm.posterior.sampling import CONVENTION, takes_prior
from bayeslmm.posterior.user_program import OwnProgram, file_of, load_program
from bayeslmm.report.page import Report, write_report
from bayeslmm.report.people import cohort_lines

_LOGLIK = "restricted likelihood with + 1/2 log|X'X| (GEMMA, FaST-LMM); GCTA, and its .hsq, leave constants out"
_RSS_UNITS_IN_MB = 2**20 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux kilobytes
_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy", "scikit-learn", "pandas", "pyarrow", "bed-reader")


@dataclass(frozen=True)
class Clock:
    """When a run began, and its seconds by step."""

    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


@dataclass(frozen=True)
class Inputs:
    """What the files hold, before people are matched.

    Attributes:
        measurements: traits and covariates.
        kinship: of everybody.
        markers: the genotypes behind it, if it was computed from some.
        files: all that was read, with what tells whether it is still the same.
    """

    measurements: Measurements
    kinship: Kinship
    markers: MarkerBlocks | None
    files: Mapping[str, Fingerprint]

    def changed_genotypes(self) -> list[str]:
        """Return the files of genotypes, which are read more than once, that were written anew since."""
        genotypes = map(str, self.markers.genotypes.files) if self.markers else ()
        return changed({path: self.files[path] for path in genotypes})


@dataclass(frozen=True)
class Analysed:
    """One trait, ready for inference.

    Attributes:
        trait: its name.
        data: the trait alone, in the eigenbasis.
        cohort: the people, with all traits measured on the same ones.
        spectrum: of their kinship.
    """

    trait: str
    data: RotatedData
    cohort: Cohort
    spectrum: Spectrum


def own_program(options: argparse.Namespace) -> OwnProgram | None:
    """Load the program that ``--model`` names, and say what it is.

    Raises:
        InputError: for anything in its file that a user can mend.
    """
    if not options.model:
        return None
    own, given = load_program(options.model), given_priors(options)
    passed = bool(given) and takes_prior(own.program)
    if given and not passed and "exact" not in options.methods:
        raise InputError(f"{given[0]} is a prior that {own} does not take: write that of {own.name} in its file")
    print(f"NUTS samples {own}, {own.kind}; {'the prior of the options' if passed else 'its own prior'}")
    return own


def given_priors(options: argparse.Namespace) -> list[str]:
    """Return the options about priors of our programs that are not left as they are."""
    names = [name for name in ("prior_h2", "prior_eta") if getattr(options, name, [1.0, 1.0]) != [1.0, 1.0]]
    return [f"--{name.replace('_', '-')}" for name in names]


@contextmanager
def results_of(options: argparse.Namespace, names: Sequence[str]) -> Iterator[ResultsFolder]:
    """Open the folder of the results, which the command may write some names to; the rest as for `open_results`."""
    read = [*read_files(options), *([options.eigen] if options.eigen else [])]
    read += [file_of(options.model)] if getattr(options, "model", None) else []
    with open_results(
        options.out,
        names,
        command=options.name,
        inputs=read,
        overwrite=options.overwrite,
        resume=getattr(options, "resume", False),
    ) as results:
        if options.eigen:
            remove_stale(options.eigen.parent)
        yield results


def read_inputs(options: argparse.Namespace, clock: Clock, known: Mapping[str, Fingerprint] | None = None) -> Inputs:
    """Read the tables and make or read the kinship matrix.

    Args:
        options: of the command.
        clock: of the run.
        known: fingerprints of files that were taken already.

    Raises:
        InputError: for anything in the files that a user can mend, or if one changes while it is read.
    """
    files = dict(known or {})

    def mark(paths: Sequence[Path]) -> None:
        files.update(fingerprints(path for path in paths if str(path) not in files))

    # Tables before genotypes: a misspelt trait is told at once, not after the kinship matrix.
    with clock.step("tables"):
        mark(_tables(options))
        measurements = _measurements(options)
    with clock.step("kinship"):
        mark(_kinship_files(options))
        kinship = _kinship(options)
    if line := kinship.origin_line():
        print(line)
    markers = None
    if genotype_file(options):
        markers = MarkerBlocks(given_genotypes(options), options.scale, options.maf, options.geno)
    if others := changed(files):
        raise InputError(f"{examples(others)} changed while it was read: start again when nothing writes to it")
    return Inputs(measurements, kinship, markers, files)


def analysed(options: argparse.Namespace, clock: Clock, inputs: Inputs, failures: Failures) -> Iterator[Analysed]:
    """Yield each trait by itself; the rest as for `decomposed`."""
    for cohort, spectrum in decomposed(options, clock, inputs, failures):
        with clock.step("rotation"):
            data = spectrum.rotate(cohort.Y, cohort.X)
        for j, trait in enumerate(cohort.traits):
            yield Analysed(trait, data._replace(Y=data.Y[:, [j]]), cohort, spectrum)


def decomposed(
    options: argparse.Namespace, clock: Clock, inputs: Inputs, failures: Failures
) -> Iterator[tuple[Cohort, Spectrum]]:
    """Yield the people with the same traits and the decomposition of their kinship; say who is analysed.

    Traits that cannot be analysed are told, kept among the failures, and left out.

    Raises:
        InputError: if ids do not match, or no trait can be analysed.
    """
    for trait, error in refusals(inputs.kinship, inputs.measurements).items():
        failures.add([trait], error)
    failures.check_any_left()
    measurements = inputs.measurements.take([t for t in inputs.measurements.traits if t not in failures.why])
    spectra: list[tuple[tuple[str, ...], Spectrum]] = []
    for cohort in align(inputs.kinship, measurements, centred=options.centre, normalised=options.normalise):
        ready: list[tuple[Cohort, Spectrum]] = []
        with failures.caught(cohort.traits):
            with clock.step("decomposition"):
                spectrum = spectrum_of(options, cohort)
            spectra += [(cohort.ids, spectrum)] if options.eigen else []
            if options.pcs:
                cohort = cohort.with_covariates(*components(options, spectrum))
            ready.append((cohort, spectrum))
            print(f"\n{cohort_lines(cohort)}")
        yield from ready
    failures.check_any_left()
    with clock.step("writing"):
        if options.eigen and spectra and not options.eigen.exists():
            save_spectra(options.eigen, spectra)


def settings(options: argparse.Namespace, prior: VariancePrior) -> Settings:
    """Return how the options ask to estimate."""
    return {
        "se_kind": options.se,
        "moments_se": options.mom_se,
        "prior": prior if given_priors(options) else None,
        "chains": options.chains,
        "draws": options.draws,
        "warmup": options.warmup,
        "target_accept": options.target_accept,
    }


def attributes(
    options: argparse.Namespace, kinship: Kinship, dropped: Sequence[Drop], own: OwnProgram | None
) -> dict[str, Any]:
    """Return what is kept with draws, so that they can be understood and repeated."""
    return ({"model": options.model, "model_sha256": own.sha256} if own else {}) | {
        "dropped": json.dumps([asdict(drop) for drop in dropped]),
        "kinship": json.dumps({"source": kinship.source, **kinship.details}),
        "centred": int(options.centre),
        "normalised": int(options.normalise),
    }


def cohort_record(cohort: Cohort | JointCohort, spectrum: Spectrum) -> dict[str, Any]:
    """Return what the record of the run says about who was analysed, whatever the command."""
    return {
        "n": len(cohort.ids),
        "covariates": list(cohort.covariates),
        "k_scale": spectrum.k_scale,
        "mean_diagonal": spectrum.mean_diagonal,
        "dropped": [asdict(drop) for drop in cohort.dropped],
    }


def write_draws(draws: DataTree, path: Path) -> None:
    """Write draws as NetCDF.

    Raises:
        WriteError: as `replacing`.
    """
    # In memory first: HDF5 ends the process with a segmentation fault where the disk is full.
    view = draws.to_netcdf(None, engine="h5netcdf")
    content = bytes(view)
    del view  # an exported buffer outlives its owner where an error keeps it, which ends Python
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def finish(
    options: argparse.Namespace,
    clock: Clock,
    inputs: Inputs,
    prior: VariancePrior | JointPrior | EffectPrior,
    traits: Mapping[str, Any],
    results: ResultsFolder,
    failures: Failures,
    *,
    report: Report | None = None,
    own: OwnProgram | None = None,
) -> None:
    """Write the report and, as the last file, ``run.json``.

    Versions, options, seed, checksums of inputs, people and markers dropped, times, memory, files.
    """
    if others := inputs.changed_genotypes():
        text = f"{examples(others)} changed after K was computed: what was read of it later may not fit"
        warnings.warn(text, InputWarning, stacklevel=2)
    kinship = inputs.kinship
    record = {
        "command": [*options.program.split(), *sys.argv[1:]],
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        "options": {
            name: _plain(value) for name, value in vars(options).items() if name not in ("run", "program", "name")
        },
        "prior": {name: describe(value) for name, value in prior._asdict().items()}
        | ({"nuts": _prior_of_program(options)} if own else {}),
        "convention": CONVENTION,
        "loglik_convention": _LOGLIK,
        "kinship": {"source": kinship.source, "n": len(kinship.ids), **kinship.details},
        "started": clock.started,
        "inputs_sha256": {path: mark.sha256 for path, mark in inputs.files.items()}
        | ({str(own.path): own.sha256} if own else {}),
        "traits": {**traits, **{name: {"failed": why} for name, why in failures.why.items()}},
        "seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_UNITS_IN_MB),
    }
    if report:
        write_report(report, record, results.path / "report.html")
    results.finish(record)


def _prior_of_program(options: argparse.Namespace) -> str:
    return f"these, if {options.model} takes them" if given_priors(options) else f"inside {options.model}"


def components(options: argparse.Namespace, spectrum: Spectrum) -> tuple[list[str], ndarray]:
    """Return names and columns of the principal components that options ask for."""
    return [f"PC{k + 1}" for k in range(options.pcs)], spectrum.principal_components(options.pcs)


def _measurements(options: argparse.Namespace) -> Measurements:
    everything = options.covar is not None and options.covariates is None
    return measure(
        read_table(options.pheno, missing=options.missing),
        options.trait,
        covariate_table=read_table(options.covar, missing=options.missing) if options.covar else None,
        covariates=None if everything else named_covariates(options),
        categorical=options.categorical,
        intercept=not options.no_intercept,
    )


def _kinship(options: argparse.Namespace) -> Kinship:
    if options.grm:
        return read_grm(options.grm)
    if options.pedigree:
        return pedigree_kinship(options.pedigree, missing=options.missing)
    if options.kinship:
        return read_kinship(options.kinship, fam=options.fam)
    return genomic_kinship(given_genotypes(options), scale=options.scale, maf=options.maf, geno=options.geno)


def spectrum_of(options: argparse.Namespace, cohort: Cohort | JointCohort) -> Spectrum:
    """Return the decomposition of the kinship of a cohort: computed, or read from ``--eigen``."""
    if options.eigen and options.eigen.exists():
        return load_spectrum(options.eigen, cohort.ids, cohort.K)
    return decompose(cohort.K, where=cohort.source, bend=options.bend)


def read_files(options: argparse.Namespace) -> list[Path]:
    """Return the files of data that options name."""
    return [*_tables(options), *_kinship_files(options)]


def _tables(options: argparse.Namespace) -> list[Path]:
    return [Path(file) for file in (options.pheno, options.covar, getattr(options, "epistasis", None)) if file]


def _kinship_files(options: argparse.Namespace) -> list[Path]:
    files = [options.kinship, options.pedigree, options.fam]
    files += [f"{options.grm}.grm.{suffix}" for suffix in ("bin", "id")] if options.grm else []
    return [*(Path(file) for file in files if file), *genotype_files(options)]


def _plain(value: object) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
