"""Draws of a posterior as an ArviZ DataTree, with the data behind them and what is needed to repeat them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import arviz_base
import numpy as np
from xarray import DataTree

from bayeslmm.likelihood.rotation import JointData, RotatedData

CONVENTION = "y = X beta + g + e, g ~ N(0, sigma2_u K); h2 = sigma2_u / (sigma2_u + sigma2_e); pve scales K by k_scale"
ROTATED_ROW = "rotated_row"
"""The dimension of the rows of the rotated data, along the eigenvectors of K: they are no individuals."""
_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy")
_DATA_DIMS = {"s": [ROTATED_ROW], "X": [ROTATED_ROW, "covariate"]}


def draws_tree(
    posterior: Mapping[str, np.ndarray],
    data: RotatedData | JointData,
    *,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]] | None,
    attrs: Mapping[str, Any],
    sample_stats: Mapping[str, np.ndarray] | None = None,
) -> DataTree:
    """Return draws as a DataTree with groups posterior, observed_data (y), constant_data (s, X; E of several traits).

    y of one trait has one dimension, as its site in the program, and as ArviZ likes it.

    Args:
        posterior: draws of each site, shapes (chain, draw, ...).
        data: what they are conditional on.
        dims: of each site.
        coords: names of traits and covariates.
        attrs: kept with the tree, beside versions, n, k_scale and the convention.
        sample_stats: of the sampler, if there was one.
    """
    y = np.asarray(data.Y[:, 0] if data.Y.shape[1] == 1 else data.Y)
    of_data = {**_DATA_DIMS, "y": [ROTATED_ROW, "trait"][: y.ndim]}
    if isinstance(data, JointData):
        of_data["X"] = [ROTATED_ROW, "coefficient"]
    tree = arviz_base.from_dict(
        {
            "posterior": dict(posterior),
            **({"sample_stats": dict(sample_stats)} if sample_stats else {}),
            "observed_data": {"y": y},
            "constant_data": _constant_data(data),
        },
        coords={name: list(values) for name, values in (coords or {}).items()},
        dims={**of_data, **dims},
    )
    tree.attrs |= {
        **{f"version_{name}": version(name) for name in _PACKAGES},
        "n": len(data.s),
        "k_scale": float(data.k_scale),
        "convention": CONVENTION,
        **attrs,
    }
    return tree


def _constant_data(data: RotatedData | JointData) -> dict[str, np.ndarray]:
    """Return what the draws are conditional on, besides y; the matrices of all traits side by side."""
    constants = {name: value for name, value in data._asdict().items() if name not in ("Y", "k_scale")}
    whole = {name: np.column_stack(v) if isinstance(v, tuple) else np.asarray(v) for name, v in constants.items()}
    return {name: value for name, value in whole.items() if value.size}
