"""Traits with known truth: in the eigenbasis of a kinship matrix, or from genotypes, which are streamed.

Random numbers depend only on the generator that is given, not on the size of blocks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64, Int64
from numpy import ndarray

from bayeslmm.base.array_checks import check_finite
from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks, Tally
from bayeslmm.genotypes.filters import MarkerCounts
from bayeslmm.likelihood.rotation import JointData, RotatedData


def rotated_trait(
    s: Float[ndarray, " n"],
    *,
    h2: float,
    sigma2_p: float = 1.0,
    rng: np.random.Generator,
    X: Float[ndarray, "n c"] | None = None,
) -> RotatedData:
    r"""Return a trait in the eigenbasis: :math:`y^*_i \sim N(0, \; \sigma_p^2 (h^2 s_i + 1 - h^2))`.

    Fixed effects are 0, which loses nothing: under flat priors, inference does not depend on them.

    Args:
        s: eigenvalues of K, shape (n,).
        h2: heritability, from 0 to 1.
        sigma2_p: sigma2_u + sigma2_e.
        rng: for the trait, then for the intercept.
        X: rotated covariates, shape (n, c); by default an intercept, U'1 of a U without preferred directions.

    Raises:
        InputError: if h2 or sigma2_p are out of range.
    """
    check_variances([h2], sigma2_p)
    y = np.sqrt(sigma2_p * (h2 * s + 1 - h2)) * rng.standard_normal(len(s))
    return RotatedData(s, y[:, None], _intercept(len(s), rng) if X is None else X, _k_scale(s))


def rotated_traits(
    s: Float[ndarray, " n"],
    Gamma_u: Float[ndarray, "t t"],
    Gamma_e: Float[ndarray, "t t"],
    *,
    rng: np.random.Generator,
    X: Float[ndarray, "n c"] | None = None,
) -> JointData:
    r"""Return complete traits in the eigenbasis: row i is :math:`N(0, \; s_i \Gamma_u + \Gamma_e)`.

    Fixed effects are 0, as in `rotated_trait`.

    Args:
        s: eigenvalues of K, shape (n,).
        Gamma_u: genetic covariance, positive semi-definite, shape (t, t).
        Gamma_e: residual covariance, the same.
        rng: for the genetic values, then the residuals, then the intercept.
        X: rotated covariates of each trait, shape (n, c); by default an intercept, as in `rotated_trait`.

    Raises:
        InputError: if a matrix is not a covariance matrix.
    """
    n, t = len(s), len(Gamma_u)
    g, e = (normal(Gamma, n, name=name, rng=rng) for name, Gamma in (("Gamma_u", Gamma_u), ("Gamma_e", Gamma_e)))
    X = _intercept(n, rng) if X is None else X
    return JointData(s, np.sqrt(s)[:, None] * g + e, (X,) * t, (np.zeros((n, 0)),) * t, _k_scale(s))


class MarkerEffects(NamedTuple):
    """The markers with an effect.

    Attributes:
        lines: which markers of the file they are, from 0, ascending, shape (m,).
        af: frequency of a1, shape (m,).
        beta: effect of each copy of a1 on each trait, shape (m, t).
        counts: markers from which they were drawn, and those that were not used.
    """

    lines: Int64[ndarray, " m"]
    af: Float64[ndarray, " m"]
    beta: Float64[ndarray, "m t"]
    counts: MarkerCounts


def genetic_values(
    markers: MarkerBlocks, Gamma_u: Float[ndarray, "t t"], *, causal: int | None = None, rng: np.random.Generator
) -> tuple[Float64[ndarray, "n t"], MarkerEffects]:
    r"""Return genetic values of all individuals, and the effects of markers that they are the sum of.

    Polygenic: all markers used have effects, :math:`g = W u / \sqrt{w}`, rows of u :math:`N(0, \Gamma_u)`, w the
    `weight` of the pass. Given the genotypes, the columns of g stacked are :math:`N(0, \Gamma_u \otimes K)` exactly,
    with K the `genomic_kinship` of the same genotypes, scale and filters, whatever the scale.

    Sparse: so do m markers, drawn from those used without replacement, with :math:`\sqrt{p / (m w)}` for
    :math:`1 / \sqrt{w}`, p the number used. The covariance of g is then that of those m markers, and its mean over the
    draws of markers is :math:`\Gamma_u \otimes K`. Where m is small the variance of g is not near Gamma_u in each data
    set: its relative standard deviation is about :math:`\sqrt{2 / m}`.

    Memory is O(n block + p t). Products run in float32 within a block, as for K.

    Args:
        markers: which genotypes are used, and how they are standardised.
        Gamma_u: genetic covariance of the traits, positive semi-definite, shape (t, t).
        causal: m, how many markers have effects; all by default.
        rng: for the effects, then for the choice of markers.

    Raises:
        InputError: if Gamma_u is not a covariance matrix, causal is not between 1 and p, or no marker is left.
    """
    total = markers.genotypes.n_markers
    u = normal(Gamma_u, total, name="Gamma_u", rng=rng)
    chosen = np.ones(total, dtype=bool)
    if causal is not None:
        used = np.concatenate([block.lines for block in markers.tracked("markers used")])
        if not 1 <= causal <= len(used):
            raise InputError(f"from 1 to {len(used)} of the markers used can be causal, but {causal} were requested")
        chosen[:] = False
        chosen[rng.choice(used, causal, replace=False)] = True
        u[~chosen] = 0.0
    n = len(markers.genotypes.ids)
    G, tally = np.zeros((n, len(Gamma_u))), Tally.empty(n)
    passed: list[tuple[ndarray, ndarray, ndarray]] = []
    for block in markers.tracked("genetic values"):
        effects = u[block.lines]
        G += block.G @ effects.astype(np.float32)
        passed.append((block.lines, block.af, effects / block.sd[:, None]))
        tally += block.tally
    lines, af, beta = (np.concatenate(column) for column in zip(*passed, strict=True))
    shown = chosen[lines]
    scale = np.sqrt(len(lines) / (shown.sum() * tally.weight))
    return scale * G, MarkerEffects(lines[shown], af[shown], scale * beta[shown], tally.counts)


def phenotypes(
    mean: Float[ndarray, "n t"],
    Gamma_e: Float[ndarray, "t t"],
    *,
    missing: float | Sequence[float] = 0.0,
    rng: np.random.Generator,
) -> Float64[ndarray, "n t"]:
    r"""Return traits :math:`y_i \sim N(\mu_i, \Gamma_e)`, NaN where they are missing, completely at random.

    Args:
        mean: genetic values and fixed effects, such as G + X beta, shape (n, t).
        Gamma_e: residual covariance, positive semi-definite, shape (t, t).
        missing: the probability that a value is missing, of all traits or of each.
        rng: for the residuals, then for what is missing.

    Raises:
        InputError: if Gamma_e is not a covariance matrix, or as `missing_rates`.
    """
    n, t = mean.shape
    rates = missing_rates(missing, t)
    Y = mean + normal(Gamma_e, n, name="Gamma_e", rng=rng)
    Y[rng.random((n, t)) < rates] = np.nan
    return Y


def missing_rates(missing: float | Sequence[float], t: int) -> Float64[ndarray, " t"]:
    """Return the probability that a value is missing, for each trait.

    Raises:
        InputError: if it is not one rate or t, or a rate is not at least 0 and below 1.
    """
    rates = np.atleast_1d(np.asarray(missing, dtype=float))
    if len(rates) not in (1, t):
        raise InputError(f"missing values need one rate, or one for each of {t} traits, but {len(rates)} are given")
    if not ((rates >= 0) & (rates < 1)).all():
        raise InputError(f"rates of missing values must be at least 0 and below 1, but {missing} was given")
    return np.broadcast_to(rates, t)


def equicorrelated(sigma2: Float[ndarray, " t"], rho: float, *, name: str = "rho") -> Float64[ndarray, "t t"]:
    """Return the covariance matrix of these variances in which every pair has the same correlation.

    Raises:
        InputError: if no such matrix exists: below -1 / (t - 1), or above 1.
    """
    t = len(sigma2)
    least = -1.0 if t < 3 else -1 / (t - 1)
    if not least <= rho <= 1:
        raise InputError(f"{name} must lie between {least:.4g} and 1 for {t} traits, but {rho} was given")
    Gamma = rho * np.sqrt(np.outer(sigma2, sigma2))
    np.fill_diagonal(Gamma, sigma2)
    return Gamma


def check_variances(h2: Sequence[float], sigma2_p: float) -> None:
    """Refuse heritabilities outside 0 to 1 and a total variance that is not positive.

    Raises:
        InputError: naming the first.
    """
    if wrong := [value for value in h2 if not 0 <= value <= 1]:
        raise InputError(f"h2 must lie between 0 and 1, but {wrong[0]} was given")
    if not 0 < sigma2_p < np.inf:
        raise InputError(f"sigma2_p must be positive and finite, but {sigma2_p} was given")


def normal(Gamma: Float[ndarray, "t t"], n: int, *, name: str, rng: np.random.Generator) -> Float64[ndarray, "n t"]:
    """Return n independent rows of N(0, Gamma).

    Raises:
        InputError: if Gamma is not symmetric, finite and positive semi-definite.
    """
    check_finite(Gamma, name=name, where="simulate")
    if not np.allclose(Gamma, Gamma.T, rtol=1e-8, atol=0):
        raise InputError(f"{name} must be symmetric, but it differs from its transpose")
    least, most = np.linalg.eigvalsh(Gamma)[[0, -1]]
    if least < -1e-10 * max(most, 0.0) or most < 0:
        raise InputError(f"{name} must be positive semi-definite, but its smallest eigenvalue is {least:.3g}")
    return rng.multivariate_normal(np.zeros(len(Gamma)), Gamma, size=n, method="eigh", check_valid="ignore")


def _intercept(n: int, rng: np.random.Generator) -> Float64[ndarray, "n 1"]:
    return np.linalg.qr(rng.standard_normal((n, 1)))[0] * np.sqrt(n)


def _k_scale(s: Float[ndarray, " n"]) -> float:
    """Return the k_scale of K = diag(s), which is the mean of that of U diag(s) U' over all U."""
    return float(s.mean()) * (1 - 1 / len(s))
