from dataclasses import replace

import arviz_base
import numpy as np
import pytest
from matplotlib.image import imread
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.analyses.compare import compare
from bayeslmm.analyses.heritability import heritability
from bayeslmm.analyses.method import Drawn
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.posterior.diagnostics import diagnose
from bayeslmm.report.plots.compare import comparison_panels
from bayeslmm.report.plots.h2 import heritability_panels, residual_bins
from bayeslmm.report.plots.panels import figure_of, write_figure


def ink(panel, folder):
    """Return how much the middle of a panel differs from white paper."""
    write_figure(figure_of([panel]), folder / "x.png")
    picture = imread(folder / "x.png")[..., :3]
    height, width = picture.shape[:2]
    return picture[height // 6 : -height // 6, width // 5 : -width // 10].std()


@pytest.mark.parametrize("divergences", [0, 5])
@pytest.mark.parametrize("chains", [1, 4])
def test_a_picture_is_drawn_whatever_the_draws(small_data, tmp_path, rng, divergences, chains):
    found = heritability(small_data, trait="x", covariates=["intercept", "a", "b"], seed=1, methods=["reml", "exact"])
    diverging = np.zeros((chains, 50), dtype=bool)
    diverging[0, :divergences] = True
    draws = arviz_base.from_dict(
        {"posterior": {"h2": rng.beta(5, 5, (chains, 50, 1))}, "sample_stats": {"diverging": diverging}},
        dims={"h2": ["trait"]},
        coords={"trait": ["x"]},
    )
    result = replace(found, fits={**found.fits, "nuts": Drawn(draws, diagnose(draws))})
    panels = heritability_panels(result, small_data, VariancePrior())
    assert [panel.name for panel in panels] == ["h2", "fit", "trace", "ranks"]
    assert all(ink(panel, tmp_path) > 0.02 for panel in panels)


@pytest.mark.slow
@pytest.mark.parametrize("h2", [0.0, 0.6])
def test_a_comparison_is_drawn(dense, tmp_path, rng, h2):
    K, X, _, spectrum = dense
    y = np.linalg.cholesky(h2 * K + (1 - h2) * np.eye(40)) @ rng.standard_normal(40)
    cohort = Cohort(tuple(f"p{i}" for i in range(40)), ("y",), (("intercept", "a", "b"),), K, y[:, None], (X,))
    data = spectrum.rotate(cohort.Y, cohort.X)
    found = compare(data, cohort, trait="y", seed=1, chains=2, draws=200, warmup=200)
    panels = comparison_panels(found)
    assert [panel.name for panel in panels] == ["methods", "em", "null"]
    assert all(ink(panel, tmp_path) > 0.02 for panel in panels)


@pytest.mark.slow
def test_fit_in_the_eigenbasis_takes_out_what_covariates_span(rng):
    """With 10 principal components as covariates all bins have a ratio of 1, the last one too, over 300 traits."""
    W = rng.standard_normal((200, 400)) * np.geomspace(4, 0.2, 400)
    spectrum = bl.decompose(W @ W.T / 400 / 2)
    X = np.column_stack([np.ones(200), spectrum.principal_components(10)])
    data = spectrum.rotate(X @ rng.standard_normal((11, 1)), X)
    truth = replace(bl.reml(data._replace(Y=rng.standard_normal((200, 1)))), sigma2_u=0.6, sigma2_e=0.4)
    d = 0.6 * data.s + 0.4
    ratios, sizes = [], []
    for _ in range(300):
        y = data.Y[:, 0] + np.sqrt(d) * rng.standard_normal(200)
        beta = np.linalg.lstsq(data.X / np.sqrt(d)[:, None], y / np.sqrt(d))[0]
        bins = residual_bins(replace(truth, beta=beta), data._replace(Y=y[:, None]))
        ratios.append(bins.ratio)
        sizes = bins.df
    assert len(sizes) == 18
    # The mean square of a bin is chi2_df / df: mean 1, variance 2 / df.
    assert_allclose(np.mean(ratios, axis=0), 1, atol=4 * np.sqrt(2 / 10 / 300))
    assert_allclose(np.var(ratios, axis=0) * sizes / 2, 1, atol=0.4)
    assert_allclose(np.sum(sizes), 200 - 11, rtol=0.02)


def test_residual_bins_equal_dense_traces(dense, small_data):
    """Expectation and variance of each sum of squares from the dense covariance of the residuals, P V P' whitened."""
    _, X, _, _ = dense
    fit = bl.reml(small_data)
    d = fit.sigma2_u * small_data.s + fit.sigma2_e
    white = small_data.X / np.sqrt(d)[:, None]
    left = np.eye(40) - white @ np.linalg.pinv(white)
    residual = (small_data.Y[:, 0] - small_data.X @ fit.beta) / np.sqrt(d)
    bins = residual_bins(fit, small_data, most=1)
    assert_allclose(bins.ratio, residual @ residual / (40 - X.shape[1]), rtol=1e-10)
    assert_allclose(bins.df, np.trace(left) ** 2 / np.trace(left @ left), rtol=1e-10)
    assert_allclose(residual @ residual, 40 - X.shape[1], rtol=1e-6)  # the scale of REML
