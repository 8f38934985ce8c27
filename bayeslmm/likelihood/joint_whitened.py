"""Several traits in units of their own: what every search and system of equations of several traits works on."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.bases import independent, orthonormal
from bayeslmm.likelihood.joint_products import JointProducts
from bayeslmm.likelihood.rotation import JointData

_LEAST, _MOST = 1e-305, 1e305  # of a unit of variance, beyond which float64 has no digits, or no number
_SAME = 1e-5  # share of variance that a combination of traits may have of its own and still be called 0


@dataclass(frozen=True, eq=False)
class JointWhitened:
    """Several traits in units in which all their numbers are near 1; no likelihood changes but by `log_units`.

    Attributes:
        data: X orthonormal, traits replaced by their least-squares residuals at unit variance, s with mean 1.
        R, b: for each trait, with which fixed effects return to the user's X, as in `whitened`.
        sd: standard deviation of each trait given its covariates, shape (t,).
        k: the mean of s, by which it was divided.
        given: the user's data.
    """

    data: JointData
    R: tuple[Float64[ndarray, "_ _"], ...]
    b: tuple[Float64[ndarray, " _"], ...]
    sd: Float64[ndarray, " t"]
    k: float
    given: JointData

    @cached_property
    def products(self) -> JointProducts:
        """The likelihood at many covariance matrices; made when it is first asked for."""
        return JointProducts.of(self.data)

    @property
    def unit_u(self) -> Float64[ndarray, "t t"]:
        """What Gamma_u of these data is to be multiplied by, element by element."""
        return np.outer(self.sd / np.sqrt(self.k), self.sd / np.sqrt(self.k))

    @property
    def unit_e(self) -> Float64[ndarray, "t t"]:
        """What Gamma_e of these data is to be multiplied by, element by element."""
        return np.outer(self.sd, self.sd)

    @property
    def log_units(self) -> float:
        """What the restricted log-likelihood of these data has more than that of the user's."""
        sizes = zip(self.data.X, self.data.E, strict=True)
        return float(np.log(self.sd) @ [self.data.n - X.shape[1] - E.shape[1] for X, E in sizes])


SeveralTraits = JointData | JointWhitened
"""What a method for several traits takes: data that several methods take are whitened once."""


def joint_whitened(data: SeveralTraits) -> JointWhitened:
    """Return several traits in units of their own.

    Raises:
        InputError: if a trait has too few records or none that vary, or if its variance in its own units, or its
            genetic variance in those of K, is no number of float64.
    """
    if isinstance(data, JointWhitened):
        return data
    Q, R = zip(*(orthonormal(X) for X in data.X), strict=True)
    largest = np.abs(data.Y).max(axis=0)
    # In two steps: the square of a value of 1e200 is no number.
    unit = np.where(largest > 0, largest, 1.0)
    Y = data.Y / unit
    b = tuple(basis.T @ y for basis, y in zip(Q, Y.T, strict=True))
    residual = np.column_stack([y - basis @ part for y, basis, part in zip(Y.T, Q, b, strict=True)])
    free = np.array([data.n - E.shape[1] - X.shape[1] for X, E in zip(data.X, data.E, strict=True)])
    sd = np.sqrt(np.square(residual).sum(axis=0) / np.maximum(free, 1))
    for j in range(len(sd)):
        if free[j] < 2 or sd[j] <= 1e-10 * np.sqrt(np.mean(Y[:, j] ** 2)):
            raise InputError(f"trait {j + 1} has nothing left once its {data.X[j].shape[1]} covariates are fitted")
    top = float(data.s.max()) or 1.0
    k = float(np.average(data.s / top, weights=data.counts)) * top or 1.0
    whitened = JointWhitened(
        data._replace(s=data.s / k, Y=residual / sd, X=Q),
        R,
        tuple(part * one for part, one in zip(b, unit, strict=True)),
        sd * unit,
        k,
        data,
    )
    with np.errstate(over="ignore", under="ignore"):
        of_trait = [whitened.unit_u.diagonal(), whitened.unit_e.diagonal()]
    for j, (u, e) in enumerate(zip(*of_trait, strict=True)):
        if not (_LEAST <= u <= _MOST and _LEAST <= e <= _MOST):
            raise InputError(
                f"trait {j + 1} has a standard deviation of {whitened.sd[j]:.3g} and K a mean diagonal of {k:.3g}: "
                "their variance components are beyond what double precision holds, change the units of one of them"
            )
    return whitened


def check_distinct(data: JointData, names: Sequence[str]) -> None:
    """Refuse traits of which one is a multiple of another, or a linear combination of the others, given covariates.

    Both covariance matrices are then singular and the likelihood has no maximum. Looked at are each pair, among the
    individuals with both, and all together, among those with all.

    Args:
        data: the traits in the eigenbasis.
        names: of the traits.

    Raises:
        InputError: naming the traits.
    """
    t = len(names)
    together: list[tuple[int, ...]] = [*combinations(range(t), 2), *([tuple(range(t))] if t > 2 else [])]
    for chosen in together:
        _check_rank(data.take(chosen), [names[j] for j in chosen])


def _check_rank(data: JointData, names: Sequence[str]) -> None:
    E = data.E[0]
    for other in data.E[1:]:
        # An individual who lacks two traits has the same column twice.
        E = np.column_stack([E, other[:, np.abs(E.T @ other).max(axis=0, initial=0.0) < 0.5]])
    # Without the individuals who lack one of the traits, and without what covariates explain.
    Z = np.column_stack([*data.X, data.Y / np.maximum(np.abs(data.Y).max(axis=0), np.finfo(float).tiny)])
    Z = Z - E @ (E.T @ Z)
    X, Y = Z[:, : -len(names)], Z[:, -len(names) :]
    Q, _ = independent(X)
    left = Y - Q @ (Q.T @ Y)
    length = np.linalg.norm(left, axis=0)
    if data.n - E.shape[1] - Q.shape[1] <= len(names) or (length <= 1e-10 * np.linalg.norm(Y, axis=0)).any():
        return
    values, vectors = np.linalg.eigh((left / length).T @ (left / length))
    if values[0] >= _SAME:
        return
    weight = np.abs(vectors[:, 0])
    among = [name for name, share in zip(names, weight, strict=True) if share > 1e-2 * weight.max()]
    which = (
        f"{among[1]} is {among[0]} again, or a multiple of it,"
        if len(among) == 2
        else f"{among[-1]} is a combination of {' and '.join(among[:-1])}"
    )
    raise InputError(
        f"each trait must say something that the others do not, but {which} once covariates are fitted (all but "
        f"{max(values[0], 0):.1g} of its variance): leave one of {', '.join(among)} out"
    )
