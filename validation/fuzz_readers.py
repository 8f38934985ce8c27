"""Mutated files of every reader: each is read, or refused in one line, and nothing else happens.

    python validation/fuzz_readers.py --mutations 50000

writes small files of each kind, changes bits, bytes, words and lines of one of them, reads the lot and uses what was
read as the commands do. It prints how many were read, read with a warning, and refused, by kind. `tests/test_fuzz.py`
runs some hundreds of the same. A ``.pgen`` and a VCF are not changed: random damage can end the process inside pgenlib
or cyvcf2.
"""

import argparse
import gzip
import io
import struct
import tempfile
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from bed_reader import to_bed
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import bayeslmm as bl
from bayeslmm.cohort.measurements import Measurements
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.genotypes.chromosomes import chromosomes
from bayeslmm.genotypes.genotypes import Genotypes
from bayeslmm.genotypes.plink import read_bim
from bayeslmm.scan.pairs import read_pairs

N, P = 12, 16
# What has been found in files of this field, or breaks parsers.
WORDS = [
    *("", "0", "-9", "-9.0", "NA", "nan", ".", "-", "*", "null", "inf", "-inf", "1e400", "1e-320", "1e308", "x"),
    *("1,5", "0x1F", "1_0", "9223372036854775808", "99999999999999999999999", "True", "p1", "P1", "p01", "1.0"),
    *("\t", " ", ",", ";", "\n", "\r", "\r\n", "\n\n", '"', "'", "#", "#FID IID\n", "\x00", "\x1b[31m", "\x85", "\x0c"),
    *("\ufeff", "é", "\u2028", "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16"), "x" * 140_000),
]
_BYTES = [b"\xff\xfe", b"\xe9", b"\x1f\x8b", b"\x1f\x8b\x08\x00", b"\xc3", b"PK\x03\x04"]


class Edit(NamedTuple):
    """One change of a file: what, where (shares of its length), and with what."""

    what: str
    start: float
    length: float
    payload: bytes


