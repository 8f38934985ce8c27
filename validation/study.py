"""What the studies share: options, real kinships, how tasks run, and results as JSON and Markdown."""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64
from numpy import ndarray
from scipy.linalg import eigvalsh_tridiagonal

import bayeslmm as bl
from bayeslmm.base.files import output_folder, replacing
from bayeslmm.base.tasks import Task, run_tasks
from bayeslmm.likelihood.rotation import JointData, RotatedData

VALIDATION = Path(__file__).resolve().parent
MICE = VALIDATION / "data" / "mouse_hs1940"
GRYPHONS = VALIDATION / "data" / "gryphon"
_SEED_OF_PEOPLE = 1940


def options(claim: str) -> argparse.Namespace:
    """Return where a study runs and where its results go."""
    parser = argparse.ArgumentParser(description=claim)
    parser.add_argument("--cluster", default="local", metavar="ADDRESS", help="or tcp://HOST:PORT of a Dask scheduler")
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="of the local cluster")
    parser.add_argument("--share", type=float, default=1.0, metavar="F", help="of the full number of data sets")
    parser.add_argument("--smoke", action="store_true", help="some data sets of some people: does it run?")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="folder of the results: results/, or that of checkpoints unless all is run",
    )
    parser.add_argument("--work", type=Path, default=VALIDATION / "work", metavar="DIR", help="folder of checkpoints")
    found = parser.parse_args()
    if not found.share > 0:
        parser.error(f"--share must be above 0, but {found.share:g} was given")
    whole = found.share == 1 and not found.smoke
    found.out = output_folder(found.out or (VALIDATION / "results" if whole else found.work))
    return found


def drawn_mice(n: int) -> tuple[bl.Kinship, Float64[ndarray, "n 2"]]:
    """Return the kinship of n mice drawn at random, and their intercept and sex."""
    kinship, table = bl.genomic_kinship(MICE / "mouse_hs1940"), bl.read_table(MICE / "covar.tsv")
    sex_of = dict(zip(table.ids, table.numbers("sex"), strict=True))
    drawn = np.sort(np.random.default_rng(_SEED_OF_PEOPLE).choice(len(kinship.ids), n, replace=False))
    return kinship.take(drawn), np.column_stack([np.ones(n), [sex_of[kinship.ids[i]] for i in drawn]])


def mice(n: int) -> RotatedData:
    """Return n mice drawn at random: the spectrum of their kinship, intercept and sex, and a trait of zeros."""
    kinship, X = drawn_mice(n)
    return bl.decompose(kinship.K).rotate(np.zeros((n, 1)), X)


def smoke() -> tuple[RotatedData, JointData]:
    """Return 40 gryphons for one trait and for two."""
    two = gryphons(40)
    return RotatedData(two.s, two.Y[:, :1], two.X[0], two.k_scale), two


def gryphons(n: int | None = None) -> JointData:
    """Return the gryphons with a birth weight, all or the first n: pedigree, intercept, and two traits of zeros."""
    people = bl.measure(bl.read_table(GRYPHONS / "pheno.tsv"), ["BWT"])
    (cohort,) = bl.align(bl.pedigree_kinship(GRYPHONS / "pedigree.csv"), people)
    X = cohort.X[0][:n]
    return bl.decompose(cohort.K[:n, :n]).rotate_jointly(np.zeros((len(X), 2)), [X, X])


def unrelated(n: int, markers: int) -> RotatedData:
    """Return n unrelated people: K from independent markers, an intercept, and a trait of zeros.

    With normal genotypes p K is a Wishart matrix: its eigenvalues are those of a random bidiagonal matrix times its
    transpose, and its eigenvectors have no preferred direction.

    Source: Dumitriu and Edelman (2002), doi:10.1063/1.1507823, section III B.
    """
    rng = np.random.default_rng(_SEED_OF_PEOPLE)
    diagonal = np.sqrt(rng.chisquare(markers - np.arange(n)))
    below = np.sqrt(rng.chisquare(n - 1 - np.arange(n - 1)))
    squares = diagonal**2 + np.concatenate([[0.0], below**2])
    s = eigvalsh_tridiagonal(squares, diagonal[:-1] * below) / markers
    direction = rng.standard_normal(n)
    ones = direction * np.sqrt(n) / np.linalg.norm(direction)
    return RotatedData(s, np.zeros((n, 1)), ones[:, None], float(s.mean() - s @ ones**2 / n**2))


def run(
    options: argparse.Namespace,
    name: str,
    function: Callable[[Task, Any], Any],
    tasks: Sequence[Task],
    shared: Any,
    *,
    label: str,
) -> list[Any]:
    """Run the tasks of a study where its options say, with checkpoints in a folder of its name."""
    return run_tasks(
        function,
        tasks,
        shared,
        checkpoints=options.work / name,
        label=label,
        cluster=options.cluster,
        workers=options.workers,
    )


def write(out: Path, name: str, record: Mapping[str, Any], lines: list[str]) -> None:
    """Write NAME.json and NAME.md, and print the latter."""
    with replacing(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    with replacing(out / f"{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
