"""``bayeslmm h2``: files in, a folder of results out."""

import argparse
import json
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from bayeslmm.checks import InputError
from bayeslmm.cohort import Cohort, Measurements, align, measure
from bayeslmm.files import output_folder, replacing, sha256
from bayeslmm.heritability import Heritability, heritability
from bayeslmm.kinship import Kinship, genomic_kinship
from bayeslmm.kinship_files import read_grm, read_kinship
from bayeslmm.pedigree import pedigree_kinship
from bayeslmm.plots import plot_heritability
from bayeslmm.priors import VariancePrior, beta_prior, describe
from bayeslmm.results import write_hsq, write_table
from bayeslmm.sampling import CONVENTION
from bayeslmm.spectrum import RotatedData, Spectrum, decompose, load_spectrum, save_spectra
from bayeslmm.summary import cohort_lines, result_lines
from bayeslmm.tables import read_table

_LOGLIK = "restricted likelihood with + 1/2 log|X'X| (GEMMA, FaST-LMM); the .hsq leaves constants out (GCTA)"
_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy", "pandas", "bed-reader")


class Clock:
    """Seconds by step, for the record of the run."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Add the time of a block to a step."""
        begun = time.perf_counter()
        yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - begun


def run(options: argparse.Namespace) -> bool:
    """Estimate the heritability of each trait; return whether draws of any failed their checks.

    Raises:
        InputError: for anything in the files or options that a user can mend.
    """
    clock = Clock()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    prior = VariancePrior(h2=beta_prior(*options.prior_h2))
    out = _check_options(options)
    # Tables before genotypes: a misspelt trait is told at once, not after the kinship matrix.
    with clock.step("tables"):
        measurements = _measurements(options)
    with clock.step("kinship"):
        kinship = _kinship(options)
    if line := kinship.markers_line():
        print(line)

    estimates: list[pd.DataFrame] = []
    traits: dict[str, dict[str, Any]] = {}
    spectra: list[tuple[tuple[str, ...], Spectrum]] = []
    for cohort in align(kinship, measurements, centred=options.centre, normalised=options.normalise):
        with clock.step("decomposition"):
            spectrum = _spectrum(options, cohort)
        spectra += [(cohort.ids, spectrum)] if options.eigen else []
        if options.pcs:
            names = [f"PC{k + 1}" for k in range(options.pcs)]
            cohort = cohort.with_covariates(names, spectrum.principal_components(options.pcs))
        print(f"\n{cohort_lines(cohort)}")
        with clock.step("rotation"):
            data = spectrum.rotate(cohort.Y, cohort.X)
        for j, trait in enumerate(cohort.traits):
            one = data._replace(Y=data.Y[:, [j]])
            with clock.step("inference"):
                result = _analyse(options, one, trait, cohort, kinship, prior)
            print(f"\n{result_lines(result)}")
            estimates.append(result.estimates)
            traits[trait] = _trait_record(result, cohort, spectrum)
            with clock.step("writing"):
                write_table(pd.concat(estimates), out / "estimates.tsv")
                _write_trait(out, result, one, prior)
    with clock.step("writing"):
        if options.eigen and not options.eigen.exists():
            save_spectra(options.eigen, spectra)
        inputs = {str(path): sha256(path) for path in _inputs(options)}
    record = _record(options, kinship, prior) | {
        "started": started,
        "inputs_sha256": inputs,
        "traits": traits,
        "seconds": {name: round(seconds, 3) for name, seconds in clock.seconds.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    with replacing(out / "run.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    print(f"\nresults are in {out}")
    return any(trait["diagnostics"]["failures"] for trait in traits.values() if trait["diagnostics"])


def _check_options(options: argparse.Namespace) -> Path:
    """Refuse what cannot work before anything is computed; return the folder of the results."""
    for trait in options.trait:
        if Path(trait).name != trait:
            raise InputError(f"{options.pheno}: results are named after traits, so {trait!r} cannot be one: rename it")
    if options.fam and not options.kinship:
        raise InputError(f"--fam {options.fam} gives the ids of --kinship, which was not given")
    for name, default in {"scale": "hwe", "maf": 0.01, "geno": 0.05}.items():
        if not options.bfile and getattr(options, name) != default:
            raise InputError(f"--{name} is about genotypes and needs --bfile: a kinship that is given is used as it is")
    if options.covar is None and options.covariates is None and options.categorical:
        raise InputError(f"--categorical {options.categorical[0]} needs --covariates or --covar")
    for name in ("chains", "draws", "warmup"):
        if getattr(options, name) < 1:
            raise InputError(f"--{name} must be at least 1, but {getattr(options, name)} was given")
    if options.pcs < 0:
        raise InputError(f"--pcs must be at least 0, but {options.pcs} was given")
    if options.eigen and not options.eigen.parent.is_dir():
        raise InputError(f"--eigen {options.eigen}: the folder {options.eigen.parent} does not exist")
    return output_folder(options.out)


def _measurements(options: argparse.Namespace) -> Measurements:
    return measure(
        read_table(options.pheno, missing=options.missing),
        options.trait,
        covariate_table=read_table(options.covar, missing=options.missing) if options.covar else None,
        covariates=options.covariates,
        categorical=options.categorical,
        intercept=not options.no_intercept,
    )


def _kinship(options: argparse.Namespace) -> Kinship:
    if options.bfile:
        return genomic_kinship(options.bfile, scale=options.scale, maf=options.maf, geno=options.geno)
    if options.grm:
        return read_grm(options.grm)
    if options.pedigree:
        return pedigree_kinship(options.pedigree)
    return read_kinship(options.kinship, fam=options.fam)


def _spectrum(options: argparse.Namespace, cohort: Cohort) -> Spectrum:
    if options.eigen and options.eigen.exists():
        return load_spectrum(options.eigen, cohort.ids, cohort.K)
    return decompose(cohort.K, where=cohort.source)


def _analyse(
    options: argparse.Namespace, data: RotatedData, trait: str, cohort: Cohort, kinship: Kinship, prior: VariancePrior
) -> Heritability:
    return heritability(
        data,
        trait=trait,
        covariates=cohort.covariates,
        seed=options.seed,
        methods=options.methods,
        se_kind=options.se,
        prior=prior,
        chains=options.chains,
        draws=options.draws,
        warmup=options.warmup,
        attrs={
            "dropped": json.dumps([asdict(drop) for drop in cohort.dropped]),
            "kinship": json.dumps({"source": kinship.source, **kinship.details}),
            "centred": int(options.centre),
            "normalised": int(options.normalise),
        },
    )


def _write_trait(out: Path, result: Heritability, data: RotatedData, prior: VariancePrior) -> None:
    write_hsq(out / f"{result.trait}.hsq", result.reml, data)
    plot_heritability(result, data, prior, out / f"{result.trait}.png")
    if result.posterior is not None:
        with replacing(out / f"{result.trait}.posterior.nc") as temporary:
            result.posterior.to_netcdf(temporary, engine="h5netcdf")


def _record(options: argparse.Namespace, kinship: Kinship, prior: VariancePrior) -> dict[str, Any]:
    return {
        "command": ["bayeslmm", *sys.argv[1:]],
        "versions": {"python": sys.version.split()[0], **{name: version(name) for name in _PACKAGES}},
        "options": {name: _plain(value) for name, value in vars(options).items() if name != "run"},
        "prior": {name: describe(value) for name, value in prior._asdict().items()},
        "convention": CONVENTION,
        "loglik_convention": _LOGLIK,
        "kinship": {"source": kinship.source, "n": len(kinship.ids), **kinship.details},
    }


def _trait_record(result: Heritability, cohort: Cohort, spectrum: Spectrum) -> dict[str, Any]:
    return {
        "n": len(cohort.ids),
        "covariates": list(cohort.covariates),
        "k_scale": spectrum.k_scale,
        "mean_diagonal": spectrum.mean_diagonal,
        "dropped": [asdict(drop) for drop in cohort.dropped],
        "diagnostics": asdict(result.diagnostics) if result.diagnostics else None,
    }


def _inputs(options: argparse.Namespace) -> list[Path]:
    files = [options.pheno, options.covar, options.kinship, options.pedigree, options.fam]
    files += [f"{options.bfile}.{suffix}" for suffix in ("bed", "bim", "fam")] if options.bfile else []
    files += [f"{options.grm}.grm.{suffix}" for suffix in ("bin", "id")] if options.grm else []
    return [Path(file) for file in files if file]


def _plain(value: object) -> Any:
    return str(value) if isinstance(value, Path) else list(value) if isinstance(value, tuple) else value
