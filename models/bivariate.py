r"""Two traits: how they are correlated through the genome, and through everything else.

The model of :mod:`bayeslmm.models.multivariate` with one genetic and one residual correlation,

.. math::

    \rho_u \sim U(-1, 1), \qquad \rho_e \sim U(-1, 1)

and any other prior of each, on (-1, 1) or a part of it, in their place.
"""

from typing import Any

import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Array, Float
from numpyro.distributions.transforms import AffineTransform, ComposeTransform, ParameterFreeTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.base.checks import InputError
from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.likelihood.priors import BivariatePrior as Prior
from bayeslmm.likelihood.priors import spread_over
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.models import multivariate
from bayeslmm.models.multivariate import Prepared, prepare

DIMS = {name: dims for name, dims in multivariate.DIMS.items() if not name.startswith("rho")}


def model(data: JointData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two traits; with ``observe=False`` from the prior predictive.

    Raises:
        InputError: if there are not two.
    """
    ready = data if isinstance(data, Prepared) else prepare(data)
    if (t := ready.data.Y.shape[1]) != 2:
        raise InputError(f"bivariate is a program of two traits, but {t} were given: use multivariate")
    with reparam(
        config={"_rho_u": ExplicitReparam(_score(prior.rho_u)), "_rho_e": ExplicitReparam(_score(prior.rho_e))}
    ):
        rho_u = jnp.asarray(numpyro.sample("_rho_u", prior.rho_u))
        rho_e = jnp.asarray(numpyro.sample("_rho_e", prior.rho_e))
    numpyro.deterministic("rho_u", rho_u)
    numpyro.deterministic("rho_e", rho_e)
    rho_p = multivariate.sample_traits(ready, prior, _matrix(rho_u), _matrix(rho_e), observe=observe)
    numpyro.deterministic("rho_p", rho_p[0, 1])


@in_float64
def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already), for priors on (-1, 1)."""
    values = multivariate.start_traits(data, fit or joint_reml(data))
    score = _score(Prior().rho_u)
    scores = {f"_{name}_base": np.asarray(score(values.pop(name)[0, 1])) for name in ("rho_u", "rho_e")}
    return {**scores, **values}


def _matrix(rho: Array) -> Float[Array, "2 2"]:
    return jnp.array([[1.0, rho], [rho, 1.0]])


class _Probit(ParameterFreeTransform):
    """Map (0, 1) to the real line: a uniform variable to a standard normal one."""

    domain = dist.constraints.unit_interval  # pyright: ignore
    codomain = dist.constraints.real  # pyright: ignore

    def __call__(self, x: ArrayLike) -> Array:
        return ndtri(jnp.asarray(x))

    def _inverse(self, y: ArrayLike) -> Array:
        return ndtr(jnp.asarray(y))

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike, intermediates: None = None) -> Array:
        return jnp.square(jnp.asarray(y)) / 2 + jnp.log(2 * jnp.pi) / 2


def _score(prior: dist.Distribution) -> ComposeTransform:
    """Map the range of a correlation to the real line.

    Where data leave a correlation at its bound, NUTS then has the tail of a normal to explore, in place of the
    exponential one that a logit would give: half as many effective draws again, or more.
    """
    support: Any = prior.support
    width = support.upper_bound - support.lower_bound
    to_unit = AffineTransform(-support.lower_bound / width, 1 / width, domain=support)
    return ComposeTransform([to_unit, _Probit()])


@in_float64
def starts(data: JointData, prior: Prior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: correlations spread over their priors, the rest as for more traits."""
    prior, rng = prior or Prior(), np.random.default_rng([seed, 2])
    scores = {
        f"_{name}_base": np.asarray(_score(law)(spread_over(law, chains, rng)))
        for name, law in (("rho_u", prior.rho_u), ("rho_e", prior.rho_e))
    }
    of_traits = multivariate.starts_of_traits(data, prior, chains, seed)
    return [{name: score[c] for name, score in scores.items()} | values for c, values in enumerate(of_traits)]
