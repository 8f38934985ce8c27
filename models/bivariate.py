r"""Two traits: how they are correlated through the genome, and through everything else.

The model of :mod:`bayeslmm.models.multivariate` with one genetic and one residual correlation,

.. math::

    \rho_u \sim U(-1, 1), \qquad \rho_e \sim U(-1, 1)

and any other prior of each, on (-1, 1) or a part of it, in their place.
"""

import jax.numpy as jnp
import numpyro

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.priors import BivariatePrior as Prior
from bayeslmm.likelihood.rotation import JointData
from bayeslmm.models import multivariate
from bayeslmm.posterior.joint_geometry import Prepared, prepare
from bayeslmm.posterior.pair_geometry import as_probits
from bayeslmm.posterior.pair_geometry import start as start
from bayeslmm.posterior.pair_geometry import starts as starts

DIMS = {name: dims for name, dims in multivariate.DIMS.items() if not name.startswith("rho")}


def model(data: JointData | Prepared, prior: Prior = Prior(), *, observe: bool = True) -> None:
    """Sample two traits; with ``observe=False`` from the prior predictive.

    Raises:
        InputError: if there are not two.
    """
    ready = prepare(data)
    if (t := ready.data.Y.shape[1]) != 2:
        raise InputError(f"bivariate is a program of two traits, but {t} were given: use multivariate")
    with as_probits(_rho_u=prior.rho_u, _rho_e=prior.rho_e):
        rho_u = jnp.asarray(numpyro.sample("_rho_u", prior.rho_u))
        rho_e = jnp.asarray(numpyro.sample("_rho_e", prior.rho_e))
    numpyro.deterministic("rho_u", rho_u)
    numpyro.deterministic("rho_e", rho_e)
    matrices = (jnp.array([[1.0, rho], [rho, 1.0]]) for rho in (rho_u, rho_e))
    rho_p = multivariate.sample_traits(ready, prior, *matrices, observe=observe)
    numpyro.deterministic("rho_p", rho_p[0, 1])
