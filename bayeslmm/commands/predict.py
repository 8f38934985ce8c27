"""``bayeslmm predict``: breeding values of everybody in the kinship, and of new genotypes."""

from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pandas as pd
from jaxtyping import Float64, Int64
from numpy import ndarray

from bayeslmm.analyses.breeding_values import (
    CrossValidation,
    TraitFit,
    breeding_values_table,
    cross_validate,
    dealt_folds,
)
from bayeslmm.analyses.heritability import heritability
from bayeslmm.analyses.marker_effects import marker_posteriors
from bayeslmm.analyses.principal_components import design_of_others
from bayeslmm.analyses.table import write_table
from bayeslmm.base.checks import InputError
from bayeslmm.commands.answer import Answer
from bayeslmm.commands.each_trait import Outcome, run_each_trait
from bayeslmm.commands.genotypes import OPTIONS
from bayeslmm.commands.inference import PriorSettings
from bayeslmm.commands.inputs import Inputs
from bayeslmm.commands.predict_jointly import predict_jointly
from bayeslmm.commands.record import cohort_record
from bayeslmm.commands.run import Analysed, Run
from bayeslmm.commands.settings import AnalysisSettings, EachTrait, check_together
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.kinship.others import Others, everybody, mean_diagonal, new_individuals
from bayeslmm.likelihood.whitened import whitened
from bayeslmm.report.pictures import picture_names
from bayeslmm.report.plots.predict import NAMES
from bayeslmm.report.predict import Predicted, prediction_lines, prediction_part, prediction_report


@dataclass(frozen=True)
class PredictSettings(AnalysisSettings):
    """The options of `predict`."""

    tables: EachTrait
    prior: PriorSettings
    joint: bool
    snp_effects: bool
    new_genotypes: str | None
    folds: int | None
    seed: int

    def __post_init__(self) -> None:
        super().__post_init__()
        for option in ["--snp-effects"] * self.snp_effects + ["--new-genotypes"] * bool(self.new_genotypes):
            if not self.kinship.genotypes:
                raise InputError(f"{option} needs a kinship that is made from genotypes ({OPTIONS})")
        if self.joint:
            check_together(self.tables.trait, "--joint")
            alone = {"--snp-effects": self.snp_effects, "--new-genotypes": self.new_genotypes}
            alone |= {"--prior-h2": self.prior.given}  # joint predictions are at REML
            if given := [option for option, value in alone.items() if value]:
                raise InputError(f"{given[0]} is about one trait at a time: leave it or --joint out")


SETTINGS = PredictSettings


def run(settings: PredictSettings) -> Answer:
    """Predict breeding values from the records of each trait.

    Raises:
        InputError: for errors in files and options that the user can fix.
    """
    if settings.joint:
        return predict_jointly(settings, folds=settings.folds, seed=settings.seed)
    new = open_genotypes(settings.new_genotypes) if settings.new_genotypes else None
    return run_each_trait(
        settings,
        Run.each_trait,
        partial(_analyse, settings, _New(new)),
        prediction_report,
        prior=settings.prior.of_one_trait(),
        notes={"estimates": "note"} | ({"cross_validation": "note"} if settings.folds else {}),
        names=_files,
        more={},
        further=new.files if new else (),
    )


def _files(trait: str) -> list[str]:
    tables = ("breeding_values", "snp_effects", "new_breeding_values", "folds")
    return [*(f"{trait}.{name}.tsv" for name in tables), *picture_names(trait, NAMES)]


@dataclass
class _New:
    """New genotypes; their kinship with the individuals analysed serves all traits measured on the same ones."""

    genotypes: Genotypes | None
    ids: tuple[str, ...] = ()
    kept: tuple[Others, dict[str, int]] | None = field(default=None, repr=False)

    def kinship(self, inputs: Inputs, one: Analysed) -> tuple[Others, dict[str, int]] | None:
        """Return it with how many markers were found, if there are new genotypes."""
        if self.genotypes is None or inputs.markers is None:
            return None
        if self.kept is None or self.ids != one.cohort.ids:
            genotypes = inputs.markers.genotypes
            self.ids = one.cohort.ids
            self.kept = new_individuals(inputs.kinship, genotypes, genotypes.rows(self.ids), self.genotypes)
        return self.kept


