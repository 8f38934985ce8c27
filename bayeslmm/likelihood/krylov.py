"""A space that holds all that products with K have shown of it, grown by a block of columns at a time."""

from copy import copy

import numpy as np
from jaxtyping import Float64
from numpy import ndarray

_NOTHING = 1e-6  # of the size of K: what is left of a block after that is rounding, of products in float32 too


class BlockLanczos:
    """Block Lanczos with full reorthogonalisation: an orthonormal V and T = V'KV.

    K V = V T but for the last block, whose product leaves the space by Q R: Q is the next block.

    Attributes:
        V: the blocks of the basis so far, shapes (n, b).
        T: shape (k, k), k the columns of all blocks.
        next: the block whose product is wanted next, shape (n, b); without columns if products never leave the space.
        R: how the product of the last block leaves the space, shape (b of next, b of the last).

    Source: Golub and Underwood (1977), doi:10.1016/B978-0-12-587260-7.50018-2.
    """

    def __init__(self, start: Float64[ndarray, "n b"]) -> None:
        self.V: list[Float64[ndarray, "n _"]] = []
        self.T: Float64[ndarray, "k k"] = np.zeros((0, 0))
        lengths = np.linalg.norm(start, axis=0)
        self.next, _ = _independent(start / np.where(lengths > 0, lengths, 1.0), 1e-10)
        self.R = np.zeros((self.next.shape[1], 0))

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.next)

    def advance(self, product: Float64[ndarray, "n b"]) -> None:
        """Add `next` to the basis, given K times it."""
        k, b = len(self.T), self.next.shape[1]
        self.V.append(self.next)
        column = self.coordinates(product)
        left = product - self.vectors(column)
        again = self.coordinates(left)
        left -= self.vectors(again)
        column += again
        T = np.empty((k + b, k + b))
        T[:k, :k], T[:, k:], T[k:, :k] = self.T, column, column[:k].T
        T[k:, k:] = (T[k:, k:] + T[k:, k:].T) / 2
        self.T = T
        self.next, self.R = _independent(left, _NOTHING * float(np.abs(np.diag(T)).max()), most=self.n - k - b)

    def shorter(self) -> "BlockLanczos":
        """Return the space as it was one block ago."""
        k, b = len(self.T), self.V[-1].shape[1]
        space = copy(self)
        space.V, space.next, space.T = self.V[:-1], self.V[-1], self.T[: k - b, : k - b]
        space.R = self.T[k - b :, k - b - self.V[-2].shape[1] : k - b]
        return space

    def first(self, B: Float64[ndarray, "n m"]) -> Float64[ndarray, "b m"]:
        """Return columns that are in the span of the first block, in its basis."""
        return self.V[0].T @ B

    def coordinates(self, B: Float64[ndarray, "n b"]) -> Float64[ndarray, "k b"]:
        """Return V'B."""
        return np.concatenate([block.T @ B for block in self.V])

    def vectors(self, B: Float64[ndarray, "k b"]) -> Float64[ndarray, "n b"]:
        """Return V B."""
        total, start = np.zeros((self.n, B.shape[1])), 0
        for block in self.V:
            total += block @ B[start : start + block.shape[1]]
            start += block.shape[1]
        return total


def _independent(
    B: Float64[ndarray, "n b"], least: float, most: int | None = None
) -> tuple[Float64[ndarray, "n r"], Float64[ndarray, "r b"]]:
    """Return an orthonormal basis of the columns, without directions shorter than `least`, and B in it."""
    Q, R = np.linalg.qr(B)
    left, lengths, right = np.linalg.svd(R)
    r = int((lengths > least).sum())
    r = r if most is None else min(r, most)
    return Q @ left[:, :r], lengths[:r, None] * right[:r]
