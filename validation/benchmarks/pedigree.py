"""The posterior of h2 by products with a simulated pedigree: a million animals, 100,000 of them with records.

Ten generations of equal size; each animal has one of 2% of the animals of the generation before as sire, and one of 40%
as dam. A tenth of all animals, of the last three generations, have a record: generation + u + e, u from parents' mean
and Mendelian sampling without inbreeding, which stays near 0.001 for a million. `bayeslmm h2` runs with all its
defaults on the files, each size in a process of its own; the smallest also with K as a matrix. Writes a table to
``results/pedigree.md``; ten minutes of two processors.
"""

import argparse
import csv
import json
import sys
import tempfile
from pathlib import Path

import numpy as np
from processes import Row, run, table

VALIDATION = Path(__file__).resolve().parents[1]
H2 = 0.3
GENERATIONS = 10
RECORDED = 3  # generations with records
SIRES, DAMS = 0.02, 0.4  # of a generation


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--animals", type=int, nargs="+", default=[20_000, 200_000, 1_000_000], metavar="N")
    parser.add_argument("--seed", type=int, default=17, metavar="N", help="of pedigrees and records")
    parser.add_argument("--results", type=Path, default=VALIDATION / "results", metavar="DIR")
    options = parser.parse_args()
    lines = [
        "# Posteriors of h2 by products with a pedigree",
        "",
        f"Made by `validation/benchmarks/pedigree.py`: {GENERATIONS} generations, a tenth of the animals with records,",
        f"a true h2 of {H2}; `bayeslmm h2` with all its defaults, its files and pictures among the time. Memory is",
        "the highest of the process.",
        "",
    ]
    found: list[tuple[int, str, Row]] = []
    with tempfile.TemporaryDirectory() as folder:
        for n in options.animals:
            simulate(Path(folder), animals=n, seed=options.seed)
            ways = ("matrix", "products") if n == min(options.animals) else ("products",)
            found += [(n, way, _measured(Path(folder), way)) for way in ways]
    header = ["animals", "records", "K as", "passes", "seconds", "memory", "h2, exact posterior", "stated error"]
    lines += [*table(header, [_line(*one) for one in found]), "", _difference(options.animals, found)]
    (options.results / "pedigree.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def simulate(out: Path, *, animals: int, seed: int) -> None:
    """Write ``pedigree.csv`` and ``pheno.tsv`` into a folder.

    Args:
        out: the folder.
        animals: how many, parents before offspring.
        seed: of all random numbers.
    """
    rng, of_generation = np.random.default_rng(seed), animals // GENERATIONS
    u = rng.normal(scale=np.sqrt(H2), size=(GENERATIONS, of_generation))
    parents = np.zeros((GENERATIONS, 2, of_generation), dtype=np.int64)  # numbers from 1; 0: unknown
    for g in range(1, GENERATIONS):
        for k, share in enumerate((SIRES, DAMS)):
            chosen = rng.choice(of_generation, size=max(2, int(share * of_generation)), replace=False)
            parents[g, k] = 1 + (g - 1) * of_generation + rng.choice(chosen, size=of_generation)
        u[g] = u.ravel()[parents[g] - 1].mean(axis=0) + np.sqrt(0.5) * u[g]
    with (out / "pedigree.csv").open("w") as stream:
        stream.write("id,sire,dam\n")
        sires, dams = parents.transpose(1, 0, 2).reshape(2, -1)
        stream.writelines(f"a{i},{_name(s)},{_name(d)}\n" for i, (s, d) in enumerate(zip(sires, dams, strict=True), 1))
    last = RECORDED * of_generation
    measured = np.sort(rng.choice(last, size=animals // 10, replace=False)) + (GENERATIONS - RECORDED) * of_generation
    generation = measured // of_generation
    y = 0.2 * generation + u.ravel()[measured] + rng.normal(scale=np.sqrt(1 - H2), size=len(measured))
    with (out / "pheno.tsv").open("w") as stream:
        stream.write("IID\tgeneration\ty\n")
        stream.writelines(f"a{i + 1}\tg{g}\t{value:.8g}\n" for i, g, value in zip(measured, generation, y, strict=True))


def _name(number: int) -> str:
    return f"a{number}" if number else "0"


def _measured(folder: Path, way: str) -> Row:
    """Run `bayeslmm h2`; return what it took and found."""
    command = [sys.executable, "-m", "bayeslmm", "h2", "--pedigree", folder / "pedigree.csv", "--trait", "y"]
    command += ["--pheno", folder / "pheno.tsv", "--covar", folder / "pheno.tsv", "--covariates", "generation"]
    measured = run([str(word) for word in [*command, "--kinship-as", way, "--out", folder / "h2", "--overwrite"]])
    with (folder / "h2" / "estimates.tsv").open() as stream:
        (h2,) = (
            row
            for row in csv.DictReader(stream, delimiter="\t")
            if (row["method"], row["parameter"]) == ("exact", "h2")
        )
    return measured | json.loads((folder / "h2" / "run.json").read_text())["traits"]["y"] | {"h2": h2}


def _difference(animals: list[int], found: list[tuple[int, str, Row]]) -> str:
    matrix, products = (
        next(one for n, of, one in found if (n, of) == (min(animals), way))["h2"] for way in ("matrix", "products")
    )
    sd = float(matrix["se"])
    mean, ratio = (float(products["estimate"]) - float(matrix["estimate"])) / sd, float(products["se"]) / sd - 1
    return (
        f"With {min(animals):,} animals the posterior mean by products is {mean:+.3f} posterior sd from that of the "
        f"matrix, and the sd {ratio:+.2%}."
    )


def _line(animals: int, way: str, found: Row) -> list[str]:
    h2 = found["h2"]
    return [
        f"{animals:,}",
        f"{found['n']:,}",
        way,
        str(found["passes"]) if way == "products" else "",
        f"{found['seconds']:.0f}",
        f"{found['peak_rss_mb'] / 1e3:.1f} GB",
        f"{float(h2['estimate']):.5f} ± {float(h2['se']):.5f}",
        f"{found['probe_error']:.3f} sd" if way == "products" else "",
    ]


if __name__ == "__main__":
    main()
