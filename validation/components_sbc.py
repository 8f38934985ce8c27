"""Claim: posteriors of several components by importance sampling are calibrated, also where one of them is 0.

Shares and total are drawn from the prior, birth weights given them for 300 gryphons with their real pedigree, mothers
and years of birth, and the posterior given the weights: animal + mother + year + residual. Then, of 200 records, how
often intervals hold the truth where the share of the animal, the mother or the year is 0.

    python validation/components_sbc.py
"""

import math
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import study

import bayeslmm as bl
from bayeslmm.report.plots.calibration import rank_panel
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.studies.component_ranks import QUANTILES, component_rank_tasks, component_ranks
from bayeslmm.studies.ranks import rank_table

SEED = 2026
DRAWS = 1024
DATASETS, RECORDS = 300, 300
AT_SHARES, AT_RECORDS = 40, 200  # at each of the shares below
SHARES = {  # of animal, mother, year, residual
    "animal 0": (0.0, 0.2, 0.1, 0.7),
    "mother 0": (0.45, 0.0, 0.1, 0.45),
    "year 0": (0.35, 0.2, 0.0, 0.45),
}


def gryphons(records: int) -> bl.Components:
    """Return some families of gryphons, each with all offspring of its mother: animal, mother, year, intercept, sex."""
    read = {"sep": "\t", "dtype": {"IID": str, "sex": str, "cohort": str, "mother": str}}
    table = pd.read_csv(study.GRYPHONS / "pheno.tsv", **read).merge(
        pd.read_csv(study.GRYPHONS / "covar.tsv", **read), on="IID"
    )
    table = table[table["BWT"].notna()]
    mothers = np.random.default_rng(1309).permutation(table["mother"].unique())
    grown = np.cumsum(table["mother"].value_counts()[mothers].to_numpy())
    table = table[table["mother"].isin(mothers[: int(np.searchsorted(grown, records)) + 1])]
    pedigree = bl.pedigree_kinship(study.GRYPHONS / "pedigree.csv")
    effects = (
        bl.related("animal", pedigree, table["IID"].tolist()),
        bl.grouped("mother", table["mother"].tolist()),
        bl.grouped("year", table["cohort"].tolist()),
    )
    X = np.column_stack([np.ones(len(table)), table["sex"] == "2"]).astype(float)
    return bl.components(bl.Records("BWT", table["BWT"].to_numpy(float), X, ("intercept", "sex"), effects))


def main() -> None:
    """Run the study and write its results."""
    options = study.options((__doc__ or "").splitlines()[0])
    begun = time.perf_counter()
    data, some = (gryphons(60 if options.smoke else records) for records in (RECORDS, AT_RECORDS))
    draws = 256 if options.smoke else DRAWS

    def run(
        label: str, data: bl.Components, datasets: int, shares: tuple[float, ...] | None = None
    ) -> list[dict[str, Any]]:
        datasets = 4 if options.smoke else math.ceil(datasets * options.share)
        tasks = component_rank_tasks(datasets, seed=SEED, draws=draws, shares=shares)
        found = study.run(options, "components_sbc", component_ranks, tasks, data, label=label)
        return [one for batch in found for one in batch]

    prior = run("components", data, DATASETS)
    ranked = [one for one in prior if "failed" not in one]
    table = rank_table([ranked])
    record: dict[str, Any] = {
        "version": version("bayeslmm"),
        "design": _design(data),
        "draws": draws,
        "prior": _of_draws(prior, draws),
        "ranks": table.to_dict("records"),
    }
    title = f"animal + mother + year, {data.n} records, {len(ranked)} data sets"
    write_figure(figure_of([rank_panel([ranked], title)]), options.out / "components_sbc.png")
    lines = _ranks(record, table)
    study.write(options.out, "components_sbc", record, lines)  # what there is, before the second part begins
    at_shares = {label: run(label, some, AT_SHARES, shares) for label, shares in SHARES.items()}
    coverage = pd.DataFrame([row for label in SHARES for row in _coverage(label, at_shares[label])])
    record["at_design"] = _design(some)
    record["at_shares"] = {label: _of_draws(found, draws) for label, found in at_shares.items()}
    record["coverage"] = coverage.to_dict("records")
    record["seconds"] = round(time.perf_counter() - begun)
    study.write(options.out, "components_sbc", record, [*lines, *_coverages(record, coverage)])


def _design(data: bl.Components) -> dict[str, int]:
    return {one.name: len(one.levels) for one in data.parts} | {"records": data.n}


