"""A cohort in a few hundred rows, from products with its kinship: for one that has no room for a decomposition."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from jaxtyping import Float, Float64, Int8
from numpy import ndarray

from bayeslmm.base.array_checks import check_finite
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.base.defaults import PROBE_ERROR
from bayeslmm.base.memory import available, check_memory
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.krylov import BlockLanczos
from bayeslmm.likelihood.probe_error import Moved, ProbeError, errors_of, moved
from bayeslmm.likelihood.probes import Nodes, Singles, counts, nodes
from bayeslmm.likelihood.rotation import NegativeEigenvalues, RotatedData, negative_eigenvalues

MOST_PASSES = 200
"""Over K, by default."""
PROBES, SINGLES = 32, 256
"""Probes of a space, and those of a single product that the first pass has too."""
FIRST = 6
"""Steps before the error is looked at."""
_AS_ROOM = 16  # blocks of columns that there must be room for
_TOGETHER, _TOGETHER_BYTES, _STEPS = 4, 2e9, 12
"""How many further spaces share their passes, at most: and in so much memory, if each has so many steps."""
_ROWS = 128  # of the data, or a multiple
_QUADRATURE = 0.2  # share of the error that may come of too few steps
_AIM = 0.95  # of the error that is asked for: what more probes would leave of it is not known to the last digit
_READ = 32  # columns that take as long as reading and decoding what K is made of
_MOST_SINGLES = 6  # times `SINGLES` that are added at once


@dataclass(frozen=True)
class SpectralSummary:
    """What inference needs of traits with the same covariates, and its Monte Carlo error.

    Attributes:
        data: all traits, with `counts`.
        probe_errors: standard error of the posterior mean of h2 of each trait that comes of the random probes, in
            posterior standard deviations (for a flat prior), shape (t,): the jackknife's, and one of its own standard
            errors above it.
        others: counts without each probe in turn, one space after the other, and as the last row those of a tr K^2 that
            is one standard error higher, shape (r, k): what `joint_summary` makes errors of.
        wanted: the error that was asked for.
        probes: how many there were, beside those of a single product.
        singles: how many of those there were.
        steps: of block Lanczos.
        passes: products with K.
        found: eigenvectors that were found and taken out of the probes.
        mean_diagonal: of K.
    """

    data: RotatedData
    probe_errors: Float64[ndarray, " t"]
    others: Float64[ndarray, "r k"]
    wanted: float
    probes: int
    singles: int
    steps: int
    passes: int
    found: int
    mean_diagonal: float

    @property
    def k_scale(self) -> float:
        """Mean diagonal of J K J, as `Spectrum.k_scale`."""
        return self.data.k_scale

    @property
    def reached(self) -> bool:
        """Whether the error is as small as was asked for."""
        return bool((self.probe_errors <= self.wanted).all())

    def error(self, j: int) -> ProbeError:
        """Return the error of one trait."""
        return ProbeError(float(self.probe_errors[j]), self.wanted, self.passes)

    def trait(self, j: int) -> RotatedData:
        """Return one trait, for `reml`, `ml`, `moments`, `exact` and `sample`."""
        return self.data._replace(Y=self.data.Y[:, [j]])


def spectral_summary(
    K: Covariance,
    Y: Float[ndarray, "..."],
    X: Float[ndarray, "..."],
    *,
    seed: int,
    probe_error: float = PROBE_ERROR,
    most_passes: int = MOST_PASSES,
    bend: bool = False,
    tell: Callable[[ProbeError], None] | None = None,
) -> SpectralSummary:
    r"""Summarise traits by products with K, some ten passes over what K is made of, in O(n) memory.

    Block Lanczos from X, Y and random signs gives a space in which X'f(K)X, X'f(K)Y and Y'f(K)Y are exact to rounding
    after few steps, and estimates of tr f(K) (`probes`). All methods that work on `RotatedData` with counts then have
    the same likelihood as after `decompose`, but for the error of the probes, which is told in posterior standard
    deviations of h2. Steps and probes grow until it is as small as asked for.

    Args:
        K: the kinship of the individuals: products (`genotype_products`, `grm_products`, `pedigree_products`) or a
            matrix.
        Y: traits of the same individuals, complete, shape (n, t).
        X: their covariates, of full column rank, shape (n, c).
        seed: of the probes.
        probe_error: the error that is asked for, in posterior standard deviations of h2.
        most_passes: over K; where they are not enough, or memory ends, a warning says what was reached.
        bend: set negative eigenvalues to 0 however large they are, as in `decompose`.
        tell: called with what is reached, each time that it is known.

    Raises:
        InputError: if shapes do not match, numbers are missing, a trait has no variance given X, h2 is not identified,
            eigenvalues are negative as `decompose` refuses them, or memory is too small.

    Source: Ubaru, Chen and Saad (2017), doi:10.1137/16M1104974 (stochastic Lanczos quadrature).
    """
    _check(K, Y, X, probe_error, most_passes)
    run = _Run(K, X, Y, np.random.default_rng(seed))
    if negative := run.negative(bend):
        negative.refuse()
    while True:
        if tell:
            tell(ProbeError(run.error, probe_error, run.passes))
        if run.good_enough(probe_error) or not run.improve(probe_error, most_passes):
            break
    if negative := run.negative(bend):
        negative.tell(stacklevel=2)
    summary = run.summary(probe_error)
    if not summary.reached:
        advice = "allow more passes (most_passes)" if run.has_room else "use a machine with more memory"
        warnings.warn(
            f"{K.source}: after {summary.passes} passes the posterior mean of h2 has a Monte Carlo error of "
            f"{summary.probe_errors.max():.2g} posterior standard deviations, not {probe_error:g}: {advice}, ask for "
            "less (probe_error), or decompose the matrix if there is room for it",
            InputWarning,
            stacklevel=2,
        )
    return summary


def summary_bytes(n: int, columns: int) -> float:
    """Return how much memory a summary of n individuals with so many traits and covariates begins with, about."""
    return 8.0 * n * (_AS_ROOM * (columns + 1 + PROBES) + 2 * SINGLES + _together(n) * _STEPS * PROBES)


def _together(n: int) -> int:
    """Return how many further spaces of n individuals share passes at most: by n alone, as digits depend on it."""
    return int(np.clip(_TOGETHER_BYTES / (8.0 * n * _STEPS * PROBES), 1, _TOGETHER))


def _check(K: Covariance, Y: ndarray, X: ndarray, probe_error: float, most_passes: int) -> None:
    n = len(K.ids)
    for name, array in (("Y", Y), ("X", X)):
        if array.ndim != 2 or len(array) != n:
            raise InputError(
                f"{name} must have shape ({n}, columns) like K, but it has {array.shape}: one trait is a column, "
                "y[:, None]"
            )
        check_finite(array, name=name, where="spectral_summary")
    if not probe_error > 0:
        raise InputError(f"probe_error must be positive, but {probe_error:g} was given")
    if most_passes < FIRST:
        raise InputError(f"most_passes must be at least {FIRST}, but {most_passes} was given")
    check_memory(
        summary_bytes(n, X.shape[1] + Y.shape[1]),
        what=f"a spectral summary of {n:,} individuals",
        instead="use a machine with more memory, or fewer traits at once",
    )


class _Run:
    """All that is known so far, and how more of it is found.

    The first space begins with X, Y and probes, all others with X and probes alone.
    """

    def __init__(self, K: Covariance, X: ndarray, Y: ndarray, rng: np.random.Generator) -> None:
        self.K, self.X, self.Y, self.rng = K, np.asarray(X, dtype=float), np.asarray(Y, dtype=float), rng
        self.n, self.passes, self.singles, self.has_room = len(X), 0, Singles(), True
        self.Q, _ = orthonormal(self.X)
        self.Z = self._signs(PROBES).astype(float)
        self.space = BlockLanczos(np.column_stack([self.Q, self._residuals(), np.ones((self.n, 1)), self.Z]))
        self._step(self.space, self._signs(SINGLES))
        self.trace = float(K.diagonal().sum())
        if not self.trace > 0:
            raise InputError(f"{K.source}: the kinship is 0: nobody is related to anybody, not even to themselves")
        self.q, self.z = self.space.first(self.Q), self.space.first(self.Z)
        self.more: list[Nodes] = []
        self.costs: list[float] = []
        for step in range(2, FIRST + 1):
            self._go_on()
            if step > FIRST - 3:  # three looks, so that `improve` knows whether steps have paid
                self._look()
        self.quadrature = self._of_steps()

    @property
    def error(self) -> float:
        """The largest of all traits."""
        return float(self.errors.total.max())

    def good_enough(self, wanted: float) -> bool:
        """Return whether the error is as small as is asked for."""
        return self.quadrature <= _QUADRATURE * wanted and self.error <= wanted

    def negative(self, bend: bool) -> NegativeEigenvalues | None:
        """Return eigenvalues that are negative."""
        assert self.data.counts is not None
        of_first = self.data.counts[: len(self.space.T)] * (1 + len(self.more))
        return negative_eigenvalues(np.linalg.eigvalsh(self.space.T), of_first, where=self.K.source, bend=bend)

    def improve(self, wanted: float, most_passes: int) -> bool:
        """Do what reduces the error at the least cost, and return whether it could be done."""
        b, left = self.Q.shape[1] + PROBES, most_passes - self.passes
        can_go_on = bool(self.space.next.shape[1]) and not self.more
        pays = self.costs[-1] < max(self.costs[-3:-1])  # eigenvectors are found by ones and twos, not at each step
        if can_go_on and (self.quadrature > _QUADRATURE * wanted or pays):
            spaces, singles, passes, columns = 0, 0, 1, b
        else:
            spaces, singles = self._missing(wanted)
            passes = len(self.space.V) if spaces else 1
            columns = passes * spaces * b + 2 * singles * SINGLES
        self.has_room = available() > 8.0 * self.n * (columns + 2 * SINGLES)
        if not self.has_room or left < passes:
            return False
        if spaces or singles:
            self._others(spaces, singles)
        else:
            self._go_on()
        self._look()
        if not self.more:
            self.quadrature = self._of_steps()
        return True

    def summary(self, wanted: float) -> SpectralSummary:
        """Return what is known."""
        return SpectralSummary(
            data=self.data,
            probe_errors=self.errors.total,
            others=self.others,
            wanted=wanted,
            probes=PROBES * (1 + len(self.more)),
            singles=sum(G.shape[1] for G in self.singles.G),
            steps=len(self.space.V),
            passes=self.passes,
            found=int(self.nodes.found.sum()),
            mean_diagonal=self.trace / self.n,
        )

    def _go_on(self) -> None:
        """Make the first space larger by a step."""
        if self.space.next.shape[1]:
            self._step(self.space)

    def _missing(self, wanted: float) -> tuple[int, int]:
        """Return how many spaces, and how many times `SINGLES`, would make the error small enough at the least cost."""
        there, single, most = 1 + len(self.more), len(self.singles.G), _together(self.n)
        of_probes, of_singles = (np.square(of.max()) for of in (self.errors.of_probes, self.errors.of_singles))
        steps, b = len(self.space.V), self.Q.shape[1] + PROBES

        def left(spaces: int, singles: int) -> float:
            return of_probes * there / (there + spaces) + of_singles * single / (single + singles)

        def cost(spaces: int, singles: int) -> int:
            return (steps if spaces else 1) * _READ + steps * spaces * b + singles * SINGLES

        ways = [way for way in product(range(most + 1), range(_MOST_SINGLES + 1)) if any(way)]
        enough = [way for way in ways if left(*way) <= (_AIM * wanted) ** 2]
        if enough:
            return min(enough, key=lambda way: cost(*way))
        return max(ways, key=lambda way: (left(0, 0) - left(*way)) / cost(*way))

    def _others(self, spaces: int, singles: int) -> None:
        """Make further spaces, as large as the first, from other probes, which share their passes; and single products.

        Args:
            spaces: how many.
            singles: how many times `SINGLES`, in the first of the passes.
        """
        probes = [self._signs(PROBES).astype(float) for _ in range(spaces)]
        made = [BlockLanczos(np.column_stack([self.Q, Z])) for Z in probes]
        G = [self._signs(SINGLES) for _ in range(singles)]
        for step in range(len(self.space.V) if spaces else 1):
            growing = [space for space in made if space.next.shape[1]]
            blocks = [space.next for space in growing] + (G if step == 0 else [])
            if not blocks:
                break
            ends = np.cumsum([block.shape[1] for block in blocks])[:-1]
            parts = np.split(self._multiply(np.column_stack(blocks).astype(float)), ends, axis=1)
            for space, part in zip(growing, parts, strict=False):
                space.advance(part)
            for signs, part in zip(G, parts[len(growing) :], strict=False):
                self.singles.add(signs, part)
        self.more += [nodes(space, space.first(self.Q), space.first(Z)) for space, Z in zip(made, probes, strict=True)]

    def _look(self) -> None:
        """Find the counts, and the errors of each trait."""
        moments = self.moments = self.singles.moments(self.space, self.trace)
        if not self.more:
            self.nodes = nodes(self.space, self.q, self.z)
        batches = [self.nodes, *self.more]
        self.data = self._rows(batches)
        assert self.data.counts is not None
        starts = np.cumsum([0, *(len(one.s) for one in batches)])
        others: list[ndarray] = []
        for one, start in zip(batches, starts, strict=False):
            for i in range(one.powers.shape[1]):
                without = self.data.counts.copy()
                without[start : start + len(one.s)] = counts(one, moments, left_out=i) / len(batches)
                others.append(without)
        higher = moments._replace(t2=moments.t2 + moments.t2_error)
        more = np.concatenate([counts(one, higher) for one in batches]) / len(batches)
        others.append(np.pad(more, (0, len(self.data.s) - len(more))))
        self.others = np.array(others)
        found = self._moved(self.data, self.others)
        self.errors = errors_of(np.array([(one.means - one.mean) / one.sd for one in found]), probes=PROBES)
        if not self.more:
            self.costs.append(float(self.errors.of_probes.max()) ** 2 * len(self.space.V))

    def _of_steps(self) -> float:
        """Return the error that comes of too few steps, the largest of all traits.

        The last two steps have moved a posterior mean by d and r d standard deviations; if they shrink on so, all that
        follow move it by r d r / (1 - r). Where they shrink by less than a half, r d is taken.
        """
        if not self.space.next.shape[1]:
            return 0.0  # K takes the space into itself: no step is missing
        spaces = [self.space]
        while len(spaces) < 3 and len(spaces[-1].V) > 1:
            spaces.append(spaces[-1].shorter())
        plain = [nodes(space, self.q, self.z, deflate=False) for space in spaces]
        rows = [self._rows([one]) for one in plain]
        means = [self._moved(one, np.zeros((0, len(one.s)))) for one in rows]
        moves = [
            np.array([abs(a.mean - b.mean) / b.sd for a, b in zip(*pair, strict=True)]) for pair in pairwise(means)
        ]
        last = moves[0]
        if len(moves) < 2:
            return float(last.max())
        ratio = last / np.maximum(moves[1], np.finfo(float).tiny)
        return float((last * np.where(ratio < 0.5, ratio / (1 - np.minimum(ratio, 0.5)), 1.0)).max())

    def _rows(self, batches: Sequence[Nodes]) -> RotatedData:
        """Return the data of some nodes, the first of which are those of the first space or of one before it."""
        first, k = batches[0], sum(len(one.s) for one in batches)
        # What is compiled for so many rows serves others: the last ones stand for nothing.
        pad = -k % _ROWS
        S = first.vectors[: self.space.V[0].shape[1]]
        ones = S.T @ self.space.first(np.ones((self.n, 1)))[:, 0]

        def rotated(B: ndarray) -> ndarray:
            rows = np.zeros((k + pad, B.shape[1]))
            rows[: len(first.s)] = S.T @ self.space.first(B)
            return rows

        return RotatedData(
            np.concatenate([*(one.s for one in batches), np.full(pad, first.s[0])]),
            rotated(self.Y),
            rotated(self.X),
            (self.trace - float(first.s @ ones**2) / self.n) / self.n,
            np.concatenate([*(counts(one, self.moments) / len(batches) for one in batches), np.zeros(pad)]),
        )

    def _moved(self, data: RotatedData, others: Float64[ndarray, "r k"]) -> list[Moved]:
        return [moved(data._replace(Y=data.Y[:, [j]]), others) for j in range(self.Y.shape[1])]

    def _step(self, space: BlockLanczos, G: Int8[ndarray, "n m"] | None = None) -> None:
        b = space.next.shape[1]
        multiplied = self._multiply(space.next if G is None else np.column_stack([space.next, G]))
        space.advance(multiplied[:, :b])
        if G is not None:
            self.singles.add(G, multiplied[:, b:])

    def _multiply(self, V: ndarray) -> ndarray:
        self.passes += 1
        return self.K @ V

    def _signs(self, columns: int) -> Int8[ndarray, "n m"]:
        return self.rng.integers(0, 2, (self.n, columns), dtype=np.int8) * 2 - 1

    def _residuals(self) -> Float64[ndarray, "n t"]:
        """Return what X leaves of the traits, to all digits.

        Raises:
            InputError: if it leaves nothing of one.
        """
        largest = np.abs(self.Y).max(axis=0)
        scaled = self.Y / np.where(largest > 0, largest, 1.0)
        residual = scaled
        for _ in range(2):  # the first has lost the digits that y has in common
            residual = residual - self.Q @ (self.Q.T @ residual)
        nothing = np.linalg.norm(residual, axis=0) <= 1e-10 * np.linalg.norm(scaled, axis=0)
        if nothing.any():
            raise InputError(
                f"trait {int(nothing.argmax()) + 1} has nothing left once its {self.Q.shape[1]} covariates are fitted"
            )
        return residual
