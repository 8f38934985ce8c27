"""Time and memory of the moment and EM estimators.

- Randomised moments against reading the same genotypes (the floor) and against forming K, decomposing it and solving
  the exact equations: 2,000 people, and more and more markers. Memory must not grow with the markers.
- 100,000 iterations of EM and PX-EM at n = 5,123 and 11 covariates, against as many evaluations of the log-likelihood
  in one compiled loop (the floor).

Each step runs in a process of its own; ``estimators.py STEP FOLDER`` is what it runs.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import Row, alternate, ratio_to, table

VALIDATION = Path(__file__).resolve().parents[1]
PEOPLE = 2000
MARKERS = (20_000, 80_000, 320_000)
ITERATIONS = 100_000


def read(folder: Path) -> None:
    """Read and standardise the genotypes twice, as randomised moments do, and nothing else."""
    import bayeslmm as bl

    blocks = bl.MarkerBlocks(bl.open_genotypes(folder / "cohort"))
    for _ in range(2):
        for _ in blocks:
            pass


def rhe(folder: Path) -> None:
    """Run randomised moments with 100 vectors."""
    import bayeslmm as bl

    blocks, ids, Y, X = _cohort(folder)
    bl.randomised_moments(blocks, ids, Y, X, seed=1)


def by_kinship(folder: Path) -> None:
    """Form K, decompose it, and solve the exact equations."""
    import bayeslmm as bl

    _, _, Y, X = _cohort(folder)
    spectrum = bl.decompose(bl.genomic_kinship(folder / "cohort").K)
    bl.moments(spectrum.rotate(Y, X))


def loglik(folder: Path) -> None:
    """Evaluate the log-likelihood again and again, without an E-step or an M-step."""
    import jax
    import jax.numpy as jnp

    from bayeslmm.likelihood.one_trait import univariate

    data = _rotated()
    with jax.enable_x64(True):
        s, X, y = (jnp.asarray(array) for array in (data.s, data.X, data.Y[:, 0]))

        @jax.jit
        def climb(b: Any) -> Any:
            def step(_: int, total: Any) -> Any:
                return total + univariate(s, X @ (b + 1e-9 * total), 0.3, 0.7).log_prob(y)

            return jax.lax.fori_loop(0, ITERATIONS, step, 0.0)

        climb(jnp.zeros(X.shape[1])).block_until_ready()
        begun = time.perf_counter()
        climb(jnp.ones(X.shape[1])).block_until_ready()
        print(json.dumps({"seconds": time.perf_counter() - begun}))


def em(folder: Path) -> None:
    """Run EM for all its iterations, compiled before."""
    _climb("em")


def px_em(folder: Path) -> None:
    """Run PX-EM for all its iterations, compiled before."""
    _climb("px_em")


def _climb(name: str) -> None:
    import bayeslmm as bl

    data, method = _rotated(), getattr(bl, name)
    method(data, m=319_147, tolerance=0.0, limit=ITERATIONS)
    begun = time.perf_counter()
    fit = method(data, m=319_147, tolerance=0.0, limit=ITERATIONS)
    seconds = time.perf_counter() - begun
    if fit.iterations != ITERATIONS:
        raise SystemExit(f"{name} stopped after {fit.iterations} iterations")
    print(json.dumps({"seconds": seconds}))


def _cohort(folder: Path) -> tuple[Any, ...]:
    import numpy as np

    import bayeslmm as bl

    blocks = bl.MarkerBlocks(bl.open_genotypes(folder / "cohort"))
    y = bl.read_table(folder / "pheno.tsv").numbers("T1")
    return blocks, blocks.genotypes.ids, y[:, None], np.ones((len(y), 1))


def _rotated() -> Any:
    import numpy as np

    import bayeslmm as bl

    rng, n, c = np.random.default_rng(1), 5123, 11
    s = np.sort(rng.gamma(20, 1 / 20, n))
    return bl.RotatedData(s, (np.sqrt(0.3 * s + 0.7) * rng.standard_normal(n))[:, None], rng.standard_normal((n, c)))


STEPS: dict[str, Callable[[Path], None]] = {step.__name__: step for step in (read, rhe, by_kinship, loglik, em, px_em)}


def main() -> None:
    """Run the benchmark and write its table."""
    rows: list[Row] = []
    for markers in MARKERS:
        folder = VALIDATION / "work" / f"source_{PEOPLE}_{markers}"
        if not (folder / "truth.json").exists():
            size = ["--people", str(PEOPLE), "--markers", str(markers)]
            subprocess.run([sys.executable, VALIDATION / "source_cohort.py", "--out", folder, *size], check=True)
        names = {f"{name}, p = {markers:,}": name for name in ("read", "rhe", "by_kinship")}
        floor, ours, peer = alternate({label: _step(name, folder) for label, name in names.items()}, 2)
        ours["ratios"] = [ratio_to(ours, floor, float("inf")), ratio_to(ours, peer, float("inf"))]
        rows += [floor, ours, peer]
    folder = VALIDATION / "work"
    names = {f"{name}, {ITERATIONS:,} iterations": name for name in ("loglik", "em", "px_em")}
    floor, *climbs = alternate({label: _step(name, folder) for label, name in names.items()}, 2)
    for climb in climbs:
        climb["ratios"] = [ratio_to(climb, floor, float("inf"))]
    rows += [floor, *climbs]
    cells = [
        [
            row["step"],
            f"{row['seconds']:.1f}",
            f"{row['peak_rss_mb']:,.0f}",
            "; ".join(f"{ratio['ratio']:.2f} to {ratio['to']}" for ratio in row["ratios"]),
        ]
        for row in rows
    ]
    title = f"# Moments and EM: {PEOPLE:,} people (moments), 5,123 people (EM)"
    lines = [title, "", *table(["step", "seconds", "peak MB", "ratio"], cells)]
    (VALIDATION / "results" / "estimators.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _step(name: str, folder: Path) -> list[str]:
    return [sys.executable, str(Path(__file__)), name, str(folder)]


if __name__ == "__main__":
    if len(sys.argv) == 3:
        STEPS[sys.argv[1]](Path(sys.argv[2]))
    else:
        main()
