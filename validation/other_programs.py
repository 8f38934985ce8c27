"""Claim: kinship, REML, ML, standard errors and tests of markers equal those of other programs on the mice.

Runs GEMMA (Debian package ``gemma``), BOLT-REML (``bolt-lmm``), glimix-core and FaST-LMM (the extra ``benchmarks``),
those that are installed, and bayeslmm on the same files. Writes ``results/other_programs.{json,md}``: versions,
the exact commands, and both numbers with what their difference may be. BOLT-REML draws random vectors; the others may
differ by what they print. Three minutes.

    python validation/other_programs.py
"""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import bayeslmm as bl
from bayeslmm.base.files import replacing
from bayeslmm.cohort.cohort import Cohort
from bayeslmm.genotypes.blocks import dosages
from bayeslmm.kinship.kinship import centre
from bayeslmm.likelihood.rotation import RotatedData, Spectrum

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "mouse_hs1940"
GENOTYPES = DATA / "mouse_hs1940"
TRAITS = ("CD8", "MCH")
KINSHIPS = {"cXX": ("1", "vanraden"), "sXX": ("2", "sample")}
PRINTED = 1e-5  # relative: GEMMA prints six digits
LOG = {
    "pve": r"## pve estimate in the null model = (\S+)",
    "se(pve)": r"## se\(pve\) in the null model = (\S+)",
    "vg": r"## vg estimate in the null model = (\S+)",
    "ve": r"## ve estimate in the null model = (\S+)",
    "loglik reml": r"## REMLE log-likelihood in the null model = (\S+)",
    "loglik ml": r"## MLE log-likelihood in the null model = (\S+)",
    "se(beta)": r"## se\(beta\) = +(\S+)",
}


@dataclass(frozen=True)
class Row:
    """One number of another program and ours; ``allowed`` is the largest difference that their precision explains."""

    program: str
    of: str
    quantity: str
    theirs: float
    ours: float
    allowed: float

    def record(self) -> dict[str, str | float | bool]:
        """Return the row as plain numbers, and whether the difference is allowed."""
        plain = {name: value if isinstance(value, str) else float(value) for name, value in asdict(self).items()}
        return plain | {"agrees": bool(abs(self.ours - self.theirs) <= self.allowed)}


def main() -> None:
    """Run the programs that are installed, write what they and we say, and fail where that differs."""
    programs: dict[str, tuple[bool, Callable[[Path, list[str]], Iterator[Row]], Callable[[], str]]] = {
        "GEMMA": (bool(shutil.which("gemma")), gemma, lambda: _version_printed_by(["gemma", "-h"])),
        "BOLT-REML": (bool(shutil.which("bolt")), bolt, lambda: _version_printed_by(["bolt", "--help"])),
        "glimix-core": (bool(importlib.util.find_spec("glimix_core")), glimix, lambda: version("glimix-core")),
        "FaST-LMM": (bool(importlib.util.find_spec("fastlmm")), fastlmm, lambda: version("fastlmm")),
    }
    record: dict[str, Any] = {"bayeslmm": version("bayeslmm"), "programs": {}, "rows": []}
    for name, (installed, run, version_of) in programs.items():
        if not installed:
            print(f"{name} is not installed: left out")
            continue
        commands: list[str] = []
        with tempfile.TemporaryDirectory() as folder:
            rows = list(run(Path(folder), commands))
        record["programs"][name] = {"version": version_of(), "commands": list(dict.fromkeys(commands))}
        record["rows"] += [row.record() for row in rows]
    if not record["programs"]:
        sys.exit("none of the programs is installed")
    with replacing(HERE / "results" / "other_programs.json") as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n")
    lines = _lines(record)
    with replacing(HERE / "results" / "other_programs.md") as temporary:
        temporary.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))
    if wrong := [row for row in record["rows"] if not row["agrees"]]:
        sys.exit(f"{len(wrong)} of {len(record['rows'])} numbers differ by more than their precision explains")


