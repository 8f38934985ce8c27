import json

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.cohort.align import kinship_of
from bayeslmm.kinship.covariance import Covariance
from bayeslmm.kinship.kinship import Kinship, centre
from conftest import MOUSE


@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
def test_kinship_is_the_dense_product(plink, scale):
    prefix, G, ids = plink
    kinship = bl.genomic_kinship(prefix, scale=scale, maf=0.0, geno=1.0)
    mean = np.nanmean(G, axis=0)
    Z = np.where(np.isnan(G), mean, G) - mean
    expected = 2 * (mean / 2) * (1 - mean / 2)
    dense = {
        "hwe": (Z / expected) @ Z.T / 50,
        "sample": (Z / Z.var(axis=0)) @ Z.T / 50,
        "vanraden": Z @ Z.T / expected.sum(),
    }[scale]
    assert_allclose(kinship.K, dense, atol=1e-6)
    assert list(kinship.ids) == ids


def dominance_codes(G):
    """Zhu et al. 2015 and the documentation of GCTA's --make-grm-d, marker by marker, 0 where missing."""
    f = np.nanmean(G, axis=0) / 2
    x = np.where(G == 2, 4 * f - 2, np.where(G == 1, 2 * f, 0))
    return np.where(np.isnan(G), 0, (x - 2 * f**2) / (2 * f * (1 - f)))


def test_dominance_is_the_dense_product(plink):
    prefix, G, ids = plink
    kinship = bl.dominance_kinship(prefix, maf=0.0, geno=1.0)
    W = dominance_codes(G)
    assert_allclose(kinship.K, W @ W.T / 50, atol=1e-6)
    assert list(kinship.ids) == ids
    assert kinship.origin_line().startswith("dominance; markers: 50 of 50 used; dropped: 0 monomorphic")


def test_dominance_is_the_same_whichever_allele_is_counted(tmp_path, plink):
    prefix, G, ids = plink
    to_bed(tmp_path / "other.bed", 2 - G, properties={"iid": ids, "chromosome": ["1"] * G.shape[1]})
    assert_allclose(bl.dominance_kinship(tmp_path / "other").K, bl.dominance_kinship(prefix).K, atol=1e-6)


def test_dominance_of_heterozygotes_at_one_half_is_told_from_missing(tmp_path):
    """Both are at the mean of the marker."""
    G = np.array([[0.0, 2], [1, 1], [np.nan, 0], [2, 0], [1, np.nan], [1, 1]])
    to_bed(tmp_path / "x.bed", G)
    W = dominance_codes(G)
    assert_allclose(bl.dominance_kinship(tmp_path / "x", geno=0.5).K, W @ W.T / 2, atol=1e-6)


def test_dominance_of_dosages_is_refused(shared):
    with pytest.raises(InputError, match=r"marker \d+: dominance is that of called genotypes, but .* has the dosage"):
        bl.dominance_kinship(bl.open_genotypes(shared / "file_formats" / "mice300_dosage", format="pfile"))


def test_dominance_of_the_mice_equals_the_reference(shared):
    wanted = json.loads((shared / "mouse_vc" / "reference.json").read_text())["kinship"]["values"]["dom"]
    K = bl.dominance_kinship(MOUSE / "mouse_hs1940").K
    assert_allclose(np.diag(K).mean(), wanted["mean_diag"], rtol=1e-7)
    assert_allclose(np.linalg.norm(K), wanted["frobenius"], rtol=1e-7)
    assert_allclose(K[:3, :3], wanted["corner3"], atol=1e-6)


@pytest.mark.slow
def test_kinship_equals_gemma(mouse_kinship, mouse_reference):
    for scale, name in (("sample", "sXX"), ("vanraden", "cXX")):
        K, reference = mouse_kinship(scale).K, mouse_reference["kinship"][name]
        ours = K * (reference["mean_diag"] / np.diag(K).mean())
        found = [ours[0, 0], ours[0, 1], ours[1, 1], ours[-1, -1]]
        expected = [reference[key] for key in ("K_0_0", "K_0_1", "K_1_1", "K_last_last")]
        assert_allclose(found, expected, atol=1e-6)
        assert_allclose(np.linalg.norm(ours), reference["frobenius"], rtol=1e-6)
        assert_allclose(np.linalg.eigvalsh(ours)[:-6:-1], reference["largest_eigenvalues"], rtol=1e-6)


