"""Time and memory of genome scans: against GEMMA and glimix-core on the mice, and as people and traits grow.

Each step runs in a process of its own (``scan.py STEP FOLDER ...`` is what it runs). GEMMA and every step of ours use
the same K, GEMMA's. The floor is the product U'G in float64 of the same blocks. Needs GEMMA (Debian package ``gemma``)
and glimix-core (``pip install -c constraints.txt -e '.[benchmarks]'``).

    python validation/benchmarks/scan.py
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from processes import Row, alternate, table

VALIDATION = Path(__file__).resolve().parents[1]
MICE = VALIDATION / "data" / "mouse_hs1940"
SOURCE = VALIDATION / "work" / "source_5123_319147"
SIZES = ((1000, 1), (2000, 1), (4000, 1), (8000, 1), (2000, 10), (2000, 100))
MARKERS, BLOCK = 8192, 1024
REPEATS = 3


def prepare(folder: Path) -> None:
    """Write the trait for GEMMA, compute its K with GEMMA, and decompose what it uses of it: J K J."""
    import numpy as np

    import bayeslmm as bl
    from bayeslmm.kinship.kinship import centre

    people = bl.read_table(MICE / "pheno.tsv")
    y = people.numbers("CD8")
    ids = bl.open_genotypes(MICE / "mouse_hs1940").ids
    row = {name: i for i, name in enumerate(people.ids)}
    y = y[[row[name] for name in ids]]
    (folder / "pheno").write_text("".join(f"{'NA' if np.isnan(v) else repr(float(v))}\n" for v in y))
    (folder / "ones").write_text("1\n" * len(y))
    _gemma(folder, "-p", "ones", "-gk", "1", "-o", "k")
    K = np.loadtxt(folder / "output" / "k.cXX.txt")
    here = np.flatnonzero(~np.isnan(y))
    spectrum = bl.decompose(centre(K[np.ix_(here, here)]))
    np.savez(folder / "mice.npz", s=spectrum.s, U=spectrum.U, y=y[here, None], rows=here)


def gemma(folder: Path) -> dict[str, Any]:
    """Scan with GEMMA; count what it reports for U'G, U'X and the search of the ratio only."""
    _gemma(folder, "-p", "pheno", "-k", "output/k.cXX.txt", "-lmm", "4", "-o", "scan")
    log = (folder / "output" / "scan.log.txt").read_text()
    minutes = [re.findall(rf"time on {what} = (\S+) min", log) for what in ("calculating UtX", "optimization")]
    return {"seconds": sum(60 * float(found) for (found,) in minutes)}


def floor(folder: Path) -> dict[str, Any]:
    """Multiply the blocks that are tested by U'."""
    _, U, blocks = _mice(folder)
    begun = time.perf_counter()
    for block in blocks:
        _ = U.T @ block
    return {"seconds": time.perf_counter() - begun}


def exact(folder: Path) -> dict[str, Any]:
    """Test all markers, the ratio estimated with each: rotation and preparation included, reading not."""
    return _ours(folder, "exact_scan")


def null(folder: Path) -> dict[str, Any]:
    """Test all markers at the ratio of the null."""
    return _ours(folder, "null_scan")


def glimix(folder: Path) -> dict[str, Any]:
    """Test all markers with glimix-core's fast scan; compare log-likelihoods with ours at the same ratio."""
    import numpy as np
    from glimix_core.lmm import LMM  # pyright: ignore[reportMissingImports] (an extra)

    import bayeslmm as bl

    data, U, blocks = _mice(folder)
    y = np.load(folder / "mice.npz")["y"]
    model = LMM(y[:, 0], np.ones((len(y), 1)), ((U,), data.s), restricted=False)
    model.fit(verbose=False)
    begun = time.perf_counter()
    scanner = model.get_fast_scanner()
    lml = [scanner.fast_scan(block, verbose=False)["lml"] for block in blocks]
    seconds = time.perf_counter() - begun
    scan = bl.fixed_scan(data, 1 - model.delta)
    ours = np.concatenate([scan.test([U.T @ block])[0].loglik for block in blocks])
    return {"seconds": seconds, "largest_difference": float(np.abs(ours - np.concatenate(lml)).max())}


