"""NUTS draws agree with the quadrature over a grid of data sets, from h2 = 0 to 0.95.

The difference of two posterior means in Monte Carlo standard errors is a standard normal if both sample and integrate
the same posterior: its mean and spread over data sets are tested, and so are posterior standard deviations. Eigenvalues
are those of 200 and of 1,000 of the mice. Writes ``results/oracle_grid.{json,md,png}``; three minutes on two cores.
"""

import math
import time
from importlib.metadata import version
from typing import Any

import arviz_stats
import numpy as np
import pandas as pd
import study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy.stats import norm

import bayeslmm as bl
from bayeslmm.base.files import replacing
from bayeslmm.likelihood.rotation import RotatedData
from bayeslmm.models import univariate
from bayeslmm.studies.simulate import rotated_trait

CLAIM = "NUTS draws agree with the quadrature over a grid of data sets, from h2 = 0 to 0.95"
PEOPLE = (200, 1000)
H2 = (0.0, 0.05, 0.2, 0.5, 0.8, 0.95)
BATCH = 10
PARAMETERS = ("h2", "sigma2_u", "sigma2_e")


def main() -> None:
    """Run the study and write its results."""
    options = study.options(CLAIM)
    traits = 2 if options.smoke else math.ceil(40 * options.share)
    grid = H2[:2] if options.smoke else H2
    rows: list[dict[str, Any]] = []
    begun = time.perf_counter()
    for people in PEOPLE[:1] if options.smoke else PEOPLE:
        tasks = [
            {"h2": h2, "first": first, "last": min(first + BATCH, traits)}
            for h2 in grid
            for first in range(0, traits, BATCH)
        ]
        label = f"NUTS against quadrature, {people} people"
        found = study.run(options, "oracle_grid", compare_traits, tasks, study.mice(people), label=label)
        rows += [row for batch in found for row in batch]
    table = pd.DataFrame(rows)
    record = {"differences": rows, "version": version("bayeslmm"), "seconds": round(time.perf_counter() - begun)}
    study.write(options.out, "oracle_grid", record, _lines(table))
    with replacing(options.out / "oracle_grid.png") as temporary:
        _picture(table).savefig(temporary, dpi=120)


def compare_traits(task: dict[str, Any], people: RotatedData) -> list[dict[str, Any]]:
    """Simulate some traits; return the differences of moments in Monte Carlo standard errors."""
    rows = []
    for number in range(task["first"], task["last"]):
        rng = np.random.default_rng([20, len(people.s), round(100 * task["h2"]), number])
        data = rotated_trait(people.s, h2=task["h2"], rng=rng, X=people.X)
        # A seed of its own: with the same random numbers in like coordinates, errors of like posteriors are alike.
        draws, oracle = bl.sample(univariate, data, seed=int(rng.integers(2**31))), bl.exact.posterior(data)
        checks = bl.diagnose(draws)
        for name in PARAMETERS:
            values, marginal = draws["posterior"][name].to_numpy()[..., 0], getattr(oracle, name)
            rows.append(
                {
                    "people": len(people.s),
                    "h2": task["h2"],
                    "trait": number,
                    "parameter": name,
                    "mean": float((values.mean() - marginal.mean) / arviz_stats.mcse(values, method="mean")),
                    "sd": float((values.std() - marginal.sd) / arviz_stats.mcse(values, method="sd")),
                    "ess": float(checks.ess_bulk),
                    "r_hat": float(checks.r_hat),
                    "divergences": int(checks.divergences),
                }
            )
    return rows


def _lines(table: pd.DataFrame) -> list[str]:
    lines = [
        f"# NUTS against the quadrature, {len(table) // len(PARAMETERS)} simulated traits",
        "",
        "Made by `validation/oracle_grid.py`. Differences of posterior means and standard deviations in Monte Carlo",
        "standard errors: if nothing but Monte Carlo error is there, their mean is 0 and their spread 1 (both with",
        "their standard errors), and the largest is near what normal numbers give.",
        "",
        "| parameter | moment | mean | spread | largest | expected of the largest |",
        "|---|---|---|---|---|---|",
    ]
    for name in PARAMETERS:
        for moment in ("mean", "sd"):
            z = table.loc[table["parameter"] == name, moment]
            count = len(z)
            lines.append(
                f"| {name} | {moment} | {z.mean():+.2f} ({1 / np.sqrt(count):.2f}) | {z.std():.2f} "
                f"({1 / np.sqrt(2 * count):.2f}) | {z.abs().max():.2f} | {norm.isf(0.25 / count):.2f} |"
            )
    lines += [
        "",
        f"R-hat at most {table['r_hat'].max():.4f}, bulk effective sample sizes from {table['ess'].min():,.0f}, "
        f"{int((table['divergences'] > 0).sum() / len(PARAMETERS))} data sets with a divergence.",
        "",
        "| people | h2 | smallest ESS | median ESS | data sets with a divergence |",
        "|---|---|---|---|---|",
    ]
    for (people, h2), own in table[table["parameter"] == "h2"].groupby(["people", "h2"]):
        divergent = int((own["divergences"] > 0).sum())
        lines.append(f"| {people:,} | {h2:g} | {own['ess'].min():,.0f} | {own['ess'].median():,.0f} | {divergent} |")
    return lines


def _picture(table: pd.DataFrame) -> Figure:
    figure = Figure(figsize=(9, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    for ax, moment in zip(figure.subplots(1, 2), ("mean", "sd"), strict=True):
        for name in PARAMETERS:
            z = np.sort(table.loc[table["parameter"] == name, moment])
            expected = norm.ppf((np.arange(len(z)) + 0.5) / len(z))
            ax.plot(expected, z, ".", label=name)
        ends = np.array(ax.get_xlim())
        ax.plot(ends, ends, color="0.6", linewidth=1)
        ax.set(
            title=f"posterior {'means' if moment == 'mean' else 'standard deviations'}",
            xlabel="standard normal quantile",
            ylabel="NUTS less quadrature, Monte Carlo errors",
        )
        ax.legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
