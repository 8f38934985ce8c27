"""Bias, error and coverage of every estimator of h2, by sample size, h2 and genetic architecture.

Traits are simulated on the markers of the mice and on the design of the source report, 100 unrelated people with 1,000
independent markers, where maximum likelihood goes to the boundary. Effects are normal on all markers (polygenic) or on
ten (sparse, of equal expected size). Writes ``results/estimator_errors.{json,md,png}``; seven minutes on two cores.
"""

import math
import time
from importlib.metadata import version
from typing import Any

import numpy as np
import pandas as pd
import study
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray

import bayeslmm as bl
from bayeslmm.base.files import replacing
from bayeslmm.likelihood.rotation import Spectrum

CLAIM = "Bias, error and coverage of every estimator of h2, by sample size, h2 and genetic architecture"

DESIGNS = {"100 people, 1,000 markers": None, "300 mice": 300, "1,410 mice": 1410}
EFFECTS = {"polygenic": None, "sparse (10 markers)": 10}
H2 = (0.0, 0.2, 0.5, 0.8)
METHODS = ("mom", "ml", "reml", "exact")
NAMES = {"mom": "moments", "ml": "ML", "reml": "REML", "exact": "posterior mean"}
BATCH = 25
MICE = study.MICE / "mouse_hs1940"


def main() -> None:
    """Run the study and write its results."""
    options = study.options(CLAIM)
    traits = 2 if options.smoke else math.ceil(100 * options.share)
    tasks = [
        {"effects": effects, "h2": h2, "first": first, "last": min(first + BATCH, traits)}
        for effects in EFFECTS
        for h2 in (H2[:1] if options.smoke else H2)
        for first in range(0, traits, BATCH)
    ]
    rows: list[dict[str, Any]] = []
    begun = time.perf_counter()
    for design in list(DESIGNS)[:1] if options.smoke else DESIGNS:
        label = f"errors of estimators, {design}"
        found = study.run(options, "estimator_errors", fit_traits, tasks, genotypes(design), label=label)
        rows += [{"design": design} | row for batch in found for row in batch]
    table = summarise(pd.DataFrame(rows))
    record = {"traits": traits, "rows": table.to_dict("records")}
    record |= {"version": version("bayeslmm"), "seconds": round(time.perf_counter() - begun)}
    study.write(options.out, "estimator_errors", record, _lines(table, traits))
    with replacing(options.out / "estimator_errors.png") as temporary:
        _picture(table).savefig(temporary, dpi=120)


def fit_traits(task: dict[str, Any], design: tuple[ndarray, Spectrum]) -> list[dict[str, Any]]:
    """Simulate some traits of one design; return what each method says of each."""
    W, spectrum = design
    n, p = W.shape
    rows = []
    for number in range(task["first"], task["last"]):
        y = trait(W, task["h2"], EFFECTS[task["effects"]] or p, np.random.default_rng([22, number]))
        data = spectrum.rotate(y, np.ones((n, 1)))
        result = bl.heritability(data, trait="y", covariates=["intercept"], seed=1, methods=METHODS)
        rows += [
            {
                "effects": task["effects"],
                "h2": task["h2"],
                "method": row["method"],
                "estimate": float(row["estimate"]),
                "lower": float(row["lower"]),
                "upper": float(row["upper"]),
                "boundary": "boundary: " in row["note"],
            }
            for row in result.estimates.query("parameter == 'h2'").to_dict("records")
        ]
    return rows


def trait(W: ndarray, h2: float, causal: int, rng: np.random.Generator) -> ndarray:
    """Return a trait with total variance 1, shape (n, 1): effects of some markers, each of variance h2 / causal."""
    n, p = W.shape
    chosen = np.sort(rng.choice(p, causal, replace=False)) if causal < p else slice(None)
    g = W[:, chosen] @ rng.normal(0, np.sqrt(h2 / causal), causal)
    return (g + rng.normal(0, np.sqrt(1 - h2), n))[:, None]


