import gzip

import numpy as np
import pytest
from bed_reader import to_bed
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.chromosomes import chromosomes
from bayeslmm.genotypes.selection import Selection
from bayeslmm.kinship.from_genotypes import without
from conftest import MOUSE

SETS = ("coding", "regulatory", "other")


@pytest.fixture
def fileset(tmp_path, rng):
    """40 people, 60 markers on chromosomes 1 to 3 and X, some genotypes missing; sets of markers in no order."""
    G = rng.binomial(2, rng.uniform(0.2, 0.5, 60), (40, 60)).astype(float)
    G[rng.uniform(size=G.shape) < 0.02] = np.nan
    chromosome = np.repeat(["1", "2", "3", "X"], [20, 15, 15, 10])
    properties = {"iid": [f"i{k}" for k in range(40)], "chromosome": chromosome, "sid": [f"s{k}" for k in range(60)]}
    to_bed(tmp_path / "x.bed", G, properties=properties)
    return tmp_path / "x", [SETS[k] for k in rng.integers(0, 3, 50)]


@pytest.mark.parametrize("scale", ["hwe", "sample", "vanraden"])
def test_the_kinship_of_a_set_is_that_of_its_markers(fileset, write, scale):
    path, sets = fileset
    table = write("sets.txt", "".join(f"s{k}\t{name}\n" for k, name in enumerate(sets)))
    genotypes = bl.open_genotypes(path)
    found = bl.partition_kinships(genotypes, bl.read_partition(table, genotypes), scale=scale, geno=0.2)
    assert set(found) == set(SETS)
    whole = bl.genomic_kinship(genotypes, scale=scale, geno=0.2)
    total = np.zeros_like(whole.K)
    for name, kinship in found.items():
        listed = write(f"{name}.txt", "".join(f"s{k}\n" for k, one in enumerate(sets) if one == name))
        alone = bl.genomic_kinship(bl.open_genotypes(path, selection=Selection(extract=listed)), scale=scale, geno=0.2)
        assert_allclose(kinship.K, alone.K, atol=1e-10)
        assert kinship.details["markers"] == alone.details["markers"]
        assert kinship.details["markers"]["kept"] == sets.count(name)
        assert kinship.origin_line() == alone.origin_line()
        assert kinship.ids == whole.ids
        total += kinship.details["weight"] * kinship.K
    assert_allclose(sum(kinship.details["weight"] for kinship in found.values()), whole.details["weight"])
    assert_allclose(total / whole.details["weight"], whole.K, atol=1e-6)


def test_chromosomes_are_a_partition(fileset):
    path, _ = fileset
    genotypes = bl.open_genotypes(path)
    found = bl.partition_kinships(genotypes, bl.by_chromosome(genotypes), geno=0.2)
    assert [*found] == ["chr1", "chr2", "chr3"]
    for number in "123":
        alone = bl.genomic_kinship(bl.open_genotypes(path, chromosomes=number), geno=0.2)
        assert_allclose(found[f"chr{number}"].K, alone.K, atol=1e-10)
    chosen = bl.open_genotypes(path, chromosomes=["2", "X"])
    assert bl.by_chromosome(chosen).names == ("chr2", "chrX")


@pytest.mark.slow
def test_mouse_chromosomes_add_up_and_leave_one_out():
    """In blocks of markers that chromosomes divide: weighted they are the whole, and all but one are its LOCO."""
    genotypes = bl.open_genotypes(MOUSE / "mouse_hs1940")
    found = bl.partition_kinships(genotypes, bl.by_chromosome(genotypes))
    whole = bl.genomic_kinship(genotypes)
    weights = {name: kinship.details["weight"] for name, kinship in found.items()}
    assert len(found) == 19
    assert sum(weights.values()) == whole.details["weight"] == 10783
    total = sum(weights[name] * kinship.K for name, kinship in found.items())
    assert_allclose(total / 10783, whole.K, atol=2e-6)
    loco = without(whole, genotypes, chromosomes(genotypes.variants, where="")["7"])
    others = (total - weights["chr7"] * found["chr7"].K) / (10783 - weights["chr7"])
    assert_allclose(loco.K, others, atol=2e-6)


