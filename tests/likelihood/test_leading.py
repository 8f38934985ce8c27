import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError, InputWarning
from bayeslmm.kinship.kinship import Kinship
from conftest import GRYPHON


def test_components_of_a_pedigree_are_the_leading_eigenvectors():
    """Each lies in the span of the eigenvectors of LAPACK whose eigenvalues are within 1% of its own."""
    K = bl.pedigree_kinship(GRYPHON / "pedigree.csv").K
    found = bl.principal_components(bl.pedigree_products(GRYPHON / "pedigree.csv"), 5, seed=1)
    s, U = np.linalg.eigh(K)
    assert_allclose(found.T @ found, np.eye(5), atol=1e-10)
    assert_allclose(np.einsum("ij,ij->j", found, K @ found), s[::-1][:5], rtol=1e-6)
    for j, v in enumerate(found.T):
        near = np.abs(s - s[-1 - j]) < 0.01 * s[-1]
        assert_allclose(np.square(U[:, near].T @ v).sum(), 1, rtol=1e-4)


def test_all_components_of_few_people(rng):
    W = rng.standard_normal((12, 30))
    kinship = Kinship(tuple("abcdefghijkl"), W @ W.T / 30, "K")
    U = np.linalg.eigh(kinship.K)[1][:, ::-1]
    assert_allclose(np.abs(U[:, :11].T @ bl.principal_components(kinship, 11, seed=1)), np.eye(11), atol=1e-8)


def test_components_that_are_not_found_are_told(rng):
    K = np.diag(1 + 1e-3 * np.arange(200.0))
    with pytest.warns(InputWarning, match=r"K: after 2 passes \d of 3 principal components are not found"):
        bl.principal_components(Kinship(tuple(map(str, range(200))), K, "K"), 3, seed=1, most_passes=2)


@pytest.mark.parametrize("k", [0, 3])
def test_numbers_out_of_range_are_refused(k):
    with pytest.raises(InputError, match=f"pcs must lie between 1 and 2 for 3 individuals, but is {k}"):
        bl.principal_components(Kinship(("a", "b", "c"), np.eye(3), "K"), k, seed=1)