def gemma(folder: Path, commands: list[str]) -> Iterator[Row]:
    """Compare both kinships, and one trait and two on each: its own kinship read by us, and ours of the genotypes."""
    _prepare(folder)
    for kind, (flag, scale) in KINSHIPS.items():
        _gemma(folder, commands, f"-p ones -gk {flag} -o k")
        matrix = folder / "output" / f"k.{kind}.txt"
        theirs = np.loadtxt(matrix)
        ours = bl.genomic_kinship(GENOTYPES, scale=scale).K
        ours = ours * np.trace(theirs) / np.trace(ours)
        worst = np.unravel_index(np.argmax(np.abs(ours - theirs)), theirs.shape)
        yield Row("GEMMA", kind, "K, worst element", theirs[worst], float(ours[worst]), 1e-6 * abs(theirs[worst]))
        own, few = ["--kinship", matrix, "--fam", f"{GENOTYPES}.fam"], "-lmm 4 -snps few"
        for number, trait in enumerate(TRAITS, start=1):
            _gemma(folder, commands, f"-p pheno -n {number} -k output/k.{kind}.txt {few} -o fit")
            printed = _read_log((folder / "output" / "fit.log.txt").read_text())
            for source, options in (("GEMMA's K", own), ("our K", ["--bfile", GENOTYPES, "--scale", scale])):
                found = _h2(folder, trait, options)
                if source == "our K":  # vg refers to the scale of K: bring ours, with mean diagonal near 1, to GEMMA's
                    found["vg"] *= _mean_diagonal(scale, trait) / _mean_diagonal_of(theirs, trait)
                yield from _printed(f"{trait}, {source} ({kind})", printed, found)
        _gemma(folder, commands, f"-p pheno -n 1 2 -k output/k.{kind}.txt {few} -o pair")
        printed = _read_pair((folder / "output" / "pair.log.txt").read_text())
        yield from _printed(f"{':'.join(TRAITS)}, GEMMA's K ({kind})", printed, _rg(folder, own))


def bolt(folder: Path, commands: list[str]) -> Iterator[Row]:
    """Compare h2 and correlations of both traits: within half a standard error, for its random vectors and filters."""
    command = "bolt --reml --numThreads 1 --bfile mouse_hs1940 --phenoFile pheno.tsv --phenoCol CD8 --phenoCol MCH"
    commands.append(command)
    printed = subprocess.run(command.split(), cwd=DATA, check=True, capture_output=True, text=True).stdout
    options = ["--bfile", GENOTYPES, "--scale", "sample", "--complete-only", "--methods", "reml"]
    table = _table(folder, ["rg", "--traits", *TRAITS, *options], "trait")
    pair = ":".join(TRAITS)
    places = {
        "h2g (1,1)": ("CD8", "h2"),
        "h2g (2,2)": ("MCH", "h2"),
        "gen corr (1,2)": (pair, "rho_u"),
        "resid corr (1,2)": (pair, "rho_e"),
    }
    for label, place in places.items():
        found = re.findall(rf"{re.escape(label)}: (\S+) \((\S+)\)", printed)[-1]
        theirs, se = float(found[0]), float(found[1])
        yield Row("BOLT-REML", pair, label, theirs, table[place, "estimate"], 0.5 * se)
        yield Row("BOLT-REML", pair, f"se of {label}", se, table[place, "se"], 0.05 * se)


def glimix(_: Path, commands: list[str]) -> Iterator[Row]:
    """Compare REML and ML on the same rotated data."""
    from glimix_core.lmm import LMM  # pyright: ignore[reportMissingImports] (an extra)

    spectrum, cohort, data = _cd8()
    for restricted, fit in ((True, bl.reml(data)), (False, bl.ml(data))):
        commands.append(f"LMM(y, X, ((U,), s), restricted={restricted}).fit()")
        model = LMM(cohort.Y[:, 0], cohort.X[0], ((spectrum.U,), spectrum.s), restricted=restricted)
        model.fit(verbose=False)
        of = f"CD8, {'REML' if restricted else 'ML'}"
        for name, theirs, ours in (("v0", model.v0, fit.sigma2_u), ("v1", model.v1, fit.sigma2_e)):
            yield Row("glimix-core", of, name, theirs, ours, 1e-5 * ours)
        yield Row("glimix-core", of, "lml", float(model.lml()), fit.loglik, 1e-6)


