"""What the scaled lasso estimates: simulated traits with few and with many causal markers.

Traits have h2 = 0.5 given by causal markers drawn at random, effects normal, on two sets of genotypes: the mice (1,940
relatives, long linkage disequilibrium) and unrelated people simulated as in ``source_cohort.py``. REML stands beside.
Writes a table to ``results/scaled_lasso.md``; four minutes.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from numpy import ndarray
from source_cohort import simulate

import bayeslmm as bl

VALIDATION = Path(__file__).resolve().parent
MICE = VALIDATION / "data" / "mouse_hs1940" / "mouse_hs1940"
H2 = 0.5


def main() -> None:
    """Run the study and write its table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--traits", type=int, default=10, metavar="N", help="simulated traits for each row")
    parser.add_argument("--people", type=int, default=3000, metavar="N", help="unrelated people")
    parser.add_argument("--markers", type=int, default=20_000, metavar="P", help="their markers")
    parser.add_argument("--seed", type=int, default=43, metavar="N", help="of everything random")
    parser.add_argument("--out", type=Path, default=VALIDATION / "results", metavar="DIR", help="folder of the results")
    options = parser.parse_args()
    lines = [
        f"# The scaled lasso where h2 = {H2}, means of {options.traits} simulated traits",
        "",
        "Made by `validation/scaled_lasso.py`. The scaled lasso finds the heritability of a few large effects among",
        "unrelated people, less what the penalty shrinks. Of a polygenic trait it finds nothing and returns the whole",
        "variance as residual. Among relatives some markers stand for families, and it finds a part of it.",
        "",
        "| genotypes | causal markers | h2 by REML | share explained, scaled lasso | its residual variance, true 0.5 "
        "| markers selected |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        simulate(Path(folder), people=options.people, markers=options.markers, seed=options.seed, missing=0.0)
        for name, bfile in {"unrelated people": Path(folder) / "cohort", "mice": MICE}.items():
            for line in _study(name, bfile, options.traits, np.random.default_rng(options.seed)):
                print(line)
                lines.append(line)
    (options.out / "scaled_lasso.md").write_text("\n".join(lines) + "\n")


def _study(name: str, bfile: Path, traits: int, rng: np.random.Generator) -> list[str]:
    blocks = bl.MarkerBlocks(bl.open_genotypes(bfile))
    W = np.hstack([block.G for block in blocks])
    n, p = W.shape
    spectrum, X = bl.decompose(bl.genomic_kinship(bfile).K), np.ones((n, 1))
    rows = []
    for causal in (1, 10, 100, 1000, p):
        found = []
        for _ in range(traits):
            Y = _trait(W[:, rng.choice(p, causal, replace=False)], rng)
            lasso = bl.scaled_lasso(blocks, blocks.genotypes.ids, Y, X)
            found.append((bl.reml(spectrum.rotate(Y, X)).h2, lasso.h2, lasso.sigma2_e, lasso.selected))
        h2, share, sigma2_e, selected = np.mean(found, axis=0)
        label = f"{causal:,}" if causal < p else f"all {p:,}"
        rows.append(f"| {name}, n = {n:,} | {label} | {h2:.2f} | {share:.2f} | {sigma2_e:.2f} | {selected:.0f} |")
    return rows


def _trait(W: ndarray, rng: np.random.Generator) -> ndarray:
    """Return one trait, shape (n, 1): genetic and residual parts scaled to sample variances of H2 and 1 - H2."""
    g, e = W @ rng.standard_normal(W.shape[1]), rng.standard_normal(len(W))
    return (np.sqrt(H2) * (g - g.mean()) / g.std() + np.sqrt(1 - H2) * e / e.std())[:, None]


if __name__ == "__main__":
    main()
