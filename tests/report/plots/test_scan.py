import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import chi2

from bayeslmm.report.plots.scan import PValues, plot_scan, qq_band


@pytest.mark.parametrize(("m", "samples"), [(30, 2000), (1000, 1000), (20000, 300)])
def test_band_holds_95_percent_of_all_samples(rng, m, samples):
    lower, upper = qq_band(m)
    p = np.sort(rng.uniform(size=(samples, m)), axis=1)
    inside = ((p > lower) & (p < upper)).all(axis=1).mean()
    assert inside == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / samples))


def p_values(p):
    p = pd.Series(p)
    chrom = pd.Series(np.where(np.arange(len(p)) < len(p) // 2, "2", "X"))
    return PValues.of(chrom, pd.Series(np.arange(len(p))), p, order=["1", "2", "X"])


def test_lambda_gc_is_the_inflation_of_chi_square(rng):
    statistics = rng.chisquare(1, 20001)
    assert p_values(chi2.sf(statistics, 1)).lambda_gc == pytest.approx(1, abs=0.05)
    assert p_values(chi2.sf(1.5 * statistics, 1)).lambda_gc == pytest.approx(1.5, abs=0.08)


def test_chromosomes_without_markers_have_no_place():
    assert p_values(np.linspace(0.01, 1, 100)).chrom == ("2", "X")


def test_a_p_value_of_zero_is_drawn(tmp_path, rng):
    path = tmp_path / "scan.png"
    plot_scan(p_values(np.r_[0.0, rng.uniform(size=500)]), trait="y", test="null", path=path)
    assert imread(path).std() > 0.05
