"""Principal components of K among the covariates."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.ids import Individuals
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.cohort.others import covariates_of_others
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.kinship.others import Others
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.leading import principal_components
from bayeslmm.likelihood.rotation import Spectrum


def with_principal_components(cohort: Cohort, spectrum: Spectrum, k: int) -> Cohort:
    """Return the cohort with the k leading principal components of its kinship, PC1 and so on, in every X.

    Raises:
        InputError: if k is not between 0 and n, or they are collinear with covariates.
    """
    return cohort if k == 0 else _with(cohort, spectrum.principal_components(k))


def design_of_others(
    measurements: Measurements,
    ids: Sequence[str],
    kinship: Kinship,
    others: Others,
    spectrum: Spectrum,
    columns: int,
) -> Float64[ndarray, "N c"]:
    """Return X of individuals who may not be analysed, principal components as their kinship tells them.

    Args:
        measurements: traits and covariates.
        ids: of those with a record, among whom covariates are coded.
        kinship: everybody in the kinship.
        others: the individuals, with their kinship with those analysed.
        spectrum: of the K of those analysed.
        columns: of their X: those that covariates do not make are principal components.

    Raises:
        InputError: as `covariates_of_others`.
    """
    who = Individuals(kinship.families, kinship.ids)
    X = covariates_of_others(measurements, ids, who, others.who)
    k = columns - X.shape[1]
    if not k:
        return X
    return np.column_stack([X, others.K @ (spectrum.principal_components(k) / spectrum.s[::-1][:k])])


def with_leading_eigenvectors(cohort: Cohort[Products], k: int, *, seed: int) -> Cohort[Products]:
    """Return the cohort as `with_principal_components` does, of a kinship that only multiplies.

    Args:
        cohort: of the individuals.
        k: how many, at least 1.
        seed: of the search.

    Raises:
        InputError: as `likelihood.leading.principal_components`, or if they are collinear with covariates.
    """
    return _with(cohort, principal_components(cohort.K, k, seed=seed))


def _with[K](cohort: Cohort[K], columns: Float64[ndarray, "n k"]) -> Cohort[K]:
    return cohort.with_covariates([f"PC{j + 1}" for j in range(columns.shape[1])], columns)
