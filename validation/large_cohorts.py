"""Spectral summaries by products against dense decompositions: posteriors of h2, and the errors that are stated.

People are simulated as in ``source_cohort.py``, three populations with linkage disequilibrium, each seed with its own
trait, some of them at its full size; the gryphons (by products with their pedigree) and the mice have their real
trait, each seed other probes. Writes a table to ``results/large_cohorts.md``; a quarter of an hour of two processors.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy import ndarray
from source_cohort import simulate

import bayeslmm as bl
from bayeslmm.kinship.covariance import Covariance

VALIDATION = Path(__file__).resolve().parent
DATA = VALIDATION / "data"
H2 = 0.5
SOURCE = (5_123, 319_147)  # people and markers of the source report


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="summaries for each row")
    parser.add_argument("--people", type=int, default=1000, metavar="N", help="simulated people")
    parser.add_argument("--markers", type=int, default=10_000, metavar="P", help="their markers")
    parser.add_argument("--seed", type=int, default=71, metavar="N", help="of the people and their traits")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()
    (options.out / "large_cohorts.md").write_text("\n".join(_agreement(options)) + "\n")


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
        prefixes = []
        for people, markers in ((options.people, options.markers), SOURCE):
            where = Path(folder) / str(people)
            simulate(where, people=people, markers=markers, seed=options.seed, missing=0.01)
            prefixes.append(where / "cohort")
        studies = {
            f"people, n = {options.people:,}, p = {options.markers:,}, from genotypes": _people(
                prefixes[0], options.seed
            ),
            "gryphons, BWT, n = 854, from the pedigree": _gryphons(),
            "mice, CD8, n = 1,410": _mice(),
            f"people, n = {SOURCE[0]:,}, p = {SOURCE[1]:,}, K as a matrix": _source(prefixes[1], options.seed),
        }
        for name, cases in studies.items():
            yield _told(_line(name, cases, options.seeds))


def _told(line: str) -> str:
    print(line, flush=True)
    return line


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
