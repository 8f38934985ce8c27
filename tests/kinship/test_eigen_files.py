import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError


@pytest.fixture
def written(rng, write):
    """Write eigenvalues and eigenvectors as GEMMA does, with ten digits; return their paths and K."""
    W = rng.standard_normal((6, 9))
    K = W @ W.T / 9
    s, U = np.linalg.eigh(K)
    values = write("x.eigenD.txt", "".join(f"{value:.10g}\n" for value in s))
    vectors = write("x.eigenU.txt", "".join("\t".join(f"{value:.10g}" for value in row) + "\t\n" for row in U))
    return values, vectors, K


def test_the_kinship_comes_back(written, write):
    values, vectors, K = written
    kinship = bl.read_eigen(values, vectors, fam=write("x.id", "".join(f"p{i}\n" for i in range(6))))
    assert kinship.ids == tuple(f"p{i}" for i in range(6))
    assert_allclose(kinship.K, K, atol=1e-9)


def test_individuals_are_those_with_a_phenotype(written, write):
    """GEMMA leaves out those whose sixth column is -9 or NA before it decomposes."""
    values, vectors, K = written
    phenotypes = ["1", "-9", "2.5", "3", "NA", "0", "4", "1"]
    fam = write("x.fam", "".join(f"f p{i} 0 0 1 {value}\n" for i, value in enumerate(phenotypes)))
    kinship = bl.read_eigen(values, vectors, fam=fam)
    assert kinship.ids == ("p0", "p2", "p3", "p5", "p6", "p7")
    assert_allclose(kinship.K, K, atol=1e-9)
    assert "those of" in kinship.origin_line()


def test_other_individuals_and_damaged_files_are_refused(written, write):
    values, vectors, _ = written
    with pytest.raises(InputError, match=r"has 6 individuals, but .*y\.id has 7: give the ids"):
        bl.read_eigen(values, vectors, fam=write("y.id", "".join(f"p{i}\n" for i in range(7))))
    ids = write("x.id", "".join(f"p{i}\n" for i in range(6)))
    with pytest.raises(InputError, match="must hold orthonormal eigenvectors"):
        bl.read_eigen(values, write("U.txt", vectors.read_text().replace("0.", "0.9")), fam=ids)
    with pytest.raises(InputError, match=r"is 1 x 2, but .* has 6 eigenvalues"):
        bl.read_eigen(values, write("U.txt", "1 2\n"), fam=ids)
    with pytest.raises(InputError, match="stand one in a line"):
        bl.read_eigen(vectors, vectors, fam=ids)
