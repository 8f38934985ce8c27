"""Breeding values of several traits of a DataFrame from one joint model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from bayeslmm.analyses.breeding_values import CrossValidation
from bayeslmm.analyses.joint_breeding_values import TraitsFit, cross_validate_jointly, everybody_jointly, traits_fit
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.align import align_jointly
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.dataframes.kinships import KinshipLike, kinship_of
from bayeslmm.dataframes.shown import as_text, dropped_of, with_tables
from bayeslmm.dataframes.tables import measurements_of
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.report.predict_jointly import joint_answers


@dataclass(frozen=True, repr=False)
class JointBreedingValues:
    """The breeding values of several traits, made by `joint_breeding_values`.

    Attributes:
        tables: by trait, one row for each individual of the kinship: ``recorded``, whether there is a record of the
            trait, and the columns of `TraitsFit.tables`, at joint REML.
        fit: joint REML of the variances.
        cohort: the individuals analysed, who have at least one of the traits.
        kinship: of everybody.
        bend: whether negative eigenvalues of K were set to 0.
    """

    tables: Mapping[str, pd.DataFrame]
    fit: TraitsFit
    cohort: Cohort
    kinship: Kinship
    bend: bool

    def __repr__(self) -> str:
        return as_text(joint_answers(self.tables), self.cohort, self.kinship.origin_line())

    def _repr_html_(self) -> str:
        return with_tables(repr(self), self.tables)

    @property
    def dropped(self) -> pd.DataFrame:
        """Whose records were not analysed, and why: reason, count, examples."""
        return dropped_of(self.cohort)

    def cross_validate(self, folds: int = 5, *, seed: int = 1) -> dict[str, CrossValidation]:
        """Predict the records that each fold has of each trait from all others, those of its other traits among them.

        Args:
            folds: how many; individuals are dealt to them at random.
            seed: of that.

        Returns:
            By trait, what is predicted jointly, and from the trait alone.

        Raises:
            InputError: if there are fewer than 2 folds or more than individuals, or the rest of a fold cannot be
                analysed.
            SearchError: if joint REML of the rest of a fold is not found.
        """
        found = cross_validate_jointly(self.cohort, folds=folds, seed=seed, bend=self.bend)
        return {
            trait: one._replace(records=one.records.set_index("IID").rename_axis("id")) for trait, one in found.items()
        }


def joint_breeding_values(
    formula: str,
    *,
    data: pd.DataFrame,
    kinship: KinshipLike,
    id: str | None = None,
    ids: Iterable[object] | None = None,
    bend: bool = False,
) -> JointBreedingValues:
    """Predict the breeding values of everybody in a kinship for each trait, from the records of all traits.

    Args:
        formula: ``BWT + TARSUS ~ sex``, as for `fit_jointly`. An individual may lack some of the traits.
        data: one row for each individual with a record, and others whose covariates are known: of these new records
            are predicted.
        kinship: of everybody, as for `fit`.
        id: the column of ids; by default they are the index.
        ids: of the rows of a kinship that is an array.
        bend: set all negative eigenvalues of K to 0.

    Raises:
        InputError: for what the user can fix in the formula, the DataFrame or the kinship.
        SearchError: if joint REML is not found.
    """
    K, _ = kinship_of(kinship, ids=ids)
    people = measurements_of(formula, data, id=id, kinship=K)
    if len(people.traits) < 2:
        only = ", ".join(people.traits)
        raise InputError(f"joint_breeding_values takes two or more traits, but only {only} was given")
    cohort = align_jointly(K, people)
    fit = traits_fit(cohort.K, cohort.Y, cohort.X, where=cohort.source, bend=bend)
    tables = {
        trait: table.set_index("IID").rename_axis("id")
        for trait, table in everybody_jointly(K, people, cohort, fit).items()
    }
    return JointBreedingValues(tables, fit, cohort, K, bend)
