import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from scipy.stats import chi2

from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.report.plots.scan import PValues, leads, qq_band, scan_panels


@pytest.mark.parametrize(("m", "samples"), [(30, 2000), (1000, 1000), (20000, 300)])
def test_band_holds_95_percent_of_all_samples(rng, m, samples):
    lower, upper = qq_band(m)
    p = np.sort(rng.uniform(size=(samples, m)), axis=1)
    inside = ((p > lower) & (p < upper)).all(axis=1).mean()
    assert inside == pytest.approx(0.95, abs=4 * np.sqrt(0.05 * 0.95 / samples))


def p_values(p, step=1):
    p = np.asarray(p)
    chrom = np.where(np.arange(len(p)) < len(p) // 2, "2", "X")
    table = {"chrom": chrom, "pos": step * np.arange(len(p)), "snp": [f"rs{k}" for k in range(len(p))], "p_wald": p}
    return PValues.of(pd.DataFrame(table), order=["1", "2", "X"])


def test_lambda_gc_is_the_inflation_of_chi_square(rng):
    statistics = rng.chisquare(1, 20001)
    assert p_values(chi2.sf(statistics, 1)).lambda_gc == pytest.approx(1, abs=0.05)
    assert p_values(chi2.sf(1.5 * statistics, 1)).lambda_gc == pytest.approx(1.5, abs=0.08)


def test_chromosomes_without_markers_have_no_place():
    assert p_values(np.linspace(0.01, 1, 100)).chrom == ("2", "X")


def test_leads_are_the_strongest_and_far_from_each_other(rng):
    p = rng.uniform(0.01, 1, 1000)
    p[[100, 103, 300, 700, 702]] = [1e-9, 1e-12, 1e-7, 1e-8, 1e-10]
    # 499 steps on either chromosome: 1% of both is 10 steps, and more than 1 Mb.
    assert leads(p_values(p, 200_000)) == [103, 702, 300]
    assert leads(p_values(p, 200_000), most=1) == [103]
    assert leads(p_values(np.full(1000, 0.5))) == []


@pytest.mark.parametrize("places", [[500, 503, 506, 509, 512], [0, 4, 990, 995, 999]])
def test_names_of_leads_do_not_touch_and_stay_inside(rng, places):
    p = rng.uniform(0.01, 1, 1000)
    p[places] = [1e-9, 1e-12, 1e-7, 1e-8, 1e-10]
    whole = p_values(p, 500_000)
    (manhattan, _) = scan_panels(whole)
    figure = figure_of([manhattan])
    figure.canvas.draw()
    (ax,) = figure.axes
    boxes = [text.get_window_extent() for text in ax.texts]
    assert {text.get_text() for text in ax.texts} == {f"rs{k}" for k in leads(whole)}
    assert not any(one.overlaps(other) for k, one in enumerate(boxes) for other in boxes[:k])
    frame = ax.get_window_extent().padded(1)
    assert all(frame.y0 <= box.y0 and box.y1 <= frame.y1 for box in boxes)
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.width for box in boxes)


def test_a_p_value_of_zero_is_drawn(tmp_path, rng):
    path = tmp_path / "scan.png"
    write_figure(figure_of(scan_panels(p_values(np.r_[0.0, rng.uniform(size=500)]))), path)
    assert imread(path).std() > 0.05


def test_a_picture_of_many_markers_is_small(tmp_path, rng):
    for panel in scan_panels(p_values(rng.uniform(size=500_000))):
        write_figure(figure_of([panel]), tmp_path / "x.svg")
        assert (tmp_path / "x.svg").stat().st_size < 250_000
