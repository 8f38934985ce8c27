"""Claim: posterior draws of the threshold model of a trait of two values are calibrated.

A heritability and fixed effects are drawn from the prior, the values of 100 individuals in families (two parents, two
children) given them, and posterior draws given the values by NUTS, 200 times. REML, times the factor for the share of
cases, is beside them.

    python validation/threshold.py
"""

import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import arviz_stats
import jax
import numpy as np
import numpyro.distributions as dist
import pandas as pd
import study

import bayeslmm as bl
from bayeslmm.estimators.liability import liability_factor
from bayeslmm.likelihood.bases import orthonormal
from bayeslmm.likelihood.priors import VariancePrior
from bayeslmm.likelihood.rotation import Spectrum
from bayeslmm.likelihood.two_values import TwoValues
from bayeslmm.models import threshold
from bayeslmm.report.plots.calibration import rank_panel
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.studies.ranks import rank_table

SEED, DATASETS = 2024, 200
CHAINS, DRAWS, WARMUP, THIN = 2, 400, 300, 16
FAMILY = np.array([[1, 0, 0.5, 0.5], [0, 1, 0.5, 0.5], [0.5, 0.5, 1, 0.5], [0.5, 0.5, 0.5, 1]])


def main() -> None:
    """Run the study and write its results."""
    options = study.options((__doc__ or "").splitlines()[0])
    begun = time.perf_counter()
    families, datasets = (10, 4) if options.smoke else (25, round(DATASETS * options.share))
    n = 4 * families
    spectrum = bl.decompose(np.kron(np.eye(families), FAMILY))
    # The intercept has a standard deviation of a half, the other effect one of about a half too.
    prior = VariancePrior(beta=dist.Normal(0.0, np.sqrt(n) / 2))
    found = [_one(spectrum, prior, number) for number in range(datasets)]
    table, seconds = rank_table([found]), [record["seconds"] for record in found]
    record = {
        "n": n,
        "datasets": datasets,
        "table": table.to_dict("records"),
        "estimates": _errors(found),
        "divergences": sum(record["divergences"] for record in found),
        "median_seconds": float(np.median(seconds)),
        "version": version("bayeslmm"),
        "seconds": round(time.perf_counter() - begun),
    }
    write_figure(
        figure_of([rank_panel([found], f"threshold: {datasets} data sets, n = {n}")]), options.out / "threshold.png"
    )
    study.write(options.out, "threshold", record, _lines(record, table))


def _one(spectrum: Spectrum, prior: VariancePrior, number: int) -> dict[str, Any]:
    """Simulate a trait, and return the ranks of what it was made with, and estimates of h2 by both ways."""
    rng = np.random.default_rng(np.random.SeedSequence(SEED, spawn_key=(number,)))
    n = len(spectrum.s)
    h2 = rng.uniform()
    X = np.column_stack([np.ones(n), rng.standard_normal(n)])
    Q, R = orthonormal(X)
    key = jax.random.key(int(rng.integers(2**31)))
    b = np.asarray(prior.beta.sample(key, (2,)), dtype=float)
    g = spectrum.U @ (np.sqrt(spectrum.s) * rng.standard_normal(n))
    case = Q @ b + np.sqrt(h2) * g + np.sqrt(1 - h2) * rng.standard_normal(n) > 0
    truth = {"h2_liability": [h2], "beta_liability": np.linalg.solve(R, b) / np.sqrt(1 - h2)}
    began = time.perf_counter()
    tree = bl.sample(
        threshold, TwoValues.of(spectrum, case, X), seed=number, prior=prior, chains=CHAINS, draws=DRAWS, warmup=WARMUP
    )
    record: dict[str, Any] = {"rank": {}, "holds": {}, "width": {}, "ess": {}}
    for name, values in truth.items():
        draws = tree["posterior"][name].to_numpy().reshape(CHAINS, DRAWS, -1)
        for j, value in enumerate(values):
            key_of = name if len(values) == 1 else f"{name}[{j + 1}]"
            lower, upper = np.quantile(draws[..., j], [0.025, 0.975])
            kept = draws[:, ::THIN, j]
            record["rank"][key_of] = float(((kept < value).sum() + rng.uniform()) / (kept.size + 1))
            record["holds"][key_of] = bool(lower <= value <= upper)
            record["width"][key_of] = float(upper - lower)
            record["ess"][key_of] = float(arviz_stats.ess(draws[..., j]))
    fit = bl.reml(spectrum.rotate(case[:, None].astype(float), X))
    share = float(case.mean())
    return record | {
        "divergences": int(tree["sample_stats"].dataset["diverging"].sum()),
        "seconds": time.perf_counter() - began,
        "truth": h2,
        "threshold": float(tree["posterior"]["h2_liability"].to_numpy().mean()),
        "reml": fit.h2 * liability_factor(share, share),
    }


def _errors(found: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the bias and the root mean squared error of both estimates."""
    truth = np.array([record["truth"] for record in found])
    errors = {name: np.array([record[name] for record in found]) - truth for name in ("threshold", "reml")}
    return {
        name: {"bias": float(error.mean()), "rmse": float(np.sqrt(np.square(error).mean()))}
        for name, error in errors.items()
    }


def _lines(record: Mapping[str, Any], table: pd.DataFrame) -> list[str]:
    threshold, reml = (record["estimates"][name] for name in ("threshold", "reml"))
    return [
        "# Calibration of the threshold model by simulation",
        "",
        f"Made by `validation/threshold.py`: {record['datasets']} traits of {record['n']} individuals in families of",
        "two parents and two children, h2 uniform, an intercept and a covariate with normal effects, all drawn from",
        f"the prior. {record['divergences']} divergent transitions; {record['median_seconds']:.1f} s a trait (median).",
        "",
        "| quantity | rank ECDF in its 99% band | coverage of the 95% interval | median width "
        f"| ESS of {CHAINS * DRAWS:,} draws: median, least |",
        "|---|---|---|---|---|",
        *(
            f"| {row.quantity} | {'inside' if row.inside else 'OUTSIDE'} | {row.coverage:.3f} ± {row.se:.3f} "
            f"| {row.width:.3g} | {row.ess:,.0f}, {row.least_ess:,.0f} |"
            for row in table.itertuples()
        ),
        "",
        "| h2 of the liability by | bias | root mean squared error |",
        "|---|---|---|",
        f"| posterior mean of the threshold model | {threshold['bias']:+.3f} | {threshold['rmse']:.3f} |",
        f"| REML of 0 and 1, times the factor for the share of cases | {reml['bias']:+.3f} | {reml['rmse']:.3f} |",
    ]


if __name__ == "__main__":
    main()
