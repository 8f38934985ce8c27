"""One trait in units in which all its numbers are near 1."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.traces import check_identified, rotated_traces

_LARGEST = 1e70  # of a standard deviation: the variance of a variance, its fourth power, must be a number


class Whitened(NamedTuple):
    """One trait in units in which all its numbers are near 1; no likelihood changes but by `log_unit`.

    Attributes:
        data: X orthonormal, y replaced by its least-squares residual at unit variance, s with mean 1.
        R, b: with which fixed effects return to the user's X: R^-1 (sd beta + b).
        sd: standard deviation of y given X.
        k: the mean of s, by which it was divided.
        given: the user's data.
    """

    data: RotatedData
    R: Float[ndarray, "c c"]
    b: Float[ndarray, " c"]
    sd: float
    k: float
    given: RotatedData

    @property
    def unit_u(self) -> float:
        """What sigma2_u of these data is to be multiplied by."""
        return self.sd**2 / self.k

    @property
    def unit_e(self) -> float:
        """What sigma2_e of these data is to be multiplied by."""
        return self.sd**2

    @property
    def log_unit(self) -> float:
        """What a log-likelihood of one observation of these data has more than that of the user's."""
        return float(np.log(self.sd))


OneTrait = RotatedData | Whitened
"""What a method for one trait takes: data that several methods take are whitened once."""


def whitened(data: OneTrait) -> Whitened:
    """Return one trait in units of its own: no digits are lost to its mean, nor to any unit.

    Raises:
        InputError: if Y has more than one column, h2 is not identified, or numbers are not finite or out of range.
    """
    if isinstance(data, Whitened):
        return data
    if data.Y.shape[1] != 1:
        raise InputError(f"one trait is analysed at a time, but Y has {data.Y.shape[1]} columns: choose one of them")
    for name, array in (("s", data.s), ("Y", data.Y), ("X", data.X)):
        if not np.isfinite(array).all():
            where = examples(np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1)) + 1)
            raise InputError(f"{name} must hold finite numbers only, but row {where} does not")
    Q, R = orthonormal(data.X)
    n, c = data.n, Q.shape[1]
    s = np.asarray(data.s, dtype=float)
    k = mean_eigenvalue(s, data.counts)
    Y, b, sds = standardised(Q, np.asarray(data.Y, dtype=float), np.array([max(n - c, 1)]))
    sd = float(sds[0])
    if problem := out_of_range(sd, k):
        raise InputError(problem)
    white = data._replace(s=s / k, X=Q, Y=Y, k_scale=data.k_scale / k)
    check_identified(rotated_traces(white.s, Q, white.counts))
    return Whitened(white, R, b[:, 0], sd, k, data)


def mean_eigenvalue(s: Float[ndarray, " n"], counts: Float[ndarray, " n"] | None = None) -> float:
    """Return the mean diagonal of K, whatever its unit.

    Args:
        s: eigenvalues.
        counts: how many there are of each, by default one.

    Raises:
        InputError: if K is 0.
    """
    largest = float(s.max())
    if not largest > 0:
        raise InputError("K is 0: nobody is related to anybody, not even to themselves")
    return float(np.average(s / largest, weights=counts) * largest)


def standardised(
    Q: Float[ndarray, "n c"], Y: Float[ndarray, "n t"], free: Int[ndarray, " t"]
) -> tuple[Float64[ndarray, "n t"], Float64[ndarray, "c t"], Float64[ndarray, " t"]]:
    """Return least-squares residuals of traits at unit variance, coefficients on Q, and standard deviations.

    Args:
        Q: orthonormal covariates.
        Y: traits.
        free: by which the sum of squares of each is divided for its variance.
    """
    size = np.abs(Y).max(axis=0)
    size[size == 0] = 1.0
    b = Q.T @ (Y / size)
    residual = Y / size - Q @ b
    correction = Q.T @ residual  # once more: the first has lost the digits that y has in common
    residual, b = residual - Q @ correction, b + correction
    root = np.sqrt(np.square(residual).sum(axis=0) / free)
    return residual / np.where(root > 0, root, 1.0), b * size, root * size


def out_of_range(sd: float, k: float) -> str:
    """Say why variances would be no numbers of float64; empty if they are.

    Args:
        sd: standard deviation of a trait given its covariates.
        k: mean diagonal of K.
    """
    if not 1 / _LARGEST < sd < _LARGEST:
        return (
            f"the standard deviation of the trait given its covariates is {sd:.3g}, and must be between "
            f"{1 / _LARGEST:g} and {_LARGEST:g}, so that variances and their standard errors are numbers: give the "
            "trait in another unit, or leave it out if the covariates determine it"
        )
    if abs(2 * np.log(sd) - np.log(k)) > 2 * np.log(_LARGEST):
        return (
            f"sigma2_u would be about 1e{2 * np.log10(sd) - np.log10(k):.0f}, too far from 1 for its standard error: "
            f"the standard deviation of the trait is {sd:.3g}, the mean diagonal of K {k:.3g}: give one in another unit"
        )
    return ""
