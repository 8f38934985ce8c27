"""Effective draws per second with several components of variance, by importance sampling, NUTS and MCMCglmm.

The gryphons' animal + mother + year (854 records, 394 mothers, 34 years), two dense kinships of 1,410 mice (odd and
even chromosomes), and two of 5,000 simulated people. Each step runs in a process of its own (``components.py STEP`` is
what it runs); its seconds are without the reading of files. MCMCglmm, with the tutorial's priors, runs where R has it:
its seconds are the sampler's.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from processes import Row, alternate, table

VALIDATION = Path(__file__).resolve().parents[1]
GRYPHON, MOUSE = VALIDATION / "data" / "gryphon", VALIDATION / "data" / "mouse_hs1940"
STEPS = {
    "gryphon_reml": "gryphon, REML with errors",
    "gryphon_importance1": "gryphon, importance sampling, 4,096 draws",
    "gryphon_importance2": "the same with 2 workers",
    "gryphon_nuts": "gryphon, NUTS, 4 x (1,000 + 1,000) draws, compiled anew",
    "gryphon_mcmcglmm": "gryphon, MCMCglmm, 13,000 rounds, 3,000 of burn-in, every tenth kept",
    "mouse_reml": "two kinships, REML with errors",
    "mouse_importance1": "two kinships, importance sampling, 1,024 draws",
    "mouse_importance2": "the same with 2 workers",
    "people_importance2": "two kinships of 5,000 simulated people, importance sampling, 1,024 draws, 2 workers",
}
PEOPLE, MARKERS = 5000, 10_000  # markers of each kinship


def gryphon() -> Any:
    """Return birth weight with the animal, its mother and its year of birth."""
    import numpy as np
    import pandas as pd

    import bayeslmm as bl

    table = pd.read_csv(GRYPHON / "pheno.tsv", sep="\t", dtype={"IID": str})
    table = table.merge(pd.read_csv(GRYPHON / "covar.tsv", sep="\t", dtype=str), on="IID")
    table = table[table["BWT"].notna()]
    animal = bl.related("animal", bl.pedigree_kinship(GRYPHON / "pedigree.csv"), table["IID"].tolist())
    groups = [bl.grouped(name, table[column].tolist()) for name, column in (("mother", "mother"), ("year", "cohort"))]
    X = np.column_stack([np.ones(len(table)), table["sex"] == "2"])
    return bl.components(bl.Records("BWT", table["BWT"].to_numpy(), X, ("intercept", "sex"), (animal, *groups)))


def mouse() -> Any:
    """Return CD8 with kinships of odd and of even chromosomes."""
    import numpy as np
    import pandas as pd
    from bed_reader import open_bed

    import bayeslmm as bl

    with open_bed(MOUSE / "mouse_hs1940.bed") as bed:
        G, ids, odd = bed.read(dtype="float64"), tuple(bed.iid), bed.chromosome.astype(int) % 2 == 1
    with np.errstate(invalid="ignore"):
        W = np.nan_to_num((G - np.nanmean(G, axis=0)) / np.nanstd(G, axis=0))
    table = pd.read_csv(MOUSE / "pheno.tsv", sep="\t", dtype={"IID": str})
    table = table[table["CD8"].notna()]
    parts = tuple(
        bl.related(name, bl.Kinship(ids, W[:, of] @ W[:, of].T / of.sum(), name), table["IID"].tolist())
        for name, of in (("odd", odd), ("even", ~odd))
    )
    return bl.components(bl.Records("CD8", table["CD8"].to_numpy(), np.ones((len(table), 1)), ("intercept",), parts))


def people() -> Any:
    """Return a trait of unrelated people, half of whose variance is that of two sets of markers, 0.3 and 0.2."""
    import numpy as np

    import bayeslmm as bl

    rng, ids = np.random.default_rng(1), [f"p{i}" for i in range(PEOPLE)]
    y, parts = rng.normal(0, np.sqrt(0.5), PEOPLE), []
    for name, share in (("first", 0.3), ("second", 0.2)):
        W = rng.binomial(2, rng.uniform(0.05, 0.5, MARKERS), (PEOPLE, MARKERS)).astype(float)
        W = (W - W.mean(axis=0)) / W.std(axis=0)
        y += W @ rng.normal(0, np.sqrt(share / MARKERS), MARKERS)
        parts.append(bl.related(name, bl.Kinship(tuple(ids), W @ W.T / MARKERS, name), ids))
    return bl.components(bl.Records("y", y, np.ones((PEOPLE, 1)), ("intercept",), tuple(parts)))


def mcmcglmm() -> Row:
    """Return what MCMCglmm's run with its default numbers of rounds says of its draws."""
    script = Path(__file__).with_name("mcmcglmm.R")
    command = ["Rscript", str(script), str(GRYPHON), "13000", "3000", "10", "1"]
    told = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout)
    least = min(told["effective"], key=told["effective"].get)
    ess = told["effective"][least]
    quality = f"least: {least}; MCMCglmm {told['version']}"
    return {"seconds": told["seconds"], "ess": ess, "ess_per_second": ess / told["seconds"], "quality": quality}


