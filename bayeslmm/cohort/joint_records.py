r"""Records of several traits with several components of variance, each with a covariance matrix of the traits.

.. math::

    y_a = X_a \beta_a + \sum_j Z_j b_{ja} + e_a, \qquad
    \text{cov}(b_{ja}, b_{jc}) = (\Sigma_j)_{ac} K_j, \qquad \text{cov}(e_a, e_c) = (\Sigma_e)_{ac} I

A row holds what was measured together, some of it missing: its traits share the levels of the components, and have
residuals that are correlated. Example::

    animal = bl.related("animal", bl.pedigree_kinship("pedigree.csv"), ids)
    records = bl.JointRecords(("BWT", "TARSUS"), Y, (X, X), (names, names), (animal, bl.grouped("mother", mothers)))
    data = bl.joint_components(records)
    fit = bl.joint_components_reml(data)
    fit.rho, fit.errors("rho"), fit.boundary  # a matrix for each of fit.names: animal, mother, e

    draws = bl.sample(bayeslmm.models.joint_components, data, seed=1)  # NUTS, once imported: an ArviZ DataTree
"""

from dataclasses import dataclass
from functools import cached_property
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError, check_unique, examples
from bayeslmm.cohort.design import lengths
from bayeslmm.cohort.records import NOTHING, RESIDUAL, SAME, Component, Records


@dataclass(frozen=True, eq=False)
class JointRecords:
    """Rows of several traits, with what their covariances are made of.

    Attributes:
        traits: their names.
        Y: shape (n, t), NaN where a row lacks a trait.
        X: for each trait its covariates, shapes (n, c_j); rows that lack the trait are ignored.
        covariates: for each trait the names of the columns of its X.
        components: besides the residual, of the n rows.
        source: where they come from, for messages.

    Raises:
        InputError: as for the `Records` of each trait; or if a row lacks all traits, or two covariances of a pair of
            traits cannot be told apart.
    """

    traits: tuple[str, ...]
    Y: Float64[ndarray, "n t"]
    X: tuple[Float64[ndarray, "n _"], ...]
    covariates: tuple[tuple[str, ...], ...]
    components: tuple[Component, ...]
    source: str = "records"

    def __post_init__(self) -> None:
        t = self.Y.shape[1]
        if not t == len(self.traits) == len(self.X) == len(self.covariates):
            raise InputError(
                f"{self.source}: Y has {t} columns, but there are {len(self.traits)} names of traits, {len(self.X)} "
                f"matrices of covariates and {len(self.covariates)} sets of their names"
            )
        check_unique(self.traits, where=self.source, what="trait")
        if (without := ~self.known.any(axis=1)).any():
            raise InputError(f"{self.source}: row {int(without.argmax()) + 1} of Y lacks all traits: leave it out")
        for one in self.components:
            if len(one.level_of) != len(self.Y):
                raise InputError(
                    f"{self.source}: {len(self.Y)} rows were given, but {len(one.level_of)} of component {one.name!r}"
                )
        _ = self.of_traits
        _ = self.informed

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return (*(one.name for one in self.components), RESIDUAL)

    @cached_property
    def known(self) -> Bool[ndarray, "n t"]:
        """Which values there are."""
        return ~np.isnan(self.Y)

    @cached_property
    def of_traits(self) -> tuple[Records, ...]:
        """The records of each trait alone."""
        return tuple(
            Records(
                trait,
                y[known],
                X[known],
                names,
                tuple(one.take(known) for one in self.components),
                f"{self.source}, trait {trait}",
            )
            for trait, y, X, names, known in zip(
                self.traits, self.Y.T, self.X, self.covariates, self.known.T, strict=True
            )
        )

    @cached_property
    def informed(self) -> Bool[ndarray, "k t t"]:
        """Which elements of each Sigma some records inform, the residual last.

        Not a covariance of two traits that no level has both of: the likelihood does not depend on it.

        Raises:
            InputError: if the data tell only the sum of two covariances of a pair of traits.
        """
        t = len(self.traits)
        informed = np.ones((len(self.names), t, t), dtype=bool)
        for pair in combinations(range(t), 2):
            informed[:, *pair] = informed[:, *pair[::-1]] = self._informed(pair)
        return informed

    def _informed(self, pair: tuple[int, int]) -> Bool[ndarray, " k"]:
        """Return which covariances of two traits leave something once covariates are projected out of both."""
        rows = [np.flatnonzero(self.known[:, a]) for a in pair]
        Q, P = (np.linalg.qr(X / lengths(X))[0] for X in (self.of_traits[a].X for a in pair))
        whole, left = [], []
        for one in (*self.components, residual(len(self.Y))):
            C = one.covariance(rows[0])[:, rows[1]]
            whole.append(np.linalg.norm(C))
            C = C - Q @ (Q.T @ C)
            left.append((C - (C @ P) @ P.T).ravel())
        size = np.array([np.linalg.norm(one) for one in left])
        informed = size > np.sqrt(NOTHING) * np.maximum(whole, np.finfo(float).tiny)
        some = np.flatnonzero(informed)
        unit = [left[j] / size[j] for j in some]
        if len(some) > 1:
            least, weights = (part[..., 0] for part in np.linalg.eigh([[a @ b for b in unit] for a in unit]))
            if least < SAME:
                involved = [self.names[j] for j, w in zip(some, np.abs(weights), strict=True) if w > 1e-3]
                raise InputError(
                    f"{self.source}: the covariances of {' and '.join(self.traits[a] for a in pair)} through "
                    f"{examples(involved, most=9)} cannot be told apart: the records that have both tell only a "
                    "combination of them, leave one out"
                )
        return informed


def residual(n: int) -> Component:
    """Return the component of which each of n rows is a level."""
    return Component(RESIDUAL, tuple(map(str, range(n))), np.arange(n))
