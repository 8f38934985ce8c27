"""Individuals who are less related to each other than a limit."""

from dataclasses import replace

import numpy as np

from bayeslmm.base.checks import InputError, examples
from bayeslmm.kinship.kinship import Kinship


def without_relatives(kinship: Kinship, cutoff: float) -> Kinship:
    """Return the kinship of individuals of whom no pair has more than ``cutoff`` in K; `details` says who was left out.

    One after the other, whoever has the most relatives left above the limit is left out, of several the last in K.

    Args:
        kinship: of everybody.
        cutoff: largest K of two individuals, such as 0.05.

    Raises:
        InputError: if fewer than two individuals are left.
    """
    K = kinship.dense()
    n = len(kinship.ids)
    related = cutoff < K
    np.fill_diagonal(related, False)
    relatives = related.sum(axis=0)
    pairs, removed = int(relatives.sum()) // 2, np.zeros(n, dtype=bool)
    while relatives.max() > 0:
        most = n - 1 - int(relatives[::-1].argmax())
        removed[most] = True
        relatives -= related[most]
        relatives[most] = -n
    if n - removed.sum() < 2:
        raise InputError(
            f"{kinship.source}: {int(removed.sum())} of {n} individuals would be left out, as {pairs} pairs have more "
            f"than {cutoff:g} in K: raise the limit (grm_cutoff)"
        )
    ids = [kinship.ids[i] for i in np.flatnonzero(removed)]
    details = kinship.details | {"related": {"cutoff": cutoff, "pairs": pairs, "removed": ids}}
    left = replace(kinship.take(np.flatnonzero(~removed)), source=f"the unrelated of {kinship.source}")
    return replace(left if ids else kinship, details=details)


def relatives_line(kinship: Kinship) -> str:
    """Say who was left out of a kinship of `without_relatives`."""
    related = kinship.details["related"]
    removed = related["removed"]
    who = f" ({examples(removed)})" if removed else ""
    return (
        f"pairs related by more than {related['cutoff']:g}: {related['pairs']:,}; individuals left out: "
        f"{len(removed):,}{who}"
    )
