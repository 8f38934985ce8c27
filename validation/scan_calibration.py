"""Claims: p-values of scans are uniform where no marker has an effect; with effects the exact scan has GEMMA's power.

On the kinship of the mice with CD8 and their real markers. Traits are simulated from the model with h2 = 0.6.

1. No effect: 1,000 traits, each tested at 100 markers that stand far apart, by both scans.
2. One marker explains a share of the variance: how the p-values of the two scans part with that share.
3. The same traits through GEMMA (Debian package ``gemma``), at the markers with an effect.

    python validation/scan_calibration.py
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from scipy.stats import kstest

import bayeslmm as bl
from bayeslmm.genotypes.blocks import Block, dosages
from bayeslmm.genotypes.plink import read_bim
from bayeslmm.report.plots.scan import qq_band

HERE = Path(__file__).resolve().parent
MICE = HERE / "data" / "mouse_hs1940"
H2, TRAITS, APART = 0.6, 1000, 100
SHARES, EACH, WITH_GEMMA = (0.0, 0.01, 0.03, 0.1, 0.2), 100, 20
THRESHOLD = 0.05 / 10_768
SCANS = {"exact": bl.exact_scan, "null": bl.null_scan}
KINDS = ("p_wald", "p_lrt", "p_score")


def main() -> None:
    """Run the three studies and write one report and one picture."""
    if not shutil.which("gemma"):
        sys.exit("GEMMA is not installed (Debian: apt-get install gemma)")
    rng = np.random.default_rng(2026)
    people = bl.measure(bl.read_table(MICE / "pheno.tsv"), ["CD8"])
    (cohort,) = bl.align(bl.genomic_kinship(MICE / "mouse_hs1940", scale="vanraden"), people, centred=True)
    spectrum = bl.decompose(cohort.K)
    genotypes = bl.open_genotypes(MICE / "mouse_hs1940")
    (markers,) = dosages(genotypes, genotypes.rows(cohort.ids), [range(genotypes.n_markers)])
    apart = np.linspace(0, len(markers.lines) - 1, APART).astype(int)
    null = _p_values(spectrum, _noise(spectrum, TRAITS, rng), [markers.G[:, apart]] * TRAITS)
    lines = ["# Calibration and power of genome scans", "", "`python validation/scan_calibration.py`", ""]
    lines += _uniformity(null)
    lines += _power(spectrum, cohort, markers, rng)
    report = "\n".join(lines)
    (HERE / "results" / "scan_calibration.md").write_text(report)
    print(report)


def _noise(spectrum: bl.Spectrum, t: int, rng: np.random.Generator) -> np.ndarray:
    """Return traits without an effect of any marker, shape (n, t)."""
    n = len(spectrum.s)
    d = H2 * spectrum.s / spectrum.k_scale + 1 - H2
    return spectrum.U @ (np.sqrt(d)[:, None] * rng.standard_normal((n, t)))


def _p_values(spectrum: bl.Spectrum, Y: np.ndarray, G: list[np.ndarray]) -> dict[tuple[str, str], np.ndarray]:
    """Return p-values of each trait at its own markers, by scan and kind of test, shape (t, b)."""
    ones = np.ones((len(Y), 1))
    found: dict[tuple[str, str], list[np.ndarray]] = {(scan, kind): [] for scan in SCANS for kind in KINDS}
    for y, g in zip(Y.T, G, strict=True):
        data, Z = spectrum.rotate(y[:, None], ones), spectrum.U.T @ g
        for scan, prepare in SCANS.items():
            (tests,) = prepare(data).test([Z])
            for kind in KINDS:
                found[scan, kind].append(np.ravel(getattr(tests, kind)))
    return {key: np.array(values) for key, values in found.items()}


def _uniformity(found: dict[tuple[str, str], np.ndarray]) -> list[str]:
    m = TRAITS * APART
    lower, upper = qq_band(m)
    expected = -np.log10((np.arange(1, m + 1) - 0.5) / m)
    figure, axes = plt.subplots(1, len(KINDS), figsize=(13, 4.4), layout="constrained", sharey=True)
    rows = []
    for ax, kind in zip(axes, KINDS, strict=True):
        ax.fill_between(expected, -np.log10(upper), -np.log10(lower), color="#7f7f7f", alpha=0.3, label="95% band")
        for scan, colour in zip(SCANS, ("#0072b2", "#d55e00"), strict=True):
            p = np.sort(found[scan, kind].ravel())
            ax.plot(expected, -np.log10(p), ".", color=colour, markersize=3, label=scan, rasterized=True)
            inside = bool(((p >= lower) & (p <= upper)).all())
            shares = [f"{(p < level).mean() / level:.3f}" for level in (0.05, 0.01, 0.001)]
            rows.append([scan, kind, *shares, f"{kstest(p, 'uniform').pvalue:.2f}", "yes" if inside else "NO"])
        ax.set(title=kind, xlabel="expected -log10 p")
    axes[0].set_ylabel("observed -log10 p")
    axes[0].legend(loc="upper left", frameon=False)
    figure.savefig(HERE / "results" / "scan_calibration.png", dpi=100)
    header = [
        "scan",
        "test",
        "size / 0.05",
        "size / 0.01",
        "size / 0.001",
        "Kolmogorov-Smirnov p",
        "QQ within its band",
    ]
    return [f"{m:,} tests where no marker has an effect:", "", *_table(header, rows), ""]


def _power(spectrum: bl.Spectrum, cohort: bl.Cohort, markers: Block, rng: np.random.Generator) -> list[str]:
    n = len(spectrum.s)
    chosen = rng.choice(np.flatnonzero((markers.af > 0.1) & (markers.af < 0.9)), len(SHARES) * EACH)
    share = np.repeat(SHARES, EACH)
    G = markers.G[:, chosen]
    Y = np.sqrt(1 - share) * _noise(spectrum, len(share), rng) + np.sqrt(share) * G / G.std(axis=0)
    found = _p_values(spectrum, Y, [G[:, [j]] for j in range(len(share))])
    snps = read_bim(MICE / "mouse_hs1940.bim")["snp"].to_numpy()[markers.lines[chosen]]
    rows = []
    for q in SHARES:
        own = np.flatnonzero(share == q)
        p = {scan: found[scan, "p_wald"][own, 0] for scan in SCANS}
        cells = [f"{-np.log10(values).mean():.3f}" for values in p.values()]
        power = [f"{(values < THRESHOLD).mean():.2f}" for values in p.values()]
        few = own[:WITH_GEMMA]
        theirs, ours = _gemma(cohort, Y[:, few], snps[few]), p["exact"][:WITH_GEMMA]
        hits = [str((values < THRESHOLD).sum()) for values in (theirs, ours)]
        off = np.abs(np.log10(ours) / np.log10(theirs) - 1).max()
        rows.append([f"{q:g}", *cells, *power, *hits, f"{off:.0e}"])
    header = ["variance of the marker", *(f"-log10 p, {scan}" for scan in SCANS), *(f"power, {scan}" for scan in SCANS)]
    header += [f"found in {WITH_GEMMA}, {who}" for who in ("GEMMA", "exact")] + [
        "largest difference of log p, relative"
    ]
    return [
        f"One marker with an effect, {EACH} traits each, n = {n:,}; Wald tests: mean -log10 p, and the share below "
        f"{THRESHOLD:.1e}; the first {WITH_GEMMA} through GEMMA too:",
        "",
        *_table(header, rows),
        "",
    ]


def _gemma(cohort: bl.Cohort, Y: np.ndarray, snps: np.ndarray) -> np.ndarray:
    """Return GEMMA's Wald p-value of each trait at its marker, on the same K."""
    ids = bl.open_genotypes(MICE / "mouse_hs1940").ids
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        everybody = pd.DataFrame(np.nan, index=list(ids), columns=range(Y.shape[1]))
        everybody.loc[list(cohort.ids)] = Y
        everybody.to_csv(folder / "pheno", sep="\t", header=False, index=False, na_rep="NA", float_format="%.12g")
        K = pd.DataFrame(0.0, index=list(ids), columns=list(ids))
        K.loc[list(cohort.ids), list(cohort.ids)] = cohort.K
        K.to_csv(folder / "K", sep="\t", header=False, index=False, float_format="%.12g")
        p = []
        for j, snp in enumerate(snps, start=1):
            (folder / "snp").write_text(f"{snp}\n")
            command = ["gemma", "-bfile", str(MICE / "mouse_hs1940"), "-p", "pheno", "-n", str(j), "-k", "K"]
            command += ["-lmm", "1", "-snps", "snp", "-o", "one"]
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            p.append(pd.read_csv(folder / "output" / "one.assoc.txt", sep="\t")["p_wald"].iloc[0])
    return np.array(p)


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    return ["| " + " | ".join(line) + " |" for line in (header, ["---"] * len(header), *rows)]


if __name__ == "__main__":
    main()
