"""What an estimator returns."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from bayeslmm.base.checks import AnalysisError

Boundary = Literal["h2 = 0", "h2 = 1"]


@dataclass(frozen=True)
class Estimate:
    """Point estimates of one trait by a likelihood.

    Attributes:
        method: "reml", or one of "ml", "em" and "pxem", which search the same likelihood.
        sigma2_u, sigma2_e: variance components, in squared units of the trait.
        h2, pve: heritability, and variance explained among the individuals analysed.
        loglik: the (restricted) log-likelihood at the estimate, in the convention of `likelihood`.
        loglik_null: the same at h2 = 0.
        beta: fixed effects by generalised least squares, shape (c,).
        se_beta: their standard errors at these variances, shape (c,).
        n, c: individuals and covariates.
        boundary: which end of the parameter space the estimate sits on, None inside. "h2 = 1" stands for the end
            of the search, delta = 1e-5 in units in which K has a mean diagonal of 1: with a singular K the likelihood
            may grow without bound beyond it.
        other_modes: h2 and log-likelihood of each lower maximum of the likelihood.
    """

    method: Literal["reml", "ml", "em", "pxem"]
    sigma2_u: float
    sigma2_e: float
    h2: float
    pve: float
    loglik: float
    loglik_null: float
    beta: Float[ndarray, " c"]
    se_beta: Float[ndarray, " c"]
    n: int
    c: int
    boundary: Boundary | None
    other_modes: tuple[tuple[float, float], ...] = ()

    @property
    def likelihood(self) -> Literal["reml", "ml"]:
        """Which likelihood it is of."""
        return "reml" if self.method == "reml" else "ml"

    @property
    def likelihood_ratio(self) -> float:
        """Twice the gain of the log-likelihood over h2 = 0, 0 where rounding would make it negative."""
        return max(2 * (self.loglik - self.loglik_null), 0.0)

    def __post_init__(self) -> None:
        if not np.isfinite([self.sigma2_u, self.sigma2_e, self.loglik]).all():
            raise AnalysisError(f"the {self.method} search ended on numbers that are not finite: {self}")
