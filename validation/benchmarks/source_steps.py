"""The steps that source_size.py times: ``python source_steps.py STEP DIR TRAIT`` prints what it measured as JSON.

Each imports what it needs when it runs: imports and reading its input are not timed, and are not in the memory of a
step that does without.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

BLOCK = 4096
PCS = 10
TRAITS = ("T1", "T2", "T3", "T4")
NUTS: dict[str, Any] = {"seed": 1, "chains": 4, "draws": 1000, "warmup": 1000}


def read_blocks(data: Path, trait: str) -> dict[str, Any]:
    """Read all genotypes with bed-reader alone."""
    import numpy as np
    from bed_reader import open_bed

    with open_bed(data / "cohort.bed") as bed:
        p = bed.sid_count
        begun = time.perf_counter()
        for start in range(0, p, BLOCK):
            bed.read(np.s_[:, start : min(start + BLOCK, p)], dtype="float32", order="F")
        return {"seconds": time.perf_counter() - begun}


def rank_k_updates(data: Path, trait: str) -> dict[str, Any]:
    """Do the arithmetic of the kinship matrix and nothing else: float32 rank-k updates with one random block."""
    import numpy as np
    from scipy.linalg.blas import ssyrk

    truth = json.loads((data / "truth.json").read_text())
    n, p = truth["people"], truth["markers"]
    W = np.asfortranarray(np.random.default_rng(0).standard_normal((n, BLOCK), dtype=np.float32))
    total = np.zeros((n, n), dtype=np.float32, order="F")
    begun = time.perf_counter()
    for start in range(0, p, BLOCK):
        total = ssyrk(1.0, W[:, : min(BLOCK, p - start)], lower=1, beta=1.0, c=total, overwrite_c=1)
    return {"seconds": time.perf_counter() - begun}


def decompose(data: Path, trait: str) -> dict[str, Any]:
    """Decompose K; then write the rotated data that the steps of NUTS take."""
    import numpy as np

    import bayeslmm as bl

    K = bl.read_grm(data / "cohort").K
    begun = time.perf_counter()
    spectrum = bl.decompose(K)
    seconds = time.perf_counter() - begun
    Y = np.column_stack([bl.read_table(data / "pheno.tsv").numbers(name) for name in TRAITS])
    X = np.column_stack([np.ones(len(Y)), spectrum.principal_components(PCS)])
    np.savez(data / "rotated.npz", **spectrum.rotate(Y, X)._asdict())
    return {"seconds": seconds}


def bare_eigh(data: Path, trait: str) -> dict[str, Any]:
    """Decompose the same K with SciPy alone."""
    import scipy.linalg

    import bayeslmm as bl

    K = bl.read_grm(data / "cohort").K
    begun = time.perf_counter()
    scipy.linalg.eigh(K, driver="evd")
    return {"seconds": time.perf_counter() - begun}


def nuts(data: Path, trait: str) -> dict[str, Any]:
    """Draw from the posterior of one trait."""
    from bayeslmm.models import univariate

    return _sample(univariate, data, trait, "h2")


def gaussian(data: Path, trait: str) -> dict[str, Any]:
    """Draw from a standard Gaussian of two dimensions: what NumPyro and ArviZ cost whatever the program."""
    import numpy as np
    import numpyro
    import numpyro.distributions as dist

    def model(data: Any) -> None:
        numpyro.sample("z", dist.Normal(0.0, 1.0).expand([2]).to_event(1))

    program = SimpleNamespace(model=model, DIMS={}, start=lambda data: {"z": np.zeros(2)})
    return _sample(program, data, trait, "z")


def _sample(program: Any, data: Path, trait: str, site: str) -> dict[str, Any]:
    import arviz_stats
    import numpy as np

    import bayeslmm as bl

    sample, diagnose = bl.sample, bl.diagnose  # here: the package imports what a name needs when it is first used
    with np.load(data / "rotated.npz") as arrays:
        s, Y, X, k_scale = (arrays[name] for name in ("s", "Y", "X", "k_scale"))
    rotated = bl.RotatedData(s, Y[:, [TRAITS.index(trait)]], X, float(k_scale))
    begun = time.perf_counter()
    tree = sample(program, rotated, **NUTS)
    seconds = time.perf_counter() - begun
    ess = float(arviz_stats.ess(tree["posterior"][site].to_numpy()[..., 0], method="bulk"))
    checks, steps = diagnose(tree), float(tree["sample_stats"]["n_steps"].to_numpy().mean())
    quality = {"r_hat": checks.r_hat, "divergences": checks.divergences, "leapfrog_steps": steps}
    return {"seconds": seconds, "ess": ess, "ess_per_second": ess / seconds, **quality}


STEPS: dict[str, Callable[[Path, str], dict[str, Any]]] = {
    step.__name__: step for step in (read_blocks, rank_k_updates, decompose, bare_eigh, nuts, gaussian)
}


if __name__ == "__main__":
    name, folder, trait = sys.argv[1:]
    print(json.dumps(STEPS[name](Path(folder), trait)))
