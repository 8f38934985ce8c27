"""At h2 = 0 on real kinships: are the exact p-values uniform, and what is the true size of the 50:50 mixture?

Simulates traits without heritability on the kinship of the mice (CD8: intercept; MCH: intercept, sex and two principal
components), fits each by `bayeslmm.reml`, and takes its p-value from draws that know nothing of the fits. Writes a
table and a picture to ``results/``; ten minutes for 10,000 traits each.
"""

import argparse
import multiprocessing
import os
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy import ndarray
from scipy.stats import chi2, kstest

import bayeslmm as bl
from bayeslmm.estimators import boundary
from bayeslmm.likelihood.rotation import RotatedData

VALIDATION = Path(__file__).resolve().parent
MICE = VALIDATION / "data" / "mouse_hs1940"
NOMINAL = 0.05


def main() -> None:
    """Run the study and write its results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traits", type=int, default=10_000, metavar="N", help="simulated traits for each kinship")
    parser.add_argument("--seed", type=int, default=20040, metavar="N", help="of the traits and of the draws")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()

    kinship = bl.genomic_kinship(MICE / "mouse_hs1940")
    sets = {"CD8, intercept": ("CD8", [], 0), "MCH, intercept, sex, 2 components": ("MCH", ["sex"], 2)}
    lines = [
        f"# The restricted likelihood ratio of h2 = 0 on real kinships, {options.traits:,} traits without heritability",
        "",
        "Made by `validation/boundary.py`. Size: share of traits rejected at a nominal 0.05; ± one standard error. The",
        "exact p-value is uniform above its atom if the Kolmogorov-Smirnov p is not small.",
        "",
        "| kinship and covariates | n | P(estimate is 0): exact | observed | size of the mixture: exact | observed "
        "| size of the exact test | Kolmogorov-Smirnov p |",
        "|---|---|---|---|---|---|---|---|",
    ]
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    band = 0.0
    for name, (trait, covariates, pcs) in sets.items():
        data = _data(kinship, trait, covariates, pcs)
        draws = boundary.reml_distribution(boundary.contrast_eigenvalues(data), seed=options.seed, draws=200_000)
        statistics = np.array(_statistics(data, options.traits, options.seed))
        p = np.array([draws.p_value(statistic) for statistic in statistics])
        atom = draws.probability_of_zero()
        above = np.sort(p[statistics > 0] / (1 - atom))
        mixture = float((statistics > chi2.isf(2 * NOMINAL, 1)).mean())
        error = np.sqrt(NOMINAL * (1 - NOMINAL) / options.traits)
        numbers = [
            f"{len(data.s):,}",
            f"{atom:.4f}",
            f"{(statistics <= 0).mean():.4f}",
            f"{draws.mixture_size(NOMINAL):.4f} ± {draws.p_value_error(float(chi2.isf(2 * NOMINAL, 1))):.4f}",
            f"{mixture:.4f} ± {error:.4f}",
            f"{(p <= NOMINAL).mean():.4f} ± {error:.4f}",
            f"{kstest(above, 'uniform').pvalue:.3f}",
        ]
        lines.append(f"| {name} | {' | '.join(numbers)} |")
        print(lines[-1])
        band = max(band, kolmogorov_band(len(above)))
        expected = (np.arange(len(above)) + 0.5) / len(above)
        ax.plot(expected, above - expected, label=name)
    ax.axhspan(-band, band, color="0.85", label="99% band")
    ax.set(
        xlabel="uniform quantile", ylabel="exact p-value above the atom, less uniform", title="h2 = 0 on real kinships"
    )
    ax.legend(frameon=False)
    figure.savefig(options.out / "boundary.png", dpi=120)
    (options.out / "boundary.md").write_text("\n".join(lines) + "\n")


def kolmogorov_band(n: int) -> float:
    """Return the largest deviation that 99% of uniform samples of this size stay below (Kolmogorov's limit)."""
    return 1.628 / np.sqrt(n)


def _data(kinship: bl.Kinship, trait: str, covariates: list[str], pcs: int) -> RotatedData:
    people = bl.measure(
        bl.read_table(MICE / "pheno.tsv"),
        [trait],
        covariate_table=bl.read_table(MICE / "covar.tsv"),
        covariates=covariates,
    )
    (cohort,) = bl.align(kinship, people)
    spectrum = bl.decompose(cohort.K)
    if pcs:
        names = [f"PC{k + 1}" for k in range(pcs)]
        cohort = cohort.with_covariates(names, spectrum.principal_components(pcs))
    return spectrum.rotate(cohort.Y, cohort.X)


def _statistics(data: RotatedData, count: int, seed: int) -> list[float]:
    """Fit all traits, in as many processes as there are processors: the seed of each does not depend on how many."""
    chunks = [(data, chunk, seed) for chunk in np.array_split(np.arange(count), max(count // 100, 1))]
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        return [statistic for chunk in pool.imap(_fit, chunks) for statistic in chunk]


def _fit(task: tuple[RotatedData, ndarray, int]) -> list[float]:
    data, indices, seed = task
    statistics = []
    for index in indices:
        y = np.random.default_rng([seed, int(index)]).standard_normal(len(data.s))
        statistics.append(bl.reml(data._replace(Y=y[:, None])).likelihood_ratio)
    return statistics


if __name__ == "__main__":
    main()
