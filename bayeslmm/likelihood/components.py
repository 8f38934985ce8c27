r"""The restricted likelihood of records with several components of variance.

.. math::

    \ell(\theta) = -\tfrac12 \bigl[ (n - c) \log 2\pi + \log|V| + \log|X'V^{-1}X| - \log|X'X| + y'Py \bigr], \qquad
    V = \sum_j \theta_j Z_j K_j Z_j' + \theta_e I

in the convention of `one_trait.log_reml`. Two ways to V serve: the mixed-model equations in the eigenbasis of one
component, and a Cholesky factor of V; whichever has the fewer operations is taken. All numbers are in units in which
they are near 1: y its least-squares residual at unit variance, X orthonormal, each ZKZ' divided by its mean diagonal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, examples
from bayeslmm.base.memory import check_memory
from bayeslmm.cohort.records import Component, Records
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.dense_covariance import DenseCovariance
from bayeslmm.likelihood.mixed_model_equations import ComponentData, MixedModelEquations, leading, rotated
from bayeslmm.likelihood.solved import ComponentSolver, Solved


@dataclass(frozen=True, eq=False)
class Components:
    """Records in units in which their numbers are near 1, and the ways to solve with V.

    Attributes:
        records: as they were given.
        parts: the components, each K divided by its scale: priors are about variances on this scale.
        scales: of each component, 1 for groups, shape (k,).
        Q, R: X = Q R, with orthonormal Q.
        b: Q'y, shape (c,).
        sd: standard deviation of y given X.
        y: (y - Q b) / sd.
    """

    records: Records
    parts: tuple[Component, ...]
    scales: Float64[ndarray, " k"]
    Q: Float64[ndarray, "n c"]
    R: Float64[ndarray, "c c"]
    b: Float64[ndarray, " c"]
    sd: float
    y: Float64[ndarray, " n"]

    @property
    def n(self) -> int:
        """Number of records."""
        return len(self.y)

    @property
    def c(self) -> int:
        """Number of covariates."""
        return self.Q.shape[1]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return self.records.names

    @property
    def units(self) -> Float64[ndarray, " k"]:
        """What variances in units of the data are to be multiplied by, the residual last."""
        return self.sd**2 / np.append(self.scales, 1.0)

    @cached_property
    def k_scales(self) -> Float64[ndarray, " k"]:
        """Mean diagonal of JZKZ'J on the scale of K, and 1: with it variances are those among these records (pve)."""
        ones = np.ones((self.n, 1))
        sums = [float(one.diagonal.mean() - one.multiply(ones).sum() / self.n**2) for one in self.records.components]
        return np.array([*sums, 1.0])

    @cached_property
    def equations(self) -> MixedModelEquations:
        """The mixed-model equations in the eigenbasis of the leading component: the one with the most levels.

        Raises:
            InputError: if a K is not positive semi-definite, or memory does not suffice.
        """
        q = len(self.parts[leading(self.parts)].levels)
        m = sum(len(one.levels) for one in self.parts) - q + self.c + 1
        check_memory(
            8.0 * (3 * q * m + 4 * m**2),
            what=f"the mixed-model equations of {q + m:,} effects",
            instead="use fewer components, or a machine with more memory",
        )
        found = rotated(self.parts, [self.y[:, None], self.Q])
        Y, X = found.columns
        data = ComponentData(
            s=found.s, Y=Y, X=X, W=found.W, unseen=found.unseen, order=found.order, units=self.units,
            R=self.R, b=self.b, sd=self.sd,
        )  # fmt: skip
        return MixedModelEquations(data, found.basis, found.factors)

    @property
    def rotated(self) -> ComponentData:
        """The records in the eigenbasis of the leading component, which NUTS takes."""
        return self.equations.data

    @cached_property
    def solver(self) -> ComponentSolver:
        """The way to V with the fewest operations."""
        parts, lead = self.parts, leading(self.parts)
        q = len(parts[lead].levels)
        m = sum(len(one.levels) for one in parts) - q + self.c + 1
        if q * m**2 + m**3 / 3 <= self.n**3 / 3:
            return self.equations
        check_memory(
            8.0 * (len(parts) + 4) * self.n**2,
            what=f"a Cholesky factor of the covariance of {self.n:,} records",
            instead="use fewer components, or a machine with more memory",
        )
        return DenseCovariance(self.y, self.Q, parts)

    def fixed_effects(
        self, beta: Float64[ndarray, " c"], covariance: Float64[ndarray, "c c"]
    ) -> tuple[Float64[ndarray, " c"], Float64[ndarray, " c"]]:
        """Return fixed effects on the user's X, and their standard errors, from those on Q."""
        inverse = np.linalg.inv(self.R)
        return inverse @ (self.b + self.sd * beta), self.sd * np.sqrt(np.diag(inverse @ covariance @ inverse.T))

    def loglik(self, solved: Solved) -> float:
        """Return the restricted log-likelihood in the user's units."""
        df = self.n - self.c
        return float(-(df * np.log(2 * np.pi * self.sd**2) + solved.log_dets + solved.quad) / 2)


def components(records: Records, *, scales: Mapping[str, float] | None = None) -> Components:
    """Prepare records for inference.

    Args:
        records: with their components.
        scales: by which the K of a kinship, named, is divided for its prior: by default the mean diagonal of ZKZ', so
            that a variance is a share of the total whatever the unit of K. No likelihood depends on it.

    Raises:
        InputError: if a scale is not above 0, or names no kinship.
    """
    own = mean_diagonals(records.components)
    for name, value in (chosen := own | dict(scales or {})).items():
        if name not in own or not 0 < value < np.inf:
            raise InputError(
                f"{records.source}: a scale is a number above 0 by which the kinship of a component is divided "
                f"({examples(own) or 'there is none here'}), but {value:g} was given for {name!r}"
            )
    parts = tuple(one.rescaled(chosen.get(one.name, 1.0)) for one in records.components)
    Q, R = orthonormal(records.X)
    b = Q.T @ records.y
    residual = records.y - Q @ b
    correction = Q.T @ residual  # once more: the first has lost the digits that y has in common
    residual, b = residual - Q @ correction, b + correction
    sd = float(np.sqrt(residual @ residual / (len(Q) - Q.shape[1])))
    of_parts = np.array([chosen.get(one.name, 1.0) for one in parts])
    return Components(records, parts, of_parts, Q, R, b, sd, residual / sd)


def mean_diagonals(parts: Sequence[Component]) -> dict[str, float]:
    """Return the mean diagonal of ZKZ' of each component with a kinship."""
    return {one.name: float(one.diagonal.mean()) for one in parts if one.K is not None}
