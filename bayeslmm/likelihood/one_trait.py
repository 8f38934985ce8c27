r"""One trait in the eigenbasis of K: what it is distributed as, and its likelihoods.

:math:`y^*_i \sim N(x^{*\prime}_i \beta, d_i)` independently, with :math:`d_i = \sigma_u^2 s_i + \sigma_e^2`. Every
method for one trait calls this file.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro.distributions as dist
from jax import Array
from jaxtyping import ArrayLike, Float, ScalarLike

from bayeslmm.base.checks import InputError
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.likelihood.solver import Spectral, TraitData

NO_ROWS = "a summary of products has no rows of individuals to draw: use the rotated data of decompose"
"""Why rows with counts are not drawn."""

LogLikelihood = Callable[[TraitData, ScalarLike, ScalarLike], Array]


def univariate(
    s: Float[ArrayLike, " n"],
    mean: Float[ArrayLike, " n"],
    sigma2_u: ScalarLike,
    sigma2_e: ScalarLike,
    counts: Float[ArrayLike, " n"] | None = None,
) -> dist.Distribution:
    r"""One trait: :math:`y^*_i \sim N(\mu_i,\; \sigma_u^2 s_i + \sigma_e^2)`.

    Args:
        s: eigenvalues of K.
        mean: of each row.
        sigma2_u: genetic variance.
        sigma2_e: residual variance.
        counts: of a `spectral_summary`, which has a row for many individuals.

    Source: Lippert et al. (2011), doi:10.1038/nmeth.1681.
    """
    d = sigma2_u * jnp.asarray(s) + sigma2_e
    return dist.Normal(mean, jnp.sqrt(d)).to_event(1) if counts is None else CountedNormal(mean, s, d, counts)


class CountedNormal(dist.Distribution):
    """Rows that stand for any number of individuals: the density of all of them; event shape (n,)."""

    support = dist.constraints.real_vector  # pyright: ignore[reportIncompatibleMethodOverride, reportAssignmentType]
    pytree_data_fields = ("loc", "s", "d", "counts")

    def __init__(
        self,
        mean: Float[ArrayLike, " n"],
        s: Float[ArrayLike, " n"],
        d: Float[ArrayLike, " n"],
        counts: Float[ArrayLike, " n"],
    ) -> None:
        self.loc, self.s, self.d, self.counts = (jnp.asarray(array) for array in (mean, s, d, counts))
        super().__init__(batch_shape=(), event_shape=self.d.shape)

    def sample(self, key: Array | None, sample_shape: tuple[int, ...] = ()) -> Array:
        """Refuse to draw."""
        raise InputError(NO_ROWS)

    def log_prob(self, value: Float[ArrayLike, " n"], intermediates: list[Any] | None = None) -> Array:
        """Return the log density."""
        return Spectral(self.s, self.d, self.counts).log_density(jnp.asarray(value) - self.loc)


class Gls(NamedTuple):
    """Generalised least squares on X, at given variances.

    Attributes:
        beta: the estimate of the fixed effects, shape (c,), or (c, t) of t traits.
        cov: (X' V^-1 X)^-1, its covariance, shape (c, c).
        log_det: log |X' V^-1 X|.
        quad: (y - X beta)' V^-1 (y - X beta), of shape (t,) for t traits.
    """

    beta: Float[Array, "c ..."]
    cov: Float[Array, "c c"]
    log_det: Float[Array, ""]
    quad: Float[Array, "..."]


def gls_of_traits(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Gls:
    """Fit the fixed effects of traits with the same X, each by itself, at the same variances.

    Source: Harville (1977), doi:10.1080/01621459.1977.10480998.
    """
    c = data.X.shape[1]
    X, Y, V = jnp.asarray(data.X), jnp.asarray(data.Y), data.solver(sigma2_u, sigma2_e)
    weighted = V.cross(X, jnp.column_stack([X, Y]))
    L = jnp.linalg.cholesky(weighted[:, :c])
    inverse = jax.scipy.linalg.solve_triangular(L, jnp.eye(c), lower=True)
    half = inverse @ weighted[:, c:]
    quad = V.squares(Y) - (half**2).sum(axis=0)
    return Gls(
        beta=inverse.T @ half,
        cov=inverse.T @ inverse,
        log_det=2 * jnp.log(jnp.diag(L)).sum(),
        quad=jnp.where(quad < 0, jnp.nan, quad),  # rounding has taken all digits
    )


def gls(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Gls:
    """Fit the fixed effects of one trait by generalised least squares."""
    fit = gls_of_traits(data, sigma2_u, sigma2_e)
    return fit._replace(beta=fit.beta[:, 0], quad=fit.quad[0])


@jax.jit
def gls_at_each(data: TraitData, sigma2_u: Float[Array, " m"], sigma2_e: Float[Array, " m"]) -> Gls:
    """Fit the fixed effects of one trait at each of some variances; all that is returned has m first."""
    return jax.lax.map(lambda at: gls(data, *at), (sigma2_u, sigma2_e))


def log_ml(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, ""]:
    r"""Log-likelihood of one trait at the best fixed effects.

    :math:`-\frac12 [ n \log 2\pi + \log|V| + (y - X\hat\beta)' V^{-1} (y - X\hat\beta) ]`.

    Source: Harville (1977), doi:10.1080/01621459.1977.10480998.
    """
    return _log_density(data, gls(data, sigma2_u, sigma2_e).beta, sigma2_u, sigma2_e)


def log_reml(data: TraitData, sigma2_u: ScalarLike, sigma2_e: ScalarLike) -> Float[Array, ""]:
    r"""Restricted log-likelihood of one trait, in the convention of GEMMA and FaST-LMM.

    `log_ml` :math:`- \frac12 \log|X'V^{-1}X| + \frac12 \log|X'X| + \frac{c}{2} \log 2\pi`, which does not depend
    on the units of X. GCTA and ASReml leave the constants out.

    Source: Harville (1974), doi:10.1093/biomet/61.2.383.
    """
    c = data.X.shape[1]
    X = jnp.asarray(data.X)
    _, log_det_xx = jnp.linalg.slogdet(X.T @ X)
    constant = (log_det_xx + c * jnp.log(2 * jnp.pi)) / 2
    fit = gls(data, sigma2_u, sigma2_e)
    return _log_density(data, fit.beta, sigma2_u, sigma2_e) - fit.log_det / 2 + constant


def _log_density(
    data: TraitData, beta: Float[Array, " c"], sigma2_u: ScalarLike, sigma2_e: ScalarLike
) -> Float[Array, ""]:
    # Of the residual itself: the quadratic form of `Gls` is a difference.
    residual = jnp.asarray(data.Y)[:, 0] - data.X @ beta
    return jnp.asarray(data.solver(sigma2_u, sigma2_e).log_density(residual))


class UnitScale(NamedTuple):
    """A log-likelihood along h2 at sigma2_u + sigma2_e = 1, in two parts; `rescale` gives it at any scale.

    Arrays of JAX or of NumPy, of any shape.

    Attributes:
        log_dets: at sigma2_u = h2, sigma2_e = 1 - h2 for y = 0: all but the quadratic form.
        quad: the quadratic form of `Gls` there.
    """

    log_dets: Any
    quad: Any


def traits_at_unit_scale(loglik: LogLikelihood, data: RotatedData, h2: ScalarLike, e2: ScalarLike) -> UnitScale:
    """Evaluate a log-likelihood of traits with the same X: quadratic forms of shape (t,), what is left is common."""
    nothing = data._replace(Y=jnp.zeros_like(jnp.asarray(data.Y)[:, :1]))
    return UnitScale(loglik(nothing, h2, e2), gls_of_traits(data, h2, e2).quad)


def at_unit_scale(loglik: LogLikelihood, data: RotatedData, h2: ScalarLike, e2: ScalarLike) -> UnitScale:
    """Evaluate a log-likelihood at h2 with total variance 1; e2 = 1 - h2 keeps its digits where h2 is near 1."""
    unit = traits_at_unit_scale(loglik, data, h2, e2)
    return unit._replace(quad=unit.quad[0])


def with_columns(unit: UnitScale, gain: Any, log_det: Any, log_det_zz: Any, r: int) -> UnitScale:
    r"""Add r columns Z to X in the restricted likelihood.

    With :math:`S = Z'PZ` and :math:`v = Z'Py` the quadratic form falls by :math:`v'S^{-1}v`, and the likelihood has
    :math:`-\frac12 \log|S| + \frac12 \log|Z'MZ| + \frac r2 \log 2\pi` more, M the projection on what X leaves.

    Args:
        unit: without them.
        gain: v'S^-1v.
        log_det: log |S|.
        log_det_zz: log |Z'MZ|.
        r: how many.
    """
    constant = (log_det_zz + r * math.log(2 * math.pi)) / 2
    return UnitScale(unit.log_dets - log_det / 2 + constant, unit.quad - gain)


def rescale(unit: UnitScale, k: Any, sigma2_p: Any) -> Any:
    r"""Return the log-likelihood at total variance sigma2_p, an array of JAX or of NumPy, as it comes.

    :math:`V = \sigma_p^2 V_1` gives :math:`\ell = \ell_0 - \frac{q}{2 \sigma_p^2} - \frac{k}{2} \log \sigma_p^2`, with
    :math:`\ell_0` for y = 0, k = n for `log_ml` and n - c for `log_reml`. Its maximum is at :math:`\sigma_p^2 = q / k`.
    """
    log = sigma2_p.__array_namespace__().log
    return unit.log_dets - unit.quad / (2 * sigma2_p) - k / 2 * log(sigma2_p)
