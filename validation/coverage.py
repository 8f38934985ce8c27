"""Claim: 95% posterior intervals of h2 cover 95% averaged over the prior, at every sample size; others beside them.

Traits are simulated at each true h2 on the kinship of 200 and of 1,000 mice (real; intercept and sex) and of 5,000
unrelated people (simulated: 30,000 independent markers, about what common variants amount to; intercept), and every
interval of h2 is held against the truth.

    python validation/coverage.py
"""

import math
import time
from importlib.metadata import version

import pandas as pd
import study

from bayeslmm.report.plots.calibration import coverage_panels
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.studies.coverage import (
    LABELS,
    OVER_PRIOR,
    coverage_table,
    coverage_tasks,
    individuals_of,
    simulated_intervals,
)

SEED = 2016
H2 = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95, OVER_PRIOR)


def main() -> None:
    """Run the study and write its results."""
    claim = (__doc__ or "").splitlines()[0]
    options = study.options(claim)
    begun = time.perf_counter()
    if options.smoke:
        designs = {"40 gryphons": (study.smoke()[0], 1)}
    else:
        designs = {
            "200 mice": (study.mice(200), 400),
            "1,000 mice": (study.mice(1000), 400),
            "5,000 unrelated people (simulated)": (study.unrelated(5000, 30_000), 250),
        }
    tables: dict[str, pd.DataFrame] = {}
    for title, (data, datasets) in designs.items():
        tasks = coverage_tasks(H2, math.ceil(datasets * options.share), seed=SEED)
        label = f"n = {len(data.s)}"
        results = study.run(options, "coverage", simulated_intervals, tasks, individuals_of(data), label=label)
        tables[title] = coverage_table(tasks, results)
    panels = [panel for title, table in tables.items() for panel in coverage_panels(table, title)]
    write_figure(figure_of(panels), options.out / "coverage.png")
    record = {
        "version": version("bayeslmm"),
        "seconds": round(time.perf_counter() - begun),
        "tables": {title: table.to_dict("records") for title, table in tables.items()},
    }
    lines = [
        "# Coverage and width of intervals of h2",
        "",
        "Made by `validation/coverage.py`. Coverage of 95% intervals with its standard error, and their mean width in",
        "brackets. An interval with equal tails cannot hold 0 itself; the shortest one and test inversion can.",
        "The same random numbers make the traits of each true h2, so that columns are not independent of each other.",
        "",
        *(_verdict(title, table) for title, table in tables.items()),
    ]
    for title, table in tables.items():
        lines += ["", f"## {title}: {table['datasets'].iloc[0]:,} data sets at each h2", "", *_rows(table)]
    study.write(options.out, "coverage", record, lines)


def _verdict(title: str, table: pd.DataFrame) -> str:
    """Hold the posterior interval, averaged over the prior, against 95%."""
    (row,) = table[(table["h2"] == OVER_PRIOR) & (table["method"] == "posterior")].to_dict("records")
    off = (row["coverage"] - 0.95) / row["se"]
    return f"- {title}: averaged over the prior, {row['coverage']:.3f}, {off:+.1f} standard errors from 0.95"


def _rows(table: pd.DataFrame) -> list[str]:
    truths = list(dict.fromkeys(table["h2"]))
    heads = ["prior" if h2 == OVER_PRIOR else f"{h2:g}" for h2 in truths]
    lines = [f"| interval of h2 | {' | '.join(heads)} |", "|---" * (len(truths) + 1) + "|"]
    for method, label in LABELS.items():
        rows = table[table["method"] == method]
        cells = [f"{row.coverage:.3f} ± {row.se:.3f} ({row.width:.2f})" for row in rows.itertuples()]
        lines.append(f"| {label} | {' | '.join(cells)} |")
    return lines


if __name__ == "__main__":
    main()
