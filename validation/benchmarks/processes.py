"""Measure commands: each in a process of its own, seconds and peak memory. Standard library only (see `run`)."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

DIAGNOSTICS_FAILED = 3  # how `bayeslmm h2` exits then: its results are there all the same

Row = dict[str, Any]


def ratio_to(row: Row, floor: Row, target: float) -> Row:
    """Return how many times the seconds of a floor or a peer a step takes."""
    ratio = row["seconds"] / floor["seconds"]
    return {"to": floor["step"], "ratio": ratio, "target": target, "met": ratio <= target}


def alternate(commands: Mapping[str, Sequence[str]], repeats: int) -> list[Row]:
    """Run commands one after the other, so many rounds of them; return a row for each."""
    runs: dict[str, list[Row]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(run(command))
            print(f"  {name}: {runs[name][-1]['seconds']:.2f} s", file=sys.stderr)
    rows: list[Row] = []
    for name, results in runs.items():
        row = {key: statistics.median(result[key] for result in results) for key in results[0]}
        row |= {"step": name, "peak_rss_mb": max(result["peak_rss_mb"] for result in results)}
        rows.append(row | {"runs": [result["seconds"] for result in results], "ratios": []})
    return rows


def run(command: Sequence[str]) -> Row:
    """Return seconds (the step's own where it tells them), peak memory in MB and what else the step tells.

    A step tells by printing JSON as its last line.
    """
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    told = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    row = {"seconds": time.perf_counter() - begun, "peak_rss_mb": usage.ru_maxrss / 1024}
    row["cpu_seconds"] = usage.ru_utime + usage.ru_stime  # of the whole process: other load disturbs it less
    if process.returncode not in (0, DIAGNOSTICS_FAILED):
        raise SystemExit(f"{' '.join(command)} failed with exit status {process.returncode}:\n{told}")
    last = told.splitlines()[-1] if told.strip() else ""
    return row | (json.loads(last) if last.startswith("{") else {})


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a table as lines of Markdown."""
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]
