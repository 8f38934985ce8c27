r"""Two traits: how they are correlated through the genome, and through everything else.

The model of :mod:`bayeslmm.models.multivariate` with one genetic and one residual correlation,

.. math::

    \rho_u \sim U(-1, 1), \qquad \rho_e \sim U(-1, 1)

and any other prior of each, on (-1, 1), in their place.
"""

import jax.numpy as jnp
import numpyro
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from bayeslmm.estimators.joint_reml import JointEstimate, joint_reml
from bayeslmm.models import multivariate
from bayeslmm.priors import BivariatePrior as Prior
from bayeslmm.spectrum import JointData

DIMS = {name: dims for name, dims in multivariate.DIMS.items() if not name.startswith("rho")}


def model(data: JointData, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two traits; with ``observe=False`` from the prior predictive."""
    rho_u = jnp.asarray(numpyro.sample("rho_u", prior.rho_u))
    rho_e = jnp.asarray(numpyro.sample("rho_e", prior.rho_e))
    rho_p = multivariate.sample_traits(data, prior, _matrix(rho_u), _matrix(rho_e), observe=observe)
    numpyro.deterministic("rho_p", rho_p[0, 1])


def start(data: JointData, fit: JointEstimate | None = None) -> dict[str, ArrayLike]:
    """Return values of all sites near the REML estimate (``fit``, if it is there already)."""
    values = multivariate.start_traits(data, fit or joint_reml(data))
    return {name: value[0, 1] if name.startswith("rho") else value for name, value in values.items()}


def _matrix(rho: Array) -> Float[Array, "2 2"]:
    return jnp.array([[1.0, rho], [rho, 1.0]])
