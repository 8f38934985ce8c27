"""Claim: posterior draws of one trait and of two are calibrated: no rank ECDF leaves its 99% band on real kinships.

Parameters are drawn from the prior, traits given them on the eigenvalues of a real kinship, and posterior draws given
the traits by NUTS: 1,000 traits on 1,000 mice (intercept and sex), 600 pairs of traits on the 854 gryphons of a
pedigree (intercept).

    python validation/sbc.py
"""

import math
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import pandas as pd
import study

from bayeslmm.base.tasks import Task
from bayeslmm.report.plots.calibration import rank_panel
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.studies.ranks import bivariate_ranks, rank_table, rank_tasks, univariate_ranks

SEED = 2022


def main() -> None:
    """Run the study and write its results."""
    claim = (__doc__ or "").splitlines()[0]
    options = study.options(claim)
    begun = time.perf_counter()
    one, two = study.smoke() if options.smoke else (study.mice(1000), study.gryphons())
    record, titles, lines = {}, {}, []
    studies: list[tuple[str, Callable[[Task, Any], Any], Any, int]] = [
        ("univariate", univariate_ranks, one, 1000),
        ("bivariate", bivariate_ranks, two, 600),
    ]
    for name, function, design, datasets in studies:
        datasets = 4 if options.smoke else math.ceil(datasets * options.share)
        results = study.run(options, "sbc", function, rank_tasks(datasets, seed=SEED), design, label=name)
        table = rank_table(results)
        divergences = sum(found["divergences"] for result in results for found in result)
        n = len(design.s)
        record[name] = {"n": n, "datasets": datasets, "divergences": divergences, "table": table.to_dict("records")}
        titles[f"{name}: {datasets:,} data sets, n = {n:,}"] = results
        lines += ["", f"## {name}: {datasets:,} data sets, n = {n:,}, {divergences} divergences", "", *_rows(table)]
    record["version"], record["seconds"] = version("bayeslmm"), round(time.perf_counter() - begun)
    panels = [rank_panel(results, title) for title, results in titles.items()]
    write_figure(figure_of(panels), options.out / "sbc.png")
    study.write(options.out, "sbc", record, [*_head(record), *lines])


def _head(record: dict[str, Any]) -> list[str]:
    inside = [row["inside"] for name in ("univariate", "bivariate") for row in record[name]["table"]]
    return [
        "# Calibration of NUTS by simulation",
        "",
        f"Made by `validation/sbc.py`. {sum(inside)} of {len(inside)} rank ECDFs stay inside their 99% bands; of such",
        f"studies of calibrated and independent ranks, {1 - 0.99 ** len(inside):.0%} see one outside.",
    ]


def _rows(table: pd.DataFrame) -> list[str]:
    head = [
        "| quantity | rank ECDF | coverage of the 95% interval | median width | ESS of 2,000 draws: median, least |"
    ]
    return [*head, "|---|---|---|---|---|"] + [
        f"| {row.quantity} | {'inside' if row.inside else 'OUTSIDE'} | {row.coverage:.3f} ± {row.se:.3f} "
        f"| {row.width:.3g} | {row.ess:,.0f}, {row.least_ess:,.0f} |"
        for row in table.itertuples()
    ]


if __name__ == "__main__":
    main()
