import sys

import numpy as np
import pytest
from bed_reader import open_bed
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.genotypes.plink import read_bim
from bayeslmm.studies import coalescent


@pytest.fixture(scope="module")
def unrelated(tmp_path_factory):
    """150 people: their fileset, its .bim and dosages."""
    prefix = tmp_path_factory.mktemp("coalescent") / "cohort"
    bl.write_coalescent(prefix, people=150, markers=4400, rng=np.random.default_rng(1))
    with open_bed(prefix.with_suffix(".bed")) as bed:
        return prefix, read_bim(prefix.with_suffix(".bim")), bed.read(dtype="float64")


def test_the_files_are_those_asked_for(unrelated):
    prefix, bim, G = unrelated
    assert sorted(path.name for path in prefix.parent.iterdir()) == ["cohort.bed", "cohort.bim", "cohort.fam"]
    assert G.shape == (150, 4400)
    assert np.isin(G, [0, 1, 2]).all()
    assert bim["chrom"].value_counts().to_dict() == {str(k + 1): 200 for k in range(22)}
    assert bim["snp"].is_unique
    for _, sites in bim.groupby("chrom"):
        assert (np.diff(sites["pos"]) > 0).all()
        assert 1 <= sites["pos"].min() < sites["pos"].max() <= 200 * 5000


def test_frequencies_are_those_of_a_neutral_population(unrelated):
    """Younger alleles have density 1 / f: from 0.05 to 0.95 the mean of f, and that of 2 f (1 - f), is 0.9 / log 19.

    Both differ between seeds by 0.004 (standard deviation over 6 of them).
    """
    _, _, G = unrelated
    f = G.mean(axis=0) / 2
    assert np.minimum(f, 1 - f).min() >= 0.05
    assert_allclose(f.mean(), 0.9 / np.log(19), atol=0.016)
    assert_allclose((2 * f * (1 - f)).mean(), 0.9 / np.log(19), atol=0.016)
    # Hardy and Weinberg: heterozygotes, against the same.
    assert_allclose((G == 1).mean(), (2 * f * (1 - f)).mean(), atol=0.01)


def test_linkage_disequilibrium_decays_as_theory_says(unrelated):
    """Ohta and Kimura (1971): (10 + r) / (22 + 13 r + r^2), r = 4 N c; without rare alleles, within 35%."""
    _, bim, G = unrelated
    W = (G - G.mean(axis=0)) / G.std(axis=0)
    r2 = (W[:, :-1] * W[:, 1:]).mean(axis=0) ** 2
    gap = np.where(np.diff(bim["chrom"].astype(int)) == 0, np.diff(bim["pos"]), -1)
    for least, most in ((500, 2000), (2000, 5000), (5000, 10_000), (10_000, 20_000)):
        near = (gap >= least) & (gap < most)
        r = 4e4 * 1e-8 * gap[near]
        assert_allclose(r2[near].mean(), ((10 + r) / (22 + 13 * r + r**2)).mean(), rtol=0.35)
    across = (W[:, :1000].T @ W[:, -1000:] / len(W)) ** 2
    assert_allclose(across.mean(), 1 / (len(W) - 1), rtol=0.1)


def test_siblings_share_half_and_others_nothing(tmp_path):
    bl.write_coalescent(tmp_path / "x", people=100, markers=1100, siblings=3, rng=np.random.default_rng(2))
    K = bl.genomic_kinship(tmp_path / "x").K
    with open_bed(tmp_path / "x.bed") as bed:
        family, names = bed.fid, bed.iid
    assert names.tolist() == [f"P{i + 1:03d}" for i in range(100)]
    assert np.unique(family, return_counts=True)[1].tolist() == [3] * 33 + [1]
    same = family[:, None] == family
    kin = same & ~np.eye(100, dtype=bool)
    # 99 pairs, each with a standard deviation of 0.09 on this short genome.
    assert_allclose(K[kin].mean(), 0.5, atol=0.04)
    assert_allclose(K[~same].mean(), -1 / 99 * (1 + 2 * 0.5), atol=0.005)  # rows of K add up to 0
    assert_allclose(np.diag(K).mean(), 1, atol=0.03)


def test_the_seed_decides(tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        bl.write_coalescent(tmp_path / name, people=10, markers=20, chromosomes=2, rng=np.random.default_rng(seed))
    a, b, c = ((tmp_path / f"{name}.bed").read_bytes() + (tmp_path / f"{name}.bim").read_bytes() for name in "abc")
    assert a == b != c


def test_where_common_sites_are_too_few_chromosomes_become_longer(tmp_path, monkeypatch):
    monkeypatch.setattr(coalescent, "SPACING", 200)
    bl.write_coalescent(tmp_path / "x", people=20, markers=600, chromosomes=2, rng=np.random.default_rng(1))
    with open_bed(tmp_path / "x.bed") as bed:
        assert bed.shape == (20, 600)
        assert bed.bp_position.max() > coalescent.SHORTEST > 300 * coalescent.SPACING


@pytest.mark.parametrize(
    "numbers",
    [{"people": 1}, {"markers": 3}, {"siblings": 0}, {"chromosomes": 0}],
)
def test_too_small_numbers_are_refused(tmp_path, numbers):
    with pytest.raises(bl.InputError, match="coalescent genotypes need at least 2 people, families of at least 1"):
        bl.write_coalescent(
            tmp_path / "x", **({"people": 10, "markers": 20, "chromosomes": 4} | numbers), rng=np.random.default_rng(1)
        )


def test_without_msprime_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "msprime", None)
    with pytest.raises(bl.InputError, match=r"need msprime: pip install 'bayeslmm\[msprime\]'"):
        bl.write_coalescent(tmp_path / "x", people=10, markers=30, rng=np.random.default_rng(1))
