"""Claim: at the source's size the joint posterior of four correlated traits covers the truth.

Four traits with the report's variances and with correlations as in `four_correlated_traits` are simulated on the
spectrum of the source's cohort (n = 5,123, eleven fixed effects; benchmarks/several_traits.py writes it), and analysed
by ``bl.correlations``. Prints the first data set beside the truth, and over all data sets how often the intervals hold
it; writes both, and a picture of the first, to ``results/``.

    python validation/four_traits.py --replicates 10
"""

import argparse
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
from four_correlated_traits import simulate, truth

import bayeslmm as bl
from bayeslmm.likelihood import quantities
from bayeslmm.report.plots.panels import figure_of, write_figure
from bayeslmm.report.plots.rg import correlation_panels, correlation_title

HERE = Path(__file__).resolve().parent
SPECTRUM = HERE / "work" / "source_5123_319147" / "four.npz"
TRAITS = ("T1", "T2", "T3", "T4")
METHODS = {"mom": "moments (se)", "reml": "REML (se)", "nuts": "NUTS (sd)"}


def main() -> None:
    """Read the options, simulate, estimate, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--replicates", type=int, default=10, metavar="N")
    options = parser.parse_args()
    if not SPECTRUM.exists():
        sys.exit(f"{SPECTRUM} is absent: benchmarks/several_traits.py writes it first")
    with np.load(SPECTRUM) as arrays:
        s, X, k_scale = arrays["s"], arrays["X0"], float(arrays["k_scale"])
    true = _true_rows()
    tables, notes, smallest = [], [], 0.0
    for seed in range(options.replicates):
        nothing = np.zeros((len(s), 0))
        data = bl.JointData(s, simulate(s, seed), (X,) * 4, (nothing,) * 4, k_scale)
        covariates = [[f"x{j}" for j in range(X.shape[1])]] * 4
        result = bl.correlations(data, traits=TRAITS, covariates=covariates, seed=1)
        checks, reml = result.diagnostics, result.reml
        assert checks is not None
        assert reml is not None
        boundary = reml.boundary_of(TRAITS)
        notes.append(
            f"{seed}: R-hat {checks.r_hat:.3f}, least bulk ESS {checks.ess_bulk:,.0f}, {checks.divergences} "
            f"divergences, NUTS {result.seconds['nuts']:.0f} s{'; REML on the boundary: ' * bool(boundary)}{boundary}"
        )
        print(notes[-1], file=sys.stderr)
        table = result.estimates.merge(true, on=["trait", "parameter"])
        tables.append(table.assign(covers=(table["lower"] <= table["truth"]) & (table["truth"] <= table["upper"])))
        if seed == 0:
            figure = figure_of(correlation_panels(result), correlation_title(result))
            write_figure(figure, HERE / "results" / "four_traits.png")
            smallest = float(np.linalg.eigvalsh(reml.rho_u)[0])
    report = _report(tables, notes, smallest)
    (HERE / "results" / "four_traits.md").write_text(report)
    print(report)


def _true_rows() -> pd.DataFrame:
    true = truth()
    values = quantities.of_traits(true["Gamma_u"], true["Gamma_e"])
    rows = [(trait, name, values[name][j]) for j, trait in enumerate(TRAITS) for name in quantities.OF_TRAIT]
    rows += [
        (f"{TRAITS[j]}:{TRAITS[k]}", name, values[name][j, k])
        for j, k in combinations(range(4), 2)
        for name in quantities.OF_PAIR
    ]
    return pd.DataFrame(rows, columns=["trait", "parameter", "truth"])


def _report(tables: list[pd.DataFrame], notes: list[str], smallest: float) -> str:
    first = tables[0][tables[0]["parameter"].isin(["h2", "rho_u", "rho_e", "rho_p"])]
    shown: list[list[str]] = []
    for (trait, parameter), rows in first.groupby(["trait", "parameter"], sort=False):
        row_of = {row["method"]: row for row in rows.to_dict("records")}
        cells = [f"{row_of['nuts']['truth']:.3f}"]
        for method in METHODS:
            row = row_of[method]
            spread = f" ({row['se']:.3f})" if np.isfinite(row["se"]) else " (boundary)"
            cells.append(f"{row['estimate']:.3f}{spread}")
        nuts = row_of["nuts"]
        interval = f"{nuts['lower']:.3f} to {nuts['upper']:.3f}"
        shown.append([str(trait), str(parameter), *cells, interval, "yes" if nuts["covers"] else "NO"])
    both = pd.concat(tables)
    told = both[both["lower"].notna()]  # on the boundary REML has no interval for some
    coverage = told.groupby(["parameter", "method"])["covers"].agg(["mean", "size"]).unstack("method")
    error = both.assign(error=both["estimate"] - both["truth"]).groupby(["parameter", "method"])["error"]
    rms = error.apply(lambda values: float(np.sqrt(np.nanmean(values**2)))).unstack("method")
    covered = [
        [str(name)]
        + [f"{coverage.loc[name, ('mean', m)]:.3f} ({coverage.loc[name, ('size', m)]:.0f})" for m in METHODS]
        + [f"{rms.loc[name, method]:.4f}" for method in METHODS]
        for name in (*quantities.OF_TRAIT, *quantities.OF_PAIR)
    ]
    return "\n".join(
        [
            "# Four correlated traits at the size of the source report\n",
            f"The first data set (smallest eigenvalue of REML's genetic correlation matrix: {smallest:.4f}):\n",
            *_table(["trait", "parameter", "truth", *METHODS.values(), "NUTS 95%", "covers"], shown),
            f"\nShare of 95% intervals that hold the truth, and root mean squared errors, {len(tables)} data sets:\n",
            *_table(
                [
                    "parameter",
                    *(f"{method} (intervals)" for method in METHODS),
                    *(f"error of {method}" for method in METHODS),
                ],
                covered,
            ),
            "\nData sets:\n",
            *(f"- {note}" for note in notes),
            "\n![both correlation matrices of the first data set](four_traits.png)\n",
        ]
    )


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    main()
