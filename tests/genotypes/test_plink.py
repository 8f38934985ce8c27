import os

import pytest
from bed_reader import to_bed

import bayeslmm as bl
from bayeslmm.base.checks import InputError
from bayeslmm.genotypes.blocks import MarkerBlocks
from bayeslmm.genotypes.genotypes import open_genotypes
from bayeslmm.genotypes.plink import read_bim


def test_damaged_files_are_refused(plink):
    prefix, _, _ = plink
    bed = prefix.with_suffix(".bed")
    whole = bed.read_bytes()
    bed.write_bytes(whole[:-5])
    with pytest.raises(
        InputError, match=r"toy\.bed is truncated: 30 individuals and 50 markers need 403 bytes, but 398"
    ):
        open_genotypes(prefix)
    bed.write_bytes(whole + b"\x00")
    with pytest.raises(InputError, match="is too long"):
        open_genotypes(prefix)
    bed.write_bytes(b"abc" + whole[3:])
    with pytest.raises(InputError, match=r"must begin with the bytes 6c 1b 01 .* but it is 0x616263"):
        open_genotypes(prefix)
    bed.write_bytes(whole[:2] + b"\x00" + whole[3:])
    with pytest.raises(InputError, match="sample-major"):
        open_genotypes(prefix)
    prefix.with_suffix(".bim").unlink()
    with pytest.raises(InputError, match=r"toy\.bim does not exist"):
        open_genotypes(prefix)


def test_a_bed_that_shrinks_while_it_is_read_is_told(plink):
    prefix, *_ = plink
    blocks = iter(MarkerBlocks(open_genotypes(prefix), maf=0.0, geno=1.0, block=10))
    next(blocks)
    os.truncate(prefix.with_suffix(".bed"), 100)
    with pytest.raises(InputError, match=r"toy.bed changed while it was read"):
        list(blocks)


def test_families_are_those_of_the_fam(plink):
    prefix, _, ids = plink
    fam = prefix.with_suffix(".fam")
    lines = fam.read_text().splitlines()
    lines[3] = lines[3].replace("p3", "#F3", 1)
    fam.write_text("\n".join(lines) + "\n")
    assert open_genotypes(prefix).families[3] == "#F3"
    assert list(open_genotypes(prefix).ids) == ids


def test_bim_has_the_counted_allele_first(write):
    bim = read_bim(write("x.bim", "1 rs1 0 1000 A G\nX rs2 0.5 -9 T C\n"))
    assert bim.to_dict("records") == [
        {"chrom": "1", "snp": "rs1", "pos": 1000, "a1": "A", "a0": "G"},
        {"chrom": "X", "snp": "rs2", "pos": -9, "a1": "T", "a0": "C"},
    ]


def test_a_position_that_is_no_number_is_named(write):
    with pytest.raises(InputError, match=r"line 2 \(rs2\): the position must be a whole number below 2.53, but 'here'"):
        read_bim(write("x.bim", "1 rs1 0 1000 A G\n1 rs2 0 here T C\n"))


def test_quotes_are_letters(write):
    bim = read_bim(write("x.bim", '1 "rs1 0 1000 A G\n1 rs2" 0 1001 T C\n'))
    assert bim["snp"].tolist() == ['"rs1', 'rs2"']


def test_letters_that_are_not_utf8_are_refused(tmp_path):
    (tmp_path / "x.bim").write_bytes(b"1 rs1 0 1000 A G\n1 rs\xe9 0 1001 A G\n")
    with pytest.raises(InputError, match=r"x.bim line 2: the text must be UTF-8"):
        read_bim(tmp_path / "x.bim")


def test_too_few_columns_are_refused(write):
    with pytest.raises(InputError, match="six columns"):
        read_bim(write("x.bim", "1 rs1 1000 A G\n"))


@pytest.mark.parametrize("position", ["9223372036854775808", "99999999999999999999999", "1e300", "1.5", "inf", "0x1F"])
def test_positions_that_no_integer_holds_are_refused(write, position):
    with pytest.raises(InputError, match=r"line 2 \(b\): the position must be a whole number below 2\^53"):
        read_bim(write("x.bim", f"1 a 0 1 A G\n1 b 0 {position} A G\n"))


def test_a_line_that_is_too_short_is_named(write):
    with pytest.raises(InputError, match=r"line 3: a .bim has six columns, but 5 were found"):
        read_bim(write("x.bim", "1 a 0 1 A G\n\n1 b 0 2 A\n"))


def test_families_tell_repeated_iids_apart(tmp_path, write, rng):
    fids, iids = [f"f{i // 2}" for i in range(12)], [f"{i % 2 + 1}" for i in range(12)]
    properties = {"fid": fids, "iid": iids, "chromosome": ["1"] * 30}
    to_bed(tmp_path / "x.bed", rng.binomial(2, 0.4, (12, 30)).astype(float), properties=properties)
    both = tuple(f"{family} {iid}" for family, iid in zip(fids, iids, strict=True))
    kinship = bl.genomic_kinship(tmp_path / "x")
    assert kinship.ids == both
    rows = "".join(f"{family} {iid} {i * i % 7}.5\n" for i, (family, iid) in enumerate(zip(fids, iids, strict=True)))
    (cohort,) = bl.align(kinship, bl.measure(bl.read_table(write("t.txt", "FID IID y\n" + rows)), ["y"]))
    assert cohort.ids == both
    assert cohort.Y[:, 0].tolist() == [i * i % 7 + 0.5 for i in range(12)]
    kept = bl.open_genotypes(tmp_path / "x", selection=bl.Selection(keep=write("k.txt", "f0 1\nf3 2\nf9 1\n")))
    assert kept.ids == ("f0 1", "f3 2")
