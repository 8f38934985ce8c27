"""Time and memory of `rg` by its default methods where many values of two traits are missing, at n = 5,123.

Eigenvalues are those of a kinship of 30,000 independent markers, with three leading ones of structure, and eigenvectors
are random; traits are simulated along them (h2 0.25 and 0.30, rho_u 0.5, rho_e 0.2), with eleven fixed effects of each,
and half of the missing values in each. Each size runs in a process of its own (``missing_values.py SIZE`` is what it
runs): moments, REML with its tests and standard errors, importance sampling, compilation included.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from processes import Row, alternate, table

VALIDATION = Path(__file__).resolve().parents[1]
N, COVARIATES, MARKERS = 5123, 11, 30_000
SIZES = {512: 45.0, 2000: 300.0}
"""Missing values, and the seconds that they may take."""


def simulated(missing: int) -> Any:
    """Return rotated data of two traits."""
    import numpy as np

    import bayeslmm as bl

    rng, g = np.random.default_rng(missing), N / MARKERS
    s = np.sort(1 + g + 2 * np.sqrt(g) * np.cos(np.pi * (np.arange(N) + 0.5) / N))
    s[0], s[-3:] = 0.0, (5, 8, 20)
    s /= s.mean()
    U = np.linalg.qr(rng.standard_normal((N, missing)))[0]  # transposed rows of U of those with a missing value
    E = [np.ascontiguousarray(part) for part in np.array_split(U, 2, axis=1)]
    Gamma_u, Gamma_e = np.array([[0.25, 0.5], [0, 0.3]]), np.array([[0.75, 0.2], [0, 0.7]])
    for Gamma in (Gamma_u, Gamma_e):
        Gamma[0, 1] = Gamma[1, 0] = Gamma[0, 1] * np.sqrt(Gamma[0, 0] * Gamma[1, 1])
    data = bl.simulate.rotated_traits(s, Gamma_u, Gamma_e, rng=rng)
    X = rng.standard_normal((N, COVARIATES))
    # A missing value is 0 before rotation, and so are the covariates of its individual.
    Y = np.column_stack([y - part @ (part.T @ y) for y, part in zip(data.Y.T, E, strict=True)])
    return bl.JointData(s, Y, tuple(X - part @ (part.T @ X) for part in E), tuple(E), 1.0)


def run(missing: int) -> dict[str, Any]:
    """Analyse one data set."""
    import time

    import bayeslmm as bl

    data, names = simulated(missing), [f"x{j}" for j in range(COVARIATES)]
    begun = time.perf_counter()
    result = bl.correlations(data, traits="AB", covariates=[names] * 2, seed=1)
    seconds = time.perf_counter() - begun
    (row,) = (row for row in result.rows if (row.method, row.parameter) == ("importance", "rho_u"))
    weighted = result.importance
    if weighted is None:
        raise RuntimeError(f"importance sampling failed: {result.failed}")
    return {
        "seconds": seconds,
        "ess": weighted.ess,
        "pareto_k": weighted.pareto_k,
        "rho_u": row.estimate,
        "sd": row.se,
    } | dict(result.seconds)


def main() -> None:
    """Run the benchmark and write its table, or run one size."""
    if len(sys.argv) == 2:
        print(json.dumps(run(int(sys.argv[1]))))
        return
    before = os.getloadavg()[0]
    script = str(Path(__file__).resolve())
    rows = alternate({f"{size:,}": [sys.executable, script, str(size)] for size in SIZES}, repeats=1)
    report = _report(rows, before)
    (VALIDATION / "results" / "missing_values.md").write_text(report)
    print(report)


def _report(rows: list[Row], before: float) -> str:
    lines = [
        [
            row["step"],
            f"{row['seconds']:.0f}",
            f"{row['cpu_seconds']:.0f}",
            *(f"{row[name]:.1f}" for name in ("mom", "reml", "importance")),
            f"{row['peak_rss_mb']:,.0f}",
            f"{row['ess']:,.0f}",
            f"{row['pareto_k']:.2f}",
            f"{row['rho_u']:.3f} ({row['sd']:.3f})",
            f"{target:g}: {'met' if row['seconds'] <= target else 'NOT MET'}",
        ]
        for row, target in zip(rows, SIZES.values(), strict=True)
    ]
    header = [
        "missing values",
        "seconds",
        "CPU seconds",
        "moments",
        "REML, tests, errors",
        "importance sampling",
        "peak MB",
        "effective draws",
        "Pareto k",
        "rho_u (sd)",
        "target, seconds",
    ]
    return "\n".join(
        [
            "# Several traits with many missing values\n",
            "Two traits of 5,123 people, 11 fixed effects for each, decomposition done by then; 2,048 weighted draws. ",
            f"{os.cpu_count()} processors, load {before:.2f} before, {os.getloadavg()[0]:.2f} after; one run.\n",
            *table(header, lines),
            "",
        ]
    )


if __name__ == "__main__":
    main()
