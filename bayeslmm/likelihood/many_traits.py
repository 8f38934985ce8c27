"""Many traits of the same people, each in units of its own, in the eigenbasis of one K; values may be missing.

A missing value is a column of X of its own, 1 for that individual (see `JointData`): the restricted likelihood is then
exactly that of the individuals who have the trait, whatever stands in the place of the value.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.rotation import RotatedData, Spectrum
from bayeslmm.likelihood.traces import check_identified, rotated_traces
from bayeslmm.likelihood.whitened import mean_eigenvalue, out_of_range, standardised

_DEFICIENT = 1e-10


class ManyTraits(NamedTuple):
    """Traits in units in which all their numbers are near 1; no likelihood changes but by the logarithm of a unit.

    Attributes:
        data: X orthonormal, each trait replaced by its least-squares residual at unit variance, 0 where it is missing,
            s with mean 1.
        missing: where values are missing, shape (n, t).
        sd: standard deviation of each trait given X, shape (t,).
        free: values of each less columns of X, shape (t,).
        k: mean diagonal of K of the people who have each trait, in the user's units, shape (t,).
        k_scale: that of J K J of these people, see `RotatedData`, shape (t,).
        unit: the mean of s, by which it was divided.
    """

    data: RotatedData
    missing: Bool[ndarray, "n t"]
    sd: Float64[ndarray, " t"]
    free: Int64[ndarray, " t"]
    k: Float64[ndarray, " t"]
    k_scale: Float64[ndarray, " t"]
    unit: float

    def take(self, traits: ndarray) -> "ManyTraits":
        """Return some of the traits, by their places."""
        of_traits = {name: getattr(self, name)[traits] for name in ("sd", "free", "k", "k_scale")}
        data = self.data._replace(Y=self.data.Y[:, traits])
        return self._replace(data=data, missing=self.missing[:, traits], **of_traits)


def many_traits(
    spectrum: Spectrum, Y: Float[ndarray, "..."], X: Float[ndarray, "..."], *, names: tuple[str, ...] = ()
) -> ManyTraits:
    """Return traits in units of their own.

    Args:
        spectrum: of K.
        Y: traits, NaN where a value is missing, shape (n, t).
        X: covariates of all of them, of full column rank among the people who have each, shape (n, c).
        names: of the traits, for messages; by default their numbers.

    Raises:
        InputError: if shapes do not match, numbers are not finite, h2 is not identified, covariates are collinear among
            the people who have a trait, or a trait has too few values or none that vary.
    """
    Y = np.asarray(Y, dtype=float)
    names = names or tuple(str(j + 1) for j in range(Y.shape[1]))
    if len(Y) != len(spectrum.s) or len(X) != len(spectrum.s):
        raise InputError(f"Y and X must have {len(spectrum.s)} rows like K, but have {len(Y)} and {len(X)}")
    if not np.isfinite(X).all():
        raise InputError("X must hold finite numbers only: leave out people without a value of a covariate")
    _refuse(np.isinf(Y).any(axis=0), names, "must hold finite numbers, or NaN where a value is missing")
    Q, _ = orthonormal(X)
    missing = np.isnan(Y)
    free = len(Y) - missing.sum(axis=0) - Q.shape[1]
    _refuse(free < 2, names, f"must have at least {Q.shape[1] + 2} values for {Q.shape[1]} covariates")
    holed = np.flatnonzero(missing.any(axis=0))
    sizes = np.nanmax(np.abs(Y), axis=0)
    residual, _, sd = standardised(Q, np.where(missing, 0.0, Y), free)
    if holed.size:
        residual[:, holed], sd[holed] = _of_those_there(Q, Y[:, holed], missing[:, holed], free[holed], names, holed)
    _refuse(sd <= 1e-10 * sizes, names, "must vary, and be no combination of the covariates")
    k = mean_eigenvalue(spectrum.s)
    for j in np.flatnonzero([bool(out_of_range(one, k)) for one in sd])[:1]:
        raise InputError(f"trait {names[j]}: {out_of_range(float(sd[j]), k)}")
    s, rotated_X = spectrum.s / k, spectrum.U.T @ Q
    check_identified(rotated_traces(s, rotated_X))
    mean, scale = np.full(len(sd), k), np.full(len(sd), spectrum.k_scale)
    if holed.size:
        there = ~missing[:, holed]
        count = there.sum(axis=0)
        mean[holed] = (np.square(spectrum.U) @ spectrum.s) @ there / count
        along_ones = spectrum.U.T @ there
        scale[holed] = mean[holed] - spectrum.s @ np.square(along_ones) / count**2
    data = RotatedData(s, spectrum.U.T @ residual, rotated_X, spectrum.k_scale / k)
    return ManyTraits(data, missing, sd, free, mean, scale, k)


def _of_those_there(
    Q: ndarray, Y: ndarray, missing: ndarray, free: ndarray, names: tuple[str, ...], places: ndarray
) -> tuple[Float64[ndarray, "n t"], Float64[ndarray, " t"]]:
    """Return `standardised` residuals, 0 where the trait is missing, and standard deviations."""
    products = (Q[:, :, None] * Q[:, None, :]).reshape(len(Q), -1)
    grams = (products.T @ ~missing).T.reshape(-1, Q.shape[1], Q.shape[1])
    deficient = np.linalg.eigvalsh(grams)[:, 0] < _DEFICIENT
    _refuse(deficient, [names[j] for j in places], "must have covariates that are not collinear where it has a value")
    size = np.nanmax(np.abs(Y), axis=0)
    size[size == 0] = 1.0
    residual = np.where(missing, 0.0, Y / size)
    for _ in range(2):  # the first has lost the digits that the values have in common
        b = np.linalg.solve(grams, (Q.T @ residual).T[:, :, None])[:, :, 0]
        residual = np.where(missing, 0.0, residual - Q @ b.T)
    root = np.sqrt(np.square(residual).sum(axis=0) / free)
    return residual / np.where(root > 0, root, 1.0), root * size


def _refuse(bad: Bool[ndarray, " t"], names: tuple[str, ...] | list[str], must: str) -> None:
    if bad.any():
        which = [names[int(j)] for j in np.flatnonzero(bad)]
        raise InputError(f"{len(which)} traits ({examples(which)}) are refused, for each {must}: leave them out")
