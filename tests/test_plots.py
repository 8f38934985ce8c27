import arviz_base
import numpy as np
import pytest
from matplotlib.image import imread

from bayeslmm.cohort import Cohort
from bayeslmm.compare import compare
from bayeslmm.heritability import Heritability, heritability
from bayeslmm.plots import plot_comparison, plot_heritability
from bayeslmm.priors import VariancePrior


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
    result = Heritability("x", found.estimates, found.reml, {**found.fits, "nuts": draws}, None)
    plot_heritability(result, small_data, VariancePrior(), tmp_path / "x.png")
    picture = imread(tmp_path / "x.png")
    assert picture.shape == (960, 1440, 4)
    # Each of the four panels holds ink beyond its frame.
    for panel in (
        picture[60:440, 80:700],
        picture[60:440, 800:1400],
        picture[520:900, 80:700],
        picture[520:900, 800:1400],
    ):
        assert panel[..., :3].std() > 0.02


@pytest.mark.parametrize("h2", [0.0, 0.6])
def test_a_comparison_is_drawn(dense, tmp_path, rng, h2):
    K, X, _, spectrum = dense
    y = np.linalg.cholesky(h2 * K + (1 - h2) * np.eye(40)) @ rng.standard_normal(40)
    cohort = Cohort(tuple(f"p{i}" for i in range(40)), ("y",), ("intercept", "a", "b"), K, y[:, None], X)
    data = spectrum.rotate(cohort.Y, cohort.X)
    found = compare(data, cohort, trait="y", seed=1, chains=2, draws=200, warmup=200)
    plot_comparison(found, tmp_path / "y.png")
    picture = imread(tmp_path / "y.png")
    assert picture.shape == (900, 1560, 4)
    for panel in (picture[80:800, 220:850], picture[80:380, 970:1540], picture[500:800, 970:1540]):
        assert panel[..., :3].std() > 0.02
