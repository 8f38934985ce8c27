"""Time and memory of two and of four traits at the size of the source report, against one trait.

Each step runs in a process of its own (``several_traits.py STEP FOLDER`` is what it runs); a NUTS step compiles each
time. The floor is NUTS of one trait, of the same run. Eleven fixed effects for each trait.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from processes import Row, alternate, ratio_to, table

VALIDATION = Path(__file__).resolve().parents[1]
DATA = VALIDATION / "work" / "source_5123_319147"
NAMES = ("T1", "T2", "T3", "T4")
PCS = 10
MISSING = 0.05
TARGET = 3.0
NUTS: dict[str, Any] = {"seed": 1, "chains": 4, "draws": 1000, "warmup": 1000}


def prepare(folder: Path) -> None:
    """Write rotated data: four correlated traits, complete, and two with a twentieth of the values missing."""
    import numpy as np

    import bayeslmm as bl

    sys.path.insert(0, str(VALIDATION))
    from four_correlated_traits import simulate

    spectrum = bl.decompose(bl.read_grm(folder / "cohort").K)
    n = len(spectrum.s)
    X = np.column_stack([np.ones(n), spectrum.principal_components(PCS)])
    Y = spectrum.U @ simulate(spectrum.s, seed=2018)
    lacking = np.random.default_rng(1).permutation(n)[: 2 * int(MISSING * n)].reshape(2, -1)
    partial = Y[:, :2].copy()
    for j in range(2):
        partial[lacking[j], j] = np.nan
    for name, traits in (("four", Y), ("partial", partial)):
        data = spectrum.rotate_jointly(traits, [X] * traits.shape[1])
        arrays = {f"{part}{j}": value for part in "XE" for j, value in enumerate(getattr(data, part))}
        np.savez(folder / f"{name}.npz", s=data.s, Y=data.Y, k_scale=data.k_scale, **arrays)


def load(folder: Path, name: str, traits: Sequence[int]) -> Any:
    """Read the rotated data of some of the traits."""
    import numpy as np

    import bayeslmm as bl

    with np.load(folder / f"{name}.npz") as arrays:
        X, E = (tuple(arrays[f"{part}{j}"] for j in traits) for part in "XE")
        return bl.JointData(arrays["s"], arrays["Y"][:, list(traits)], X, E, float(arrays["k_scale"]))


def one_trait(folder: Path) -> dict[str, Any]:
    """Draw from the posterior of one trait."""
    import bayeslmm as bl
    from bayeslmm.models import univariate

    data = load(folder, "four", [0])
    return _sample(univariate, bl.RotatedData(data.s, data.Y, data.X[0], data.k_scale), "h2", 0)


def pair_moments(folder: Path) -> dict[str, Any]:
    """Solve the moment equations of two traits."""
    return _point(folder, "four", 2, "joint_moments")


def pair_reml(folder: Path) -> dict[str, Any]:
    """Find REML of two traits, compilation included."""
    return _point(folder, "four", 2, "joint_reml")


def pair_nuts(folder: Path) -> dict[str, Any]:
    """Draw from the posterior of two traits."""
    from bayeslmm.models import bivariate

    return _sample(bivariate, load(folder, "four", [0, 1]), "rho_u")


def partial_moments(folder: Path) -> dict[str, Any]:
    """Solve the moment equations of two traits of which a twentieth is missing."""
    return _point(folder, "partial", 2, "joint_moments")


def partial_reml(folder: Path) -> dict[str, Any]:
    """Find REML of two traits of which a twentieth is missing."""
    return _point(folder, "partial", 2, "joint_reml")


def partial_nuts(folder: Path) -> dict[str, Any]:
    """Draw from the posterior of two traits of which a twentieth is missing; REML, where it starts, included."""
    from bayeslmm.models import bivariate

    return _sample(bivariate, load(folder, "partial", [0, 1]), "rho_u")


def four_moments(folder: Path) -> dict[str, Any]:
    """Solve the moment equations of four traits."""
    return _point(folder, "four", 4, "joint_moments")


def four_reml(folder: Path) -> dict[str, Any]:
    """Find REML of four traits."""
    return _point(folder, "four", 4, "joint_reml")


def four_nuts(folder: Path) -> dict[str, Any]:
    """Draw from the posterior of four traits."""
    from bayeslmm.models import multivariate

    return _sample(multivariate, load(folder, "four", range(4)), "rho_u", 0, 1)


def _point(folder: Path, name: str, t: int, estimator: str) -> dict[str, Any]:
    import bayeslmm as bl

    data, estimate = load(folder, name, range(t)), getattr(bl, estimator)
    begun = time.perf_counter()
    estimate(data)
    return {"seconds": time.perf_counter() - begun}


def _sample(program: Any, data: Any, site: str, *element: int) -> dict[str, Any]:
    import arviz_stats

    import bayeslmm as bl

    sample, diagnose = bl.sample, bl.diagnose
    begun = time.perf_counter()
    tree = sample(program, data, **NUTS)
    seconds = time.perf_counter() - begun
    ess = float(arviz_stats.ess(tree["posterior"][site].to_numpy()[(..., *element)], method="bulk"))
    checks, steps = diagnose(tree), float(tree["sample_stats"]["n_steps"].to_numpy().mean())
    quality = {"r_hat": checks.r_hat, "divergences": checks.divergences, "leapfrog_steps": steps}
    return {"seconds": seconds, "ess": ess, "ess_per_second": ess / seconds, **quality}


STEPS: dict[str, Callable[[Path], dict[str, Any] | None]] = {
    step.__name__: step
    for step in (
        prepare, one_trait, pair_moments, pair_reml, pair_nuts, partial_moments, partial_reml, partial_nuts,
        four_moments, four_reml, four_nuts,
    )
}  # fmt: skip
LABELS = {
    "one_trait": "NUTS, one trait",
    "pair_moments": "moments, two traits",
    "pair_reml": "REML, two traits",
    "pair_nuts": "NUTS, two traits",
    "partial_moments": "moments, two traits, a twentieth of the values missing",
    "partial_reml": "REML, the same",
    "partial_nuts": "NUTS, the same",
    "four_moments": "moments, four traits",
    "four_reml": "REML, four traits",
    "four_nuts": "NUTS, four traits",
}


def main() -> None:
    """Run the benchmark and write its table, or run one step of it."""
    if len(sys.argv) == 3:
        if (told := STEPS[sys.argv[1]](Path(sys.argv[2]))) is not None:
            print(json.dumps(told))
        return
    if not (DATA / "cohort.grm.bin").exists():
        sys.exit(f"{DATA} is absent: benchmarks/source_size.py makes the cohort and its kinship matrix first")
    before = os.getloadavg()[0]
    subprocess.run(_command("prepare"), check=True)
    rows = alternate({LABELS[name]: _command(name) for name in LABELS}, repeats=1)
    floor = rows[0]
    for row in rows[1:]:
        row["ratios"] = [ratio_to(row, floor, TARGET)]
    report = _report(rows, before)
    (VALIDATION / "results" / "several_traits.md").write_text(report)
    print(report)


def _command(step: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), step, str(DATA)]


def _report(rows: Sequence[Row], load_before: float) -> str:
    lines = []
    for row in rows:
        ratio = f"{row['ratios'][0]['ratio']:.2f}" if row["ratios"] else ""
        quality = (
            [f"{row[name]:,.4g}" for name in ("ess", "ess_per_second", "r_hat", "divergences", "leapfrog_steps")]
            if "ess" in row
            else [""] * 5
        )
        lines.append([row["step"], f"{row['seconds']:.2f}", f"{row['peak_rss_mb']:,.0f}", ratio, *quality])
    pair = next(row for row in rows if row["step"] == LABELS["pair_nuts"])["ratios"][0]
    header = [
        "step",
        "seconds",
        "peak MB",
        "ratio to one trait",
        "bulk ESS of rho_u (h2)",
        "ESS per second",
        "R-hat",
        "divergences",
        "leapfrog steps",
    ]
    return "\n".join(
        [
            "# Several traits at the size of the source report\n",
            "5,123 people, 11 fixed effects for each trait, decomposition done by then; 4 x (1,000 + 1,000) draws, ",
            "compilation included. REML is without its standard errors and tests; NUTS includes REML, where it starts.",
            f"{os.cpu_count()} processors, load {load_before:.2f} before, {os.getloadavg()[0]:.2f} after; one run.\n",
            *table(header, lines),
            f"\nNUTS of two traits takes {pair['ratio']:.2f} times that of one; the target is {TARGET:g}: "
            f"{'met' if pair['met'] else 'NOT MET'}.\n",
        ]
    )


if __name__ == "__main__":
    main()
