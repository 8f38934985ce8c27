"""20,000 traits of 1,410 mice at once, files included, against functions of one trait and glimix-core a trait.

``many_traits.py command`` measures `bayeslmm h2 --all-traits` and glimix-core, and writes a table of its own.

Each step runs in a process of its own (``many_traits.py STEP`` is what it runs). The traits are simulated with h2 from
0 to 0.95 on the kinship of the mice; in the second table a tenth of them lack 0.2 to 5% of their values, each its own.
"""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from processes import Row, alternate, table

ROOT = Path(__file__).resolve().parents[2]
MOUSE = ROOT / "validation" / "data" / "mouse_hs1940" / "mouse_hs1940"
WORK = ROOT / "validation" / "work" / "many_traits"
TRAITS, ONE, PEER = 20_000, 200, 40
STEPS = {
    "complete": f"{TRAITS:,} complete traits: genotypes and traits read, K, REML, posteriors, tests, table written",
    "holed": "the same, a tenth of them with missing values of their own",
    "one": f"`bl.reml` and `bl.exact.posterior`, {ONE} of these traits, one after the other",
    "peer": f"glimix-core LMM, REML, {PEER} of these traits, K decomposed once for all",
}


def simulate() -> None:
    """Write the traits, complete and with missing values."""
    import numpy as np
    import pandas as pd

    import bayeslmm as bl

    WORK.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(18)
    phenotypes = pd.read_csv(MOUSE.with_name("pheno.tsv"), sep="\t", dtype={"IID": str})
    ids = phenotypes.loc[phenotypes["CD8"].notna(), "IID"].tolist()
    K = bl.genomic_kinship(MOUSE, scale="sample", maf=0.01, geno=0.05)
    rows = [K.ids.index(name) for name in ids]
    root = np.linalg.cholesky(K.dense()[np.ix_(rows, rows)] + 1e-8 * np.eye(len(rows)))
    h2 = rng.choice([0.0, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 0.95], TRAITS)
    genetic, residual = (rng.standard_normal((len(ids), TRAITS)) for _ in range(2))
    Y = root @ (genetic * np.sqrt(h2)) + residual * np.sqrt(1 - h2)
    names = [f"t{j + 1:05d}" for j in range(TRAITS)]
    index = pd.Index(ids, name="id")
    pd.DataFrame(Y, index, names).to_parquet(WORK / "complete.parquet")
    for j in rng.choice(TRAITS, TRAITS // 10, replace=False):
        Y[rng.random(len(ids)) < rng.uniform(0.002, 0.05), j] = np.nan
    pd.DataFrame(Y, index, names).to_parquet(WORK / "holed.parquet")


def all_traits(which: str) -> Row:
    """Analyse all traits, from files to a file; tell the seconds of parts."""
    import pandas as pd

    import bayeslmm as bl

    begun = time.perf_counter()
    K = bl.genomic_kinship(MOUSE, scale="sample", maf=0.01, geno=0.05)
    traits = pd.read_parquet(WORK / f"{which}.parquet")
    read = time.perf_counter()
    many = bl.fit_many(traits, kinship=K)
    many.estimates.to_parquet(WORK / f"estimates_{which}.parquet")
    return {"seconds": time.perf_counter() - begun, "files": read - begun, "fitted": TRAITS}


def command(which: str) -> Row:
    """Analyse all traits by the command line, from files to tables, pictures and a report."""
    from bayeslmm.commands.main import main as bayeslmm

    begun = time.perf_counter()
    typed = ["h2", "--bfile", str(MOUSE), "--scale", "sample", "--pheno", str(WORK / f"{which}.parquet"), "--id", "id"]
    code = bayeslmm([*typed, "--all-traits", "--overwrite", "--quiet", "--out", str(WORK / f"command_{which}")])
    return {"seconds": time.perf_counter() - begun, "code": code, "fitted": TRAITS}


def measure_command() -> None:
    """Measure the command, and write its table."""
    if not (WORK / "complete.parquet").exists():
        simulate()
    load = os.getloadavg()[0]
    steps = {"command_complete": "the command, complete traits", "command_holed": "a tenth lack values of their own"}
    steps |= {"command_peer": STEPS["peer"]} if importlib.util.find_spec("glimix_core") else {}
    one_thread = ["env", "OMP_NUM_THREADS=1", "OPENBLAS_NUM_THREADS=1"]  # its seconds are then those of a processor
    commands = {
        step: [*(one_thread if step == "command_peer" else []), sys.executable, __file__, step] for step in steps
    }
    rows = alternate(commands, 1)
    each = [row["seconds" if row["step"] == "command_peer" else "cpu_seconds"] / row["fitted"] for row in rows]
    lines = [
        [
            steps[row["step"]],
            f"{row['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_rss_mb']:,.0f}",
            f"{1e3 * cost:.3g}",
            f"{cost / each[0]:.3g}",
        ]
        for row, cost in zip(rows, each, strict=True)
    ]
    text = [
        "# Thousands of traits by one command",
        "",
        f"`bayeslmm h2 --all-traits`, {TRAITS:,} traits of 1,410 mice in Parquet, genotypes in PLINK 1; from files to",
        f"tables, pictures and report. {os.cpu_count()} processors, load {load:.2f} before; one run each.",
        "CPU seconds are those of whole processes: other load disturbs them less. Those a trait are of fits alone for",
        "glimix-core, which takes K decomposed, and of everything for the command.",
        "",
        *table(["step", "seconds", "CPU seconds", "peak MB", "CPU ms a trait", "times the first"], lines),
    ]
    if len(rows) > 2:
        text += ["", f"REML of h2 by glimix-core differs by at most {rows[2]['reml']:.1g}."]
    (ROOT / "validation" / "results" / "many_traits_command.md").write_text("\n".join(text) + "\n")


def one_trait() -> Row:
    """Analyse some traits one after the other; tell the largest differences from all at once."""
    import numpy as np
    import pandas as pd

    import bayeslmm as bl

    names, spectrum, Y = chosen(ONE)
    at_once = pd.read_parquet(WORK / "estimates_complete.parquet").loc[names]
    reml = posterior = 0.0
    begun = time.perf_counter()
    for j, (_, row) in enumerate(at_once.iterrows()):
        data = spectrum.rotate(Y[:, j : j + 1], np.ones((len(Y), 1)))
        fit, exact = bl.reml(data), bl.exact.posterior(data)
        for name in ("h2", "pve", "sigma2_u", "sigma2_e"):
            marginal = getattr(exact, name)
            reml = max(reml, abs(getattr(fit, name) - row[f"{name}_reml"]))
            ours = [marginal.mean, marginal.sd, *marginal.interval()]
            theirs = [row[f"{name}_{what}"] for what in ("mean", "sd", "lower", "upper")]
            posterior = max(posterior, float(np.abs(np.subtract(ours, theirs)).max()) / marginal.sd)
    return {"seconds": time.perf_counter() - begun, "fitted": ONE, "reml": reml, "posterior": posterior}


def peer(estimates: Path) -> Row:
    """Fit some traits by REML with glimix-core, which takes K decomposed; compare with a table of all."""
    import numpy as np
    import pandas as pd
    from glimix_core.lmm import LMM  # pyright: ignore[reportMissingImports] (an extra)

    names, spectrum, Y = chosen(PEER)
    at_once = pd.read_parquet(estimates)
    at_once = (at_once.set_index("trait") if "trait" in at_once else at_once).loc[names]
    given = ((spectrum.U,), spectrum.s)
    apart, seconds = 0.0, 0.0
    for y, expected in zip(Y.T, at_once["h2_reml"], strict=True):
        begun = time.perf_counter()
        model = LMM(y, np.ones((len(y), 1)), given, restricted=True)
        model.fit(verbose=False)
        seconds += time.perf_counter() - begun
        apart = max(apart, abs(model.v0 / (model.v0 + model.v1) - expected))
    return {"seconds": seconds, "fitted": PEER, "reml": apart}


def chosen(count: int) -> tuple[list[str], Any, Any]:
    """Return names of random traits, the spectrum of K, and their values."""
    import numpy as np
    import pandas as pd

    import bayeslmm as bl

    every = [f"t{j + 1:05d}" for j in range(TRAITS)]
    names = sorted(np.random.default_rng(1).choice(every, count, replace=False).tolist())
    traits = pd.read_parquet(WORK / "complete.parquet", columns=names)
    K = bl.genomic_kinship(MOUSE, scale="sample", maf=0.01, geno=0.05)
    rows = [K.ids.index(str(name)) for name in traits.index]
    return names, bl.decompose(K.dense()[np.ix_(rows, rows)]), traits.to_numpy()


def main() -> None:
    """Run all steps and write the table."""
    if not (WORK / "holed.parquet").exists():
        simulate()
    skipped = [] if importlib.util.find_spec("glimix_core") else ["peer"]
    load = os.getloadavg()[0]
    steps = {step: [sys.executable, __file__, step] for step in STEPS if step not in skipped}
    rows = {row["step"]: row for row in alternate(steps, 1)}
    each = {step: row["cpu_seconds"] / row["fitted"] for step, row in rows.items()}
    lines = [
        [
            STEPS[step],
            f"{row['seconds']:.1f}",
            f"{row['cpu_seconds']:.1f}",
            f"{row['peak_rss_mb']:,.0f}",
            f"{1e3 * each[step]:.3g}",
            f"{each[step] / each['complete']:.3g}",
        ]
        for step, row in rows.items()
    ]
    one = rows["one"]
    text = [
        "# Thousands of traits at once",
        "",
        f"{os.cpu_count()} processors, load {load:.2f} before; one run. {TRAITS:,} traits of 1,410 mice, an intercept.",
        "CPU seconds are those of whole processes, start and K included: other load disturbs them less.",
        "",
        *table(["step", "seconds", "CPU seconds", "peak MB", "CPU ms a trait", "times all at once"], lines),
        "",
        f"Largest differences from functions of one trait, in {ONE} random traits: {one['reml']:.1g} of REML (h2, pve",
        f"and variances), {one['posterior']:.1g} posterior sd of means, sds and ends of 95% intervals.",
    ]
    if skipped:
        text.append("glimix-core is not installed: its row is missing.")
    else:
        text.append(f"REML of h2 by glimix-core differs by at most {rows['peer']['reml']:.1g}.")
    (ROOT / "validation" / "results" / "many_traits.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    steps = {
        "command_complete": lambda: command("complete"),
        "command_holed": lambda: command("holed"),
        "command_peer": lambda: peer(WORK / "command_complete" / "estimates.parquet"),
        "complete": lambda: all_traits("complete"),
        "holed": lambda: all_traits("holed"),
        "one": one_trait,
        "peer": lambda: peer(WORK / "estimates_complete.parquet"),
    }
    if sys.argv[1:] == ["command"]:
        measure_command()
    elif len(sys.argv) > 1:
        print(json.dumps(steps[sys.argv[1]]()))
    else:
        main()
