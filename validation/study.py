"""What the studies share: options, real kinships, and results as JSON, Markdown and a picture."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

import bayeslmm as bl
from bayeslmm.files import output_folder, replacing

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
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    parser.add_argument("--work", type=Path, default=VALIDATION / "work", metavar="DIR", help="folder of checkpoints")
    return parser.parse_args()


def mice(n: int) -> tuple[bl.Spectrum, ndarray]:
    """Return the spectrum of n mice drawn at random and their covariates: intercept and sex."""
    kinship = bl.genomic_kinship(MICE / "mouse_hs1940")
    people = bl.measure(bl.read_table(MICE / "covar.tsv"), ["sex"])
    (cohort,) = bl.align(kinship, people)
    drawn = np.sort(np.random.default_rng(_SEED_OF_PEOPLE).choice(len(cohort.ids), n, replace=False))
    X = np.column_stack([np.ones(n), cohort.Y[drawn]])
    return bl.decompose(cohort.K[np.ix_(drawn, drawn)]), X


def gryphons(n: int | None = None) -> tuple[bl.Spectrum, ndarray]:
    """Return the spectrum of the gryphons with a birth weight, all or the first n, and an intercept."""
    people = bl.measure(bl.read_table(GRYPHONS / "pheno.tsv"), ["BWT"])
    (cohort,) = bl.align(bl.pedigree_kinship(GRYPHONS / "pedigree.csv"), people)
    return bl.decompose(cohort.K[:n, :n]), cohort.X[:n]


def write(out: Path, name: str, record: Mapping[str, Any], lines: list[str]) -> None:
    """Write NAME.json and NAME.md, and print the latter."""
    output_folder(out)
    with replacing(out / f"{name}.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    with replacing(out / f"{name}.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
