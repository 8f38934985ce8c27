r"""Coordinates of the covariance matrices of several traits, on the real line: what importance sampling draws.

Of each trait the share and the total of `models.multivariate`, and of each matrix of correlations the partial
correlations :math:`p_{ij}` of traits i and j < i given the traits before j, which are independent under an LKJ prior:
the Cholesky factor has the elements :math:`L_{ij} = p_{ij} (1 - \sum_{l<j} L_{il}^2)^{1/2}`. With two traits there is
one, the correlation itself, with any prior.

Source: Lewandowski, Kurowicka and Joe (2009), doi:10.1016/j.jmva.2009.04.008, section 2.4 and theorem 5.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.priors import BivariatePrior, Flat, JointPrior, OnLine, correlation_prior

_INSIDE = 4.0  # of the coordinate of a bounded parameter, where a search starts at most: 0.018 from the bounds


class JointCoordinates(NamedTuple):
    """Maps between d coordinates and covariance matrices, for K with a mean eigenvalue of 1 and traits of variance 1.

    Attributes:
        t: traits.
        lines: of shares, totals, partial correlations of Gamma_u and of Gamma_e, row by row.
    """

    t: int
    lines: tuple[OnLine, ...]

    @classmethod
    def of(cls, prior: JointPrior, t: int) -> "JointCoordinates":
        """Return those in which a prior has independent parts.

        Raises:
            InputError: if the prior of fixed effects is not flat, or one of the others not continuous on an interval.
        """
        if not isinstance(prior.beta, Flat):
            raise InputError("importance sampling needs a flat prior of fixed effects: leave beta out, or use NUTS")
        shares = [OnLine.of(prior.h2, "h2", within=(0.0, 1.0))] * t
        totals = [OnLine.of(prior.sigma2_p, "sigma2_p", within=(0.0, np.inf))] * t
        if isinstance(prior, BivariatePrior):
            partial = [("rho_u", prior.rho_u), ("rho_e", prior.rho_e)]
        else:
            etas = {"rho_u": prior.eta_u, "rho_e": prior.eta_e}
            partial = [(name, correlation_prior(eta, t - j)) for name, eta in etas.items() for _, j in _below(t)]
        correlations = [OnLine.of(law, name, within=(-1.0, 1.0)) for name, law in partial]
        return cls(t, (*shares, *totals, *correlations))

    def matrices(self, u: Float[ndarray, "m d"]) -> tuple[Float64[ndarray, "m t t"], Float64[ndarray, "m t t"]]:
        """Return Gamma_u and Gamma_e at m points."""
        t, pairs = self.t, self.t * (self.t - 1) // 2
        values = np.column_stack([line.inside(u[:, k]) for k, line in enumerate(self.lines)])
        share, total, partial_u, partial_e = np.split(values, [t, 2 * t, 2 * t + pairs], axis=1)
        L_u = _factor(partial_u, t) * np.sqrt(share * total)[:, :, None]
        L_e = _factor(partial_e, t) * np.sqrt((1 - share) * total)[:, :, None]
        return L_u @ L_u.transpose(0, 2, 1), L_e @ L_e.transpose(0, 2, 1)

    def log_prior(self, u: Float[ndarray, "m d"]) -> Float64[ndarray, " m"]:
        """Return the log prior density of coordinates."""
        return np.sum([line.log_density(u[:, k]) for k, line in enumerate(self.lines)], axis=0)

    def near(
        self,
        sigma2_u: Float[ndarray, " t"],
        sigma2_e: Float[ndarray, " t"],
        rho_u: Float[ndarray, "t t"],
        rho_e: Float[ndarray, "t t"],
    ) -> Float64[ndarray, " d"]:
        """Return the coordinates nearest to variances and correlations that are well inside all bounds."""
        total = sigma2_u + sigma2_e
        values = np.concatenate([sigma2_u / total, total, *(_partial(rho) for rho in (rho_u, rho_e))])
        u = np.concatenate([line.from_value(values[[k]]) for k, line in enumerate(self.lines)])
        return np.where([np.isfinite(line.high) for line in self.lines], np.clip(u, -_INSIDE, _INSIDE), u)


def _below(t: int) -> list[tuple[int, int]]:
    return [(i, j) for i in range(t) for j in range(i)]


def _factor(partial: Float[ndarray, "m pairs"], t: int) -> Float64[ndarray, "m t t"]:
    """Return Cholesky factors of correlation matrices."""
    L = np.zeros((len(partial), t, t))
    for k, (i, j) in enumerate(_below(t)):
        L[:, i, j] = partial[:, k] * np.sqrt(1 - np.square(L[:, i, :j]).sum(axis=1))
    L[:, range(t), range(t)] = np.sqrt(1 - np.square(L).sum(axis=2))
    return L


def _partial(rho: Float[ndarray, "t t"]) -> Float64[ndarray, " pairs"]:
    """Return the partial correlations of a positive definite matrix of correlations."""
    L = np.linalg.cholesky(rho)
    return np.array([L[i, j] / np.sqrt(1 - np.square(L[i, :j]).sum()) for i, j in _below(len(rho))])
