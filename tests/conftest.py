import json
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What one test compiled serves the others, in all processes, and the next run: set before JAX is imported.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(ROOT / ".cache" / "jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

import jaxtyping
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from bed_reader import to_bed
from scipy.linalg import block_diag

import bayeslmm as bl
from bayeslmm.analyses.correlations import Correlations
from bayeslmm.analyses.method import TraitRequest
from bayeslmm.cohort.design import treatment_coding
from bayeslmm.cohort.joint_records import JointRecords
from bayeslmm.cohort.records import Component, Records, grouped, related
from bayeslmm.commands.random_kinship import further_kinship, random_kinship
from bayeslmm.kinship.kinship import Kinship
from bayeslmm.likelihood.components import Components, components
from bayeslmm.likelihood.joint_components import JointComponents, joint_components
from bayeslmm.likelihood.rotation import JointData, RotatedData
from bayeslmm.likelihood.whitened import whitened
from bayeslmm.models import univariate

MOUSE = ROOT / "validation" / "data" / "mouse_hs1940"
GRYPHON = ROOT / "validation" / "data" / "gryphon"
REFERENCES = ROOT / "tests" / "data"
SHARED = ROOT.parent / "shared" / "data"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    """Do not check types and shapes of arrays in slow tests, where it takes up to half of the time.

    With JAXTYPING_DISABLE=0 in the environment they are checked in all tests.
    """
    if "JAXTYPING_DISABLE" not in os.environ:
        jaxtyping.config.update("jaxtyping_disable", item.get_closest_marker("slow") is not None)
    return (yield)


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
def mouse_reference():
    return json.loads((REFERENCES / "mouse_hs1940.json").read_text())


@pytest.fixture(scope="session")
def gryphon_reference():
    return json.loads((REFERENCES / "gryphon.json").read_text())


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


@dataclass(frozen=True)
class DenseTraits:
    """A small problem of several traits before rotation, with everything that a dense formula needs."""

    K: np.ndarray
    Y: np.ndarray
    X: tuple[np.ndarray, ...]
    data: JointData

    @property
    def known(self) -> np.ndarray:
        return ~np.isnan(self.Y.T.ravel())

    @property
    def y(self) -> np.ndarray:
        """Records of the first trait, then of the second, and so on."""
        return self.Y.T.ravel()[self.known]

    @property
    def stacked(self) -> np.ndarray:
        return block_diag(*self.X)[self.known]

    def V(self, Gamma_u, Gamma_e) -> np.ndarray:
        n = len(self.K)
        whole = np.kron(Gamma_u, self.K) + np.kron(Gamma_e, np.eye(n))
        return whole[np.ix_(self.known, self.known)]


@pytest.fixture
def dense_traits(rng):
    """Make traits of few people by dense arithmetic, each with covariates of its own and some missing values."""

    def make(t: int = 2, n: int = 25, *, missing: bool = True) -> DenseTraits:
        W = rng.standard_normal((n, 2 * n)) * np.geomspace(3, 0.1, 2 * n)
        K = W @ W.T / np.trace(W @ W.T) * n
        Y = 3 + rng.standard_normal((n, t)) @ (np.eye(t) + 0.3) + np.linalg.cholesky(K) @ rng.standard_normal((n, t))
        if missing:
            for j in range(t):
                Y[rng.choice(n - t, 3, replace=False) + j, j] = np.nan
            Y[np.isnan(Y).all(axis=1)] = 1.0
        X = tuple(np.column_stack([np.ones(n), rng.standard_normal((n, j))]) for j in range(t))
        return DenseTraits(K, Y, X, bl.decompose(K).rotate_jointly(Y, X))

    return make


@pytest.fixture(scope="session")
def mouse_pair(mouse_kinship):
    """Rotated data of CD8 and MCH on GEMMA's centred K up to its scale: of mice with both, or of all with either."""
    made: dict[bool, JointData] = {}

    def data(*, complete_only: bool) -> JointData:
        if complete_only not in made:
            people = bl.measure(bl.read_table(MOUSE / "pheno.tsv"), ["CD8", "MCH"])
            cohort = bl.align_jointly(mouse_kinship("vanraden"), people, complete_only=complete_only)
            made[complete_only] = bl.decompose(cohort.K).rotate_jointly(cohort.Y, cohort.X)
        return made[complete_only]

    return data


@pytest.fixture(scope="session")
def gryphon_pair() -> JointData:
    """Rotated data of BWT (854 records) and TARSUS (683) on the pedigree."""
    folder = GRYPHON
    people = bl.measure(bl.read_table(folder / "pheno.tsv"), ["BWT", "TARSUS"])
    cohort = bl.align_jointly(bl.pedigree_kinship(folder / "pedigree.csv"), people)
    return bl.decompose(cohort.K).rotate_jointly(cohort.Y, cohort.X)


@pytest.fixture(scope="session")
def gryphon_correlations(gryphon_pair) -> Correlations:
    """All methods on the pair, NUTS with 4 x 1,000 draws."""
    return bl.correlations(gryphon_pair, traits=["BWT", "TARSUS"], covariates=[["intercept"]] * 2, seed=1)


def residual_variance(data):
    """Variance of each trait given its covariates, by least squares: the unit of the priors, shape (t,)."""
    residual = data.Y - data.X @ np.linalg.lstsq(data.X, data.Y, rcond=None)[0]
    return np.square(residual).sum(axis=0) / (len(data.Y) - data.X.shape[1])


def request_of(data: RotatedData, covariates: Sequence[str]) -> TraitRequest:
    """Return a request for a trait that is called y, with the default settings."""
    return TraitRequest(
        seed=1, settings={}, program=univariate, own=False, attrs=None, white=whitened(data), trait="y",
        covariates=tuple(covariates), cohort=None, markers=None,
    )  # fmt: skip


def two_modes(groups: tuple[int, int, int], leading: float, *, seed: int = 1) -> RotatedData:
    """Return a trait whose posterior of h2 has two modes.

    Of three groups of eigenvalues, 0, 1 and a few leading ones, the variances are 1, 3 and 1: the second says that h2
    is high, and the third that it is low.
    """
    rng = np.random.default_rng(seed)
    s = np.repeat([0.0, 1.0, leading], groups)
    z = [rng.standard_normal(k) for k in groups]
    y = np.concatenate(
        [part * np.sqrt(v * len(part) / (part @ part)) for part, v in zip(z, (1.0, 3.0, 1.0), strict=True)]
    )
    X = np.zeros((len(s), 1))
    X[0] = 1.0
    return RotatedData(s / s.mean(), y[:, None], X, 1.0)


def as_given(data: Components) -> Components:
    """Return data whose priors are about each K as it is, as those of the references are."""
    return components(data.records, scales={one.name: 1.0 for one in data.records.components if one.K is not None})


@pytest.fixture(scope="session")
def gryphon_components(shared):
    """Records of the gryphons by model, such as "bwt" and "animal+mother", made once per session."""
    folder = shared / "gryphon_vc"
    pedigree = bl.pedigree_kinship(folder / "pedigree.csv")
    maternal = further_kinship(random_kinship(f"mgen={folder / 'pedigree.csv'}@mother"))
    read = {"sep": "\t", "dtype": {name: str for name in ("IID", "ID", "sex", "cohort", "mother", "age", "year")}}
    bwt = pd.read_csv(folder / "pheno.tsv", **read).merge(pd.read_csv(folder / "covar.tsv", **read), on="IID")
    bwt = bwt[bwt["BWT"].notna()]
    laydate = pd.read_csv(folder / "repeated_laydate.tsv", **read)
    made: dict[tuple[str, str], Components] = {}

    def part(name: str, table: pd.DataFrame, ids: str) -> Component:
        if name == "animal":
            return related(name, pedigree, table[ids].tolist())
        if name == "mgen" and maternal.level_of is not None:
            return related(name, maternal.kinship, table[ids].map(dict(maternal.level_of)).tolist())
        column = {"byear": "cohort", "pe": "ID"}.get(name, name)
        return grouped(name, table[column].tolist())

    def records(trait: str, model: str) -> Components:
        if (trait, model) not in made:
            table, ids = (bwt, "IID") if trait == "bwt" else (laydate, "ID")
            fixed = "sex" if trait == "bwt" else "age"
            names, columns = treatment_coding(fixed, table[fixed].tolist())
            X = np.column_stack([np.ones(len(table)), columns])
            y = table["BWT" if trait == "bwt" else "lay_date"].to_numpy(dtype=float)
            parts = tuple(part(name, table, ids) for name in model.split("+"))
            made[trait, model] = components(Records(trait, y, X, ("intercept", *names), parts, str(folder)))
        return made[trait, model]

    return records


@pytest.fixture(scope="session")
def gryphon_joint_components():
    """BWT and TARSUS by model, such as "animal+mother", made once per session; all but "animal" alone given sex.

    Of everybody, or of the first n.
    """
    read = {"sep": "\t", "dtype": {name: str for name in ("IID", "sex", "cohort", "mother")}}
    table = pd.read_csv(GRYPHON / "pheno.tsv", **read).merge(pd.read_csv(GRYPHON / "covar.tsv", **read), on="IID")
    table = table[table[["BWT", "TARSUS"]].notna().any(axis=1)]
    columns = {"byear": "cohort", "mother": "mother"}
    made: dict[tuple[str, int | None], JointComponents] = {}

    def records(model: str, n: int | None = None) -> JointComponents:
        if (model, n) not in made:
            some = table.head(n or len(table))
            first, *groups = model.split("+")
            parts = [related(first, bl.pedigree_kinship(GRYPHON / "pedigree.csv"), some["IID"].tolist())]
            parts += [grouped(name, some[columns[name]].tolist()) for name in groups]
            X = np.column_stack([np.ones(len(some)), some["sex"] == "2"])[:, : 2 if groups else 1]
            names = ("intercept", "sex_2")[: X.shape[1]]
            Y = some[["BWT", "TARSUS"]].to_numpy(dtype=float)
            of_all = JointRecords(("BWT", "TARSUS"), Y, (X, X), (names, names), tuple(parts))
            made[model, n] = joint_components(of_all)
        return made[model, n]

    return records


@pytest.fixture(scope="session")
def mouse_components(shared):
    """Records of the mice by model, such as "CD8" and "odd+even"."""
    of_markers = {"scale": "sample", "maf": 0.01, "geno": 0.05}
    typed = {
        "add": "",
        "odd": "@chr1,3,5,7,9,11,13,15,17,19",
        "even": "@chr2,4,6,8,10,12,14,16,18",
        "dom": "@dominance",
    }
    table = pd.read_csv(MOUSE / "pheno.tsv", sep="\t", dtype={"IID": str})
    table = table.merge(pd.read_csv(shared / "mouse_vc" / "litter.tsv", sep="\t", dtype=str), on="IID")
    kinships: dict[str, Kinship] = {}
    made: dict[tuple[str, str], Components] = {}

    def part(name: str, rows: pd.DataFrame) -> Component:
        if name == "fam":
            return grouped(name, rows["litter"].tolist())
        if name not in kinships:
            given = random_kinship(f"{name}={MOUSE / 'mouse_hs1940'}{typed[name]}")
            kinships[name] = further_kinship(given, **of_markers).kinship
        return related(name, kinships[name], rows["IID"].tolist())

    def records(trait: str, model: str) -> Components:
        if (trait, model) not in made:
            rows = table[table[trait].notna()]
            parts = tuple(part(name, rows) for name in model.split("+"))
            y = rows[trait].to_numpy(dtype=float)
            made[trait, model] = components(Records(trait, y, np.ones((len(y), 1)), ("intercept",), parts))
        return made[trait, model]

    return records


@pytest.fixture
def dense_records(rng):
    """Make few records with all forms of components: of relatives, of relatives with repeated records, groups."""

    def make(n: int = 60) -> Records:
        people = [f"p{i}" for i in range(n // 2)]
        W = rng.standard_normal((len(people), 40))
        kinship = Kinship(tuple(people), W @ W.T / 40 + 0.1 * np.eye(len(people)), "K")
        second = rng.standard_normal((len(people), 20))
        other = Kinship(tuple(people), second @ second.T / 20, "second K")
        ids = rng.permutation(people + people).tolist()
        parts = (
            grouped("year", rng.integers(0, 5, n).tolist()),
            related("animal", kinship, ids),
            related("maternal", other, rng.permutation(ids).tolist()),
            grouped("pe", ids),
        )
        X = np.column_stack([np.ones(n), rng.standard_normal((n, 2))])
        y = X @ [3.0, 1.0, -2.0] + sum(one.covariance() @ rng.standard_normal(n) / 4 for one in parts)
        return Records("y", y + rng.standard_normal(n), X, ("intercept", "a", "b"), parts)

    return make


@pytest.fixture
def dense_joint_records(rng):
    """Make few rows of several traits, some missing: of relatives, of mothers and of years, covariates of their own."""

    def make(t: int = 2, n: int = 48) -> JointRecords:
        people = tuple(f"p{i}" for i in range(n))
        W = rng.standard_normal((n, 30))
        parts = (
            related("animal", Kinship(people, W @ W.T / 30 + 0.1 * np.eye(n), "K"), people),
            grouped("mother", rng.integers(0, 16, n).tolist()),
            grouped("year", rng.integers(0, 5, n).tolist()),
        )
        X = tuple(np.column_stack([np.ones(n), rng.standard_normal((n, j))]) for j in range(t))
        Y = rng.standard_normal((n, t)) @ (np.eye(t) + 0.4)
        for one in parts:
            L = np.linalg.cholesky(one.covariance() + 1e-9 * np.eye(n))
            Y += L @ rng.standard_normal((n, t)) @ (np.eye(t) + 0.3) / 2
        for j in range(t if t > 1 else 0):
            Y[j::7, j] = np.nan
        names = tuple(("intercept", *(f"x{i}" for i in range(j))) for j in range(t))
        return JointRecords(tuple(f"y{j + 1}" for j in range(t)), 3 + Y, X, names, parts)

    return make


@dataclass(frozen=True)
class BgenRecord:
    """A record of a BGEN file: ``numbers`` are the probabilities that are stored, as integers of ``bits`` bits."""

    numbers: Sequence[int]
    bits: int = 8
    alleles: Sequence[str] = ("A", "C")
    ploidy: Sequence[int] = (2, 2, 2)
    phased: bool = False
    name: str = "rs1"
    chrom: str = "01"
    pos: int = 7

    def probabilities(self) -> bytes:
        """Probabilities as they are stored, not compressed; a ploidy of 0x82 is that of someone who is missing."""
        n, copies = len(self.ploidy), [z & 0x3F for z in self.ploidy]
        whole = sum(number << (k * self.bits) for k, number in enumerate(self.numbers))
        packed = whole.to_bytes((len(self.numbers) * self.bits + 7) // 8, "little")
        head = struct.pack("<IHBB", n, len(self.alleles), min(copies), max(copies)) + bytes(self.ploidy)
        return head + struct.pack("<BB", self.phased, self.bits) + packed

    def packed(self, compression: int) -> bytes:
        """The whole record."""
        data = self.probabilities()
        if compression == 1:
            data = struct.pack("<I", len(data)) + zlib.compress(data)
        elif compression == 2:
            data = struct.pack("<I", len(data)) + pa.compress(data, codec="zstd", asbytes=True)
        words = b"".join(struct.pack("<H", len(word)) + word.encode() for word in ("", self.name, self.chrom))
        alleles = b"".join(struct.pack("<I", len(word)) + word.encode() for word in self.alleles)
        return words + struct.pack("<IH", self.pos, len(self.alleles)) + alleles + struct.pack("<I", len(data)) + data


def bgen_file(
    records: Sequence[BgenRecord], ids: Sequence[str] = (), *, n: int = 3, compression: int = 1, layout: int = 2
) -> bytes:
    """Return a BGEN file, with ids inside if there are some."""
    block = b"".join(struct.pack("<H", len(name)) + name.encode() for name in ids)
    if ids:
        block = struct.pack("<II", 8 + len(block), len(ids)) + block
    flags = compression | layout << 2 | bool(ids) << 31
    head = struct.pack("<III", 20, len(records), n) + b"bgen" + struct.pack("<I", flags)
    return struct.pack("<I", len(head) + len(block)) + head + block + b"".join(r.packed(compression) for r in records)
