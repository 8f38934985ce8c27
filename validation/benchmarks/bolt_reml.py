"""The posterior of h2 of 50,000 people at 100,000 markers, against the point estimate of BOLT-REML in the same run.

People are those of ``source_cohort.py``: three populations, linkage disequilibrium, traits of known truth; the
population is a covariate. `bayeslmm h2` runs with all its defaults (REML, the exact posterior and NUTS, pictures and a
report), `bolt --reml` with its own, on as many threads. BOLT-REML is stopped after ``--limit`` times the processors'
seconds of bayeslmm, and is then "over". Each runs once: the longer one takes more than an hour. The race is by seconds
of processors, with those of the clock beside them, as they suffer less from what else a machine does.
"""

import argparse
import csv
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from processes import Row, run, table

VALIDATION = Path(__file__).resolve().parents[1]
TRAIT = "T2"
MEMORY_TARGET_GB = 8
TIMES_TARGET = 10
BLOCK = 10  # 40,000 markers are as good as independent: about what human arrays have, so that K is near its diagonal


def main() -> None:
    """Read the options, make the cohort if it is absent, run both programs, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=50_000, metavar="N")
    parser.add_argument("--markers", type=int, default=100_000, metavar="P")
    parser.add_argument("--data", type=Path, metavar="DIR", help="of source_cohort.py, which makes it if absent")
    parser.add_argument("--limit", type=float, default=10.5, metavar="TIMES", help="ours, when BOLT-REML is stopped")
    parser.add_argument("--results", type=Path, default=VALIDATION / "results", metavar="DIR")
    options = parser.parse_args()
    data = options.data or VALIDATION / "work" / f"source_{options.people}_{options.markers}"
    if not (data / "truth.json").exists():
        size = ["--people", str(options.people), "--markers", str(options.markers), "--block", str(BLOCK)]
        subprocess.run([sys.executable, VALIDATION / "source_cohort.py", "--out", data, *size], check=True)
    load = os.getloadavg()[0]
    ours = run(_bayeslmm(data))
    print(f"bayeslmm: {ours['seconds']:.0f} s", flush=True)
    bolt = _bolt(data, options.limit * ours["cpu_seconds"])
    lines = _report(data, ours, bolt, load)
    (options.results / "bolt_reml.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _bayeslmm(data: Path) -> list[str]:
    command = [sys.executable, "-m", "bayeslmm", "h2", "--bfile", data / "cohort", "--pheno", data / "pheno.tsv"]
    command += ["--covar", data / "population.tsv", "--trait", TRAIT, "--out", data / "bolt_reml_h2", "--overwrite"]
    return [str(word) for word in [*command, "--kinship-as", "products"]]


def _bolt(data: Path, limit: float) -> Row:
    """Run BOLT-REML within a limit of processors' seconds; return what it took and its estimate, None if stopped."""
    command = ["bolt", "--reml", "--bfile", data / "cohort", "--phenoFile", data / "pheno.tsv", "--phenoCol", TRAIT]
    command += ["--covarFile", data / "population.tsv", "--covarCol", "population"]
    command += ["--numThreads", os.cpu_count(), "--maxModelSnps", 400_000]
    begun, log = time.perf_counter(), data / "bolt_reml.log"
    with log.open("w") as stream:
        process = subprocess.Popen([str(word) for word in command], stdout=stream, stderr=stream)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0] and _cpu_seconds(process.pid) < limit:
            time.sleep(0.2)
        if not ended[0]:
            process.kill()
            ended = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    told = log.read_text()
    if process.returncode not in (0, -9):
        raise SystemExit(f"bolt failed with exit status {process.returncode}:\n{told[-2000:]}")
    found = re.search(r"h2g \(1,1\): (\S+) \((\S+)\)", told) if not process.returncode else None
    return {
        "seconds": time.perf_counter() - begun,
        "cpu_seconds": ended[2].ru_utime + ended[2].ru_stime,
        "peak_rss_mb": ended[2].ru_maxrss / 1024,
        "h2": float(found[1]) if found else None,
        "se": float(found[2]) if found else None,
    }


def _cpu_seconds(pid: int) -> float:
    """Return the processors' seconds of a process that runs."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _report(data: Path, ours: Row, bolt: Row, load: float) -> list[str]:
    record = json.loads((data / "bolt_reml_h2" / "run.json").read_text())
    truth = json.loads((data / "truth.json").read_text())
    with (data / "bolt_reml_h2" / "estimates.tsv").open() as stream:
        rows = [row for row in csv.DictReader(stream, delimiter="\t") if row["parameter"] == "h2"]
    over = "over " if bolt["h2"] is None else ""
    times, gb = bolt["cpu_seconds"] / ours["cpu_seconds"], ours["peak_rss_mb"] / 1e3
    summary = record["traits"][TRAIT]
    lines = [
        f"# {truth['people']:,} people, {truth['markers']:,} markers: a posterior, and BOLT-REML's estimate",
        "",
        f"Made by `validation/benchmarks/bolt_reml.py` on {os.cpu_count()} processors (load {load:.1f} before): "
        f"`bayeslmm h2` with all defaults,",
        f"`bolt --reml` with its own. The true h2 of {TRAIT} is {truth['traits'][TRAIT]['h2']:.4f}.",
        "",
        *table(
            ["program", "seconds", "times ours", "seconds of processors", "times ours", "peak memory", "h2"],
            [
                [
                    "`bayeslmm h2`",
                    f"{ours['seconds']:.0f}",
                    "1",
                    f"{ours['cpu_seconds']:.0f}",
                    "1",
                    f"{gb:.1f} GB",
                    _ours(rows),
                ],
                [
                    "`bolt --reml`",
                    f"{over}{bolt['seconds']:.0f}",
                    f"{over}{bolt['seconds'] / ours['seconds']:.1f}",
                    f"{over}{bolt['cpu_seconds']:.0f}",
                    f"{over}{times:.1f}",
                    f"{bolt['peak_rss_mb'] / 1e3:.1f} GB",
                    f"{bolt['h2']} ± {bolt['se']}" if bolt["h2"] is not None else "stopped",
                ],
            ],
        ),
        "",
        f"{summary['passes']} passes over the genotypes; the Monte Carlo error is {summary['probe_error']:.3f}",
        f"posterior sd of h2. Targets: at least {TIMES_TARGET} times faster by seconds of processors "
        f"({_met(times >= TIMES_TARGET)}), below {MEMORY_TARGET_GB} GB ({_met(gb < MEMORY_TARGET_GB)}).",
        "",
        "Seconds of the steps of bayeslmm: "
        + ", ".join(f"{name} {seconds:.0f}" for name, seconds in record["seconds"].items())
        + ".",
    ]
    return lines


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


def _ours(rows: list[dict[str, str]]) -> str:
    return "; ".join(f"{row['method']} {float(row['estimate']):.4f} ± {float(row['se']):.4f}" for row in rows)


if __name__ == "__main__":
    main()
