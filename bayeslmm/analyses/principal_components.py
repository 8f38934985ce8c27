"""Principal components of K among the covariates."""

from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.rotation import Spectrum


def with_principal_components(cohort: Cohort, spectrum: Spectrum, k: int) -> Cohort:
    """Return the cohort with the k leading principal components of its kinship, PC1 and so on, in every X.

    Raises:
        InputError: if k is not between 0 and n, or they are collinear with covariates.
    """
    if k == 0:
        return cohort
    return cohort.with_covariates([f"PC{j + 1}" for j in range(k)], spectrum.principal_components(k))
