"""What REML of several traits with several components of variance found, and its standard errors."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float64, Int
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.components_reml import LEAST_RESIDUAL, information_of
from bayeslmm.estimators.information import Kind
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.dense_covariance import AtCoefficients
from bayeslmm.likelihood.joint_components import JointComponents

Quantity = Literal["sigma2", "share", "cov", "rho", "rho_p"]
SINGULAR = 1e-7
"""An eigenvalue below it, in units of the variances given X, is 0."""


@dataclass(frozen=True, eq=False)
class JointComponentsEstimate:
    """REML of several traits with several components of variance.

    Attributes:
        data: what was fitted.
        Sigma: covariance matrices on the scale of each K, in the units of the traits, the residual last, shape
            (k + 1, t, t); a covariance that no records inform is given as 0.
        rank: of each; less than t on the boundary. That of the residual counts what is above 1e-5 of the variances of
            the traits given X, where the search ends.
        loglik: restricted log-likelihood, in the convention of `likelihood.one_trait.log_reml`.
        beta, se_beta: fixed effects of each trait by generalised least squares, and their errors at these covariances,
            shapes (c_j,).
        steps: how many the search took.
        solved: V at the estimate, in units of the data.
    """

    data: JointComponents
    Sigma: Float64[ndarray, "k t t"]
    rank: Int[ndarray, " k"]
    loglik: float
    beta: tuple[Float64[ndarray, " _"], ...]
    se_beta: tuple[Float64[ndarray, " _"], ...]
    steps: int
    solved: AtCoefficients

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components, the residual last."""
        return self.data.names

    @property
    def sigma2(self) -> Float64[ndarray, "k t"]:
        """Variances of each trait."""
        return quantities.diagonal(self.Sigma)

    @property
    def shares(self) -> Float64[ndarray, "k t"]:
        """Share of each component in the variance of each trait."""
        return self.values("share")

    @property
    def rho(self) -> Float64[ndarray, "k t t"]:
        """Correlations of each component; NaN beside a variance of 0, and where no records inform the covariance."""
        return self.values("rho")

    @property
    def at_zero(self) -> Bool[ndarray, "k t"]:
        """Which variances are 0, or that of a residual where the search ends."""
        return quantities.diagonal(self._unit) <= SINGULAR

    @property
    def boundary(self) -> tuple[str, ...]:
        """Which variances are 0, and which other matrices are singular, in words."""
        words = []
        for name, rank, zero, rho in zip(self.names, self.rank, self.at_zero, self.rho, strict=True):
            traits = self.data.records.traits
            words += [f"sigma2[{name}] = 0 of {trait}" for trait, one in zip(traits, zero, strict=True) if one]
            there = np.flatnonzero(~zero)
            if rank < len(there):
                ends = [(a, c) for a in there for c in there if a < c and abs(rho[a, c]) > 1 - 1e-4]
                words += [f"rho[{name}] = {rho[pair]:.0f} of {traits[pair[0]]} and {traits[pair[1]]}" for pair in ends]
                words += [] if ends else [f"Sigma[{name}] has rank {rank} of {len(there)}"]
        return tuple(words)

    def values(self, quantity: Quantity) -> Float64[ndarray, "..."]:
        """Return what is estimated: of components and traits, or of two traits."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found = quantities.of_components(self.Sigma)[quantity]
        if quantity == "rho":
            return np.where(self._unknown, np.nan, found)
        return found

    def covariance(self, kind: Kind = "average") -> Float64[ndarray, "m m"]:
        """Return the covariance of the distinct elements of all Sigma that an information implies.

        Those of a singular matrix are given the rank that is estimated: of a matrix that is 0 they are 0.

        Args:
            kind: see `ComponentsEstimate.covariance`.

        Raises:
            InputError: for an unknown kind.
            AnalysisError: if the information is not positive definite.
        """
        information = information_of(self.solved, kind)
        B = self._tangent
        inside = B.T @ information @ B
        if not B.size:
            return np.zeros_like(information)
        if not np.linalg.eigvalsh(inside)[0] > 0:
            raise AnalysisError(
                f"the {kind} information of {', '.join(self.names)} is not positive definite at the estimate: no "
                "standard errors exist, use the posterior"
            )
        unit = self.data.solver.elements(self.data.units)
        return B @ np.linalg.solve(inside, B.T) * np.outer(unit, unit)

    @in_float64
    def errors(self, quantity: Quantity, kind: Kind = "average") -> Float64[ndarray, "..."]:
        """Return the standard errors of a quantity by the delta method, NaN for what is on the boundary.

        Args:
            quantity: "sigma2" or "share", of components and traits, shape (k + 1, t); "cov" or "rho", of components and
                pairs of traits, shape (k + 1, t, t); "rho_p", of pairs of traits, shape (t, t).
            kind: of the information.

        Raises:
            InputError, AnalysisError: as `covariance`.
        """
        solver = self.data.solver
        j, a, c = np.array([(j, a, c) for j in range(len(self.names)) for a, c in solver.pairs]).T

        def at(theta: jax.Array) -> jax.Array:
            Sigma = jnp.zeros(self.Sigma.shape).at[j, a, c].set(theta).at[j, c, a].set(theta)
            return quantities.of_components(Sigma)[quantity]

        slopes = np.asarray(jax.jacfwd(at)(jnp.asarray(solver.elements(self.Sigma))))
        errors = np.sqrt(np.maximum(np.einsum("...i,ij,...j", slopes, self.covariance(kind), slopes), 0.0))
        if quantity in ("sigma2", "share"):
            return np.where(self.at_zero, np.nan, errors)
        if quantity == "cov":
            return np.where(self._unknown, np.nan, errors)
        fixed = ~(1 - np.abs(self.values(quantity)) > 1e-7)  # of a trait with itself, at a bound, and unknown
        return np.where(fixed, np.nan, errors)

    @cached_property
    def effects(self) -> dict[str, Float64[ndarray, "_ t"]]:
        """Best linear unbiased predictions by component, for its levels in their order, in the units of the traits.

        Source: Henderson (1975), doi:10.2307/2529430.
        """
        solver, sd, found = self.data.solver, np.array([one.sd for one in self.data.traits]), {}
        for one, Sigma, unit in zip(self.data.parts[:-1], self.Sigma, self.data.units, strict=False):
            sums = np.column_stack(
                [one.Z[rows].T @ self.solved.Py[at] for rows, at in zip(solver.rows, solver.at_trait, strict=True)]
            )
            found[one.name] = (sums if one.K is None else one.K @ sums) @ (Sigma / unit) * sd
        return found

    @property
    def _unknown(self) -> Bool[ndarray, "k t t"]:
        """Beside a variance of 0, or informed by no records."""
        zero = self.at_zero
        return zero[:, :, None] | zero[:, None, :] | ~self.data.records.informed

    @property
    def _unit(self) -> Float64[ndarray, "k t t"]:
        """Sigma in units of the data, of the residual what is above its least."""
        Sigma = self.Sigma / self.data.units
        Sigma[-1] -= LEAST_RESIDUAL * np.eye(self.data.t)
        return Sigma

    @property
    def _tangent(self) -> Float64[ndarray, "m d"]:
        """An orthonormal basis of the directions in which Sigma moves at its rank, in distinct elements."""
        blocks: list[ndarray] = []
        for Sigma, rank, informed in zip(self._unit, self.rank, self.data.records.informed, strict=True):
            F, pairs = np.linalg.eigh(Sigma)[1][:, self.data.t - rank :], self.data.solver.pairs
            moves = [np.outer(e, f) + np.outer(f, e) for f in F.T for e in np.eye(self.data.t)]
            elements = [[move[pair] * informed[pair] for move in moves] for pair in pairs]
            blocks.append(scipy.linalg.orth(np.array(elements), rcond=1e-9) if rank else np.zeros((len(pairs), 0)))
        return scipy.linalg.block_diag(*blocks)
