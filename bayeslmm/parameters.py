"""The numbers people ask for, as functions of the variance components: Python's, NumPy's or JAX's, as they come."""

from typing import Any


def h2(sigma2_u: Any, sigma2_e: Any) -> Any:
    r"""Heritability :math:`\sigma_u^2 / (\sigma_u^2 + \sigma_e^2)`, dimensionless, between 0 and 1."""
    return sigma2_u / (sigma2_u + sigma2_e)


def pve(sigma2_u: Any, sigma2_e: Any, k_scale: Any) -> Any:
    """Share of the variance among the people analysed that K explains: `h2` with sigma2_u on the scale of K.

    Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, supplementary note (PVE of GEMMA).
    """
    return h2(k_scale * sigma2_u, sigma2_e)
