"""The geometry of the program of two traits: that of several, and correlations on the real line."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from jax.typing import ArrayLike
from jaxtyping import Array
from numpyro.distributions.transforms import AffineTransform, ComposeTransform, ParameterFreeTransform
from numpyro.handlers import reparam
from numpyro.infer.reparam import ExplicitReparam

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.likelihood.priors import BivariatePrior, spread_over
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.posterior.joint_geometry import start_traits, starts_of_traits


def as_probits(**priors: dist.Distribution) -> reparam:
    """Return a context in which sites with these bounded priors are sampled as ``<site>_base``, on the real line.

    Where data leave a correlation at its bound, NUTS then has the tail of a normal to explore, in place of the
    exponential one that a logit would give: half as many effective draws again, or more.
    """
    return reparam(config={site: ExplicitReparam(_probit_of(prior)) for site, prior in priors.items()})


@in_float64
def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already), for priors on (-1, 1)."""
    values = start_traits(data, fit or joint_reml(data))
    probit = _probit_of(BivariatePrior().rho_u)
    probits = {f"_{name}_base": np.asarray(probit(values.pop(name)[0, 1])) for name in ("rho_u", "rho_e")}
    return {**probits, **values}


@in_float64
def starts(data: JointData, prior: BivariatePrior | None, chains: int, seed: int) -> list[dict[str, ArrayLike]]:
    """Return values of all sites for each chain: correlations spread over their priors, the rest as for more traits."""
    prior, rng = prior or BivariatePrior(), np.random.default_rng([seed, 2])
    probits = {
        f"_{name}_base": np.asarray(_probit_of(law)(spread_over(law, chains, rng)))
        for name, law in (("rho_u", prior.rho_u), ("rho_e", prior.rho_e))
    }
    of_traits = starts_of_traits(data, prior, chains, seed)
    return [{name: probit[c] for name, probit in probits.items()} | values for c, values in enumerate(of_traits)]


_ndtri = jax.jit(ndtri)  # some forty operations, each of which would be compiled


class _Probit(ParameterFreeTransform):
    """Map (0, 1) to the real line: a uniform variable to a standard normal one."""

    domain = dist.constraints.unit_interval  # pyright: ignore
    codomain = dist.constraints.real  # pyright: ignore

    def __call__(self, x: ArrayLike) -> Array:
        return _ndtri(jnp.asarray(x))

    def _inverse(self, y: ArrayLike) -> Array:
        return ndtr(jnp.asarray(y))

    def log_abs_det_jacobian(self, x: ArrayLike, y: ArrayLike, intermediates: None = None) -> Array:
        return jnp.square(jnp.asarray(y)) / 2 + jnp.log(2 * jnp.pi) / 2


def _probit_of(prior: dist.Distribution) -> ComposeTransform:
    """Map the range of a prior to the real line."""
    support: Any = prior.support
    width = support.upper_bound - support.lower_bound
    to_unit = AffineTransform(-support.lower_bound / width, 1 / width, domain=support)
    return ComposeTransform([to_unit, _Probit()])
