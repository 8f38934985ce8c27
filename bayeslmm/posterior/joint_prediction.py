r"""Breeding values of several traits together, of anybody related to the individuals analysed, and records to come.

At given covariance matrices the breeding values of trait j are normal, with mean :math:`k' P y` and variances
:math:`\Gamma_{u,jj} K_{ii} - k' P k`, where k holds their covariances with all records, :math:`\Gamma_{u,jl} K_{io}`
with those of trait l. What is not known of fixed effects is part of P. A record that somebody lacks has covariances
with that person's other records beside these, those of the residuals.

Missing values are fixed effects of their own cells (`joint_log_reml`), which makes rows and columns of P zero there, so
that all is a sum over eigenvectors of K.

Source: Henderson and Quaas (1976), doi:10.2527/jas1976.4361188x, for several traits; as in `prediction` for the rest.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from jaxtyping import Bool, Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError
from bayeslmm.likelihood.joint_whitened import JointWhitened
from bayeslmm.likelihood.small_matrices import cholesky, inverse
from bayeslmm.posterior.prediction import Prediction

_PEOPLE = 1024


class Relatives(NamedTuple):
    """N individuals who are to be predicted.

    Attributes:
        C: their kinship with those analysed, times the eigenvectors of K of these, shape (N, n).
        diagonal: of their own kinship, shape (N,).
        own: the rows of the eigenvectors that are theirs; 0 for those who are not analysed, shape (N, n).
        lacks: whether somebody analysed has no record of a trait: what is predicted is then this record, with what the
            residuals of the other traits say, and a new record otherwise, shape (N, t).
        X: their covariates of each trait, NaN where they are not known, shapes (N, c_j).
    """

    C: Float64[ndarray, "N n"]
    diagonal: Float64[ndarray, " N"]
    own: Float64[ndarray, "N n"]
    lacks: Bool[ndarray, "N t"]
    X: Sequence[Float[ndarray, "N _"]]

    def take(self, rows: slice) -> "Relatives":
        """Return some of them."""
        X = [each[rows] for each in self.X]
        return Relatives(self.C[rows], self.diagonal[rows], self.own[rows], self.lacks[rows], X)


def joint_predict(
    white: JointWhitened,
    Gamma_u: Float[ndarray, "t t"],
    Gamma_e: Float[ndarray, "t t"],
    who: Relatives,
    traits: Sequence[int],
) -> list[Prediction]:
    """Predict breeding values and records, a `Prediction` for each of some traits.

    Args:
        white: the traits.
        Gamma_u: genetic covariances, in units of the traits.
        Gamma_e: residual covariances.
        who: is to be predicted.
        traits: which, counted from 0.

    Raises:
        AnalysisError: if records have no positive definite covariance matrix.
    """
    system = _System.of(white, Gamma_u / white.unit_u, Gamma_e / white.unit_e)
    found: list[Prediction] = []
    for j in traits:
        starts = range(0, len(who.diagonal), _PEOPLE)
        parts = [system.predicted(j, who.take(slice(start, start + _PEOPLE))) for start in starts]
        found.append(Prediction(*(np.concatenate(values) for values in zip(*parts, strict=True))))
    return found


class _System(NamedTuple):
    """Generalised least squares of several traits, solved.

    Attributes:
        white: the traits.
        Gamma_u, Gamma_e: in units of these.
        inverses: V^-1 of all rows, as `small_matrices` has it.
        root: lower Cholesky factor of Z'V^-1 Z, Z the missing values of all traits and then X.
        b: the coefficients of Z.
        Z: of each trait, in the same order, with where its coefficients are.
    """

    white: JointWhitened
    Gamma_u: Float64[ndarray, "t t"]
    Gamma_e: Float64[ndarray, "t t"]
    inverses: list[list[Any]]
    root: Float64[ndarray, "C C"]
    b: Float64[ndarray, " C"]
    Z: list[tuple[int, slice, Float64[ndarray, "n _"]]]

    @classmethod
    def of(cls, white: JointWhitened, Gamma_u: Float64[ndarray, "t t"], Gamma_e: Float64[ndarray, "t t"]) -> "_System":
        products, data = white.products, white.data
        (factor,) = products.roots(Gamma_u[None], Gamma_e[None])
        if factor is None:
            raise AnalysisError("the records have no positive definite covariance matrix: no trait can be predicted")
        known = products.size - products.t
        root = np.tril(factor[:known, :known])
        b = scipy.linalg.solve_triangular(root, factor[known:, :known].sum(axis=0), lower=True, trans="T")
        t, at, Z = len(Gamma_u), 0, []
        for parts in (data.E, data.X):
            for j, part in enumerate(parts):
                Z.append((j, slice(at, at + part.shape[1]), np.asarray(part)))
                at += part.shape[1]
        s = np.asarray(data.s)
        V = [[s * Gamma_u[j, k] + Gamma_e[j, k] for k in range(t)] for j in range(t)]
        return cls(white, Gamma_u, Gamma_e, inverse(cholesky(V)), root, b, Z)

    def predicted(self, j: int, who: Relatives) -> Prediction:
        """Return what is predicted of trait j."""
        sd, k, t = self.white.sd[j], self.white.k, len(self.Gamma_u)
        C, prior = who.C / k, self.Gamma_u[j, j] * who.diagonal / k
        covariances = [self.Gamma_u[j, m] * C for m in range(t)]
        mean, variance = self._given(covariances, np.zeros((len(C), len(self.b))))
        own = who.own * who.lacks[:, [j]]
        X = who.X[j] @ np.linalg.inv(self.white.R[j])
        x = np.zeros((len(C), len(self.b)))
        x[:, self.Z[t + j][1]] = np.nan_to_num(X)
        with_own = [each + self.Gamma_e[j, m] * own for m, each in enumerate(covariances)]
        record, of_record = self._given(with_own, x)
        unknown = np.isnan(X).any(axis=1)
        record = np.where(unknown, np.nan, (record + x @ self.b) * sd + np.nan_to_num(X) @ self.white.b[j])
        of_record = np.where(unknown, np.nan, prior + self.Gamma_e[j, j] + of_record)
        return Prediction(mean * sd, (prior + variance) * sd**2, record, of_record * sd**2)

    def _given(
        self, covariances: list[Float64[ndarray, "N n"]], x: Float64[ndarray, "N C"]
    ) -> tuple[Float64[ndarray, " N"], Float64[ndarray, " N"]]:
        """Return k'Py, and what the records change in the variance: less k'V^-1 k, more what is not known of effects.

        Args:
            covariances: k of each of N quantities with the rows of each trait.
            x: their own covariates, as rows of Z.
        """
        t = len(covariances)
        weights = [sum(k * self.inverses[m][j] for m, k in enumerate(covariances)) for j in range(t)]
        mean, fitted = np.zeros(len(x)), np.empty_like(x)
        for j, weight in enumerate(weights):
            mean += weight @ np.asarray(self.white.data.Y)[:, j]
        for j, at, Z in self.Z:
            fitted[:, at] = weights[j] @ Z
        known = sum((weight * k).sum(axis=1) for weight, k in zip(weights, covariances, strict=True))
        left = scipy.linalg.solve_triangular(self.root, (x - fitted).T, lower=True)
        return mean - fitted @ self.b, np.square(left).sum(axis=0) - known
