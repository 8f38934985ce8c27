"""Maximum likelihood."""

import functools

import jax
import numpy as np
from jaxtyping import ScalarLike

from bayeslmm.analyses.method import Fitted, Method, Near
from bayeslmm.analyses.rows import likelihood_rows
from bayeslmm.analyses.source import Source
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.ml import ml
from bayeslmm.estimators.variance_ratio import profile
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.one_trait import log_ml
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.whitened import Whitened


def _near(fit: Estimate, fitted: Fitted) -> Near:
    """ML ignores the degrees of freedom of X: near REML, unless only one of them is on the boundary."""
    reml = fitted.reml
    if fit.boundary != reml.boundary:
        return Near("reml", reml.h2)
    return Near("reml", reml.h2, 1.5 * abs(_newton_step(reml, fitted.white)) + fitted.slack)


def _why(fit: Estimate, fitted: Fitted) -> str:
    if fit.boundary == fitted.reml.boundary:
        return "ML ignores the degrees of freedom of X: 1.5 times the Newton step from REML towards ML"
    Q, _ = orthonormal(fitted.white.given.X)
    silent = Q[fitted.white.given.s <= 1e-10 * fitted.white.given.s.max()]
    if fit.boundary == "h2 = 1" and silent.size and np.linalg.norm(silent, 2) > 1 - 1e-6:
        return "the likelihood of ML has no maximum: K is 0 along a direction of X (the intercept, if K is centred)"
    return "one of ML and REML is on the boundary, and the other is not: there the likelihood is nearly flat"


@in_float64
def _newton_step(reml: Estimate, white: Whitened) -> float:
    """Return the first Newton step of the profile likelihood of ML from REML, inside [0, 1]; NaN where it bends up."""
    score, bend = map(float, _score_and_bend(reml.n, white.data, white.k, reml.h2))
    return float(np.clip(reml.h2 - score / bend, 0, 1) - reml.h2) if bend < 0 else float("nan")


@functools.partial(jax.jit, static_argnums=0)
def _score_and_bend(n: int, data: RotatedData, k: ScalarLike, h2: ScalarLike) -> tuple[jax.Array, jax.Array]:
    """Return the first two derivatives of the profile likelihood at h2 on the user's scale of K."""

    def loglik(h2: jax.Array) -> jax.Array:
        return profile(log_ml, n, data, quantities.pve(h2, 1 - h2, k))

    return jax.jvp(jax.grad(loglik), (h2,), (1.0,))


METHOD = Method(
    name="ml", label="ML", spread="se", rank=4, order=2,
    fit=lambda request: ml(request.white),
    rows=likelihood_rows,
    near=_near,
    why=_why,
    sources=(Source("Hartley and Rao (1967)", "10.1093/biomet/54.1-2.93", "maximum likelihood"),),
)  # fmt: skip
