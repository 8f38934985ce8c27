"""Principal components of K among the covariates."""

from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.leading import principal_components
from bayeslmm.likelihood.rotation import Spectrum


def with_principal_components(cohort: Cohort, spectrum: Spectrum, k: int) -> Cohort:
    """Return the cohort with the k leading principal components of its kinship, PC1 and so on, in every X.

    Raises:
        InputError: if k is not between 0 and n, or they are collinear with covariates.
    """
    return cohort if k == 0 else _with(cohort, spectrum.principal_components(k))


def principal_components_of_others(K: Float64[ndarray, "N n"], spectrum: Spectrum, k: int) -> Float64[ndarray, "N k"]:
    """Return the k leading principal components of individuals who are not analysed, as their kinship tells them.

    Args:
        K: their kinship with those analysed.
        spectrum: of the K of these.
        k: how many, at least 1.
    """
    return K @ (spectrum.principal_components(k) / spectrum.s[::-1][:k])


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