def why_no_mcmcglmm() -> str | None:
    """Return why MCMCglmm cannot run here, None if it can."""
    if shutil.which("Rscript") is None:
        return "there is no R here"
    found = subprocess.run(["Rscript", "-e", "packageVersion('MCMCglmm')"], capture_output=True, check=False)
    return None if found.returncode == 0 else "R has no package MCMCglmm here"


def measure(step: str) -> Row:
    """Return seconds, and what the step says of its draws."""
    import arviz_stats

    import bayeslmm as bl
    from bayeslmm.models import components as program

    which, method = step.split("_")
    if method == "mcmcglmm":
        return mcmcglmm()
    data = {"gryphon": gryphon, "mouse": mouse, "people": people}[which]()
    begun, processor, serial = time.perf_counter(), time.process_time(), time.thread_time()
    own: dict[str, float] = {}
    if method == "reml":
        fit = bl.components_reml(data)
        _ = fit.standard_errors()
        return {"seconds": time.perf_counter() - begun}
    if method == "nuts":
        draws = bl.sample(program, data, seed=1)
        seconds = time.perf_counter() - begun
        shares = draws["posterior"]["share"].to_numpy()
        each = [shares[..., j] for j in range(shares.shape[-1])]
        ess, quality = min(map(arviz_stats.ess, each)), f"R-hat {max(map(arviz_stats.rhat, each)):.4f}"
    else:
        size = 4096 if which == "gryphon" else 1024
        posterior = bl.importance(data, seed=1, draws=size, workers=int(method[-1]))
        seconds = time.perf_counter() - begun
        own = {"processor": time.process_time() - processor, "serial": time.thread_time() - serial}
        ess, quality = posterior.ess, f"Pareto k {posterior.pareto_k:.2f}"
    return {"seconds": seconds, "ess": float(ess), "ess_per_second": float(ess) / seconds, "quality": quality, **own}


def main() -> None:
    """Run all steps and write the table."""
    if len(sys.argv) > 1:
        print(json.dumps(measure(sys.argv[1])))
        return
    load, why = os.getloadavg()[0], why_no_mcmcglmm()
    steps = [step for step in STEPS if why is None or step != "gryphon_mcmcglmm"]
    rows = alternate({step: [sys.executable, str(Path(__file__).resolve()), step] for step in steps}, 1)
    report = _report(rows, load, why)
    (VALIDATION / "results" / "components.md").write_text(report)
    print(report)


def _gain(one: Row, two: Row) -> str:
    alone = one["processor"] / (two["serial"] + (two["processor"] - two["serial"]) / 2)
    return f"{one['seconds'] / two['seconds']:.2f}, {alone:.2f}"


def _report(rows: Sequence[Row], load: float, why: str | None) -> str:
    lines, seconds = [], {row["step"]: row for row in rows}
    for row in rows:
        numbers = [f"{row['ess']:,.0f}", f"{row['ess_per_second']:,.1f}", row["quality"]] if "ess" in row else [""] * 3
        times = [f"{row['seconds']:.1f}", f"{row['cpu_seconds']:.1f}", f"{row['peak_rss_mb']:,.0f}"]
        lines.append([STEPS[row["step"]], *times, *numbers])
    gains = [_gain(seconds[f"{which}_importance1"], seconds[f"{which}_importance2"]) for which in ("gryphon", "mouse")]
    if why is None:
        ours, theirs = seconds["gryphon_importance2"], seconds["gryphon_mcmcglmm"]
        ratio = ours["ess_per_second"] / theirs["ess_per_second"]
        alike = (ours["ess"] / ours["processor"]) / (theirs["ess"] / theirs["cpu_seconds"])
        peer = f"Ours, with 2 workers, has {ratio:.0f} times MCMCglmm's effective draws a second, and {alike:.0f} times"
        peer += "\nits effective draws for a processor second (the start of R included)."
    else:
        peer = f"MCMCglmm was not run: {why}."
    return "\n".join(
        [
            "# Several components of variance\n",
            f"{os.cpu_count()} processors, load {load:.2f} before; one run. Seconds are of the step, processor seconds",
            "of the whole process (other load disturbs them less). Effective draws: the smallest bulk ESS of a share",
            "(NUTS), the smallest `effectiveSize` of a variance (MCMCglmm), Kong's size (importance sampling, whose",
            "Sobol points have smaller errors).\n",
            *table(
                ["step", "seconds", "processor seconds", "peak MB", "effective draws", "a second", "quality"], lines
            ),
            "\nTwo workers are faster than one by these factors, as measured, and by processor seconds, of which the "
            "main",
            "thread alone has its own (what would be without other load): "
            f"gryphon {gains[0]}; two kinships {gains[1]}.",
            peer,
            "\nThe tutorial of the same model (github.com/JulienGAMartin/wam_tuto, commit 5e24b1d) prints for brms a",
            "smallest bulk ESS of 32 (animal; R-hat 1.08), for MCMCglmm modes of 1,000 draws, and no times.\n",
        ]
    )


if __name__ == "__main__":
    main()
