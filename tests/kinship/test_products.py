"""Kinships that multiply are those that are held: each against the dense matrix of the same source."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose
from scipy.sparse.linalg import aslinearoperator, eigsh

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.kinship import grm_products
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.kinship.descent import births, inbreeding
from conftest import GRYPHON, MOUSE


def check(products, kinship, *, tolerance, rng):
    """Products, diagonal, parts and parts of parts equal those of a matrix."""
    n = len(kinship.ids)
    covariance: Covariance = products
    assert covariance.ids == kinship.ids
    size = np.abs(kinship.K).max()
    V = rng.standard_normal((n, 3))
    scale = size * np.sqrt(n)
    assert_allclose(products @ V, kinship.K @ V, atol=tolerance * scale)
    assert_allclose(aslinearoperator(products) @ V[:, 0], kinship.K @ V[:, 0], atol=tolerance * scale)
    assert_allclose(products.diagonal(), np.diag(kinship.K), atol=tolerance * size)
    rows = rng.permutation(n)[: n // 2]
    part = products.take(rows)
    assert_allclose(part.diagonal(), np.diag(kinship.K)[rows], atol=tolerance * size)
    assert_allclose(part.dense(), kinship.K[np.ix_(rows, rows)], atol=tolerance * scale)
    few = part.take([3, 1])
    assert few.ids == (kinship.ids[rows[3]], kinship.ids[rows[1]])
    assert_allclose(few.dense(), kinship.K[np.ix_(rows[[3, 1]], rows[[3, 1]])], atol=tolerance * scale)


@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
def test_genotypes_with_missing_calls(plink, scale, rng):
    prefix, _, _ = plink
    products, kinship = (
        bl.genotype_products(prefix, scale=scale, maf=0.05),
        bl.genomic_kinship(prefix, scale=scale, maf=0.05),
    )
    assert products.take([4, 2]).details == kinship.details
    check(products, kinship, tolerance=1e-6, rng=rng)


def test_mice(mouse_kinship, rng):
    products, kinship = bl.genotype_products(MOUSE / "mouse_hs1940", geno=0.05, maf=0.01), mouse_kinship("hwe")
    V = rng.standard_normal((len(kinship.ids), 4))
    exact = kinship.K @ V
    assert np.linalg.norm(products @ V - exact) < 1e-6 * np.linalg.norm(exact)
    assert_allclose(products.diagonal(), np.diag(kinship.K), rtol=1e-5)


@pytest.mark.parametrize("slab", [1, 40, 1 << 24])
def test_grm_in_slabs(plink, tmp_path, rng, slab, monkeypatch):
    monkeypatch.setattr(grm_products, "_SLAB", slab)
    bl.write_grm(bl.genomic_kinship(plink[0]), tmp_path / "x")
    check(bl.grm_products(tmp_path / "x.grm.bin"), bl.read_grm(tmp_path / "x"), tolerance=1e-6, rng=rng)


def test_sparse_grm(tmp_path, rng):
    n = 30
    K = np.where(rng.uniform(size=(n, n)) < 0.1, rng.uniform(size=(n, n)), 0) + np.diag(rng.uniform(0.9, 1.1, n))
    pairs = [(i, j) for i in range(n) for j in range(i + 1) if K[i, j]]
    (tmp_path / "x.grm.sp").write_text("".join(f"{i}\t{j}\t{K[i, j]:.17g}\n" for i, j in pairs))
    (tmp_path / "x.grm.id").write_text("".join(f"f\tp{i}\n" for i in range(n)))
    check(bl.grm_products(tmp_path / "x"), bl.read_grm(tmp_path / "x"), tolerance=1e-14, rng=rng)
    assert bl.grm_products(tmp_path / "x").details == bl.read_grm(tmp_path / "x").details


def test_grm_files_that_cannot_be_multiplied_are_refused(plink, tmp_path):
    bl.write_grm(bl.genomic_kinship(plink[0]), tmp_path / "x")
    values = np.fromfile(tmp_path / "x.grm.bin", dtype="<f4")
    values[7] = np.nan
    values.tofile(tmp_path / "x.grm.bin")
    with pytest.raises(InputError, match=r"x\.grm\.bin: relationships must be numbers"):
        bl.grm_products(tmp_path / "x") @ np.ones((30, 1))
    values[:-1].tofile(tmp_path / "x.grm.bin")
    with pytest.raises(InputError, match="30 ids need 465 float32 values, but 464 were found"):
        bl.grm_products(tmp_path / "x")
    (tmp_path / "x.grm.bin").rename(tmp_path / "x.grm.gz")
    with pytest.raises(InputError, match=r"is a whole matrix in text: read it with read_grm"):
        bl.grm_products(tmp_path / "x")


def test_pedigree_of_the_gryphons(rng):
    products, kinship = bl.pedigree_products(GRYPHON / "pedigree.csv"), bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    assert products.details == kinship.details
    check(products, kinship, tolerance=1e-13, rng=rng)


@pytest.mark.parametrize("few", ["sires", "dams"])
def test_inbred_pedigree_with_selfing_and_generations_that_overlap(rng, few):
    n = 200
    sires, dams = (np.array([-1, *(int(rng.integers(max(0, i - 40), i)) for i in range(1, n))]) for _ in range(2))
    (sires if few == "sires" else dams)[10:] //= 5
    sires[rng.uniform(size=n) < 0.1] = -1
    dams[rng.uniform(size=n) < 0.1] = -1
    name = np.array(["0", *(f"a{i}" for i in range(n))])
    frame = pd.DataFrame({"id": name[1:], "sire": name[sires + 1], "dam": name[dams + 1]}).sample(
        frac=1, random_state=1
    )
    kinship = bl.pedigree_kinship(frame)
    assert (np.diag(kinship.K) > 1).sum() > 50
    assert (sires == dams).any()
    check(bl.pedigree_products(frame), kinship, tolerance=1e-13, rng=rng)


def test_inbreeding_after_generations_of_full_sibs():
    """Wright (1921): F rises as 0, 0, 1/4, 3/8, 1/2, 19/32."""
    sires = np.array([-1, -1, 0, 0, 2, 2, 4, 4, 6, 6, 8, 8])
    dams = np.where(sires < 0, -1, sires + 1)
    F = inbreeding(sires, dams, births(sires, dams))
    assert_allclose(F[::2], [0, 0, 1 / 4, 3 / 8, 1 / 2, 19 / 32], rtol=1e-15)


def test_animals_with_one_known_parent_are_not_inbred():
    sires, dams = np.array([-1, 0, -1]), np.array([-1, -1, 1])
    assert_allclose(inbreeding(sires, dams, births(sires, dams)), 0, atol=0)


def test_scipy_takes_them(rng):
    """Leading eigenvalues by ARPACK are those of the matrix."""
    products, kinship = bl.pedigree_products(GRYPHON / "pedigree.csv"), bl.pedigree_kinship(GRYPHON / "pedigree.csv")
    v0 = rng.standard_normal(len(kinship.ids))
    leading = np.linalg.eigvalsh(kinship.K)[-3:]
    assert_allclose(np.sort(eigsh(products, k=3, v0=v0, return_eigenvectors=False)), leading, rtol=1e-10)


def test_memory_is_asked_for_before_a_matrix_is_made(plink, monkeypatch):
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 100.0)
    with pytest.raises(InputError, match="multiply with it instead"):
        bl.genotype_products(plink[0]).dense()
