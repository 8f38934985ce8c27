r"""Breeding values and new records of anybody related to the individuals analysed, with their uncertainty.

At given variances breeding values are normal, with mean :math:`\sigma_u^2 K_{\cdot O} P y` and variances
:math:`\sigma_u^2 K_{ii} - \sigma_u^4 k_i' P k_i`, O those analysed: what is not known of fixed effects is part of them.
The mean only depends on the share of the genetic variance, and the variance is a multiple of the total one, so that
over the posterior of the variances both are sums over `Nodes`.

Source: Henderson (1975), doi:10.2307/2529430; Searle, Casella and McCulloch (1992), Variance Components, section 7.4.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float64
from numpy import ndarray

from bayeslmm.base.float64 import in_float64
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.one_trait import gls_at_each
from bayeslmm.likelihood.whitened import Whitened
from bayeslmm.posterior.exact import Nodes

_PEOPLE = 4096


class Prediction(NamedTuple):
    """What is predicted of N individuals, in units of the trait; arrays of shape (N,).

    Attributes:
        mean, variance: of the breeding values; at REML the variance is that of the prediction error (PEV).
        record, record_variance: of a new record, fixed effects and residual included; NaN without covariates.
    """

    mean: Float64[ndarray, " N"]
    variance: Float64[ndarray, " N"]
    record: Float64[ndarray, " N"]
    record_variance: Float64[ndarray, " N"]


def nodes_of(estimate: Estimate, white: Whitened) -> Nodes:
    """Return the variances of an estimate."""
    u, e = estimate.sigma2_u / white.unit_u, estimate.sigma2_e / white.unit_e
    one = np.ones(1)
    return Nodes(one * quantities.h2(u, e), one * quantities.h2(e, u), one, one * (u + e))


def predict(
    white: Whitened,
    nodes: Nodes,
    C: Float[ndarray, "N n"],
    diagonal: Float[ndarray, " N"],
    X: Float[ndarray, "N c"],
) -> Prediction:
    """Predict breeding values and new records.

    Args:
        white: the trait.
        nodes: of its variances.
        C: kinship of those to be predicted with those analysed, times the eigenvectors of K of these.
        diagonal: of the kinship of those to be predicted.
        X: their covariates, NaN where they are not known.
    """
    parts = [
        _predicted(
            white, nodes, C[start : start + _PEOPLE], diagonal[start : start + _PEOPLE], X[start : start + _PEOPLE]
        )
        for start in range(0, len(C), _PEOPLE)
    ]
    return Prediction(*(np.concatenate(values) for values in zip(*parts, strict=True)))


def record_weights(white: Whitened, nodes: Nodes) -> Float64[ndarray, " n"]:
    """Return sigma2_u Py in the eigenbasis, its mean over the nodes: K times it are the breeding values.

    Args:
        white: the trait.
        nodes: of its variances.
    """
    W, beta, _ = _at_nodes(white, nodes)
    weighted = W * (white.data.Y - white.data.X @ beta.T)
    return weighted @ (nodes.weight * nodes.genetic) * white.sd / white.k


def _predicted(white: Whitened, nodes: Nodes, C: ndarray, diagonal: ndarray, X: ndarray) -> Prediction:
    C, diagonal, X = C / white.k, diagonal / white.k, X @ np.linalg.inv(white.R)
    W, beta, cov = _at_nodes(white, nodes)
    data, g = white.data, nodes.genetic
    values = g * (C @ (W * (data.Y - data.X @ beta.T)))  # (N, m)
    known = g * diagonal[:, None] - g**2 * (C**2 @ W)
    of_record = np.empty_like(known)
    of_value = np.empty_like(known)
    for m, share in enumerate(g):
        fitted = share * (C @ (W[:, m : m + 1] * data.X))
        of_value[:, m] = known[:, m] + np.einsum("ij,jk,ik->i", fitted, cov[m], fitted)
        of_record[:, m] = known[:, m] + np.einsum("ij,jk,ik->i", X - fitted, cov[m], X - fitted)
    of_record += nodes.residual
    mean, variance = _mixture(values, of_value, nodes)
    record, record_variance = _mixture(values + X @ beta.T, of_record, nodes)
    unit = white.sd
    return Prediction(mean * unit, variance * unit**2, record * unit + X @ white.b, record_variance * unit**2)


@in_float64
def _at_nodes(white: Whitened, nodes: Nodes) -> tuple[ndarray, ndarray, ndarray]:
    """Return the diagonal of V^-1 at total variance 1, shape (n, m), fixed effects, (m, c), and their covariance."""
    W = 1 / (white.data.s[:, None] * nodes.genetic + nodes.residual)
    fits = gls_at_each(white.data, jnp.asarray(nodes.genetic), jnp.asarray(nodes.residual))
    return W, np.asarray(fits.beta), np.asarray(fits.cov)


def _mixture(means: ndarray, variances: ndarray, nodes: Nodes) -> tuple[ndarray, ndarray]:
    """Return mean and variance of mixtures of normals, a row for each; variances given are at total variance 1."""
    mean = means @ nodes.weight
    within = variances @ (nodes.weight * nodes.total)
    return mean, within + np.square(means - mean[:, None]) @ nodes.weight
