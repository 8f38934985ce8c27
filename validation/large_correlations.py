"""Correlations of two traits by products with K against dense decompositions, and the errors that are stated.

People are simulated as in ``source_cohort.py``, two populations with linkage disequilibrium, each seed with its own
traits; the gryphons (by products with their pedigree) have their real ones, each seed other probes. The posterior is
drawn by importance sampling from the dense likelihood, and the same draws are weighted by the ratio of the likelihood
by products to it, so that the probes alone make the difference. Writes ``results/large_correlations.md``; five minutes.
"""

import argparse
import tempfile
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy import ndarray
from source_cohort import simulate

import bayeslmm as bl
from bayeslmm.kinship.products import Products
from bayeslmm.likelihood.joint_whitened import joint_whitened
from bayeslmm.likelihood.quantities import of_traits

VALIDATION = Path(__file__).resolve().parent
DATA = VALIDATION / "data"
GAMMA_U, GAMMA_E = np.array([[0.5, 0.25], [0.25, 0.5]]), np.array([[0.5, 0.1], [0.1, 0.5]])
PARAMETERS = {"rho_u": (0, 1), "rho_e": (0, 1), "h2": (0,)}
DRAWS = 4096


class Case(NamedTuple):
    """Two traits: in the eigenbasis, before rotation with their kinship, and draws of their posterior."""

    dense: bl.JointData
    K: Products
    Y: ndarray
    X: ndarray
    posterior: bl.JointPosterior


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, metavar="N", help="summaries for each row")
    parser.add_argument("--people", type=int, default=1000, metavar="N", help="simulated people")
    parser.add_argument("--markers", type=int, default=10_000, metavar="P", help="their markers")
    parser.add_argument("--seed", type=int, default=72, metavar="N", help="of the people and their traits")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()
    lines = [
        "# Correlations by products against dense decompositions",
        "",
        "Made by `validation/large_correlations.py`: `bl.joint_summary` at its defaults (an error of 0.02 is asked of",
        "the h2 of each trait by itself), the same weighted draws of the posterior under both likelihoods. Errors are",
        "of posterior means, in posterior standard deviations; a stated error covers one that is within 1.96 of it.",
        "",
        "| data | parameter | summaries | posterior | root mean squared error | largest | stated | covers "
        "| posterior sd: root mean squared relative error |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), people=options.people, markers=options.markers, seed=options.seed, missing=0.01)
        studies = {
            f"people, n = {options.people:,}, p = {options.markers:,}, from genotypes": people(
                Path(folder) / "cohort", options.seed
            ),
            "gryphons, BWT and TARSUS, n = 683, from the pedigree": gryphons(),
        }
        for name, cases in studies.items():
            lines += table_rows(name, cases, options.seeds)
            print("\n".join(lines[-len(PARAMETERS) :]), flush=True)
    (options.out / "large_correlations.md").write_text("\n".join(lines) + "\n")


def people(prefix: Path, seed: int) -> Iterator[Case]:
    """Yield simulated people, each time with other traits."""
    spectrum, K = bl.decompose(bl.genomic_kinship(prefix).K), bl.genotype_products(prefix)
    rng, n = np.random.default_rng(seed), len(spectrum.s)
    roots = [np.linalg.cholesky(Gamma).T for Gamma in (GAMMA_U, GAMMA_E)]
    while True:
        g, e = (rng.standard_normal((n, 2)) @ root for root in roots)
        Y = spectrum.U @ (np.sqrt(spectrum.s)[:, None] * g + e)
        yield case(spectrum, K, Y, np.ones((n, 1)))


def gryphons() -> Iterator[Case]:
    """Yield the gryphons with both traits again and again."""
    pedigree, table = DATA / "gryphon" / "pedigree.csv", DATA / "gryphon" / "pheno.tsv"
    measured = bl.measure(bl.read_table(table), ["BWT", "TARSUS"])
    ours = bl.align_products_jointly(bl.pedigree_products(pedigree), measured)
    cohort = bl.align_jointly(bl.pedigree_kinship(pedigree), measured, complete_only=True)
    return repeat(case(bl.decompose(cohort.K), ours.K, cohort.Y, cohort.X[0]))


def case(spectrum: bl.Spectrum, K: Products, Y: ndarray, X: ndarray) -> Case:
    """Return two traits with draws of their posterior."""
    dense = spectrum.rotate_jointly(Y, [X, X])
    return Case(dense, K, Y, X, bl.joint_importance(dense, seed=1, draws=DRAWS))


def log_reml(data: bl.JointData, Gamma_u: ndarray, Gamma_e: ndarray) -> ndarray:
    """Return restricted log-likelihoods."""
    white = joint_whitened(data)
    return white.products.at(Gamma_u / white.unit_u, Gamma_e / white.unit_e).loglik - white.log_units


def table_rows(name: str, cases: Iterator[Case], seeds: int) -> list[str]:
    """Return a row of each parameter."""
    found: list[ndarray] = []
    for seed, (dense, K, Y, X, posterior) in zip(range(seeds), cases, strict=False):
        summary = bl.joint_summary(K, Y, [X, X], seed=seed)
        Gammas, w = (posterior.Gamma_u, posterior.Gamma_e), posterior.weights
        change = log_reml(summary.data, *Gammas) - log_reml(dense, *Gammas)
        ours = w * np.exp(change - change.max())
        ours /= ours.sum()
        values = np.column_stack([of_traits(*Gammas)[name][:, *at] for name, at in PARAMETERS.items()])
        stated = summary.errors(values, *Gammas, ours)
        (mean, sd), (dense_mean, dense_sd) = (moments(values, weights) for weights in (ours, w))
        found.append(np.array([(mean - dense_mean) / dense_sd, stated, sd / dense_sd - 1, dense_mean, dense_sd]))
    error, stated, of_sd, mean, sd = np.moveaxis(np.array(found), 1, 0)
    return [
        f"| {name} | {parameter} | {seeds} | {mean[:, j].mean():.2f} ± {sd[:, j].mean():.2f} | {rms(error[:, j]):.4f} "
        f"| {np.abs(error[:, j]).max():.4f} | {rms(stated[:, j]):.4f} "
        f"| {np.mean(np.abs(error[:, j]) <= 1.96 * stated[:, j]):.2f} | {rms(of_sd[:, j]):.4f} |"
        for j, parameter in enumerate(PARAMETERS)
    ]


def moments(values: ndarray, weights: ndarray) -> tuple[ndarray, ndarray]:
    """Return weighted means and standard deviations."""
    mean = weights @ values
    return mean, np.sqrt(weights @ (values - mean) ** 2)


def rms(values: ndarray) -> float:
    """Return the root mean square."""
    return float(np.sqrt(np.mean(values**2)))


if __name__ == "__main__":
    main()