def genotypes(design: str) -> tuple[ndarray, Spectrum]:
    """Return standardised markers, and the spectrum of their kinship."""
    people = DESIGNS[design]
    if people is None:
        rng = np.random.default_rng(20)
        f = rng.uniform(0.05, 0.5, 1000)
        W = (rng.binomial(2, f, (100, 1000)) - 2 * f) / np.sqrt(2 * f * (1 - f))
    else:
        W = np.hstack([block.G for block in bl.MarkerBlocks(bl.open_genotypes(MICE))]).astype(float)
        W = W[np.random.default_rng(21).choice(len(W), people, replace=False)]
    return W, bl.decompose(W @ W.T / W.shape[1])


def summarise(estimates: pd.DataFrame) -> pd.DataFrame:
    """Return bias, root mean squared error, coverage and width by design, effects, h2 and method."""
    estimates = estimates.assign(
        error=estimates["estimate"] - estimates["h2"],
        # A boundary without an interval covers nothing.
        covered=(estimates["lower"] <= estimates["h2"]) & (estimates["h2"] <= estimates["upper"]),
        width=estimates["upper"] - estimates["lower"],
    )
    rows = []
    for (design, effects, h2, method), own in estimates.groupby(["design", "effects", "h2", "method"], sort=False):
        count = len(own)
        rows.append(
            {
                "design": design,
                "effects": effects,
                "h2": h2,
                "method": method,
                "traits": count,
                "bias": own["error"].mean(),
                "bias_se": own["error"].std() / np.sqrt(count),
                "rmse": float(np.sqrt((own["error"] ** 2).mean())),
                "coverage": own["covered"].mean(),
                "width": own["width"].mean(),
                "at_boundary": own["boundary"].mean(),
            }
        )
    return pd.DataFrame(rows)


def _lines(table: pd.DataFrame, traits: int) -> list[str]:
    lines = [
        f"# Errors of the estimators of h2, {traits} traits in each row",
        "",
        "Made by `validation/estimator_errors.py`. Bias with its standard error; root mean squared error; coverage and",
        "mean width of the 95% interval that the method gives (Wald for moments and for ML and REML off the boundary;",
        "profile likelihood on it; equal-tailed posterior); share of traits whose estimate is on the boundary. Of ten",
        "markers the realised variance differs from trait to trait, by 45% of h2, and intervals are held against its",
        "mean: that is why those of many mice cover less there. The same random numbers make the traits of all rows.",
        f"The standard error of a coverage of 0.95 is {np.sqrt(0.95 * 0.05 / traits):.3f}.",
        "",
        "| design | effects | h2 | method | bias | RMSE | coverage | width | at boundary |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.design} | {row.effects} | {row.h2:g} | {NAMES[str(row.method)]} | {row.bias:+.3f} "
            f"({row.bias_se:.3f}) | {row.rmse:.3f} | {row.coverage:.3f} | {row.width:.2f} | {row.at_boundary:.0%} |"
        )
    return lines


def _picture(table: pd.DataFrame) -> Figure:
    designs, kinds = table["design"].unique(), table["effects"].unique()
    figure = Figure(figsize=(4 * len(designs), 7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = np.atleast_2d(figure.subplots(len(kinds), len(designs), sharex=True, squeeze=False))
    for i, effects in enumerate(kinds):
        for j, design in enumerate(designs):
            ax = axes[i, j]
            for k, method in enumerate(METHODS):
                own = table.query("design == @design and effects == @effects and method == @method")
                x = own["h2"] + 0.012 * (k - 1.5)
                ax.errorbar(x, own["bias"], yerr=own["rmse"], fmt="o", markersize=4, capsize=2, label=NAMES[method])
            ax.axhline(0, color="0.6", linewidth=1)
            ax.set(title=f"{design}, {effects}", xlabel="true h2", ylabel="bias, bars of root mean squared error")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(METHODS), frameon=False)
    return figure


if __name__ == "__main__":
    main()
