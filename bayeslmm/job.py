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

from bayeslmm.checks import InputError
from bayeslmm.cohort import Cohort, Drop, Measurements, align, measure
from bayeslmm.files import output_folder, replacing, sha256
from bayeslmm.genotypes import MarkerBlocks, open_genotypes
from bayeslmm.heritability import OF_GENOTYPES, Settings
from bayeslmm.joint_cohort import JointCohort
from bayeslmm.kinship import Kinship, genomic_kinship
from bayeslmm.kinship_files import read_grm, read_kinship
from bayeslmm.own_program import OwnProgram, file_of, load_program
from bayeslmm.pedigree import pedigree_kinship
from bayeslmm.priors import EffectPrior, JointPrior, VariancePrior, beta_prior, describe
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


def check_options(options: argparse.Namespace) -> Path:
    """Refuse what cannot work, whatever the command, before anything is computed; return the folder of the results."""
    if options.fam and not options.kinship:
        raise InputError(f"--fam {options.fam} gives the ids of --kinship, which was not given")
    of_kinship = ("scale",) if options.bfile else ("scale", "maf", "geno")
    for name in of_kinship if options.grm or options.kinship or options.pedigree else ():
        if getattr(options, name) != {"scale": "hwe", "maf": 0.01, "geno": 0.05}[name]:
            raise InputError(f"--{name} is about genotypes and needs --bfile: a kinship that is given is used as it is")
    if options.covar is None and not _named_covariates(options) and options.categorical:
        raise InputError(f"--categorical {options.categorical[0]} needs --covariates or --covar")
    if options.no_intercept and not options.pcs and options.covar is None and not _named_covariates(options):
        raise InputError(
            "--no-intercept leaves no fixed effect: leave it out, or give covariates that include the mean"
        )
    for name, least in {"chains": 1, "draws": 1, "warmup": 1, "seed": 0, "datasets": 2}.items():
        if name in options and getattr(options, name) < least:
            raise InputError(f"--{name} must be at least {least}, but {getattr(options, name)} was given")
    if not 0 < getattr(options, "target_accept", 0.5) < 1:
        raise InputError(f"--target-accept must be between 0 and 1, but {options.target_accept:g} was given")
    if getattr(options, "model", None):
        _check_model(options)
    if options.pcs < 0:
        raise InputError(f"--pcs must be at least 0, but {options.pcs} was given")
    if options.eigen and not options.eigen.parent.is_dir():
        raise InputError(f"--eigen {options.eigen}: the folder {options.eigen.parent} does not exist")
    return output_folder(options.out)


def _check_model(options: argparse.Namespace) -> None:
    """Refuse options beside ``--model`` that nobody would look at."""
    if "nuts" not in options.methods:
        raise InputError(f"--model {options.model} is what --methods nuts samples, which was not given")
    unread = [name for name in ("prior_h2", "prior_eta") if getattr(options, name, [1.0, 1.0]) != [1.0, 1.0]]
    if unread and "exact" not in options.methods:
        name = unread[0].replace("_", "-")
        raise InputError(f"--{name} is a prior of our programs: write that of {options.model} in its file")


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


def one_trait_prior(options: argparse.Namespace) -> VariancePrior:
    """Return the prior of methods for one trait; refuse options about them that cannot work."""
    check_trait_names(options)
    _check_methods(options)
    return VariancePrior(h2=beta_prior(*options.prior_h2))


def check_trait_names(options: argparse.Namespace) -> None:
    """Refuse traits that no file can be named after."""
    for trait in options.trait:
        if Path(trait).name != trait:
            raise InputError(f"{options.pheno}: results are named after traits, so {trait!r} cannot be one: rename it")


def _check_methods(options: argparse.Namespace) -> None:
    # `compare` has no --methods: it does all that the input allows.
    methods = getattr(options, "methods", ("mom", *(OF_GENOTYPES if options.bfile else ())))
    if not options.bfile and (needing := [method for method in methods if method in OF_GENOTYPES]):
        raise InputError(f"--methods {needing[0]} works on genotypes and needs --bfile")
    if options.mom_se == "jackknife" and "mom" not in methods:
        raise InputError("--mom-se jackknife is about --methods mom, which was not given")
    if "rhe" in methods and options.centre and options.no_intercept:
        raise InputError(
            "randomised moments (rhe) do not form K, and without an intercept they cannot know it centred: leave out "
            "--centre or --no-intercept"
        )


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
    if line := kinship.markers_line():
        print(line)
    markers = None
    if options.bfile:
        markers = MarkerBlocks(open_genotypes(options.bfile), options.scale, options.maf, options.geno)
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


def _named_covariates(options: argparse.Namespace) -> list[str]:
    """Return the covariates that options name, for all traits or for some."""
    of_some = [name for _, *names in getattr(options, "covariates_of", ()) for name in names]
    return list(dict.fromkeys([*(options.covariates or []), *of_some]))


def components(options: argparse.Namespace, spectrum: Spectrum) -> tuple[list[str], ndarray]:
    """Return names and columns of the principal components that options ask for."""
    return [f"PC{k + 1}" for k in range(options.pcs)], spectrum.principal_components(options.pcs)


def _measurements(options: argparse.Namespace) -> Measurements:
    everything = options.covar is not None and options.covariates is None
    return measure(
        read_table(options.pheno, missing=options.missing),
        options.trait,
        covariate_table=read_table(options.covar, missing=options.missing) if options.covar else None,
        covariates=None if everything else _named_covariates(options),
        categorical=options.categorical,
        intercept=not options.no_intercept,
    )


def _kinship(options: argparse.Namespace) -> Kinship:
    if options.grm:
        return read_grm(options.grm)
    if options.pedigree:
        return pedigree_kinship(options.pedigree)
    if options.kinship:
        return read_kinship(options.kinship, fam=options.fam)
    return genomic_kinship(options.bfile, scale=options.scale, maf=options.maf, geno=options.geno)


def spectrum_of(options: argparse.Namespace, cohort: Cohort | JointCohort) -> Spectrum:
    """Return the decomposition of the kinship of a cohort: computed, or read from ``--eigen``."""
    if options.eigen and options.eigen.exists():
        return load_spectrum(options.eigen, cohort.ids, cohort.K)
    return decompose(cohort.K, where=cohort.source)


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
