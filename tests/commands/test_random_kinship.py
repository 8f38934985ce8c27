from pathlib import Path

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.commands.random_kinship import RandomKinship, further_kinship, random_kinship
from bayeslmm.genotypes.selection import Selection
from conftest import GRYPHON


@pytest.fixture
def three(tmp_path, rng):
    """Markers on chromosomes 1, 2 and 3."""
    G = rng.binomial(2, 0.4, (25, 30)).astype(float)
    to_bed(
        tmp_path / "x.bed",
        G,
        properties={"iid": [f"i{k}" for k in range(25)], "chromosome": [str(1 + k // 10) for k in range(30)]},
    )
    return tmp_path / "x", G


def hwe(G):
    f = G.mean(axis=0) / 2
    W = (G - 2 * f) / np.sqrt(2 * f * (1 - f))
    return W @ W.T / G.shape[1]


def test_what_is_typed_is_split():
    assert random_kinship("odd=a=b@c/x@chr1,3-5") == RandomKinship("odd", "a=b@c/x", "chr1,3-5")
    assert random_kinship("m=ped.csv@mother") == RandomKinship("m", "ped.csv", "mother")
    assert random_kinship("k=K.txt") == RandomKinship("k", "K.txt")
    assert str(random_kinship("k=K.txt@father")) == "--random-kinship k=K.txt@father"


@pytest.mark.parametrize("text", ["K.txt", "=K.txt", "k="])
def test_a_name_and_a_file_are_needed(text):
    with pytest.raises(InputError, match=f"^--random-kinship {text}: a name and a file are expected"):
        random_kinship(text)


def test_what_is_made_of_a_file_is_known_or_a_part_of_its_name(tmp_path):
    with pytest.raises(InputError, match=r"k=K.txt@dad: after @ one of @mother or @father of a pedigree, .* but 'dad'"):
        random_kinship("k=K.txt@dad")
    path = tmp_path / "K@dad"
    path.write_text("a b\n1 0.5\n0.5 1\n")
    assert random_kinship(f"k={path}") == RandomKinship("k", str(path))
    assert further_kinship(random_kinship(f"k={path}")).kinship.ids == ("a", "b")


def test_chromosomes_are_chosen_and_filters_kept(three):
    path, G = three
    for what, columns in {"chr1,3": np.r_[:10, 20:30], "chr2-3": np.r_[10:30], "chr2": np.r_[10:20]}.items():
        relation = further_kinship(random_kinship(f"odd={path}@{what}"), maf=0.0)
        assert_allclose(relation.kinship.K, hwe(G[:, columns]), atol=1e-6)
        assert relation.level_of is None
    some = further_kinship(random_kinship(f"odd={path}@chr1"), maf=0.4, scale="vanraden").kinship
    assert_array_equal(
        some.K, bl.genomic_kinship(bl.open_genotypes(path, chromosomes="1"), maf=0.4, scale="vanraden").K
    )
    assert "left out: 20 on chromosomes 1, 3" in relation.line()
    with pytest.raises(InputError, match=r"x\.bed has no chromosome '7'"):
        further_kinship(random_kinship(f"odd={path}@chr1,7"))


def test_genotypes_dominance_matrices_and_pedigrees_are_found(three, tmp_path):
    path, G = three
    whole = further_kinship(random_kinship(f"all={path}"), maf=0.0)
    assert_allclose(whole.kinship.K, hwe(G), atol=1e-6)
    dominance = further_kinship(random_kinship(f"dom={path}@dominance"))
    assert_array_equal(dominance.kinship.K, bl.dominance_kinship(path).K)
    assert dominance.line().startswith("dom: 25 individuals; dominance; markers: ")
    bl.write_grm(whole.kinship, tmp_path / "g")
    for given in ("g", "g.grm.bin"):
        again = further_kinship(random_kinship(f"k={tmp_path / given}"))
        assert_allclose(again.kinship.K, whole.kinship.K, atol=1e-6)
    assert "GCTA's matrix in float32" in again.line()
    pedigree = further_kinship(random_kinship(f"a={GRYPHON / 'pedigree.csv'}"))
    assert_array_equal(pedigree.kinship.K, bl.pedigree_kinship(GRYPHON / "pedigree.csv").K)
    assert "pedigree: 1,309 animals" in pedigree.line()
    with pytest.raises(InputError, match="kinship nothing: there is no such file"):
        further_kinship(random_kinship("k=nothing"))


def test_selected_individuals_are_those_of_a_further_kinship(three, write, tmp_path):
    path, _ = three
    keep = Selection(keep=write("keep.txt", "i3\ni1\n"))
    bl.write_grm(bl.genomic_kinship(path), tmp_path / "g")
    for given in (f"k={path}", f"k={tmp_path / 'g'}", f"k={path}@chr1", f"k={path}@dominance"):
        assert further_kinship(random_kinship(given), maf=0.0, selection=keep).kinship.ids == ("i1", "i3")


def test_files_that_are_read_are_told(three, tmp_path):
    path, _ = three
    fileset = [Path(f"{path}{suffix}") for suffix in (".bed", ".bim", ".fam")]
    for what in ("", "@chr1", "@dominance"):
        assert random_kinship(f"k={path}{what}").files == fileset
    bl.write_grm(bl.genomic_kinship(path), tmp_path / "g")
    assert random_kinship(f"k={tmp_path / 'g'}").files == [Path(f"{tmp_path}/g.grm.bin"), Path(f"{tmp_path}/g.grm.id")]
    assert random_kinship("m=ped.csv@mother").files == [Path("ped.csv")]
    assert random_kinship("k=K.txt").files == [Path("K.txt")]