def grow(_: Path, what: str, n: int, t: int) -> dict[str, Any]:
    """Scan simulated dosages of n people and t traits; U is any dense matrix, for the same work."""
    import numpy as np

    import bayeslmm as bl

    rng = np.random.default_rng(1)
    U = rng.standard_normal((n, n)) / np.sqrt(n)
    s = np.sort(rng.gamma(1.0, 1.0, n))
    G = np.asfortranarray(rng.binomial(2, 0.3, (n, MARKERS)) - 0.6)
    y = np.sqrt(0.4 * s + 0.6)[:, None] * rng.standard_normal((n, t))
    data = bl.RotatedData(s, y, rng.standard_normal((n, 1)))
    _compile(data)
    begun = time.perf_counter()
    scan = getattr(bl, what)(data) if what != "floor" else None
    for start in range(0, MARKERS, BLOCK):
        Z = U.T @ G[:, start : start + BLOCK]
        if scan:
            scan.test([Z])
    return {"seconds": time.perf_counter() - begun}


def _ours(folder: Path, what: str) -> dict[str, Any]:
    import bayeslmm as bl

    data, U, blocks = _mice(folder)
    _compile(data)
    begun = time.perf_counter()
    scan = getattr(bl, what)(data)
    for block in blocks:
        scan.test([U.T @ block])
    return {"seconds": time.perf_counter() - begun}


def _compile(data: Any) -> None:
    """Let JAX compile what the preparation needs: a second, once for each number of people."""
    import bayeslmm as bl

    first = data._replace(Y=data.Y[:, :1])
    bl.exact_scan(first)
    bl.null_scan(first)


def _mice(folder: Path) -> tuple[Any, Any, list[Any]]:
    import numpy as np

    import bayeslmm as bl
    from bayeslmm.genotypes.blocks import dosages

    with np.load(folder / "mice.npz") as arrays:
        spectrum = bl.Spectrum(arrays["s"], arrays["U"])
        data = spectrum.rotate(arrays["y"], np.ones((len(arrays["s"]), 1)))
        genotypes = bl.open_genotypes(MICE / "mouse_hs1940")
        spans = [range(k, min(k + BLOCK, genotypes.n_markers)) for k in range(0, genotypes.n_markers, BLOCK)]
        return data, spectrum.U, [block.G for block in dosages(genotypes, arrays["rows"], spans)]


def _gemma(folder: Path, *options: str) -> None:
    command = ["gemma", "-bfile", str(MICE / "mouse_hs1940"), *options]
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


STEPS: dict[str, Callable[..., dict[str, Any] | None]] = {
    step.__name__: step for step in (prepare, gemma, floor, exact, null, glimix)
}


def main() -> None:
    """Run the benchmark and write its tables, or run one step of it."""
    if len(sys.argv) > 2:
        name, folder, *sizes = sys.argv[1:]
        told = grow(Path(folder), name, *map(int, sizes)) if sizes else STEPS[name](Path(folder))
        if told is not None:
            print(json.dumps(told))
        return
    if not shutil.which("gemma"):
        sys.exit("GEMMA is not installed (Debian: apt-get install gemma)")
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(_command("prepare", folder), check=True)
        mice = alternate({name: _command(name, folder) for name in list(STEPS)[1:]}, repeats=REPEATS)
        growth = alternate(
            {
                f"{what} {n} {t}": _command(what, folder, str(n), str(t))
                for n, t in SIZES
                for what in ("floor", "null_scan", "exact_scan")
            },
            repeats=1,
        )
        commands = alternate(_whole(folder), repeats=1)
    report = _report(mice, growth, commands, load)
    (VALIDATION / "results" / "scan_speed.md").write_text(report)
    print(report)