def test_what_is_left_out_is_told(fileset, write, tmp_path):
    path, _ = fileset
    genotypes = bl.open_genotypes(path)
    text = "".join(f"s{k} a\n" for k in range(5)) + "s55 b\ns7 b\nnowhere b\ns0 a\n"
    table = write("sets.txt", "#SNP set\n" + text)
    partition = bl.read_partition(table, genotypes)
    assert partition.names == ("a", "b")
    assert_array_equal(np.flatnonzero(partition.set_of >= 0), [0, 1, 2, 3, 4, 7])
    assert partition.said == (
        f"{table}: 6 markers of {path}.bed in 2 sets; 44 markers are in no set, and are left out; 1 of its 8 markers "
        "are not in the genotypes (nowhere)",
    )
    packed = tmp_path / "sets.txt.gz"
    packed.write_bytes(gzip.compress(text.encode()))
    assert_array_equal(bl.read_partition(packed, genotypes).set_of, partition.set_of)
    kinships = bl.partition_kinships(genotypes, partition, geno=0.3)
    assert [kinship.details["markers"]["kept"] for kinship in kinships.values()] == [5, 1]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty: the id of a marker and the name of its set"),
        ("snp set\n", "is empty: the id of a marker and the name of its set"),
        ("s1 a\ns2\n", "line 2: the id of a marker and the name of its set are expected, but 's2' was found"),
        ("s1 a b\n", "line 1: .* but 's1 a b' was found"),
        ("s1 a\ns1 b\n", "line 2: a marker is in one set, but s1 is in b and before in a: remove one"),
        ("q1 a\nq2 b\n", r"none of its 2 markers \(q1, q2\) is in .*x\.bed \(such as s0, s1, s2\)"),
    ],
)
def test_wrong_files_of_sets_are_one_line(fileset, write, text, message):
    with pytest.raises(InputError, match=message):
        bl.read_partition(write("sets.txt", text), bl.open_genotypes(fileset[0]))


def test_a_set_without_markers_is_refused(fileset, write, tmp_path):
    path, _ = fileset
    genotypes = bl.open_genotypes(path)
    a = "".join(f"s{k} a\n" for k in range(20))
    partition = bl.read_partition(write("sets.txt", f"{a}s55 b\n"), genotypes)
    with pytest.raises(InputError, match=r"set 'b' has no marker on a chromosome of which a kinship is made: leave it"):
        bl.partition_kinships(genotypes, partition, geno=0.5)
    partition = bl.read_partition(write("sets.txt", "s1 a\ns2 b\n"), genotypes)
    G = np.tile([0.0, 1, 2], (20, 1)).T.copy()
    G = np.column_stack([G.reshape(-1), np.zeros(60)])
    to_bed(tmp_path / "y.bed", G, properties={"sid": ["s1", "s2"], "chromosome": ["1", "1"]})
    constant = bl.open_genotypes(tmp_path / "y")
    with pytest.raises(
        InputError, match=r"set 'b' has no marker left of 1: 0 exceed .* 0.05, 1 are monomorphic, 0 are"
    ):
        bl.partition_kinships(constant, bl.read_partition(write("sets.txt", "s1 a\ns2 b\n"), constant))


def test_memory_is_asked_for_before_the_kinships(fileset, monkeypatch):
    genotypes = bl.open_genotypes(fileset[0])
    monkeypatch.setattr("bayeslmm.base.memory.available", lambda: 30_000.0)
    with pytest.raises(
        InputError, match=r"a kinship of 40 individuals for each of 3 sets of markers needs 4\.48e-05 GB"
    ):
        bl.partition_kinships(genotypes, bl.by_chromosome(genotypes))
