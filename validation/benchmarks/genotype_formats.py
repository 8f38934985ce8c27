"""Time and memory of reading genotypes in each format against its bare reader, and of a kinship against that of a .bed.

Simulated dosages of 2,000 people and 20,000 markers are written by pgenlib; plink2 and bio2zarr convert them, so that
all formats hold the same. Each step runs in a process of its own (``genotype_formats.py STEP FOLDER FORMAT`` is what it
runs) and tells the processor time that it took, which other load disturbs little; opening the files is timed, imports
are not. Needs plink2 (Debian package ``plink2``), bgzip and tabix (Debian package ``tabix``), and
``pip install -c constraints.txt -e '.[dev]'``.

    python validation/benchmarks/genotype_formats.py
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from processes import Row, alternate, ratio_to, table

PEOPLE, MARKERS, BLOCK, REPEATS = 2_000, 20_000, 4_096, 3
TARGET = 1.3  # kinship from .pgen, times that from .bed
RESULTS = Path(__file__).resolve().parents[1] / "results" / "genotype_formats.md"


def prepare(folder: Path) -> None:
    """Write the genotypes: calls, of which half of the markers are dosages near them, 1 % missing."""
    import numpy as np
    import pgenlib

    rng = np.random.default_rng(1)
    writer = pgenlib.PgenWriter(
        bytes(folder / "all.pgen"), PEOPLE, variant_ct=MARKERS, nonref_flags=False, dosage_present=True
    )
    for j in range(MARKERS):
        G = rng.binomial(2, rng.uniform(0.02, 0.5), PEOPLE).astype(np.float32)
        if j % 2:
            G = np.clip(G + rng.normal(0, 0.08, PEOPLE), 0, 2).astype(np.float32)
        G[rng.uniform(size=PEOPLE) < 0.01] = -9
        writer.append_dosages(G)
    writer.close()
    chrom = np.sort(np.arange(MARKERS) % 22) + 1
    lines = [f"{chrom[j]}\t{j + 1}\ts{j}\tA\tC\n" for j in range(MARKERS)]
    (folder / "all.pvar").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join(lines))
    (folder / "all.psam").write_text("#IID\tSEX\n" + "".join(f"p{i}\tNA\n" for i in range(PEOPLE)))
    for options in (
        "--make-bed --out calls",
        "--make-pgen erase-dosage --out calls",
        "--export bgen-1.2 bits=8 ref-first --out all",
        "--export vcf bgz --out calls",
        "--export vcf bgz vcf-dosage=DS --out all",
    ):
        _run(folder, "plink2", "--pfile", "all", "--threads", "2", *options.split())
    for name in ("calls", "all"):
        _run(folder, "tabix", f"{name}.vcf.gz")
        _run(folder, sys.executable, "-m", "bio2zarr", "vcf2zarr", "convert", f"{name}.vcf.gz", f"{name}.vcz")


def _run(folder: Path, *command: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def bare_bed(folder: Path) -> None:
    """Read all calls with bed-reader."""
    from bed_reader import open_bed

    with open_bed(folder / "calls.bed") as bed:
        for start in range(0, MARKERS, BLOCK):
            bed.read((slice(None), slice(start, min(start + BLOCK, MARKERS))), dtype="float32", order="F")


def bare_pgen(folder: Path) -> None:
    """Read all calls with pgenlib."""
    _bare_pgen(folder / "calls.pgen")


def bare_pgen_ds(folder: Path) -> None:
    """Read all dosages with pgenlib."""
    _bare_pgen(folder / "all.pgen")


def _bare_pgen(path: Path) -> None:
    import numpy as np
    import pgenlib

    G = np.empty((BLOCK, PEOPLE), dtype=np.float32)
    with pgenlib.PgenReader(bytes(path)) as reader:
        for start in range(0, MARKERS, BLOCK):
            stop = min(start + BLOCK, MARKERS)
            reader.read_dosages_range(start, stop, G[: stop - start])


def bare_bgen(folder: Path) -> None:
    """Read all probabilities with cbgen, which makes its index first."""
    import cbgen

    with cbgen.bgen_file(folder / "all.bgen") as file:
        file.create_metafile(folder / "all.metafile")
        with cbgen.bgen_metafile(folder / "all.metafile") as metafile:
            for k in range(metafile.npartitions):
                for offset in metafile.read_partition(k).variants.offset:
                    file.read_probability(offset, precision=32)


def bare_vcf(folder: Path) -> None:
    """Read all calls with cyvcf2."""
    import cyvcf2

    for record in cyvcf2.VCF(str(folder / "calls.vcf.gz")):
        record.genotype.array()


def bare_vcf_ds(folder: Path) -> None:
    """Read all calls and dosages with cyvcf2."""
    import cyvcf2

    for record in cyvcf2.VCF(str(folder / "all.vcf.gz")):
        record.genotype.array()
        if "DS" in record.FORMAT:
            record.format("DS")


def bare_vcz(folder: Path) -> None:
    """Read all calls with zarr, by chunks."""
    _bare_vcz(folder / "calls.vcz", "call_genotype")


def bare_vcz_ds(folder: Path) -> None:
    """Read all calls and dosages with zarr, by chunks."""
    _bare_vcz(folder / "all.vcz", "call_genotype", "call_DS")


def _bare_vcz(path: Path, *names: str) -> None:
    import zarr

    for array in (zarr.open_array(path / name, mode="r") for name in names):
        for start in range(0, MARKERS, array.chunks[0]):
            array[start : start + array.chunks[0]]


BARE: dict[str, Callable[[Path], None]] = {
    step.__name__.removeprefix("bare_"): step
    for step in (bare_bed, bare_pgen, bare_pgen_ds, bare_bgen, bare_vcf, bare_vcf_ds, bare_vcz, bare_vcz_ds)
}
FILES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "bed": ("PLINK 1, calls", "calls.bed", {}),
    "pgen": ("PLINK 2, calls", "calls.pgen", {}),
    "pgen_ds": ("PLINK 2, dosages", "all.pgen", {}),
    "bgen": ("BGEN, 8 bits", "all.bgen", {}),
    "vcf": ("VCF, calls", "calls.vcf.gz", {}),
    "vcf_ds": ("VCF, dosages", "all.vcf.gz", {"dosage": "DS"}),
    "vcz": ("VCF-Zarr, calls", "calls.vcz", {}),
    "vcz_ds": ("VCF-Zarr, dosages", "all.vcz", {"dosage": "DS"}),
}


def bare(folder: Path, name: str) -> dict[str, Any]:
    """Read a file with the library of its format alone."""
    BARE[name](folder)  # once for what is imported and for the cache of the disk
    begun = time.process_time()
    BARE[name](folder)
    return {"seconds": time.process_time() - begun}


def ours(folder: Path, name: str) -> dict[str, Any]:
    """Open and read a file as the kinship does."""
    import bayeslmm as bl

    _, file, options = FILES[name]
    bl.open_genotypes(folder / file, **options)
    begun = time.process_time()
    genotypes = bl.open_genotypes(folder / file, **options)
    with genotypes.reader() as reader:
        for start in range(0, MARKERS, BLOCK):
            reader.read(None, range(start, min(start + BLOCK, MARKERS)), "float32")
    return {"seconds": time.process_time() - begun}


def kinship(folder: Path, name: str) -> dict[str, Any]:
    """Make the kinship of a file."""
    import bayeslmm as bl

    _, file, options = FILES[name]
    bl.open_genotypes(folder / file, **options)
    begun = time.process_time()
    K = bl.genomic_kinship(bl.open_genotypes(folder / file, **options))
    return {"seconds": time.process_time() - begun, "trace": float(K.K.trace())}


STEPS: dict[str, Callable[[Path, str], dict[str, Any]]] = {step.__name__: step for step in (bare, ours, kinship)}


def main() -> None:
    """Run the benchmark and write its table, or run one step of it."""
    if len(sys.argv) > 2:
        step, folder, name = sys.argv[1:]
        print(json.dumps(STEPS[step](Path(folder), name)))
        return
    if absent := [name for name in ("plink2", "bgzip", "tabix") if not shutil.which(name)]:
        sys.exit(f"not installed: {', '.join(absent)} (Debian: apt-get install plink2 tabix)")
    load = os.getloadavg()[0]
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with tempfile.TemporaryDirectory() as folder:
        prepare(Path(folder))
        commands = {
            f"{step} {name}": [sys.executable, str(Path(__file__).resolve()), step, folder, name]
            for name in FILES
            for step in STEPS
        }
        rows = {row["step"]: row for row in alternate(commands, REPEATS)}
        sizes = {name: _size(Path(folder) / file) for name, (_, file, _) in FILES.items()}
    report = _report(rows, sizes, load)
    RESULTS.write_text(report)
    print(report)


def _size(path: Path) -> float:
    """Return megabytes of a file or a folder."""
    return sum(file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*"))) / 1e6


def _report(rows: dict[str, Row], sizes: dict[str, float], load: float) -> str:
    bed = rows["kinship bed"]
    lines: list[list[str]] = []
    for name, (title, _, _) in FILES.items():
        alone, read, made = (rows[f"{step} {name}"] for step in STEPS)
        lines.append(
            [
                title,
                f"{sizes[name]:,.0f}",
                f"{alone['seconds']:.2f}",
                f"{read['seconds']:.2f}",
                f"{read['seconds'] / alone['seconds']:.2f}",
                f"{made['seconds']:.2f}",
                f"{made['seconds'] / bed['seconds']:.2f}",
                f"{made['peak_rss_mb']:,.0f}",
            ]
        )
    goal = ratio_to(rows["kinship pgen"], bed, TARGET)
    return "\n".join(
        [
            "# Formats of genotypes",
            "",
            f"`python validation/benchmarks/genotype_formats.py`; {PEOPLE:,} people, {MARKERS:,} markers, half of them "
            f"with dosages; load before {load:.2f}; processor seconds on one thread, medians of {REPEATS} runs, files "
            "in the cache of the disk. The bare readers are bed-reader, pgenlib, cbgen, cyvcf2 and zarr; ours opens "
            "the files, which for a VCF and a BGEN reads the names of all markers.",
            "",
            *table(
                ["format", "MB", "bare reader, s", "ours, s", "ratio", "kinship, s", "times .bed", "peak MB"], lines
            ),
            "",
            f"Kinship from .pgen: {goal['ratio']:.2f} times that from .bed (target {TARGET:g}: "
            f"{'met' if goal['met'] else 'MISSED'}).",
            "",
        ]
    )


if __name__ == "__main__":
    main()
