"""Breeding values from a DataFrame: a formula in, a value for everybody in the kinship out."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from bayeslmm.analyses.breeding_values import (
    CrossValidation,
    TraitFit,
    breeding_values_table,
    cross_validate,
    dealt_folds,
    trait_fit,
)
from bayeslmm.analyses.marker_effects import marker_effects, scores
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.align import align
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.design import INTERCEPT
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_text, dropped_of, with_tables
from bayeslmm.dataframes.tables import measurements_of
from bayeslmm.genotypes.genotypes import Genotypes, open_genotypes
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.posterior.prediction import nodes_of, record_weights


@dataclass(frozen=True, repr=False)
class BreedingValues:
    """The breeding values of one trait, made by `breeding_values`.

    Attributes:
        table: one row for each individual of the kinship, with the trait or without it: ``analysed``, and the columns
            of `breeding_values_table`. A new record is predicted of those whose covariates are known: of those
            analysed, or of everybody where the formula is ``~ 1``.
        fit: REML and the posterior of the variances.
        cohort: the individuals analysed, matched.
        kinship: of everybody.
        genotypes: of which it was computed, if it was.
        prior: of the variances.
    """

    table: pd.DataFrame
    fit: TraitFit
    cohort: Cohort
    kinship: Kinship
    genotypes: Genotypes | None
    prior: VariancePrior | None

    def __repr__(self) -> str:
        others = self.table.loc[~self.table["analysed"], "reliability"]
        sentences = [
            f"breeding values of {self.cohort.traits[0]} for {len(self.table):,} individuals, "
            f"{len(others):,} of them without a record",
            f"reliability at REML: median {self.table.loc[self.table['analysed'], 'reliability'].median():.3g} with a "
            "record" + (f", {others.median():.3g} without" if len(others) else ""),
        ]
        return as_text(sentences, self.cohort, self.kinship.origin_line())

    def _repr_html_(self) -> str:
        return with_tables(repr(self), {"": self.table})

    @property
    def dropped(self) -> pd.DataFrame:
        """Whose records were not analysed, and why: reason, count, examples."""
        return dropped_of(self.cohort)

    @cached_property
    def marker_effects(self) -> pd.DataFrame:
        """The effect of one copy of a1 of each marker, as `analyses.marker_effects.marker_effects` has them.

        Posterior means, over the variances too: their sums are ``mean`` of the table.

        Raises:
            InputError: if the kinship was not computed from genotypes.
        """
        return self._effects(integrated=True)

    @cached_property
    def marker_effects_reml(self) -> pd.DataFrame:
        """The same at REML: their sums are ``blup`` of the table."""
        return self._effects(integrated=False)

    def score(self, genotypes: Genotypes | str) -> pd.Series:
        """Return the breeding values of individuals that are not in the kinship, by their genotypes.

        Args:
            genotypes: with the markers of the kinship, opened, or their path.

        Raises:
            InputError: as `scores` and `marker_effects`.
        """
        opened = genotypes if isinstance(genotypes, Genotypes) else open_genotypes(genotypes)
        return scores(self.marker_effects, opened)

    def cross_validate(self, folds: int = 5, *, seed: int = 1) -> CrossValidation:
        """Predict the records of each fold from those of all others.

        Args:
            folds: how many; records are dealt to them at random.
            seed: of that.

        Raises:
            InputError: if there are fewer than 2 folds or more than records, or the rest of a fold cannot be analysed.
        """
        of = self.cohort
        dealt = dealt_folds(len(of.ids), folds, seed)
        found = cross_validate(of.K, of.Y[:, 0], of.X[0], folds=dealt, prior=self.prior)
        return found._replace(records=found.records.set_index(pd.Index(of.ids, name="id")))

    def _effects(self, *, integrated: bool) -> pd.DataFrame:
        if self.genotypes is None:
            raise InputError(
                f"{self.kinship.source}: marker effects need a kinship that is computed from genotypes: give these"
            )
        white, fit = self.fit.white, self.fit
        nodes = fit.posterior.nodes if integrated else nodes_of(fit.estimate, white)
        weights = fit.spectrum.U @ record_weights(white, nodes)
        return marker_effects(self.kinship, self.genotypes, self.cohort.ids, weights)


def breeding_values(
    formula: str,
    *,
    data: pd.DataFrame,
    kinship: KinshipLike,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    prior: VariancePrior | None = None,
    bend: bool = False,
) -> BreedingValues:
    """Predict the breeding value of everybody in a kinship from the records of some.

    Args:
        formula: ``BWT ~ sex``, as for `fit`.
        data: one row for each individual with a record.
        kinship: of everybody, as for `fit`.
        id: the column of ids; by default they are the index.
        ids: of the rows of a kinship that is an array.
        prior: of the variances, by default that of `fit`.
        bend: set all negative eigenvalues of K to 0.

    Raises:
        InputError: for what the user can fix in the formula, the DataFrame or the kinship.
    """
    K, genotypes = kinship_of(kinship, ids=ids)
    people = measurements_of(formula, data, id=id, kinship=K)
    if len(people.traits) > 1:
        raise InputError(
            f"breeding_values takes one trait, but {', '.join(people.traits)} were given: use joint_breeding_values"
        )
    (cohort,) = align(K, people)
    X = cohort.X[0]
    fit = trait_fit(cohort.K, cohort.Y[:, 0], X, prior=prior, where=cohort.source, bend=bend)
    rows = K.rows(cohort.ids)
    everybody = np.full((len(K.ids), X.shape[1]), 1.0 if cohort.covariates[0] == (INTERCEPT,) else np.nan)
    everybody[rows] = X
    table = breeding_values_table(fit, K.dense()[:, rows], K.diagonal(), everybody)
    table.insert(0, "analysed", np.isin(np.arange(len(K.ids)), rows))
    return BreedingValues(table.set_index(pd.Index(K.ids, name="id")), fit, cohort, K, genotypes, prior)