def fastlmm(_: Path, commands: list[str]) -> Iterator[Row]:
    """Compare the null h2, and tests of ten markers at its ratio: FaST-LMM's effects are of standardised dosages."""
    from fastlmm.association import single_snp  # pyright: ignore[reportMissingImports] (an extra)
    from pysnptools.kernelreader import KernelData  # pyright: ignore[reportMissingImports]
    from pysnptools.snpreader import Bed, SnpData  # pyright: ignore[reportMissingImports]

    spectrum, cohort, data = _cd8()
    fam = pd.read_csv(f"{GENOTYPES}.fam", sep=r"\s+", header=None, dtype=str).set_index(1)[0]
    iid = np.array([[fam[person], person] for person in cohort.ids])
    bed = Bed(str(GENOTYPES), count_A1=True)
    markers = range(5000, 5010)
    commands.append("single_snp(markers, pheno, K0=KernelData(iid, K), leave_out_one_chrom=False, count_A1=True)")
    theirs_of_all: Any = single_snp(
        bed[:, markers.start : markers.stop],
        SnpData(iid=iid, sid=["CD8"], val=cohort.Y),
        K0=KernelData(iid=iid, val=cohort.K),
        leave_out_one_chrom=False,
        count_A1=True,
    )
    table = theirs_of_all.set_index("SNP")
    fit = bl.reml(data)
    yield Row("FaST-LMM", "CD8", "Nullh2", float(table["Nullh2"].iloc[0]), fit.pve, 1e-6)
    genotypes = bl.open_genotypes(GENOTYPES)
    (block,) = dosages(genotypes, genotypes.rows(cohort.ids), [markers], maf=0, geno=1)
    (tests,) = bl.fixed_scan(data, fit.h2).test([spectrum.U.T @ block.G])
    names = pd.read_csv(f"{GENOTYPES}.bim", sep=r"\s+", header=None)[1]
    for name, beta, se, p, sd in zip(
        names.iloc[block.lines], tests.beta[:, 0], tests.se[:, 0], tests.p_wald[:, 0], block.G.std(axis=0), strict=True
    ):
        theirs = table.loc[name]
        yield Row("FaST-LMM", f"CD8, {name}", "SnpWeight", theirs["SnpWeight"], beta * sd, 1e-5 * se * sd)
        yield Row("FaST-LMM", f"CD8, {name}", "SnpWeightSE", theirs["SnpWeightSE"], se * sd, 1e-5 * se * sd)
        yield Row("FaST-LMM", f"CD8, {name}", "PValue", theirs["PValue"], p, 1e-5 * p)


