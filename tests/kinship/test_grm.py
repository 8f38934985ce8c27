import gzip

import numpy as np
import pytest
from numpy.testing import assert_allclose

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.kinship.kinship import Kinship

IDS = ("a", "b", "c", "d")


@pytest.fixture
def folder(rng, tmp_path):
    """The same matrix in each format of GCTA, x.grm.bin, y.grm.gz, z.grm.sp, and its values."""
    W = rng.standard_normal((4, 9))
    K = W @ W.T / 9
    K[3, 0] = K[0, 3] = 0
    bl.write_grm(Kinship(IDS, K, "K", families=("1", "1", "2", "2")), tmp_path / "x")
    pairs = [(i, j) for i in range(4) for j in range(i + 1)]
    text = "".join(f"{i + 1}\t{j + 1}\t150\t{K[i, j]:.17g}\n" for i, j in pairs)
    (tmp_path / "y.grm.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "z.grm.sp").write_text("".join(f"{i}\t{j}\t{K[i, j]:.17g}\n" for i, j in pairs if K[i, j]))
    for name in "yz":
        (tmp_path / f"{name}.grm.id").write_text((tmp_path / "x.grm.id").read_text())
    return tmp_path, K


@pytest.mark.parametrize("name", ["x", "x.grm", "x.grm.bin", "y", "y.grm.gz", "z", "z.grm.sp"])
def test_all_formats_are_read_by_prefix_or_name(folder, name):
    path, K = folder
    kinship = bl.read_grm(path / name)
    assert kinship.ids == IDS
    assert kinship.families == ("1", "1", "2", "2")
    assert_allclose(kinship.K, K, rtol=1e-7)
    if "." in name[2:]:
        assert_allclose(bl.read_kinship(path / name).K, kinship.K, rtol=0)
    if name[0] == "z":
        assert "1 pairs that it leaves out have the relationship 0" in kinship.origin_line()


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("y.grm.gz", "1\t1\t9\t1\n", r"4 ids need 10 pairs|must hold each individual with itself, but 3 of 4"),
        ("y.grm.gz", "1\t1\t1\n", "4 columns were expected"),
        ("y.grm.gz", "1\t1\t9\t1\n5\t1\t9\t1\n", "row 2: the first individual must be a whole number from 1 to 4"),
        ("y.grm.gz", "1\t1\t9\t1\n2\tx\t9\t1\n", "row 2: the second individual must be .* but x was found"),
        ("y.grm.gz", "1\t1\t9\tx\n", "row 1: a relationship must be a number, but x was found"),
        ("y.grm.gz", "".join(f"{i}\t{i}\t9\t1\n" for i in (1, 2, 3, 4)), "4 ids need 10 pairs, but 6 are missing"),
        ("z.grm.sp", "0\t0\t1\n", r"each individual with itself, but 3 of 4 are not there \(b, c, d\)"),
        ("z.grm.sp", "0\t0\t1\n0\t0\t2\n", "a and a have two, 1 and 2|one relationship"),
        ("z.grm.sp", "4\t0\t1\n", "from 0 to 3"),
        ("z.grm.sp", "0\tinf\t1\n", "row 1: the second individual must be .* from 0 to 3, .* but inf was found"),
    ],
)
def test_malformed_lists_are_refused(folder, file, text, message):
    path, _ = folder
    (path / file).write_text(text)
    with pytest.raises(InputError, match=message):
        bl.read_grm(path / file)


def test_a_prefix_without_files_is_told(tmp_path):
    with pytest.raises(InputError, match=r"none\.grm\.bin does not exist"):
        bl.read_grm(tmp_path / "none")


def test_iids_may_repeat_if_families_differ(folder):
    path, K = folder
    (path / "x.grm.id").write_text("1 a\n1 b\n2 a\n2 b\n")
    kinship = bl.read_grm(path / "x")
    assert kinship.ids == ("1 a", "1 b", "2 a", "2 b")
    bl.write_grm(kinship, path / "again")
    assert (path / "again.grm.id").read_text() == "1\ta\n1\tb\n2\ta\n2\tb\n"
    assert_allclose(bl.read_grm(path / "again").K, np.float32(K), rtol=0)
