import json
import os
from pathlib import Path

import numpy as np
import pytest
from bed_reader import to_bed

import bayeslmm as bl
from bayeslmm.kinship import Kinship
from bayeslmm.spectrum import RotatedData, Spectrum

ROOT = Path(__file__).resolve().parents[1]
MOUSE = ROOT / "validation" / "data" / "mouse_hs1940"
SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture
def rng():
    return np.random.default_rng(5)


@pytest.fixture(scope="session")
def shared():
    """The folder of reference data outside the repository: where there is none, skip; in CI that must not happen."""
    if not SHARED.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{SHARED} is absent: CI must have the reference data")
        pytest.skip("the reference data beside the repository are absent")
    return SHARED


@pytest.fixture(scope="session")
def mouse_reference(shared):
    return json.loads((shared / "mouse_hs1940" / "reference.json").read_text())


@pytest.fixture(scope="session")
def gryphon_reference(shared):
    return json.loads((shared / "gryphon" / "reference.json").read_text())


@pytest.fixture(scope="session")
def mouse_kinship():
    """K of the mice by scale, computed once per session."""
    made: dict[str, Kinship] = {}

    def kinship(scale: str) -> Kinship:
        if scale not in made:
            made[scale] = bl.genomic_kinship(MOUSE / "mouse_hs1940", scale=scale, maf=0.01, geno=0.05)
        return made[scale]

    return kinship


@pytest.fixture(scope="session")
def mouse_data(mouse_kinship):
    """Rotated data of one trait of the mice, computed once per session."""
    made: dict[tuple, RotatedData] = {}

    def data(trait: str, scale: str = "hwe", *, centred: bool = False) -> RotatedData:
        if (trait, scale, centred) not in made:
            people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), [trait])
            (cohort,) = bl.align(mouse_kinship(scale), people, centred=centred)
            made[trait, scale, centred] = bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)
        return made[trait, scale, centred]

    return data


@pytest.fixture
def dense(rng):
    """A small problem before rotation: K (positive definite), X, y and the spectrum of K."""
    n, c = 40, 3
    W = rng.standard_normal((n, 60)) * np.geomspace(3, 0.1, 60)
    K = W @ W.T / np.trace(W @ W.T) * n
    X = np.column_stack([np.ones(n), rng.standard_normal((n, c - 1))])
    y = X @ [1.0, -2.0, 0.5] + np.linalg.cholesky(0.5 * K + 0.5 * np.eye(n)) @ rng.standard_normal(n)
    return K, X, y, bl.decompose(K)


@pytest.fixture
def small_data(dense) -> RotatedData:
    _, X, y, spectrum = dense
    return spectrum.rotate(y[:, None], X)


def simulated(s: np.ndarray, h2: float, rng: np.random.Generator) -> RotatedData:
    """Rotated data of a trait with total variance 1 and an intercept, on given eigenvalues."""
    n = len(s)
    U = Spectrum(s, np.eye(n))
    y = np.sqrt(h2 * s + 1 - h2) * rng.standard_normal(n)
    ones = np.linalg.qr(rng.standard_normal((n, 1)))[0] * np.sqrt(n)
    return U.rotate(y[:, None], ones)


@pytest.fixture
def write(tmp_path):
    """Write a text file and return its path."""

    def writer(name: str, text: str) -> Path:
        path = tmp_path / name
        path.write_text(text)
        return path

    return writer


@pytest.fixture
def plink(tmp_path, rng):
    """Write 30 people and 50 markers as a PLINK fileset, 3% missing; return its prefix and the genotypes."""
    n, p = 30, 50
    G = rng.binomial(2, rng.uniform(0.1, 0.5, p), (n, p)).astype(float)
    G[rng.uniform(size=(n, p)) < 0.03] = np.nan
    ids = [f"p{i}" for i in range(n)]
    path = tmp_path / "toy.bed"
    to_bed(path, G, properties={"fid": ids, "iid": ids, "chromosome": ["1"] * p})
    return tmp_path / "toy", G, ids
