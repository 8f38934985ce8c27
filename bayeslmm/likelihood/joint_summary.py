"""Several traits of a cohort in a few hundred rows, each with its own covariates, from products with its kinship."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.checks import InputError
from bayeslmm.base.defaults import PROBE_ERROR
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.likelihood.bases import independent
from bayeslmm.likelihood.joint_products import log_dets
from bayeslmm.likelihood.probe_error import ProbeError, errors_of
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.likelihood.spectral_summary import MOST_PASSES, PROBES, SpectralSummary, spectral_summary

_TOGETHER = 2**22  # log determinants


@dataclass(frozen=True)
class JointSummary:
    """What inference of several traits at once needs, and its Monte Carlo error.

    Attributes:
        data: the traits, with `counts`.
        summary: of the same traits, each given the covariates of all.
    """

    data: JointData
    summary: SpectralSummary

    def errors(
        self,
        values: Float[ndarray, "m p"],
        Gamma_u: Float[ndarray, "m t t"],
        Gamma_e: Float[ndarray, "m t t"],
        weights: Float[ndarray, " m"] | None = None,
    ) -> Float64[ndarray, " p"]:
        r"""Return the standard errors of posterior means that come of the random probes, in posterior deviations.

        Other counts change the log-likelihood of a draw by :math:`-\frac12 \sum_i (c'_i - c_i) \log |s_i \Gamma_u +
        \Gamma_e|`, and a mean by its covariance with that, to first order.

        Args:
            values: of p numbers at m draws of the posterior.
            Gamma_u: genetic covariances of the draws.
            Gamma_e: residual covariances.
            weights: of the draws, by default all the same.
        """
        w = np.full(len(values), 1 / len(values)) if weights is None else weights / weights.sum()
        differences = (self.summary.others - self.data.weights).T
        some = np.array_split(np.arange(len(values)), -(-len(values) * len(differences) // _TOGETHER))
        change = -np.concatenate([log_dets(self.data.s, Gamma_u[i], Gamma_e[i]) @ differences for i in some]) / 2
        centred = values - w @ values
        sd = np.sqrt(w @ centred**2)
        scaled = w[:, None] * centred / np.where(sd > 0, sd, 1.0)
        return errors_of(scaled.T @ change, probes=PROBES).total

    def error(self, found: float, parameter: str) -> ProbeError:
        """Return one of `errors` beside what was asked for."""
        return ProbeError(float(found), self.summary.wanted, self.summary.passes, parameter)


def joint_summary(
    K: Covariance,
    Y: Float[ndarray, "..."],
    X: Sequence[Float[ndarray, "..."]],
    *,
    seed: int,
    probe_error: float = PROBE_ERROR,
    most_passes: int = MOST_PASSES,
    bend: bool = False,
    tell: Callable[[ProbeError], None] | None = None,
) -> JointSummary:
    r"""Summarise traits of the same individuals by products with K, for methods that take all of them at once.

    With :math:`\Gamma_e^{-1/2} \Gamma_u \Gamma_e^{-1/2} = R \text{diag}(l) R'` the covariance of t traits falls apart
    into t copies of :math:`l_j K + I`, and all that their likelihood needs of X and Y are products X'f(K)X, X'f(K)Y and
    Y'f(K)Y: those that the rows of a `spectral_summary` hold. Only log determinants have an error.

    Args:
        K: as for `spectral_summary`.
        Y: traits, complete, shape (n, t).
        X: for each trait its covariates, of full column rank, shapes (n, c_j).
        seed: of the probes.
        probe_error: the error that is asked for, in posterior standard deviations of the h2 of each trait by itself.
        most_passes: over K.
        bend: as for `spectral_summary`.
        tell: called with what is reached, each time that it is known.

    Raises:
        InputError: as `spectral_summary`, or if there are not covariates for each trait.
    """
    if Y.ndim != 2 or len(X) != Y.shape[1] or any(part.ndim != 2 or len(part) != len(Y) for part in X):
        raise InputError(
            f"each trait needs its covariates, with a row for each individual, but Y has the shape {Y.shape} and the "
            f"covariates have {', '.join(str(part.shape) for part in X)}"
        )
    basis, _ = independent(starting_columns(X))
    summary = spectral_summary(
        K, Y, basis, seed=seed, probe_error=probe_error, most_passes=most_passes, bend=bend, tell=tell
    )
    rows = summary.data
    data = JointData(
        s=rows.s,
        Y=rows.Y,
        X=tuple(rows.X @ (basis.T @ part) for part in X),
        E=(np.zeros((len(rows.s), 0)),) * len(X),
        k_scale=rows.k_scale,
        counts=rows.counts,
    )
    return JointSummary(data, summary)


def starting_columns(X: Sequence[Float[ndarray, "n _"]]) -> Float64[ndarray, "n c"]:
    """Return the covariates of several traits, each once."""
    columns = {column.tobytes(): column for part in X for column in np.asarray(part, dtype=float).T}
    return np.column_stack([*columns.values()]) if columns else np.zeros((len(X[0]), 0))