def test_mouse_markers_are_counted(mouse_kinship):
    counts = mouse_kinship("hwe").details["markers"]
    assert {name: count for name, count in counts.items() if count} == {
        "read": 12226,
        "kept": 10783,
        "monomorphic": 1230,
        "below_maf": 213,
    }


def test_centre_is_jkj(rng):
    A = rng.standard_normal((9, 9))
    K = A @ A.T
    J = np.eye(9) - 1 / 9
    assert_allclose(centre(K), J @ K @ J, atol=1e-12)


def test_a_kinship_is_a_covariance(rng):
    """Its products, parts and diagonal are those of K."""
    W, V = rng.standard_normal((6, 9)), rng.standard_normal((6, 2))
    kinship = Kinship(tuple("abcdef"), W @ W.T / 9, "k", {"scale": "hwe"})
    covariance: Covariance = kinship
    assert_allclose(covariance @ V, kinship.K @ V)
    assert_allclose(covariance.diagonal(), np.einsum("ij,ij->i", W, W) / 9)
    part = covariance.take([4, 0])
    assert (part.ids, part.source, part.details) == (("e", "a"), "k", {"scale": "hwe"})
    assert_allclose(part.dense(), (W @ W.T / 9)[[4, 0]][:, [4, 0]])
    everybody = np.arange(6)
    assert_allclose(np.diag(kinship_of(kinship, everybody, centred=False, normalised=True)).mean(), 1)
    assert_allclose(kinship_of(kinship, everybody, centred=True, normalised=True) @ np.ones((6, 1)), 0, atol=1e-12)


def test_asymmetric_kinship_is_refused():
    K = np.eye(3)
    K[0, 2] = 0.5
    with pytest.raises(InputError, match=r"must be symmetric, but row 1 column 3 is 0.5 and row 3 column 1 is 0"):
        Kinship(("a", "b", "c"), K, "K.txt")


def test_nan_in_kinship_is_refused():
    K = np.eye(3)
    K[1, 1] = np.nan
    with pytest.raises(InputError, match=r"K\.txt: the kinship matrix must hold finite numbers only, but 1 of 9"):
        Kinship(("a", "b", "c"), K, "K.txt")


def test_shape_and_ids_must_fit():
    with pytest.raises(InputError, match=r"must be square, but it has shape \(2, 3\)"):
        Kinship(("a", "b"), np.ones((2, 3)), "K.txt")
    with pytest.raises(InputError, match="3 ids were given for a K of 2 rows"):
        Kinship(("a", "b", "c"), np.eye(2), "K.txt")
    with pytest.raises(InputError, match="ids must be unique"):
        Kinship(("a", "a"), np.eye(2), "K.txt")


def test_relationships_whose_squares_are_no_numbers_are_refused():
    with pytest.raises(InputError, match=r"relationships of about 1, but the largest is 1e\+150: rescale it"):
        Kinship(("a", "b"), np.eye(2) * 1e150, "K.txt")


def test_a_fileset_of_sex_chromosomes_opens_but_makes_no_kinship(tmp_path, rng):
    to_bed(tmp_path / "x.bed", rng.binomial(2, 0.4, (20, 3)).astype(float), properties={"chromosome": ["23"] * 3})
    genotypes = bl.open_genotypes(tmp_path / "x")
    with pytest.raises(InputError, match=r"all markers are on chromosomes of which no kinship is made .*23 \(X\)"):
        bl.genomic_kinship(genotypes)
    assert bl.genomic_kinship(bl.open_genotypes(tmp_path / "x", chromosomes=["23"])).details["markers"]["kept"] == 3


def test_memory_is_asked_for_before_a_kinship(plink, monkeypatch):
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 10_000.0)
    with pytest.raises(InputError, match=r"the kinship of 30 individuals needs 1.08e-05 GB of memory"):
        bl.genomic_kinship(plink[0])
