"""Cohorts whose kinship is never held as a matrix."""

from collections.abc import Iterator, Mapping, Sequence

from bayeslmm.cohort.align import ChosenRows, joint_selection, selections
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
        yield chosen.cohort(_taken(kinship, chosen, centred=centred, normalised=normalised))


def align_products_jointly(
    kinship: Products,
    measurements: Measurements,
    *,
    covariates_of: Mapping[str, Sequence[str]] | None = None,
    centred: bool = False,
    normalised: bool = False,
) -> Cohort[Products]:
    """Return one cohort of every individual with all traits, as `align_jointly`, with a kinship that multiplies.

    Args:
        kinship: of everybody.
        measurements: traits and covariates.
        covariates_of: for some traits the covariates to use in place of all those measured.
        centred: replace K of the individuals analysed by J K J.
        normalised: divide K (after centring) by its mean diagonal.

    Raises:
        InputError: as `joint_selection`.
    """
    chosen = joint_selection(kinship, measurements, covariates_of=covariates_of, complete_only=True)
    return chosen.cohort(_taken(kinship, chosen, centred=centred, normalised=normalised))


def _taken(kinship: Products, chosen: ChosenRows, *, centred: bool, normalised: bool) -> Products:
    K = kinship.take(chosen.in_k)
    return ChangedProducts(K, centred=centred, normalised=normalised) if centred or normalised else K
