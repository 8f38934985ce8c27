r"""Records of one trait with several components of variance: groups, kinships, several records of an individual.

.. math::

    y = X \beta + \sum_j Z_j b_j + e, \qquad b_j \sim N(0, \sigma_j^2 K_j), \qquad e \sim N(0, \sigma_e^2 I)

Z_j says which level each record belongs to. For a group (mother, litter, year, or the individual itself where it has
several records: its permanent environment) K_j is the identity. Example, an animal model with two groups::

    animal = bl.related("animal", bl.pedigree_kinship("pedigree.csv"), ids)  # the animal of each record
    effects = (animal, bl.grouped("mother", mothers), bl.grouped("year", years))
    data = bl.components(bl.Records("BWT", y, X, ("intercept", "sex"), effects))
    fit = bl.components_reml(data)
    dict(zip(fit.names, fit.shares)), fit.share_error("animal"), fit.boundary
    bl.component_test(fit, "mother", seed=1).p_value

    posterior = bl.importance(data, seed=1)  # independent weighted draws, and the evidence
    posterior.interval(posterior.share("animal")), posterior.log_bayes_factor("mother", seed=1).value
    draws = bl.sample(bayeslmm.models.components, data, seed=1)  # NUTS, once imported: an ArviZ DataTree
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Float64, Int
from numpy import ndarray

from bayeslmm.base.array_checks import check_finite
from bayeslmm.base.checks import InputError, check_unique, examples
from bayeslmm.base.text import is_missing
from bayeslmm.cohort.cohort import check_models
from bayeslmm.cohort.design import lengths
from bayeslmm.kinship.kinship import Kinship

RESIDUAL = "e"
"""Name of the component that every model has."""
_BLOCK = 512  # rows of an n x n matrix that are looked at together
SAME = 1e-9  # one less the squared correlation of two covariances of which data tell only the sum
NOTHING = 1e-10  # of a covariance is left once X is projected out


@dataclass(frozen=True, eq=False)
class Component:
    """A random effect: one value for each level, independent ones or those of relatives.

    Attributes:
        name: of the component.
        levels: their names, in the order of K.
        level_of: which level each record belongs to, shape (n,).
        K: covariance of the levels on the scale of its source, shape (q, q); None for independent levels.
    """

    name: str
    levels: tuple[str, ...]
    level_of: Int[ndarray, " n"]
    K: Float64[ndarray, "q q"] | None = None

    @cached_property
    def Z(self) -> scipy.sparse.csr_array:
        """Which level each record belongs to, as ones in a matrix of shape (n, q)."""
        n = len(self.level_of)
        return scipy.sparse.csr_array((np.ones(n), self.level_of, np.arange(n + 1)), shape=(n, len(self.levels)))

    @property
    def counts(self) -> Int[ndarray, " q"]:
        """Records of each level."""
        return np.bincount(self.level_of, minlength=len(self.levels))

    @property
    def level_diagonal(self) -> Float64[ndarray, " q"]:
        """Diagonal of K."""
        return np.ones(len(self.levels)) if self.K is None else np.diag(self.K)

    @property
    def diagonal(self) -> Float64[ndarray, " n"]:
        """Diagonal of ZKZ'."""
        return self.level_diagonal[self.level_of]

    def covariance(self, rows: slice | Int[ndarray, " rows"] = slice(None)) -> Float64[ndarray, "rows n"]:
        """Return rows of ZKZ', all of them by default."""
        if self.K is None:
            return (self.level_of[rows, None] == self.level_of).astype(float)
        return self.K[self.level_of[rows]][:, self.level_of]

    def multiply(self, B: Float[ndarray, "n k"]) -> Float64[ndarray, "n k"]:
        """Return ZKZ'B."""
        sums = self.Z.T @ B
        return (sums if self.K is None else self.K @ sums)[self.level_of]

    def take(self, records: Bool[ndarray, " n"]) -> "Component":
        """Return some of the records, with the levels that these have."""
        kept, level_of = np.unique(self.level_of[records], return_inverse=True)
        K = None if self.K is None else self.K[np.ix_(kept, kept)]
        return Component(self.name, tuple(self.levels[level] for level in kept), level_of, K)

    def rescaled(self, scale: float) -> "Component":
        """Return the component with K, if there is one, divided by a number."""
        return self if self.K is None else replace(self, K=self.K / scale)


def grouped(name: str, values: Sequence[object] | ndarray) -> Component:
    """Return a group: each distinct value is a level.

    Args:
        name: of the group.
        values: the value of each record; numbers are names too.

    Raises:
        InputError: if a value is missing, or all are the same.
    """
    words = np.array([str(value) for value in values], dtype=object)
    missing = is_missing(words)
    if missing.any():
        raise InputError(
            f"group {name!r}: {int(missing.sum())} of {len(words)} records have no level, the first is record "
            f"{int(missing.argmax()) + 1}: leave them out, or give them a level of their own"
        )
    levels, level_of = np.unique(words.astype(str), return_inverse=True)
    if len(levels) < 2:
        raise InputError(
            f"group {name!r} has one level, {examples(levels)}, for all {len(words)} records: nothing varies between "
            "levels, leave it out"
        )
    return Component(name, tuple(levels.tolist()), level_of)


