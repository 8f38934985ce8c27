"""Pictures of one trait: estimates with the prior, draws, and the fit in the eigenbasis."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from numpy import ndarray
from scipy.stats import chi2

from bayeslmm.analyses.heritability import Heritability
from bayeslmm.analyses.table import select
from bayeslmm.estimators.estimate import Estimate
from bayeslmm.estimators.liability import Liability
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.priors import VariancePrior, density_of_h2
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.posterior.exact import ExactPosterior
from bayeslmm.report.plots.draws import panels_of_draws
from bayeslmm.report.plots.panels import Panel
from bayeslmm.report.plots.style import BLUE, GREEN, GREY, estimate_below, interval_label

_BINS = 25


NAMES = ("h2", "fit", "trace", "ranks", "threshold", "threshold.trace", "threshold.ranks")
"""Of the panels."""


def heritability_panels(result: Heritability, data: RotatedData, prior: VariancePrior) -> list[Panel]:
    """Return the pictures of one trait: posterior of h2, fit in the eigenbasis of K; trace and ranks if NUTS drew.

    There is no fit where rows stand for many eigenvalues (`counts`): what is in one is not independent of the others.
    """
    mean_diagonal = float(np.average(data.s, weights=data.counts))
    panels = [
        Panel(
            name="h2",
            title="Heritability",
            caption="the posterior of h2, with its prior and the interval of REML",
            draw=lambda ax: plot_posterior(ax, result, prior, mean_diagonal),
        ),
    ]
    if data.counts is None:
        panels.append(
            Panel(
                name="fit",
                title="Fit in the eigenbasis of K",
                caption="the variance of residuals along the eigenvalues of K: points should follow the line",
                draw=lambda ax: draw_fit(ax, result.reml, data),
            )
        )
    panels += panels_of_draws(result.posterior, "h2") if result.posterior is not None else []
    if result.threshold is None:
        return panels
    of_threshold = Panel(
        name="threshold",
        title="Heritability of the liability",
        caption="the posterior of the threshold model, with its prior",
        draw=lambda ax: plot_threshold(ax, result, prior, mean_diagonal),
    )
    return [of_threshold, *panels, *panels_of_draws(result.threshold, "h2_liability", prefix="threshold.")]


def plot_threshold(ax: Axes, result: Heritability, prior: VariancePrior, mean_diagonal: float) -> None:
    """Draw the posterior of the heritability of the liability under the threshold model, and its prior.

    Args:
        ax: drawn on.
        result: the estimates, by the method threshold among others.
        prior: of h2.
        mean_diagonal: of K.
    """
    if result.threshold is None:
        raise ValueError("the threshold model was not asked for")
    draws = result.threshold["posterior"]["h2_liability"].to_numpy().ravel()
    grid = np.linspace(0, 1, 402)[1:-1]
    ax.hist(draws, bins=40, density=True, color=BLUE, alpha=0.35, label=f"threshold model, {draws.size:,} draws")
    ax.plot(grid, density_of_h2(prior, mean_diagonal, grid), color=GREY, linestyle="--", label="prior")
    ax.set_xlim(0, 1)
    ax.set_ylim(bottom=0)
    ax.set(xlabel="heritability of the liability", ylabel="density")
    ax.legend()


def plot_posterior(ax: Axes, result: Heritability, prior: VariancePrior, mean_diagonal: float) -> None:
    """Draw the posterior of h2 (draws, exact density), its prior, and REML with its interval.

    Args:
        ax: drawn on.
        result: the estimates.
        prior: of h2.
        mean_diagonal: of K.
    """
    if result.posterior is not None:
        draws = result.posterior["posterior"]["h2"].to_numpy().ravel()
        ax.hist(draws, bins=40, density=True, color=BLUE, alpha=0.35, label=f"NUTS, {draws.size:,} draws")
    if result.exact is not None:
        _draw_exact_density(ax, result.exact)
    low, high = ax.get_xlim() if ax.has_data() else (0.0, 1.0)
    low, high = max(low, 0.0), min(high, 1.0)
    grid = np.linspace(low, high, 402)[1:-1]
    ax.plot(grid, density_of_h2(prior, mean_diagonal, grid), color=GREY, linestyle="--", label="prior")
    ax.set_xlim(low, high)
    ax.set_ylim(bottom=0)
    for row in select(result.rows, method="reml", parameter="h2"):
        estimate_below(ax, row, interval_label(row))
    ax.set(xlabel="heritability h2", ylabel="density")
    liability_above(ax, None if result.own else result.liability)
    ax.legend()


def liability_above(ax: Axes, liability: Liability | None) -> None:
    """Draw the heritability of the liability as a second axis above that of h2, if there is one: both are linear."""
    if liability:
        factor = liability.factor
        above = ax.secondary_xaxis(
            "top", functions=(lambda h2: np.multiply(h2, factor), lambda above: np.divide(above, factor))
        )
        above.set_xlabel("heritability of the liability")


def _draw_exact_density(ax: Axes, exact: ExactPosterior) -> None:
    value, density = exact.h2.curve()
    lower, upper = exact.h2.quantile(1e-4), exact.h2.quantile(1 - 1e-4)
    shown = (value >= lower) & (value <= upper)
    ax.plot(value[shown], density[shown], color=BLUE, label="exact posterior")


class ResidualBins(NamedTuple):
    """Mean squares of whitened residuals in bins of eigenvalues, over what is left of them once X is estimated.

    Attributes:
        s: mean eigenvalue of each bin, by what X leaves of its rows, shape (b,).
        ratio: mean square over its expectation at the estimates, shape (b,).
        df: degrees of freedom of the chi-square that the mean square is about, twice mean^2 / variance, shape (b,).
    """

    s: Float64[ndarray, " b"]
    ratio: Float64[ndarray, " b"]
    df: Float64[ndarray, " b"]


def residual_bins(fit: Estimate, data: RotatedData, *, most: int = _BINS) -> ResidualBins:
    r"""Return how residual variance depends on the eigenvalues of K, to be compared with the fit.

    Residuals :math:`r = y - X \hat\beta`, divided by the square root of :math:`d = \sigma_u^2 s + \sigma_e^2`, have the
    covariance :math:`I - QQ'`, Q an orthonormal basis of :math:`d^{-1/2} X`: rows that X spans, such as those of
    principal components that are covariates, have none left. So a bin expects the sum of its :math:`1 - q_i'q_i`; bins
    hold about the same of it.

    Args:
        fit: of the trait.
        data: the trait in the eigenbasis.
        most: number of bins; fewer where less than 10 degrees of freedom would be in each.

    Source: Satterthwaite (1946), doi:10.2307/3002019, for the degrees of freedom.
    """
    d = fit.sigma2_u * data.s + fit.sigma2_e
    white = (data.Y[:, 0] - data.X @ fit.beta) / np.sqrt(d)
    Q, _ = orthonormal(data.X / np.sqrt(d)[:, None])
    left = np.maximum(1 - np.square(Q).sum(axis=1), 0.0)  # below 0 by rounding only
    total = left.sum()
    bins = int(min(most, max(total // 10, 1)))
    which = np.minimum((left.cumsum() - left / 2) * bins / total, bins - 1).astype(int)
    rows: list[tuple[float, float, float]] = []
    for k in range(bins):
        here = which == k
        expected = left[here].sum()
        # The variance of the sum of squares is twice the sum of squares of the covariance.
        spread = here.sum() - 2 * np.square(Q[here]).sum() + np.square(Q[here].T @ Q[here]).sum()
        s = left[here] @ data.s[here] / expected
        rows.append((s, np.square(white[here]).sum() / expected, expected**2 / spread))
    return ResidualBins(*np.array(rows).T)


def draw_fit(ax: Axes, fit: Estimate, data: RotatedData) -> None:
    """Draw the residual variance in bins of eigenvalues, with sigma2_u s + sigma2_e and where 95% of bins would be."""
    bins = residual_bins(fit, data)
    line = fit.sigma2_u * bins.s + fit.sigma2_e
    ax.plot(bins.s, line, color=BLUE, label="expected: sigma2_u s + sigma2_e (REML)")
    lower, upper = (line * chi2.ppf(p, bins.df) / bins.df for p in (0.025, 0.975))
    ax.fill_between(bins.s, lower, upper, color=BLUE, alpha=0.15, label="95% of bins")
    ax.plot(bins.s, bins.ratio * line, "o", color=GREEN, label=f"observed, {len(line)} bins of eigenvalues")
    ax.set_xscale("symlog", linthresh=_linear_below(bins.s))
    ax.set_yscale("log")
    ax.set(xlabel="eigenvalue s of K", ylabel="residual variance, given covariates")
    ax.legend()


def _linear_below(s: Float64[ndarray, " b"]) -> float:
    """Return where a logarithmic axis is to begin, so that bins of eigenvalues of 0 are seen too."""
    positive = s[s > 1e-6 * s.max()]
    return float(positive.min()) if positive.size else 1.0
