import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import bayeslmm as bl
from bayeslmm.genotypes.pgen import read_psam, read_pvar
from conftest import REFERENCES

PVAR = "#CHROM\tPOS\tID\tREF\tALT\n1\t5\ta\tG\tA\nX\t9\tb\tC\tT,G\n"

pgenlib = pytest.importorskip("pgenlib")


def write_pgen(prefix, G):
    """Write dosages of n people and p markers with pgenlib."""
    n, p = G.shape
    writer = pgenlib.PgenWriter(f"{prefix}.pgen".encode(), n, variant_ct=p, nonref_flags=False, dosage_present=True)
    for column in np.where(np.isnan(G), -9, G).astype(np.float32).T:
        writer.append_dosages(np.ascontiguousarray(column))
    writer.close()
    rows = [f"1\t{j + 1}\ts{j}\tA\tC\n" for j in range(p)]
    prefix.with_name(f"{prefix.name}.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(rows))
    prefix.with_name(f"{prefix.name}.psam").write_text("#IID\n" + "".join(f"p{i}\n" for i in range(n)))


@pytest.fixture
def calls(tmp_path):
    for suffix in ("pgen", "pvar", "psam"):
        shutil.copyfile(REFERENCES / f"calls.{suffix}", tmp_path / f"x.{suffix}")
    return tmp_path / "x"


def test_dosages_are_read_in_steps_of_1_over_16384(tmp_path, rng):
    G = rng.uniform(0, 2, (20, 6))
    G[rng.uniform(size=G.shape) < 0.2] = np.nan
    write_pgen(tmp_path / "d", G)
    genotypes = bl.open_genotypes(tmp_path / "d")
    with genotypes.reader() as reader:
        for rows in (None, np.array([7, 2])):
            found = reader.read(rows, np.array([4, 0, 5]), "float64")
            assert_allclose(found, (G if rows is None else G[rows])[:, [4, 0, 5]], atol=1 / 16384)


def test_pvar_with_and_without_header_and_compressed(write, tmp_path):
    expected = {"chrom": ["1", "X"], "snp": ["a", "b"], "pos": [5, 9], "a1": ["A", "T,G"], "a0": ["G", "C"]}
    (tmp_path / "z.pvar.zst").write_bytes(pa.compress(f"##x\n{PVAR}".encode(), codec="zstd", asbytes=True))
    bare = "".join(f"{c} {s} 0 {p} {a1} {a0}\n" for c, s, p, a1, a0 in zip(*expected.values(), strict=True))
    for path in (write("h.pvar", f"##x\n{PVAR}"), write("b.pvar", bare), tmp_path / "z.pvar.zst"):
        pd.testing.assert_frame_equal(read_pvar(path)[list(expected)], pd.DataFrame(expected))


def test_psam_with_and_without_fid_and_header(write):
    assert read_psam(write("a.psam", "#IID\tSEX\np1\tNA\np2\t1\n")) == (("0", "0"), ("p1", "p2"))
    assert read_psam(write("b.psam", "##x\n#FID\tIID\nf1\tp1\nf2\tp2\n")) == (("f1", "f2"), ("p1", "p2"))
    assert read_psam(write("c.psam", "f1 p1 0 0 1 -9\nf2 p2 0 0 1 -9\n")) == (("f1", "f2"), ("p1", "p2"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the column #CHROM"),
        ("#CHROM\tPOS\tID\tREF\n1\t5\ta\tG\n", "line 1: a .pvar has the column ALT"),
        ("#CHROM\tPOS\tID\tREF\tALT\n", "has no marker"),
        ("#CHROM\tPOS\tID\tREF\tALT\n1\t5\ta\tG\tA\n1\t6\tb\n", "line 3: 5 columns were expected"),
        ("#CHROM\tPOS\tID\tREF\tALT\n1\tfive\ta\tG\tA\n", r"line 2 \(a\): the position must be a whole number"),
    ],
)
def test_a_pvar_that_is_none_is_refused(write, text, message):
    with pytest.raises(bl.InputError, match=message):
        read_pvar(write("x.pvar", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "holds no individual"),
        ("#IID\n", "holds no individual"),
        ("#SID\na\n", "has a column IID"),
        ("#FID\tIID\nf1\n", "line 2: 2 columns were expected"),
        ("#IID\na\na\n", "ids must be unique"),
    ],
)
def test_a_psam_that_is_none_is_refused(write, text, message):
    with pytest.raises(bl.InputError, match=message):
        read_psam(write("x.psam", text))


def test_files_of_different_runs_are_refused(calls):
    psam = calls.with_suffix(".psam")
    psam.write_text(psam.read_text() + "more\tNA\n")
    with pytest.raises(bl.InputError, match=r"x.pgen cannot be read .*contains 5 samples"):
        bl.open_genotypes(calls)


def test_a_pgen_that_is_cut_off_is_refused(calls):
    pgen = calls.with_suffix(".pgen")
    whole = pgen.read_bytes()
    for size in (0, 2, 15, len(whole) - 3):
        pgen.write_bytes(whole[:size])
        with pytest.raises(bl.InputError, match=r"x\.pgen (cannot be read|is damaged or cut off)"):
            read_all(bl.open_genotypes(calls))
    pgen.unlink()
    with pytest.raises(bl.InputError, match=r"x\.pgen does not exist"):
        bl.open_genotypes(calls, format="pfile")


def read_all(genotypes):
    with genotypes.reader() as reader:
        return reader.read(None, range(genotypes.n_markers), "float32")


def test_a_damaged_zst_is_refused(calls):
    pvar = calls.with_suffix(".pvar")
    packed = pa.compress(pvar.read_bytes(), codec="zstd", asbytes=True)
    pvar.unlink()
    calls.with_name("x.pvar.zst").write_bytes(packed)
    assert_array_equal(read_all(bl.open_genotypes(calls)), read_all(bl.open_genotypes(REFERENCES / "calls.pgen")))
    calls.with_name("x.pvar.zst").write_bytes(packed[:-9])
    with pytest.raises(bl.InputError, match=r"x\.pvar\.zst cannot be read .*: it is damaged or cut off"):
        bl.open_genotypes(calls)
