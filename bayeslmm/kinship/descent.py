r"""How genes come down through a pedigree: A = T D T', and its products in O(n).

Each animal has half the genes of each parent and a Mendelian sampling term of variance D_ii of its own, a = P a + m
with rows of P that are 1/2 at the parents: T = (I - P)^-1. Animals of one generation (one more than that of the older
parent) do not descend from each other, so that each generation is one sparse product.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray
from scipy.sparse import csr_array

_COLUMNS = 64  # of relationships with the parents of a generation that are held at once


class Generation(NamedTuple):
    """Animals that have a known parent, none of them a parent of another.

    Attributes:
        offspring: the animals, shape (m,).
        parents: theirs, each once, shape (k,).
        down: half for each parent of an animal, shape (m, k).
        up: its transpose.
    """

    offspring: Int64[ndarray, " m"]
    parents: Int64[ndarray, " k"]
    down: csr_array
    up: csr_array


@dataclass(frozen=True)
class Descent:
    """T of a pedigree, generation by generation."""

    generations: tuple[Generation, ...]

    @classmethod
    def of(cls, sires: Int64[ndarray, " n"], dams: Int64[ndarray, " n"], born: Int64[ndarray, " n"]) -> "Descent":
        """Return T of a pedigree with the generations of `births`."""
        order = np.argsort(born, kind="stable")
        ends = np.cumsum(np.bincount(born, minlength=1))
        made: list[Generation] = []
        for offspring in np.split(order, ends[:-1])[1:]:
            pairs = np.stack([sires[offspring], dams[offspring]], axis=1)
            known = pairs >= 0
            parents, column = np.unique(pairs[known], return_inverse=True)
            ends_of_rows = np.concatenate([[0], np.cumsum(known.sum(axis=1))])
            down = csr_array((np.full(len(column), 0.5), column, ends_of_rows), shape=(len(offspring), len(parents)))
            made.append(Generation(offspring, parents, down, csr_array(down.T)))
        return cls(tuple(made))

    def forward(self, V: Float64[ndarray, "n b"]) -> None:
        """Replace V by T V: what animals have of the terms of their ancestors and of their own."""
        for offspring, parents, down, _ in self.generations:
            V[offspring] += down @ V[parents]

    def backward(self, V: Float64[ndarray, "n b"]) -> None:
        """Replace V by T'V."""
        for offspring, parents, _, up in reversed(self.generations):
            V[parents] += up @ V[offspring]


def births(sires: Int64[ndarray, " n"], dams: Int64[ndarray, " n"]) -> Int64[ndarray, " n"]:
    """Return the generation of each animal, 0 for those without parents; parents precede their offspring."""
    born: list[int] = []
    for sire, dam in zip(sires.tolist(), dams.tolist(), strict=True):
        born.append(max(born[sire] if sire >= 0 else -1, born[dam] if dam >= 0 else -1) + 1)
    return np.array(born, dtype=np.int64)


def ancestors(of: Int64[ndarray, " m"], sires: Int64[ndarray, " n"], dams: Int64[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Return which animals are among some animals or their ancestors."""
    found = np.zeros(len(sires), dtype=bool)
    new = of
    while new.size:
        found[new] = True
        new = np.unique(np.concatenate([sires[new], dams[new]]))
        new = new[new >= 0]
        new = new[~found[new]]
    return found


def mendelian_variances(
    F: Float64[ndarray, " n"], sires: Int64[ndarray, " n"], dams: Int64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Return D: 1 less a quarter of 1 + F for each parent that is known.

    Source: Quaas (1976), doi:10.2307/2529279.
    """
    of_sire, of_dam = (np.where(parent >= 0, (1 + F[parent]) / 4, 0.0) for parent in (sires, dams))
    return 1 - of_sire - of_dam


def inbreeding(
    sires: Int64[ndarray, " n"], dams: Int64[ndarray, " n"], born: Int64[ndarray, " n"]
) -> Float64[ndarray, " n"]:
    """Return F, half the relationship of the parents: a generation at a time, in columns of A among their ancestors.

    In each generation the columns are those of its sires, or of its dams if they are fewer.

    Args:
        sires: of each animal, -1 if unknown; parents precede their offspring.
        dams: the same.
        born: of `births`.

    Source: Sargolzaei, Iwaisaki and Colleau (2005), doi:10.1111/j.1439-0388.2005.00538.x; Colleau (2002),
    doi:10.1186/1297-9686-34-4-409.
    """
    F = np.zeros(len(sires))
    both = (sires >= 0) & (dams >= 0)
    for generation in range(1, int(born.max(initial=0)) + 1):
        animals = np.flatnonzero((born == generation) & both)
        pairs = np.stack([sires[animals], dams[animals]])
        few, many = pairs if len(np.unique(pairs[0])) <= len(np.unique(pairs[1])) else pairs[::-1]
        order = np.argsort(few, kind="stable")
        animals, few, many = animals[order], few[order], many[order]
        _, starts = np.unique(few, return_index=True)
        ends = [*starts[_COLUMNS::_COLUMNS].tolist(), len(few)]
        for start, end in pairwise([0, *ends]):
            mine = slice(start, end)
            F[animals[mine]] = _relationships(few[mine], many[mine], F, sires, dams, born) / 2
    return F


def _relationships(
    few: Int64[ndarray, " m"],
    many: Int64[ndarray, " m"],
    F: Float64[ndarray, " n"],
    sires: Int64[ndarray, " n"],
    dams: Int64[ndarray, " n"],
    born: Int64[ndarray, " n"],
) -> Float64[ndarray, " m"]:
    """Return the relationship of each of some pairs, of animals whose ancestors have their F."""
    old = np.flatnonzero(ancestors(np.concatenate([few, many]), sires, dams))
    place = np.full(len(sires) + 1, -1)  # the last one for -1, the unknown
    place[old] = np.arange(len(old))
    family = place[sires[old]], place[dams[old]]
    T, D = Descent.of(*family, born[old]), mendelian_variances(F[old], *family)
    columns, column = np.unique(few, return_inverse=True)
    A = np.zeros((len(old), len(columns)))
    A[place[columns], np.arange(len(columns))] = 1.0
    T.backward(A)
    A *= D[:, None]
    T.forward(A)
    return A[place[many], column]
