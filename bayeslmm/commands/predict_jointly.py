"""``bayeslmm predict --joint``: breeding values of several traits from one model of all their records."""

import pandas as pd

from bayeslmm.analyses.breeding_values import CrossValidation
from bayeslmm.analyses.correlations import correlations
from bayeslmm.analyses.joint_breeding_values import TraitsFit, cross_validate_jointly, everybody_jointly
from bayeslmm.analyses.table import with_rows, write_table
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.joint_cohort import decomposed
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import open_run
from bayeslmm.commands.settings import AnalysisSettings
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.report.failed import failed_report
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
            one = decomposed(run, inputs)
            cohort, spectrum = one.cohort, one.spectrum
            assert isinstance(spectrum, Spectrum)  # decomposed, not multiplied with
            with run.clock.step("inference"):
                result = correlations(
                    one.data, traits=cohort.traits, covariates=cohort.covariates, seed=seed, methods=("reml",)
                )
                assert result.reml is not None  # its only method failed otherwise
                fit = TraitsFit(spectrum, cohort.missing, joint_whitened(one.data), result.reml)
            with run.clock.step("predictions"):
                values = everybody_jointly(
                    inputs.kinship,
                    inputs.measurements,
                    cohort,
                    fit,
                    centred=settings.kinship.centre,
                    normalised=settings.kinship.normalise,
                )
            skill: dict[str, CrossValidation] = {}
            if folds:
                with run.clock.step("cross-validation"):
                    skill = cross_validate_jointly(cohort, folds=folds, seed=seed, bend=settings.kinship.bend)
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
