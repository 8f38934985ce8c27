"""Spectral summaries by products against dense decompositions, and what a pass over genotypes costs.

Posteriors of h2, and the errors that are stated: people are simulated as in ``source_cohort.py``, two populations with
linkage disequilibrium, each seed with its own trait; the gryphons (by products with their pedigree) and the mice have
their real trait, each seed other probes. Passes over a ``.bed`` of up to 500,000 people against the bare matrix
products of the same numbers. Writes tables to ``results/large_cohorts.md``; ten minutes of two processors.
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
from source_cohort import simulate

import bayeslmm as bl
from bayeslmm.base.threads import threads_allowed
from bayeslmm.genotypes.streamed import block_of
from bayeslmm.kinship.covariance import Covariance

VALIDATION = Path(__file__).resolve().parent
DATA = VALIDATION / "data"
H2 = 0.5
SIZES = (5_000, 10_000, 20_000, 50_000, 100_000, 500_000)
COLUMNS = 36  # of a pass: 32 probes, the trait, an intercept and their like
REPEATS = 3
SUMMARISED = 50_000  # people at most: a few markers of more of them are a kinship unlike any


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="summaries for each row")
    parser.add_argument("--people", type=int, default=1000, metavar="N", help="simulated people")
    parser.add_argument("--markers", type=int, default=10_000, metavar="P", help="their markers")
    parser.add_argument("--source", type=Path, metavar="DIR", help="of source_cohort.py at full size: one row more")
    parser.add_argument("--read", type=int, default=2_000, metavar="P", help="markers of a pass that is measured")
    parser.add_argument("--seed", type=int, default=71, metavar="N", help="of the people and their traits")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # one row, in a process of its own
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(_measured_pass(options.measure)))
        return
    lines = [*_agreement(options), "", *_passes(options)]
    (options.out / "large_cohorts.md").write_text("\n".join(lines) + "\n")


def _agreement(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table of posteriors, as each of its rows is there."""
    yield from (
        "# Spectral summaries against dense decompositions",
        "",
        "Made by `validation/large_cohorts.py`: `bl.spectral_summary` at its defaults (an error of 0.02 is asked for),",
        "the same posterior by quadrature from both. Errors are of the posterior mean of h2, in its posterior standard",
        "deviations; a stated error covers if the error is within 1.96 of it.",
        "",
        "| data | summaries | passes | eigenvectors found | root mean squared error | largest | stated | covers "
        "| posterior sd: root mean squared relative error | seconds for each |",
        "|---|---|---|---|---|---|---|---|---|---|",
    )
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), people=options.people, markers=options.markers, seed=options.seed, missing=0.01)
        studies = {
            f"people, n = {options.people:,}, p = {options.markers:,}, from genotypes": _people(
                Path(folder) / "cohort", options.seed
            ),
            "gryphons, BWT, n = 854, from the pedigree": _gryphons(),
            "mice, CD8, n = 1,410": _mice(),
        }
        if options.source:
            studies["people of `source_cohort.py`, n = 5,123, p = 319,147, K as a matrix"] = _source(
                options.source / "cohort", options.seed
            )
        for name, cases in studies.items():
            yield _told(_line(name, cases, options.seeds))


def _passes(options: argparse.Namespace) -> Iterator[str]:
    """Yield the table of passes, as each of its rows is there."""
    yield from (
        "## Passes over genotypes",
        "",
        f"{COLUMNS} columns are multiplied with the kinship of a `.bed` of {options.read:,} markers, after a first",
        f"pass, on {threads_allowed()} threads; the bare products are W'(W V) of as many random float32 numbers in",
        f"memory; the fastest of {REPEATS} each. A whole summary is of one trait with an intercept. Memory is the",
        "highest of the process, Python and libraries among it.",
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


Case = tuple[bl.Spectrum, Covariance, ndarray, ndarray]
"""The decomposition, the kinship that multiplies, a trait and its covariates."""


def _people(prefix: Path, seed: int) -> Iterator[Case]:
    return _simulated(bl.genomic_kinship(prefix), bl.genotype_products(prefix), seed)


def _source(prefix: Path, seed: int) -> Iterator[Case]:
    """Multiply with the matrix, as 20 summaries from the genotypes take half an hour."""
    kinship = bl.genomic_kinship(prefix)
    return _simulated(kinship, kinship, seed)


def _simulated(kinship: bl.Kinship, products: Covariance, seed: int) -> Iterator[Case]:
    spectrum = bl.decompose(kinship.K)
    rng, n = np.random.default_rng(seed), len(spectrum.s)
    while True:
        y = spectrum.U @ (np.sqrt(H2 * spectrum.s + 1 - H2) * rng.standard_normal(n))
        yield spectrum, products, y[:, None], np.ones((n, 1))


def _gryphons() -> Iterator[Case]:
    pedigree = DATA / "gryphon" / "pedigree.csv"
    kinship, products = bl.pedigree_kinship(pedigree), bl.pedigree_products(pedigree)
    return _measured(kinship, products, DATA / "gryphon" / "pheno.tsv", "BWT")


def _mice() -> Iterator[Case]:
    kinship = bl.genomic_kinship(DATA / "mouse_hs1940" / "mouse_hs1940", maf=0.01, geno=0.05)
    return _measured(kinship, kinship, DATA / "mouse_hs1940" / "pheno.tsv", "CD8")


def _measured(kinship: bl.Kinship, products: Covariance, table: Path, trait: str) -> Iterator[Case]:
    (cohort,) = bl.align(kinship, bl.measure(bl.read_table(table), [trait]))
    row = {name: i for i, name in enumerate(products.ids)}
    taken, spectrum = products.take([row[name] for name in cohort.ids]), bl.decompose(cohort.K)
    while True:
        yield spectrum, taken, cohort.Y, cohort.X[0]


def _line(name: str, cases: Iterator[Case], seeds: int) -> str:
    rows, seconds = [], 0.0
    for seed, (spectrum, products, Y, X) in zip(range(seeds), cases, strict=False):
        start = time.perf_counter()
        summary = bl.spectral_summary(products, Y, X, seed=seed)
        seconds += time.perf_counter() - start
        dense, ours = (bl.exact.posterior(data).h2 for data in (spectrum.rotate(Y, X), summary.trait(0)))
        error, stated = (ours.mean - dense.mean) / dense.sd, summary.probe_errors[0]
        rows.append((error, stated, abs(error) <= 1.96 * stated, ours.sd / dense.sd - 1, summary.passes, summary.found))
    error, stated, covers, sd, passes, found = np.array(rows).T
    return (
        f"| {name} | {seeds} | {passes.min():.0f} to {passes.max():.0f} | {found.mean():.0f} | {_rms(error):.3f} "
        f"| {np.abs(error).max():.3f} | {_rms(stated):.3f} | {covers.mean():.2f} "
        f"| {_rms(sd):.4f} | {seconds / seeds:.1f} |"
    )


def _rms(values: ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
