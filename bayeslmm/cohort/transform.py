"""Transformations of traits: logarithms, and normal scores of ranks."""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray
from scipy.stats import norm, rankdata

Transform = Literal["log", "rank"]

WORDS = {
    "log": "natural logarithms",
    "rank": "normal scores of the ranks among the individuals analysed, (rank - 3/8) / (n + 1/4), ties averaged",
}
"""What the values of a transformed trait are."""


def transformed(y: Float[ndarray, " n"], how: Transform) -> Float64[ndarray, " n"]:
    r"""Return the values of a trait, transformed; those that are missing (NaN) stay so.

    - ``log``: natural logarithms.
    - ``rank``: :math:`\\Phi^{-1}((r_i - 3/8) / (n + 1/4))` with the ranks :math:`r_i` of the n values that are known,
      ties averaged.

    Args:
        y: the values of those analysed; positive for logarithms.
        how: which.

    Source: Blom (1958), Statistical Estimates and Transformed Beta-Variables (the offset 3/8).
    """
    if how == "log":
        return np.log(y)
    known = ~np.isnan(y)
    scores = np.full(len(y), np.nan)
    scores[known] = norm.ppf((rankdata(y[known]) - 3 / 8) / (known.sum() + 1 / 4))
    return scores
