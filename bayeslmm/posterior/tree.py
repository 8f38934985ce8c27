"""Draws of a posterior as an ArviZ DataTree, with the data behind them and what is needed to repeat them."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import arviz_base
import numpy as np
from xarray import DataTree

from bayeslmm.likelihood.components import Components
from bayeslmm.likelihood.joint_components import JointComponents
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.likelihood.two_values import TwoValues

CONVENTION = "y = X beta + g + e, g ~ N(0, sigma2_u K); h2 = sigma2_u / (sigma2_u + sigma2_e); pve scales K by k_scale"
OF_COMPONENTS = "y = X beta + sum of Z b + e, b ~ N(0, sigma2 K) of each component; share = sigma2 / sum of all sigma2"
ROTATED_ROW = "rotated_row"
"""The dimension of the rows of the rotated data, along the eigenvectors of K: they are no individuals."""
OF_TWO_VALUES = (
    "y = 1 where X beta_liability + g + e > 0, g ~ N(0, sigma2_u_liability K), e ~ N(0, 1); h2_liability = "
    "sigma2_u_liability / (sigma2_u_liability + 1)"
)
_PACKAGES = ("bayeslmm", "numpyro", "jax", "arviz", "numpy", "scipy")


Data = RotatedData | JointData | Components | JointComponents | TwoValues
"""What draws are conditional on."""


def draws_tree(
    posterior: Mapping[str, np.ndarray],
    data: Data,
    *,
    dims: Mapping[str, Sequence[str]],
    coords: Mapping[str, Sequence[Any]] | None,
    attrs: Mapping[str, Any],
    sample_stats: Mapping[str, np.ndarray] | None = None,
) -> DataTree:
    """Return draws as a DataTree with groups posterior, observed_data (y), constant_data (s, X; E of several traits).

    y of one trait has one dimension, as its site in the program, and as ArviZ likes it.
    Records with several components are kept as they were given: y and X, which name themselves; of several traits X is
    0 where a row lacks its trait. A trait of two values is one of individuals, 1 for cases.

    Args:
        posterior: draws of each site, shapes (chain, draw, ...).
        data: what they are conditional on.
        dims: of each site.
        coords: names of traits and covariates.
        attrs: kept with the tree, beside versions, n, k_scale and the convention.
        sample_stats: of the sampler, if there was one.
    """
    tree = arviz_base.from_dict(
        {
            "posterior": dict(posterior),
            **({"sample_stats": dict(sample_stats)} if sample_stats else {}),
            **_data_groups(data),
        },
        coords={**_own_coords(data), **{name: list(values) for name, values in (coords or {}).items()}},
        dims={**_data_dims(data), **dims},
    )
    tree.attrs |= {**{f"version_{name}": version(name) for name in _PACKAGES}, **_data_attrs(data), **attrs}
    return tree


def _data_groups(data: Data) -> dict[str, dict[str, np.ndarray]]:
    if isinstance(data, JointComponents):
        X = [np.where(known[:, None], X, 0.0) for X, known in zip(data.records.X, data.records.known.T, strict=True)]
        return {"observed_data": {"y": data.records.Y}, "constant_data": {"X": np.column_stack(X)}}
    if isinstance(data, Components):
        return {"observed_data": {"y": data.records.y}, "constant_data": {"X": data.records.X}}
    if isinstance(data, TwoValues):
        return {"observed_data": {"y": data.case.astype(int)}, "constant_data": {"X": data.X}}
    y = np.asarray(data.Y[:, 0] if data.Y.shape[1] == 1 else data.Y)
    return {"observed_data": {"y": y}, "constant_data": _constant_data(data)}


def _own_coords(data: Data) -> dict[str, list[str]]:
    if isinstance(data, JointComponents):
        traits, covariates = data.records.traits, data.records.covariates
        named = [f"{trait}:{name}" for trait, names in zip(traits, covariates, strict=True) for name in names]
        of_traits = {"trait": list(traits), "trait_bis": list(traits)}
        return {"component": list(data.names), **of_traits, "coefficient": named}
    if not isinstance(data, Components):
        return {}
    return {"component": list(data.names), "covariate": list(data.records.covariates)}


def _data_dims(data: Data) -> dict[str, list[str]]:
    if isinstance(data, JointComponents):
        return {"y": ["record", "trait"], "X": ["record", "coefficient"]}
    if isinstance(data, Components):
        return {"y": ["record"], "X": ["record", "covariate"]}
    if isinstance(data, TwoValues):
        return {"y": ["individual"], "X": ["individual", "covariate"]}
    of_y = [ROTATED_ROW, "trait"][: 1 if data.Y.shape[1] == 1 else 2]
    of_X = [ROTATED_ROW, "coefficient" if isinstance(data, JointData) else "covariate"]
    return {"y": of_y, "s": [ROTATED_ROW], "counts": [ROTATED_ROW], "X": of_X}


def _data_attrs(data: Data) -> dict[str, Any]:
    if isinstance(data, JointComponents):
        return {"n": len(data.records.Y), "convention": OF_COMPONENTS}
    if isinstance(data, Components):
        return {"n": data.n, "convention": OF_COMPONENTS}
    convention = OF_TWO_VALUES if isinstance(data, TwoValues) else CONVENTION
    n = data.n if isinstance(data, RotatedData | JointData) else len(data.s)
    return {"n": n, "k_scale": float(data.k_scale), "convention": convention}


def _constant_data(data: RotatedData | JointData) -> dict[str, np.ndarray]:
    """Return what the draws are conditional on, besides y; the matrices of all traits side by side."""
    constants = {
        name: value for name, value in data._asdict().items() if name not in ("Y", "k_scale") and value is not None
    }
    whole = {name: np.column_stack(v) if isinstance(v, tuple) else np.asarray(v) for name, v in constants.items()}
    return {name: value for name, value in whole.items() if value.size}
