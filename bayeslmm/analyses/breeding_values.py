"""Breeding values of everybody in a kinship, and how well they predict: tables for one trait."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int64
from numpy import ndarray

from bayeslmm.analyses.table import WALD
from bayeslmm.base.checks import InputError
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.reml import reml
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import Spectrum, decompose
from bayeslmm.likelihood.whitened import Whitened, whitened
from bayeslmm.posterior import exact
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.posterior.prediction import Prediction, nodes_of, predict


class TraitFit(NamedTuple):
    """One trait of some individuals, with what predictions from it need.

    Attributes:
        spectrum: of the K of these individuals.
        white: the trait.
        estimate: REML.
        posterior: of the variances.
    """

    spectrum: Spectrum
    white: Whitened
    estimate: Estimate
    posterior: ExactPosterior

    def predictions(
        self, K: Float[ndarray, "N n"], diagonal: Float[ndarray, " N"], X: Float[ndarray, "N c"]
    ) -> tuple[Prediction, Prediction]:
        """Return what is predicted of others at REML, and over the posterior of the variances.

        Args:
            K: kinship of the others with those analysed.
            diagonal: of the kinship of the others.
            X: their covariates, NaN where they are not known.
        """
        C = K @ self.spectrum.U
        both = nodes_of(self.estimate, self.white), self.posterior.nodes
        at_reml, integrated = (predict(self.white, nodes, C, diagonal, X) for nodes in both)
        return at_reml, integrated


def trait_fit(
    K: Float[ndarray, "n n"],
    y: Float[ndarray, " n"],
    X: Float[ndarray, "n c"],
    *,
    prior: VariancePrior | None = None,
    where: str = "K",
    bend: bool = False,
) -> TraitFit:
    """Fit one trait by REML and the exact posterior.

    Args:
        K: kinship of those who have the trait.
        y: the trait.
        X: covariates.
        prior: of the variances, as for `exact.posterior`.
        where: the source of K, for messages.
        bend: as for `decompose`.

    Raises:
        InputError: as `decompose`, `reml` and `exact.posterior`.
    """
    spectrum = decompose(K, where=where, bend=bend)
    white = whitened(spectrum.rotate(y[:, None], X))
    return TraitFit(spectrum, white, reml(white), exact.posterior(white, prior))


def breeding_values_table(
    fit: TraitFit, K: Float[ndarray, "N n"], diagonal: Float[ndarray, " N"], X: Float[ndarray, "N c"]
) -> pd.DataFrame:
    """Return the breeding value of each of N individuals.

    Args:
        fit: of those analysed.
        K: kinship of all N with those analysed.
        diagonal: of their kinship.
        X: their covariates, NaN where they are not known.

    Returns:
        One row for each:

        - blup, pev, reliability: at REML, with the variance of the prediction error, what is not known of fixed effects
          included, and 1 - pev / (sigma2_u K_ii); NaN where sigma2_u is 0;
        - mean, sd: over the posterior of the variances;
        - record, record_sd, record_lower, record_upper: mean, standard deviation and 95% interval (as if normal) of a
          new record, over the same; NaN without covariates.
    """
    at_reml, integrated = fit.predictions(K, diagonal, X)
    with np.errstate(divide="ignore", invalid="ignore"):
        reliability = 1 - at_reml.variance / (fit.estimate.sigma2_u * diagonal)
    record_sd = np.sqrt(integrated.record_variance)
    return pd.DataFrame(
        {
            "blup": at_reml.mean,
            "pev": at_reml.variance,
            "reliability": reliability,
            "mean": integrated.mean,
            "sd": np.sqrt(np.maximum(integrated.variance, 0)),
            "record": integrated.record,
            "record_sd": record_sd,
            "record_lower": integrated.record - WALD * record_sd,
            "record_upper": integrated.record + WALD * record_sd,
        }
    )


class CrossValidation(NamedTuple):
    """How well records are predicted from those of others.

    Attributes:
        records: fold, observed, and of each record left out: reml, reml_sd, mean and sd, what was predicted of it at
            REML and over the posterior of the variances.
        summary: one row each for "reml" and "integrated": the correlation of observed and predicted, the slope of
            observed on predicted (1 if predictions are neither too wide nor too narrow), mean squared error, and the
            share of the records that lie in their 95% interval.
    """

    records: pd.DataFrame
    summary: pd.DataFrame

    def of(self, method: str) -> dict[str, float]:
        """Return the row of a method."""
        row = self.summary.loc[method].to_numpy(float)
        return {str(name): float(value) for name, value in zip(self.summary.columns, row, strict=True)}


def dealt_folds(n: int, folds: int, seed: int) -> Int64[ndarray, " n"]:
    """Return the fold of each of n records, from 1, to which it is dealt at random.

    Raises:
        InputError: if there are fewer than 2 folds or more than records.
    """
    if not 2 <= folds <= n:
        raise InputError(f"folds must lie between 2 and the {n} records, but is {folds}")
    return np.random.default_rng(seed).permutation(np.arange(n) % folds) + 1


def cross_validate(
    K: Float[ndarray, "n n"],
    y: Float[ndarray, " n"],
    X: Float[ndarray, "n c"],
    *,
    folds: Int64[ndarray, " n"],
    prior: VariancePrior | None = None,
    bend: bool = False,
) -> CrossValidation:
    """Predict the records of each fold from those of all others, with variances estimated without it.

    Args:
        K: kinship of those who have the trait.
        y: the trait.
        X: covariates, those of the records that are predicted known.
        folds: to which each record belongs.
        prior: of the variances, as for `exact.posterior`.
        bend: as for `decompose`.

    Raises:
        InputError: if there are fewer than 2 folds, or as `trait_fit`.
    """
    every = np.unique(folds)
    if len(every) < 2:
        raise InputError(f"cross-validation needs at least 2 folds, but {len(every)} was given")
    columns = ["fold", "observed", "reml", "reml_sd", "mean", "sd"]
    records = np.empty((len(y), len(columns)))
    for fold in every:
        out = folds == fold
        where = f"K without fold {fold}"
        fit = trait_fit(K[np.ix_(~out, ~out)], y[~out], X[~out], prior=prior, where=where, bend=bend)
        found = fit.predictions(K[np.ix_(out, ~out)], K.diagonal()[out], X[out])
        predicted = [each for one in found for each in (one.record, np.sqrt(one.record_variance))]
        records[out] = np.column_stack([folds[out], y[out], *predicted])
    table = pd.DataFrame(records, columns=columns).astype({"fold": int})
    return CrossValidation(table, skills(table, PREDICTED))


PREDICTED = (("reml", "reml", "reml_sd"), ("integrated", "mean", "sd"))
"""Each method of a `CrossValidation` of one trait, with its columns of means and standard deviations."""


def skills(records: pd.DataFrame, methods: Sequence[tuple[str, str, str]]) -> pd.DataFrame:
    """Return the summary of a `CrossValidation`.

    Args:
        records: of one.
        methods: as `PREDICTED`.
    """
    rows = {name: _skill(records["observed"], records[at], records[sd]) for name, at, sd in methods}
    return pd.DataFrame(rows).T.rename_axis("method")


def _skill(observed: pd.Series, predicted: pd.Series, sd: pd.Series) -> dict[str, float]:
    covariance = np.cov(observed, predicted)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "correlation": covariance[0, 1] / np.sqrt(covariance[0, 0] * covariance[1, 1]),
            "slope": covariance[0, 1] / covariance[1, 1],
            "mse": float(np.square(observed - predicted).mean()),
            "coverage": float((abs(observed - predicted) <= WALD * sd).mean()),
        }