def _cd8() -> tuple[Spectrum, Cohort, RotatedData]:
    """Return CD8 on the centred kinship of those who have it."""
    people = bl.measure(bl.read_table(DATA / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(bl.genomic_kinship(GENOTYPES, scale="vanraden"), people, centred=True)
    spectrum = bl.decompose(cohort.K)
    return spectrum, cohort, spectrum.rotate(cohort.Y, cohort.X)


def _prepare(folder: Path) -> None:
    for suffix in ("bed", "bim", "fam"):
        shutil.copy(f"{GENOTYPES}.{suffix}", folder / f"mouse_hs1940.{suffix}")
    pheno = pd.read_csv(DATA / "pheno.tsv", sep="\t", dtype=str, keep_default_na=False)
    pheno[list(TRAITS)].to_csv(folder / "pheno", sep=" ", header=False, index=False)
    (folder / "ones").write_text("1\n2\n" * (len(pheno) // 2))
    markers = pd.read_csv(f"{GENOTYPES}.bim", sep="\t", header=None, dtype=str)[1]
    (folder / "few").write_text("\n".join(markers[5000:5010]) + "\n")


def _gemma(folder: Path, commands: list[str], arguments: str) -> None:
    commands.append(f"gemma -bfile mouse_hs1940 {arguments}")
    subprocess.run(commands[-1].split(), cwd=folder, check=True, capture_output=True)


def _read_log(text: str) -> dict[str, float]:
    return {key: float(re.findall(pattern, text)[0]) for key, pattern in LOG.items()}


def _read_pair(text: str) -> dict[str, float]:
    """Read the lower triangles of Vg, se(Vg), Ve and se(Ve) of REML in the log of a fit of two traits."""
    block = text[text.index("REMLE estimate for Vg") : text.index("## MLE estimate")]
    numbers = [float(n) for line in block.splitlines()[1:] if not line.startswith("##") for n in line.split()]
    names = [f"{name} {at}" for name in ("Vg", "se(Vg)", "Ve", "se(Ve)") for at in (TRAITS[0], "both", TRAITS[1])]
    return dict(zip(names, numbers, strict=True))


def _printed(of: str, theirs: dict[str, float], ours: dict[str, float]) -> Iterator[Row]:
    """Hold ours against what GEMMA printed, six digits: of log-likelihoods above 1,000 two are behind the point."""
    for name, value in theirs.items():
        allowed = 0.005 if name.startswith("loglik") else PRINTED * abs(value)
        yield Row("GEMMA", of, name, value, ours[name], allowed)


def _h2(folder: Path, trait: str, options: list[object]) -> dict[str, float]:
    """Run ``h2 --centre`` as GEMMA centres always; the command line is what users have."""
    command = ["h2", "--trait", trait, "--centre", "--methods", "reml", "ml", "--se", "observed", *options]
    table = _table(folder, command, "method")
    return {
        "pve": table[("reml", "pve"), "estimate"],
        "se(pve)": table[("reml", "pve"), "se"],
        "vg": table[("reml", "sigma2_u"), "estimate"],
        "ve": table[("reml", "sigma2_e"), "estimate"],
        "loglik reml": table[("reml", "loglik"), "estimate"],
        "loglik ml": table[("ml", "loglik"), "estimate"],
        "se(beta)": table[("reml", "beta[intercept]"), "se"],
    }


def _rg(folder: Path, options: list[object]) -> dict[str, float]:
    command = ["rg", "--traits", *TRAITS, "--complete-only", "--methods", "reml", "--se", "observed", *options]
    table = _table(folder, command, "trait")
    found: dict[str, float] = {}
    for matrix, part in (("Vg", "u"), ("Ve", "e")):
        for column, kind in (("estimate", matrix), ("se", f"se({matrix})")):
            places = {
                TRAITS[0]: (TRAITS[0], f"sigma2_{part}"),
                "both": (":".join(TRAITS), f"cov_{part}"),
                TRAITS[1]: (TRAITS[1], f"sigma2_{part}"),
            }
            found |= {f"{kind} {at}": table[place, column] for at, place in places.items()}
    return found


def _table(folder: Path, command: list[object], key: str) -> dict[tuple[tuple[str, str], str], float]:
    """Run a command of bayeslmm; return estimates and standard errors by method or trait, and parameter."""
    out = folder / "ours"
    whole = [sys.executable, "-m", "bayeslmm", *command, "--pheno", DATA / "pheno.tsv", "--out", out, "--overwrite"]
    subprocess.run(list(map(str, whole)), check=True, capture_output=True)
    table = pd.read_csv(out / "estimates.tsv", sep="\t")
    return {
        ((row[key], row["parameter"]), column): float(row[column])
        for row in table.to_dict("records")
        for column in ("estimate", "se")
    }


def _mean_diagonal(scale: str, trait: str) -> float:
    return _mean_diagonal_of(bl.genomic_kinship(GENOTYPES, scale=scale).K, trait)


def _mean_diagonal_of(K: np.ndarray, trait: str) -> float:
    people = pd.read_csv(DATA / "pheno.tsv", sep="\t")[trait].notna().to_numpy()
    return float(np.diag(centre(K[np.ix_(people, people)])).mean())


def _version_printed_by(command: list[str]) -> str:
    printed = subprocess.run(command, check=False, capture_output=True, text=True)
    return next(iter(re.findall(r"v?(\d+\.\d+(?:\.\d+)?)", printed.stdout + printed.stderr)), "unknown")


def _lines(record: dict[str, Any]) -> list[str]:
    lines = [
        "# Agreement with other programs on the mice",
        "",
        "Made by `validation/other_programs.py`. `allowed` is the largest difference that the precision of the other",
        "program explains: its six digits, its random vectors, or the end of its search.",
    ]
    for name, program in record["programs"].items():
        rows = [row for row in record["rows"] if row["program"] == name]
        lines += ["", f"## {name} {program['version']}", "", *(f"    {command}" for command in program["commands"])]
        lines += ["", f"| of | quantity | {name} | bayeslmm | difference | allowed |", "|---|---|---|---|---|---|"]
        for row in rows:
            difference = abs(row["ours"] - row["theirs"])
            told = f"{difference:.1e}" if row["agrees"] else f"**{difference:.1e}**"
            lines.append(
                f"| {row['of']} | {row['quantity']} | {row['theirs']:.7g} | {row['ours']:.7g} | {told} "
                f"| {row['allowed']:.1e} |"
            )
    return lines


if __name__ == "__main__":
    main()
