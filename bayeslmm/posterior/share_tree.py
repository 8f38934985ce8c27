r"""Coordinates of shares that sum to 1: how each sum of shares divides in two, along a tree.

Components that the data hardly tell apart have a sum that is well known: in ratios to one component, such as
:math:`\log \pi_j / \pi_e`, their posterior is bent like a banana. Where the tree joins first those whose shares take
most from each other, each coordinate :math:`\log \sum_A \pi - \log \sum_B \pi`, with A and B the two sides of a node,
is nearly independent of the others.

Source: Egozcue and Pawlowsky-Glahn (2005), doi:10.1007/s11004-005-7381-9, for the sequential partition of a
composition, with sums in place of geometric means.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float64
from numpy import ndarray
from scipy.special import logsumexp


class ShareTree(NamedTuple):
    """A binary tree whose leaves are the components, its nodes from the root down.

    Attributes:
        first, second: which components are on each side of a node, shape (k - 1, k).
    """

    first: Bool[ndarray, "nodes k"]
    second: Bool[ndarray, "nodes k"]

    @classmethod
    def of(cls, mode: Float64[ndarray, " k"], covariance: Float64[ndarray, "k k"]) -> "ShareTree":
        """Join, one after the other, the two sums of shares with the most negative correlation.

        Args:
            mode: of log variances.
            covariance: their covariance in the posterior, about.
        """
        shares = np.exp(mode - logsumexp(mode))
        J = np.diag(shares) - np.outer(shares, shares)
        of_shares, k = J @ covariance @ J, len(mode)
        groups, nodes = list(np.eye(k, dtype=bool)), []
        while len(groups) > 1:
            S = np.array(groups, dtype=float)
            C = S @ of_shares @ S.T
            size = np.sqrt(np.maximum(np.diag(C), np.finfo(float).tiny))
            correlation = C / np.outer(size, size)
            correlation[np.tril_indices(len(groups))] = np.inf
            i, j = np.unravel_index(correlation.argmin(), correlation.shape)
            nodes.append((groups[i], groups[j]))
            groups = [group for at, group in enumerate(groups) if at not in (i, j)] + [groups[i] | groups[j]]
        first, second = (np.array(side) for side in zip(*reversed(nodes), strict=True))
        return cls(first, second)

    def coordinates(self, log_variances: Float64[ndarray, " k"]) -> Float64[ndarray, " nodes"]:
        """Return the coordinates of shares, from the logarithms of what is in proportion to them."""
        first, second = (np.where(side, log_variances, -np.inf) for side in self)
        return logsumexp(first, axis=1) - logsumexp(second, axis=1)

    def slopes(self, log_variances: Float64[ndarray, " k"]) -> Float64[ndarray, "nodes k"]:
        """Return the derivatives of the coordinates by the logarithms."""
        first, second = (np.where(side, log_variances, -np.inf) for side in self)
        parts = (np.exp(part - logsumexp(part, axis=1, keepdims=True)) for part in (first, second))
        return next(parts) - next(parts)

    def log_shares(self, u: Float64[ndarray, "m nodes"]) -> Float64[ndarray, "m k"]:
        """Return the logarithms of the shares: along the way from the root, those of the fractions add up."""
        return -np.logaddexp(0, -u) @ self.first - np.logaddexp(0, u) @ self.second

    def log_volume(self, u: Float64[ndarray, "m nodes"]) -> Float64[ndarray, " m"]:
        """Return the logarithm of the derivative of the shares (all but one of them) by the coordinates.

        Each node divides a sum s into s v and s (1 - v), whose derivative by the coordinate is s v (1 - v).
        """
        log_shares = self.log_shares(u)
        whole = self.first | self.second
        sums = np.stack([logsumexp(log_shares[:, node], axis=1) for node in whole], axis=1)
        return (sums - np.logaddexp(0, -u) - np.logaddexp(0, u)).sum(axis=1)
