"""Four correlated traits on the kinship of the source's cohort, simulated in its eigenbasis.

The variances are those of the source report. Its six pairwise correlations, each from a model of two traits, were not
published with data and form no positive definite matrix (smallest eigenvalue -0.01), which no joint model can produce.
The six below are of that kind and have that smallest eigenvalue; what is simulated is the nearest correlation matrix
whose smallest eigenvalue is 0.01.
"""

import numpy as np
from numpy import ndarray
from source_cohort import SIGMA2

PAIRWISE_U = np.array(
    [[1.0, -0.62, 0.55, 0.35], [-0.62, 1.0, 0.308, -0.4], [0.55, 0.308, 1.0, 0.2], [0.35, -0.4, 0.2, 1.0]]
)
RHO_E = np.array([[1.0, -0.35, 0.25, 0.2], [-0.35, 1.0, 0.05, -0.15], [0.25, 0.05, 1.0, 0.1], [0.2, -0.15, 0.1, 1.0]])


def nearest_correlation(matrix: ndarray, least: float, *, rounds: int = 1000) -> ndarray:
    """Return the nearest matrix with a unit diagonal and no eigenvalue below a bound.

    Source: Higham (2002), doi:10.1093/imanum/22.3.329, algorithm 3.3.
    """
    X, correction = matrix.copy(), np.zeros_like(matrix)
    for _ in range(rounds):
        R = X - correction
        values, vectors = np.linalg.eigh(R)
        bent = vectors * np.maximum(values, least) @ vectors.T
        correction = bent - R
        X = bent.copy()
        np.fill_diagonal(X, 1.0)
    return X


def truth() -> dict[str, ndarray]:
    """Return the covariance matrices that are simulated."""
    sd_u, sd_e = np.sqrt(np.array(list(SIGMA2.values())).T)
    rho_u = nearest_correlation(PAIRWISE_U, 0.01)
    return {"Gamma_u": rho_u * np.outer(sd_u, sd_u), "Gamma_e": RHO_E * np.outer(sd_e, sd_e)}


def simulate(s: ndarray, seed: int) -> ndarray:
    """Return rotated traits without fixed effects, shape (n, 4): row i is N(0, s_i Gamma_u + Gamma_e)."""
    rng, true = np.random.default_rng(seed), truth()
    g, e = (rng.standard_normal((len(s), 4)) @ np.linalg.cholesky(true[name]).T for name in ("Gamma_u", "Gamma_e"))
    return np.sqrt(s)[:, None] * g + e
