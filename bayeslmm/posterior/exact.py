"""The posterior of one trait by quadrature, with more digits than any sampler gives.

Its grid is made in `grid`; the priors are those of the NumPyro program. Everything is computed in units of the trait
and on the scale where K has a mean diagonal of 1 (`Whitened`): the unit of neither matters. The results are on the
user's scales.
"""

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.optimize import brentq
from scipy.special import ndtr

from bayeslmm.base.float64 import in_float64
from bayeslmm.likelihood import quantities
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.whitened import OneTrait, Whitened, whitened
from bayeslmm.posterior.grid import Grid, grid_of, spacing
from bayeslmm.posterior.marginal import Marginal
from bayeslmm.posterior.variance_marginal import variance_marginal


class Nodes(NamedTuple):
    """Variances as a mixture over shares, on the scale of `Whitened`; arrays of shape (m,).

    Attributes:
        genetic, residual: shares of the variance.
        weight: of each, sum 1.
        total: mean of the total variance given the share.
    """

    genetic: Float64[ndarray, " m"]
    residual: Float64[ndarray, " m"]
    weight: Float64[ndarray, " m"]
    total: Float64[ndarray, " m"]


@dataclass(frozen=True)
class ExactPosterior:
    """The posterior of one trait.

    Attributes:
        h2, pve: marginals.
        share: the marginal of the share of the genetic variance where K has a mean diagonal of 1, which has the prior.
        log_evidence: log of the integral of restricted likelihood times prior.
        log_bayes_factor: of h2 > 0 against h2 = 0, natural logarithm: evidence over that of h2 = 0 with the same prior
            of the total variance. It equals the ratio of prior to posterior density at h2 = 0 (Dickey 1971,
            doi:10.1214/aoms/1177693507), and favours h2 = 0 the more, the more the prior of h2 spreads.
        beta, se_beta: posterior means and standard deviations of the fixed effects, shape (c,).
    """

    h2: Marginal
    pve: Marginal
    share: Marginal
    log_evidence: float
    log_bayes_factor: float
    beta: Float64[ndarray, " c"]
    se_beta: Float64[ndarray, " c"]
    _grid: Grid = field(repr=False)
    _white: Whitened = field(repr=False)
    _mixture: tuple[ndarray, ndarray, ndarray] = field(repr=False)

    def draws(self, m: int, rng: np.random.Generator) -> tuple[Float64[ndarray, " m"], Float64[ndarray, " m"]]:
        """Draw h2 and sigma2_p, on the scale of their priors, from their joint posterior, to within a cell of the grid.

        One draw comes from each of the m parts of equal probability into which h2 falls, in random order: each by
        itself has the posterior for its distribution, and a mode with 1/m of the probability is not left out.

        Args:
            m: how many.
            rng: of the draws.

        Returns:
            Values of h2 where K has a mean diagonal of 1, and of sigma2_p there in units of the variance of the trait
            given its covariates; shapes (m,), none of them on a bound.
        """
        grid = self._grid
        below, u = np.cumsum(grid.mass.sum(axis=1)), (rng.permutation(m) + rng.uniform(size=m)) / m
        rows = np.minimum(np.searchsorted(below, u * below[-1]), len(grid.x) - 1)
        columns = [rng.choice(len(grid.t), p=grid.mass[row] / grid.mass[row].sum()) for row in rows]
        return grid.share.prior.inside(grid.x[rows]), grid.total.inside(grid.t[columns])

    def sample(self, m: int, rng: np.random.Generator) -> dict[str, Float64[ndarray, "m ..."]]:
        """Draw independently from the joint posterior, in the user's units, as if its grid were joined by planes.

        Args:
            m: how many.
            rng: of the draws.

        Returns:
            h2, pve, sigma2_u, sigma2_e and sigma2_p, shape (m,), and beta, shape (m, c).
        """
        grid, white = self._grid, self._white
        rows, columns = np.divmod(rng.choice(grid.mass.size, size=m, p=grid.mass.ravel()), len(grid.t))
        # A difference of two uniform numbers has the hat for its density, whose sums are broken lines.
        x, t = (
            line[at] + spacing(line) * (rng.uniform(size=m) - rng.uniform(size=m))
            for line, at in ((grid.x, rows), (grid.t, columns))
        )
        total = grid.total.to_value(t)
        sigma2_u, sigma2_e = grid.share.genetic(x) * total * white.unit_u, grid.share.residual(x) * total * white.unit_e
        inverse = np.linalg.inv(white.R)
        mean = (grid.fits.gls.beta * white.sd + white.b) @ inverse.T
        root = white.sd * inverse @ np.linalg.cholesky(grid.fits.gls.cov)
        z = rng.standard_normal((m, len(white.b)))
        return {
            "h2": quantities.h2(sigma2_u, sigma2_e),
            "pve": quantities.pve(sigma2_u, sigma2_e, white.given.k_scale),
            "sigma2_u": sigma2_u,
            "sigma2_e": sigma2_e,
            "sigma2_p": sigma2_u + sigma2_e,
            "beta": mean[rows] + np.sqrt(total)[:, None] * np.einsum("mij,mj->mi", root[rows], z),
        }

    @cached_property
    def nodes(self) -> Nodes:
        """The posterior as a mixture over few shares, for what is a closed form at each."""
        grid = self._grid
        # The trapezoid rule needs far fewer nodes than the splines of the marginals do.
        coarse = slice(None, None, max(1, len(grid.x) // 100))
        mass, total = grid.mass[coarse], grid.total.to_value(grid.t)
        weight = mass.sum(axis=1)
        kept = weight > 0
        x = grid.x[coarse][kept]
        mean = (mass[kept] @ total) / weight[kept]
        return Nodes(grid.share.genetic(x), grid.share.residual(x), weight[kept] / weight.sum(), mean)

    @cached_property
    def sigma2_u(self) -> Marginal:
        """The genetic variance."""
        share = self._grid.share
        return variance_marginal(self._grid, share.genetic, share.log_genetic, self._white.unit_u)

    @cached_property
    def sigma2_e(self) -> Marginal:
        """The residual variance."""
        share = self._grid.share
        return variance_marginal(self._grid, share.residual, share.log_residual, self._white.unit_e)

    @cached_property
    def sigma2_p(self) -> Marginal:
        """Their sum."""
        share = self._grid.share

        def both(x: ndarray) -> ndarray:
            return share.genetic(x) / self._white.k + share.residual(x)

        return variance_marginal(self._grid, both, lambda x: np.log(both(x)), self._white.unit_e)

    def beta_interval(self, j: int, level: float = 0.95) -> tuple[float, float]:
        """Return the equal-tailed interval of one fixed effect, from its mixture of normals."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        far = self.beta[j] - 40 * self.se_beta[j], self.beta[j] + 40 * self.se_beta[j]
        lower, upper = (
            brentq(lambda value, p=p: float(weight @ ndtr((value - mean) / sd)) - p, *far, xtol=1e-14 * self.se_beta[j])
            for p in ((1 - level) / 2, (1 + level) / 2)
        )
        return lower, upper

    def beta_positive(self, j: int) -> float:
        """Return the probability that one fixed effect is above 0."""
        weight, mean, sd = self._mixture[0], self._mixture[1][:, j], self._mixture[2][:, j]
        return float(weight @ ndtr(mean / sd))


@in_float64
def posterior(data: OneTrait, prior: VariancePrior | None = None) -> ExactPosterior:
    """Compute the posterior of one trait by quadrature.

    Moments and equal-tailed intervals have at least 6 digits (tests compare them with Gauss-Legendre panels). A warning
    says where a prior is so rough (a mixture with jumps) that they have fewer.

    Args:
        data: one trait in the eigenbasis.
        prior: of h2 and sigma2_p; its prior of the fixed effects is taken as flat.

    Raises:
        InputError: if Y has more than one column, h2 is not identified, or a prior lies outside its range.
        AnalysisError: if nothing of the posterior lies in the support of the prior, but for rounding.
    """
    white = whitened(data)
    prior = prior or VariancePrior()
    grid = grid_of(white, prior)
    share = grid.share
    mass = grid.mass.sum(axis=1)

    def explained(k_scale: float) -> Marginal:
        """Return the share of variance that K explains on some scale, of which the density in x is the same."""
        values = share.explained(grid.x, k_scale)
        mean = float(mass @ values)
        return Marginal(
            grid.x,
            mass / spacing(grid.x),
            lambda x: share.explained(x, k_scale),
            lambda x: share.slope(x, k_scale),
            mean,
            float(np.sqrt(mass @ (values - mean) ** 2)),
        )

    beta, se_beta, mixture = _fixed_effects(grid, white)
    log_units = (white.data.n - white.data.X.shape[1]) * white.log_unit
    return ExactPosterior(
        h2=explained(1 / white.k),
        pve=explained(white.data.k_scale),
        share=explained(1.0),
        log_evidence=grid.log_evidence - log_units,
        log_bayes_factor=grid.log_evidence - grid.log_evidence_null(white),
        beta=beta,
        se_beta=se_beta,
        _grid=grid,
        _white=white,
        _mixture=mixture,
    )


def _fixed_effects(grid: Grid, white: Whitened) -> tuple[ndarray, ndarray, tuple[ndarray, ndarray, ndarray]]:
    """Return means and sds of the fixed effects, and the mixture of normals that they are, in the user's units."""
    # The trapezoid rule needs far fewer nodes than the splines of the marginals do.
    coarse, coarser = slice(None, None, max(1, len(grid.x) // 100)), slice(None, None, max(1, len(grid.t) // 50))
    inverse = np.linalg.inv(white.R)
    means = (grid.fits.gls.beta[coarse] * white.sd + white.b) @ inverse.T
    variances = np.einsum("ij,mjk,ik->mi", inverse, grid.fits.gls.cov[coarse], inverse) * white.sd**2
    weight = grid.mass[coarse, coarser] / grid.mass[coarse, coarser].sum()
    shape = (*weight.shape, len(white.b))
    mean = np.broadcast_to(means[:, None, :], shape).reshape(-1, len(white.b))
    total = grid.total.to_value(grid.t[coarser])
    sd = np.sqrt(variances[:, None, :] * total[None, :, None]).reshape(-1, len(white.b))
    weight = weight.ravel()
    beta = weight @ mean
    return beta, np.sqrt(weight @ (sd**2 + (mean - beta) ** 2)), (weight, mean, sd)
