"""Claim: REML, ML and the kinship equal GEMMA's on the mice, to the digits that GEMMA prints.

Runs GEMMA (Debian package ``gemma``) and ``bayeslmm h2`` on the same files: with GEMMA's own kinship matrices read as
``--kinship``, and with bayeslmm's from the genotypes. Prints one table and writes it to ``results/gemma.md``.

    python validation/gemma.py
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd

import bayeslmm as bl
from bayeslmm.kinship import centre

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "mouse_hs1940"
TRAITS = ("CD8", "MCH")
KINSHIPS = {"cXX": ("1", "vanraden"), "sXX": ("2", "sample")}
LOG = {
    "pve": r"## pve estimate in the null model = (\S+)",
    "se(pve)": r"## se\(pve\) in the null model = (\S+)",
    "vg": r"## vg estimate in the null model = (\S+)",
    "ve": r"## ve estimate in the null model = (\S+)",
    "loglik reml": r"## REMLE log-likelihood in the null model = (\S+)",
    "loglik ml": r"## MLE log-likelihood in the null model = (\S+)",
    "se(beta)": r"## se\(beta\) = +(\S+)",
}


def main() -> None:
    """Run both programs and compare."""
    if not shutil.which("gemma"):
        sys.exit("GEMMA is not installed (Debian: apt-get install gemma)")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _prepare(folder)
        rows = []
        for kind, (flag, scale) in KINSHIPS.items():
            _gemma(folder, "-p", "ones", "-gk", flag, "-o", "k")
            matrix = folder / "output" / f"k.{kind}.txt"
            rows += _kinship_rows(kind, scale, matrix)
            for number, trait in enumerate(TRAITS, start=1):
                _gemma(folder, "-p", "pheno", "-n", str(number), "-k", matrix, "-lmm", "4", "-snps", "few", "-o", "fit")
                theirs = _read_log((folder / "output" / "fit.log.txt").read_text())
                own = ["--kinship", matrix, "--fam", DATA / "mouse_hs1940.fam"]
                genotypes = ["--bfile", DATA / "mouse_hs1940", "--scale", scale]
                for source, options in (("GEMMA's K", own), ("our K", genotypes)):
                    ours = _bayeslmm(folder, trait, options)
                    if (
                        source == "our K"
                    ):  # vg refers to the scale of K: bring ours, with mean diagonal near 1, to GEMMA's
                        ours["vg"] *= _mean_diagonal(scale, trait) / _mean_diagonal_of(matrix, trait)
                    rows += [_row(trait, kind, source, key, theirs[key], ours[key]) for key in LOG]
            _gemma(folder, "-p", "pheno", "-n", "1", "2", "-k", matrix, "-lmm", "4", "-snps", "few", "-o", "pair")
            theirs = _read_pair((folder / "output" / "pair.log.txt").read_text())
            ours = _bayeslmm_pair(folder, ["--kinship", matrix, "--fam", DATA / "mouse_hs1940.fam"])
            rows += [_row(":".join(TRAITS), kind, "GEMMA's K", key, theirs[key], ours[key]) for key in theirs]
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    lines = ["| " + " | ".join(table.columns) + " |", "|" + "---|" * len(table.columns)]
    lines += ["| " + " | ".join(map(str, row)) + " |" for row in table.itertuples(index=False)]
    (HERE / "results" / "gemma.md").write_text("\n".join(lines) + "\n")


def _prepare(folder: Path) -> None:
    for suffix in ("bed", "bim", "fam"):
        shutil.copy(DATA / f"mouse_hs1940.{suffix}", folder / f"m.{suffix}")
    pheno = pd.read_csv(DATA / "pheno.tsv", sep="\t", dtype=str, keep_default_na=False)
    pheno[list(TRAITS)].to_csv(folder / "pheno", sep=" ", header=False, index=False)
    (folder / "ones").write_text("1\n2\n" * (len(pheno) // 2))
    markers = pd.read_csv(folder / "m.bim", sep="\t", header=None, dtype=str)[1]
    (folder / "few").write_text("\n".join(markers[5000:5010]) + "\n")


def _gemma(folder: Path, *arguments: object) -> None:
    command = ["gemma", "-bfile", "m", *map(str, arguments)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def _read_log(text: str) -> dict[str, float]:
    found = {key: re.search(pattern, text) for key, pattern in LOG.items()}
    return {key: float(match[1]) for key, match in found.items() if match}


def _bayeslmm(folder: Path, trait: str, options: list[object]) -> dict[str, float]:
    """Run ``h2 --centre`` as GEMMA centres always; the command line is what users have."""
    out = folder / "ours"
    command = [sys.executable, "-m", "bayeslmm", "h2", "--pheno", DATA / "pheno.tsv", "--trait", trait, "--centre"]
    command += ["--methods", "reml", "ml", "--se", "observed", "--out", out, *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    table = pd.read_csv(out / "estimates.tsv", sep="\t").set_index(["method", "parameter"])
    reml = table.loc["reml"]
    found = {
        "pve": reml.loc["pve", "estimate"],
        "se(pve)": reml.loc["pve", "se"],
        "vg": reml.loc["sigma2_u", "estimate"],
        "ve": reml.loc["sigma2_e", "estimate"],
        "loglik reml": reml.loc["loglik", "estimate"],
        "loglik ml": table.loc[("ml", "loglik"), "estimate"],
        "se(beta)": reml.loc["beta[intercept]", "se"],
    }
    return {key: float(str(value)) for key, value in found.items()}


def _read_pair(text: str) -> dict[str, float]:
    """Read the lower triangles of Vg, se(Vg), Ve and se(Ve) of REML in the log of a fit of two traits."""
    block = text[text.index("REMLE estimate for Vg") : text.index("## MLE estimate")]
    numbers = [float(n) for line in block.splitlines()[1:] if not line.startswith("##") for n in line.split()]
    names = [f"{name} {at}" for name in ("Vg", "se(Vg)", "Ve", "se(Ve)") for at in (TRAITS[0], "both", TRAITS[1])]
    return dict(zip(names, numbers, strict=True))


def _bayeslmm_pair(folder: Path, options: list[object]) -> dict[str, float]:
    out = folder / "pair"
    command = [sys.executable, "-m", "bayeslmm", "rg", "--pheno", DATA / "pheno.tsv", "--traits", *TRAITS]
    command += ["--complete-only", "--methods", "reml", "--se", "observed", "--out", out, *options]
    subprocess.run(list(map(str, command)), check=True, capture_output=True)
    table = pd.read_csv(out / "estimates.tsv", sep="\t").set_index(["trait", "parameter"])
    found: dict[str, float] = {}
    for matrix, part in (("Vg", "u"), ("Ve", "e")):
        for column, kind in (("estimate", matrix), ("se", f"se({matrix})")):
            places = {TRAITS[0]: f"sigma2_{part}", "both": f"cov_{part}", TRAITS[1]: f"sigma2_{part}"}
            for place, parameter in places.items():
                trait = ":".join(TRAITS) if place == "both" else place
                found[f"{kind} {place}"] = float(str(table.loc[(trait, parameter), column]))
    return found


def _kinship_rows(kind: str, scale: str, matrix: Path) -> list[dict[str, object]]:
    theirs = np.loadtxt(matrix)
    ours = bl.genomic_kinship(DATA / "mouse_hs1940", scale=scale).K
    ours = ours * np.trace(theirs) / np.trace(ours)
    worst = np.unravel_index(np.argmax(np.abs(ours - theirs)), theirs.shape)
    return [_row("-", kind, "our K", "K, worst element", float(theirs[worst]), float(ours[worst]))]


def _analysed(trait: str) -> np.ndarray:
    return pd.read_csv(DATA / "pheno.tsv", sep="\t")[trait].notna().to_numpy()


def _mean_diagonal(scale: str, trait: str) -> float:
    people = _analysed(trait)
    K = bl.genomic_kinship(DATA / "mouse_hs1940", scale=scale).K[np.ix_(people, people)]
    return float(np.diag(centre(K)).mean())


def _mean_diagonal_of(matrix: Path, trait: str) -> float:
    people = _analysed(trait)
    return float(np.diag(centre(np.loadtxt(matrix)[np.ix_(people, people)])).mean())


def _row(trait: str, kind: str, source: str, what: str, theirs: float, ours: float) -> dict[str, object]:
    difference = f"{abs(ours - theirs):.1e}" if what.startswith("loglik") else f"{abs(ours / theirs - 1):.1e} relative"
    return {
        "trait": trait,
        "GEMMA kinship": kind,
        "read from": source,
        "quantity": what,
        "GEMMA": f"{theirs:.7g}",
        "bayeslmm": f"{ours:.7g}",
        "difference": difference,
    }


if __name__ == "__main__":
    main()