def _of_draws(found: list[dict[str, Any]], draws: int) -> dict[str, float]:
    """Return how the draws were."""
    good = [one for one in found if "failed" not in one]
    return {
        "datasets": len(found),
        "failed": len(found) - len(good),
        "more_draws": sum(one["draws"] > draws for one in good),
        "ess": float(np.median([one["ess"]["total"] for one in good])),
        "least_ess": min(one["ess"]["total"] for one in good),
        "largest_k": max(one["pareto_k"] for one in good),
    }


def _coverage(label: str, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return a row for each quantity: coverage where the truth is above 0, how far up the posterior reaches where not.

    An interval with equal tails cannot hold 0, and one from 0 up always does.
    """
    rows, good = [], [one for one in found if "failed" not in one]
    for name in good[0]["truth"]:
        truth = good[0]["truth"][name]
        q = pd.DataFrame([one["quantiles"][name] for one in good], columns=list(QUANTILES))
        row: dict[str, Any] = {"shares": label, "quantity": name, "truth": truth, "datasets": len(good)}
        row |= {"median": q[0.5].median(), "width": (q[0.975] - q[0.025]).median(), "upper": q[0.95].median()}
        if truth > 0:
            row["in_95"] = ((q[0.025] <= truth) & (truth <= q[0.975])).mean()
            row["in_50"] = ((q[0.25] <= truth) & (truth <= q[0.75])).mean()
            row["below_95"] = (truth <= q[0.95]).mean()
        rows.append(row)
    return rows


def _ranks(record: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    design, prior = record["design"], record["prior"]
    return [
        "# Calibration of several components by simulation",
        "",
        f"Made by `validation/components_sbc.py`: {design['records']} records of gryphons with {design['mother']} "
        f"mothers and {design['year']} years; animal",
        f"(pedigree) + mother + year + residual, `ComponentsPrior()`, `bl.importance` with {record['draws']:,} draws.",
        "",
        f"## Ranks of {prior['datasets']} data sets with parameters from the prior, of {DATASETS} of the whole study",
        "",
        f"{int(table['inside'].sum())} of {len(table)} rank ECDFs stay inside their 99% bands; of such studies of "
        "calibrated and independent ranks,",
        f"{1 - 0.99 ** len(table):.0%} see one outside.",
        "",
        "| quantity | rank ECDF | coverage of the 95% interval | median width |",
        "|---|---|---|---|",
        *(
            f"| {row.quantity} | {'inside' if row.inside else 'OUTSIDE'} | {row.coverage:.3f} ± {row.se:.3f} "
            f"| {row.width:.3g} |"
            for row in table.itertuples()
        ),
        "",
        "![ranks](components_sbc.png)",
        "",
        *_draws({"from the prior": prior}),
    ]


def _draws(parts: Mapping[str, Mapping[str, float]]) -> list[str]:
    """Return a table of how the draws were; a data set failed if its k is above 0.7 with 4 times the draws too."""
    return [
        "| data sets | number | failed | with four times the draws | ESS: median, least | largest Pareto k |",
        "|---|---|---|---|---|---|",
        *(
            f"| {label} | {one['datasets']} | {one['failed']} | {one['more_draws']} "
            f"| {one['ess']:,.0f}, {one['least_ess']:,.0f} | {one['largest_k']:.2f} |"
            for label, one in parts.items()
        ),
    ]


def _coverages(record: Mapping[str, Any], coverage: pd.DataFrame) -> list[str]:
    m, design = int(coverage["datasets"].min()), record["at_design"]
    lines = [
        "",
        "## Coverage where one share is 0",
        "",
        f"In {m} data sets each, of {design['records']} records with {design['mother']} mothers; standard errors are "
        f"{math.sqrt(0.95 * 0.05 / m):.3f} at 0.95 and {0.5 / math.sqrt(m):.3f}",
        "at 0.5. At one truth a posterior need not cover its level, as it does averaged over the prior. An interval",
        "with equal tails cannot hold a share of 0, and [0, 95% quantile] always does: there the medians of the",
        "posterior median and of this quantile say how far from 0 the posterior reaches.",
        "",
        "| shares | quantity | truth | 95% interval | 50% interval | [0, 95% quantile] | median | median width of 95% "
        "| median of the 95% quantile |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in coverage.to_dict("records"):
        held = [f"{row[key]:.2f}" if row["truth"] > 0 else by for key, by in _HELD.items()]
        lines.append(
            f"| {row['shares']} | {row['quantity']} | {row['truth']:.2f} | {' | '.join(held)} | {row['median']:.3f} "
            f"| {row['width']:.3f} | {row['upper']:.3f} |"
        )
    return [*lines, "", *_draws(record["at_shares"])]


_HELD = {"in_95": "never", "in_50": "never", "below_95": "always"}

if __name__ == "__main__":
    main()