def related(name: str, kinship: Kinship, ids: Sequence[str]) -> Component:
    """Return a component whose levels are individuals of a kinship; an id may have several records.

    Args:
        name: of the component.
        kinship: of these individuals and any others; only those with records become levels.
        ids: whose effect each record has: of the animal itself, or of its mother for maternal genetic effects.

    Raises:
        InputError: if individuals are not in the kinship, or there is only one.
    """
    row = {one: i for i, one in enumerate(kinship.ids)}
    distinct = dict.fromkeys(ids)
    if absent := [one for one in distinct if one not in row]:
        raise InputError(
            f"{kinship.source}: {len(absent)} of {len(distinct)} individuals of component {name!r} have no kinship "
            f"({examples(absent)}): leave their records out, or use a kinship that has them"
        )
    if len(distinct) < 2:
        raise InputError(f"component {name!r} has one individual, {examples(distinct)}: leave it out")
    position = {one: i for i, one in enumerate(distinct)}
    at = [row[one] for one in distinct]
    K = np.array(kinship.K[np.ix_(at, at)], dtype=float)
    return Component(name, tuple(distinct), np.array([position[one] for one in ids]), K)


@dataclass(frozen=True, eq=False)
class Records:
    """Records of one trait, with what their variance is made of.

    Attributes:
        trait: its name.
        y: shape (n,), complete.
        X: covariates, shape (n, c), of full column rank.
        covariates: names of the columns of X.
        components: besides the residual.
        source: where they come from, for messages.

    Raises:
        InputError: as for a `Cohort`; or if the components are not identified: a group with a level for each record,
            one that covariates determine, two that are the same, a kinship that is given twice.
    """

    trait: str
    y: Float64[ndarray, " n"]
    X: Float64[ndarray, "n c"]
    covariates: tuple[str, ...]
    components: tuple[Component, ...]
    source: str = "records"

    def __post_init__(self) -> None:
        if not self.components:
            raise InputError(f"{self.source}: no component was given: a group or a kinship is needed")
        check_unique([one.name for one in self.components], where=self.source, what="component")
        if any(one.name == RESIDUAL for one in self.components):
            raise InputError(f"{self.source}: {RESIDUAL!r} is the name of the residual: choose another for a component")
        n = len(self.y)
        for one in self.components:
            if len(one.level_of) != n:
                raise InputError(
                    f"{self.source}: {n} records of {self.trait} were given, but {len(one.level_of)} of component "
                    f"{one.name!r}"
                )
        check_finite(self.y, name=self.trait, where=self.source)
        check_finite(self.X, name="X", where=self.source)
        check_models([self.trait], [self.covariates], self.y[:, None], [self.X], dropped=(), where=self.source)
        _check_identified(self)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return (*(one.name for one in self.components), RESIDUAL)

    def without(self, name: str) -> "Records":
        """Return the records with one component less.

        Raises:
            InputError: if there is none of this name, or no other.
        """
        left = tuple(one for one in self.components if one.name != name)
        if len(left) == len(self.components):
            raise InputError(f"{self.source}: there is no component {name!r} besides the residual: {self.names}")
        return Records(self.trait, self.y, self.X, self.covariates, left, self.source)


def _check_identified(records: Records) -> None:
    """Refuse components of which the data, once X is projected out, tell only a sum.

    They do so exactly if the covariances MV_jM, that of the residual among them, are linearly dependent: their traces
    tr(MV_iMV_j) are a Gram matrix, whose rank is that of the covariances.

    Source: Rao and Kleffe (1988), Estimation of Variance Components and Applications, section 4.2.
    """
    components, names, where = records.components, records.names, records.source
    Q = np.linalg.qr(records.X / lengths(records.X))[0]
    whole = _traces(components)
    products = [*(one.multiply(Q) for one in components), Q]
    inner = [Q.T @ product for product in products]
    pairs = [(i, j) for i in range(len(names)) for j in range(len(names))]
    gram = np.array(
        [whole[i, j] - 2 * (products[i] * products[j]).sum() + (inner[i] * inner[j]).sum() for i, j in pairs]
    )
    gram = gram.reshape(len(names), -1)
    for i, one in enumerate(components):
        if gram[i, i] <= NOTHING * whole[i, i]:
            raise InputError(
                f"{where}: the covariates {examples(records.covariates)} already have an effect for each level of "
                f"{one.name!r}: leave it out of either the covariates or the components"
            )
    size = np.sqrt(np.diag(gram))
    correlation = gram / np.outer(size, size)
    for i, j in pairs:
        if i < j and 1 - correlation[i, j] ** 2 < SAME:
            if names[j] != RESIDUAL:
                raise InputError(
                    f"{where}: components {names[i]!r} and {names[j]!r} are the same given the covariates: the data "
                    "tell only the sum of their variances, leave one out"
                )
            n, q = len(records.y), len(components[i].levels)
            raise InputError(
                f"{where}: component {names[i]!r} cannot be told from the residual given the covariates: it has {q} "
                f"levels for {n} records, {'none' if q == n else 'too few'} of which share one, and a variance needs "
                "levels with several records, or relatives: leave it out"
            )
    least, weights = (part[..., 0] for part in np.linalg.eigh(correlation))
    if least < SAME:
        involved = [name for name, weight in zip(names, np.abs(weights), strict=True) if weight > 1e-3]
        raise InputError(
            f"{where}: the components {examples(involved, most=9)} cannot be told apart given the covariates (the "
            "covariance of one is a combination of those of the others): leave one out"
        )


def _traces(components: Sequence[Component]) -> Float64[ndarray, "k k"]:
    """Return tr(V_i V_j) with V_j = Z_jK_jZ_j', those with the identity last."""
    k, n = len(components), len(components[0].level_of)
    traces = np.zeros((k + 1, k + 1))
    for start in range(0, n, _BLOCK):
        rows = [one.covariance(slice(start, start + _BLOCK)) for one in components]
        traces[:k, :k] += [[np.vdot(a, b) for b in rows] for a in rows]
    traces[:k, k] = traces[k, :k] = [one.diagonal.sum() for one in components]
    traces[k, k] = n
    return traces