share = st.floats(0, 1, width=16)
EDITS = st.lists(
    st.builds(
        Edit,
        st.sampled_from(["flip", "insert", "replace", "word", "delete", "repeat", "cut", "swap lines", "drop line"]),
        share,
        st.sampled_from([0.0, 0.001, 0.01, 0.05, 0.3, 1.0]),
        st.sampled_from([*(word.encode() for word in WORDS), *_BYTES]) | st.binary(max_size=4),
    ),
    min_size=1,
    max_size=3,
)


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Return a file after these changes."""
    for what, share, length, payload in edits:
        at = int(share * len(data))
        end = min(len(data), at + 1 + int(length * len(data)))
        lines = data.splitlines(keepends=True)
        k = min(int(share * len(lines)), len(lines) - 1)
        if what == "flip" and at < len(data):
            data = data[:at] + bytes([data[at] ^ (1 << (len(payload) % 8))]) + data[at + 1 :]
        elif what == "insert":
            data = data[:at] + payload + data[at:]
        elif what == "replace":
            data = data[:at] + payload + data[end:]
        elif what == "word" and lines:
            words = lines[k].split()
            if words:
                words[min(int(length * len(words)), len(words) - 1)] = payload
            lines[k] = (b"\t" if b"\t" in lines[k] else b"," if b"," in lines[k] else b" ").join(words) + b"\n"
            data = b"".join(lines)
        elif what == "delete":
            data = data[:at] + data[end:]
        elif what == "repeat":
            data = data[:end] + data[at:]
        elif what == "cut":
            data = data[:at]
        elif what == "swap lines" and lines:
            lines[k], lines[-1] = lines[-1], lines[k]
            data = b"".join(lines)
        elif what == "drop line" and lines:
            data = b"".join(lines[:k] + lines[k + 1 :])
    return data


class Reader(NamedTuple):
    """Files that belong together, and what is done with them in their folder."""

    files: dict[str, bytes]
    read: Callable[[Path], object]


def readers() -> dict[str, Reader]:
    """Return a reader of each kind, with files that it takes."""
    rng = np.random.default_rng(3)
    ids = [f"p{i}" for i in range(N)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        G = rng.binomial(2, 0.4, (N, P)).astype(float)
        G[rng.uniform(size=G.shape) < 0.03] = np.nan
        properties = {"iid": ids, "chromosome": ["1"] * 8 + ["2"] * 4 + ["X"] * 4, "bp_position": range(1, P + 1)}
        to_bed(folder / "g.bed", G, properties=properties)
        plink = {path.name: path.read_bytes() for path in folder.iterdir()}
        pgen = _pgen(G, ids, folder)
        W = rng.standard_normal((N, 30))
        bl.write_grm(bl.Kinship(tuple(ids), W @ W.T / 30, "K"), folder / "k")
        grm = {path.name: path.read_bytes() for path in folder.glob("k.grm.*")}
    K = W @ W.T / 30
    rows = [" ".join([ids[i], *(f"{value:.6g}" for value in K[i])]) for i in range(N)]
    square = "\n".join([" ".join(["id", *ids]), *rows]) + "\n"
    bare = "\n".join(row.split(" ", 1)[1] for row in rows) + "\n"
    triangle = "".join("\t".join(row.split(" ")[1 : i + 2]) + "\n" for i, row in enumerate(rows))
    with_header = ("#FID\tIID\n" + "".join(f"0\t{name}\n" for name in ids)).encode()
    of_r = "\n".join([",".join(f'"{name}"' for name in ["", *ids]), *(row.replace(" ", ",") for row in rows)]) + "\n"
    lower = [(i, j) for i in range(N) for j in range(i + 1)]
    pairs = "".join(f"p{i} p{j} {K[i, j]:.6g}\n" for i, j in lower)
    kin0 = "#FID1 IID1 FID2 IID2 NSNP HETHET IBS0 KINSHIP\n" + "".join(
        f"0 p{i} 0 p{j} 9 0.1 0.1 {K[i, j] / 20:.6g}\n" for i, j in lower if i != j
    )
    numbered = "".join(f"{i + 1}\t{j + 1}\t9\t{K[i, j]:.6g}\n" for i, j in lower)
    sparse = "".join(f"{i}\t{j}\t{K[i, j]:.6g}\n" for i, j in lower if i - j < 3)
    s, U = np.linalg.eigh(K)
    values = "".join(f"{value:.10g}\n" for value in s)
    vectors = "".join("\t".join(f"{value:.10g}" for value in row) + "\n" for row in U)
    fam = "".join(f"0 {name} 0 0 1 {i}.5\n" for i, name in enumerate(ids))
    np.save(array := io.BytesIO(), K)
    pheno = "FID\tIID\ty\tage\tfarm\n" + "".join(
        f"f{i}\tp{i}\t{'-9.0' if i == 3 else f'{rng.normal():.4f}'}\t{20 + i * i % 7}\t{'abc'[i % 3]}\n"
        for i in range(N)
    )
    pedigree = "id,sire,dam\n" + "".join(
        f"p{i},{'NA' if i < 4 else f'p{i % 4}'},{'0' if i < 4 else f'p{i - 3}'}\n" for i in range(N)
    )
    text = {"t.tsv": pheno.encode()}
    frame = pd.read_csv(io.StringIO(pheno), sep="\t", dtype=str)
    frame.to_excel(workbook := io.BytesIO(), index=False)
    frame.assign(y=frame["y"].astype(float)).to_parquet(parquet := io.BytesIO())
    of_r_table = "\n".join(
        " ".join(f'"{word}"' for word in words)
        for words in (frame.columns.tolist(), *([str(i), *row] for i, row in enumerate(frame.to_numpy().tolist(), 1)))
    )
    phen = "".join(f"f{i} p{i} {rng.normal():.4f} {i % 3}\n" for i in range(N))
    psam = "#FID\tIID\tSEX\ty\n" + "".join(f"0\tp{i}\t{i % 3}\t{rng.normal():.4f}\n" for i in range(N))
    return {
        "table": Reader(text, lambda folder: _measured(folder / "t.tsv")),
        "table of blanks": Reader(
            {"t.tsv": pheno.replace("\t", "  ").encode()}, lambda folder: _measured(folder / "t.tsv")
        ),
        "table of commas": Reader(
            {"t.tsv": pheno.replace("\t", ",").encode()}, lambda folder: _measured(folder / "t.tsv")
        ),
        "compressed table": Reader(
            {"t.tsv.gz": gzip.compress(pheno.encode(), mtime=0)}, lambda folder: _measured(folder / "t.tsv.gz")
        ),
        "table of semicolons": Reader(
            {"t.csv": pheno.replace("\t", ";").replace(".", ",").encode()}, lambda folder: _measured(folder / "t.csv")
        ),
        "table of R": Reader({"t.txt": of_r_table.encode()}, lambda folder: _measured(folder / "t.txt")),
        "workbook": Reader({"t.xlsx": workbook.getvalue()}, lambda folder: _measured(folder / "t.xlsx")),
        "parquet": Reader({"t.parquet": parquet.getvalue()}, lambda folder: _measured(folder / "t.parquet")),
        "tables of GCTA": Reader(
            {"t.phen": phen.encode(), "t.covar": phen.encode(), "t.qcovar": phen.encode()}, _measured_of_gcta
        ),
        "fam and psam": Reader({"t.fam": fam.encode(), "t.psam": psam.encode()}, _measured_of_plink),
        "plink": Reader(plink, lambda folder: _genotyped(folder / "g")),
        "pgen": Reader(pgen, lambda folder: _opened(folder / "h.pgen")),
        "bgen": Reader(_bgen(G, ids), lambda folder: _opened(folder / "h.bgen", sample=folder / "h.sample")),
        "vcf-zarr": Reader({"h.vcz.zip": _vcf_zarr(G, ids)}, lambda folder: _opened(folder / "h.vcz.zip")),
        "selection": Reader(
            {"ids.txt": "".join(f"p{i} p{i}\n" for i in range(9)).encode(), "snps.txt": b"sid1\nsid3\nsid4\n"} | plink,
            lambda folder: _selected(folder),
        ),
        "grm": Reader(grm | text, lambda folder: _aligned(bl.read_grm(folder / "k"), folder)),
        "kinship with ids": Reader(
            {"k.txt": square.encode()} | text, lambda folder: _aligned(bl.read_kinship(folder / "k.txt"), folder)
        ),
        "compressed kinship": Reader(
            {"k.gz": gzip.compress(square.encode(), mtime=0)} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.gz"), folder),
        ),
        "kinship without ids": Reader(
            {"k.txt": bare.encode(), "k.id": "".join(f"{name} {name}\n" for name in ids).encode()} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.txt", fam=folder / "k.id"), folder),
        ),
        "kinship of plink": Reader(
            {"k.rel": bare.encode(), "k.rel.id": with_header} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.rel"), folder),
        ),
        "triangle": Reader(
            {"k.rel": triangle.encode(), "k.rel.id": with_header} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.rel"), folder),
        ),
        "binary kinship of plink": Reader(
            {"k.rel.bin": K.astype("<f4").tobytes(), "k.rel.id": with_header} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.rel.bin"), folder),
        ),
        "kinship of NumPy": Reader(
            {"k.npy": array.getvalue(), "k.id": with_header} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.npy"), folder),
        ),
        "kinship of R": Reader(
            {"k.csv": of_r.encode()} | text, lambda folder: _aligned(bl.read_kinship(folder / "k.csv"), folder)
        ),
        "kinship of R, semicolons": Reader(
            {"k.csv": of_r.replace(",", ";").replace(".", ",").encode()} | text,
            lambda folder: _aligned(bl.read_kinship(folder / "k.csv"), folder),
        ),
        "list of pairs": Reader(
            {"k.txt": pairs.encode()} | text, lambda folder: _aligned(bl.read_kinship(folder / "k.txt"), folder)
        ),
        "kin0": Reader(
            {"k.kin0": kin0.encode()} | text, lambda folder: _aligned(bl.read_kinship(folder / "k.kin0"), folder)
        ),
        "grm in text": Reader(
            {"k.grm.gz": gzip.compress(numbered.encode(), mtime=0), "k.grm.id": with_header} | text,
            lambda folder: _aligned(bl.read_grm(folder / "k.grm.gz"), folder),
        ),
        "sparse grm": Reader(
            {"k.grm.sp": sparse.encode(), "k.grm.id": with_header} | text,
            lambda folder: _aligned(bl.read_grm(folder / "k.grm.sp"), folder),
        ),
        "eigenvectors of GEMMA": Reader(
            {"d.txt": values.encode(), "u.txt": vectors.encode(), "k.fam": fam.encode()} | text,
            lambda folder: _aligned(bl.read_eigen(folder / "d.txt", folder / "u.txt", fam=folder / "k.fam"), folder),
        ),
        "pedigree": Reader(
            {"p.csv": pedigree.encode()} | text,
            lambda folder: _aligned(bl.pedigree_kinship(folder / "p.csv", missing=["-9"]), folder),
        ),
        "pedigree without a header": Reader(
            {"p.txt": pedigree.split("\n", 1)[1].replace("NA", "0").replace(",", " ").encode()} | text,
            lambda folder: _aligned(bl.pedigree_kinship(folder / "p.txt"), folder),
        ),
        "pairs": Reader(
            {"pairs.txt": b"sid1 sid2\nsid3 sid1\n\nsid9 sid2\n", "g.bim": plink["g.bim"]},
            lambda folder: read_pairs(folder / "pairs.txt", read_bim(folder / "g.bim")),
        ),
    }


def _pgen(G: np.ndarray, ids: Sequence[str], folder: Path) -> dict[str, bytes]:
    import pgenlib

    writer = pgenlib.PgenWriter(bytes(folder / "h.pgen"), N, variant_ct=P, nonref_flags=False, dosage_present=True)
    for column in np.where(np.isnan(G), -9, G * 0.99).astype(np.float32).T:
        writer.append_dosages(np.ascontiguousarray(column))
    writer.close()
    pvar = "##x\n#CHROM\tPOS\tID\tREF\tALT\n" + "".join(f"{1 + j // 8}\t{j + 1}\ts{j}\tA\tC\n" for j in range(P))
    psam = "#FID\tIID\tSEX\n" + "".join(f"f{name}\t{name}\tNA\n" for name in ids)
    return {"h.pgen": (folder / "h.pgen").read_bytes(), "h.pvar": pvar.encode(), "h.psam": psam.encode()}


def _bgen(G: np.ndarray, ids: Sequence[str]) -> dict[str, bytes]:
    """Return a BGEN file of 8 bits without ids, and its .sample."""
    records = b""
    for j, column in enumerate(G.T):
        ploidy = bytes(0x82 if np.isnan(g) else 2 for g in column)
        stored = b"".join(b"\0\0" if np.isnan(g) else bytes([255 * (g == 0), 255 * (g == 1)]) for g in column)
        data = struct.pack("<IHBB", N, 2, 2, 2) + ploidy + b"\0\x08" + stored
        packed = struct.pack("<I", len(data)) + zlib.compress(data)
        names = b"".join(struct.pack("<H", len(word)) + word.encode() for word in (f"id{j}", f"s{j}", "1"))
        alleles = b"".join(struct.pack("<I", 1) + word for word in (b"A", b"C"))
        records += names + struct.pack("<IH", j + 1, 2) + alleles + struct.pack("<I", len(packed)) + packed
    head = struct.pack("<IIII", 20, 20, P, N) + b"bgen" + struct.pack("<I", 1 | 2 << 2)
    sample = "ID_1 ID_2 missing\n0 0 0\n" + "".join(f"{name} {name} 0\n" for name in ids)
    return {"h.bgen": head + records, "h.sample": sample.encode()}


def _vcf_zarr(G: np.ndarray, ids: Sequence[str]) -> bytes:
    """Return a zip file of a store, whose parts have checksums."""
    import zarr
    from zarr.storage import ZipStore

    calls = np.stack([(G.T > 0), (G.T > 1)], axis=2).astype(np.int8)
    calls[np.isnan(G.T)] = -1
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "h.vcz.zip"
        with ZipStore(path, mode="w") as store:
            group = zarr.open_group(store, mode="w", zarr_format=2)
            for what, data in {
                "sample_id": np.array(ids, dtype="T"),
                "contig_id": np.array(["1"], dtype="T"),
                "variant_contig": np.zeros(P, dtype=np.int8),
                "variant_position": np.arange(P, dtype=np.int32),
                "variant_allele": np.array([["A", "C"]] * P, dtype="T"),
                "call_genotype": calls,
            }.items():
                group.create_array(what, data=data)
        return path.read_bytes()


def _measured(path: Path) -> Measurements:
    table = bl.read_table(path, missing=["-9"])
    return bl.measure(table, ["y"], covariates=["age", "farm"])


def _measured_of_gcta(folder: Path) -> Measurements:
    return bl.measure(
        bl.read_table(folder / "t.phen"),
        ["PHENO1"],
        covariate_table=bl.read_table(folder / "t.covar", unnamed="COVAR"),
        quantitative_table=bl.read_table(folder / "t.qcovar", unnamed="QCOVAR"),
    )


def _measured_of_plink(folder: Path) -> Measurements:
    covariates = bl.read_table(folder / "t.psam")
    return bl.measure(
        bl.read_table(folder / "t.fam"), ["PHENO1"], covariate_table=covariates, covariates=["SEX"], transform="rank"
    )


def _genotyped(prefix: Path) -> None:
    genotypes: Genotypes = bl.open_genotypes(prefix)
    chromosomes(read_bim(f"{prefix}.bim"), where=prefix)
    bl.genomic_kinship(genotypes, maf=0.0, geno=0.5)
    for _ in dosages(genotypes, np.arange(len(genotypes.ids)), [range(genotypes.n_markers)]):
        pass


def _opened(path: Path, **options: Any) -> None:
    genotypes: Genotypes = bl.open_genotypes(path, **options)
    bl.genomic_kinship(genotypes, maf=0.0, geno=0.5)
    for _ in dosages(genotypes, np.arange(len(genotypes.ids)), [range(genotypes.n_markers)]):
        pass


def _selected(folder: Path) -> None:
    selection = bl.Selection(keep=folder / "ids.txt", exclude=folder / "snps.txt", autosomes=True)
    bl.genomic_kinship(bl.open_genotypes(folder / "g", selection=selection), maf=0.0, geno=0.5)


def _aligned(kinship: bl.Kinship, folder: Path) -> None:
    table = bl.read_table(folder / "t.tsv", missing=["-9"])
    for cohort in bl.align(kinship, bl.measure(table, ["y"], covariates=["age"])):
        bl.decompose(cohort.K).rotate(cohort.Y, cohort.X)


def outcome(reader: Reader, name: str, edits: Sequence[Edit], folder: Path) -> str:
    """Read files of which one is changed; say what came of it. Anything but an `InputError` is raised."""
    for file, data in reader.files.items():
        (folder / file).write_bytes(edited(data, edits) if file == name else data)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("error")
        warnings.simplefilter("always", bl.InputWarning)
        try:
            reader.read(folder)
        except bl.InputError as error:
            line = str(error)
            assert line.strip(), "an error without words"
            assert len(line) < 5_000, f"a line of {len(line)} characters: {line[:300]}"
            return "refused"
    return "read with a warning" if said else "read"


def files_of(kinds: dict[str, Reader]) -> list[tuple[str, str]]:
    """Return each file of each kind that is changed."""
    return [(kind, file) for kind, reader in kinds.items() for file in reader.files if file != "h.pgen"]


def main() -> None:
    """Run the mutations that are asked for, and print what came of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=50_000, metavar="N", help="how many files")
    count, kinds = parser.parse_args().mutations, readers()
    found: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:

        @settings(
            max_examples=count,
            derandomize=True,
            database=None,
            deadline=None,
            phases=[Phase.generate, Phase.shrink],
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        )
        @given(st.sampled_from(files_of(kinds)), EDITS)
        def run(of: tuple[str, str], edits: list[Edit]) -> None:
            kind, file = of
            found[kind, outcome(kinds[kind], file, edits, Path(name))] += 1

        run()
    outcomes = ("refused", "read with a warning", "read")
    print(f"{'kind':24}" + "".join(f"{what:>22}" for what in outcomes))
    for kind in kinds:
        print(f"{kind:24}" + "".join(f"{found[kind, what]:22,}" for what in outcomes))
    sums = [sum(found[kind, what] for kind in kinds) for what in outcomes]
    print(f"{f'all {sum(sums):,}':24}" + "".join(f"{number:22,}" for number in sums) + "\nno other exception")


if __name__ == "__main__":
    main()
