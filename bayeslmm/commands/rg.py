"""``bayeslmm rg``: files in, a folder with the correlations of two or more traits out."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bayeslmm.analyses.correlations import Correlations, correlations
from bayeslmm.analyses.site_rows import large_site_lines
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.base.checks import AnalysisError, InputError
from bayeslmm.cohort.joint import JointCohort, align_jointly
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.commands.checks import check_options
from bayeslmm.commands.failures import DIAGNOSTICS_FAILED, Failures
from bayeslmm.commands.run import (
    Clock,
    Inputs,
    attributes,
    cohort_record,
    components,
    finish,
    given_priors,
    own_program,
    read_inputs,
    results_of,
    spectrum_of,
    write_draws,
)
from bayeslmm.likelihood.priors import BivariatePrior, JointPrior, MultivariatePrior, beta_prior, correlation_prior
from bayeslmm.likelihood.rotation import JointData, Spectrum
from bayeslmm.likelihood.spectrum_files import save_spectra
from bayeslmm.posterior.user_program import OwnProgram, guarded
from bayeslmm.report.failed import failed_report
from bayeslmm.report.people import joint_cohort_lines
from bayeslmm.report.plots.rg import plot_correlations
from bayeslmm.report.plots.sites import plot_sites
from bayeslmm.report.rg import correlation_lines, correlation_report

_FILES = ("posterior.nc", "estimates.tsv", "pairs.tsv", "correlations.png", "report.html")


@dataclass(frozen=True)
class _Analysed:
    """Several traits of the same cohort, ready for inference.

    Attributes:
        data: all traits, in the eigenbasis.
        cohort: the people who have at least one of them.
        spectrum: of their kinship.
    """

    data: JointData
    cohort: JointCohort
    spectrum: Spectrum


def run(options: argparse.Namespace) -> int:
    """Estimate the correlations of the traits; return the exit code.

    Raises:
        InputError: for anything in the files or options that a user can mend.
        AnalysisError: if a method failed, after the results of the others are written.
    """
    clock, name = Clock(), ":".join(options.trait)
    failures = Failures([name])
    prior = _prior(options)
    check_options(options)
    own = own_program(options)
    traits: dict[str, Any] = {}
    suspect, lost = False, {}
    with results_of(options, _FILES) as results:
        inputs = read_inputs(options, clock)
        results.begin()
        report = None
        with failures.caught([name]):
            joint = _analysed(options, clock, inputs)
            with clock.step("inference"), guarded(own, joint.data):
                result = correlations(
                    joint.data,
                    traits=joint.cohort.traits,
                    covariates=joint.cohort.covariates,
                    seed=options.seed,
                    methods=options.methods,
                    se_kind=options.se,
                    prior=prior if given_priors(options) else None,
                    program=own.program if own else None,
                    chains=options.chains,
                    draws=options.draws,
                    warmup=options.warmup,
                    target_accept=options.target_accept,
                    coords=joint.cohort.coords,
                    attrs=attributes(options, inputs.kinship, joint.cohort.dropped, own),
                )
            with clock.step("writing"):
                _write(results.path, result, own)
            print(f"\n{correlation_lines(result)}")
            for line in large_site_lines(result.posterior) if own and result.posterior is not None else ():
                print(line)
            traits[name] = cohort_record(joint.cohort, joint.spectrum) | {
                "records": dict(zip(result.traits, (~joint.cohort.missing).sum(axis=0).tolist(), strict=True)),
                "pairs": result.pairs.to_dict("records"),
                "failed": dict(result.failed),
                "loglik": result.reml.loglik if result.reml else None,
                "diagnostics": result.diagnostics.record() if result.diagnostics else None,
            }
            report = correlation_report(
                result,
                joint.cohort,
                joint.spectrum,
                picture=results.path / "correlations.png",
                own=own is not None,
            )
            lost = result.failed
            suspect = result.diagnostics is not None and bool(result.diagnostics.failures)
        if failures.why:
            report = failed_report(failures.why)
            write_table(with_rows([], failures.rows(parameter="rho_u")), results.path / "estimates.tsv")
        finish(options, clock, inputs, prior, traits, results, failures, report=report, own=own)
    print(f"\nresults are in {options.out}")
    if lost:
        raise AnalysisError("; ".join(f"{method} failed: {why}" for method, why in lost.items()))
    return failures.code or (DIAGNOSTICS_FAILED if suspect else 0)


def _write(out: Path, result: Correlations, own: OwnProgram | None) -> None:
    if result.posterior is not None:
        write_draws(result.posterior, out / "posterior.nc")
    write_table(result.estimates, out / "estimates.tsv")
    write_table(result.pairs, out / "pairs.tsv")
    if own and result.posterior is not None:
        title = f"{', '.join(result.traits)}: {result.n:,} people, {own.path.name}:{own.name}"
        of_all = result.estimates[result.estimates["trait"] == ":".join(result.traits)]
        plot_sites(result.posterior, of_all, title, out / "correlations.png")
    else:
        plot_correlations(result, out / "correlations.png")


def _prior(options: argparse.Namespace) -> JointPrior:
    """Return the prior that the options ask for; refuse traits that cannot be correlated."""
    traits: list[str] = options.trait
    if len(traits) < 2 or len(set(traits)) < len(traits):
        raise InputError(f"--traits needs two or more different traits, but {' '.join(traits)} was given")
    if colon := [trait for trait in traits if ":" in trait]:
        raise InputError(f"a pair of traits is written A:B, so {colon[0]!r} cannot be the name of one: rename it")
    h2, (eta_u, eta_e) = beta_prior(*options.prior_h2), options.prior_eta
    rho_u, rho_e = (correlation_prior(eta, len(traits)) for eta in (eta_u, eta_e))
    if len(traits) == 2:
        return BivariatePrior(h2=h2, rho_u=rho_u, rho_e=rho_e)
    return MultivariatePrior(h2=h2, eta_u=eta_u, eta_e=eta_e)


def _analysed(options: argparse.Namespace, clock: Clock, inputs: Inputs) -> _Analysed:
    """Return all traits at once, of everybody who has at least one of them; say who is analysed.

    Raises:
        InputError: if ids do not match, nobody is left, covariates are collinear, or K is no kinship matrix.
    """
    cohort = align_jointly(
        inputs.kinship,
        inputs.measurements,
        covariates_of=_covariates_of(options, inputs.measurements),
        complete_only=options.complete_only,
        centred=options.centre,
        normalised=options.normalise,
    )
    with clock.step("decomposition"):
        spectrum = spectrum_of(options, cohort)
    if options.eigen and not options.eigen.exists():
        save_spectra(options.eigen, [(cohort.ids, spectrum)])
    if options.pcs:
        cohort = cohort.with_covariates(*components(options, spectrum))
    print(f"\n{joint_cohort_lines(cohort)}")
    with clock.step("rotation"):
        data = spectrum.rotate_jointly(cohort.Y, cohort.X)
    return _Analysed(data, cohort, spectrum)


def _covariates_of(options: argparse.Namespace, measurements: Measurements) -> dict[str, list[str]]:
    """Return the covariates of each trait: those given for it, or those for all."""
    if options.covariates is None and options.covar is None:
        for_all = []
    else:
        for_all = list(measurements.covariates) if options.covariates is None else options.covariates
    given: dict[str, list[str]] = {}
    for trait, *names in options.covariates_of:
        if trait in given:
            raise InputError(f"--covariates-of {trait} was given twice: name all its covariates at once")
        given[trait] = names
    return {trait: for_all for trait in options.trait} | given
