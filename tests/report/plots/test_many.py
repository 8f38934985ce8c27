import numpy as np
import pandas as pd

from bayeslmm.analyses.many_traits import Survivors
from bayeslmm.report.many import many_answers, many_lines
from bayeslmm.report.pictures import write_pictures
from bayeslmm.report.plots.many import NAMES, many_panels
from tests.report.plots.test_h2 import ink


def table_of(t, rng):
    h2 = rng.beta(1, 3, t)
    p = np.where(rng.uniform(size=t) < 0.3, 1.0, rng.uniform(size=t) ** 3)
    columns = {
        "n": 1000, "h2_reml": h2, "h2_mean": h2, "h2_lower": h2 / 2, "h2_upper": (1 + h2) / 2,
        "log_bayes_factor": 200 * h2 - 3, "p": p, "q": p,
    }  # fmt: skip
    return pd.DataFrame(columns, index=pd.Index([f"t{j}" for j in range(t)], name="trait"))


def test_pictures_do_not_grow_with_the_traits(tmp_path, rng):
    sizes = []
    for t in (1000, 20_000):
        panels = many_panels(table_of(t, rng))
        assert [panel.name for panel in panels] == [*NAMES]
        pictures = write_pictures(panels, tmp_path, f"t{t}", of="traits")
        sizes.append(sum(picture.path.stat().st_size for picture in pictures))
    assert all(ink(panel, tmp_path) > 0.02 for panel in panels)
    assert sizes[1] < 1.5 * sizes[0] < 400_000


def test_what_is_printed_does_not_grow(rng):
    table = table_of(5000, rng)
    table.loc["t7", ["h2_mean", "p", "q", "log_bayes_factor"]] = [0.9, 0.0, 0.0, 1000.0]
    found = Survivors(table, {f"x{j}": "it has no variation" for j in range(300)})
    lines = many_lines(found)
    assert len(lines) < 10
    assert lines[-1].splitlines()[2].startswith("t7 ")
    assert f"h2 = 0 is rejected for {(table['q'] < 0.05).sum():,} traits" in lines[2]
    assert many_answers(found)[-1].startswith("300 traits FAILED, the first x0: it has no variation")
