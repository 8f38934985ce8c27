"""What a pass over genotypes costs, against the bare matrix products of as many numbers.

Passes over a ``.bed`` of up to 500,000 people, each in a process of its own. Writes a table to ``results/passes.md``;
five minutes of two processors.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy import ndarray

import bayeslmm as bl
from bayeslmm.base.threads import threads_allowed
from bayeslmm.genotypes.streamed import block_of

VALIDATION = Path(__file__).resolve().parents[1]
SIZES = (5_000, 10_000, 20_000, 50_000, 100_000, 500_000)
COLUMNS = 36  # of a pass: 32 probes, the trait, an intercept and their like
REPEATS = 3
SUMMARISED = 50_000  # people at most: a few markers of more of them are a kinship unlike any


def main() -> None:
    """Measure the passes and write their table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--read", type=int, default=2_000, metavar="P", help="markers of a pass that is measured")
    parser.add_argument("--seed", type=int, default=71, metavar="N", help="of the genotypes")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # one row, in a process of its own
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured_pass(options.measure)))
        return
    (options.out / "passes.md").write_text("\n".join(_passes(options)) + "\n")


def _passes(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table of passes, as each of its rows is there."""
    yield from (
        "# Passes over genotypes",
        "",
        f"Made by `validation/benchmarks/passes.py`: {COLUMNS} columns are multiplied with the kinship of a `.bed` of",
        f"{options.read:,} markers, after a first pass, on {threads_allowed()} threads; the bare products are W'(W V)",
        f"of as many random float32 numbers in memory; the fastest of {REPEATS} each. A whole summary is of one trait",
        "with an intercept. Memory is the highest of the process, Python and libraries among it.",
        "",
        "| people | seconds for a pass | of 100,000 markers | bare products | ratio | whole summary: passes | seconds "
        "| error stated | memory |",
        "|---|---|---|---|---|---|---|---|---|",
    )
    for n in SIZES:
        with tempfile.TemporaryDirectory() as folder:
            _write_bed(Path(folder) / "x", n, options.read, options.seed)
            command = [sys.executable, __file__, "--measure", str(Path(folder) / "x")]
            found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        yield _told(
            f"| {n:,} | {found['pass']:.2f} | {found['pass'] * 1e5 / options.read:.0f} | {found['bare']:.2f} "
            f"| {found['pass'] / found['bare']:.2f} | {found.get('passes', '')} | {_shown(found, 'summary', '.0f')} "
            f"| {_shown(found, 'error', '.3f')} | {found['gb']:.2f} GB |"
        )


def _shown(found: dict[str, float], name: str, form: str) -> str:
    return format(found[name], form) if name in found else ""


def _told(line: str) -> str:
    print(line, flush=True)
    return line


def _measured_pass(prefix: Path) -> dict[str, float]:
    """Return seconds of a pass, of bare products, and of a summary; and the highest memory."""
    K, rng = bl.genotype_products(prefix), np.random.default_rng(1)
    n, p = len(K.ids), K.blocks.genotypes.n_markers
    g = K @ rng.standard_normal((n, 1))
    about: dict[str, float] = {}
    if n <= SUMMARISED:
        y = g / g.std() + rng.standard_normal((n, 1))
        begun = time.perf_counter()
        summary = bl.spectral_summary(K, y, np.ones((n, 1)), seed=1)
        about = {"summary": time.perf_counter() - begun, "passes": summary.passes}
        about["error"] = float(summary.probe_errors[0])
    gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    V, b = rng.standard_normal((n, COLUMNS)), block_of(n)
    W, narrow = rng.standard_normal((b, n), dtype=np.float32), V.astype(np.float32)
    passes, bare = [], []
    for _ in range(REPEATS):
        passes.append(_seconds(lambda: K @ V))
        bare.append(_seconds(lambda: [_bare(W[: min(b, p - at)], narrow) for at in range(0, p, b)]))
    return {
        "pass": min(passes),
        "bare": min(bare),
        "gb": gb,
        **about,
    }


def _bare(W: ndarray, V: ndarray) -> ndarray:
    return (W @ V).T @ W


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _write_bed(prefix: Path, n: int, p: int, seed: int) -> None:
    """Write genotypes of unrelated people at independent markers, 1% of them missing, as they are packed."""
    rng = np.random.default_rng(seed)
    code = np.array([3, 2, 0, 1], dtype=np.uint8)  # of 0, 1 and 2 copies, and of a missing genotype
    with Path(f"{prefix}.bed").open("wb") as stream:
        stream.write(b"\x6c\x1b\x01")
        for _ in range(p):
            f = rng.uniform(0.05, 0.5)
            u = rng.random(-(-n // 4) * 4, dtype=np.float32)
            copies = (u < f * f).astype(np.uint8) + (u < f * f + 2 * f * (1 - f))
            copies[rng.integers(0, n, n // 100)] = 3
            codes = code[copies]
            codes[n:] = 0
            four = codes.reshape(-1, 4)
            stream.write((four[:, 0] | four[:, 1] << 2 | four[:, 2] << 4 | four[:, 3] << 6).tobytes())
    Path(f"{prefix}.bim").write_text("".join(f"1\tm{j}\t0\t{j + 1}\tA\tC\n" for j in range(p)))
    Path(f"{prefix}.fam").write_text("".join(f"p{i} p{i} 0 0 0 -9\n" for i in range(n)))


if __name__ == "__main__":
    main()
