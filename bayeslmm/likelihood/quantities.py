"""The quantities of interest as functions of the variance components: Python's, NumPy's or JAX's, as they come."""

from typing import Any


def h2(sigma2_u: Any, sigma2_e: Any) -> Any:
    r"""Heritability :math:`\sigma_u^2 / (\sigma_u^2 + \sigma_e^2)`, dimensionless, between 0 and 1."""
    return sigma2_u / (sigma2_u + sigma2_e)


def pve(sigma2_u: Any, sigma2_e: Any, k_scale: Any) -> Any:
    """Share of the variance among the individuals analysed that K explains: `h2` with sigma2_u on the scale of K.

    Source: Zhou and Stephens (2012), doi:10.1038/ng.2310, supplementary note (PVE of GEMMA).
    """
    return h2(k_scale * sigma2_u, sigma2_e)


def diagonal(Gamma: Any) -> Any:
    """Variances of traits: the diagonal of the last two axes."""
    return Gamma.diagonal(axis1=-2, axis2=-1)


def correlation(Gamma: Any) -> Any:
    r"""Correlations :math:`\Gamma_{jk} / \sqrt{\Gamma_{jj} \Gamma_{kk}}` of covariance matrices, shape (..., t, t)."""
    sd = diagonal(Gamma) ** 0.5  # roots first: the product of two variances of 1e-200 is 0
    return Gamma / (sd[..., :, None] * sd[..., None, :])


def of_traits(Gamma_u: Any, Gamma_e: Any) -> dict[str, Any]:
    """Everything reported of several traits: by trait, shape (..., t), or by pair, shape (..., t, t).

    rho_p, the phenotypic correlation, is that of the sum of both matrices: of the traits given the covariates, if K has
    a mean diagonal of 1.
    """
    sigma2_u, sigma2_e = diagonal(Gamma_u), diagonal(Gamma_e)
    return {
        "sigma2_u": sigma2_u,
        "sigma2_e": sigma2_e,
        "h2": h2(sigma2_u, sigma2_e),
        "rho_u": correlation(Gamma_u),
        "rho_e": correlation(Gamma_e),
        "rho_p": correlation(Gamma_u + Gamma_e),
        "cov_u": Gamma_u,
        "cov_e": Gamma_e,
    }


OF_TRAIT = ("sigma2_u", "sigma2_e", "h2")
OF_PAIR = ("rho_u", "rho_e", "rho_p", "cov_u", "cov_e")


def of_components(Sigma: Any) -> dict[str, Any]:
    """Everything reported of several traits with several components, from their matrices, shape (..., k, t, t).

    share is that of a component in the variance of a trait, and rho_p the correlation of the sum of all.
    """
    sigma2 = diagonal(Sigma)
    return {
        "sigma2": sigma2,
        "share": sigma2 / sigma2.sum(-2)[..., None, :],
        "cov": Sigma,
        "rho": correlation(Sigma),
        "rho_p": correlation(Sigma.sum(-3)),
    }
