"""`scan --loco` by products against the same scan with matrices, and its p-values where markers do nothing.

People are simulated as in ``source_cohort.py``, with linkage disequilibrium in blocks of 10 markers. Traits have a
heritability of 0.5 that comes from markers of the odd chromosomes alone: markers of the even ones are tested under the
null, against kinships that contain what makes the trait. Both scans are commands on the same files, in processes of
their own. Writes ``results/large_scan.md``; two hours with 5,123 people, most of it for 22 decompositions.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from processes import Row, run, table
from scipy.stats import chi2

import bayeslmm as bl
from bayeslmm.genotypes.blocks import dosages

VALIDATION = Path(__file__).resolve().parents[1]
H2 = 0.5
LEVELS = (0.05, 0.01, 0.001, 0.0001)


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
        runs = {way: _scan(folder, way, traits) for way in ("products", "matrix")}
        lines = _lines(options, folder, traits, runs)
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


def _scan(folder: Path, way: str, traits: list[str]) -> Row:
    """Scan by the command; return what it took."""
    files = ["--bfile", folder / "cohort", "--pheno", folder / "traits.tsv", "--trait", *traits]
    how = ["--loco", "--test", "null", "--kinship-as", way, "--format", "parquet", "--no-plots"]
    command = [sys.executable, "-m", "bayeslmm", "scan", *files, *how, "--out", folder / way]
    return run([str(word) for word in command])


def _lines(options: argparse.Namespace, folder: Path, traits: list[str], runs: dict[str, Row]) -> list[str]:
    found = {way: [pd.read_parquet(folder / way / f"{name}.scan.parquet") for name in traits] for way in runs}
    record = json.loads((folder / "products" / "run.json").read_text())["traits"]
    of = [record[name]["calibration"] for name in traits]
    statistics = {way: [((one["beta"] / one["se"]) ** 2).to_numpy() for one in tables] for way, tables in found.items()}
    pairs = list(zip(statistics["products"], statistics["matrix"], strict=True))
    correlations = [np.corrcoef(a, b)[0, 1] for a, b in pairs]
    ratios = [a.mean() / b.mean() for a, b in pairs]
    error, spread = ([one[name] / one["ratio"] for one in of] for name in ("error", "spread"))
    lines = [
        "# Scans by products against scans with matrices",
        "",
        f"Made by `validation/benchmarks/large_scan.py`: {options.people:,} people, {options.markers:,} markers on 22",
        f"chromosomes in linkage disequilibrium, {len(traits)} traits with h2 {H2} from the odd chromosomes;",
        "`scan --loco --test null` by products and with matrices, which have a variance ratio for each left-out",
        "chromosome.",
        "",
        "| over traits | least | mean | largest |",
        "|---|---|---|---|",
        _row("correlation of chi-squares", correlations, ".5f"),
        _row("ratio of mean chi-squares", ratios, ".4f"),
        _row("standard error of the calibration", error, ".2%"),
        _row("spread of the calibration between markers", spread, ".2%"),
        _row("passes of conjugate gradients", [one["passes"] for one in of], ".0f"),
        "",
        *table(
            ["K as", "seconds", "of processors", "memory"],
            [
                [way, f"{row['seconds']:.0f}", f"{row['cpu_seconds']:.0f}", f"{row['peak_rss_mb'] / 1e3:.1f} GB"]
                for way, row in runs.items()
            ],
        ),
        "",
        "## Where markers do nothing",
        "",
    ]
    null = found["products"][0]["chrom"].astype(int).to_numpy() % 2 == 0
    p = {way: np.array([one["p_wald"].to_numpy()[null] for one in tables]) for way, tables in found.items()}
    lines += [
        f"{p['products'].size:,} tests, of markers of the even chromosomes. Shares of p-values below a level, with the",
        "standard error from the differences between traits, as neighbouring markers are not independent.",
        "",
        "| level | by products | standard error | with matrices |",
        "|---|---|---|---|",
    ]
    for level in LEVELS:
        shares = {way: (values < level).mean(axis=1) for way, values in p.items()}
        sd = shares["products"].std(ddof=1) / np.sqrt(len(traits))
        lines.append(f"| {level:g} | {shares['products'].mean():.5f} | {sd:.5f} | {shares['matrix'].mean():.5f} |")
    medians = {way: np.array([_lambda(one) for one in values]) for way, values in p.items()}
    sd = medians["products"].std(ddof=1) / np.sqrt(len(traits))
    lines.append(f"| lambda_GC | {medians['products'].mean():.4f} | {sd:.4f} | {medians['matrix'].mean():.4f} |")
    return lines


def _lambda(p: np.ndarray) -> float:
    return float(np.median(chi2.isf(p, 1)) / chi2.median(1))


def _row(name: str, values: list[float], form: str) -> str:
    return f"| {name} | {min(values):{form}} | {np.mean(values):{form}} | {max(values):{form}} |"


if __name__ == "__main__":
    main()
