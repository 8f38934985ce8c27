"""``bayeslmm predict --joint``: breeding values of several traits from one model of all their records."""

import numpy as np
import pandas as pd
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.analyses.breeding_values import CrossValidation, dealt_folds
from bayeslmm.analyses.correlations import correlations
from bayeslmm.analyses.joint_breeding_values import JointFit, joint_cross_validate
from bayeslmm.analyses.principal_components import principal_components_of_others
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.base.ids import Individuals
from bayeslmm.cohort.align import align_jointly
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.others import covariates_of_others
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import Run, open_run
from bayeslmm.commands.settings import AnalysisSettings
from bayeslmm.kinship.others import Others, everybody, mean_diagonal
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.failed import failed_report
from bayeslmm.report.individuals import cohort_lines
from bayeslmm.report.pictures import picture_names
from bayeslmm.report.plots.predict import NAMES
from bayeslmm.report.predict import skill_table
from bayeslmm.report.predict_jointly import joint_lines, joint_report


def predict_jointly(settings: AnalysisSettings, *, folds: int | None, seed: int) -> Answer:
    """Predict breeding values of each trait from the records of all.

    Args:
        settings: the options of the command.
        folds: of the cross-validation, if it was asked for.
        seed: deals them.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    traits = settings.tables.trait
    name, report = ":".join(traits), None
    tables: dict[str, pd.DataFrame] = {}
    files = [f"{trait}.{kind}.tsv" for trait in traits for kind in ("breeding_values", "folds")]
    files += [picture for trait in traits for picture in picture_names(trait, NAMES)]
    with open_run(settings, ["estimates.tsv", "cross_validation.tsv", *files, "report.html"], traits=[name]) as run:
        inputs, failures = run.read_inputs(), run.failures
        run.results.begin()
        with failures.caught([name]):
            cohort, spectrum = _cohort(run, inputs)
            with run.clock.step("rotation"):
                data = spectrum.rotate_jointly(cohort.Y, cohort.X)
            with run.clock.step("inference"):
                result = correlations(
                    data, traits=cohort.traits, covariates=cohort.covariates, seed=seed, methods=("reml",)
                )
                assert result.reml is not None  # its only method failed otherwise
                fit = JointFit(spectrum, cohort.missing, joint_whitened(data), result.reml)
            with run.clock.step("predictions"):
                values = _values(inputs, run, cohort, fit)
            skill: dict[str, CrossValidation] = {}
            if folds:
                with run.clock.step("cross-validation"):
                    skill = _cross_validated(cohort, folds, seed, bend=settings.kinship.bend)
                tables["cross_validation"] = pd.concat([skill_table(*each) for each in skill.items()])
            tables["estimates"] = result.estimates
            with run.clock.step("writing"):
                for trait, table in values.items():
                    write_table(table, run.out / f"{trait}.breeding_values.tsv")
                for trait, validated in skill.items():
                    write_table(validated.records, run.out / f"{trait}.folds.tsv")
                report = joint_report(result, cohort, spectrum, values, skill, run.pictures)
            print(f"\n{joint_lines(result, values, skill)}")
            run.traits[name] = cohort_record(cohort, spectrum) | {
                "records": dict(zip(cohort.traits, (~cohort.missing).sum(axis=0).tolist(), strict=True)),
                "predicted": len(inputs.kinship.ids),
                "loglik": result.reml.loglik,
            }
        if failures.why:
            report = failed_report(failures.why)
            tables = {"estimates": with_rows([], failures.rows(parameter="rho_u"))}
        for kind, table in tables.items():
            write_table(table, run.out / f"{kind}.tsv")
        run.finish(inputs, VariancePrior(), report=report)
    return run.answer(tables)


def _cohort(run: Run, inputs: Inputs) -> tuple[Cohort, Spectrum]:
    """Return everybody with at least one of the traits, and the decomposition of their kinship; say who they are."""
    kinship = run.settings.kinship
    cohort = align_jointly(inputs.kinship, inputs.measurements, centred=kinship.centre, normalised=kinship.normalise)
    spectrum = run.spectrum_of(cohort)
    run.keep_spectra([(cohort.ids, spectrum)])
    print(f"\n{cohort_lines(cohort)}")
    return run.with_principal_components(cohort, spectrum), spectrum


def _values(inputs: Inputs, run: Run, cohort: Cohort, fit: JointFit) -> dict[str, pd.DataFrame]:
    """Return the breeding values of everybody in the kinship, with ids and whether there is a record, by trait."""
    kinship, settings = inputs.kinship, run.settings.kinship
    row_of = {name: i for i, name in enumerate(kinship.ids)}
    rows = np.array([row_of[name] for name in cohort.ids])
    analysed = kinship.dense()[np.ix_(rows, rows)]
    divisor = mean_diagonal(analysed, centred=settings.centre) if settings.normalise else 1.0
    others = everybody(kinship, rows).changed(analysed, centred=settings.centre, divisor=divisor)
    row = np.full(len(kinship.ids), -1)
    row[rows] = np.arange(len(rows))
    X = [_covariates(inputs, cohort, fit.spectrum, others, j) for j in range(len(cohort.traits))]
    tables = fit.tables(others.K, others.diagonal, X, row=row)
    for missing, table in zip(cohort.missing.T, tables, strict=True):
        table.insert(0, "IID", others.who.ids)
        table.insert(1, "recorded", (row >= 0) & ~missing[row])
    return dict(zip(cohort.traits, tables, strict=True))


def _covariates(inputs: Inputs, cohort: Cohort, spectrum: Spectrum, others: Others, j: int) -> Float64[ndarray, "N c"]:
    """Return X of everybody for one trait, NaN where it is not known, coded as among those with a record of it."""
    who = Individuals(inputs.kinship.families, inputs.kinship.ids)
    ids = [name for name, lacks in zip(cohort.ids, cohort.missing[:, j], strict=True) if not lacks]
    X = covariates_of_others(inputs.measurements, ids, who, others.who)
    if components := cohort.X[j].shape[1] - X.shape[1]:
        return np.column_stack([X, principal_components_of_others(others.K, spectrum, components)])
    return X


def _cross_validated(cohort: Cohort, folds: int, seed: int, *, bend: bool) -> dict[str, CrossValidation]:
    """Predict the records that each fold has of each trait."""
    dealt = dealt_folds(len(cohort.ids), folds, seed)
    found = joint_cross_validate(cohort.K, cohort.Y, cohort.X, folds=dealt, bend=bend)
    for missing, validated in zip(cohort.missing.T, found, strict=True):
        ids = [name for name, lacks in zip(cohort.ids, missing, strict=True) if not lacks]
        validated.records.insert(0, "IID", ids)
    return dict(zip(cohort.traits, found, strict=True))
