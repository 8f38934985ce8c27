"""Breeding values of several traits from one joint model, and how well it predicts beside each trait alone."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int64
from numpy import ndarray

from bayeslmm.analyses.breeding_values import PREDICTED, CrossValidation, cross_validate, dealt_folds, skills
from bayeslmm.analyses.principal_components import design_of_others
from bayeslmm.analyses.table import WALD
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.others import everybody, mean_diagonal
from bayeslmm.likelihood.joint_whitened import JointWhitened, joint_whitened
from bayeslmm.likelihood.rotation import JointData, Spectrum, decompose
from bayeslmm.posterior.joint_prediction import Relatives, joint_predict
from bayeslmm.posterior.prediction import Prediction


class TraitsFit(NamedTuple):
    """Several traits of some individuals, with what predictions from them need.

    Attributes:
        spectrum: of the K of these individuals.
        missing: which records they lack, shape (n, t).
        white: the traits.
        estimate: joint REML.
    """

    spectrum: Spectrum
    missing: Bool[ndarray, "n t"]
    white: JointWhitened
    estimate: JointEstimate

    @classmethod
    def of(cls, spectrum: Spectrum, data: JointData, missing: Bool[ndarray, "n t"]) -> "TraitsFit":
        """Fit rotated traits by joint REML.

        Raises:
            InputError: as `joint_reml`.
            SearchError: as `joint_reml`.
        """
        white = joint_whitened(data)
        return cls(spectrum, missing, white, joint_reml(white))

    def predictions(
        self,
        K: Float[ndarray, "N n"],
        diagonal: Float[ndarray, " N"],
        X: Sequence[Float[ndarray, "N _"]],
        *,
        row: Int64[ndarray, " N"],
        traits: Sequence[int] | None = None,
    ) -> list[Prediction]:
        """Return what is predicted of others, for all traits or for some.

        Args:
            K: kinship of the others with those analysed.
            diagonal: of the kinship of the others.
            X: their covariates of each trait, NaN where they are not known.
            row: which of those analysed each of them is, -1 for none.
            traits: which, counted from 0.

        Raises:
            AnalysisError: as `joint_predict`.
        """
        U, analysed = self.spectrum.U, (row >= 0)[:, None]
        own, lacks = np.where(analysed, U[row], 0.0), analysed & self.missing[row]
        who = Relatives(K @ U, diagonal, own, lacks, X)
        chosen = range(self.missing.shape[1]) if traits is None else traits
        return joint_predict(self.white, self.estimate.Gamma_u, self.estimate.Gamma_e, who, chosen)

    def tables(
        self,
        K: Float[ndarray, "N n"],
        diagonal: Float[ndarray, " N"],
        X: Sequence[Float[ndarray, "N _"]],
        *,
        row: Int64[ndarray, " N"],
    ) -> list[pd.DataFrame]:
        """Return the breeding values of each of N individuals, a table for each trait; arguments of `predictions`.

        Returns:
            One row for each individual:

            - blup, pev, reliability: at joint REML, with the variance of the prediction error, what is not known of
              fixed effects included, and 1 - pev / (Gamma_u[j, j] K_ii); NaN where that variance is 0;
            - record, record_sd, record_lower, record_upper: mean, standard deviation and 95% interval of the record
              that somebody analysed lacks, with what the residuals of the other traits say, or of a new one of
              anybody else; NaN without covariates.
        """
        found = self.predictions(K, diagonal, X, row=row)
        return [_table(one, self.estimate.Gamma_u[j, j] * diagonal) for j, one in enumerate(found)]


def _table(found: Prediction, genetic: Float[ndarray, " N"]) -> pd.DataFrame:
    with np.errstate(divide="ignore", invalid="ignore"):
        reliability = np.where(genetic > 0, 1 - found.variance / genetic, np.nan)
    sd = np.sqrt(found.record_variance)
    return pd.DataFrame(
        {
            "blup": found.mean,
            "pev": found.variance,
            "reliability": reliability,
            "record": found.record,
            "record_sd": sd,
            "record_lower": found.record - WALD * sd,
            "record_upper": found.record + WALD * sd,
        }
    )


def traits_fit(
    K: Float[ndarray, "n n"],
    Y: Float[ndarray, "n t"],
    X: Sequence[Float[ndarray, "n _"]],
    *,
    where: str = "K",
    bend: bool = False,
) -> TraitsFit:
    """Fit several traits by joint REML.

    Args:
        K: kinship of those who have at least one of the traits.
        Y: the traits, NaN where a record is missing.
        X: covariates of each trait; rows without a record are ignored.
        where: the source of K, for messages.
        bend: as for `decompose`.

    Raises:
        InputError: as `decompose`, `Spectrum.rotate_jointly` and `joint_reml`.
        SearchError: as `joint_reml`.
    """
    spectrum = decompose(K, where=where, bend=bend)
    return TraitsFit.of(spectrum, spectrum.rotate_jointly(Y, X), np.isnan(Y))


def joint_cross_validate(
    K: Float[ndarray, "n n"],
    Y: Float[ndarray, "n t"],
    X: Sequence[Float[ndarray, "n _"]],
    *,
    folds: Int64[ndarray, " n"],
    bend: bool = False,
) -> list[CrossValidation]:
    """Predict the records that a fold has of one trait from all others, those of its other traits among them.

    Covariance matrices are estimated without these records. Beside what is predicted jointly there is what the trait
    predicts alone, from the same folds.

    Args:
        K: kinship of those who have at least one of the traits.
        Y: the traits, NaN where a record is missing.
        X: covariates of each trait.
        folds: to which each individual belongs.
        bend: as for `decompose`.

    Returns:
        One for each trait, of those with a record of it: as of `cross_validate`, with the columns joint and joint_sd
        and the row "joint" before the others.

    Raises:
        InputError: as `cross_validate` and `traits_fit`.
        SearchError: as `joint_reml`.
    """
    found: list[CrossValidation] = []
    for j in range(Y.shape[1]):
        has = ~np.isnan(Y[:, j])
        alone = cross_validate(K[np.ix_(has, has)], Y[has, j], X[j][has], folds=folds[has], bend=bend)
        records = alone.records.copy()
        predicted = np.full((len(Y), 2), np.nan)
        for fold in np.unique(folds[has]):
            out = has & (folds == fold)
            predicted[out] = _without(K, Y, X, j, out, where=f"K without fold {fold}", bend=bend)
        records.insert(2, "joint", predicted[has, 0])
        records.insert(3, "joint_sd", predicted[has, 1])
        found.append(CrossValidation(records, skills(records, [("joint", "joint", "joint_sd"), *PREDICTED])))
    return found


def _without(
    K: Float[ndarray, "n n"],
    Y: Float[ndarray, "n t"],
    X: Sequence[Float[ndarray, "n _"]],
    j: int,
    out: Bool[ndarray, " n"],
    *,
    where: str,
    bend: bool,
) -> Float[ndarray, "m 2"]:
    """Return means and standard deviations of records of trait j that are left out."""
    Y = Y.copy()
    Y[out, j] = np.nan
    kept = ~np.isnan(Y).all(axis=1)
    fit = traits_fit(K[np.ix_(kept, kept)], Y[kept], [each[kept] for each in X], where=where, bend=bend)
    row = np.where(kept, np.cumsum(kept) - 1, -1)[out]
    of_out = [each[out] for each in X]
    (one,) = fit.predictions(K[np.ix_(out, kept)], K.diagonal()[out], of_out, row=row, traits=[j])
    return np.column_stack([one.record, np.sqrt(one.record_variance)])


def everybody_jointly(
    kinship: Kinship,
    measurements: Measurements,
    cohort: Cohort,
    fit: TraitsFit,
    *,
    centred: bool = False,
    normalised: bool = False,
) -> dict[str, pd.DataFrame]:
    """Return the breeding values of everybody in a kinship, by trait.

    Args:
        kinship: of those analysed and others.
        measurements: covariates of all of them, coded as among those with a record of a trait.
        cohort: those analysed, made by `align_jointly`; principal components may be among its covariates.
        fit: of the cohort.
        centred: whether K of the cohort is centred on it.
        normalised: whether it is divided by its mean diagonal.

    Returns:
        The tables of `TraitsFit.tables`, with IID, and recorded: whether there is a record of the trait.
    """
    rows = kinship.rows(cohort.ids)
    analysed = kinship.dense()[np.ix_(rows, rows)]
    divisor = mean_diagonal(analysed, centred=centred) if normalised else 1.0
    others = everybody(kinship, rows).changed(analysed, centred=centred, divisor=divisor)
    row = np.full(len(kinship.ids), -1)
    row[rows] = np.arange(len(rows))
    X = [
        design_of_others(measurements, _recorded(cohort, j), kinship, others, fit.spectrum, cohort.X[j].shape[1])
        for j in range(len(cohort.traits))
    ]
    tables = fit.tables(others.K, others.diagonal, X, row=row)
    for missing, table in zip(cohort.missing.T, tables, strict=True):
        table.insert(0, "IID", others.who.ids)
        table.insert(1, "recorded", (row >= 0) & ~missing[row])
    return dict(zip(cohort.traits, tables, strict=True))


def cross_validate_jointly(cohort: Cohort, *, folds: int, seed: int, bend: bool = False) -> dict[str, CrossValidation]:
    """Predict the records that each fold has of each trait, as `joint_cross_validate`, with the column IID.

    Args:
        cohort: made by `align_jointly`.
        folds: how many; individuals are dealt to them at random.
        seed: of that.
        bend: as for `decompose`.

    Raises:
        InputError: as `dealt_folds` and `joint_cross_validate`.
        SearchError: as `joint_reml`.
    """
    dealt = dealt_folds(len(cohort.ids), folds, seed)
    found = joint_cross_validate(cohort.K, cohort.Y, cohort.X, folds=dealt, bend=bend)
    for j, validated in enumerate(found):
        validated.records.insert(0, "IID", _recorded(cohort, j))
    return dict(zip(cohort.traits, found, strict=True))


def _recorded(cohort: Cohort, j: int) -> list[str]:
    """Return who has a record of a trait."""
    return [name for name, lacks in zip(cohort.ids, cohort.missing[:, j], strict=True) if not lacks]
