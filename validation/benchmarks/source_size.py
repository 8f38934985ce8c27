"""Time the whole job at the size of the source report, each step against a floor or a peer of the same run.

Every step runs in a process of its own: its peak memory is that process's (``os.wait4``), and JAX, which caches what
it compiled within a process, compiles each time. A step and what it is compared with alternate, ``--repeats`` times;
times are medians, memory is the largest. Times of ``bayeslmm grm``, ``bayeslmm h2`` and plink2 are those of the whole
process with its imports and files; times of the other steps leave imports and reading their input out. This process
imports the standard library only, since a child's peak begins with the memory of its parent.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from processes import Row, alternate, ratio_to, table
from source_steps import PCS, TRAITS

VALIDATION = Path(__file__).resolve().parents[1]
STEPS = Path(__file__).with_name("source_steps.py")
MEMORY_TARGET_MB = 2500


def benchmark(data: Path, *, repeats: int, skip_peer: bool) -> Row:
    """Run all steps; return the rows of the tables."""
    bfile, pheno, out = (str(data / name) for name in ("cohort", "pheno.tsv", "h2"))
    bayeslmm = [sys.executable, "-m", "bayeslmm"]
    loads = [os.getloadavg()]
    reading, kinship, updates = alternate(
        {
            "bed-reader, all blocks": _step("read_blocks", data),
            "bayeslmm grm": [*bayeslmm, "grm", "--bfile", bfile, "--out", bfile, "--overwrite"],
            "ssyrk, float32": _step("rank_k_updates", data),
        },
        repeats,
    )
    peers, notes = [], []
    if skip_peer or not shutil.which("plink2"):
        notes.append(f"plink2 was {'skipped' if skip_peer else 'not found'}: the kinship step has no ratio to a peer.")
    else:
        command = ["plink2", "--bfile", bfile, "--make-rel", "bin4", "--threads", str(os.cpu_count())]
        command += ["--out", str(data / "plink2")]
        peers = alternate({"plink2 --make-rel bin4": command}, 1)
    kinship["ratios"] = [ratio_to(kinship, updates, 1.25), *(ratio_to(kinship, peer, 0.45) for peer in peers)]

    decomposition, eigh = alternate(
        {"bayeslmm.decompose": _step("decompose", data), "scipy.linalg.eigh, evd": _step("bare_eigh", data)}, repeats
    )
    decomposition["ratios"] = [ratio_to(decomposition, eigh, 1.1)]

    programs = {f"bayeslmm.sample, {trait}": _step("nuts", data, trait) for trait in TRAITS}
    *draws, floor = alternate({**programs, "bayeslmm.sample, 2-d Gaussian": _step("gaussian", data)}, repeats)
    for row in draws:
        row["ratios"] = [ratio_to(row, floor, 2.5)]

    command = [*bayeslmm, "h2", "--bfile", bfile, "--pheno", pheno, "--trait", *TRAITS]
    (whole,) = alternate({"bayeslmm h2, four traits": [*command, "--pcs", str(PCS), "--out", out, "--overwrite"]}, 1)
    memory = whole["peak_rss_mb"] / MEMORY_TARGET_MB
    whole["ratios"] = [{"to": f"{MEMORY_TARGET_MB:,} MB", "ratio": memory, "target": 1.0, "met": memory <= 1}]
    record = json.loads((data / "h2" / "run.json").read_text())
    truth = json.loads((data / "truth.json").read_text())
    return {
        "cohort": truth,
        "machine": {"cpus": os.cpu_count(), "load_averages": [*loads, os.getloadavg()]},
        "versions": record["versions"],
        "repeats": repeats,
        "notes": notes,
        "steps": [reading, updates, *peers, kinship, eigh, decomposition, floor, *draws, whole],
        "h2_seconds": record["seconds"],
        "estimates": _against_truth(data / "h2" / "estimates.tsv", truth["traits"]),
    }


def _step(name: str, data: Path, trait: str = TRAITS[0]) -> list[str]:
    return [sys.executable, str(STEPS), name, str(data), trait]


def _against_truth(path: Path, truth: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    rows: list[Row] = []
    with path.open() as stream:
        for row in csv.DictReader(stream, delimiter="\t"):
            if (true := truth[row["trait"]].get(row["parameter"])) is not None:
                numbers = {name: float(row[name]) for name in ("estimate", "se", "lower", "upper") if row[name] != "NA"}
                covers = numbers["lower"] <= true <= numbers["upper"]
                names = {name: row[name] for name in ("trait", "parameter", "method")}
                rows.append({**names, "truth": true, **numbers, "covers": covers})
    return sorted(rows, key=lambda row: (row["trait"], row["parameter"]))


def report(result: Row) -> str:
    """Return the tables as Markdown."""
    cohort, machine = result["cohort"], result["machine"]
    times: list[list[str]] = []
    for row in result["steps"]:
        cells = [row["step"], f"{row['seconds']:.2f}", f"{row['peak_rss_mb']:,.0f}"]
        for ratio in row["ratios"]:
            target = f"{ratio['target']:g}: {'met' if ratio['met'] else 'NOT MET'}"
            times.append([*cells, f"{ratio['ratio']:.2f}", ratio["to"], target])
            cells = ["", "", ""]
        times += [] if row["ratios"] else [[*cells, "", "", ""]]
    names = ("ess", "ess_per_second", "r_hat", "divergences", "leapfrog_steps")
    draws = [[row["step"], *(f"{row[name]:,.4g}" for name in names)] for row in result["steps"] if "ess" in row]
    estimates = [
        [
            *(row[name] for name in ("trait", "parameter", "method")),
            *(f"{row.get(name, float('nan')):.4f}" for name in ("truth", "estimate", "se")),
            f"{row['lower']:.4f} to {row['upper']:.4f}",
            "yes" if row["covers"] else "NO",
        ]
        for row in result["estimates"]
    ]
    loads = " and ".join(f"{load[0]:.2f}" for load in machine["load_averages"])
    inside = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["h2_seconds"].items())
    lines = [
        f"# {cohort['people']:,} people, {cohort['markers']:,} markers\n",
        f"{machine['cpus']} processors, load {loads} before and after; medians of {result['repeats']} runs "
        "(plink2 and the one command: one run).\n",
        *table(["step", "seconds", "peak MB", "ratio", "to", "target"], times),
        *(f"\n{note}" for note in result["notes"]),
        f"\nSeconds within `bayeslmm h2`: {inside}.\n",
        *table(["draws", "bulk ESS", "ESS per second", "R-hat", "divergences", "leapfrog steps"], draws),
        "",
        *table(["trait", "parameter", "method", "truth", "estimate", "se or sd", "95%", "covers"], estimates),
    ]
    return "\n".join(lines)


def main() -> None:
    """Read the options, make the cohort if it is absent, run the benchmark, write its tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=5123, metavar="N")
    parser.add_argument("--markers", type=int, default=319_147, metavar="P")
    parser.add_argument("--data", type=Path, metavar="DIR", help="of source_cohort.py, which makes it if absent")
    parser.add_argument("--results", type=Path, default=VALIDATION / "results", metavar="DIR")
    parser.add_argument("--repeats", type=int, default=3, metavar="N")
    parser.add_argument("--skip-peer", action="store_true", help="do not run plink2")
    options = parser.parse_args()
    data = options.data or VALIDATION / "work" / f"source_{options.people}_{options.markers}"
    if not (data / "truth.json").exists():
        size = ["--people", str(options.people), "--markers", str(options.markers)]
        subprocess.run([sys.executable, VALIDATION / "source_cohort.py", "--out", data, *size], check=True)
    result = benchmark(data, repeats=options.repeats, skip_peer=options.skip_peer)
    options.results.mkdir(parents=True, exist_ok=True)
    (options.results / "source_size.json").write_text(json.dumps(result, indent=1) + "\n")
    (options.results / "source_size.md").write_text(report(result) + "\n")
    print(report(result))


if __name__ == "__main__":
    main()