def _analyse(settings: PredictSettings, new: _New, run: Run, inputs: Inputs, one: Analysed) -> Outcome:
    with run.clock.step("inference"):
        result = heritability(
            one.data,
            trait=one.trait,
            covariates=one.cohort.covariates[0],
            methods=("reml", "exact"),
            seed=settings.seed,
            prior=settings.prior.of_one_trait() if settings.prior.given else None,
        )
        fit = TraitFit(one.spectrum, whitened(one.data), result.reml, result.fits["exact"])
    with run.clock.step("predictions"):
        predictor = _Predictor.of(settings, inputs, one, fit)
        values = predictor.table(everybody(inputs.kinship, predictor.rows))
        values.insert(1, "analysed", np.isin(np.arange(len(values)), predictor.rows))
        of_new = new.kinship(inputs, one)
        new_values = predictor.table(of_new[0]) if of_new else None
    effects = None
    if settings.snp_effects:
        with run.clock.step("marker effects"):
            effects = predictor.marker_effects()
    validated = None
    if settings.folds:
        with run.clock.step("cross-validation"):
            validated = _cross_validated(settings, settings.folds, one)
    found = Predicted(result, values, new_values, of_new[1] if of_new else {}, effects, validated)
    with run.clock.step("writing"):
        for name, table in found.files.items():
            write_table(table, run.out / f"{one.trait}.{name}.tsv")
        part = prediction_part(found, one.cohort, one.spectrum, run.pictures)
    return Outcome(
        tables={"estimates": result.estimates} | ({} if validated is None else {"cross_validation": found.skill}),
        lines=prediction_lines(found),
        part=part,
        record=cohort_record(one.cohort, one.spectrum) | found.record(),
    )


@dataclass(frozen=True)
class _Predictor:
    """What predicts from the records of one trait.

    Attributes:
        inputs: what was read.
        one: the trait.
        fit: of it.
        rows: of those analysed in the kinship of everybody.
        K: their kinship, as it was read.
        centred: whether it was centred on them.
        divisor: by what it was divided then.
    """

    inputs: Inputs
    one: Analysed
    fit: TraitFit
    rows: Int64[ndarray, " n"]
    K: Float64[ndarray, "n n"]
    centred: bool
    divisor: float

    @classmethod
    def of(cls, settings: PredictSettings, inputs: Inputs, one: Analysed, fit: TraitFit) -> "_Predictor":
        rows = inputs.kinship.rows(one.cohort.ids)
        K, centred = inputs.kinship.dense()[np.ix_(rows, rows)], settings.kinship.centre
        divisor = mean_diagonal(K, centred=centred) if settings.kinship.normalise else 1.0
        return cls(inputs, one, fit, rows, K, centred, divisor)

    def table(self, others: Others) -> pd.DataFrame:
        """Return what is predicted of individuals, with their ids."""
        changed, cohort = others.changed(self.K, centred=self.centred, divisor=self.divisor), self.one.cohort
        X = design_of_others(
            self.inputs.measurements,
            cohort.ids,
            self.inputs.kinship,
            changed,
            self.fit.spectrum,
            cohort.X[0].shape[1],
        )
        table = breeding_values_table(self.fit, changed.K, changed.diagonal, X)
        table.insert(0, "IID", others.who.ids)
        return table

    def marker_effects(self) -> pd.DataFrame | None:
        """Return the effects of markers, if the kinship was made from some."""
        if self.inputs.markers is None:
            return None
        genotypes, ids = self.inputs.markers.genotypes, self.one.cohort.ids
        return marker_posteriors(
            self.inputs.kinship, genotypes, ids, self.fit, centred=self.centred, divisor=self.divisor
        )


def _cross_validated(settings: PredictSettings, folds: int, one: Analysed) -> CrossValidation:
    """Predict each fold of the records from all others."""
    cohort = one.cohort
    prior = settings.prior.of_one_trait() if settings.prior.given else None
    dealt = dealt_folds(len(cohort.ids), folds, settings.seed)
    y = cohort.Y[:, cohort.traits.index(one.trait)]
    found = cross_validate(cohort.K, y, cohort.X[0], folds=dealt, prior=prior, bend=settings.kinship.bend)
    found.records.insert(0, "IID", cohort.ids)
    return found