def _command(name: str, folder: str, *sizes: str) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), name, folder, *sizes]


def _whole(folder: str) -> dict[str, list[str]]:
    """Return whole commands, from files to pictures: of the mice, and at the size of the source if that is there."""
    cli = [sys.executable, "-m", "bayeslmm", "scan"]
    mice = ["--bfile", str(MICE / "mouse_hs1940"), "--pheno", str(MICE / "pheno.tsv"), "--trait", "CD8"]
    commands = {
        "`bayeslmm scan`, 12,226 markers of 1,410 mice": [*cli, *mice, "--out", f"{folder}/mice", "--overwrite"]
    }
    if (SOURCE / "cohort.grm.bin").exists():
        cohort = ["--bfile", str(SOURCE / "cohort"), "--grm", str(SOURCE / "cohort")]
        cohort += ["--pheno", str(SOURCE / "pheno.tsv"), "--trait", "T1", "--pcs", "10"]
        for test in ("exact", "null"):
            name = f"`bayeslmm scan --test {test} --pcs 10`, 319,147 markers of 5,123 people"
            commands[name] = [*cli, *cohort, "--test", test, "--out", f"{folder}/{test}", "--overwrite"]
    return commands


def _report(mice: Sequence[Row], growth: Sequence[Row], commands: Sequence[Row], load: float) -> str:
    of = {row["step"]: row for row in mice}
    targets = [
        ("exact", "gemma", "times faster than GEMMA (U'X and search)", 10.0, True),
        ("null", "floor", "times U'G", 1.5, False),
        ("null", "glimix", "times faster than glimix-core", 4.0, True),
    ]
    lines = []
    for name, peer, what, target, faster in targets:
        ratio = of[peer]["seconds"] / of[name]["seconds"] if faster else of[name]["seconds"] / of[peer]["seconds"]
        met = ratio >= target if faster else ratio <= target
        lines.append(
            [f"{name} scan", f"{ratio:.2f} {what}", f"{'>=' if faster else '<='} {target:g}", "yes" if met else "NO"]
        )
    times = [[row["step"], f"{row['seconds']:.2f}", f"{row['peak_rss_mb']:,.0f}"] for row in mice]
    grown = []
    for n, t in SIZES:
        rows = {row["step"].split()[0]: row for row in growth if row["step"].endswith(f" {n} {t}")}
        base = rows["floor"]["seconds"]
        cells = [
            f"{rows[what]['seconds']:.2f} ({rows[what]['seconds'] / base:.2f})" for what in ("null_scan", "exact_scan")
        ]
        peak = max(row["peak_rss_mb"] for row in rows.values())
        grown.append([f"{n:,}", str(t), f"{base:.2f}", *cells, f"{peak:,.0f}"])
    difference = of["glimix"]["largest_difference"]
    whole = [[row["step"], f"{row['seconds']:.1f}", f"{row['peak_rss_mb']:,.0f}"] for row in commands]
    return "\n".join(
        [
            "# Speed of genome scans",
            "",
            f"`python validation/benchmarks/scan.py`; {os.cpu_count()} cores, load before {load:.2f}; median of "
            f"{REPEATS} runs on the mice, one run elsewhere. Preparation (null fits, projections) is counted, its "
            "compilation and reading the genotypes are not; in the whole commands everything is.",
            "",
            "Mice, CD8, K of GEMMA:",
            "",
            *table(["", "ratio", "target", "met"], lines),
            "",
            *table(["step", "seconds", "peak MB"], times),
            "",
            f"Largest difference of log-likelihoods to glimix-core: {difference:.1e} (target 1e-6).",
            "",
            f"{MARKERS:,} simulated markers in blocks of {BLOCK:,}; in parentheses times U'G:",
            "",
            *table(["people", "traits", "U'G", "null scan", "exact scan", "peak MB"], grown),
            "",
            "From files to pictures:",
            "",
            *table(["command", "seconds", "peak MB"], whole),
            "",
        ]
    )


if __name__ == "__main__":
    main()
