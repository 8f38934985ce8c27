"""Ways to treat V = sigma2_u K + sigma2_e I, the covariance of one trait: all that likelihoods ask of K.

Another way (a Cholesky factor, the mixed-model equations) is another class with the methods of `Solver`, and data whose
method ``solver`` makes it. Arrays are NumPy's or JAX's, as they come.
"""

import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

_FEW = 32  # columns, whose products with each other fit in memory


@runtime_checkable
class Solver(Protocol):
    """V at given variances."""

    def log_density(self, r: Any) -> Any:
        """Return the log density of N(0, V) at r of shape (n,)."""
        ...

    def solve(self, B: Any) -> Any:
        """Return V^-1 B of shape (n, k)."""
        ...

    def cross(self, B: Any, C: Any) -> Any:
        """Return B' V^-1 C of shape (k, l)."""
        ...

    def squares(self, B: Any) -> Any:
        """Return the diagonal of B' V^-1 B, shape (k,)."""
        ...

    def multiply(self, B: Any) -> Any:
        """Return K B of shape (n, k)."""
        ...

    def traces(self) -> Any:
        """Return tr(V^-1 V_i V^-1 V_j) with V_1 = K and V_2 = I, shape (2, 2)."""
        ...


@runtime_checkable
class TraitData(Protocol):
    """One trait and its covariates, with a way to treat V."""

    @property
    def Y(self) -> Any:
        """The trait, shape (n, 1); several traits of one X where a function says so, shape (n, t)."""
        ...

    @property
    def X(self) -> Any:
        """Covariates, shape (n, c)."""
        ...

    def solver(self, sigma2_u: Any, sigma2_e: Any) -> Solver:
        """Return V at given variances."""
        ...


class Spectral(NamedTuple):
    """V in the eigenbasis of K, where it is diagonal: O(n) a column.

    Attributes:
        s: eigenvalues of K, shape (n,).
        d: sigma2_u s + sigma2_e, those of V.
        counts: how many there are of each, shape (n,); one if it is None.
    """

    s: Any
    d: Any
    counts: Any = None

    def log_density(self, r: Any) -> Any:
        """Return the log density of N(0, V) at r."""
        xp = self.d.__array_namespace__()
        sd = xp.sqrt(self.d)
        log = xp.log(math.sqrt(2 * math.pi) * sd)
        return (-0.5 * (r / sd) ** 2 - (log if self.counts is None else self.counts * log)).sum()

    def solve(self, B: Any) -> Any:
        """Return V^-1 B."""
        return B / self.d[:, None]

    def cross(self, B: Any, C: Any) -> Any:
        """Return B' V^-1 C."""
        (n, k), m = B.shape, C.shape[1]
        if k > _FEW:
            return self.solve(B).T @ C
        # Products first: over a grid of variances they are common, and what is left is one matrix product.
        products = (B[:, :, None] * C[:, None, :]).reshape(n, k * m)
        return ((1 / self.d) @ products).reshape(k, m)

    def squares(self, B: Any) -> Any:
        """Return the diagonal of B' V^-1 B."""
        return (1 / self.d) @ B**2

    def multiply(self, B: Any) -> Any:
        """Return K B."""
        return self.s[:, None] * B

    def traces(self) -> Any:
        """Return tr(V^-1 V_i V^-1 V_j)."""
        D = self.d.__array_namespace__().stack([self.s / self.d, 1 / self.d])
        return (D if self.counts is None else D * self.counts) @ D.T
