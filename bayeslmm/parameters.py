"""The numbers people ask for, as functions of the variance components."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def h2(sigma2_u: ArrayLike, sigma2_e: ArrayLike) -> Array:
    r"""Heritability :math:`\sigma_u^2 / (\sigma_u^2 + \sigma_e^2)`, dimensionless, between 0 and 1."""
    return jnp.divide(sigma2_u, jnp.add(sigma2_u, sigma2_e))


def pve(sigma2_u: ArrayLike, sigma2_e: ArrayLike, k_scale: ArrayLike) -> Array:
    """Share of the variance among the people analysed that K explains: `h2` with sigma2_u on the scale of K.

    Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, supplementary note (PVE of GEMMA).
    """
    return h2(jnp.multiply(k_scale, sigma2_u), sigma2_e)
