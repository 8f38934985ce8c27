"""`scan --loco` by products against the formula with matrices, and its p-values where markers do nothing.

People are simulated as in ``source_cohort.py``, with linkage disequilibrium in blocks of 10 markers. Traits have a
heritability of 0.5 that comes from markers of the odd chromosomes alone: markers of the even ones are tested under the
null, against kinships that contain what makes the trait. The scan is the command; the formula is generalised least
squares by NumPy and SciPy on the same file, at the variance ratio that the command states: for each chromosome the
kinship of all others is computed, and for each trait its V is factored. Writes ``results/large_scan.md``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from bed_reader import open_bed
from processes import Row, run, table
from scipy.linalg import cholesky, solve_triangular
from scipy.stats import chi2, f

import bayeslmm as bl
from bayeslmm.genotypes.blocks import dosages

VALIDATION = Path(__file__).resolve().parents[1]
H2 = 0.5
LEVELS = (0.05, 0.01, 0.001, 0.0001)
CORRELATION_TARGET = 0.999
RATIO_TARGET = 0.01


def main() -> None:
    """Run the study and write its tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--people", type=int, default=5123, metavar="N", help="simulated people")
    parser.add_argument("--markers", type=int, default=22_000, metavar="P", help="their markers, on 22 chromosomes")
    parser.add_argument("--traits", type=int, default=10, metavar="T", help="traits")
    parser.add_argument("--seed", type=int, default=81, metavar="N", help="of people and traits")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = ["--people", options.people, "--markers", options.markers, "--seed", options.seed]
        size += ["--missing", 0.01, "--block", 10]
        command = [sys.executable, VALIDATION / "source_cohort.py", "--out", folder, *size]
        subprocess.run([*map(str, command)], check=True)
        traits = _write_traits(folder, options.traits, options.seed)
        took = _scan(folder, traits)
        lines = _lines(options, folder, traits, took)
    (options.out / "large_scan.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def _write_traits(folder: Path, count: int, seed: int) -> list[str]:
    """Write traits whose genetic part is of the odd chromosomes; return their names."""
    genotypes, rng = bl.open_genotypes(folder / "cohort"), np.random.default_rng(seed)
    causal = np.flatnonzero(genotypes.variants["chrom"].astype(int) % 2)
    g = np.zeros((len(genotypes.ids), count))
    everybody = np.arange(len(genotypes.ids))
    for block in dosages(genotypes, everybody, np.array_split(causal, 20), maf=0.01, geno=1.0):
        g += block.G / block.G.std(axis=0) @ rng.standard_normal((block.G.shape[1], count))
    g *= np.sqrt(H2) / g.std(axis=0)
    Y = g + np.sqrt(1 - H2) * rng.standard_normal(g.shape)
    names = [f"y{j + 1}" for j in range(count)]
    table = pd.DataFrame(Y, columns=names)
    table.insert(0, "IID", genotypes.ids)
    table.to_csv(folder / "traits.tsv", sep="\t", index=False)
    return names


def _scan(folder: Path, traits: list[str]) -> Row:
    """Scan by the command; return what it took."""
    files = ["--bfile", folder / "cohort", "--pheno", folder / "traits.tsv", "--trait", *traits]
    how = ["--loco", "--test", "null", "--kinship-as", "products", "--format", "parquet", "--no-plots"]
    command = [sys.executable, "-m", "bayeslmm", "scan", *files, *how, "--out", folder / "scan"]
    return run([str(word) for word in command])


def _dense(folder: Path, Y: np.ndarray, deltas: list[float]) -> np.ndarray:
    """Return the chi-squares of all markers for all traits by generalised least squares, shape (p, t).

    Those of beta = g'Py / g'Pg with the variance that the model with the marker leaves, V = K + delta I, where K is of
    all other chromosomes.
    """
    with open_bed(folder / "cohort.bed") as bed:
        G, chromosomes = bed.read(dtype="float32"), bed.chromosome
    n, p = G.shape
    frequency = np.nanmean(G, axis=0, dtype=float) / 2
    G -= 2 * frequency
    np.nan_to_num(G, copy=False)
    W = G / np.sqrt(2 * frequency * (1 - frequency)).astype(np.float32)
    whole = (W @ W.T).astype(float)
    found = np.zeros((p, len(deltas)))
    for name in dict.fromkeys(chromosomes):
        here = np.flatnonzero(chromosomes == name)
        K = (whole - W[:, here] @ W[:, here].T) / (p - len(here))
        for j, delta in enumerate(deltas):
            V = K.copy()
            V[np.diag_indices(n)] += delta
            columns = np.column_stack([np.ones(n), Y[:, j], G[:, here]])
            whitened = solve_triangular(cholesky(V, lower=True, overwrite_a=True), columns, lower=True)
            one = whitened[:, 0] / np.linalg.norm(whitened[:, 0])
            clear = whitened[:, 1:] - np.outer(one, one @ whitened[:, 1:])
            y, g = clear[:, 0], clear[:, 1:]
            explained = (g.T @ y) ** 2 / np.einsum("ij,ij->j", g, g)
            found[here, j] = explained * (n - 2) / (y @ y - explained)
        print(f"formula: chromosome {name}", file=sys.stderr, flush=True)
    return found


def _lines(options: argparse.Namespace, folder: Path, traits: list[str], took: Row) -> list[str]:
    tables = [pd.read_parquet(folder / "scan" / f"{name}.scan.parquet") for name in traits]
    record = json.loads((folder / "scan" / "run.json").read_text())["traits"]
    of = [record[name]["calibration"] for name in traits]
    statistics = np.column_stack([((one["beta"] / one["se"]) ** 2).to_numpy() for one in tables])
    begun = time.perf_counter()
    Y = pd.read_csv(folder / "traits.tsv", sep="\t")[traits].to_numpy()
    dense = _dense(folder, Y, [float(one["delta"].iloc[0]) for one in tables])
    seconds = time.perf_counter() - begun
    pairs = list(zip(statistics.T, dense.T, strict=True))
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    ratios = [a.mean() / b.mean() for a, b in pairs]
    error, spread = ([one[name] / one["ratio"] for one in of] for name in ("error", "spread"))
    null = tables[0]["chrom"].astype(int).to_numpy() % 2 == 0
    p_formula = f.sf(dense[null].T, 1, options.people - 2)
    p = {"products": np.array([one["p_wald"].to_numpy()[null] for one in tables]), "formula": p_formula}
    lines = [
        "# Scans by products against the formula with matrices",
        "",
        f"Made by `validation/benchmarks/large_scan.py`: {options.people:,} people, {options.markers:,} markers on 22",
        f"chromosomes in linkage disequilibrium, {len(traits)} traits with h2 {H2} from the odd chromosomes;",
        "`scan --loco --test null` by products, and generalised least squares with the matrix of each left-out",
        "chromosome at the same variance ratio.",
        "",
        "| over traits | least | mean | largest |",
        "|---|---|---|---|",
        _row("correlation of chi-squares", correlations, ".5f"),
        _row("ratio of mean chi-squares", ratios, ".4f"),
        _row("standard error of the calibration", error, ".2%"),
        _row("spread of the calibration between markers", spread, ".2%"),
        _row("passes of conjugate gradients", [one["passes"] for one in of], ".0f"),
        "",
        f"Targets: correlation above {CORRELATION_TARGET} ({_met(min(correlations) > CORRELATION_TARGET)}), ratios "
        f"within {RATIO_TARGET:.0%} ({_met(max(abs(ratio - 1) for ratio in ratios) < RATIO_TARGET)}).",
        "",
        *table(
            ["K as", "seconds", "of processors", "memory"],
            [
                [
                    "products",
                    f"{took['seconds']:.0f}",
                    f"{took['cpu_seconds']:.0f}",
                    f"{took['peak_rss_mb'] / 1e3:.1f} GB",
                ],
                ["matrices, by the formula", f"{seconds:.0f}", "", ""],
            ],
        ),
        "",
        "## Where markers do nothing",
        "",
        f"{p['products'].size:,} tests, of markers of the even chromosomes. Shares of p-values below a level, with the",
        "standard error from the differences between traits, as neighbouring markers are not independent.",
        "",
        "| level | by products | standard error | by the formula |",
        "|---|---|---|---|",
    ]
    for level in LEVELS:
        shares = {way: (values < level).mean(axis=1) for way, values in p.items()}
        lines.append(f"| {level:g} | {_shares(shares, '.5f')} |")
    medians = {way: np.array([_lambda(one) for one in values]) for way, values in p.items()}
    lines.append(f"| lambda_GC | {_shares(medians, '.4f')} |")
    return lines


def _shares(of: dict[str, np.ndarray], form: str) -> str:
    """Return the mean over traits by products, its standard error, and the mean by the formula."""
    sd = of["products"].std(ddof=1) / np.sqrt(len(of["products"]))
    return " | ".join(f"{value:{form}}" for value in (of["products"].mean(), sd, of["formula"].mean()))


def _met(reached: bool) -> str:
    return "met" if reached else "missed"


def _lambda(p: np.ndarray) -> float:
    return float(np.median(chi2.isf(p, 1)) / chi2.median(1))


def _row(name: str, values: list[float], form: str) -> str:
    return f"| {name} | {min(values):{form}} | {np.mean(values):{form}} | {max(values):{form}} |"


if __name__ == "__main__":
    main()
