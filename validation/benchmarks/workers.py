"""Passes over genotypes on workers: how fast two are against one, and what is left of a run when they are killed.

Passes of random genotypes are measured in one process, one kind after the other in each round. Then `bayeslmm h2` runs
whole on a smaller cohort: in one process, on two workers, on two of which one is killed (SIGKILL) in the middle, and
on two with everything killed (SIGKILL) in the middle and `--resume`: the bytes of `estimates.tsv` are compared. Some
ten minutes of two processors, 0.1 GB of disk.
"""

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pandas as pd
from processes import run, table

import bayeslmm as bl
from bayeslmm.base.threads import environment_of, threads_allowed
from bayeslmm.kinship.cluster_passes import cluster_passes

RESULTS = Path(__file__).resolve().parents[1] / "results"
COLUMNS = 37  # of a pass: 32 probes, the trait, an intercept and their like
PASSES = (20_000, 16_760)  # people and markers of the passes that are measured
WHOLE = (1_000, 8_380)  # and of the whole command
ROUNDS = 2


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=[*PARTS], help="what is measured; all by default")
    parser.add_argument("--out", type=Path, default=RESULTS, metavar="DIR", help="folder of the results")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # passes, in a process of its own
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured(options.measure)))
        return
    for name, part in PARTS.items():
        if name in options.parts:
            with tempfile.TemporaryDirectory() as folder:
                lines = part(Path(folder), os.getloadavg()[0])
            (options.out / f"{name}.md").write_text("\n".join(lines) + "\n")
            print("\n".join(lines))


def _set(threads: int) -> list[str]:
    return [f"{name}={value}" for name, value in environment_of(threads).items()]


def _write(prefix: Path, n: int, p: int) -> None:
    """Write genotypes of unrelated people at independent markers, of frequencies 0.25 and 0.5, as they are packed."""
    rng, width = np.random.default_rng(5), n // 4
    assert n % 4 == 0
    with prefix.with_suffix(".bed").open("wb") as stream:
        stream.write(b"\x6c\x1b\x01")
        for j in range(p):
            one, other, rarer, rarest = rng.integers(0, 256, (4, width), dtype=np.uint8) & 0x55
            if j % 2:
                one, other = one & rarer, other & rarest
            stream.write(((one & other) | (one | other) << 1).tobytes())  # codes 0, 2 and 3: 2, 1 and 0 copies
    prefix.with_suffix(".bim").write_text("".join(f"1\tm{j}\t0\t{j + 1}\tA\tC\n" for j in range(p)))
    prefix.with_suffix(".fam").write_text("".join(f"p{i} p{i} 0 0 0 -9\n" for i in range(n)))


