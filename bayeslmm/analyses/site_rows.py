"""Draws of a user's program as rows of the one table of estimates: every number of every small site."""

import itertools

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from xarray import DataArray, DataTree

from bayeslmm.analyses.table import Note, Row, draws_row

MOST_ELEMENTS = 100
"""Sites with more, such as a value of each individual, are kept only in the file of draws."""
_DRAWS = ("chain", "draw")


def elements(posterior: DataTree) -> dict[str, Float[ndarray, "chain draw"]]:
    """Return the draws of each number: ``site``, or ``site[label]`` and ``site[label,label]``.

    Labels are those of the dimensions, by default numbers from 0. A single trait is not one of them.
    """
    return {
        name: values.transpose(*_DRAWS).to_numpy()
        for site in _small(posterior)
        for name, values in _elements_of(site)
    }  # fmt: skip


def large_site_lines(posterior: DataTree) -> list[str]:
    """Say which sites are too large for a table."""
    small = {site.name for site in _small(posterior)}
    return [
        f"the site {name}, of shape {site.shape[2:]}, is kept with the draws alone"
        for name, site in posterior["posterior"].dataset.data_vars.items()
        if name not in small
    ]


def site_rows(posterior: DataTree, trait: str) -> list[Row]:
    """Return means, standard deviations, equal-tailed intervals, bulk ESS and R-hat of each number."""
    return [_row(trait, name, values) for name, values in elements(posterior).items()]


def _row(trait: str, name: str, values: Float[ndarray, "chain draw"]) -> Row:
    if np.ptp(values) == 0:
        return Row(trait, "nuts", name, float(values[0, 0]), notes=(Note("info", "constant"),))
    infinite = () if np.isfinite(values).all() else (Note("info", "some draws are not finite"),)
    return draws_row(trait, name, values, *infinite)


def _small(posterior: DataTree) -> list[DataArray]:
    sites = posterior["posterior"].dataset.data_vars.values()
    return [site for site in sites if site[0, 0].size <= MOST_ELEMENTS]


def _elements_of(site: DataArray) -> list[tuple[str, DataArray]]:
    if site.sizes.get("trait") == 1:
        site = site.squeeze("trait", drop=True)
    dims = [dim for dim in site.dims if dim not in _DRAWS]
    labels = itertools.product(*(site[dim].to_numpy().tolist() for dim in dims))
    return [
        (
            f"{site.name}[{','.join(map(str, at))}]" if dims else str(site.name),
            site.sel(dict(zip(dims, at, strict=True))),
        )
        for at in labels
    ]
