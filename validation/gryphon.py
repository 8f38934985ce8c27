"""Claim: two traits of a pedigree with unequal overlap, all records used, equal ASReml, and are sampled well.

Runs ``bayeslmm rg`` on the gryphon tutorial (854 and 683 records). Beside it: REML of ASReml 4.1 as the tutorial
publishes it (Postma, "Practical: animal models in ASReml-R v4", of the repository named in data/gryphon), stopped at
changes of 0.1%, a converged dense REML of the same records, and what the tutorials publish of their samplers. Prints
one table and writes it to ``results/gryphon.md``.

    python validation/gryphon.py
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "gryphon"
ASREML = {
    ("BWT", "sigma2_u"): (3.368498, 0.6349441),
    ("BWT", "sigma2_e"): (3.849836, 0.5199897),
    ("BWT", "h2"): (0.4666586, 0.07672219),
    ("TARSUS", "sigma2_u"): (12.346837, 3.0753775),
    ("TARSUS", "sigma2_e"): (17.645584, 2.6668492),
    ("TARSUS", "h2"): (0.4116652, 0.0930738),
    ("BWT:TARSUS", "cov_u"): (2.460195, 1.0735865),
    ("BWT:TARSUS", "cov_e"): (3.312978, 0.9128834),
    ("BWT:TARSUS", "rho_u"): (0.3814816, 0.129991),
}
DENSE = {
    ("BWT", "sigma2_u"): 3.3683960275,
    ("BWT", "sigma2_e"): 3.8499172125,
    ("BWT", "h2"): 0.4666458652,
    ("TARSUS", "sigma2_u"): 12.3457824361,
    ("TARSUS", "sigma2_e"): 17.6464399436,
    ("TARSUS", "h2"): 0.4116327987,
    ("BWT:TARSUS", "cov_u"): 2.4598063723,
    ("BWT:TARSUS", "cov_e"): 3.3132845791,
    ("BWT:TARSUS", "rho_u"): 0.3814433425,
}
PUBLISHED = [
    ["brms, 2 x 1,000 draws", "27 to 93", "1.06"],
    ["MCMCglmm, two traits, 1,000 draws", "70 to 180", "one chain"],
]


def main() -> None:
    """Run the command and compare."""
    with tempfile.TemporaryDirectory() as name:
        out = Path(name) / "rg"
        command = [sys.executable, "-m", "bayeslmm", "rg", "--pedigree", DATA / "pedigree.csv", "--out", out]
        command += ["--pheno", DATA / "pheno.tsv", "--traits", "BWT", "TARSUS"]
        begun = time.perf_counter()
        subprocess.run(list(map(str, command)), check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        table = pd.read_csv(out / "estimates.tsv", sep="\t")
    row_of = {(row["method"], row["trait"], row["parameter"]): row for row in table.to_dict("records")}
    rows: list[list[str]] = []
    for (trait, parameter), (theirs, se) in ASREML.items():
        reml, nuts = row_of["reml", trait, parameter], row_of["nuts", trait, parameter]
        dense, ours = DENSE[trait, parameter], float(reml["estimate"])
        rows.append(
            [
                trait,
                parameter,
                f"{theirs:.6g} ({se:.4g})",
                f"{dense:.7g}",
                f"{ours:.7g} ({reml['se']:.4g})",
                f"{abs(ours / dense - 1):.0e}",
                f"{nuts['estimate']:.4g} ({nuts['se']:.4g})",
                f"{nuts['lower']:.3f} to {nuts['upper']:.3f}",
                f"{nuts['ess_bulk']:,.0f}",
            ]
        )
    draws = table[table["method"] == "nuts"]
    sizes = f"{draws['ess_bulk'].min():,.0f} to {draws['ess_bulk'].max():,.0f}"
    samplers = [
        *PUBLISHED,
        [f"bayeslmm, 4 x 1,000 draws, {seconds:.0f} s in all", sizes, f"{draws['r_hat'].max():.3f}"],
    ]
    header = ["trait", "parameter", "ASReml (se)", "dense REML", "bayeslmm REML (se)", "relative difference to dense"]
    report = [
        "# Two traits of the gryphons, 854 and 683 records\n",
        *_table([*header, "NUTS mean (sd)", "95%", "bulk ESS"], rows),
        "\nStandard errors are those of the average information. ASReml stopped early: its last digits are its own.\n",
        *_table(["sampler", "bulk ESS, over all parameters", "largest R-hat"], samplers),
    ]
    (HERE / "results" / "gryphon.md").write_text("\n".join(report) + "\n")
    print("\n".join(report))


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    main()
