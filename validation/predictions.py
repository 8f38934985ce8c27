"""Claim: 95% intervals of records that cross-validation left out hold 95% of them, if variances are integrated out.

Two correlated traits of mice drawn at random are simulated on their kinship, sex among the fixed effects, and predicted
in three folds: each alone by `cross_validate`, and from the records of both by `joint_cross_validate`.

    python validation/predictions.py
"""

import time
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import study
from numpy import ndarray

from bayeslmm.analyses.breeding_values import dealt_folds
from bayeslmm.analyses.joint_breeding_values import joint_cross_validate
from bayeslmm.base.tasks import Task

SEED, DATASETS, PEOPLE, FOLDS = 1975, 100, 400, 3
GAMMA_U, GAMMA_E = np.array([[0.5, 0.35], [0.35, 0.4]]), np.array([[0.5, 0.2], [0.2, 0.6]])
SEX = np.array([0.5, -0.3])  # its effects
METHODS = {"joint": "joint REML", "reml": "alone, REML", "integrated": "alone, variances integrated out"}


class Mice(NamedTuple):
    """What all data sets share: kinship, a root of it, intercept and sex."""

    K: ndarray
    root: ndarray
    X: ndarray


def main() -> None:
    """Run the study and write its results."""
    options = study.options((__doc__ or "").splitlines()[0])
    begun = time.perf_counter()
    people, datasets = (40, 2) if options.smoke else (PEOPLE, max(2, round(DATASETS * options.share)))
    kinship, X = study.drawn_mice(people)
    K = kinship.K
    mice = Mice(K, np.linalg.cholesky(K + 1e-8 * np.eye(people)), X)
    tasks: list[Task] = [{"seed": SEED, "dataset": number} for number in range(datasets)]
    found = study.run(options, "predictions", predicted, tasks, mice, label="predictions")
    record = {
        "version": version("bayeslmm"),
        "seconds": round(time.perf_counter() - begun),
        "people": people,
        "datasets": datasets,
        "table": table_of(found),
    }
    study.write(options.out, "predictions", record, _lines(record))


def predicted(task: Task, mice: Mice) -> list[dict[str, dict[str, float]]]:
    """Simulate two traits; return how well each is predicted, by method."""
    rng = np.random.default_rng(np.random.SeedSequence(task["seed"], spawn_key=(task["dataset"],)))
    n = len(mice.K)
    u, e = (rng.standard_normal((n, 2)) @ np.linalg.cholesky(Gamma).T for Gamma in (GAMMA_U, GAMMA_E))
    Y = mice.X[:, [1]] * SEX + mice.root @ u + e
    found = joint_cross_validate(mice.K, Y, [mice.X, mice.X], folds=dealt_folds(n, FOLDS, task["dataset"]))
    return [{method: one.of(method) for method in METHODS} for one in found]


def table_of(found: list[list[dict[str, dict[str, float]]]]) -> list[dict[str, Any]]:
    """Return means over data sets and their standard errors: records of one data set share what is estimated."""
    rows: list[dict[str, Any]] = []
    for trait in range(2):
        for method in METHODS:
            row: dict[str, Any] = {"trait": trait + 1, "method": method}
            for what in ("coverage", "correlation", "slope"):
                values = np.array([one[trait][method][what] for one in found])
                row[what] = float(values.mean())
                row[f"{what}_se"] = float(values.std(ddof=1) / np.sqrt(len(values)))
            rows.append(row)
    return rows


def _distance(table: list[dict[str, Any]], method: str) -> str:
    """Say how far the coverage is from 95%."""
    of = [row for row in table if row["method"] == method]
    with np.errstate(divide="ignore"):  # of a few data sets all may be the same
        off = [float(np.divide(row["coverage"] - 0.95, row["coverage_se"])) for row in of]
    return f"coverage {', '.join(f'{one:+.1f}' for one in off)} standard errors from 0.95"


def _lines(record: dict[str, Any]) -> list[str]:
    h2 = np.diag(GAMMA_U) / np.diag(GAMMA_U + GAMMA_E)
    return [
        "# How often intervals of predicted records hold them",
        "",
        f"Made by `validation/predictions.py`: {record['datasets']} data sets of {record['people']} mice, two traits "
        f"with heritabilities of {h2[0]:.2g} and {h2[1]:.2g} and a",
        f"genetic correlation of {GAMMA_U[0, 1] / np.sqrt(GAMMA_U[0, 0] * GAMMA_U[1, 1]):.2g}, in {FOLDS} folds. "
        "Means over data sets and their standard errors.",
        "",
        *(f"- {METHODS[method]}: {_distance(record['table'], method)}" for method in METHODS),
        "",
        "| trait | from | coverage of 95% intervals | correlation with records | slope |",
        "|---|---|---|---|---|",
        *(
            f"| {row['trait']} | {METHODS[row['method']]} | "
            + " | ".join(f"{row[what]:.4f} ± {row[f'{what}_se']:.4f}" for what in ("coverage", "correlation", "slope"))
            + " |"
            for row in record["table"]
        ),
    ]


if __name__ == "__main__":
    main()