def _measured(prefix: Path) -> dict[str, list[float] | float | bool]:
    """Return seconds of passes on the threads that are allowed; and with one of them on workers, and their memory."""
    K = bl.genotype_products(prefix)
    V = np.random.default_rng(1).standard_normal((len(K.ids), COLUMNS))
    exact = K @ V  # which counts
    if threads_allowed() > 1:
        return {"here": [_seconds(lambda: K @ V) for _ in range(ROUNDS)]}
    with ExitStack() as stack:
        one = stack.enter_context(cluster_passes("local"))
        os.environ["OMP_NUM_THREADS"] = "2"  # the number of workers that are started
        two = stack.enter_context(cluster_passes("local"))
        os.environ["OMP_NUM_THREADS"] = "1"
        assert (one.threads, two.threads) == (1, 2)
        kinds = {"here": K, "one": K.by(one), "two": K.by(two)}
        same = all((kind @ V == exact).all() for kind in kinds.values())
        seconds: dict[str, list[float]] = {name: [] for name in kinds}
        for _ in range(ROUNDS):
            for name, kind in kinds.items():
                seconds[name].append(_seconds(lambda kind=kind: kind @ V))
        memory = two._client.run(_peak)
        return {**seconds, "same": bool(same), "mb_worker": max(memory.values()), "mb_here": _peak()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _passes(folder: Path, load: float) -> list[str]:
    """Return how long passes take."""
    n, p = PASSES
    _write(folder / "x", n, p)
    command = [sys.executable, __file__, "--measure", str(folder / "x")]
    found, both = (run(["env", *_set(threads), *command]) for threads in (1, 2))
    rows = {
        "in one process, one thread": found["here"],
        "in one process, two threads": both["here"],
        "one worker of one thread": found["one"],
        "two workers of one thread each": found["two"],
    }
    alone = found["one"]
    ratios = [a / b for a, b in zip(alone, found["two"], strict=True)]
    return [
        "# Passes over genotypes on workers",
        "",
        f"Made by `validation/benchmarks/workers.py` on a machine of {os.cpu_count()} processors that others used too "
        f"(load {load:.1f}",
        f"before). A pass multiplies {COLUMNS} columns with the kinship of a `.bed` of {n:,} people and {p:,} markers; "
        f"{ROUNDS} rounds of each,",
        "those of one thread one after the other in each round, after passes that count the markers.",
        "",
        *table(
            ["pass", "fastest, s", "median, s", "one worker takes so many times as long"],
            [
                [name, f"{min(times):.2f}", f"{np.median(times):.2f}", f"{np.median(alone) / np.median(times):.2f}"]
                for name, times in rows.items()
            ],
        ),
        "",
        f"Two workers against one: {min(alone) / min(found['two']):.2f} times faster by the fastest passes, "
        f"{np.median(ratios):.2f} by the median of rounds",
        f"({min(ratios):.2f} to {max(ratios):.2f}); 1.6 was to be reached. Products of one process, one worker and two "
        f"have {'the same digits' if found['same'] else 'OTHER DIGITS'}.",
        f"Peak memory: {found['mb_worker']:,.0f} MB of a worker, {found['mb_here']:,.0f} MB of the process that adds "
        "up.",
    ]


def _whole(folder: Path, load: float) -> list[str]:
    """Return what becomes of the whole command when something is killed."""
    prefix = folder / "y"
    _write(prefix, *WHOLE)
    K, rng = bl.genotype_products(prefix), np.random.default_rng(2)
    g = K @ rng.standard_normal((len(K.ids), 1))
    y = (g / g.std() + rng.standard_normal(g.shape))[:, 0]
    values = "".join(f"{name}\t{value:.6f}\n" for name, value in zip(K.ids, y, strict=True))
    (folder / "pheno.tsv").write_text(f"IID\ty\n{values}")
    h2 = [sys.executable, "-m", "bayeslmm", "h2", "--bfile", str(prefix), "--pheno", str(folder / "pheno.tsv")]
    h2 += ["--trait", "y", "--methods", "reml", "exact", "--no-plots"]
    here, there = ["--kinship-as", "products", "--threads", "1"], ["--cluster", "local", "--threads", "2"]
    ways: dict[str, Callable[[Path], str]] = {
        "on two workers": lambda out: _run([*h2, *there, "--out", str(out)]),
        "on two workers, one killed after the second product": lambda out: _killed([*h2, *there], out, workers=True),
        "on two workers, all killed after the third product, then `--resume`": lambda out: _killed([*h2, *there], out),
        "in one process, one thread": lambda out: _run([*h2, *here, "--out", str(out)]),
    }
    rows, first = [], folder / "out0"
    for number, (name, way) in enumerate(ways.items()):
        out = folder / f"out{number}"
        begun = time.perf_counter()
        told = way(out)
        rows.append([name, f"{time.perf_counter() - begun:.0f}", _apart(first, out), told])
        print(rows[-1], flush=True)
    return [
        "# Runs on workers of which something is killed",
        "",
        "Made by `validation/benchmarks/workers.py`: `bayeslmm h2 --methods reml exact --cluster local --threads 2` of",
        f"{WHOLE[0]:,} people and {WHOLE[1]:,} markers, on a machine of {os.cpu_count()} processors that others used "
        f"too (load {load:.1f} before).",
        "Killed is `kill -9`, half a second after a product was kept, while further passes are made.",
        "",
        *table(["run", "seconds", "its `estimates.tsv` and that of the first", "what happened"], rows),
        "",
        "One thread and two differ in the rounding of the linear algebra of the process that adds up, which float32 in",
        "passes enlarges; workers do not matter.",
    ]


def _apart(first: Path, other: Path) -> str:
    """Say whether the estimates of two runs have the same bytes, or how far they are apart."""
    one, two = (folder / "estimates.tsv" for folder in (first, other))
    if one.read_bytes() == two.read_bytes():
        return "the same bytes"
    a, b = (pd.read_csv(path, sep="\t").select_dtypes("number").to_numpy() for path in (one, two))
    return f"differ by {np.nanmax(np.abs(a / b - 1)):.0e} at most"


def _run(command: list[str]) -> str:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return ""


def _killed(command: list[str], out: Path, *, workers: bool = False) -> str:
    """Kill a worker, or the whole run, in the middle of a pass; let it go on."""
    process = subprocess.Popen([*command, "--out", str(out)], stdout=subprocess.DEVNULL)
    made = 2 if workers else 3
    while len(list(out.glob("products/*.product"))) < made:
        assert process.poll() is None, "the run was over before anything was killed"
        time.sleep(0.02)
    time.sleep(0.5)
    of_workers = _workers(process.pid)
    assert len(of_workers) == 2
    os.kill(of_workers[0] if workers else process.pid, signal.SIGKILL)
    if workers:
        assert process.wait() == 0
        return "the run went on by itself"
    process.wait()
    begun = time.perf_counter()
    while any(_runs(pid) for pid in of_workers) and time.perf_counter() < begun + 60:
        time.sleep(0.1)
    gone = not any(_runs(pid) for pid in of_workers)
    kept = len(list(out.glob("products/*.product")))
    subprocess.run([*command, "--out", str(out), "--resume"], check=True, stdout=subprocess.DEVNULL)
    after = f"{time.perf_counter() - begun:.0f} s after they were killed" if not gone else "its workers ended with it"
    return f"{after}; {kept} products were there to go on from"


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _workers(pid: int) -> list[int]:
    """Return the processes that a run has started as workers."""
    command = ["ps", "-o", "pid=,args=", "--ppid", str(pid)]
    children = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in children.splitlines() if "spawn_main" in line]


PARTS = {"workers": _passes, "workers_killed": _whole}
"""By the name of their file of results."""

if __name__ == "__main__":
    main()
