r"""The threshold model: what its program computes once, coordinates that suit NUTS, and starting values.

Effects z of the eigenvectors and the heritability h are sampled together, and z depends on h. What is sampled is
therefore :math:`(z_j - m_j) p_j^{1/2}`, with the mean and the precision that z_j has to first order. Let the covariates
alone fit the liability, of variance 1, as :math:`\mu`: the working residual of that probit regression, r, has about the
covariances of the liability, h K, and a variance v that the cut makes larger, at least :math:`\pi / 2`,

.. math::

    p_j = 1 + h s_j / (v - h), \qquad m_j = \sqrt{h s_j} \, (U'r)_j / (v - h) / p_j

Any m and p give the same posterior: one v serves all individuals.

Source: Lee et al. (2011), doi:10.1016/j.ajhg.2011.02.002, for the first order.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Bool, Float
from numpy import ndarray
from numpyro.distributions.transforms import AffineTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam
from scipy.optimize import linprog
from scipy.stats import norm

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.priors import Flat, VariancePrior, spread_over
from bayeslmm.likelihood.two_values import TwoValues

_STEPS, _CLOSE = 100, 1e-8
_SEPARATED = 1e-6
_RIDGE = 1e-3  # of the fit by covariates: a separated one has no maximum, and any fit will do


class Prepared(NamedTuple):
    """What the program takes.

    Attributes:
        L: U S^(1/2) with the mean of s at 1, so that g is L z, shape (n, n).
        case: whether each individual is a case, shape (n,).
        Q, R: X = Q R, Q orthonormal.
        k: mean of s.
        s: eigenvalues, divided by it.
        along: diagonal of Q'KQ, shape (c,).
        b: fit by covariates alone of a liability of variance 1, on Q, shape (c,).
        v: variance of the working residual.
        r: U' of the working residual, shape (n,).
    """

    L: Float[ArrayLike, "n n"]
    case: ArrayLike
    Q: Float[ArrayLike, "n c"]
    R: Float[ArrayLike, "c c"]
    k: Float[ArrayLike, ""]
    s: Float[ArrayLike, " n"]
    along: Float[ArrayLike, " c"]
    b: Float[ArrayLike, " c"]
    v: Float[ArrayLike, ""]
    r: Float[ArrayLike, " n"]


def prepare(data: TwoValues | Prepared) -> Prepared:
    """Do what no parameter takes part in, unless it is done."""
    if isinstance(data, Prepared):
        return data
    Q, R = orthonormal(data.X)
    k = float(data.s.mean())
    s = data.s / k
    b = probit(Q, data.case)
    score, weight = _scores(Q @ b, data.case)
    v = 1 / weight.mean()
    return Prepared(
        L=data.U * np.sqrt(s),
        case=data.case,
        Q=Q,
        R=R,
        k=np.array(k),
        s=s,
        along=np.square(Q.T @ data.U) @ s,
        b=b,
        v=np.array(v),
        r=data.U.T @ (v * score),
    )


def probit(Q: Float[ndarray, "n c"], case: Bool[ndarray, " n"]) -> Float[ndarray, " c"]:
    """Return the coefficients of a probit regression, drawn a little to 0, by Fisher scoring, shape (c,)."""
    b = np.zeros(Q.shape[1])
    for _ in range(_STEPS):
        score, weight = _scores(Q @ b, case)
        step = np.linalg.solve(Q.T @ (weight[:, None] * Q) + _RIDGE * np.eye(len(b)), Q.T @ score - _RIDGE * b)
        b += step
        if np.abs(step).max() < _CLOSE * np.abs(b).max():
            break
    return b


def _scores(mean: Float[ndarray, " n"], case: Bool[ndarray, " n"]) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Return slopes of the log probabilities of what was seen, and their expected curvatures."""
    # In logarithms: far out both the density and the probability of the other side are 0.
    log_density, log_cases, log_others = norm.logpdf(mean), norm.logcdf(mean), norm.logsf(mean)
    score = np.where(case, np.exp(log_density - log_cases), -np.exp(log_density - log_others))
    return score, np.exp(2 * log_density - log_cases - log_others)


def about_first_order(ready: Prepared, h2: ArrayLike) -> reparam:
    """Return a context in which ``b`` and ``_z`` are sampled as ``b_base`` and ``_z_base``, both nearly N(0, 1)."""
    rest = ready.v - jnp.asarray(h2)
    precision = 1 + h2 * ready.s / rest
    mean = jnp.sqrt(h2 * ready.s) * ready.r / rest / precision
    return reparam(
        config={
            "b": ExplicitReparam(AffineTransform(jnp.asarray(ready.b), jnp.sqrt(rest + h2 * ready.along)).inv),
            "_z": ExplicitReparam(AffineTransform(mean, precision**-0.5).inv),
        }
    )


def start(data: TwoValues) -> dict[str, ArrayLike]:
    """Return values of all sites in the middle."""
    n, c = data.X.shape
    return {"_share": 0.5, "b_base": np.zeros(c), "_z_base": np.zeros(n)}


def starts(data: TwoValues, prior: VariancePrior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: heritabilities all over the prior, the others about their means.

    Raises:
        InputError: if the prior of fixed effects is flat, and the posterior has no end.
    """
    prior = prior or VariancePrior()
    check_overlap(data, [f"number {j + 1}" for j in range(data.X.shape[1])], prior)
    rng, (n, c) = np.random.default_rng(seed), data.X.shape
    return [
        {"_share": share, "b_base": rng.standard_normal(c), "_z_base": rng.standard_normal(n)}
        for share in spread_over(prior.h2, chains, rng)
    ]


def check_overlap(data: TwoValues, covariates: Sequence[str], prior: VariancePrior) -> None:
    """Refuse covariates that tell some cases, or some others, without an error, if their prior is flat.

    Their effects are then the likelier the larger they are, and have no posterior.

    Args:
        data: the trait.
        covariates: names of the columns of X.
        prior: of fixed effects.

    Raises:
        InputError: with the covariate that matters most.

    Source: Albert and Anderson (1984), doi:10.1093/biomet/71.1.1; Konis (2007), the linear program.
    """
    if not isinstance(prior.beta, Flat):
        return
    Q, R = orthonormal(data.X)
    apart = np.where(data.case, 1.0, -1.0)[:, None] * Q
    # Is there a direction in which no liability is on the wrong side, and some on the right one?
    found = linprog(-apart.sum(axis=0), A_ub=-apart, b_ub=np.zeros(len(apart)), bounds=(-1, 1), method="highs")
    direction = np.asarray(found.x, dtype=float)  # 0 is one, so that there always is a solution
    if (apart @ direction).sum() > _SEPARATED:
        effects = np.abs(np.linalg.solve(R, direction)) * (data.X.std(axis=0) + _CLOSE)
        raise InputError(
            f"the covariates separate cases from others, the covariate {covariates[int(effects.argmax())]} above all: "
            "the effects have no end under a flat prior; leave it out, join categories that hold only cases or only "
            "others, or give fixed effects a prior (beta of VariancePrior)"
        )
