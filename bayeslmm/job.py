"""What the commands share: files and options in, one rotated trait at a time out, and the record of the run."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy import ndarray

from bayeslmm.cohort import Cohort, Drop, Measurements, align, measure
from bayeslmm.files import replacing, sha256
from bayeslmm.genotypes import MarkerBlocks, open_genotypes
from bayeslmm.heritability import Settings
from bayeslmm.joint_cohort import JointCohort
from bayeslmm.kinship import Kinship, genomic_kinship
from bayeslmm.kinship_files import read_grm, read_kinship
from bayeslmm.option_checks import named_covariates
from bayeslmm.own_program import OwnProgram, file_of, load_program
from bayeslmm.pedigree import pedigree_kinship
from bayeslmm.priors import EffectPrior, JointPrior, VariancePrior, describe
from bayeslmm.sampling import CONVENTION
from bayeslmm.spectrum import RotatedData, Spectrum, decompose, load_spectrum, save_spectra
from bayeslmm.summary import cohort_lines
from bayeslmm.tables import read_table

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
    """

    measurements: Measurements
    kinship: Kinship
    markers: MarkerBlocks | None


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
    own = load_program(options.model)
    print(f"NUTS samples {own}, {own.kind}; its own prior")
    return own


def read_inputs(options: argparse.Namespace, clock: Clock) -> Inputs:
    """Read the tables and make or read the kinship matrix.

    Raises:
        InputError: for anything in the files that a user can mend.
    """
    # Tables before genotypes: a misspelt trait is told at once, not after the kinship matrix.
    with clock.step("tables"):
        measurements = _measurements(options)
    with clock.step("kinship"):
        kinship = _kinship(options)
    if line := kinship.origin_line():
        print(line)
    markers = None
    if options.bfile:
        genotypes = open_genotypes(options.bfile, chromosomes=options.chr)
        markers = MarkerBlocks(genotypes, options.scale, options.maf, options.geno)
    return Inputs(measurements, kinship, markers)


def analysed(options: argparse.Namespace, clock: Clock, inputs: Inputs) -> Iterator[Analysed]:
    """Yield each trait by itself; the rest as for `decomposed`."""
    for cohort, spectrum in decomposed(options, clock, inputs):
        with clock.step("rotation"):
            data = spectrum.rotate(cohort.Y, cohort.X)
        for j, trait in enumerate(cohort.traits):
            yield Analysed(trait, data._replace(Y=data.Y[:, [j]]), cohort, spectrum)


def decomposed(options: argparse.Namespace, clock: Clock, inputs: Inputs) -> Iterator[tuple[Cohort, Spectrum]]:
    """Yield the people with the same traits and the decomposition of their kinship; say who is analysed.

    Raises:
        InputError: if ids do not match, nobody is left, covariates are collinear, or K is no kinship matrix.
    """
    spectra: list[tuple[tuple[str, ...], Spectrum]] = []
    for cohort in align(inputs.kinship, inputs.measurements, centred=options.centre, normalised=options.normalise):
        with clock.step("decomposition"):
            spectrum = spectrum_of(options, cohort)
        spectra += [(cohort.ids, spectrum)] if options.eigen else []
        if options.pcs:
            cohort = cohort.with_covariates(*components(options, spectrum))
        print(f"\n{cohort_lines(cohort)}")
        yield cohort, spectrum
    with clock.step("writing"):
        if options.eigen and not options.eigen.exists():
            save_spectra(options.eigen, spectra)


def settings(options: argparse.Namespace, prior: VariancePrior) -> Settings:
    """Return how the options ask to estimate."""
    return {
        "se_kind": options.se,
        "moments_se": options.mom_se,
        "prior": prior,
        "chains": options.chains,
        "draws": options.draws,
        "warmup": options.warmup,
        "target_accept": options.target_accept,
    }


def attributes(options: argparse.Namespace, kinship: Kinship, dropped: Sequence[Drop]) -> dict[str, Any]:
    """Return what is kept with draws, so that they can be understood and repeated."""
    own = getattr(options, "model", None)
    return ({"model": own, "model_sha256": sha256(file_of(own))} if own else {}) | {
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


def write_record(
    options: argparse.Namespace,
    clock: Clock,
    kinship: Kinship,
    prior: VariancePrior | JointPrior | EffectPrior,
    traits: dict[str, Any],
    out: Path,
) -> dict[str, Any]:
    """Write ``run.json``, and return what it holds.

    Versions, options, seed, checksums of inputs, people and markers dropped, times, memory.
    """
    with clock.step("writing"):
        inputs = checksums(options)
    record = {
        "command": [*options.program.split(), *sys.argv[1:]],
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        "options": {name: _plain(value) for name, value in vars(options).items() if name not in ("run", "program")},
        "prior": {name: describe(value) for name, value in prior._asdict().items()}
        | ({"nuts": f"inside {options.model}"} if getattr(options, "model", None) else {}),
        "convention": CONVENTION,
        "loglik_convention": _LOGLIK,
        "kinship": {"source": kinship.source, "n": len(kinship.ids), **kinship.details},
        "started": clock.started,
        "inputs_sha256": inputs,
        "traits": traits,
        "seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _RSS_UNITS_IN_MB),
    }
    with replacing(out / "run.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    return record


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
    genotypes = open_genotypes(options.bfile, chromosomes=options.chr)
    return genomic_kinship(genotypes, scale=options.scale, maf=options.maf, geno=options.geno)


def spectrum_of(options: argparse.Namespace, cohort: Cohort | JointCohort) -> Spectrum:
    """Return the decomposition of the kinship of a cohort: computed, or read from ``--eigen``."""
    if options.eigen and options.eigen.exists():
        return load_spectrum(options.eigen, cohort.ids, cohort.K)
    return decompose(cohort.K, where=cohort.source, bend=options.bend)


def checksums(options: argparse.Namespace) -> dict[str, str]:
    """Return the SHA-256 of each file that options name."""
    return {str(path): sha256(path) for path in _inputs(options)}


def _inputs(options: argparse.Namespace) -> list[Path]:
    files = [options.pheno, options.covar, options.kinship, options.pedigree, options.fam]
    files += [getattr(options, "epistasis", None)]
    files += [file_of(options.model)] if getattr(options, "model", None) else []
    files += [f"{options.bfile}.{suffix}" for suffix in ("bed", "bim", "fam")] if options.bfile else []
    files += [f"{options.grm}.grm.{suffix}" for suffix in ("bin", "id")] if options.grm else []
    return [Path(file) for file in files if file]


def _plain(value: object) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
