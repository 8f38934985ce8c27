"""Cohorts whose kinship is never held as a matrix."""

from collections.abc import Iterator

from bayeslmm.cohort.align import selections
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.kinship.changed_products import ChangedProducts
from bayeslmm.kinship.products import Products


def align_products(
    kinship: Products, measurements: Measurements, *, centred: bool = False, normalised: bool = False
) -> Iterator[Cohort[Products]]:
    """Yield cohorts as `align` does, each with its kinship as something that multiplies.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        centred: replace K of the individuals analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: as `align`, but for memory.
    """
    for chosen in selections(kinship, measurements):
        K = kinship.take(chosen.in_k)
        if centred or normalised:
            K = ChangedProducts(K, centred=centred, normalised=normalised)
        yield chosen.cohort(K)
